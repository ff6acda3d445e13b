"""Simulated studies: what is drawn, how labels are spread over it, and how often intervals cover the truth.

Vectorised over studies. ``python -m tests.control_variates.simulated`` prints the whole table (minutes).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ops.control_variates.disjoint import disjoint_fit
from ops.control_variates.intervals import score_interval, t_interval
from ops.control_variates.studies import Studies, folds_by_problem, studies_of
from ops.control_variates.variance import Fit, fit

PAIRS_PER_LABEL = 5  # N / n
PAIRS_PER_PROBLEM, LABELLED_PER_PROBLEM = 4, 2  # clustered
STRATA = ((0.5, 1 / 3, 0.0), (0.3, 1 / 3, 0.15), (0.2, 1 / 3, -0.2))  # part of pairs, part of labels, added win rate
ESTIMATORS = ("human", "control_variate", "cross_fitted")
LABELS = (30, 100, 300)
CHUNK, FEW = 1_000, 200  # studies at once; of those that share the sizes of strata
PRIOR_LABELS = 4


@dataclass(frozen=True)
class Scenario:
    """How labels and scores come about.

    Attributes:
        win_rate, ties: mean label, and the part of labels of one half.
        signal: how far the judge's score moves, in its own noise's standard deviations, from label 0 to label 1.
        scale: ``unit`` in (0, 1), or ``skewed``, from 40 to 100 and most of it near 40.
    """

    win_rate: float
    ties: float
    signal: float
    scale: str = "unit"


SCENARIOS = {
    "balanced": Scenario(0.5, 0.1, 1.5),
    "skewed": Scenario(0.8, 0.1, 1.5),
    "useless": Scenario(0.7, 0.1, 0.0),
    "good": Scenario(0.6, 0.1, 5.0),
    "miscalibrated": Scenario(0.65, 0.1, 2.0, "skewed"),
}
EXTREME = {"binary .9": Scenario(0.9, 0.0, 1.5)}  # no interval covers as stated with 30 such labels


def labels_of(uniform: np.ndarray, win_rate: float | np.ndarray, ties: float) -> np.ndarray:
    """0, 0.5 or 1 from uniform numbers; ``ties`` of them 0.5, mean ``win_rate``."""
    return np.where(uniform < ties, 0.5, np.where(uniform < win_rate + ties / 2, 1.0, 0.0))


def scores_of(labels: np.ndarray, noise: np.ndarray, scenario: Scenario, signal: float) -> np.ndarray:
    """A judge's scores, monotone in label plus noise."""
    unit = 1.0 / (1.0 + np.exp(-(signal * (labels - 0.5) + noise)))
    return 40.0 + 60.0 * unit**4 if scenario.scale == "skewed" else unit


@dataclass(frozen=True)
class Drawn:
    """Labels [R, N], NaN where hidden; scores [R, N, J]; the design; the true mean."""

    labels_RN: np.ndarray
    judges_RNJ: np.ndarray
    problem_N: np.ndarray
    stratum_N: np.ndarray
    truth: float

    @property
    def studies(self) -> Studies:
        """For the estimators."""
        return studies_of(self.labels_RN, self.judges_RNJ, self.problem_N, self.stratum_N)


def strata_of(scenario: Scenario, n_pairs: int, rng: np.random.Generator) -> tuple[np.ndarray, float, np.ndarray]:
    """Win rates of strata [S], their mean, and how many pairs each has: they are drawn, too."""
    part_S = np.array([part for part, _, _ in STRATA])
    rate_S = np.minimum(scenario.win_rate + np.array([added for _, _, added in STRATA]), 0.9)
    return rate_S, float(part_S @ rate_S), rng.multinomial(n_pairs, part_S)


