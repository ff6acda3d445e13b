"""When a finding of exploration holds: rules by constructed intervals, and a whole study of constructed problems."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ops.estimation.bootstrap import percentile_interval, resample_counts
from ops.exploration_files import load_exploration
from ops.exploration_findings import (
    PASS_AT_1_TOLERANCE,
    Both,
    keeps_accuracy,
    lies_above,
    loses_diversity,
    seed_interval,
    side,
    transfers_to_unsolved,
)
from ops.exploration_study import is_plain
from ops.stages.exploration_comparison import measure_exploration
from ops.stages.exploration_findings import measure_exploration_findings
from ops.study_findings import FAILS, HOLDS, UNDECIDED
from ops.types import Interval
from tests.exploration.studies import fabricate, of_dynamics
from tests.studies import REMOVED

NAN = float("nan")
UNKNOWN = Interval(NAN, NAN, NAN)


def interval(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high)


def both(problems: tuple[float, float], seeds: tuple[float, float] | None = None) -> Both:
    """Without ``seeds`` both intervals are alike."""
    return Both(interval(*problems), interval(*(seeds or problems)))


def test_the_interval_over_seeds_is_students():
    # .1, .2, .6: mean .3, standard deviation sqrt((.04 + .01 + .09) / 2) = .2646, / sqrt(3) = .15275;
    # t at .975 with 2 degrees of freedom 4.3027: .3 ± .6572
    found = seed_interval([0.1, 0.2, 0.6], 0.95)
    assert (found.value, found.low, found.high) == pytest.approx((0.3, -0.3572, 0.9572), abs=1e-4)
    # two seeds: mean 1, standard error 1; t at .95 with 1 degree of freedom 6.3138
    assert seed_interval([0.0, 2.0], 0.9).low == pytest.approx(1 - 6.3138, abs=1e-4)
    one = seed_interval([0.4], 0.95)
    assert one.value == 0.4 and math.isnan(one.low) and math.isnan(one.high)
    assert math.isnan(seed_interval([], 0.95).value)


def test_a_side_needs_both_intervals():
    assert side(both((0.1, 0.2))) == 1 and side(both((-0.2, -0.1))) == -1
    assert side(both((0.1, 0.2), (-0.1, 0.4))) == 0  # seeds scatter about 0
    assert side(both((-0.1, 0.4), (0.1, 0.2))) == 0  # problems do
    assert side(both((0.1, 0.2), (-0.2, -0.1))) == 0
    assert side(both((0.0, 0.2))) == 0 and side(both((-0.2, 0.0))) == 0  # an end at 0 decides nothing
    assert side(both((0.0, 0.0))) == 0
    assert side(Both(interval(0.1, 0.2), UNKNOWN)) == 0  # one seed


def test_losing_and_lying_above_need_both_intervals():
    assert loses_diversity(both((-0.2, -0.1))) == HOLDS
    assert loses_diversity(both((0.01, 0.1))) == FAILS
    assert lies_above(both((0.01, 0.1))) == HOLDS
    assert lies_above(both((-0.1, -0.01))) == FAILS
    for undecided in (both((-0.1, 0.1)), both((0.0, 0.1)), both((-0.02, 0.0)), Both(UNKNOWN, UNKNOWN)):
        assert loses_diversity(undecided) == lies_above(undecided) == UNDECIDED
    for narrow in (interval(-0.2, -0.1), interval(0.1, 0.2)):
        for seeds in (interval(-0.3, 0.4), UNKNOWN):
            assert loses_diversity(Both(narrow, seeds)) == lies_above(Both(narrow, seeds)) == UNDECIDED


def test_keeping_pass_at_1():
    assert PASS_AT_1_TOLERANCE == 0.02
    assert keeps_accuracy(both((-0.019, 0.05))) == HOLDS
    assert keeps_accuracy(both((0.01, 0.05))) == HOLDS
    assert keeps_accuracy(both((-0.03, 0.05))) == UNDECIDED  # a loss of more than .02 lies within it
    assert keeps_accuracy(both((-0.01, 0.05), (-0.03, 0.07))) == UNDECIDED  # with other trainings
    assert keeps_accuracy(both((-0.02, 0.05))) == UNDECIDED  # a loss of .02 as well
    assert keeps_accuracy(both((-0.05, -0.01))) == FAILS
    assert keeps_accuracy(both((-0.01, -0.001))) == FAILS  # small, and a loss all the same
    assert keeps_accuracy(both((-0.05, -0.01), (-0.1, 0.04))) == UNDECIDED
    assert keeps_accuracy(both((-0.01, -0.001), (-0.015, 0.004))) == UNDECIDED  # one says that it loses
    assert keeps_accuracy(both((-0.01, 0.0))) == HOLDS
    assert keeps_accuracy(both((0.0, 0.0))) == HOLDS  # the same responses everywhere
    assert keeps_accuracy(Both(interval(0.01, 0.05), UNKNOWN)) == UNDECIDED  # one seed
    assert keeps_accuracy(Both(UNKNOWN, UNKNOWN)) == UNDECIDED


def test_transfer_needs_every_seed_and_the_seeds_together():
    down, up, open_ = interval(-2, -1), interval(1, 2), interval(-1, 1)
    assert transfers_to_unsolved([down, down], down) == HOLDS
    assert transfers_to_unsolved([up, up], up) == FAILS
    assert transfers_to_unsolved([down, open_], down) == UNDECIDED
    assert transfers_to_unsolved([down, up], open_) == UNDECIDED
    assert transfers_to_unsolved([down, down], open_) == UNDECIDED  # seeds agree by chance
    assert transfers_to_unsolved([interval(0, 1), up], up) == UNDECIDED
    assert transfers_to_unsolved([down], UNKNOWN) == UNDECIDED
    assert transfers_to_unsolved([], UNKNOWN) == UNDECIDED


STUDIES = 600
SEEDS, PROBLEMS = 3, 100


def simulated(rng: np.random.Generator, counts_RP: np.ndarray) -> tuple[Interval, Interval]:
    """Both intervals of pass@K of one arm minus another, which differ in nothing but their trainings.

    Logit of a problem being solved: its difficulty, normal (1, 1.5), plus that of the training, normal (0, .4).
    """
    difficulty_P = rng.normal(1.0, 1.5, PROBLEMS)
    training = rng.normal(0.0, 0.4, (2, SEEDS, 1))
    solved = rng.random((2, SEEDS, PROBLEMS)) < 1 / (1 + np.exp(-(difficulty_P + training)))
    difference_SP = solved[1].astype(float) - solved[0]
    draws_R = counts_RP @ difference_SP.mean(axis=0) / PROBLEMS
    over_problems = percentile_interval(float(difference_SP.mean()), draws_R, 0.95)
    return over_problems, seed_interval(difference_SP.mean(axis=1).tolist(), 0.95)


def test_arms_that_differ_in_nothing_are_decided_in_5_percent_at_most():
    """A false positive of 7b is a difference that is called one, on either side."""
    rng, counts_RP = np.random.default_rng(0), resample_counts(PROBLEMS, 400, 1)
    studies = [Both(*simulated(rng, counts_RP)) for _ in range(STUDIES)]
    wrong = np.mean([lies_above(item) != UNDECIDED for item in studies])
    of_problems_alone = np.mean([item.problems.low > 0 or item.problems.high < 0 for item in studies])
    assert of_problems_alone > 0.2  # what an interval over problems alone would decide
    assert wrong <= 0.05
    assert np.mean([lies_above(item) == HOLDS for item in studies]) <= 0.04


def test_seeds_that_agree_by_chance_do_not_decide_7d():
    """Two seeds whose own intervals are narrow beside how seeds scatter agree on a sign every other time."""
    rng = np.random.default_rng(0)
    wrong = agreeing = 0
    for _ in range(2000):
        values = rng.normal(0.0, 1.0, 2).tolist()
        by_seed = [Interval(value, value - 0.05, value + 0.05) for value in values]
        wrong += transfers_to_unsolved(by_seed, seed_interval(values, 0.95)) != UNDECIDED
        agreeing += by_seed[0].low * by_seed[1].low > 0
    assert agreeing / 2000 > 0.4
    assert wrong / 2000 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 2000)


HALF = range(6)
ARMS = {
    "vanilla": {},
    **{
        name: {"exploration": {"bonus": {"name": "batch", "coefficient": coefficient}}}
        for name, coefficient in (("wins", 0.1), ("poor", 0.2), ("mixed", 0.3))
    },
}
TWO = {name: ARMS[name] for name in ("vanilla", "wins")}
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


def decided(write_exploration, dynamics=None, right=RIGHT, **changes) -> dict[str, dict]:
    """By finding; ``right`` by arm, or by arm and seed."""
    bench = fabricate(
        write_exploration(**{**TWELVE, **changes}),
        lambda task, arm, seed, step: right.get((arm, seed), right[arm]),
        dynamics=dynamics,
    )
    measure_exploration(bench)
    result = measure_exploration_findings(bench)
    frame = bench.store.read("findings", result.fingerprint)
    assert result.metadata == {f"countdown {row['finding']}": row["outcome"] for row in frame.to_dicts()}
    return {row["finding"]: row for row in frame.iter_rows(named=True)}


def lost(low: float, high: float, n_problems: int = 12) -> list[dict]:
    rows = of_dynamics("distinct_answers", "unsolved", policy_minus_base=((low + high) / 2, low, high))
    return [{**row, "n_problems": n_problems} for row in rows]


def losses(*items: list[dict]) -> dict[tuple[str, str, int], list[dict]]:
    return {("countdown", "vanilla", seed): rows for seed, rows in enumerate(items)}


def test_a_study_is_decided(write_exploration):
    found = decided(write_exploration, losses(lost(-2, -1), lost(-2.2, -1)))
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
    # the same with both seeds: the interval over seeds is its mean
    assert found["7a"]["evidence"].startswith("vanilla: after 2 steps pass@k minus the base model's is pass@2 −.500 [")
    assert "over problems, [−.500, −.500] over 2 seeds; pass@1 .000 [" in found["7a"]["evidence"]
    assert found["7b.wins"]["value"] == pytest.approx(0.5)
    assert "wins: pass@k minus that of vanilla is pass@2 +.500 [" in found["7b.wins"]["evidence"]
    assert "minus the base model's pass@2 .000 [" in found["7b.wins"]["evidence"]
    assert found["7b.wins"]["evidence"].endswith("it lies above vanilla and wins back of what that lost (7a)")
    assert "wins back" not in found["7b.poor"]["evidence"]
    assert found["7b.wins"]["statement"] == "This arm's pass@k at the largest k lies above plain training's."
    # seeds -1.5 and -1.6: mean -1.55, standard error .05; t at .975 with 1 degree of freedom 12.706: ± .635
    assert (found["7d"]["value"], found["7d"]["value_low"]) == (pytest.approx(-1.55), None)
    assert (
        "−1.550 [−2.185, −.915] over 2 seeds, standard error .050: seed 0 −1.500 [−2.000, −1.000] of 12 questions; "
        "seed 1" in found["7d"]["evidence"]
    )


def test_one_seed_decides_nothing(write_exploration):
    found = decided(write_exploration, losses(lost(-2, -1)), seeds=[0])
    assert {row["outcome"] for row in found.values()} == {UNDECIDED} and len(found) == 8
    assert all("at least 2 seeds are needed" in row["evidence"] for row in found.values())
    assert found["7a"]["value_high"] < 0  # the interval over problems would decide


def test_seeds_that_disagree_decide_nothing(write_exploration):
    # pass@2 of wins minus vanilla: seed 0 + 1 on six problems, seed 1 + 1 on one: +.5 and +1/12
    one_more = {**RIGHT, ("wins", 1): [2] * 6 + [1] + [0] * 5}
    found = decided(write_exploration, right=one_more)
    assert found["7a"]["outcome"] == HOLDS
    row = found["7b.wins"]
    # mean 7/24, standard error 5/24; t 12.706
    assert row["value"] == pytest.approx(7 / 24) and row["value_low"] > 0
    assert row["outcome"] == UNDECIDED and "[−2.355, +2.939] over 2 seeds" in row["evidence"]
    # pass@1: seed 0 +.25, seed 1 +1/24: no loss over problems, one of more than .02 over seeds
    assert found["7c.wins"]["outcome"] == UNDECIDED


@pytest.mark.parametrize(
    ("base", "loss", "words"),
    [
        # pass@2 of vanilla: 6 of 12; the base model solves the same problems, or none
        ([1] * 6 + [0] * 6, UNDECIDED, "which has measurably lost nothing: 7a is undecided"),
        ([0] * 12, FAILS, "which has lost nothing: 7a does not hold"),
    ],
)
def test_an_arm_wins_back_only_what_was_lost(write_exploration, base, loss, words):
    found = decided(write_exploration, right={**RIGHT, "base": base}, arms=TWO)
    assert found["7a"]["outcome"] == loss and found["7b.wins"]["outcome"] == HOLDS
    assert found["7b.wins"]["evidence"].endswith(words)


@pytest.mark.parametrize(
    ("of_seeds", "changes", "outcome", "words"),
    [
        ([lost(-2, -1), lost(-2.2, -1, n_problems=9)], {}, UNDECIDED, "seed 1 has fewer than 10 questions"),
        ([lost(-2, -1), lost(-2.2, -1, n_problems=10)], {}, HOLDS, "of 10 questions"),
        ([lost(-2, -1), lost(-2.2, -1)], {"seeds": [0, 1, 2]}, UNDECIDED, "of seed 2 there is no value"),
        # -1.5 and -3.5: each below 0, and 0 lies within -2.5 ± 12.706
        ([lost(-2, -1), lost(-4, -3)], {}, UNDECIDED, "−15.206"),
    ],
)
def test_transfer_needs_questions_and_all_planned_seeds(write_exploration, of_seeds, changes, outcome, words):
    found = decided(write_exploration, losses(*of_seeds), arms=TWO, **changes)["7d"]
    assert found["outcome"] == outcome and words in found["evidence"]


def test_what_is_not_known_is_undecided(write_exploration):
    found = decided(write_exploration)
    assert found["7d"]["outcome"] == UNDECIDED and "nothing is known" in found["7d"]["evidence"]
    assert found["7d"]["value"] is None


def test_a_reference_with_a_bonus_does_not_speak_for_plain_training(write_exploration):
    found = decided(write_exploration, reference="wins")
    assert {found[name]["outcome"] for name in ("7a", "7d")} == {UNDECIDED}
    assert "is not plain training" in found["7a"]["evidence"]
    assert found["7b.vanilla"]["outcome"] == FAILS and "not plain training" in found["7b.vanilla"]["statement"]


def test_training_with_another_advantage_is_not_plain(write_exploration):
    arms = {**TWO, "vanilla": {"exploration": {"advantage": {"name": "pass_at_k", "k": 2}}}}
    found = decided(write_exploration, arms=arms)
    assert found["7a"]["outcome"] == found["7d"]["outcome"] == UNDECIDED
    assert "is not plain training" in found["7a"]["evidence"]


@pytest.mark.parametrize(
    ("field", "value", "plain"),
    [
        ("advantage", {"name": "mean_only"}, True),
        ("advantage", {"name": "pass_at_k", "k": 2}, False),
        ("advantage", {"name": "weighted", "positive_weight": 0.1, "negative_weight": 1.0}, False),
        ("reward", {"name": "unlikeliness", "beta_rank": 0.25}, False),
        ("reward", {"name": "darling"}, False),
        ("bonus", {"name": "batch", "coefficient": 0.1}, False),
    ],
)
def test_plain_training_has_the_usual_reward_and_advantage_and_no_bonus(write_exploration, field, value, plain):
    arms = {"other": {"exploration": {field: value}}, "vanilla": {}}
    loaded = load_exploration(write_exploration(arms=arms, reference=REMOVED))
    assert [is_plain(member.experiment) for member in loaded.members] == [plain, plain, True, True]
    assert loaded.reference == ("other" if plain else "vanilla")
