"""Instances and the world: class sizes by hand, and what a pull gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.bandits.instance import Instance, World, class_sizes, one_good_outcome


def test_class_sizes_by_hand():
    assert class_sizes(10, 4, "needle") == (1, 3, 3, 3)
    assert class_sizes(11, 4, "needle") == (1, 4, 3, 3)
    assert class_sizes(10, 4, "uniform") == (3, 3, 2, 2)
    # One arm each, 21 left by 1/3 : 1 : 1/2, that is 2 : 6 : 3 of 11: 3.82, 11.45, 5.73, so 3 + 11 + 5 and the two
    # largest remainders (.82 and .73) get one more: 4, 11, 6.
    assert class_sizes(24, 3, "zipf") == (5, 12, 7)


@given(outcomes=st.integers(2, 30), extra=st.integers(0, 500), kind=st.sampled_from(["needle", "uniform", "zipf"]))
def test_class_sizes_add_up_and_leave_no_outcome_without_an_arm(outcomes, extra, kind):
    sizes = class_sizes(outcomes + extra, outcomes, kind)
    assert sum(sizes) == outcomes + extra and len(sizes) == outcomes and min(sizes) >= 1
    if kind != "uniform":
        assert sizes[0] == min(sizes)  # the good outcome is the rarest


def test_deltas_by_hand():
    instance = one_good_outcome((1, 2, 3), 0.3)
    assert instance.means == (0.8, 0.5, 0.5) and (instance.n_arms, instance.n_outcomes) == (6, 3)
    assert instance.deltas_m == pytest.approx([0.0, 0.3, 0.3])


def test_every_arm_has_one_outcome_and_classes_have_their_sizes():
    sizes = (1, 4, 7)
    world = World([Instance(sizes, (1.0, 0.5, 0.0))], range(5), seed=3)
    outcomes = np.stack([world.pull(np.full(5, arm), np.zeros(5))[0] for arm in range(12)])
    loss = np.stack([world.pull(np.full(5, arm), np.zeros(5))[2] for arm in range(12)])
    for run in range(5):
        assert sorted(np.bincount(outcomes[:, run]).tolist()) == [1, 4, 7]
        found = {value: int((loss[:, run] == value).sum()) for value in (0.0, 0.5, 1.0)}
        assert found == {0.0: 1, 0.5: 4, 1.0: 7}  # the best outcome has one arm, the worst seven
    assert len({tuple(column) for column in outcomes.T}) > 1  # the places of arms differ between runs


def test_nature_draws_only_arms_of_the_named_outcome_each_equally_often():
    world = World([one_good_outcome((3, 5), 0.2)], range(1), seed=0)
    for outcome in (0, 1):
        drawn = [int(world.arm_of(np.array([outcome]), np.array([u]))[0]) for u in (np.arange(3000) + 0.5) / 3000]
        assert all(int(world.pull(np.array([arm]), np.zeros(1))[0][0]) == outcome for arm in set(drawn))
        counts = np.unique(drawn, return_counts=True)[1]
        assert len(counts) in (3, 5) and counts.max() - counts.min() <= 1


def test_rewards_have_the_means_of_their_outcomes():
    world = World([Instance((1, 1), (0.9, 0.2))], range(1), seed=5)
    uniform = np.random.default_rng(0).random(4000)
    means = [np.mean([world.pull(np.array([arm]), np.array([u]))[1][0] for u in uniform]) for arm in (0, 1)]
    assert sorted(means) == pytest.approx([0.2, 0.9], abs=0.03)  # standard error .006


def test_random_numbers_do_not_depend_on_how_many_are_taken_at_once():
    def world():
        return World([one_good_outcome((2, 2), gap) for gap in (0.1, 0.2)], range(3), seed=1)

    whole, parts = world().uniforms(10), world()
    np.testing.assert_array_equal(whole, np.concatenate([parts.uniforms(4), parts.uniforms(6)]))
    np.testing.assert_array_equal(whole[..., :3], whole[..., 3:])  # both instances see the same


def test_instances_of_one_world_have_the_same_classes():
    with pytest.raises(ValueError, match="same classes"):
        World([one_good_outcome((1, 2), 0.1), one_good_outcome((2, 1), 0.1)], range(1), seed=0)
