"""Plans: hand arithmetic, simulated variances and widths, and agreement with ppi_python where the two coincide."""

import numpy as np
import pytest
from scipy import stats

from ops.control_variates.data import LabelledPairs
from ops.control_variates.estimate import estimate
from ops.control_variates.pilot import Pilot, read_pilot, without_pilot
from ops.control_variates.planning import half_width_at, labels_needed, predicted_saving, variance_at
from ops.errors import DatasetError
from ops.types import Interval


def _pilot(**changes):
    known = dict(
        theta=0.5,
        variance=0.25,
        own=0.0,
        rho_squared=Interval(0.36, 0.25, 0.49),
        icc=0.0,
        residual_icc=0.0,
        icc_source="one pair per problem",
        same_problem=0.0,
        n_labelled=100,
        n_pairs=1000,
        n_problems=1000,
        n_judges=1,
    )
    return Pilot(**(known | changes))


def _pairs(labels_N, judges_NJ, problem_N=None, stratum_N=None, wave_N=None):
    labels_N = np.asarray(labels_N, dtype=float)
    n = len(labels_N)
    return LabelledPairs(
        labels_N,
        np.asarray(judges_NJ, dtype=float).reshape(n, -1),
        np.arange(n) if problem_N is None else np.asarray(problem_N),
        np.zeros(n, int) if stratum_N is None else np.asarray(stratum_N),
        np.where(np.isnan(labels_N), -1, 0) if wave_N is None else np.asarray(wave_N),
    )


def test_variance_and_saving_by_hand():
    pilot = _pilot()
    # n = 100 of 1,000: human .25/100 = .0025; judge .25/1000 + (1/100 - 1/1000) .25 (1 - .36) = .00025 + .00144 =
    # .00169.
    assert variance_at(pilot, 100) == pytest.approx(0.0025)
    assert variance_at(pilot, 100, rho_squared=0.36) == pytest.approx(0.00169)
    # 1 - .00169/.0025 = .324 = .36 (1 - .1); ends .25 x .9 and .49 x .9.
    saving = predicted_saving(pilot, 100)
    assert (saving.value, saving.low, saving.high) == pytest.approx((0.324, 0.225, 0.441))
    assert predicted_saving(pilot, 1000).value == pytest.approx(0)


def test_pairs_of_one_problem_by_hand():
    # 100 problems of 10 pairs: q = 9/999. ICC .5. All 1,000 labelled: .25/1000 (1 + 999 x 9/999 x .5) = .25/1000 x 5.5,
    # the design effect 1 + (m - 1) ICC of survey sampling. 100 labels: .25/100 (1 + 99 x 9/999 x .5).
    pilot = _pilot(same_problem=9 / 999, icc=0.5, residual_icc=0.5, n_problems=100, icc_source="labels")
    assert variance_at(pilot, 1000) == pytest.approx(0.25 / 1000 * 5.5)
    assert variance_at(pilot, 100) == pytest.approx(0.25 / 100 * (1 + 99 * 9 / 999 / 2))
    assert predicted_saving(pilot, 100).value < 0.324


def test_half_width_is_half_of_wilsons_interval():
    # theta = .8 of 50 labels of 0 and 1, V = variance / 50, so m = 50; t z for Wilson's z^2.
    pilot = _pilot(theta=0.8, variance=0.16 * 50 / 49)
    z2 = stats.t.ppf(0.975, 49) * stats.norm.ppf(0.975)
    known = np.sqrt(z2 * 0.16 / 50 + z2**2 / (4 * 50**2)) / (1 + z2 / 50)
    assert half_width_at(pilot, 50, 0.95) == pytest.approx(known)


