"""Which pairs are drawn next: sizes by hand and by property, and two waves simulated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.control_variates.allocation import neyman, residual_spread, rounded_sizes, uniform
from ops.control_variates.data import LabelledPairs
from ops.control_variates.estimate import estimate
from ops.errors import DatasetError


def _pairs(labels_N, judges_NJ, stratum_N, wave_N=None):
    n = len(labels_N)
    wave_N = np.where(np.isnan(labels_N), -1, 0) if wave_N is None else wave_N
    return LabelledPairs(np.asarray(labels_N, float), judges_NJ, np.arange(n), np.asarray(stratum_N), wave_N)


def test_sizes_by_hand():
    # 5, 3, 2 of 10 for 7: 3.5, 2.1, 1.4; floors 3, 2, 1, the missing one to the largest remainder, .5.
    assert rounded_sizes(np.array([5.0, 3, 2]), 7, np.zeros(3, int), np.full(3, 9)).tolist() == [4, 2, 1]
    # At most 2 of the first: the other 5 are shared 3 : 2, 3 and 2.
    assert rounded_sizes(np.array([5.0, 3, 2]), 7, np.zeros(3, int), np.array([2, 9, 9])).tolist() == [2, 3, 2]
    # At least 2 of each, the last weighs nothing: 8 are shared 1 : 1.
    assert rounded_sizes(np.array([1.0, 1, 0]), 10, np.full(3, 2), np.full(3, 9)).tolist() == [4, 4, 2]
    # Nothing weighs anything: equal.
    assert rounded_sizes(np.zeros(2), 6, np.full(2, 2), np.full(2, 9)).tolist() == [3, 3]


def test_spread_by_hand():
    # No judge. Stratum 0: labels 1, 1, 0, 0, squares 4 x 1/4 = 1, 3 degrees; stratum 1: 1, 1, 1, squares 0, 2 degrees;
    # stratum 2: one label, 0 degrees. Pooled 1 / 5 is everybody's guess with 2 labels' weight:
    # (1 + .4) / 5, (0 + .4) / 4, (0 + .4) / 2.
    labels = [1, 1, 0, 0, 1, 1, 1, 0, np.nan]
    found = residual_spread(_pairs(labels, np.zeros((9, 0)), [0, 0, 0, 0, 1, 1, 1, 2, 2]))
    assert found**2 == pytest.approx([0.28, 0.1, 0.2])


def test_the_judges_spread_tells_strata_without_labels_apart():
    # Labels 1, 1, 0, 0 with scores 1, .5, .5, 0 in stratum 0: cov = (.25 + 0 + 0 + .25) = .5, var .5, alpha = 1,
    # residuals 0, .5, -.5, 0, squares .5, 3 degrees: pooled 1/6. Scores of strata 1 and 2 (4 pairs each, no labels)
    # vary by 1/4 and 0, those of stratum 0 by 1/8: mean 1/8. Guesses 1/6 x (1 + 2)/2 = 1/4 and 1/6 x (1 + 0)/2 = 1/12.
    labels = [1, 1, 0, 0, *[np.nan] * 8]
    scores = np.array([1, 0.5, 0.5, 0, 0, 0, 1, 1, 0.7, 0.7, 0.7, 0.7])[:, None]
    found = residual_spread(_pairs(labels, scores, np.repeat([0, 1, 2], 4)))
    assert found[1:] ** 2 == pytest.approx([1 / 4, 1 / 12])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_draws_are_within_bounds(data):
    sizes = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=6))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    stratum_N = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    n = len(stratum_N)
    taken_N = rng.random(n) < data.draw(st.floats(0, 0.9))
    taken_N[: min(3, n)] = True
    labels_N = np.where(taken_N & ((rng.random(n) < 0.8) | (np.arange(n) < 3)), rng.integers(0, 3, n) / 2, np.nan)
    available_S = np.bincount(stratum_N[~taken_N], minlength=len(sizes))
    least = int(np.minimum(2, available_S).sum())
    if n < 3 or available_S.sum() == 0:
        return
    count = data.draw(st.integers(max(least, 1), int(available_S.sum())))
    pairs = _pairs(labels_N, rng.normal(size=(n, 1)), stratum_N)
    for draw in (
        neyman(pairs, taken_N, count, wave=1, seed=3),
        uniform(taken_N, stratum_N, count, wave=1, seed=3),
    ):
        assert len(draw.row_K) == len(set(draw.row_K.tolist())) == count == draw.size_S.sum()
        assert not taken_N[draw.row_K].any()
        assert (draw.stratum_K == stratum_N[draw.row_K]).all()
        assert (np.bincount(draw.stratum_K, minlength=len(sizes)) == draw.size_S).all()
        assert (draw.size_S <= draw.available_S).all()
        if draw.design == "neyman":
            assert (draw.size_S >= np.minimum(2, available_S)).all()


def test_the_seed_and_the_wave_decide_the_draw():
    taken_N, stratum_N = np.zeros(50, bool), np.zeros(50, int)
    first, again, other, later = (
        uniform(taken_N, stratum_N, 10, wave=wave, seed=seed).row_K.tolist()
        for wave, seed in ((0, 1), (0, 1), (0, 2), (1, 1))
    )
    assert first == again
    assert len({tuple(first), tuple(other), tuple(later)}) == 3


def test_every_pair_is_drawn_as_often_and_first_as_often():
    taken_N, stratum_N = np.arange(12) < 2, np.repeat([0, 1], 6)
    labels_N = np.where(taken_N, [1.0, 0.0] * 6, np.nan)
    pairs = _pairs(np.r_[labels_N, 1.0], np.zeros((13, 0)), np.r_[stratum_N, 1])
    taken_N = np.r_[taken_N, True]
    draws = [neyman(pairs, taken_N, 5, wave=1, seed=seed) for seed in range(3000)]
    drawn_N = np.bincount(np.concatenate([draw.row_K for draw in draws]), minlength=13) / 3000
    expected_N = np.where(taken_N, 0, (draws[0].size_S / draws[0].available_S)[pairs.stratum_N])
    assert np.abs(drawn_N - expected_N).max() < 4 * np.sqrt(0.25 / 3000)
    first_N = np.bincount([draw.row_K[0] for draw in draws], minlength=13) / 3000
    assert np.abs(first_N - expected_N / 5).max() < 4 * np.sqrt(0.08 / 3000)


@pytest.mark.parametrize("count", [0, 11])
def test_more_than_there_are_is_an_error(count):
    with pytest.raises(DatasetError) as caught:
        uniform(np.zeros(10, bool), np.zeros(10, int), count, wave=0, seed=0)
    assert caught.value.field == "count"


def test_the_top_of_a_draw_holds_strata_as_the_whole_does():
    # 1,000 and 100 pairs; labels vary in the small stratum only, which gets many of 60: half of them in the first half.
    stratum_N = np.repeat([0, 1], [1000, 100])
    labels_N = np.full(1100, np.nan)
    labels_N[:30], labels_N[1000:1030] = 1.0, np.tile([0.0, 1.0], 15)
    pairs = _pairs(labels_N, np.zeros((1100, 0)), stratum_N)
    draws = [neyman(pairs, ~np.isnan(labels_N), 60, wave=1, seed=seed) for seed in range(400)]
    top = np.mean([(draw.stratum_K[:30] == 1).sum() for draw in draws])
    assert draws[0].size_S[1] >= 15
    assert top == pytest.approx(draws[0].size_S[1] / 2, abs=4 * np.sqrt(60 / 16 / 400))


def test_too_few_for_the_strata_is_an_error():
    labels_N = np.r_[1.0, 0.0, 1.0, 0.0, np.full(16, np.nan)]
    pairs = _pairs(labels_N, np.zeros((20, 0)), np.tile(np.arange(4), 5))
    with pytest.raises(DatasetError, match="4 strata"):
        neyman(pairs, ~np.isnan(labels_N), 7, wave=1, seed=0)


def test_neyman_without_a_pilot_is_an_error():
    with pytest.raises(DatasetError, match="uniform wave"):
        neyman(_pairs(np.full(20, np.nan), np.zeros((20, 1)), np.zeros(20, int)), np.zeros(20, bool), 5, wave=0, seed=0)


# Simulation: four categories with win rates .97, .9, .6, .5 of 40, 30, 20, 10 % of 600 pairs; a judge that repeats the
# label or says a random number; 40 labels drawn uniformly, then 80 by Neyman's allocation.
SHARE, RATE, N, FIRST, SECOND = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.97, 0.9, 0.6, 0.5]), 600, 40, 80
TRUTH = float(SHARE @ RATE)


def _two_waves(rng, given):
    """As many labels whatever ``given``, the part of each wave that was labelled, from the top."""
    stratum_N = rng.choice(4, N, p=SHARE)
    z_N = (rng.random(N) < RATE[stratum_N]).astype(float)
    judge_N = np.where(rng.random(N) < 0.6, z_N, rng.random(N)) + 0.3 * rng.normal(size=N)
    seed = int(rng.integers(2**31))
    first = uniform(np.zeros(N, bool), stratum_N, round(FIRST / given), wave=0, seed=seed).row_K
    taken_N, wave_N = np.isin(np.arange(N), first), np.full(N, -1)
    wave_N[first[:FIRST]] = 0
    pilot = LabelledPairs(np.where(wave_N == 0, z_N, np.nan), judge_N[:, None], np.arange(N), stratum_N, wave_N.copy())
    wave_N[neyman(pilot, taken_N, round(SECOND / given), wave=1, seed=seed).row_K[:SECOND]] = 1
    return LabelledPairs(np.where(wave_N >= 0, z_N, np.nan), judge_N[:, None], np.arange(N), stratum_N, wave_N)


def _pooled(pairs):
    """W_h times the mean of all labels of stratum h, whatever wave they are from."""
    labelled_N = ~np.isnan(pairs.labels_N)
    share_S = np.bincount(pairs.stratum_N) / N
    mean_S = np.bincount(pairs.stratum_N[labelled_N], pairs.labels_N[labelled_N]) / np.bincount(
        pairs.stratum_N[labelled_N]
    )
    return share_S @ mean_S


def _simulate(studies, seed, given=1.0):
    """Errors of two estimates (human, cross-fitted) and of two naive means, and whether the two intervals cover."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(studies):
        pairs = _two_waves(rng, given)
        if (np.bincount(pairs.stratum_N[~np.isnan(pairs.labels_N)], minlength=4) < 2).any():
            continue  # refused by the estimate: a category with one label has no variance (waves labelled in part)
        human, judged = (estimate(pairs, estimator) for estimator in ("human", "cross_fitted"))
        values = [human.value, judged.value, _pooled(pairs), np.nanmean(pairs.labels_N)]
        rows.append([v - TRUTH for v in values] + [e.low <= TRUTH <= e.high for e in (human, judged)])
    return np.array(rows, dtype=float)


