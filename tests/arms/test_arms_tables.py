"""Tables of hand-written arms: two problems with two responses each, two seeds; the arithmetic is in the comments."""

from __future__ import annotations

import pytest

from ops.arms_plan import ArmsBench
from ops.stages.arm_comparison import measure_arms
from ops.stages.arm_estimates import combine, standard_error
from ops.stages.arm_values import TRAINING_FILTER
from tests.arms.conftest import changed
from tests.arms.fabricated import Response, fabricate

RIGHT, WRONG, REJECTED = Response(True, True), Response(False, True), Response(False, False)
START = ([RIGHT, REJECTED], [RIGHT, WRONG])
LATER = {
    ("self", 0): ([RIGHT, RIGHT], [RIGHT, WRONG]),
    ("self", 1): ([RIGHT, WRONG], [WRONG, WRONG]),
    ("unfiltered", 0): ([RIGHT, WRONG], [RIGHT, WRONG]),
    ("unfiltered", 1): ([WRONG, WRONG], [RIGHT, WRONG]),
}
ARMS = {name: changed()["arms"][name] for name in ("self", "unfiltered")}
SMALL = {
    "arms": ARMS,
    "experiment__problems": {"eval": 2, "train_per_iteration": 2},
    "experiment__sampling": {"n_eval": 2, "n_train": 2},
}


def by_hand(arm: str, seed: int, iteration: int, place: int) -> list[Response]:
    return (START if iteration == 0 else LATER[arm, seed])[place]


def rows(bench: ArmsBench, table: str, **same) -> list[dict]:
    frame = bench.store.read(table, bench.fingerprints[table])
    missing = [name for name, value in same.items() if value is None]
    frame = frame.filter(**{name: value for name, value in same.items() if value is not None})
    return [row for row in frame.iter_rows(named=True) if all(row[name] is None for name in missing)]


def one(bench: ArmsBench, table: str = "arm_metrics", **same) -> tuple[float, ...]:
    [row] = rows(bench, table, **same)
    return row["value"], row["low"], row["high"], row["standard_error"]


@pytest.fixture
def bench(write_arms) -> ArmsBench:
    found = fabricate(write_arms(**SMALL), by_hand, kl=lambda arm, seed, k: k * (1.0 + seed))
    measure_arms(found)
    return found


def test_standard_error():
    # mean of 1, 2, 6 is 3; squares 4 + 1 + 9 = 14; / (3 - 1) = 7; sqrt(7) / sqrt(3)
    assert standard_error([1.0, 2.0, 6.0]) == pytest.approx((7 / 3) ** 0.5)
    assert standard_error([1.0]) != standard_error([1.0])  # NaN: one seed has none


def test_a_metric_of_one_seed_and_over_seeds(bench):
    at = {"arm": "self", "arm_iteration": 1, "metric": "accuracy"}
    # seed 0: (1 + 1/2) / 2, seed 1: (1/2 + 0) / 2; resamples take one problem twice or both
    assert one(bench, **at, seed=0)[:3] == pytest.approx((0.75, 0.5, 1.0))
    assert one(bench, **at, seed=1)[:3] == pytest.approx((0.25, 0.0, 0.5))
    # over seeds problem 1 has (1 + 1/2) / 2 = .75, problem 2 (1/2 + 0) / 2 = .25
    # standard error: deviations of .25 from .5: sqrt(2 * .0625 / 1) / sqrt(2) = .25
    assert one(bench, **at, seed=None) == pytest.approx((0.5, 0.25, 0.75, 0.25))
    [row] = rows(bench, "arm_metrics", **at, seed=None)
    assert row["n_seeds"] == 2
    assert rows(bench, "arm_metrics", **at, seed=1)[0]["standard_error"] is None


def test_gaps_of_the_shared_and_of_each_arms_own_filter(bench):
    at = {"arm_iteration": 0, "seed": 0}
    # "logit >= 0" keeps the right response of problem 1 (1 - 1/2) and all of problem 2 (0)
    for arm in ARMS:
        assert one(bench, **at, arm=arm, metric="gap", rule="logit ≥ 0")[0] == pytest.approx(0.25)
        assert one(bench, **at, arm=arm, metric="relative_gap", rule="logit ≥ 0")[0] == pytest.approx(0.5)
        assert one(bench, **at, arm=arm, metric="filtered_accuracy", rule="logit ≥ 0")[0] == pytest.approx(0.75)
    assert one(bench, **at, arm="self", metric="gap", rule=TRAINING_FILTER)[0] == pytest.approx(0.25)
    assert one(bench, **at, arm="unfiltered", metric="gap", rule=TRAINING_FILTER)[:3] == (0.0, 0.0, 0.0)


