"""Labelled and unlabelled pairs as arrays with a leading axis of studies: one real study, resamples, or simulations.

Axes: R studies, N pairs, J judges, P problems, S strata, W waves, K folds; L pairs that are labelled in some study;
B blocks, the pairs of one problem in one stratum (unlabelled pairs enter every estimate through sums over these).
An array of length 1 along R is the same in all studies. What places a pair (problem, stratum, wave, fold) is the same
in all studies; whether it is labelled may differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ops.control_variates.data import LabelledPairs

CONSTANT = 1e-12  # a judge whose standard deviation is this small beside its size says nothing


@dataclass(frozen=True)
class Studies:
    """What estimates are computed from; pairs and blocks are sorted by (problem, stratum).

    Attributes:
        labels_RL: float, 0 where unlabelled in that study.
        labelled_RL: float, 1 where labelled, else 0.
        judges_RLJ, judges_RBJ: standardised scores of the labelled pairs, and their sums over all pairs of a block.
        scale_RJ: what the scores were divided by; infinite for a constant judge.
        times_RP: how often a problem is in the study: 1, or its multiplicity in a resample.
        problem_L, stratum_L, wave_L, fold_L: int, from 0.
        problem_B, stratum_B, count_B: of each block; ``count_B`` pairs.
    """

    labels_RL: np.ndarray
    labelled_RL: np.ndarray
    judges_RLJ: np.ndarray
    judges_RBJ: np.ndarray
    scale_RJ: np.ndarray
    times_RP: np.ndarray
    problem_L: np.ndarray
    stratum_L: np.ndarray
    wave_L: np.ndarray
    fold_L: np.ndarray
    problem_B: np.ndarray
    stratum_B: np.ndarray
    count_B: np.ndarray

    @property
    def n_strata(self) -> int:
        """How many strata there are."""
        return int(self.stratum_B.max()) + 1

    @property
    def n_judges(self) -> int:
        """How many judges there are."""
        return self.judges_RBJ.shape[2]

    @property
    def apart(self) -> bool:
        """Whether no problem has pairs in two strata, so that problems are blocks."""
        return len(self.problem_B) == self.times_RP.shape[1]

    def times_of_blocks(self) -> np.ndarray:
        """Multiplicities of the blocks' problems, float [R, B]."""
        return self.times_RP if self.apart else self.times_RP[:, self.problem_B]

    def resampled(self, times_RP: np.ndarray) -> Studies:
        """The same pairs with other multiplicities of problems, float [R, P]."""
        return replace(self, times_RP=times_RP)

    def in_folds(self, fold_L: np.ndarray) -> Studies:
        """The same pairs, labelled ones in other folds."""
        return replace(self, fold_L=fold_L)

    def without_judges(self) -> Studies:
        """The labels alone."""
        return replace(
            self,
            judges_RLJ=self.judges_RLJ[..., :0],
            judges_RBJ=self.judges_RBJ[..., :0],
            scale_RJ=self.scale_RJ[:, :0],
        )


def grouped(times: np.ndarray, values: np.ndarray, group_X: np.ndarray, n_groups: int) -> np.ndarray:
    """Sums of times * values over the members of each group: float [R, groups] from two arrays [R or 1, X]."""
    member_XG = (group_X[:, None] == np.arange(n_groups)).astype(np.float64)
    if len(values) == 1:
        return np.asarray(times @ (values[0][:, None] * member_XG))
    if len(times) == 1:
        return np.asarray(values @ (times[0][:, None] * member_XG))
    return np.asarray((times * values) @ member_XG)


def starts(sorted_X: np.ndarray) -> np.ndarray:
    """Where each run of equal values begins, for ``np.add.reduceat``."""
    return np.flatnonzero(np.r_[True, sorted_X[1:] != sorted_X[:-1]])


def studies_of(
    labels_RN: np.ndarray,
    judges_RNJ: np.ndarray,
    problem_N: np.ndarray,
    stratum_N: np.ndarray | None = None,
    wave_N: np.ndarray | None = None,
) -> Studies:
    """Studies of one design: labels float [R, N] (NaN where unlabelled), scores float [R, N, J], all in one fold.

    ``wave_N`` says which wave a pair would be labelled in; it counts only where the pair is labelled.
    """
    n_pairs = labels_RN.shape[1]
    stratum_N = np.zeros(n_pairs, dtype=int) if stratum_N is None else np.asarray(stratum_N)
    wave_N = np.zeros(n_pairs, dtype=int) if wave_N is None else np.asarray(wave_N)
    problem_N = np.unique(problem_N, return_inverse=True)[1]
    mean_RJ, deviation_RJ = judges_RNJ.mean(1), judges_RNJ.std(1)
    constant_RJ = deviation_RJ <= CONSTANT * np.abs(mean_RJ)
    scale_RJ = np.where(constant_RJ, np.inf, deviation_RJ)
    scores_RNJ = (judges_RNJ - mean_RJ[:, None]) / scale_RJ[:, None]
    order_N = np.lexsort((stratum_N, problem_N))
    in_order = bool((order_N == np.arange(n_pairs)).all())
    if not in_order:
        labels_RN, scores_RNJ = labels_RN[:, order_N], scores_RNJ[:, order_N]
        problem_N, stratum_N, wave_N = problem_N[order_N], stratum_N[order_N], wave_N[order_N]
    start_B = starts(problem_N * (stratum_N.max() + 1) + stratum_N)
    single = len(start_B) == n_pairs
    column_L = np.flatnonzero((~np.isnan(labels_RN)).any(0))
    labels_RL = labels_RN[:, column_L]
    labelled_RL = ~np.isnan(labels_RL)
    return Studies(
        labels_RL=np.where(labelled_RL, labels_RL, 0.0),
        labelled_RL=(labelled_RL[:1] if (labelled_RL == labelled_RL[:1]).all() else labelled_RL).astype(np.float64),
        judges_RLJ=scores_RNJ[:, column_L],
        judges_RBJ=scores_RNJ if single else np.add.reduceat(scores_RNJ, start_B, axis=1),
        scale_RJ=scale_RJ,
        times_RP=np.ones((1, int(problem_N.max()) + 1)),
        problem_L=problem_N[column_L],
        stratum_L=stratum_N[column_L],
        wave_L=np.maximum(wave_N[column_L], 0),
        fold_L=np.zeros(len(column_L), dtype=int),
        problem_B=problem_N[start_B],
        stratum_B=stratum_N[start_B],
        count_B=np.diff(np.r_[start_B, n_pairs]).astype(np.float64),
    )


def study_of(pairs: LabelledPairs) -> Studies:
    """The one study of ``pairs``."""
    return studies_of(pairs.labels_N[None], pairs.judges_NJ[None], pairs.problem_N, pairs.stratum_N, pairs.wave_N)


def folds_by_problem(problem_L: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """A fold of each labelled pair, int [L]: problems shuffled and dealt out in turn, so that folds are alike."""
    problems = np.unique(problem_L)
    shuffled = np.random.default_rng(seed).permutation(len(problems))
    return (shuffled % min(folds, len(problems)))[np.searchsorted(problems, problem_L)]
