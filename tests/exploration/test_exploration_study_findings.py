"""When a finding of exploration holds: rules by constructed intervals, and a whole study of constructed problems."""

from __future__ import annotations

import pytest

from ops.exploration_findings import (
    PASS_AT_1_TOLERANCE,
    keeps_accuracy,
    loses_diversity,
    transfers_to_unsolved,
    wins_it_back,
)
from ops.stages.exploration_comparison import measure_exploration
from ops.stages.exploration_findings import measure_exploration_findings
from ops.study_findings import FAILS, HOLDS, UNDECIDED
from ops.types import Interval
from tests.exploration.studies import fabricate, of_dynamics

NAN = float("nan")
UNKNOWN = Interval(NAN, NAN, NAN)


def interval(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high)


def test_losing_and_winning_back_need_a_whole_interval():
    assert loses_diversity(interval(-0.2, -0.1)) == HOLDS
    assert loses_diversity(interval(0.0, 0.1)) == FAILS
    assert loses_diversity(interval(-0.1, 0.1)) == UNDECIDED
    assert loses_diversity(UNKNOWN) == UNDECIDED
    assert wins_it_back(interval(0.01, 0.1)) == HOLDS
    assert wins_it_back(interval(-0.1, 0.0)) == FAILS
    assert wins_it_back(interval(-0.01, 0.1)) == UNDECIDED
    assert wins_it_back(UNKNOWN) == UNDECIDED


def test_keeping_pass_at_1():
    assert PASS_AT_1_TOLERANCE == 0.02
    assert keeps_accuracy(interval(-0.019, 0.05)) == HOLDS
    assert keeps_accuracy(interval(0.01, 0.05)) == HOLDS
    assert keeps_accuracy(interval(-0.03, 0.05)) == UNDECIDED  # a loss of more than .02 lies within it
    assert keeps_accuracy(interval(-0.05, -0.01)) == FAILS
    assert keeps_accuracy(interval(-0.01, -0.001)) == FAILS  # small, and a loss all the same
    assert keeps_accuracy(interval(0.0, 0.0)) == HOLDS  # the same responses everywhere
    assert keeps_accuracy(UNKNOWN) == UNDECIDED


def test_transfer_needs_every_seed():
    down, up, open_ = interval(-2, -1), interval(1, 2), interval(-1, 1)
    assert transfers_to_unsolved([down, down]) == HOLDS
    assert transfers_to_unsolved([up, up]) == FAILS
    assert transfers_to_unsolved([down, open_]) == UNDECIDED
    assert transfers_to_unsolved([down, up]) == UNDECIDED
    assert transfers_to_unsolved([]) == UNDECIDED


HALF = range(6)
ARMS = {
    "vanilla": {},
    **{
        name: {"exploration": {"bonus": {"name": "batch", "coefficient": coefficient}}}
        for name, coefficient in (("wins", 0.1), ("poor", 0.2), ("mixed", 0.3))
    },
}
RIGHT = {
    "base": [1] * 12,
    "vanilla": [2 if i in HALF else 0 for i in range(12)],
    "wins": [2 if i in HALF else 1 for i in range(12)],
    "poor": [1 if i in HALF else 0 for i in range(12)],
    "mixed": [1] * 12,
}
"""Right responses of two to each of 12 problems."""

TWELVE = {
    "experiment__problems": {"train_per_iteration": 4, "eval": 12},
    "experiment__exploration__snapshots": 1,
    "arms": ARMS,
}


def decided(write_exploration, dynamics=None, **changes) -> dict[str, dict]:
    bench = fabricate(
        write_exploration(**{**TWELVE, **changes}), lambda task, arm, seed, step: RIGHT[arm], dynamics=dynamics
    )
    measure_exploration(bench)
    result = measure_exploration_findings(bench)
    frame = bench.store.read("findings", result.fingerprint)
    assert result.metadata == {f"countdown {row['finding']}": row["outcome"] for row in frame.to_dicts()}
    return {row["finding"]: row for row in frame.iter_rows(named=True)}


def lost(low: float, high: float) -> list[dict]:
    return of_dynamics("distinct_answers", "unsolved", policy_minus_base=((low + high) / 2, low, high))


def test_a_study_is_decided(write_exploration):
    losses = {("countdown", "vanilla", 0): lost(-2, -1), ("countdown", "vanilla", 1): lost(-4, -3)}
    found = decided(write_exploration, losses)
    assert {name: row["outcome"] for name, row in found.items()} == {
        "7a": HOLDS,  # pass@2: 1 of every problem before; 1 of six, 0 of six now
        "7b.wins": HOLDS,  # + 1 on six problems
        "7b.poor": UNDECIDED,  # the same problems are solved: no resample differs
        "7b.mixed": HOLDS,
        "7c.wins": HOLDS,  # pass@1: the same on six problems, + 1/2 on six
        "7c.poor": FAILS,  # - 1/2 on six problems, the same on six
        "7c.mixed": UNDECIDED,  # - 1/2 on six problems, + 1/2 on six
        "7d": HOLDS,
    }
    assert list(found) == ["7a", "7b.wins", "7b.poor", "7b.mixed", "7c.wins", "7c.poor", "7c.mixed", "7d"]
    assert found["7a"]["value"] == pytest.approx(-0.5) and found["7a"]["value_high"] < 0
    assert found["7a"]["evidence"].startswith("vanilla: after 2 steps pass@2 minus the base model's is −.500 [")
    assert "standard error over 2 seeds .000" in found["7a"]["evidence"]
    assert found["7b.wins"]["value"] == pytest.approx(0.5)
    assert "wins: pass@2 minus that of vanilla is +.500 [" in found["7b.wins"]["evidence"]
    assert "minus the base model's .000" in found["7b.wins"]["evidence"]
    # seeds -1.5 and -3.5: mean -2.5, standard error 1
    assert (found["7d"]["value"], found["7d"]["value_low"]) == (-2.5, None)
    assert (
        "−2.500 (standard error over 2 seeds 1.000): seed 0 −1.500 [−2.000, −1.000]; seed 1" in found["7d"]["evidence"]
    )


def test_what_is_not_known_is_undecided(write_exploration):
    found = decided(write_exploration)
    assert found["7d"]["outcome"] == UNDECIDED and "nothing is known" in found["7d"]["evidence"]
    assert found["7d"]["value"] is None


def test_a_reference_with_a_bonus_does_not_speak_for_plain_training(write_exploration):
    found = decided(write_exploration, reference="wins")
    assert {found[name]["outcome"] for name in ("7a", "7d")} == {UNDECIDED}
    assert "has a bonus itself" in found["7a"]["evidence"]
    assert found["7b.vanilla"]["outcome"] == FAILS
