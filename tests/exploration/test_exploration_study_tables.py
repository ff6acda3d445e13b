"""Tables of a hand-written study: two arms, two seeds, three problems with two responses; arithmetic in the comments.

::

    right responses to     problems 1, 2, 3
    base                   1 0 1    with both seeds
    vanilla, after 2 steps 2 0 1    with seed 0;  2 0 2 with seed 1
    ucb, after 2 steps     2 1 1    with seed 0;  1 1 1 with seed 1

After 1 step all policies are the base model still. A problem's pass@1 is right / 2, its pass@2 whether one is right.
Of three problems the 95 % interval reaches from the least to the largest value: a resample is three times the same
problem with probability 1/27 = 3.7 % > 2.5 %.
"""

from __future__ import annotations

import pytest

from ops.errors import StorageError
from ops.exploration_bench import ExplorationBench
from ops.stages.exploration_comparison import measure_exploration
from ops.stages.exploration_findings import measure_exploration_findings
from tests.exploration.studies import SECOND_TASK, fabricate, of_dynamics

BASE = (1, 0, 1)
TRAINED = {
    ("vanilla", 0): (2, 0, 1),
    ("vanilla", 1): (2, 0, 2),
    ("ucb", 0): (2, 1, 1),
    ("ucb", 1): (1, 1, 1),
}
RESAMPLES = {"experiment__statistics": {"resamples": 4000}}


def by_hand(task: str, arm: str, seed: int, step: int) -> tuple[int, ...]:
    return TRAINED[arm, seed] if step == 2 and task == "countdown" else BASE


UNSOLVED = {
    ("countdown", "vanilla", 0): of_dynamics(
        "distinct_answers",
        "unsolved",
        policy=(2.0, 1.5, 2.5),
        base=(3.0, 2.0, 4.0),
        policy_minus_base=(-1.0, -1.5, -0.5),
    ),
    ("countdown", "vanilla", 1): of_dynamics(
        "distinct_answers",
        "unsolved",
        policy=(1.0, 0.5, 1.5),
        base=(3.0, 2.0, 4.0),
        policy_minus_base=(-2.0, -3.0, -1.0),
    ),
    ("countdown", "ucb", 0): of_dynamics("distinct_answers", "unsolved", policy=(None, None, None)),
    ("countdown", "ucb", 1): of_dynamics("distinct_answers", "unsolved", policy=(4.0, 3.0, 5.0)),
}


@pytest.fixture(scope="module")
def bench(write_shared_exploration) -> ExplorationBench:
    found = fabricate(write_shared_exploration(**RESAMPLES), by_hand, dynamics=UNSOLVED)
    measure_exploration(found)
    return found


def rows(bench: ExplorationBench, table: str, **same) -> list[dict]:
    frame = bench.store.read(table, bench.fingerprints[table])
    return [row for row in frame.iter_rows(named=True) if all(row[name] == value for name, value in same.items())]


def one(bench: ExplorationBench, table: str = "exploration_metrics", **same) -> tuple[float, ...]:
    [row] = rows(bench, table, **{"task": "countdown", **same})
    return row["value"], row["low"], row["high"], row["standard_error"]


def test_the_base_model_is_the_same_for_all_arms(bench):
    # (1/2 + 0 + 1/2) / 3 with both seeds
    at = {"arm": "base", "metric": "pass_at_k", "k": 1}
    assert one(bench, **at, seed=None) == pytest.approx((1 / 3, 0.0, 0.5, 0.0))
    assert one(bench, **at, seed=1)[:3] == pytest.approx((1 / 3, 0.0, 0.5))
    assert {row["step"] for row in rows(bench, "exploration_metrics", arm="base")} == {0}


def test_a_trained_policy_over_seeds(bench):
    at = {"arm": "vanilla", "step": 2, "metric": "pass_at_k", "k": 1}
    # seed 0: (1 + 0 + 1/2) / 3 = 1/2; seed 1: (1 + 0 + 1) / 3 = 2/3; mean 7/12
    # standard error: deviations of 1/12: sqrt(2 / 144 / 1) / sqrt(2) = 1/12
    # problems over seeds: 1, 0, 3/4
    assert one(bench, **at, seed=0)[0] == pytest.approx(1 / 2)
    assert one(bench, **at, seed=1)[0] == pytest.approx(2 / 3)
    assert one(bench, **at, seed=None) == pytest.approx((7 / 12, 0.0, 1.0, 1 / 12))
    [row] = rows(bench, "exploration_metrics", **at, seed=None)
    assert row["n_seeds"] == 2 and row["questions"] is None
    assert rows(bench, "exploration_metrics", **at, seed=1)[0]["standard_error"] is None


def test_every_snapshot_has_its_rows(bench):
    found = rows(bench, "exploration_metrics", arm="ucb", metric="pass_at_k", k=2, seed=None)
    # after 1 step as the base model: (1 + 0 + 1) / 3; after 2 every problem has a right response
    assert {row["step"]: row["value"] for row in found} == pytest.approx({1: 2 / 3, 2: 1.0})


