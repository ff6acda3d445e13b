"""Votes over final answers: majority vote (self-consistency) and verifier-weighted vote against n.

The expectation over all subsets of n of a problem's m responses is enumerated where there are few subsets, and
otherwise estimated without bias from random subsets, drawn without replacement within each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ops.estimation.bootstrap import mean_interval
from ops.estimation.gap import group_sizes
from ops.estimation.test_time import CurvePoint, check_ns, default_ns

SUBSETS = 256
"""Random subsets per problem and n; where there are no more than so many in all, every one is counted once."""
CELLS = 2_000_000
"""Vote counts held at once."""
TIE = 1e-12
"""Relative difference below which weighted votes tie: sums of the same weights differ by their order of adding."""


@dataclass(frozen=True)
class VoteValues:
    """Accuracy of a vote by problem.

    Attributes:
        value_PK: float64 [P, len(ns)], NaN where the problem has fewer than n responses.
        variance_PK: of value_PK over the draw of the subsets; 0 where all subsets were counted.
        is_exact_K: all subsets were counted, for every problem with at least n responses.
    """

    value_PK: np.ndarray
    variance_PK: np.ndarray
    is_exact_K: tuple[bool, ...]


@dataclass(frozen=True)
class _Ballots:
    """Groups of equal size m as matrices [B, m], and each answer's correctness [B, A].

    ``code_BM`` is 1 + the answer's number, 0 where there is no answer.
    """

    code_BM: np.ndarray
    weight_BM: np.ndarray
    truth_BM: np.ndarray
    answer_truth_BA: np.ndarray


def vote(
    problem_index: np.ndarray,
    answers: Sequence[str | None],
    is_correct: np.ndarray,
    n_problems: int,
    ns: Sequence[int],
    weights: np.ndarray | None = None,
    *,
    subsets: int = SUBSETS,
    seed: int = 0,
) -> VoteValues:
    """Expected correctness of the answer with the most votes among n responses, by problem.

    Answers that tie share equally. A response without an answer (None) casts no vote, and neither does a weight of 0
    or NaN (unparseable verdict). Where no vote is cast, one of the n responses is taken at random: so every vote's
    accuracy at n = 1 is the plain accuracy. An answer counts as correct as its responses are on average (they agree
    wherever correctness is a function of the answer).

    The random subsets are drawn once per (m, n); each problem's responses are shuffled before, which makes its subsets
    uniform and its error independent of other problems'. The same seed gives every weighting the same subsets.

    Args:
        problem_index: int [N], ascending, 0..P-1, every problem at least once.
        answers: N canonical final answers.
        is_correct: bool [N].
        n_problems: P.
        ns: sizes of the subsets.
        weights: float [N], at least 0, or NaN; None weighs every answer 1 (majority).
        subsets: random subsets per problem and n.
        seed: of the subsets.

    Raises:
        ValueError: problems without responses or not ascending, an n below 1, subsets below 2, negative or infinite
            weights.
    """
    size_P = group_sizes(problem_index, n_problems)
    _check(problem_index, ns, subsets)
    weight = _vote_sizes(weights, len(is_correct))
    code, n_answers_P = _answer_codes(problem_index, answers, n_problems)
    value_PK, variance_PK = (np.full((n_problems, len(ns)), np.nan) for _ in range(2))
    start_P = np.cumsum(size_P) - size_P
    is_exact_K = [True] * len(ns)
    for m in np.unique(size_P).tolist():
        # Problems with few answers beside each other: a block is as wide as its widest problem.
        problems = np.flatnonzero(size_P == m)
        problems = problems[np.argsort(n_answers_P[problems], kind="stable")]
        shuffled_BM = np.random.default_rng([seed, m]).permuted(np.tile(np.arange(m), (len(problems), 1)), axis=1)
        order_BM = start_P[problems, None] + shuffled_BM
        for k, n in enumerate(ns):
            if n > m:
                continue
            drawn_SN, is_exact = _subsets(m, n, subsets, seed)
            is_exact_K[k] &= is_exact
            for rows in _blocks(n_answers_P[problems] + 1, len(drawn_SN), n):
                value_BS = _vote_values(_ballots(order_BM[rows], code, weight, is_correct), drawn_SN)
                value_PK[problems[rows], k] = value_BS.mean(1)
                variance_PK[problems[rows], k] = 0.0 if is_exact else value_BS.var(1, ddof=1) / len(drawn_SN)
    return VoteValues(value_PK, variance_PK, tuple(is_exact_K))


def _check(problem_index: np.ndarray, ns: Sequence[int], subsets: int) -> None:
    check_ns(ns)
    if subsets < 2:
        raise ValueError(f"subsets must be at least 2 (their spread is the Monte-Carlo error), got {subsets}")
    if (np.diff(problem_index) < 0).any():
        raise ValueError("responses must be sorted by problem")


def _vote_sizes(weights: np.ndarray | None, n_responses: int) -> np.ndarray:
    """What each response's vote counts: 1 in a majority vote, 0 for a NaN weight."""
    weight = np.ones(n_responses) if weights is None else np.where(np.isnan(weights), 0.0, weights)
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError("weights of a vote must be numbers of at least 0; see vote_weights")
    return weight


