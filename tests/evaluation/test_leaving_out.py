"""What leaving a model out does to a judge that learns reference responses by heart: a simulation with known truth.

The judge is a logistic regression: a feature of the response that every model shares, and a number for every reference
response that only labels of its problem can teach. Copies learn from what ``pairs_to_learn`` gives them.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

from ops.evaluation.tuning_pairs import pairs_to_learn, problem_folds

N, LABELLED, MODELS, FOLDS, DRAWS = 150, 50, 8, 5, 40


def fitted(feature_R: np.ndarray, problem_R: np.ndarray, label_R: np.ndarray) -> tuple[float, np.ndarray]:
    """Weight of the feature and of every reference response, by Newton's method with a ridge of 1/2."""
    design = np.concatenate([feature_R[:, None], -np.eye(N)[problem_R]], axis=1)
    found = np.zeros(N + 1)
    for _ in range(6):
        p_R = expit(design @ found)
        slope = design.T @ (label_R - p_R) - 0.5 * found
        bend = (design * (p_R * (1 - p_R))[:, None]).T @ design + 0.5 * np.eye(N + 1)
        found += np.linalg.solve(bend, slope)
    return found[0], found[1:]


def one_draw(rng: np.random.Generator, same_problems: bool, folds: int | None) -> tuple[float, float, float]:
    """Squared correlation among labelled pairs and among all pairs, mean judgement of labelled minus of all pairs."""
    reference_N = rng.normal(0, 1.5, N)  # quality of the reference's responses, which nothing shows
    feature_MN = rng.normal(size=(MODELS, N))
    label_MN = (rng.random((MODELS, N)) < expit(feature_MN - reference_N)).astype(float)
    shared = rng.permutation(N)[:LABELLED]
    labelled = {m: shared if same_problems else rng.permutation(N)[:LABELLED] for m in range(MODELS)}
    cells = [(f"{m}/{x}", f"p{x}", str(m), f"{m}/{x}", f"r{x}", False, 0) for m in range(MODELS) for x in range(N)]
    names = ["pair_id", "problem_id", "model", "response", "reference_response", "is_identical", "sample_index"]
    pairs = pl.DataFrame(cells, schema=names, orient="row")
    said = [(f"{m}/{x}", label_MN[m, x]) for m, chosen in labelled.items() for x in chosen]
    labels = pl.DataFrame(said, schema=["pair_id", "label"], orient="row")

    fold_of = problem_folds(pairs["problem_id"], folds or 2, 0)
    judged_N = np.full(N, np.nan)
    for fold in range(folds or 1):
        own = [x for x in range(N) if folds is None or fold_of[f"p{x}"] == fold]
        rows = pairs_to_learn(pairs, labels, "0", () if folds is None else [f"p{x}" for x in own])
        places = [tuple(map(int, name.split("/"))) for name in rows["pair_id"]]
        model_R, problem_R = np.array(places).T
        weight, quality_N = fitted(feature_MN[model_R, problem_R], problem_R, rows["label"].to_numpy())
        judged_N[own] = expit(weight * feature_MN[0] - quality_N)[own]
    mine = labelled[0]
    among = [np.corrcoef(label_MN[0][part], judged_N[part])[0, 1] ** 2 for part in (mine, np.arange(N))]
    return among[0], among[1], judged_N[mine].mean() - judged_N.mean()


@pytest.mark.parametrize(
    ("same_problems", "folds", "flatters"),
    [(False, None, False), (True, None, True), (True, FOLDS, False)],
    ids=["own draws", "same problems", "same problems, by folds"],
)
def test_labelled_pairs_say_how_good_the_judge_is(same_problems, folds, flatters):
    """With a draw of its own for each model, or by folds, labelled pairs are like the others; else they flatter.

    The mean judgement differs by chance alone in all three, so estimates are unbiased.
    """
    rng = np.random.default_rng(0)
    labelled_D, all_D, shift_D = np.array([one_draw(rng, same_problems, folds) for _ in range(DRAWS)]).T
    excess_D = labelled_D - all_D
    error = excess_D.std(ddof=1) / np.sqrt(DRAWS)
    if flatters:
        assert excess_D.mean() > 0.05
        assert excess_D.mean() > 4 * error
    else:
        assert abs(excess_D.mean()) < 3 * error + 0.02  # a squared correlation of 50 pairs is 1/50 too large by itself
    assert abs(shift_D.mean()) < 3.5 * shift_D.std(ddof=1) / np.sqrt(DRAWS)
