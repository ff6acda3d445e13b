"""Unbiased pass@k, expected distinct answers in k draws, and answer entropy; one shared kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np


def hit_probability(n: int, k: int) -> np.ndarray:
    """P(at least one of c marked items is among k drawn from n without replacement), for c = 0..n.

    1 - C(n-c, k) / C(n, k), the kernel of pass@k and of expected distinct answers (2509.06941).

    Returns:
        float64 [n + 1]; NaN everywhere where k > n (undefined, never 1.0 or 0).
    """
    if k > n:
        return np.full(n + 1, np.nan)
    marked = np.arange(n + 1)[:, None]
    drawn = np.arange(k)[None, :]
    miss = np.clip((n - marked - drawn) / (n - drawn), 0.0, None).prod(1)
    return 1.0 - miss


def answer_counts(answers: Sequence[str | None]) -> np.ndarray:
    """How many responses give each answer, int; an unparseable response (None) gives none."""
    return np.array(list(Counter(answer for answer in answers if answer is not None).values()), dtype=np.int64)


def expected_distinct(counts: np.ndarray, kernel: np.ndarray) -> float:
    """Expected number of distinct answers in k of the n responses: sum over answers of the hit probability.

    Args:
        counts: ``answer_counts``: an unparseable response (None) is drawn like any other but is no answer.
        kernel: ``hit_probability(n, k)``; NaN where k > n.
    """
    return float(kernel[counts].sum()) if not np.isnan(kernel[0]) else float("nan")


def correct_answers(answers: Sequence[str | None], is_correct: Sequence[bool]) -> list[str | None]:
    """The answers with None in the place of wrong ones, so that only right ones are counted."""
    return [answer if correct else None for answer, correct in zip(answers, is_correct, strict=True)]


def entropy_nats(answers: Sequence[str | None]) -> float:
    """Entropy of the empirical distribution of parseable answers, in nats; NaN where there is none."""
    counts = answer_counts(answers)
    if len(counts) == 0:
        return float("nan")
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum()) + 0.0


def powers_of_two(n: int) -> list[int]:
    """1, 2, 4 ... up to n, and n itself."""
    ks = [1 << i for i in range(n.bit_length()) if 1 << i <= n]
    return ks if ks[-1] == n else [*ks, n]


def measured_ks(size_P: np.ndarray) -> list[int]:
    """Powers of two up to the most responses that at least half of the problems have, and that number.

    A problem with fewer than k responses has no value at k and is left out there; where more than half would be, k is
    not measured at all: what is left would say little of the others.

    Args:
        size_P: responses of each problem, at least one.
    """
    descending_P = np.sort(size_P)[::-1]
    return powers_of_two(int(descending_P[(len(descending_P) - 1) // 2]))