def test_differences_are_paired_by_seed_and_problem(bench):
    to_vanilla = {"arm": "ucb", "reference": "vanilla", "step": 2, "metric": "pass_at_k"}
    # pass@2: 0, 1, 0 with both seeds
    assert one(bench, "exploration_differences", **to_vanilla, k=2) == pytest.approx((1 / 3, 0.0, 1.0, 0.0))
    # pass@1: 0, 1/2, 0 (mean 1/6) and -1/2, 1/2, -1/2 (mean -1/6); over seeds -1/4, 1/2, -1/4: mean 0
    # standard error: deviations of 1/6: sqrt(2 / 36) / sqrt(2) = 1/6
    assert one(bench, "exploration_differences", **to_vanilla, k=1) == pytest.approx((0.0, -0.25, 0.5, 1 / 6))
    # vanilla minus base: 1/2, 0, 0 (mean 1/6) and 1/2, 0, 1/2 (mean 1/3); over seeds 1/2, 0, 1/4
    to_base = {"arm": "vanilla", "reference": "base", "metric": "pass_at_k", "k": 1}
    assert one(bench, "exploration_differences", **to_base) == pytest.approx((1 / 4, 0.0, 0.5, 1 / 12))
    [row] = rows(bench, "exploration_differences", **to_base)
    assert (row["n_seeds"], row["n_problems"]) == (2, 3)
    # t at .975 with 1 degree of freedom 12.7062, times 1/12
    assert (row["seed_low"], row["seed_high"]) == pytest.approx((0.25 - 1.05885, 0.25 + 1.05885), abs=1e-4)
    pairs = {(row["arm"], row["reference"]) for row in rows(bench, "exploration_differences")}
    assert pairs == {("vanilla", "base"), ("ucb", "base"), ("ucb", "vanilla")}


def test_what_training_was_like_has_no_interval_over_seeds(bench):
    at = {"arm": "vanilla", "step": 2, "questions": "unsolved", "k": None}
    # policy 2 and 1: mean 3/2, standard error sqrt(2 * 1/4 / 1) / sqrt(2) = 1/2
    assert one(bench, **at, metric="distinct_answers", seed=None) == (1.5, None, None, 0.5)
    assert one(bench, **at, metric="distinct_answers", seed=1)[:3] == (1.0, 0.5, 1.5)
    assert one(bench, **at, metric="distinct_answers_of_base", seed=None) == (3.0, None, None, 0.0)
    assert one(bench, **at, metric="distinct_answers_minus_base", seed=None) == (-1.5, None, None, 0.5)
    # undefined with seed 0: seed 1 alone, with its own interval
    assert one(bench, **{**at, "arm": "ucb"}, metric="distinct_answers", seed=None) == (4.0, 3.0, 5.0, None)


def test_tasks_are_resampled_by_themselves_and_arms_may_be_missing(write_exploration):
    path = write_exploration(tasks__sums=SECOND_TASK, **RESAMPLES)
    missing = [("sums", "ucb", 0), ("sums", "ucb", 1), ("countdown", "ucb", 1)]
    bench = fabricate(path, by_hand, without=missing, unfinished=[("sums", "vanilla", 0)])
    measure_exploration(bench)
    assert set(bench.missing) == {
        "tiny-sums-ucb-s0",
        "tiny-sums-ucb-s1",
        "tiny-countdown-ucb-s1",
        "tiny-sums-vanilla-s0",
    }
    assert one(bench, task="sums", arm="vanilla", step=2, metric="pass_at_k", k=1, seed=None)[0] == pytest.approx(1 / 3)
    assert rows(bench, "exploration_metrics", task="sums", arm="ucb") == []
    # of ucb only seed 0 is there: its difference is that of seed 0 alone
    at = {"arm": "ucb", "reference": "vanilla", "metric": "pass_at_k", "k": 1}
    assert one(bench, "exploration_differences", **at) == (pytest.approx(1 / 6), 0.0, 0.5, None)
    [row] = rows(bench, "exploration_differences", task="countdown", **at)
    assert (row["seed_low"], row["seed_high"]) == (None, None)
    measure_exploration_findings(bench)
    assert {(row["task"], row["finding"]) for row in rows(bench, "findings")} == {
        *(("countdown", name) for name in ("7a", "7b.ucb", "7c.ucb", "7d")),
        ("sums", "7a"),
        ("sums", "7d"),
    }


def test_without_the_reference_arm_only_the_base_model_is_left(write_exploration):
    without = [("countdown", "vanilla", seed) for seed in (0, 1)]
    bench = fabricate(write_exploration(), by_hand, without=without)
    measure_exploration(bench)
    pairs = {(row["arm"], row["reference"]) for row in rows(bench, "exploration_differences")}
    assert pairs == {("ucb", "base")}
    measure_exploration_findings(bench)
    found = rows(bench, "findings")
    assert {row["outcome"] for row in found} == {"undecided"} and [row["finding"] for row in found] == [
        "7a",
        "7b.ucb",
        "7c.ucb",
        "7d",
    ]
    assert all(row["evidence"] == "vanilla: nothing is measured yet" for row in found)


def test_tables_follow_what_they_are_made_of(write_exploration):
    path = write_exploration()
    first = fabricate(path, by_hand, without=[("countdown", "ucb", 1)])
    assert not any(result.reused for result in measure_exploration(first))
    assert all(result.reused for result in measure_exploration(ExplorationBench.open("tiny")))
    second = fabricate(path, by_hand)
    assert second.fingerprints != first.fingerprints and second.is_complete
    assert not any(result.reused for result in measure_exploration(second))


def test_missing_responses_are_an_error(write_exploration):
    bench = fabricate(write_exploration(), by_hand)
    pool = bench.labs["tiny-countdown-ucb-s1"].plan.policy_pools[2]
    for path in bench.store.home.glob(f"**/*{pool}*/*.parquet"):
        path.unlink()
    with pytest.raises(StorageError, match="not in their pool"):
        measure_exploration(bench)