def test_update_error_is_the_gap_before_minus_what_the_update_gained(bench):
    at = {"arm_iteration": 1, "metric": "update_error", "rule": TRAINING_FILTER}
    # self, seed 0: gaps 1/2 and 0, gains 1/2 and 0: errors 0; seed 1: gains 0 and -1/2: errors 1/2 and 1/2
    assert one(bench, **at, arm="self", seed=0)[:3] == pytest.approx((0.0, 0.0, 0.0))
    assert one(bench, **at, arm="self", seed=1)[:3] == pytest.approx((0.5, 0.5, 0.5))
    assert one(bench, **at, arm="self", seed=None) == pytest.approx((0.25, 0.25, 0.25, 0.25))
    # without a filter there is no gap: seed 0 gains 0, seed 1 loses 1/2 on the first problem
    assert one(bench, **at, arm="unfiltered", seed=None)[0] == pytest.approx(0.125)


def test_learned_and_forgotten_since_the_first_iteration(bench):
    at = {"arm_iteration": 1, "arm": "self"}
    # at first half of the responses to both problems are right: both are solved; seed 1 loses the second one
    assert one(bench, **at, metric="forgotten", seed=0)[0] == 0.0
    assert one(bench, **at, metric="forgotten", seed=1)[:3] == (0.5, 0.0, 1.0)
    assert one(bench, **at, metric="learned", seed=None)[0] == 0.0
    assert rows(bench, "arm_metrics", metric="learned", arm_iteration=0) == []


def test_verifiers_rank_and_are_calibrated(bench):
    at = {"arm": "self", "arm_iteration": 0, "seed": 0}
    # right: 1, 1; wrong: -1, 1. Of the four pairs two are won and two tied: 3/4
    assert one(bench, **at, metric="auroc", rule="logit")[0] == pytest.approx(0.75)
    assert one(bench, **at, metric="auroc", rule=TRAINING_FILTER)[0] == pytest.approx(0.75)
    # -1 is the probability 0, where nothing is right; 1 is 1, where two of three are: 3/4 * 1/3
    assert one(bench, **at, metric="ece", rule="logit")[0] == pytest.approx(0.25)
    assert one(bench, **at, metric="score_drift", rule=TRAINING_FILTER)[0] == pytest.approx(0.25)
    # without a filter no verifier is the training filter's
    assert rows(bench, "arm_metrics", arm="unfiltered", metric="auroc", rule=TRAINING_FILTER) == []
    # self, seed 0, then: right 3, wrong 1, all accepted: all tied; without a filter 2 and 2, all tied too
    pair = {"arm_a": "self", "arm_b": "unfiltered", "arm_iteration": 1, "rule": "logit"}
    assert one(bench, "arm_differences", **pair, metric="auroc") == pytest.approx((0.0, 0.0, 0.0, 0.0))
    # everything claims 1: the error is 1 - accuracy, in which self is .25 lower with seed 0 and the same with seed 1
    value, low, high, error = one(bench, "arm_differences", **pair, metric="ece")
    assert (value, low, high, error) == pytest.approx((-0.125, -0.5, 0.25, 0.125))


def test_the_calibration_error_is_that_of_the_verifiers_table():
    import numpy as np

    from ops.estimation.bootstrap import percentile_interval, resample_counts
    from ops.estimation.calibration import calibrate, ece_draws
    from ops.stages.study_values import Estimate

    rng = np.random.default_rng(5)
    index, probability = np.repeat(np.arange(40), 8), rng.random(320).round(2)
    truth = rng.random(320) < probability**2
    probability[rng.random(320) < 0.1] = np.nan
    counts_RP = resample_counts(40, 300, 1)
    found = Estimate(*ece_draws(index, probability, truth, counts_RP))
    expected = calibrate(index, probability, truth, counts_RP, 0.95).ece
    assert percentile_interval(found.value, found.draws_R, 0.95) == pytest.approx(expected)


def test_a_metric_that_a_seed_lacks_counts_the_problems_of_the_others():
    from types import SimpleNamespace

    import numpy as np

    from ops.config import Statistics

    ids = ("a", "b", "c")
    bench = SimpleNamespace(statistics=Statistics(resamples=200), cache={"problems": {0: ids, 1: ids}})
    key = ("relative_gap", None, "logit")
    found = combine(bench, {0: {key: np.array([0.5, 0.25, np.nan])}, 1: {key: np.full(3, np.nan)}})[key]
    assert (found.n_seeds, found.n_problems, found.interval.value) == (1, 2, 0.375)


def test_differences_are_paired_by_seed_and_problem(bench):
    at = {"arm_a": "self", "arm_b": "unfiltered", "metric": "accuracy"}
    # seed 0: 1 - 1/2 and 1/2 - 1/2, mean .25; seed 1: 1/2 - 0 and 0 - 1/2, mean 0; SE sqrt(2 * .125² / 1) / sqrt(2)
    # over seeds problem 1 has .5, problem 2 (0 - .5) / 2 = -.25
    assert one(bench, "arm_differences", **at, arm_iteration=1) == pytest.approx((0.125, -0.25, 0.5, 0.125))
    assert one(bench, "arm_differences", **at, arm_iteration=0) == pytest.approx((0.0, 0.0, 0.0, 0.0))
    [row] = rows(bench, "arm_differences", **at, arm_iteration=1)
    assert (row["n_problems"], row["n_seeds"]) == (2, 2)


