"""Simulation: do 95 % intervals cover the truth in 93-97 % of studies? A population whose truths are integrals.

Problem x has accuracy a(x) ~ U(0.05, 0.95); its m responses are correct independently with probability a. A score is
N(1, 1) for a correct response and N(0, 1) for a wrong one, and the filter keeps s >= 0.8. So a correct response is kept
with probability p1 = Phi(0.2) and a wrong one with p0 = Phi(-0.8).

The estimand is the one that a study with m responses per problem estimates, because J_w of a finite group has its own
expectation: a problem where nothing is kept, probability kappa^m with kappa = a (1 - p1) + (1 - a)(1 - p0), keeps J(x).
Given what is kept, each kept response is correct with probability pi = a p1 / (1 - kappa), and given that nothing is,
each response is correct with rho = a (1 - p1) / kappa. Hence

    E[J_w - J | a] = (1 - kappa^m) pi + kappa^m rho - a,

integrated over a by quadrature. The pooled precision tends to E[a p1] / E[1 - kappa]. The relative gap (mean over
problems with J < 1) has no such form and takes its truth from 400,000 problems.
"""

import numpy as np
import pytest
from scipy.stats import norm

from ops.estimation.bootstrap import resample_counts
from ops.estimation.classification import classify
from ops.estimation.gap import estimate_gap, problem_gaps

M, THRESHOLD, LOW, HIGH = 8, 0.8, 0.05, 0.95
N_PROBLEMS, RESAMPLES, STUDIES = 150, 600, 2000
P1, P0 = norm.cdf(1 - THRESHOLD), norm.cdf(-THRESHOLD)


def _draw(rng, n_problems):
    a = rng.uniform(LOW, HIGH, (n_problems, 1))
    correct = rng.random((n_problems, M)) < a
    kept = correct + rng.normal(size=(n_problems, M)) >= THRESHOLD
    return np.repeat(np.arange(n_problems), M), correct.ravel(), kept.ravel().astype(float)


def _mean_over_a(function):
    node, weight = np.polynomial.legendre.leggauss(60)
    return (function((HIGH - LOW) / 2 * node + (HIGH + LOW) / 2) * weight).sum() / 2


def _true_gap(a):
    kappa = a * (1 - P1) + (1 - a) * (1 - P0)
    none = kappa**M
    return (1 - none) * a * P1 / (1 - kappa) + none * a * (1 - P1) / kappa - a


TRUE_GAP = _mean_over_a(_true_gap)
TRUE_PRECISION = _mean_over_a(lambda a: a * P1) / _mean_over_a(lambda a: a * P1 + (1 - a) * P0)


def test_the_closed_form_is_the_limit_of_the_estimator():
    index, correct, kept = _draw(np.random.default_rng(1), 400_000)
    gaps = problem_gaps(index, correct, kept, 400_000)
    error = gaps.gap_P.std() / np.sqrt(400_000)
    assert gaps.gap_P.mean() == pytest.approx(TRUE_GAP, abs=4 * error)
    assert correct[kept > 0].mean() == pytest.approx(TRUE_PRECISION, abs=0.002)


@pytest.mark.slow
def test_intervals_cover_the_truth():
    rng = np.random.default_rng(0)
    index, correct, kept = _draw(rng, 400_000)
    true_relative = np.nanmean(problem_gaps(index, correct, kept, 400_000).relative_gap_P)
    truth = {"gap": TRUE_GAP, "relative_gap": true_relative, "precision": TRUE_PRECISION}
    covered = dict.fromkeys(truth, 0)
    for study in range(STUDIES):
        index, correct, kept = _draw(rng, N_PROBLEMS)
        counts = resample_counts(N_PROBLEMS, RESAMPLES, study)
        gap = estimate_gap(index, correct, kept, counts, 0.95)
        found = {
            "gap": gap.gap,
            "relative_gap": gap.relative_gap,
            "precision": classify(index, correct, kept, counts, 0.95).precision,
        }
        for name, interval in found.items():
            covered[name] += interval.low <= truth[name] <= interval.high
    shares = {name: count / STUDIES for name, count in covered.items()}
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares
