"""B-STaR's balance score: are there enough right training responses of a problem, and few wrong ones among them?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class KeptCounts(NamedTuple):
    """What a selection kept of each problem, int64 [P] each; equal texts of one problem count once."""

    kept_P: np.ndarray
    correct_P: np.ndarray


def kept_counts(
    problem_index_N: np.ndarray,
    text_N: np.ndarray,
    is_kept_N: np.ndarray,
    is_correct_N: np.ndarray,
    n_problems: int,
) -> KeptCounts:
    """Count the distinct kept responses of each problem, and the correct ones among them.

    Equal texts of one problem are one response, kept where one of them is. Where a verifier's verdict stands for the
    truth, kept ones may differ in it: the response is then correct where one is called so.

    Args:
        problem_index_N: the problem of each response, 0..P-1.
        text_N: what tells responses of one problem apart: their texts, or codes that stand for them.
        is_kept_N: bool; those that would be trained on.
        is_correct_N: bool.
    """
    is_kept_N = np.asarray(is_kept_N, dtype=bool)
    index_N = np.asarray(problem_index_N)[is_kept_N].astype(np.int64)
    code_N = np.unique(np.asarray(text_N)[is_kept_N], return_inverse=True)[1].astype(np.int64)
    pairs, response_N = np.unique(np.stack([index_N, code_N], axis=1), axis=0, return_inverse=True)
    n_correct = np.bincount(
        response_N.ravel(), weights=np.asarray(is_correct_N, dtype=bool)[is_kept_N], minlength=len(pairs)
    )
    kept_P = np.bincount(pairs[:, 0], minlength=n_problems)
    return KeptCounts(kept_P, np.bincount(pairs[n_correct > 0, 0], minlength=n_problems))


def balance_scores(kept_P: np.ndarray, correct_P: np.ndarray, target: int) -> np.ndarray:
    """Balance score of each problem: min(n' / n*, 1) * n' / n, float64 [P] from 0 to 1 (2412.17256).

    n responses of the problem were kept, n' of them are correct; both count distinct responses, as in the code that
    the authors released (hkust-nlp/B-STaR, train_code/determine_hyper.py: duplicates go before anything is counted).
    The first factor asks for enough right responses, the second for few wrong ones.

    Where nothing was kept the score is 0: the first factor is 0 whatever the second one, a share, might be. (Were such
    problems left out instead, a threshold that keeps a single right response of all problems would score best.)

    Args:
        kept_P: n, distinct kept responses of each problem.
        correct_P: n', the correct ones among them.
        target: n*, how many correct distinct responses of a problem are enough.

    Raises:
        ValueError: for a target below 1, or more correct responses than kept ones.
    """
    kept_P, correct_P = np.asarray(kept_P, dtype=np.float64), np.asarray(correct_P, dtype=np.float64)
    if target < 1:
        raise ValueError(f"balance_scores: target of at least 1, got {target}")
    if (correct_P > kept_P).any() or (correct_P < 0).any():
        raise ValueError("balance_scores: correct responses must be among the kept ones")
    share_P = np.divide(correct_P, kept_P, out=np.zeros_like(kept_P), where=kept_P > 0)
    return np.minimum(correct_P / target, 1.0) * share_P
