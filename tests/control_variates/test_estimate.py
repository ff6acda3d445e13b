"""Estimators against arithmetic by hand, and what must hold for any labels and scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.control_variates.data import LabelledPairs
from ops.control_variates.disjoint import disjoint, disjoint_fit
from ops.control_variates.estimate import estimate
from ops.control_variates.studies import folds_by_problem, studies_of, study_of
from ops.control_variates.variance import fit
from ops.errors import DatasetError

NAN = float("nan")
ESTIMATORS = ("human", "control_variate", "cross_fitted")


def _pairs(labels, judges=None, problem=None, stratum=None, wave=None) -> LabelledPairs:
    labels = np.asarray(labels, dtype=float)
    n = len(labels)
    judges = np.zeros((n, 0)) if judges is None else np.asarray(judges, dtype=float).reshape(n, -1)
    return LabelledPairs(
        labels,
        judges,
        np.arange(n) if problem is None else np.asarray(problem),
        np.zeros(n, dtype=int) if stratum is None else np.asarray(stratum),
        np.where(np.isnan(labels), -1, 0) if wave is None else np.asarray(wave),
    )


def _random(rng, n_pairs=60, n_labels=20, n_judges=1, per_problem=1) -> LabelledPairs:
    labels = rng.choice([0.0, 0.5, 1.0], n_pairs)
    judges = labels[:, None] + rng.normal(size=(n_pairs, n_judges))
    problem = np.arange(n_pairs) // per_problem
    labels[rng.permutation(n_pairs)[n_labels:]] = NAN
    return _pairs(labels, judges, problem)


def test_human():
    # 1, 0, 1, 1/2: mean .625; squared distances .375² + .625² + .375² + .125² = .6875; /3 = .229167; /4 = .0572917.
    found = estimate(_pairs([1, 0, 1, 0.5, NAN, NAN]), "human")
    assert found.value == pytest.approx(0.625)
    assert found.standard_error == pytest.approx(0.0572917**0.5, rel=1e-5)
    assert found.degrees_of_freedom == pytest.approx(3)
    assert (found.n_labelled, found.n_pairs, found.n_problems) == (4, 6, 4)
    assert np.isnan(found.correlation) and found.coefficient_J.shape == (0,)
    assert found.saving == pytest.approx(0.0, abs=1e-12)


def test_synthetic_is_the_mean_of_all_scores():
    # 1, 2, 3, 6: mean 3; squares 4 + 1 + 0 + 9 = 14; /3 /4 = 1.166667.
    found = estimate(_pairs([1, NAN, NAN, NAN], [1, 2, 3, 6]), "synthetic")
    assert found.value == pytest.approx(3.0)
    assert found.standard_error == pytest.approx((14 / 12) ** 0.5)
    assert np.isnan(found.saving) and found.n_labelled == 1
    assert (found.low, found.high) == (found.t_low, found.t_high)
    assert estimate(_pairs([NAN] * 4, [1, 2, 3, 6]), "synthetic", resamples=20).value == 3.0  # needs no label
    assert estimate(_pairs([NAN] * 3, [2, 2, 2]), "synthetic").standard_error == 0.0


# Labels 1 0 1 0 1/2 with scores 3 1 2 0 4; unlabelled scores 1 5 4. n = 5, N = 8.
LABELS = [1, 0, 1, 0, 0.5, NAN, NAN, NAN]
SCORES = [3, 1, 2, 0, 4, 1, 5, 4]


def test_control_variate():
    # Labelled: mean score 2, S_ee = 1 + 1 + 0 + 4 + 4 = 10, S_ze = .5 + .5 + 0 + 1 + 0 = 2, so alpha = .2.
    # All scores: mean 20/8 = 2.5. theta = .5 - .2 (2 - 2.5) = .6.
    # Residual sum 1 - .2 * 2 = .6; /(5 - 2) = .2; /5 = .04; alpha costs 1 + (1 - 5/8)/(5 - 3) = 1.1875: .0475.
    # All scores: squares around 2.5 sum to 22; alpha² 22/7 / 8 = .0157143. The human variance is 1/4/5.
    found = estimate(_pairs(LABELS, SCORES), "control_variate")
    assert found.value == pytest.approx(0.6)
    assert found.coefficient_J == pytest.approx([0.2])
    assert found.standard_error**2 == pytest.approx(0.0475 + 0.04 * 22 / 7 / 8)
    assert found.degrees_of_freedom == pytest.approx(3)
    assert found.correlation == pytest.approx((2 * 2 / (10 * 1)) ** 0.5)
    assert found.saving == pytest.approx(1 - (0.0475 + 0.04 * 22 / 7 / 8) / 0.05)


def test_control_variate_is_the_tuned_disjoint_estimate():
    # lambda = alpha (1 - n/N) = .2 * 3/8 = .075 on mean_n - mean_M = 2 - 10/3: .5 + .075 * 4/3 = .6.
    labels, scores = np.array(LABELS[:5]), np.array(SCORES, dtype=float)[:, None]
    apart = disjoint(labels, scores[:5], scores[5:])
    assert apart.value == pytest.approx(0.6)
    assert apart.coefficient_J == pytest.approx([0.075])
    # Variance: .2 of the residuals, times 1 + (3/8)² (1 + 5/3) / 2 = 1.1875; (.2 - .075)² * 10/4 left of the score;
    # scores 1 5 4: squares around 10/3 sum to 26/3, /2 = 13/3.
    expected = (0.2 * 1.1875 + 0.125**2 * 2.5) / 5 + 0.075**2 * (13 / 3) / 3
    assert apart.standard_error**2 == pytest.approx(expected)


def test_disjoint_in_the_form_of_the_paper():
    # lambda = alpha = .2: .5 - .2 (2 - 10/3) = .766667.
    # Variance: .2 (1 + (1 + 5/3) / 2) / 5 of the residuals, .2² (13/3) / 3 of the other scores.
    labels, scores = np.array(LABELS[:5]), np.array(SCORES, dtype=float)[:, None]
    found = disjoint(labels, scores[:5], scores[5:], form="plain")
    assert found.value == pytest.approx(0.5 + 0.2 * 4 / 3)
    assert found.standard_error**2 == pytest.approx(0.2 * (1 + 8 / 6) / 5 + 0.04 * (13 / 3) / 3)
    # Given coefficient 1: z - zh = -2, -1, -1, 0, -3.5: mean -1.5, squares .25 + .25 + .25 + 2.25 + 4 = 7.
    found = disjoint(labels, scores[:5], scores[5:], coefficient_J=np.array([1.0]))
    assert found.value == pytest.approx(-1.5 + 10 / 3)
    assert found.standard_error**2 == pytest.approx(7 / 4 / 5 + (13 / 3) / 3)
    assert found.degrees_of_freedom == 4


def test_cross_fitted():
    # Labels 0 1 1 1 with scores 0 0 1 1, one per fold; unlabelled scores 1 1 0 1: mean .75; n/N = 1/2.
    # alpha without the first: the labels 1 1 1 do not vary, 0. Without the second: labels = scores, 1.
    # Without the third or fourth: scores 0 0 1, labels 0 1 1: S_ee = 2/3, S_ze = 1 - 3 * 2/3 * 1/3 = 1/3, so 1/2.
    # theta = .75 - 1/4 * 1/2 * (0 (-.75) + 1 (-.75) + 1/2 (.25) + 1/2 (.25)) = .75 + .0625.
    pairs = _pairs([0, 1, 1, 1, NAN, NAN, NAN, NAN], [0, 0, 1, 1, 1, 1, 0, 1])
    found = estimate(pairs, "cross_fitted", folds=4)
    assert found.value == pytest.approx(0.8125)
    assert found.coefficient_J == pytest.approx([(0 + 1 + 0.5 + 0.5) / 4])
    assert estimate(pairs, "cross_fitted", folds=99).value == pytest.approx(0.8125)  # never more than problems


def test_two_judges():
    # Scores +-1 in all four combinations, twice: uncorrelated, so alpha_j = mean(z zh_j).
    # z = 1 1 1 0 | 1 0 .5 0 with zh_1 = + + - - and zh_2 = + - + -: alpha_1 = (2 - 1 + 1 - .5)/8,
    # alpha_2 = (2 - 1 + 1.5 - 0)/8.
    one, two = [1, 1, -1, -1] * 2, [1, -1, 1, -1] * 2
    labels = [1, 1, 1, 0, 1, 0, 0.5, 0]
    found = estimate(_pairs([*labels, NAN, NAN], np.array([[*one, 3, 2], [*two, 1, 0]]).T), "control_variate")
    assert found.coefficient_J == pytest.approx([1.5 / 8, 2.5 / 8])
    # Mean over all of zh_1: 5/10, of zh_2: 1/10; over the labelled 0. Mean label 4.5/8.
    assert found.value == pytest.approx(4.5 / 8 + 1.5 / 8 * 0.5 + 2.5 / 8 * 0.1)
    assert found.degrees_of_freedom == pytest.approx(8 - 1 - 2)


def test_strata():
    # A: 6 of 10 pairs, labels 1 0; B: 4 of 10, labels 1 1 1/2. theta = .6 * .5 + .4 * 2.5/3 = .633333.
    # Within: .6² * .5/2 = .09; .4² * (1/12)/3 = .0044444. Between: (.6 * .13333² + .4 * .2²)/(10 - 1) = .00296296.
    pairs = _pairs([1, 0, NAN, NAN, NAN, NAN, 1, 1, 0.5, NAN], stratum=[0] * 6 + [1] * 4)
    found = estimate(pairs, "human")
    assert found.value == pytest.approx(0.3 + 1 / 3)
    first, second = 0.09, 0.16 / 36
    assert found.standard_error**2 == pytest.approx(first + second + (0.6 * (2 / 15) ** 2 + 0.4 * 0.04) / 9)
    assert found.degrees_of_freedom == pytest.approx((first + second) ** 2 / (first**2 / 1 + second**2 / 2))


def test_strata_share_a_coefficient():
    # A: 8 pairs, 4 labelled, scores 0 0 1 1, labels 0 0 1 0: S_ee = 1, S_ze = 1/2.
    # B: 4 pairs, 2 labelled, scores 0 2, labels 0 1: S_ee = 2, S_ze = 1.
    # Weights W² (1/n - 1/N) / (n - 1): A (4/9)(1/8)/3 = 1/54, B (1/9)(1/4)/1 = 1/36;
    # alpha = (1/108 + 1/36)/(1/54 + 2/36) = (4/108)/(8/108) = 1/2. Scores without labels: A 1 1 1 1, B 1 1.
    # theta = 2/3 [1/4 - 1/2 (1/2 - 6/8)] + 1/3 [1/2 - 1/2 (1 - 4/4)] = 2/3 * 3/8 + 1/6 = 5/12.
    labels = [0, 0, 1, 0, NAN, NAN, NAN, NAN, 0, 1, NAN, NAN]
    scores = [0, 0, 1, 1, 1, 1, 1, 1, 0, 2, 1, 1]
    found = estimate(_pairs(labels, scores, stratum=[0] * 8 + [1] * 4), "control_variate")
    assert found.coefficient_J == pytest.approx([0.5])
    assert found.value == pytest.approx(5 / 12)


def test_waves_count_by_their_totals():
    # Two strata of 6. Wave 0: A 1 0, B 1: (.5 + 1)/2 = .75, 3 labels.
    # Wave 1: A 1, B 0 0 1/2: (1 + 1/6)/2 = .583333, 4 labels.
    # theta = (3 * .75 + 4 * .583333)/7; all labels of a stratum together would give (2/3 + 1.5/4)/2 = .520833.
    labels = [1, 0, 1, NAN, NAN, NAN, 1, 0, 0, 0.5, NAN, NAN]
    wave = [0, 0, 1, -1, -1, -1, 0, 1, 1, 1, -1, -1]
    found = estimate(_pairs(labels, stratum=[0] * 6 + [1] * 6, wave=wave), "human")
    assert found.value == pytest.approx((3 * 0.75 + 4 * 7 / 12) / 7)


def test_a_wave_without_a_stratum_leaves_its_part_to_the_others():
    # Wave 1 has no label in B (its file was filled in half): B's mean is wave 0's alone. A: wave 0 1 0, wave 1 1 1, so
    # (4 * .5 + 2 * 1)/6 = 2/3; B: 1/2. Wave 0 has 4 labels, wave 1 has 2.
    labels = [1, 0, 1, 1, NAN, NAN, 1, 0, NAN, NAN, NAN, NAN]
    wave = [0, 0, 1, 1, -1, -1, 0, 0, -1, -1, -1, -1]
    found = estimate(_pairs(labels, stratum=[0] * 6 + [1] * 6, wave=wave), "human")
    assert found.value == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_clusters():
    # Three problems with labels 1 1 | 0 0 | 1 0: mean 1/2; sums of (z - 1/2)/6: 1/6, -1/6, 0; 2/36 * 3/2 = 1/12.
    found = estimate(_pairs([1, 1, 0, 0, 1, 0, NAN], problem=[0, 0, 1, 1, 2, 2, 3]), "human")
    assert found.standard_error**2 == pytest.approx(1 / 12)
    assert found.degrees_of_freedom == pytest.approx(2)
    assert found.n_problems == 3
    # As if independent: 6 * .25 / 5 / 6 = .05.
    assert estimate(_pairs([1, 1, 0, 0, 1, 0, NAN]), "human").standard_error ** 2 == pytest.approx(0.05)


def test_clusters_hold_labelled_and_unlabelled_pairs_together():
    # As test_control_variate, but the unlabelled pairs belong to the problems of the first three labelled ones.
    # Influence of a labelled pair: residual/5, d = z - .2 zh - .1 = .3 -.3 .5 -.1 -.4; of every pair .2 (zh - 2.5)/8.
    residual = np.array([0.3, -0.3, 0.5, -0.1, -0.4]) / 5
    level = 0.2 * (np.array(SCORES) - 2.5) / 8
    by_problem = level[:5] + np.array([level[5], level[6], level[7], 0, 0])
    factor, whole = 5 / 4 * 4 / 3 * 1.1875, 5 / 4
    expected = (
        factor * (residual**2).sum()
        + 2 * (factor * whole) ** 0.5 * (residual * by_problem).sum()
        + whole * (by_problem**2).sum()
    )
    found = estimate(_pairs(LABELS, SCORES, problem=[0, 1, 2, 3, 4, 0, 1, 2]), "control_variate")
    assert found.value == pytest.approx(0.6)
    assert found.standard_error**2 == pytest.approx(expected)


def test_one_pair_per_problem_is_the_closed_form():
    """Var(z - a zh)/n + a² Var(zh)/N + 2 a Cov(z - a zh, zh)/N; the covariance is 0 at the fitted a."""
    pairs = _random(np.random.default_rng(1))
    found = estimate(pairs, "control_variate")
    labelled = ~np.isnan(pairs.labels_N)
    z, zh, alpha, n, n_pairs = pairs.labels_N[labelled], pairs.judges_NJ[labelled, 0], found.coefficient_J[0], 20, 60
    rest = z - alpha * zh
    assert np.cov(rest, zh)[0, 1] == pytest.approx(0.0, abs=1e-12)
    cost = (n - 1) / (n - 2) * (1 + (1 - n / n_pairs) / (n - 3))
    closed = cost * rest.var(ddof=1) / n + alpha**2 * pairs.judges_NJ[:, 0].var(ddof=1) / n_pairs
    assert found.standard_error**2 == pytest.approx(closed, rel=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_all_labelled_is_the_mean_of_the_labels(estimator):
    pairs = _random(np.random.default_rng(2), 30, 30)
    found, human = estimate(pairs, estimator), estimate(pairs, "human")
    assert found.value == pytest.approx(pairs.labels_N.mean())
    assert found.standard_error == pytest.approx(human.standard_error, rel=0.08)  # one degree of freedom less


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.one_of(st.floats(1e-3, 1e4), st.floats(-1e4, -1e-3)),
    shift=st.floats(-1e4, 1e4),
    n_judges=st.integers(1, 3),
    per_problem=st.integers(1, 3),
)
def test_the_scale_of_a_judge_does_not_matter(seed, scale, shift, n_judges, per_problem):
    pairs = _random(np.random.default_rng(seed), n_judges=n_judges, per_problem=per_problem)
    other = _pairs(pairs.labels_N, scale * pairs.judges_NJ + shift, pairs.problem_N)
    for estimator in ("control_variate", "cross_fitted"):
        one, two = estimate(pairs, estimator), estimate(other, estimator)
        assert two.value == pytest.approx(one.value, abs=1e-7)
        assert (two.low, two.high) == pytest.approx((one.low, one.high), abs=1e-7)
        assert two.coefficient_J * scale == pytest.approx(one.coefficient_J, abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_judges=st.integers(1, 3), n_labels=st.integers(6, 50))
def test_nested_is_tuned_disjoint(seed, n_judges, n_labels):
    pairs = _random(np.random.default_rng(seed), n_labels=n_labels, n_judges=n_judges)
    labelled = ~np.isnan(pairs.labels_N)
    apart = disjoint(pairs.labels_N[labelled], pairs.judges_NJ[labelled], pairs.judges_NJ[~labelled])
    nested = estimate(pairs, "control_variate")
    assert apart.value == pytest.approx(nested.value, abs=1e-9)
    assert apart.coefficient_J == pytest.approx(nested.coefficient_J * (1 - n_labels / 60), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), estimator=st.sampled_from(ESTIMATORS))
def test_the_order_of_pairs_does_not_matter(seed, estimator):
    rng = np.random.default_rng(seed)
    pairs = _random(rng, per_problem=2)
    order = rng.permutation(60)
    moved = _pairs(pairs.labels_N[order], pairs.judges_NJ[order], pairs.problem_N[order])
    one, two = estimate(pairs, estimator), estimate(moved, estimator)
    assert (two.value, two.standard_error, two.low) == pytest.approx((one.value, one.standard_error, one.low))
    assert 0 <= one.low <= one.high <= 1


@pytest.mark.parametrize("estimator", ["control_variate", "cross_fitted"])
def test_a_judge_that_says_nothing_new_changes_nothing(estimator):
    pairs = _random(np.random.default_rng(4), n_judges=1)
    one = estimate(pairs, estimator)
    same = estimate(_pairs(pairs.labels_N, np.hstack([pairs.judges_NJ, 3 - 2 * pairs.judges_NJ])), estimator)
    constant = estimate(_pairs(pairs.labels_N, np.hstack([pairs.judges_NJ, np.full((60, 1), 7.3)])), estimator)
    assert same.value == pytest.approx(one.value) and constant.value == pytest.approx(one.value)
    assert constant.coefficient_J[1] == 0.0
    only = estimate(_pairs(pairs.labels_N, np.full((60, 1), 7.3)), estimator)
    assert only.value == pytest.approx(estimate(pairs, "human").value)
    assert only.correlation == 0.0


def test_labels_that_are_all_equal():
    pairs = _pairs([1.0] * 10 + [NAN] * 20, np.random.default_rng(0).normal(size=30))
    found = estimate(pairs, "control_variate", resamples=50)
    assert found.value == 1.0 and found.standard_error == 0.0
    assert np.isnan(found.saving) and np.isnan(found.correlation)
    assert 0.5 < found.low < 0.9 and found.high == 1.0  # Wilson's from 10 problems, never a single point


def test_no_score_of_another_fold_enters_a_fold():
    """Given the coefficients, the estimate does not move with other folds' scores beyond their own difference."""
    pairs = _random(np.random.default_rng(5), 40, 10)
    study = study_of(pairs)
    fold = folds_by_problem(study.problem_L, 5, 0)
    assert sorted(np.bincount(fold)) == [2] * 5
    found = fit(study.in_folds(fold), cross_fitted=True).value_R[0]
    labelled = ~np.isnan(pairs.labels_N)
    z, zh = pairs.labels_N[labelled], pairs.judges_NJ[labelled, 0]
    total = 0.0
    for k in range(5):
        rest = fold != k
        alpha = np.cov(z[rest], zh[rest])[0, 1] / zh[rest].var(ddof=1)
        total += (
            z[~rest].mean() - alpha * (1 - 10 / 40) * (zh[~rest].mean() - pairs.judges_NJ[~labelled, 0].mean())
        ) / 5
    assert found == pytest.approx(total)