@pytest.mark.parametrize("n", [10, 30])
def test_half_width_is_that_of_the_quoted_interval(n):
    # n labels, half of them 1: theta = .5, m = n; half of the interval is sqrt(t z / n) / (2 sqrt(1 + t z / n)):
    # (1 + r) x^2 - (1 + r) x + 1/4 = 0 with r = t z / n, roots 1/2 -+ sqrt((1 + r)^2 - (1 + r)) / (2 (1 + r)).
    # n = 10: t z = 2.262157 x 1.959964 = 4.433747, r / (1 + r) = .307178, half its root .277118.
    found = estimate(_pairs([1.0, 0.0] * (n // 2), np.zeros((n, 0))), "human")
    pilot = _pilot(variance=0.25 * n / (n - 1), n_judges=0)
    expected = float(half_width_at(pilot, n, 0.95))
    assert expected == pytest.approx((found.high - found.low) / 2, rel=1e-6)
    if n == 10:
        assert expected == pytest.approx(0.277118, abs=1e-6)


@pytest.mark.parametrize("estimator", ["human", "control_variate"])
def test_the_width_of_a_pilot_at_its_own_n_is_that_of_its_estimate(estimator):
    rng = np.random.default_rng(0)
    z_N = rng.choice([0, 0.5, 1], size=800, p=[0.2, 0.1, 0.7])
    judge_N = z_N + 0.5 * rng.normal(size=800)
    pairs = _pairs(np.where(np.arange(800) < 120, z_N, np.nan), judge_N)
    pilot, found = read_pilot(pairs, 0.95), estimate(pairs, estimator)
    square = pilot.rho_squared.value if estimator == "control_variate" else 0.0
    expected = float(half_width_at(pilot, 120, 0.95, rho_squared=square))
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.02)
    if estimator == "control_variate":
        assert predicted_saving(pilot, 120).value == pytest.approx(found.saving, abs=0.03)


def test_labels_needed_are_the_fewest():
    pilot = _pilot()
    found = labels_needed(pilot, 0.06, 0.95)
    for n, square in (
        (found.human, 0.0),
        (found.control_variate, 0.36),
        (found.control_variate_low, 0.49),
        (found.control_variate_high, 0.25),
    ):
        assert half_width_at(pilot, n, 0.95, rho_squared=square) <= 0.06
        assert half_width_at(pilot, n - 1, 0.95, rho_squared=square) > 0.06
    assert found.control_variate_low < found.control_variate < found.control_variate_high < found.human
    assert found.statement == f"±0.060 at 95% needs {found.human} labels, {found.control_variate} with the judge"


def test_out_of_reach_is_none_and_said():
    found = labels_needed(_pilot(), 0.02, 0.95)  # 1,000 labels of variance 1/4: 1.96 x .0158 = .031
    assert (found.human, found.control_variate) == (None, None)
    assert found.half_width_all == pytest.approx(0.031, abs=0.0005)
    assert "all 1,000 pairs labelled would give ±0.031" in found.statement


def test_before_any_label():
    # One pair per problem: n + t z = t z .25 / .1^2 with t = 1.985, t z = 3.891: 93.4, so 94 labels.
    pilot = without_pilot(np.arange(2000), 0.6)
    found = labels_needed(pilot, 0.1, 0.95)
    assert found.human == 94
    assert (found.control_variate_low, found.control_variate_high) == (None, None)
    # n0 = 94, (1 - .36) of them and a little for n/N: 1/n = 1/N + (1/94 - 1/N) / .64 -> n = 62.
    assert abs(found.control_variate - 62) <= 2
    assert np.isnan(predicted_saving(pilot, 100).low)
    alone = without_pilot(np.arange(2000), None)
    assert not alone.is_judged
    assert labels_needed(alone, 0.1, 0.95).control_variate is None
    # 20 problems of 100 pairs that are all alike: no more than 20 labels' worth.
    assert labels_needed(without_pilot(np.repeat(np.arange(20), 100), 0.6), 0.1, 0.95).human is None


def test_rho_by_hand_and_adjusted():
    # Labels 1, 1, 1, 0, 0, 0 and scores 1, 1, 0, 0, 0, 1: cov = 1/2 / 6, variances 1/4: rho = 1/3, R^2 = 1/9. Adjusted
    # with J = 1: 1 - 8/9 x 5/4 < 0, so 0. Ten times the same: 1 - 8/9 x 59/58.
    labels, scores = [1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 1]
    assert read_pilot(_pairs(labels, scores), 0.95).rho_squared.value == 0
    pilot = read_pilot(_pairs(labels * 10, scores * 10), 0.95)
    assert pilot.rho_squared.value == pytest.approx(1 - 8 / 9 * 59 / 58)
    assert pilot.variance == pytest.approx(0.25 * 60 / 59)
    assert (pilot.n_labelled, pilot.n_pairs, pilot.icc_source) == (60, 60, "one pair per problem")


def test_intraclass_correlation_and_where_it_is_from():
    # 40 problems of two labels, 15 with 1 1, 15 with 0 0, 10 with 1 0: mean 1/2, products of deviations 1/4 x (15 + 15
    # - 10) over 40 pairs = 1/8, variance 1/4: ICC 1/2.
    labels = np.r_[np.ones(30), np.zeros(30), np.tile([1.0, 0.0], 10)]
    problems = np.repeat(np.arange(40), 2)
    pilot = read_pilot(_pairs(labels, np.zeros((80, 0)), problems), 0.95)
    assert (pilot.icc, pilot.icc_source) == (pytest.approx(0.5), "labels")
    few = np.where(np.arange(80) % 2 == 0, labels, np.nan)  # one label per problem
    assert read_pilot(_pairs(few, np.zeros((80, 0)), problems), 0.95).icc_source == "worst case"
    judged = read_pilot(_pairs(few, labels, problems), 0.95)
    assert (judged.icc, judged.icc_source) == (pytest.approx(0.5), "judge")


def test_a_stratified_wave_is_weighed_back():
    # Stratum 0 is 3/4 of the pairs, both have 4 labels: means 1/4 and 3/4, theta = 3/16 + 3/16.
    labels = np.r_[1, 0, 0, 0, 1, 1, 1, 0, np.full(8, np.nan)]
    strata = np.r_[np.zeros(4, int), np.ones(4, int), np.zeros(8, int)]
    assert read_pilot(_pairs(labels, np.zeros((16, 0)), stratum_N=strata), 0.95).theta == pytest.approx(3 / 8)


def test_rho_is_that_within_strata():
    # Two strata of four labels: 1, 1, 1, 0 and 1, 0, 0, 0. The score is the stratum: deviations from its mean are 0.
    # Variance 1/4 in all, 3/16 within: 8/7 of 1/4 and 8/6 of 3/16, within 7/8.
    labels, strata = [1, 1, 1, 0, 1, 0, 0, 0], np.repeat([0, 1], 4)
    knows_strata = read_pilot(_pairs(labels, strata, stratum_N=strata), 0.95)
    assert knows_strata.rho_squared.value == 0
    assert (knows_strata.variance, knows_strata.within) == pytest.approx((2 / 7, 7 / 8))
    assert (knows_strata.n_strata, knows_strata.fewest) == (2, 5)
    # Scores 1, 1, 0, 0 in either stratum: products within .25 + .25 + .25 + .25 = 1 (each stratum 1/2), squares 1 + 1,
    # label squares 3/4 + 3/4: R^2 = 1/(2 x 1.5) = 1/3. Ten times the same: 1 - 2/3 x 78/77.
    pilot = read_pilot(_pairs(labels * 10, [1, 1, 0, 0] * 20, stratum_N=np.tile(strata, 10)), 0.95)
    assert pilot.rho_squared.value == pytest.approx(1 - 2 / 3 * 78 / 77)
    assert pilot.rho_squared.low < 1 / 3 < pilot.rho_squared.high


def test_variance_within_strata_by_hand():
    # Half of the variance within strata, n = 100 of 1,000: .25/1000 + (1/100 - 1/1000) .25 x .5 = .000250 + .001125;
    # with rho^2 = .36 within: .00025 + .001125 x .64 = .00097. Saving 1 - .00097/.001375.
    pilot = _pilot(within=0.5, n_strata=4)
    assert variance_at(pilot, 100) == pytest.approx(0.001375)
    assert variance_at(pilot, 100, rho_squared=0.36) == pytest.approx(0.00097)
    assert predicted_saving(pilot, 100).value == pytest.approx(1 - 0.97 / 1.375)
    # Pairs of a problem all alike, q = 9/999: what is within strata is alike as well, .5 (1 - q).
    alike = _pilot(within=0.5, n_strata=4, same_problem=9 / 999, icc=1.0, residual_icc=1.0, n_problems=100)
    everything = 0.25 / 1000 + 9 / 999 * 0.999 * 0.25
    assert variance_at(alike, 100) == pytest.approx(everything + 0.009 * 0.25 * 0.5 * (1 - 9 / 999))


def test_a_plan_within_strata_is_what_the_estimate_does():
    # A judge that knows the category and no more, and one that knows more; win rates .2 and .8. Means of 60 studies.
    rng, plans, found = np.random.default_rng(0), [], []
    for _ in range(60):
        stratum_N = rng.choice(2, 2000)
        z_N = (rng.random(2000) < np.where(stratum_N == 0, 0.2, 0.8)).astype(float)
        judges_NJ = np.stack([stratum_N + 0.3 * rng.normal(size=2000), z_N + 0.6 * rng.normal(size=2000)], 1)
        label_N = np.where(np.arange(2000) < 200, z_N, np.nan)
        studies = [_pairs(label_N, judges_NJ[:, j], stratum_N=stratum_N) for j in range(2)]
        pilots = [read_pilot(pairs, 0.95, resamples=2) for pairs in studies]
        estimates = [estimate(pairs, "control_variate") for pairs in studies]
        widths = [float(half_width_at(p, 200, 0.95, rho_squared=p.rho_squared.value)) for p in pilots]
        plans.append([predicted_saving(pilot, 200).value for pilot in pilots] + widths)
        found.append([e.saving for e in estimates] + [(e.high - e.low) / 2 for e in estimates])
    plan, really = np.mean(plans, axis=0), np.mean(found, axis=0)
    assert plan[:2] == pytest.approx(really[:2], abs=0.015)
    assert abs(plan[0]) < 0.01 and plan[1] > 0.25
    assert plan[2:] == pytest.approx(really[2:], rel=0.02)


@pytest.mark.parametrize(
    ("labels", "message"), [([1.0, 0.0, 1.0, *[np.nan] * 5], "at least 4"), ([1.0] * 8, "all 8 labels are 1")]
)
def test_a_pilot_that_says_nothing_is_an_error(labels, message):
    with pytest.raises(DatasetError, match=message):
        read_pilot(_pairs(labels, np.arange(8)), 0.95)


def test_impossible_wishes_are_errors():
    with pytest.raises(DatasetError, match="half-width"):
        labels_needed(_pilot(), 0.0, 0.95)
    with pytest.raises(DatasetError, match="correlation"):
        without_pilot(np.arange(10), 1.0)


@pytest.mark.parametrize("rho", [0.2, 0.5, 0.8])
def test_agrees_with_ppi_python(rho):
    # Their labels for an effective sample size n0 with at most n_max pairs, nested: round(n0 N (1 - rho^2) / (N - rho^2
    # n0)). Judgements cost as much as labels / 1e9, so that their optimum takes all pairs.
    power = pytest.importorskip("ppi_py.ppi_power_analysis")
    n_pairs, effective = 5000, 400
    theirs = power.ppi_power(rho, cost_X=0, cost_Y=1, cost_Yhat=1e-9, effective_n=effective, n_max=n_pairs)
    pilot = _pilot(rho_squared=Interval(rho**2, rho**2, rho**2), n_pairs=n_pairs, n_problems=n_pairs)
    n_C = np.arange(2, n_pairs + 1)
    ours = int(n_C[(pilot.variance / variance_at(pilot, n_C, rho_squared=rho**2) >= effective).argmax()])
    assert abs(ours - theirs["n"]) <= 1  # they round, we round up
    assert theirs["n"] + theirs["N"] == n_pairs


def test_simulated_variance_with_several_pairs_per_problem():
    # 60 problems of 5 pairs, labels alike within problems; 100 of 300 labelled. V(n) from the population against what
    # the control variate with the best alpha does in 10,000 studies: 4 simulation standard errors are 4 sqrt(2/20,000)
    # = 4 %.
    rng = np.random.default_rng(4)
    studies, n_problems, m, n = 10_000, 60, 5, 100
    shared = rng.normal(size=(studies, n_problems, 1)) * 0.8
    quality_RN = (shared + rng.normal(size=(studies, n_problems, m))).reshape(studies, -1)
    z_RN, judge_RN = (quality_RN > -0.5).astype(float), quality_RN + rng.normal(size=quality_RN.shape)
    alpha = np.cov(z_RN[:500].ravel(), judge_RN[:500].ravel())
    alpha = alpha[0, 1] / alpha[1, 1]
    chosen = rng.random(z_RN.shape).argsort(axis=1)[:, :n]
    mean = {name: np.take_along_axis(x, chosen, 1).mean(1) for name, x in (("z", z_RN), ("judge", judge_RN))}
    judged_R = mean["z"] - alpha * (mean["judge"] - judge_RN.mean(1))

    def intraclass(x_RN):
        x = (x_RN - x_RN.mean()).reshape(-1, m)
        return ((x.sum(1) ** 2 - (x**2).sum(1)).sum() / (len(x) * m * (m - 1))) / (x**2).mean()

    rho = np.corrcoef(z_RN.ravel(), judge_RN.ravel())[0, 1]
    pilot = _pilot(
        theta=z_RN.mean(),
        variance=z_RN.var(),
        same_problem=(m - 1) / (n_problems * m - 1),
        icc=intraclass(z_RN),
        residual_icc=intraclass(z_RN - alpha * judge_RN),
        n_pairs=n_problems * m,
        n_problems=n_problems,
    )
    assert mean["z"].var() == pytest.approx(variance_at(pilot, n), rel=0.06)
    assert judged_R.var() == pytest.approx(variance_at(pilot, n, rho_squared=rho**2), rel=0.06)
    assert variance_at(pilot, n) > 1.2 * z_RN.var() / n  # the design effect is not nothing here


@pytest.mark.slow
@pytest.mark.parametrize(("strength", "floor"), [(0.0, 0.94), (0.5, 0.925), (1.5, 0.915)])
def test_the_interval_of_rho_squared(strength, floor):
    # Labels z = 1[u > 0], judge strength x u + N(0, 1), 100 labels; the truth from a million pairs. Percentile
    # intervals.
    rng = np.random.default_rng(8)
    u_N = rng.normal(size=10**6)
    truth = np.corrcoef(u_N > -0.5, strength * u_N + rng.normal(size=10**6))[0, 1] ** 2 if strength else 0.0
    inside = []
    for _ in range(2000):
        u_N = rng.normal(size=100)
        pairs = _pairs((u_N > -0.5).astype(float), strength * u_N + rng.normal(size=100))
        found = read_pilot(pairs, 0.95, resamples=400).rho_squared
        inside.append(found.low <= truth <= found.high)
    assert np.mean(inside) >= floor