def test_what_is_taken_over_has_a_standard_error_but_no_interval(bench):
    at = {"metric": "kl_to_base_nats", "arm_iteration": 1}
    assert one(bench, **at, arm="self", seed=1)[:3] == (2.0, 2.0, 2.0)
    value, low, high, error = one(bench, **at, arm="self", seed=None)
    # 1 and 2: mean 1.5, standard error sqrt(2 * .25) / sqrt(2) = .5
    assert (value, low, high, error) == pytest.approx((1.5, None, None, 0.5))
    [row] = rows(bench, "arm_differences", **at)
    assert (row["value"], row["low"], row["standard_error"], row["n_problems"]) == (0.0, None, 0.0, None)


def opposite(arm: str, seed: int, iteration: int, place: int) -> list[Response]:
    """Seed 0 solves the first problem only, seed 1 the second only."""
    return [RIGHT, RIGHT] if place == seed else [WRONG, WRONG]


@pytest.mark.parametrize(("seeded", "expected"), [("training", (0.5, 0.5)), ("problems", (0.0, 1.0))])
def test_seeds_with_the_same_problems_are_resampled_together(write_arms, seeded, expected):
    """Together, each problem has the mean 1/2 over seeds, so no resample differs.

    Of different problems each seed's mean is 0, 1/2 or 1 by itself; both are 0 in 1 of 16 resamples, more than 2.5 %.
    """
    bench = fabricate(write_arms(**SMALL, seeded=["sampling", seeded]), opposite)
    measure_arms(bench)
    at = {"arm": "self", "metric": "accuracy", "arm_iteration": 1, "seed": None}
    assert one(bench, **at)[:3] == pytest.approx((0.5, *expected))


def test_intervals_cover_what_other_problems_would_have_given():
    """250 studies of 60 problems and 3 seeds with effects of their own: the mean given these seeds lies inside.

    Problems scatter by 1 in all seeds alike and by 1 in each; the standard error of a coverage of .95 is .014.
    """
    from types import SimpleNamespace

    import numpy as np

    from ops.config import Statistics

    rng, covered = np.random.default_rng(3), 0
    for study in range(250):
        effects = rng.normal(size=3)
        shared_P = rng.normal(size=60)
        ids = tuple(f"p{i}" for i in range(60))
        bench = SimpleNamespace(
            statistics=Statistics(resamples=300, seed=study), cache={"problems": dict.fromkeys(range(3), ids)}
        )
        key = ("accuracy", None, None)
        values = {seed: {key: effects[seed] + shared_P + rng.normal(size=60)} for seed in range(3)}
        found = combine(bench, values)[key].interval
        covered += found.low <= effects.mean() <= found.high
    assert 0.90 <= covered / 250 <= 0.985


def test_an_incomplete_seed_leaves_its_arm_out_from_there_on(write_arms):
    bench = fabricate(write_arms(**SMALL), by_hand, reached={("self", 1): 0})
    assert bench.missing == ("tiny-self-s1",) and not bench.is_complete
    assert (bench.last_of("self"), bench.last_of("unfiltered"), bench.last) == (0, 1, 1)
    measure_arms(bench)
    at = {"metric": "accuracy", "arm": "self"}
    assert rows(bench, "arm_metrics", **at, arm_iteration=1, seed=None) == []
    assert one(bench, **at, arm_iteration=1, seed=0)[0] == 0.75
    assert one(bench, **at, arm_iteration=0, seed=None)[0] == 0.5
    assert {row["arm_iteration"] for row in rows(bench, "arm_differences")} == {0}


def test_a_seed_that_a_rule_has_stopped_is_complete(write_arms):
    bench = fabricate(write_arms(**SMALL, experiment__stop=["gap_closed"]), by_hand, stops={("self", 0): 0})
    assert bench.is_complete and bench.stopped == {"tiny-self-s0": (0, "The gap is closed.")}
    assert bench.measured == {"tiny-self-s0": 1, "tiny-self-s1": 2, "tiny-unfiltered-s0": 2, "tiny-unfiltered-s1": 2}
    assert bench.last_of("self") == 0


def test_everything_is_reused(bench):
    again = measure_arms(ArmsBench.open("tiny"))
    assert all(result.reused for result in again)


def test_other_measurements_make_other_tables(write_arms, bench):
    write_arms(**SMALL, experiment__statistics={"resamples": 300})
    assert ArmsBench.open("tiny").fingerprints["arm_metrics"] != bench.fingerprints["arm_metrics"]


def test_every_table_is_read_once_per_bench(bench, monkeypatch):
    from ops.stages import arm_values
    from ops.stages.arm_findings import measure_arm_findings

    read = []
    real = arm_values.problem_values
    monkeypatch.setattr(
        arm_values,
        "problem_values",
        lambda lab, k, *rest: (read.append((lab.experiment.name, k)), real(lab, k, *rest))[1],
    )
    fresh = ArmsBench.open("tiny")
    from ops.stages.arm_comparison import _differences, _metric_rows

    for arm in fresh.arms:
        list(_metric_rows(fresh, arm, 1))
    list(_differences(fresh, "self", "unfiltered", 1))
    measure_arm_findings(fresh)
    assert len(read) == len(set(read)) == 8
