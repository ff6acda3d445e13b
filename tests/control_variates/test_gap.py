"""The gap from few labels: by hand, against the gap from all labels, and by simulation."""

import numpy as np
import pytest
from scipy.stats import norm

from ops.control_variates.gap import gap_from_labels
from ops.control_variates.gap_regression import LabelledResponses
from ops.errors import DatasetError
from ops.estimation.bootstrap import resample_counts
from ops.estimation.classification import classify
from ops.estimation.gap import estimate_gap

NAN = float("nan")


def _responses(labels, weights, judges, problems):
    return LabelledResponses(np.array(labels), np.array(weights, float), np.array(judges, float), np.array(problems))


def test_by_hand_without_judges():
    # Six problems of two responses; the first is kept: c = (1/(1/2) - 1, 0 - 1) = (1, -1). Labels of the first response
    # of problems 0-2 are 1, 1, 0, of the second response of problems 3-5 they are 0, 1, 0: y = 1, 1, 0, 0, -1, 0.
    # mean y = 1/6, mean c = 0; alpha = cov(c, y)/var(c): sum c y = 1 + 1 + 0 + 0 + 1 + 0 = 3, sum c^2 = 6, alpha = 1/2.
    # mean_n(c) = 0 = mean_N(c): the estimate is 1/6.
    labels = [1, NAN, 1, NAN, 0, NAN, NAN, 0, NAN, 1, NAN, 0]
    responses = _responses(labels, [1, 0] * 6, np.zeros((12, 0)), np.repeat(np.arange(6), 2))
    found = gap_from_labels(responses, 0.95)
    assert found.labels_only.value == pytest.approx(1 / 6)
    # Residuals e = y - 1/6 - c/2: 1/3, 1/3, -2/3, 1/3, -2/3, 1/3; leverage 1/6 + c^2/6 = 1/3, so e / (2/3): 1/2, 1/2,
    # -1, 1/2, -1, 1/2, over n = 6. Controls add alpha (c_1 + c_2) / N = 0 per problem. Squares: (4 x 1/4 + 2 x 1) / 36
    # = 1/12, times 6/5 = 1/10.
    assert found.standard_error_labels_only == pytest.approx(np.sqrt(1 / 10))
    assert (found.n_labelled, found.n_responses, found.n_problems) == (6, 12, 6)


def test_what_the_control_corrects_by_hand():
    # As above, but problem 5's label is of its first response, 1: y = 1, 1, 0, 0, -1, 1, c = 1, 1, 1, -1, -1, 1.
    # mean y = 1/3, mean c = 1/3; sum c y - n mean c mean y = 4 - 2/3 = 10/3, sum c^2 - n mean c^2 = 6 - 2/3 = 16/3,
    # alpha = 5/8; estimate 1/3 - 5/8 (1/3 - 0) = 1/8. That is the mean of the kept, 3/4, minus that of the dropped,
    # 1/2, over two: J_w - J = 3/4 - (3/4 + 1/2)/2 = 1/8.
    labels = [1, NAN, 1, NAN, 0, NAN, NAN, 0, NAN, 1, 1, NAN]
    responses = _responses(labels, [1, 0] * 6, np.zeros((12, 0)), np.repeat(np.arange(6), 2))
    found = gap_from_labels(responses, 0.95)
    assert found.labels_only.value == pytest.approx(1 / 8)


def _all_labelled(seed, sizes):
    rng = np.random.default_rng(seed)
    problem_N = np.repeat(np.arange(len(sizes)), sizes)
    truth_N = rng.random(len(problem_N)) < rng.uniform(0.1, 0.9, len(sizes))[problem_N]
    score_N = truth_N + rng.normal(size=len(problem_N))
    return problem_N, truth_N, score_N


@pytest.mark.parametrize("weights", ["threshold", "kl"])
def test_all_labelled_is_the_gap(weights):
    rng = np.random.default_rng(1)
    problem_N, truth_N, score_N = _all_labelled(0, rng.integers(1, 6, 40))  # groups of unequal size, some kept empty
    weight_N = (score_N > 1.2).astype(float) if weights == "threshold" else np.exp(score_N / 0.3)
    counts_RP = resample_counts(40, 400, 0)
    known = estimate_gap(problem_N, truth_N, weight_N, counts_RP, 0.95, accepts=weights == "threshold")
    found = gap_from_labels(_responses(truth_N.astype(float), weight_N, score_N[:, None], problem_N), 0.95)
    assert found.labels_only.value == pytest.approx(known.gap.value)
    assert found.control_variate.value == pytest.approx(known.gap.value)
    assert found.cross_fitted.value == pytest.approx(known.gap.value)


def test_all_labelled_is_precision_minus_accuracy_when_pooled():
    problem_N, truth_N, score_N = _all_labelled(2, np.full(50, 4))
    keep_N = score_N > 0.8
    counts_RP = resample_counts(50, 400, 0)
    known = classify(problem_N, truth_N, keep_N.astype(float), counts_RP, 0.95).precision_minus_accuracy
    responses = _responses(truth_N.astype(float), keep_N, score_N[:, None], problem_N)
    found = gap_from_labels(responses, 0.95, quantity="precision_minus_accuracy")
    assert found.control_variate.value == pytest.approx(known.value)