@pytest.mark.parametrize("cross_fitted", [False, True])
def test_many_studies_are_the_same_as_one_by_one(cross_fitted):
    rng = np.random.default_rng(6)
    labels, judges = rng.choice([0.0, 0.5, 1.0], (7, 60)), rng.normal(size=(7, 60, 2))
    problem, stratum, wave = np.arange(60) // 2, np.arange(60) // 20, np.arange(60) % 4 // 2
    labels[:, np.arange(60) % 5 > 2] = NAN
    labels[np.arange(7), 3 * np.arange(7)] = NAN  # another pair is missing in each study
    many = studies_of(labels, judges, problem, stratum, wave)
    folds = folds_by_problem(many.problem_L, 4, 1)
    together = fit(many.in_folds(folds), cross_fitted=cross_fitted)
    for r in range(7):
        one = studies_of(labels[r : r + 1], judges[r : r + 1], problem, stratum, wave)
        kept = many.labelled_RL[r] > 0
        alone = fit(one.in_folds(folds[kept]), cross_fitted=cross_fitted)
        assert alone.value_R[0] == pytest.approx(together.value_R[r])
        assert alone.variance_R[0] == pytest.approx(together.variance_R[r])
        assert alone.freedom_R[0] == pytest.approx(together.freedom_R[r])