def test_two_waves_are_unbiased_and_one_mean_of_all_labels_is_not():
    rows = _simulate(400, 1)
    error = rows[:, :4].std(0) / np.sqrt(len(rows))
    assert (np.abs(rows[:, :2].mean(0)) < 4 * error[:2]).all()
    assert rows[:, 3].mean() < -10 * error[3]  # what was drawn more often counts more
    assert (rows[:, 4:].mean(0) > 0.95 - 4 * np.sqrt(0.95 * 0.05 / len(rows))).all()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("given", [1.0, 0.7])
def test_ten_thousand_studies_of_two_waves(given):
    rows = _simulate(10_010, 7, given)
    assert len(rows) >= 10_000
    error = rows[:, :4].std(0) / np.sqrt(len(rows))
    assert (np.abs(rows[:, :2].mean(0)) < 4 * error[:2]).all()
    assert ((rows[:, 4:].mean(0) >= 0.94) & (rows[:, 4:].mean(0) <= 0.965)).all()
    assert rows[:, 3].mean() < -30 * error[3]


@pytest.mark.slow
def test_pooling_the_waves_of_a_stratum_is_biased_and_fixed_weights_are_not():
    # People only, pairs without end: counts of right labels by stratum are binomial, nothing else is needed.
    rng = np.random.default_rng(3)
    fixed, pooled = [], []
    for _ in range(40_000):
        first_S = rng.multinomial(FIRST - 8, SHARE) + 2
        right_S = rng.binomial(first_S, RATE)
        labels = np.concatenate([np.repeat([1.0, 0.0], [r, n - r]) for r, n in zip(right_S, first_S, strict=True)])
        pilot = _pairs(labels, np.zeros((FIRST, 0)), np.repeat(np.arange(4), first_S))
        second_S = rounded_sizes(SHARE * residual_spread(pilot), SECOND, np.full(4, 2), np.full(4, N))
        again_S = rng.binomial(second_S, RATE)
        waves = SHARE @ (right_S / first_S), SHARE @ (again_S / second_S)
        fixed.append((FIRST * waves[0] + SECOND * waves[1]) / (FIRST + SECOND) - TRUTH)
        pooled.append(SHARE @ ((right_S + again_S) / (first_S + second_S)) - TRUTH)
    error = np.std(fixed) / np.sqrt(len(fixed))
    assert abs(np.mean(fixed)) < 4 * error
    assert np.mean(pooled) > 6 * error
