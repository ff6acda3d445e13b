"""KL from log-ratios: by hand, unbiased on known distributions, and with intervals that cover."""

import math

import numpy as np
import pytest

from ops.estimation.bootstrap import resample_counts
from ops.estimation.kl import estimate_kl


def test_by_hand():
    """Log-ratios A: log 2, 0; B: -log 2; C: not read. Tokens 3, 1, 2.

    Per problem log 2 / 2 and -log 2: mean -log 2 / 4. k3 = exp(-r) - 1 + r: of log 2 it is log 2 - 1/2, of 0 it is 0,
    of -log 2 it is 1 - log 2; per problem (log 2 - 1/2) / 2 and 1 - log 2: mean 3/8 - log 2 / 4. Per token: 0 / 6.
    """
    index, ratio = np.array([0, 0, 1, 2]), np.array([math.log(2), 0.0, -math.log(2), np.nan])
    found = estimate_kl(index, ratio, np.array([3.0, 1.0, 2.0, 9.0]), resample_counts(3, 400, 0), 0.95)
    assert found.nats.value == pytest.approx(-math.log(2) / 4)
    assert found.k3_nats.value == pytest.approx(3 / 8 - math.log(2) / 4)
    assert found.nats_per_token.value == pytest.approx(0.0, abs=1e-12)
    assert (found.n_problems, found.n_responses) == (2, 3)


def test_per_token_is_a_ratio_of_sums():
    """(2 + 1) / (4 + 1) = 3/5, and not the mean of 2/4 and 1/1."""
    found = estimate_kl(np.array([0, 1]), np.array([2.0, 1.0]), np.array([4.0, 1.0]), resample_counts(2, 200, 0), 0.9)
    assert found.nats_per_token.value == pytest.approx(3 / 5)


def test_nothing_read_is_undefined():
    found = estimate_kl(np.array([0]), np.array([np.nan]), np.array([1.0]), np.ones((3, 1)), 0.9)
    assert math.isnan(found.nats.value) and math.isnan(found.nats_per_token.value) and found.n_problems == 0


@pytest.mark.parametrize("name", ["nats", "k3_nats"])
def test_unbiased_and_covering_on_known_distributions(name):
    """p = (.5, .3, .2), q = (.2, .3, .5): KL = .5 log 2.5 + .2 log .4 = .3 log 2.5. 40 problems of 8, 300 times."""
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    truth, rng = 0.3 * math.log(2.5), np.random.default_rng(0)
    index, counts_RP = np.repeat(np.arange(40), 8), resample_counts(40, 400, 1)
    found = []
    for _ in range(300):
        drawn = rng.choice(3, size=320, p=p)
        estimate = estimate_kl(index, np.log(p / q)[drawn], np.ones(320), counts_RP, 0.9)
        found.append(getattr(estimate, name))
    values = np.array([item.value for item in found])
    assert abs(values.mean() - truth) < 4 * values.std(ddof=1) / math.sqrt(300)
    covered = np.mean([item.low <= truth <= item.high for item in found])
    assert 0.83 < covered < 0.96  # 90 % with 300 repetitions: standard error 1.7 %
