"""Agreement with ppi_python (arXiv 2311.01453), and where it is left on purpose.

Its lambda is Cov(z, zh) (with 1/n) / ((1 + n/M) Var(zh)) (all scores, with n + M - 1), kept within [0, 1]; its interval
has the normal quantile and variances with 1/n. Ours: one n - 1 for both, from the labelled pairs, and no limits.
"""

import numpy as np
import pytest
from scipy.stats import norm

from ops.control_variates.data import LabelledPairs
from ops.control_variates.disjoint import disjoint
from ops.control_variates.estimate import estimate

ppi_py = pytest.importorskip("ppi_py", reason='ppi-python is not installed: pip install -e ".[dev]"')
CLOSE = {"rel": 1e-9, "abs": 1e-9}


def _study(seed, n, n_other, signal=1.0, scale=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0.0, 0.5, 1.0], n + n_other, p=[0.3, 0.1, 0.6])
    scores = scale * (signal * labels + 0.5 * rng.normal(size=n + n_other))
    return labels[:n], scores[:n], scores[n:]


def _theirs(labels, near, far, lam=None):
    return float(np.squeeze(ppi_py.ppi_mean_pointestimate(labels, near, far, lam=lam)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "n_other"), [(30, 100), (100, 40), (300, 3000)])
def test_a_given_lambda_gives_their_estimate(seed, n, n_other):
    labels, near, far = _study(seed, n, n_other)
    for lam in (0.0, 0.3, 1.0):
        ours = disjoint(labels, near[:, None], far[:, None], coefficient_J=np.array([lam]))
        assert ours.value == pytest.approx(_theirs(labels, near, far, lam), **CLOSE)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_a_given_lambda_gives_their_interval_but_for_one_degree_of_freedom_and_t(seed, lam):
    """With n = M both of their variances are ours times (n - 1)/n; what is left is the quantile."""
    labels, near, far = _study(seed, 80, 80)
    low, high = (float(np.squeeze(end)) for end in ppi_py.ppi_mean_ci(labels, near, far, alpha=0.05, lam=lam))
    ours = disjoint(labels, near[:, None], far[:, None], coefficient_J=np.array([lam]))
    reach = norm.ppf(0.975) * ours.standard_error * (79 / 80) ** 0.5
    assert (low, high) == pytest.approx((ours.value - reach, ours.value + reach), **CLOSE)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "n_other"), [(30, 100), (100, 40), (300, 3000)])
def test_our_lambda_is_theirs_but_for_the_variance_it_divides_by(seed, n, n_other):
    labels, near, far = _study(seed, n, n_other)
    theirs = _theirs(labels, near, far)
    lam = (theirs - labels.mean()) / (far.mean() - near.mean())
    assert 0 < lam < 1  # not at a limit, so that it is comparable
    every = np.concatenate([near, far]).var(ddof=1) * n / (((near - near.mean()) ** 2).sum())
    ours = disjoint(labels, near[:, None], far[:, None])
    assert ours.coefficient_J[0] == pytest.approx(lam * every, rel=1e-8)
    same = disjoint(labels, near[:, None], far[:, None], coefficient_J=ours.coefficient_J / every)
    assert same.value == pytest.approx(theirs, **CLOSE)


@pytest.mark.parametrize("seed", range(5))
def test_nested_pairs_are_their_estimate_from_the_unlabelled_ones(seed):
    """Labelled pairs among the N: theirs with M = N - n other scores and lambda = alpha (1 - n/N)."""
    labels, near, far = _study(seed, 60, 240)
    unlabelled = np.full(240, np.nan)
    pairs = LabelledPairs(
        np.concatenate([labels, unlabelled]),
        np.concatenate([near, far])[:, None],
        np.arange(300),
        np.zeros(300, dtype=int),
        np.where(np.arange(300) < 60, 0, -1),
    )
    ours = estimate(pairs, "control_variate")
    assert ours.value == pytest.approx(_theirs(labels, near, far, ours.coefficient_J[0] * (1 - 60 / 300)), **CLOSE)


def test_where_theirs_is_at_a_limit_ours_is_not():
    """A judge turned round, or on a small scale, says as much as before; lambda within [0, 1] cannot use it."""
    labels, near, far = _study(0, 100, 1000)
    ours = disjoint(labels, near[:, None], far[:, None])
    for factor in (-1.0, 0.05):
        turned = disjoint(labels, factor * near[:, None], factor * far[:, None])
        assert turned.value == pytest.approx(ours.value) and turned.saving == pytest.approx(ours.saving)
    assert _theirs(labels, -near, -far) == pytest.approx(labels.mean(), **CLOSE)  # lambda 0: labels alone
    small = _theirs(labels, 0.05 * near, 0.05 * far)
    assert small == pytest.approx(labels.mean() + 0.05 * (far.mean() - near.mean()), **CLOSE)  # lambda 1
