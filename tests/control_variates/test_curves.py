"""Curves of squared error: hand arithmetic, theory, the realised saving."""

import numpy as np
import pytest

from ops.control_variates.curves import check_drawn_uniformly, default_grid, equal_labels, fewest_labels, label_curves
from ops.control_variates.data import LabelledPairs
from ops.control_variates.estimate import estimate
from ops.control_variates.redraws import Population, redrawn_errors
from ops.errors import DatasetError


def _pairs(n, seed, *, per_problem=1, labelled=1.0, noise=0.8):
    """Latent quality shared in part by the pairs of a problem; ties where it is near 0; a good and a useless judge."""
    rng = np.random.default_rng(seed)
    problem_N = np.repeat(np.arange(n // per_problem), per_problem)
    quality_N = 0.7 * rng.normal(size=n // per_problem)[problem_N] + 0.7 * rng.normal(size=n) + 0.6
    z_N = np.where(np.abs(quality_N) < 0.1, 0.5, (quality_N > 0).astype(float))
    judges_N2 = np.stack([quality_N + noise * rng.normal(size=n), 50 + 3 * rng.normal(size=n)], axis=1)
    label_N = np.where(rng.random(n) < labelled, z_N, np.nan)
    return LabelledPairs(label_N, judges_N2, problem_N, np.zeros(n, int), np.where(np.isnan(label_N), -1, 0))


def test_default_grid():
    # 10 to 160 in 5 geometric steps: factor 2.
    assert default_grid(321, points=5).tolist() == [10, 20, 40, 80, 160]
    assert default_grid(20).tolist() == [10]
    with pytest.raises(DatasetError):
        default_grid(19)


def test_predicted_by_hand():
    # 20 labels, 10 of them 1: S^2 = 20/4 / 19 = 5/19. The judge agrees with 9 of each ten: sum of products of +-1/2
    # deviations 18/4 - 2/4 = 4, rho = 4/5. n = 10: human (1/10 - 1/20) 5/19 = 1/76; judge: x (1 - 16/25) x 8/7.
    z_N = np.repeat([1.0, 0.0], 10)
    judge_N = np.where(np.arange(20) % 10 == 0, 1 - z_N, z_N)
    pairs = LabelledPairs(z_N, judge_N[:, None], np.arange(20), np.zeros(20, int), np.zeros(20, int))
    found = {p.estimator: p.predicted for p in label_curves(pairs, {"a": [0]}, 0.95, redraws=50, resamples=20).points}
    assert found["human"] == pytest.approx(1 / 76)
    assert found["control_variate"] == pytest.approx(1 / 76 * 9 / 25 * 8 / 7)


def test_equal_labels_by_hand():
    # L = 100, human errors (1/n - 1/100) x 4 at n = 10, 20, 50: .36, .16, .04. Error .36 is 10 labels, .10: 1/m = .035.
    # .72 is beyond the first point: part .18, 1/m = .19. 0: all of them.
    human_G, grid_G = np.array([0.36, 0.16, 0.04]), np.array([10, 20, 50])
    found = [equal_labels(human_G, grid_G, 100, error) for error in (0.36, 0.10, 0.72, 0.0)]
    assert found == pytest.approx([10, 1 / 0.035, 1 / 0.19, 100])


@pytest.mark.parametrize("per_problem", [1, 3])
def test_a_redraw_is_the_estimate(per_problem):
    # The batch of redraws against ops.control_variates.estimate on the same labelled pairs.
    pairs = _pairs(120, 0, per_problem=per_problem)
    population = Population(pairs, {"a": [0], "both": [0, 1]})
    grid_G = np.array([20, 60])
    error = redrawn_errors(population, grid_G, 1, 3, 5)
    order_RL = np.random.default_rng([5, 0]).random((3, 120)).argsort(axis=1)
    for r in range(3):
        for g, n in enumerate(grid_G):
            label_N = np.full(120, np.nan)
            label_N[order_RL[r, :n]] = pairs.labels_N[order_RL[r, :n]]
            wave_N = np.where(np.isnan(label_N), -1, 0)
            for name, columns in (("a", [0]), ("both", [0, 1])):
                redrawn = LabelledPairs(label_N, pairs.judges_NJ[:, columns], pairs.problem_N, pairs.stratum_N, wave_N)
                known = estimate(redrawn, "control_variate").value - pairs.labels_N.mean()
                assert error["control_variate", name][r, g] == pytest.approx(known, abs=1e-9)
            known = estimate(redrawn, "human").value - pairs.labels_N.mean()
            assert error["human", None][r, g] == pytest.approx(known, abs=1e-9)


def test_all_but_one_labelled_by_cross_fitting_by_hand():
    # Cross-fitted with position % 2 folds: labels z, scores h (mean 0 over L = 6). n = 4, positions 0..3.
    rng = np.random.default_rng(0)
    z_N, h_N = rng.integers(0, 2, 24).astype(float), rng.normal(size=24)
    pairs = LabelledPairs(z_N, h_N[:, None], np.arange(24), np.zeros(24, int), np.zeros(24, int))
    population = Population(pairs, {"a": [0]})
    error = redrawn_errors(population, np.array([12]), 2, 1, 8)["cross_fitted", "a"][0, 0]
    order = np.random.default_rng([8, 0]).random((1, 24)).argsort(axis=1)[0]
    first, last = order[:12], order[12:]
    value = z_N[first].mean()
    for k in range(2):
        fold, other = first[k::2], first[1 - k :: 2]
        alpha = np.cov(z_N[other], h_N[other])[0, 1] / h_N[other].var(ddof=1)
        value -= 6 / 12 * alpha * (1 - 12 / 24) * (h_N[fold].mean() - h_N[last].mean())
    assert error == pytest.approx(value - z_N.mean())


@pytest.mark.parametrize("per_problem", [1, 4])
def test_redraws_agree_with_theory(per_problem):
    pairs = _pairs(800, 1, per_problem=per_problem)
    curves = label_curves(
        pairs, {"good": [0], "useless": [1]}, 0.95, cross_fitted=True, redraws=4000, grid_G=[40, 100, 400]
    )
    for point in curves.points:  # 4 standard errors of a mean of squared normal errors are 4 sqrt(2 / 4000) = 9 %
        assert point.squared_error.value / point.predicted == pytest.approx(
            1, abs=0.12 if point.n_labels == 40 else 0.09
        )
        assert point.squared_error.low < point.squared_error.value < point.squared_error.high
    for saving in curves.savings:
        assert saving.saving.value == pytest.approx(saving.predicted, abs=0.08)
        assert saving.saving.low <= saving.predicted <= saving.saving.high
        if saving.judge == "good":  # rho^2 (1 - n/L), but for the price of alpha
            label_N, judge_N = pairs.labels_N, pairs.judges_NJ[:, 0]
            square = np.corrcoef(label_N, judge_N)[0, 1] ** 2
            assert saving.predicted == pytest.approx(square * (1 - saving.n_labels / 800), abs=0.03)
            assert saving.saving.low > 0


def test_unlabelled_pairs_play_no_part():
    pairs = _pairs(400, 2, labelled=0.6)
    labelled_N = ~np.isnan(pairs.labels_N)
    alone = LabelledPairs(
        pairs.labels_N[labelled_N],
        pairs.judges_NJ[labelled_N],
        pairs.problem_N[labelled_N],
        pairs.stratum_N[labelled_N],
        pairs.wave_N[labelled_N],
    )
    first, second = (label_curves(some, {"a": [0]}, 0.95, redraws=100, resamples=50).points for some in (pairs, alone))
    for one, other in zip(first, second, strict=True):
        assert one.squared_error.value == pytest.approx(other.squared_error.value)


def test_an_interval_over_problems_covers_the_error_of_the_population():
    # The truth: the squared error at n = 60 that populations of 300 pairs have on average, (1/60 - 1/300) sigma^2.
    inside = []
    sigma2 = _pairs(200_000, 99).labels_N.var()
    truth = (1 / 60 - 1 / 300) * sigma2
    for seed in range(60):
        points = label_curves(_pairs(300, seed), {}, 0.95, redraws=300, resamples=200, grid_G=[60], seed=seed).points
        inside.append(points[0].squared_error.low <= truth <= points[0].squared_error.high)
    assert np.mean(inside) > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 60)


@pytest.mark.parametrize("grid", [[30, 20], [3, 20], [20, 400]])
def test_a_grid_that_cannot_be_is_an_error(grid):
    with pytest.raises(DatasetError) as caught:
        label_curves(_pairs(400, 0), {"a": [0]}, 0.95, grid_G=grid)
    assert caught.value.field == "grid"


def _in_strata(counts, sizes, waves=1):
    """Labels in strata of these sizes, so many of each labelled, in turn of each wave."""
    stratum_N = np.repeat(np.arange(len(sizes)), sizes)
    place_N = np.concatenate([np.arange(size) for size in sizes])
    labelled_N = place_N < np.asarray(counts)[stratum_N]
    n = len(stratum_N)
    rng = np.random.default_rng(0)
    label_N = np.where(labelled_N, (rng.random(n) < 0.7).astype(float), np.nan)
    return LabelledPairs(
        label_N, rng.normal(size=(n, 1)), np.arange(n), stratum_N, np.where(labelled_N, place_N % waves, -1)
    )


def test_labels_of_strata_in_unequal_parts_have_no_curve():
    # 100 of 1,000 pairs, expected 80 and 20 of strata of 800 and 200. 60 and 40: (400/80 + 400/20)/.9 = 27.8 (x .999)
    # with one degree of freedom, p = 1e-7. 74 and 26: (36/80 + 36/20)/.9 = 2.5, p = .11, may be a uniform draw.
    few = {"redraws": 20, "resamples": 10}
    with pytest.raises(DatasetError, match="2 categories in unequal parts"):
        label_curves(_in_strata((60, 40), (800, 200)), {"a": [0]}, 0.95, **few)
    assert label_curves(_in_strata((74, 26), (800, 200)), {"a": [0]}, 0.95, **few).points
    # Later waves may have followed from earlier labels, whatever their parts.
    with pytest.raises(DatasetError, match="2 waves in 2 categories"):
        label_curves(_in_strata((80, 20), (800, 200), waves=2), {"a": [0]}, 0.95, **few)
    assert label_curves(_in_strata((100,), (1000,), waves=2), {"a": [0]}, 0.95, **few).points


def test_a_uniform_wave_in_strata_has_a_curve_nearly_always():
    # 2,000 uniform draws of 60 of 200 pairs in three strata: refused with probability .001; 4 of 2,000 may be.
    rng = np.random.default_rng(1)
    stratum_N, refused = np.repeat([0, 1, 2], [120, 60, 20]), 0
    for _ in range(2000):
        label_N = np.full(200, np.nan)
        label_N[rng.permutation(200)[:60]] = np.arange(60) % 2
        wave_N = np.where(np.isnan(label_N), -1, 0)
        try:
            check_drawn_uniformly(LabelledPairs(label_N, np.zeros((200, 0)), np.arange(200), stratum_N, wave_N))
        except DatasetError:
            refused += 1
    assert refused <= 8


def test_each_set_of_judges_begins_where_it_can_be_estimated():
    # 9 judges at once: J + 4 = 13 labels; cross-fitted in 5 folds (9 + 3) 5/4 = 15, in 2 folds 24. One: 5, and 5 or 8.
    assert [fewest_labels(9), fewest_labels(9, 5), fewest_labels(9, 2)] == [13, 15, 24]
    assert [fewest_labels(1), fewest_labels(1, 5), fewest_labels(1, 2), fewest_labels(0)] == [5, 5, 8, 4]
    rng = np.random.default_rng(0)
    z_N = (rng.random(120) < 0.6).astype(float)
    judges_NJ = z_N[:, None] + rng.normal(size=(120, 9))
    pairs = LabelledPairs(z_N, judges_NJ, np.arange(120), np.zeros(120, int), np.zeros(120, int))
    found = label_curves(
        pairs,
        {"a": [0], "all": list(range(9))},
        0.95,
        cross_fitted=True,
        folds=2,
        redraws=50,
        resamples=20,
        grid_G=[10, 13, 16, 24, 40],
    )
    numbers = {}
    for point in found.points:
        numbers.setdefault((point.estimator, point.judge), []).append(point.n_labels)
        assert np.isfinite(point.predicted) and np.isfinite(point.squared_error.value)
    assert numbers["human", None] == numbers["control_variate", "a"] == numbers["cross_fitted", "a"]
    assert numbers["human", None] == [10, 13, 16, 24, 40]
    assert numbers["control_variate", "all"] == [13, 16, 24, 40]
    assert numbers["cross_fitted", "all"] == [24, 40]
    assert {saving.n_labels for saving in found.savings if saving.judge == "all"} == {13, 16, 24, 40}


def test_there_is_no_theory_below_judges_and_3_labels():
    # Five judges, two folds: alpha from 13/2 = 6.5 labels, 6.5 - 5 - 2 < 0; from 16/2 = 8: (8 - 2)/(8 - 7) = 6 times.
    rng = np.random.default_rng(0)
    z_N = (rng.random(120) < 0.6).astype(float)
    judges_NJ = z_N[:, None] + rng.normal(size=(120, 5))
    population = Population(
        LabelledPairs(z_N, judges_NJ, np.arange(120), np.zeros(120, int), np.zeros(120, int)), {"all": list(range(5))}
    )
    found = population.predicted(np.array([13, 14, 16]), "all", 2)
    left_over = population.variances(population.moment_PDD.sum(0)[None], "all")[0]
    assert np.isnan(found[:2]).all()
    assert found[2] == pytest.approx((1 / 16 - 1 / 120) * left_over * 6)


def test_equal_labels_have_no_curve():
    pairs = LabelledPairs(np.ones(50), np.zeros((50, 1)), np.arange(50), np.zeros(50, int), np.zeros(50, int))
    with pytest.raises(DatasetError, match="equal"):
        label_curves(pairs, {"a": [0]}, 0.95)