def test_a_judge_on_another_scale_gives_the_same():
    problem_N, truth_N, score_N = _all_labelled(3, np.full(60, 4))
    label_N = np.where(np.random.default_rng(0).random(240) < 0.4, truth_N, NAN)
    one, other = (
        gap_from_labels(_responses(label_N, score_N > 0.8, judge_N[:, None], problem_N), 0.95)
        for judge_N in (score_N, 1000 + 20 * score_N)
    )
    assert one.control_variate.value == pytest.approx(other.control_variate.value)
    assert one.coefficient_J == pytest.approx(20 * other.coefficient_J)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"labels": [2.0, *[NAN] * 11]}, "labels"),
        ({"weights": [-1.0, *[1.0] * 11]}, "weights"),
        ({"judges": [[NAN]] * 12}, "judges"),
        ({"labels": [1.0, 0.0, 1.0, 0.0, *[NAN] * 8]}, "labels"),
    ],
)
def test_what_cannot_be_used_is_an_error(change, field):
    good = {"labels": [1.0, 0.0] * 6, "weights": [1.0, 0.0] * 6, "judges": [[0.0]] * 12}
    parts = good | change
    responses = _responses(parts["labels"], parts["weights"], parts["judges"], np.repeat(np.arange(6), 2))
    with pytest.raises(DatasetError) as caught:
        gap_from_labels(responses, 0.95)
    assert caught.value.field == field


def test_a_filter_that_keeps_nothing_has_no_precision():
    responses = _responses([1.0, 0.0] * 6, [0.0] * 12, [[0.0]] * 12, np.repeat(np.arange(6), 2))
    with pytest.raises(DatasetError, match="keeps nothing"):
        gap_from_labels(responses, 0.95, quantity="precision_minus_accuracy")


# Simulation: 150 problems of accuracy a ~ U(.05, .95), 8 responses each, score N(z, 1), kept from .8 on (the population
# of tests/estimation/test_coverage.py, whose docstring derives the truth); a second judge N(z, 1/2) that no filter
# uses.
P, M, THRESHOLD, LOW, HIGH = 150, 8, 0.8, 0.05, 0.95
P1, P0 = norm.cdf(1 - THRESHOLD), norm.cdf(-THRESHOLD)


def _mean_over_a(function):
    node, weight = np.polynomial.legendre.leggauss(60)
    return (function((HIGH - LOW) / 2 * node + (HIGH + LOW) / 2) * weight).sum() / 2


def _true_gap(a):
    kappa = a * (1 - P1) + (1 - a) * (1 - P0)
    none = kappa**M
    return (1 - none) * a * P1 / (1 - kappa) + none * a * (1 - P1) / kappa - a


TRUTH = {
    "gap": _mean_over_a(_true_gap),
    "precision_minus_accuracy": _mean_over_a(lambda a: a * P1) / _mean_over_a(lambda a: a * P1 + (1 - a) * P0) - 0.5,
}


def _study(rng, n):
    a = rng.uniform(LOW, HIGH, (P, 1))
    z_N = (rng.random((P, M)) < a).ravel().astype(float)
    score_N, other_N = z_N + rng.normal(size=P * M), z_N + 0.5 * rng.normal(size=P * M)
    label_N = np.full(P * M, NAN)
    chosen = rng.permutation(P * M)[:n]
    label_N[chosen] = z_N[chosen]
    return LabelledResponses(
        label_N, (score_N >= THRESHOLD).astype(float), np.stack([score_N, other_N], 1), np.repeat(np.arange(P), M)
    )


def _simulate(n, quantity, studies, seed):
    rng = np.random.default_rng(seed)
    truth = TRUTH[quantity]
    rows = []
    for _ in range(studies):
        found = gap_from_labels(_study(rng, n), 0.95, quantity=quantity)
        rows.append(
            [
                *(
                    interval.value - truth
                    for interval in (found.labels_only, found.cross_fitted, found.control_variate)
                ),
                *(
                    interval.low <= truth <= interval.high
                    for interval in (found.labels_only, found.cross_fitted, found.control_variate)
                ),
                found.saving,
            ]
        )
    return np.array(rows, dtype=float)


@pytest.mark.parametrize("quantity", ["gap", "precision_minus_accuracy"])
def test_simulated_studies_are_unbiased_and_covered(quantity):
    rows = _simulate(100, quantity, 400, 5)
    bias_in_errors = rows[:, :3].mean(0) / rows[:, :3].std(0)
    assert (np.abs(bias_in_errors[:2]) < 4 / np.sqrt(len(rows))).all()
    assert (rows[:, 3:6].mean(0) > 0.95 - 4 * np.sqrt(0.95 * 0.05 / len(rows))).all()
    assert rows[:, 1].var() < 0.85 * rows[:, 0].var()  # a judge that the filter does not use saves labels
    saving = rows[:, 6]  # no study's saving runs away, and their median is what was saved
    assert saving.min() > -1 and saving.max() < 1
    assert np.median(saving) == pytest.approx(1 - rows[:, 2].var() / rows[:, 0].var(), abs=0.12)


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 300])
@pytest.mark.parametrize("quantity", ["gap", "precision_minus_accuracy"])
def test_coverage_in_ten_thousand_studies(quantity, n):
    rows = _simulate(n, quantity, 10_000, n)
    bias_in_errors = rows[:, :3].mean(0) / rows[:, :3].std(0)
    assert np.abs(bias_in_errors[1]) < 0.04  # 4 simulation standard errors
    # labels_only and control_variate fit alpha to the same labels: a bias of order 1/n
    assert np.abs(bias_in_errors[[0, 2]]).max() < 0.04 + 6 / n
    assert (rows[:, 3:6].mean(0) >= 0.94).all()
    assert (rows[:, 3:6].mean(0) <= 0.975).all()