def test_a_multiplicity_is_as_good_as_a_copy():
    """A problem that a resample holds twice counts like two problems with the same pairs."""
    rng = np.random.default_rng(7)
    pairs = _random(rng, per_problem=3)
    stratum = np.arange(60) // 30
    times = rng.integers(0, 3, 20)
    study = studies_of(pairs.labels_N[None], pairs.judges_NJ[None], pairs.problem_N, stratum)
    weighed = fit(study.resampled(times[None].astype(float)))
    copies = np.concatenate([np.flatnonzero(pairs.problem_N == p) for p in range(20) for _ in range(times[p])])
    copied = fit(
        studies_of(
            pairs.labels_N[None, copies], pairs.judges_NJ[None, copies], np.arange(len(copies)) // 3, stratum[copies]
        )
    )
    assert weighed.value_R[0] == pytest.approx(copied.value_R[0])
    assert weighed.variance_R[0] == pytest.approx(copied.variance_R[0])
    assert weighed.freedom_R[0] == pytest.approx(copied.freedom_R[0])


def test_disjoint_studies_are_the_same_as_one_by_one():
    rng = np.random.default_rng(8)
    labels, near, far = rng.random((4, 12)), rng.normal(size=(4, 12, 2)), rng.normal(size=(4, 30, 2))
    together = disjoint_fit(labels, near, far)
    for r in range(4):
        assert disjoint(labels[r], near[r], far[r]).value == pytest.approx(together.value_R[r])