def _answer_codes(
    problem_index: np.ndarray, answers: Sequence[str | None], n_problems: int
) -> tuple[np.ndarray, np.ndarray]:
    """Number of each response's answer within its problem, from 1 (0: no answer), and answers per problem [P]."""
    numbers: list[dict[str, int]] = [{} for _ in range(n_problems)]
    code = np.zeros(len(answers), dtype=np.int64)
    for i, (problem, answer) in enumerate(zip(problem_index.tolist(), answers, strict=True)):
        if answer is not None:
            known = numbers[problem]
            code[i] = known.setdefault(answer, len(known) + 1)
    return code, np.array([len(known) for known in numbers])


def _subsets(m: int, n: int, subsets: int, seed: int) -> tuple[np.ndarray, bool]:
    """Subsets [S, n] of range(m), and whether they are all there are."""
    if math.comb(m, n) <= subsets:
        return np.array(list(itertools.combinations(range(m), n)), dtype=np.int64), True
    rng = np.random.default_rng([seed, m, n])
    return rng.random((subsets, m)).argsort(axis=1)[:, :n], False


def _blocks(width_B: np.ndarray, n_subsets: int, n: int) -> list[slice]:
    """Slices of problems, by ascending width, whose vote counts and ballots fit into CELLS (one problem at least)."""
    blocks, start = [], 0
    while start < len(width_B):
        stop = start + 1
        while stop < len(width_B) and (stop + 1 - start) * n_subsets * max(int(width_B[stop]), n) <= CELLS:
            stop += 1
        blocks.append(slice(start, stop))
        start = stop
    return blocks


def _ballots(order_BM: np.ndarray, code: np.ndarray, weight: np.ndarray, is_correct: np.ndarray) -> _Ballots:
    code_BM, truth_BM = code[order_BM], is_correct[order_BM].astype(float)
    n_blocks, width = len(order_BM), int(code_BM.max()) + 1
    cell = (np.arange(n_blocks)[:, None] * width + code_BM).ravel()
    correct = np.bincount(cell, weights=truth_BM.ravel(), minlength=n_blocks * width)
    count = np.bincount(cell, minlength=n_blocks * width)
    answer_truth = (correct / np.maximum(count, 1)).reshape(n_blocks, width)
    return _Ballots(code_BM, np.where(code_BM > 0, weight[order_BM], 0.0), truth_BM, answer_truth)


def _vote_values(ballots: _Ballots, drawn_SN: np.ndarray) -> np.ndarray:
    """Expected correctness of the winner of every subset: float64 [B, S]."""
    n_blocks, width = ballots.answer_truth_BA.shape
    n_subsets = len(drawn_SN)
    base = (np.arange(n_blocks * n_subsets) * width).reshape(n_blocks, n_subsets, 1)
    cell = base + ballots.code_BM[:, drawn_SN]
    votes = np.bincount(cell.ravel(), weights=ballots.weight_BM[:, drawn_SN].ravel(), minlength=base.size * width)
    votes_BSA = votes.reshape(n_blocks, n_subsets, width)
    most_BS = votes_BSA.max(2)
    leads_BSA = votes_BSA >= (most_BS * (1.0 - TIE))[:, :, None]
    won_BS = np.einsum("bsa,ba->bs", leads_BSA.astype(float), ballots.answer_truth_BA) / leads_BSA.sum(2)
    return np.where(most_BS > 0, won_BS, ballots.truth_BM[:, drawn_SN].mean(2))


def vote_curve(
    problem_index: np.ndarray,
    answers: Sequence[str | None],
    is_correct: np.ndarray,
    counts_RP: np.ndarray,
    confidence: float,
    ns: Sequence[int] | None = None,
    weights: np.ndarray | None = None,
    *,
    subsets: int = SUBSETS,
    seed: int = 0,
) -> list[CurvePoint]:
    """Accuracy of a vote against n with intervals over problems; see ``vote`` (``default_ns`` when ns is None).

    NaN at every n where no response at all has an answer (recorded labels are the truth, say): there is nothing to vote
    over, and ``vote`` would give the plain accuracy everywhere.
    """
    n_problems = counts_RP.shape[1]
    ns = default_ns(problem_index, n_problems) if ns is None else ns
    if all(answer is None for answer in answers):
        nothing_PK = np.full((n_problems, len(ns)), np.nan)
        undefined = VoteValues(nothing_PK, nothing_PK, (True,) * len(ns))
        return _points(undefined, ns, counts_RP, confidence, subsets)
    values = vote(problem_index, answers, is_correct, n_problems, ns, weights, subsets=subsets, seed=seed)
    return _points(values, ns, counts_RP, confidence, subsets)


def _points(
    values: VoteValues, ns: Sequence[int], counts_RP: np.ndarray, confidence: float, subsets: int
) -> list[CurvePoint]:
    points = []
    for k, n in enumerate(ns):
        value_P = values.value_PK[:, k]
        used_P = ~np.isnan(value_P)
        variance = float(values.variance_PK[used_P, k].sum())
        points.append(
            CurvePoint(
                n=n,
                accuracy=mean_interval(value_P, counts_RP, confidence),
                n_problems=int(used_P.sum()),
                subsets=None if values.is_exact_K[k] else subsets,
                monte_carlo_error=math.sqrt(variance) / max(int(used_P.sum()), 1),
            )
        )
    return points