def drawn(design: str, scenario: Scenario, n: int, studies: int, rng: np.random.Generator) -> Drawn:
    """Studies with ``n`` labels each; which columns are labelled is fixed, as pairs are exchangeable."""
    n_pairs = PAIRS_PER_LABEL * n
    if design == "clustered":
        n_pairs += -n_pairs % PAIRS_PER_PROBLEM
    shape = (studies, n_pairs)
    rate_N = np.full(n_pairs, scenario.win_rate)
    problem_N, stratum_N = np.arange(n_pairs), np.zeros(n_pairs, dtype=int)
    labelled_N = np.arange(n_pairs) < n
    truth = scenario.win_rate
    if design == "stratified":
        rate_S, truth, parts = strata_of(scenario, n_pairs, rng)
        stratum_N = np.repeat(np.arange(len(STRATA)), parts)
        rate_N = rate_S[stratum_N]
        place_N = np.concatenate([np.arange(size) for size in parts])
        labelled_N = place_N < np.array([round(part * n) for _, part, _ in STRATA])[stratum_N]
    uniform_RN, noise_RN = rng.random(shape), rng.standard_normal(shape)
    if design == "clustered":
        problem_N = np.arange(n_pairs) // PAIRS_PER_PROBLEM
        place_N = np.arange(n_pairs) % PAIRS_PER_PROBLEM
        labelled_N = (problem_N < n // LABELLED_PER_PROBLEM) & (place_N < LABELLED_PER_PROBLEM)
        common_RN = rng.random((studies, n_pairs // PAIRS_PER_PROBLEM))[:, problem_N]
        uniform_RN = np.where(rng.random(shape) < 0.6, common_RN, uniform_RN)
    labels_RN = labels_of(uniform_RN, rate_N, scenario.ties)
    judges = [scores_of(labels_RN, noise_RN, scenario, scenario.signal)]
    if design == "several judges":
        other_RN = 0.7 * noise_RN + 0.7 * rng.standard_normal(shape)
        judges.append(scores_of(labels_RN, other_RN, scenario, 0.7 * scenario.signal))
        judges.append(rng.random(shape))
    return Drawn(np.where(labelled_N, labels_RN, np.nan), np.stack(judges, 2), problem_N, stratum_N, truth)


def drawn_in_waves(design: str, scenario: Scenario, n: int, studies: int, rng: np.random.Generator) -> Studies:
    """Half of the labels in equal parts over strata; the rest by what the first half says (Neyman), study by study."""
    n_pairs = PAIRS_PER_LABEL * n
    rate_S, _, parts = strata_of(scenario, n_pairs, rng)
    stratum_N = np.repeat(np.arange(len(STRATA)), parts)
    place_N = np.concatenate([np.arange(size) for size in parts])
    rate_N = rate_S[stratum_N]
    labels_RN = labels_of(rng.random((studies, n_pairs)), rate_N, scenario.ties)
    scores_RN = scores_of(labels_RN, rng.standard_normal(labels_RN.shape), scenario, scenario.signal)
    first = n // 2 // len(STRATA)
    total = n - first * len(STRATA)
    variance_RS = np.stack(
        [labels_RN[:, (stratum_N == s) & (place_N < first)].var(1, ddof=1) for s in range(len(STRATA))], 1
    )
    prior_R1 = variance_RS.mean(1, keepdims=True) + 0.01
    variance_RS = ((first - 1) * variance_RS + PRIOR_LABELS * prior_R1) / (first - 1 + PRIOR_LABELS)
    wanted_RS = parts * np.sqrt(variance_RS)
    size_RS = np.maximum(np.floor(total * wanted_RS / wanted_RS.sum(1, keepdims=True)), 2).astype(int)
    while (over_R := size_RS.sum(1) - total).any():
        largest_R = size_RS.argmax(1)
        size_RS[np.arange(studies), largest_R] -= np.sign(over_R)
    hidden_RN = place_N >= first + size_RS[:, stratum_N]
    wave_N = (place_N >= first).astype(int)
    labels_RN = np.where(hidden_RN, np.nan, labels_RN)
    return studies_of(labels_RN, scores_RN[..., None], np.arange(n_pairs), stratum_N, wave_N)


def drawn_at_once(design: str, scenario: Scenario, n: int, studies: int, rng: np.random.Generator) -> Studies:
    """Of any other nested design."""
    return drawn(design, scenario, n, studies, rng).studies


def drawn_apart(
    scenario: Scenario, n: int, studies: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels [R, n], their scores [R, n, 1], and scores of other pairs [R, M, 1]."""
    found = drawn("nested", scenario, n, studies, rng)
    return found.labels_RN[:, :n], found.judges_RNJ[:, :n], found.judges_RNJ[:, n:]


def fits_of(
    design: str, scenario: Scenario, n: int, studies: int, rng: np.random.Generator
) -> tuple[dict[str, Fit], float]:
    """The estimates of every estimator that the design has, by name; the true mean given the sizes of strata.

    Studies of one call share these sizes, so that it is this mean that estimates are compared with for bias.
    """
    if design.startswith("disjoint"):
        labels, near, far = drawn_apart(scenario, n, studies, rng)
        form = "plain" if design.endswith("plain") else "tuned"
        return {
            "human": disjoint_fit(labels, near[..., :0], far[..., :0]),
            "control_variate": disjoint_fit(labels, near, far, form),  # type: ignore[arg-type]
        }, scenario.win_rate
    waves = design == "waves"
    made = (drawn_in_waves if waves else drawn_at_once)(design, scenario, n, studies, rng)
    given = scenario.win_rate
    if made.n_strata > 1:
        rate_S = strata_of(scenario, 1, rng)[0]
        given = float(np.average(rate_S[made.stratum_B], weights=made.count_B))
    folded = made.in_folds(folds_by_problem(made.problem_L, 5, int(rng.integers(2**31))))
    return {
        "human": fit(made.without_judges()),
        "control_variate": fit(made),
        "cross_fitted": fit(folded, cross_fitted=True),
    }, given


def truth_of(design: str, scenario: Scenario) -> float:
    """The true mean label."""
    if design in ("stratified", "waves"):
        return strata_of(scenario, 1, np.random.default_rng(0))[1]
    return scenario.win_rate


@dataclass(frozen=True)
class Cell:
    """One estimator in one design: what many studies show.

    Attributes:
        bias: mean error, in standard deviations of the estimate; ``bias_z`` in standard errors of the simulation.
        score, t: coverage of the two intervals.
        spread: mean estimated variance / variance of the estimates.
        saving: 1 - variance / variance of the human estimates.
    """

    design: str
    scenario: str
    n: int
    estimator: str
    bias: float
    bias_z: float
    score: float
    t: float
    spread: float
    saving: float


def cells(design: str, name: str, n: int, studies: int, seed: int, confidence: float = 0.95) -> list[Cell]:
    """Coverage and bias of each estimator over ``studies`` simulated studies."""
    scenario, rng = {**SCENARIOS, **EXTREME}[name], np.random.default_rng(seed)
    truth = truth_of(design, scenario)
    found: dict[str, list[np.ndarray]] = {}
    chunk = FEW if design in ("stratified", "waves") else CHUNK
    for first in range(0, studies, chunk):
        fits, given = fits_of(design, scenario, n, min(chunk, studies - first), rng)
        for estimator, each in fits.items():
            ends = [score_interval(each, confidence), t_interval(each, confidence)]
            inside = [(low <= truth) & (truth <= high) for low, high in ends]
            found.setdefault(estimator, []).append(
                np.stack([each.value_R, each.value_R - given, each.variance_R, *inside])
            )
    result, human = [], 0.0
    for estimator, parts in found.items():
        value, error, variance, score, t = np.concatenate(parts, axis=1)
        human = human or value.var()
        bias = error.mean() / error.std()
        result.append(
            Cell(
                design,
                name,
                n,
                estimator,
                bias,
                bias * np.sqrt(studies),
                score.mean(),
                t.mean(),
                variance.mean() / value.var(),
                1.0 - value.var() / human,
            )
        )
    return result


DESIGNS = ("nested", "disjoint tuned", "disjoint plain", "stratified", "waves", "clustered", "several judges")


def grid(studies: int, names: tuple[str, ...] = tuple(SCENARIOS), seed: int = 0) -> Iterator[list[Cell]]:
    """All designs, numbers of labels and scenarios."""
    for place, design in enumerate(DESIGNS):
        for n in LABELS:
            for k, name in enumerate(names):
                yield cells(design, name, n, studies, seed + 100 * place + 10 * LABELS.index(n) + k)


def main() -> None:
    """Print the tables of docs/decisions/0019-control-variates.md: lowest and highest coverage over scenarios."""
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    for names in (tuple(SCENARIOS), tuple(EXTREME)):
        print(f"\n{', '.join(names)}; {studies:,} studies each\n")
        print("| design | estimator | " + " | ".join(f"n = {n}: score, t" for n in LABELS) + " | largest bias |")
        print("|" + "---|" * (len(LABELS) + 3))
        every = [cell for part in grid(studies, names) for cell in part]
        for design in DESIGNS:
            for estimator in ESTIMATORS:
                chosen = [cell for cell in every if (cell.design, cell.estimator) == (design, estimator)]
                if not chosen:
                    continue
                shown = []
                for n in LABELS:
                    of_n = [cell for cell in chosen if cell.n == n]
                    scores, ts = [cell.score for cell in of_n], [cell.t for cell in of_n]
                    shown.append(f"{min(scores):.3f}–{max(scores):.3f}, {min(ts):.3f}–{max(ts):.3f}")
                largest = max(chosen, key=lambda cell: abs(cell.bias))
                print(
                    f"| {design} | {estimator} | " + " | ".join(shown) + f" | {largest.bias:+.3f} (n = {largest.n}) |"
                )
        print("\nOutside .94-.96:")
        for cell in every:
            if not 0.94 <= cell.score <= 0.96:
                print(f"  {cell.design}, {cell.scenario}, n = {cell.n}, {cell.estimator}: {cell.score:.4f}")


if __name__ == "__main__":
    main()
