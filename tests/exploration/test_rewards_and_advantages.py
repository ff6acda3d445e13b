"""Rewards and advantages against groups computed by hand and, for pass@k, against all groups of k."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ops.exploration.advantages import ADVANTAGES
from ops.exploration.advantages.group_normalised import GroupNormalised
from ops.exploration.advantages.mean_only import MeanOnly
from ops.exploration.advantages.pass_at_k import PassAtK
from ops.exploration.advantages.weighted import Weighted
from ops.exploration.group import Group
from ops.exploration.rewards import REWARDS
from ops.exploration.rewards.darling import Darling
from ops.exploration.rewards.unlikeliness import Unlikeliness
from ops.exploration.rewards.verifiable import Verifiable
from ops.exploration.settings import Exploration
from tests.exploration.groups import group


def plain(rewards) -> tuple[np.ndarray, Group]:
    """Rewards with a group that nothing but its size is known of."""
    return np.array(rewards, dtype=float), group(["a"] * len(rewards))


def test_verifiable():
    assert Verifiable().of_group(group(["a", "b", None], correct=[0])).tolist() == [1.0, 0.0, 0.0]


def test_unlikeliness():
    # log-probabilities -1, -4, -2, -3: ranks 1, 4, 2, 3; correct are 0, 1 and 3; beta = 1/4, n = 4:
    # 1 - 1/4 * 3/4 = 13/16; the least likely 1 - 0 = 1; incorrect 0; 1 - 1/4 * 1/4 = 15/16
    drawn = group(["a"] * 4, correct=[0, 1, 3], logprob=[-1, -4, -2, -3])
    assert Unlikeliness().of_group(drawn).tolist() == [13 / 16, 1.0, 0.0, 15 / 16]
    # beta = 1: the likeliest keeps 1/n
    assert Unlikeliness(beta_rank=1.0).of_group(drawn).tolist() == [0.25, 1.0, 0.0, 0.75]
    assert Unlikeliness(beta_rank=0.0).of_group(drawn).tolist() == [1.0, 1.0, 0.0, 1.0]


def test_equally_likely_responses_are_worth_the_same():
    # ranks: -1 and -1 (differing by rounding) share (1 + 2) / 2 = 3/2, -5 has 3: 1 - 1/4 * (3 - 3/2) / 3 = 7/8
    drawn = group(["a", "b", "a"], correct=[0, 1, 2], logprob=[-1.0, -5.0, -1.0 + 1e-6])
    assert Unlikeliness().of_group(drawn).tolist() == [7 / 8, 1.0, 7 / 8]


def test_ranks_agree_with_the_released_code():
    """argsort(argsort(logprob)) / n is the discount there: 0 of the least likely."""
    logprob = np.random.default_rng(0).normal(-20, 5, 16)
    discount = np.argsort(np.argsort(logprob)) / 16
    found = Unlikeliness().of_group(group(["a"] * 16, correct=range(16), logprob=logprob))
    assert found == pytest.approx(1 - 0.25 * discount)


def test_darling():
    # a 3 times of 5: 2 of 4 others are different, 1/2; b once: 1; wrong and unparseable: 0
    drawn = group(["a", "a", "a", "b", None], correct=[0, 1, 3])
    assert Darling().of_group(drawn).tolist() == [0.5, 0.5, 0.0, 1.0, 0.0]
    # one class only: 0 others are different, and the floor is left
    alike = group(["a", "a"], correct=[0, 1])
    assert Darling().of_group(alike).tolist() == [0.1, 0.1]
    assert Darling(floor=0.0).of_group(alike).tolist() == [0.0, 0.0]
    # the unparseable responses are another answer than a, all of them: 1 - 0/3
    assert Darling().of_group(group(["a", None, None, None], correct=[0])).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_group_normalised():
    # 1 0 0 0: mean 1/4, variance (9/16 + 3/16) / 3 = 1/4, std 1/2: 0.75 / 0.5001, -0.25 / 0.5001
    assert GroupNormalised().of_group(*plain([1, 0, 0, 0])).tolist() == pytest.approx(
        [0.75 / 0.5001, *[-0.25 / 0.5001] * 3]
    )
    assert GroupNormalised().of_group(*plain([1, 1])).tolist() == [0.0, 0.0]


def test_mean_only():
    assert MeanOnly().of_group(*plain([1, 0, 0, 0])).tolist() == [0.75, -0.25, -0.25, -0.25]
    assert MeanOnly().of_group(*plain([0.8, 0.4, 0.0])).tolist() == pytest.approx([0.4, 0.0, -0.4])


def test_weighted():
    assert Weighted().of_group(*plain([1, 0, 0])).tolist() == [0.1, -1.0, -1.0]
    assert Weighted(positive_weight=0.0).of_group(*plain([1, 0, 0])).tolist() == [0.0, -1.0, -1.0]  # NSR
    psr = Weighted(positive_weight=1.0, negative_weight=0.0)
    assert psr.of_group(*plain([1, 0, 0])).tolist() == [1.0, 0.0, 0.0]
    assert Weighted().of_group(*plain([1, 1])).tolist() == [0.1, 0.1]  # no baseline: all correct is a signal too


def test_pass_at_k_by_hand():
    # n = 4, one correct, k = 2: R = 1 - C(3,2)/C(4,2) = 1 - 3/6 = 1/2, sigma = 1/2; correct (1/2) / (1/2) = 1;
    # incorrect (1/2 - C(2,1)/C(3,1)) / (1/2) = (1/2 - 2/3) * 2 = -1/3
    assert PassAtK(k=2).of_group(*plain([1, 0, 0, 0])).tolist() == pytest.approx([1.0, -1 / 3, -1 / 3, -1 / 3])
    # k = 1: R = 1/4, sigma = sqrt(3)/4: 3/4 / sigma = sqrt(3), -1/4 / sigma = -1/sqrt(3)
    assert PassAtK(k=1).of_group(*plain([1, 0, 0, 0])).tolist() == pytest.approx([3**0.5, *[-(3**-0.5)] * 3])
    # two of four correct, k = 3: every group of three holds one: nothing is left to learn
    assert PassAtK(k=3).of_group(*plain([1, 1, 0, 0])).tolist() == [0.0] * 4
    assert PassAtK(k=3).of_group(*plain([0, 0, 0, 0])).tolist() == [0.0] * 4


@pytest.mark.parametrize("n", range(2, 8))
def test_pass_at_k_is_the_mean_over_all_groups_of_k(n):
    checked = 0
    for k, n_correct in itertools.product(range(1, n + 1), range(n + 1)):
        reward_N = np.array([1.0] * n_correct + [0.0] * (n - n_correct))
        groups = list(itertools.combinations(range(n), k))
        rewards = np.array([reward_N[list(members)].max() for members in groups])
        found = PassAtK(k=k).of_group(reward_N, group(["a"] * n))
        if rewards.std() == 0.0:
            assert found.tolist() == [0.0] * n
            continue
        normalised = (rewards - rewards.mean()) / rewards.std()
        inside = np.array([[i in members for members in groups] for i in range(n)])
        expected = (inside * normalised).sum(1) / inside.sum(1)
        assert found == pytest.approx(expected), (k, n_correct)
        checked += 1
    assert checked >= 1


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=64), st.data())
def test_advantages_of_any_group(rewards, data):
    reward_N, some = plain(rewards)
    k = data.draw(st.integers(1, len(rewards)))
    for advantage in (GroupNormalised(), MeanOnly(), PassAtK(k=k)):
        found = advantage.of_group(reward_N, some)
        assert np.isfinite(found).all() and found.sum() == pytest.approx(0.0, abs=1e-8)
        if 0 < sum(rewards) < len(rewards):
            assert found[reward_N == 1].min() >= found[reward_N == 0].max() - 1e-12
    assert set(Weighted().of_group(reward_N, some)) <= {0.1, -1.0}


def test_pass_at_k_of_large_groups_is_finite():
    found = PassAtK(k=512).of_group(*plain([1.0] + [0.0] * 1023))
    # R = 1/2 exactly: half of all groups of 512 of 1,024 hold the one correct response
    assert found[0] == pytest.approx(1.0) and np.isfinite(found).all()


@pytest.mark.parametrize("advantage", [PassAtK(k=2), Weighted()])
def test_rewards_between_0_and_1_are_refused(advantage):
    with pytest.raises(ValueError, match="rewards of 0 and 1 only"):
        advantage.of_group(*plain([1.0, 0.5]))


def test_binary_rewards_in_the_experiment_file():
    assert {name for name, kind in ADVANTAGES.items() if kind.needs_binary} == {"pass_at_k", "weighted"}
    assert {name for name, kind in REWARDS.items() if kind.is_binary} == {"verifiable"}
    for advantage, reward in itertools.product(ADVANTAGES, REWARDS):
        fields = {"learning_rate": 1e-3, "advantage": {"name": advantage}, "reward": {"name": reward}}
        if advantage in ("pass_at_k", "weighted") and reward != "verifiable":
            with pytest.raises(ValidationError, match=rf"reward.name: .* with advantage {advantage}, got {reward}"):
                Exploration.model_validate(fields)
        else:
            assert Exploration.model_validate(fields).reward.name == reward


def test_k_is_at_most_the_group_in_the_experiment_file():
    fields = {"learning_rate": 1e-3, "responses_per_problem": 4, "advantage": {"name": "pass_at_k", "k": 5}}
    with pytest.raises(ValidationError, match=r"advantage.k: at most responses_per_problem \(4\), got 5"):
        Exploration.model_validate(fields)
    fields["advantage"] = {"name": "pass_at_k", "k": 4}
    assert Exploration.model_validate(fields).advantage.k == 4


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Unlikeliness, {"beta_rank": 1.1}),
        (Darling, {"floor": -0.1}),
        (PassAtK, {"k": 0}),
        (Weighted, {"positive_weight": -0.1}),
        (Weighted, {"positive_weight": 0.0, "negative_weight": 0.0}),
    ],
)
def test_what_is_refused(kind, fields):
    with pytest.raises(ValidationError, match=next(iter(fields))):
        kind(**fields)


def test_every_part_of_the_identity_is_in_it():
    def identity(**fields):
        return Exploration.model_validate({"learning_rate": 1e-3, **fields}).identity()

    changes = [
        {},
        {"reward": {"name": "unlikeliness"}},
        {"reward": {"name": "unlikeliness", "beta_rank": 0.5}},
        {"advantage": {"name": "pass_at_k", "k": 4}},
        {"advantage": {"name": "weighted", "positive_weight": 0.0}},
        {"bonus": {"name": "ucb"}},
        {"bonus": {"name": "ucb", "counting": "after"}},
        {"bonus": {"name": "ucb_con", "baseline": 1.0}},
    ]
    assert len({str(identity(**change)) for change in changes}) == len(changes)