@pytest.mark.parametrize(
    ("pairs", "estimator", "what"),
    [
        (_pairs([NAN, NAN, NAN]), "human", "labels of 0 problems"),
        (_pairs([1, NAN, NAN]), "human", "labels of 1 problems"),
        (_pairs([1, 0, NAN], problem=[0, 0, 1]), "human", "labels of 1 problems"),
        (_pairs([1, 0, 1, NAN], [1, 2, 3, 4]), "control_variate", "need 4"),
        (_pairs([1, 0, 1, NAN], [1, 2, 3, 4]), "cross_fitted", "need 4"),
        (_pairs([1, 0, 1, NAN], stratum=[0, 0, 1, 1]), "human", "in stratum 1"),
        (_pairs([1, 0, NAN, NAN], stratum=[0, 0, 2, 2]), "human", "without gaps"),
        (_pairs([1, 0, 1, 0, 1, NAN]), "control_variate", "without a judge"),
        (_pairs([1, 0, 1, 0], [1, 2, NAN, 4]), "control_variate", "missing or infinite"),
        (_pairs([1, 0, 2, 0]), "human", "outside"),
        (_pairs([1, 0], np.ones((2, 2))), "synthetic", "mean of one"),
        (_pairs([1, 0], wave=[-1, 0]), "human", "no wave"),
        (_pairs([]), "human", "no pair"),
    ],
)
def test_what_cannot_be_estimated_is_an_error_with_a_remedy(pairs, estimator, what):
    with pytest.raises(DatasetError, match=what):
        estimate(pairs, estimator)


def test_the_smallest_study_that_can_be_estimated():
    for n_judges in (1, 2, 3):
        n = n_judges + 3
        rng = np.random.default_rng(n)
        pairs = _pairs([*rng.integers(0, 2, n - 2), 0, 1, *[NAN] * 10], rng.normal(size=(n + 10, n_judges)))
        for estimator in ("control_variate", "cross_fitted"):
            found = estimate(pairs, estimator)
            assert np.isfinite([found.value, found.standard_error, found.low, found.high]).all()
    with pytest.raises(DatasetError, match="at least 4"):
        disjoint(np.ones(3), np.ones((3, 1)), np.ones((9, 1)))
