"""Every algorithm against choices worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ops.bandits import LEARNERS
from ops.bandits.base import Statistics
from ops.bandits.bounds import ucb1_bound, worst_case
from ops.bandits.instance import Instance
from ops.bandits.settings import Bandits
from ops.bandits.simulate import simulate

ONE = np.zeros(1, dtype=int)


def play(learner, pulls):
    """What a learner of one row chooses, given (arm, outcome, reward) of each pull."""
    chosen = []
    for pulled, (arm, outcome, reward) in enumerate(pulls):
        chosen.append(int(learner.choose(pulled)[0]))
        learner.learn(ONE + arm, ONE + outcome, np.array([float(reward)]))
    return chosen


def test_ucb1_index_by_hand():
    found = Statistics(np.arange(1), 2)
    for column, reward in ((0, 1), (0, 0), (0, 1), (1, 0)):
        found.add(ONE + column, np.array([float(reward)]))
    # Means 2/3 and 0 of 3 and 1 pulls; 2 ln 4 = 2.7726: 2/3 + sqrt(.92420) = 1.62802, and sqrt(2.7726) = 1.66511.
    assert found.ucb1(4)[0] == pytest.approx([1.62802, 1.66511], abs=1e-5)


@pytest.mark.parametrize("name", ["arm_ucb", "outcome_ucb_seen", "outcome_ucb"])
def test_regret_of_two_arms_without_noise_by_hand(name):
    # Rewards 1 and 0. Each arm once: regret 1. After s pulls, the bad arm (pulled once) has the index sqrt(2 ln s), the
    # good one 1 + sqrt(2 ln s / (s - 1)): 1.177 < 2.177 (s = 2), 1.482 < 2.048, 1.665 < 1.961, 1.794 < 1.897, and
    # 1.893 > 1.847 (s = 6), so the seventh pull is the bad arm again; then sqrt(2 ln 7 / 2) = 1.395 < 1.882.
    settings = Bandits(arms=(2,), outcomes=2, gaps=(0.5,), rounds=10, runs=3)
    curves = simulate(LEARNERS[name], [Instance((1, 1), (1.0, 0.0))], settings, round_q=np.arange(2, 9))
    for run in range(3):
        assert curves.regret[0, run].tolist() == [1, 1, 1, 1, 1, 2, 2]
    assert (curves.distinct == 2).all()


def test_arm_ucb_does_not_see_outcomes():
    settings = Bandits()
    # All arms once; then mean + sqrt(2 ln 3): 1 + 1.482 for arm 1, 0 + 1.482 for the others, whatever their outcomes.
    for outcomes in ((0, 0, 0), (0, 1, 0)):
        pulls = [(0, outcomes[0], 0), (1, outcomes[1], 1), (2, outcomes[2], 0), (1, outcomes[1], 1)]
        assert play(LEARNERS["arm_ucb"](1, 3, 2, settings), pulls) == [0, 1, 2, 1]


def test_outcome_ucb_seen_tries_every_arm_and_counts_outcomes_together():
    # Arms 0, 1, 2 have outcomes 1, 0, 1 and rewards 1, 0, 0. Outcome 1: mean 1/2 of 2, .5 + sqrt(2 ln 3 / 2) = 1.548;
    # outcome 0: 0 + sqrt(2 ln 3) = 1.482. So outcome 1, by an arm known to have it: the last one, 2. It gives 0:
    # 1/3 + sqrt(2 ln 4 / 3) = 1.295 < sqrt(2 ln 4) = 1.665, so arm 1, the only one of outcome 0.
    pulls = [(0, 1, 1), (1, 0, 0), (2, 1, 0), (2, 1, 0), (1, 0, 0)]
    assert play(LEARNERS["outcome_ucb_seen"](1, 3, 2, Bandits()), pulls) == [0, 1, 2, 2, 1]


def test_outcome_ucb_names_every_outcome_then_the_largest_index():
    # 0 + sqrt(2 ln 2) = 1.177 and 1 + 1.177, so outcome 1; with reward 0 there: 1/2 + sqrt(2 ln 3 / 2) = 1.548 against
    # sqrt(2 ln 3) = 1.482, so 1; then 1/3 + sqrt(2 ln 4 / 3) = 1.295 against 1.665, so 0.
    pulls = [(5, 0, 0), (6, 1, 1), (6, 1, 0), (7, 1, 0), (5, 0, 0)]
    assert play(LEARNERS["outcome_ucb"](1, 100, 2, Bandits()), pulls) == [0, 1, 1, 1, 0]


def test_greedy_locks_in():
    # Outcome 0 was unlucky once and is at 0; outcome 1 falls to 1/2, 1/3, 1/4 and stays above it for ever.
    pulls = [(0, 0, 0), (1, 1, 1), *[(1, 1, 0)] * 4]
    assert play(LEARNERS["greedy"](1, 2, 2, Bandits()), pulls) == [0, 1, 1, 1, 1, 1]


def test_batch_penalises_repetition_inside_the_batch_only():
    # n = 4, c = .8: .2 less for each time in the batch. First batch, all at 0: 0, 1, 2, and 0 again (all at -.2).
    # Rewards 1, 0, 0, 0: means 1/2, 0, 0. Second batch: .5, .3, .1 for outcome 0, then -.1 < 0: outcome 1.
    # Its rewards 1, 1, 1, 1: means 4/5, 1/2, 0 at the start of the third: .8, .6, .4 < .5: outcome 1 is third.
    pulls = [(0, 0, 1), (1, 1, 0), (2, 2, 0), (0, 0, 0), *[(0, 0, 1)] * 3, (1, 1, 1), *[(0, 0, 0)] * 2, (1, 1, 0)]
    chosen = play(LEARNERS["batch"](1, 3, 3, Bandits(batch=4, batch_weight=0.8)), pulls)
    assert chosen == [0, 1, 2, 0, 0, 0, 0, 1, 0, 0, 1]


def test_bounds_by_hand():
    assert worst_case(10, np.array([100]))[0] == pytest.approx(math.sqrt(10 * 100 * math.log(100)))
    # Two choices .5 and .25 worse than the best: 8 ln 100 (2 + 4) + (1 + pi^2/3) .75 = 221.05 + 3.22.
    assert ucb1_bound(np.array([0.0, 0.5, 0.25]), 100) == pytest.approx(224.27, abs=0.01)
    at = np.array([10, 1000])
    assert LEARNERS["arm_ucb"].bound(100, 10, at) == pytest.approx(worst_case(100, at))
    assert LEARNERS["outcome_ucb"].bound(100, 10, at) == pytest.approx(worst_case(10, at))
    # Searching costs what was pulled so far, at most K.
    assert LEARNERS["outcome_ucb_seen"].bound(100, 10, at) == pytest.approx(worst_case(10, at) + np.array([10, 100]))
    assert LEARNERS["greedy"].bound(100, 10, at) is None and LEARNERS["batch"].bound(100, 10, at) is None


def test_what_is_known_is_said_once_for_each():
    assumptions = [kind.assumption for kind in LEARNERS.values()]
    assert len(set(assumptions)) == len(LEARNERS) and all(assumptions)
    assert {name for name, kind in LEARNERS.items() if kind.assumption.startswith("G:")} == {
        name for name, kind in LEARNERS.items() if kind.names_outcomes
    }
