"""How many human labels are as precise, with one response to each problem and with several: by hand and simulated."""

import numpy as np
import pytest

from ops.control_variates.data import LabelledPairs
from ops.control_variates.estimate import estimate
from ops.control_variates.pilot import Pilot
from ops.control_variates.worth import human_labels_equal, label_worth
from ops.types import Interval

NAN = float("nan")


def _pilot(n_pairs: int, same_problem: float, icc: float) -> Pilot:
    """Labels of variance 1/4."""
    rho = Interval(0.5, NAN, NAN)
    return Pilot(0.5, 0.25, 0.0, rho, icc, icc, "labels", same_problem, 100, n_pairs, n_pairs, 1)


def test_one_pair_per_problem_by_hand():
    # V = 1/4 / n: 100 labels, a saving of 1/5: 100 / .8 = 125. Of 120 pairs there are not so many.
    assert human_labels_equal(_pilot(1000, 0.0, 0.0), 100, 0.2) == pytest.approx(125)
    assert np.isnan(human_labels_equal(_pilot(120, 0.0, 0.0), 100, 0.2))
    assert human_labels_equal(_pilot(1000, 0.0, 0.0), 100, -0.25) == pytest.approx(80)
    assert human_labels_equal(_pilot(100, 0.0, 0.0), 100, 0.0) == pytest.approx(100)  # all are labelled
    assert np.isnan(human_labels_equal(_pilot(1000, 0.0, 0.0), 100, NAN))


def test_several_pairs_per_problem_by_hand():
    # 101 problems of 10 pairs: q = 9/1009, ICC 1/2, c = q ICC = 9/2018. V(m) = 1/4 (c + (1 - c) / m). 100 labels:
    # c + (1 - c)/100 = .0044599 + .0099554 = .0144153; a saving of .3 leaves .0100907, so (1 - c)/m = .0056308 and
    # m = 176.8, not 142.9. A saving of .7 leaves .0043246 < c: no number of labels will do.
    pilot = _pilot(1010, 9 / 1009, 0.5)
    c = 9 / 2018
    assert human_labels_equal(pilot, 100, 0.3) == pytest.approx((1 - c) / (0.7 * (c + (1 - c) / 100) - c))
    assert human_labels_equal(pilot, 100, 0.3) == pytest.approx(176.8, abs=0.1)
    assert np.isnan(human_labels_equal(pilot, 100, 0.7))


def _study(rng, n: int, problems: int = 100, responses: int = 8) -> LabelledPairs:
    problem_N = np.repeat(np.arange(problems), responses)
    size = len(problem_N)
    quality_N = 1.5 * rng.normal(size=problems)[problem_N] + rng.normal(size=size)
    label_N = np.full(size, NAN)
    chosen = rng.permutation(size)[:n]
    label_N[chosen] = quality_N[chosen] > 0
    judge_N1 = (quality_N + 0.5 * rng.normal(size=size))[:, None]
    return LabelledPairs(label_N, judge_N1, problem_N, np.zeros(size, int), np.where(np.isnan(label_N), -1, 0))


def test_simulated_studies_with_several_responses_to_a_problem():
    """100 problems of 8 responses, 100 labels, a good judge.

    Latent correlation within problems 1.5^2/3.25 = .692, of labels 2/pi asin(.692) = .487; q = 7/799, c = .00426.
    rho^2 = 2/pi 3.25/3.5 = .591. V_human(100) = .25 (c + (1 - c)/100) = .003555; with the judge .25 (c + (1 - c)/800) +
    (1/100 - 1/800) .25 .409 98/97 = .00228: a saving of .359, and m = (1 - c) / (4 x .00228 - c) = 205, where
    n / (1 - saving) says 156.
    """
    rng = np.random.default_rng(0)
    values, worth = [], []
    for _ in range(1000):
        pairs = _study(rng, 100)
        found = estimate(pairs, "control_variate")
        values.append(found.value)
        worth.append(label_worth(pairs, found)[1])
    right, wrong = (np.var([np.nanmean(_study(rng, m).labels_N) for _ in range(3000)]) for m in (205, 156))
    assert right / np.var(values) == pytest.approx(1, abs=0.15)  # 3 standard errors of a ratio of such variances
    assert wrong / np.var(values) > 1.1
    assert np.nanmedian(worth) == pytest.approx(205, rel=0.08) and np.isnan(worth).mean() < 0.05
