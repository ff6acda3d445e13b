"""Top-n with ties, KL weights and the logical AND, by hand; labels; files that are refused."""

import itertools

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from ops.errors import ExperimentError
from ops.estimation.gap import problem_gaps
from ops.selection import FILTERS
from ops.selection.conjunction import And
from ops.selection.kl import Kl
from ops.selection.quantile import Quantile
from ops.selection.threshold import Threshold
from ops.selection.top_n import TopN
from ops.variants import union

PROBLEM = np.array([0, 0, 0, 0, 1, 1])
SCORE = np.array([0.1, 0.9, 0.5, np.nan, -1.0, -2.0])
TRUTH = np.array([False, True, False, True, True, False])


def test_top_n_keeps_the_best_parseable_of_each_problem():
    assert TopN(verifier="v", n=1).weights(PROBLEM, SCORE, TRUTH).tolist() == [0, 1, 0, 0, 1, 0]
    assert TopN(verifier="v", n=2).weights(PROBLEM, SCORE, TRUTH).tolist() == [0, 1, 1, 0, 1, 1]
    assert TopN(verifier="v", n=9).weights(PROBLEM, SCORE, TRUTH).tolist() == [1, 1, 1, 0, 1, 1]


def test_top_n_shares_the_last_places_among_ties():
    # n = 2: one above (9), three tied (5) for the one place left: 1/3 each.  Problem 1: three tied for two places.
    problem = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    score = np.array([5.0, 9.0, 5.0, 1.0, 5.0, 2.0, 2.0, 2.0])
    weights = TopN(verifier="v", n=2).weights(problem, score, np.zeros(8, bool))
    assert weights == pytest.approx([1 / 3, 1, 1 / 3, 0, 1 / 3, 2 / 3, 2 / 3, 2 / 3])


def test_top_n_equals_the_mean_over_all_tie_breakings():
    rng = np.random.default_rng(0)
    score, truth = rng.integers(0, 3, 7).astype(float), rng.random(7) < 0.5
    for n in (1, 2, 4, 7):
        weights = TopN(verifier="v", n=n).weights(np.zeros(7, int), score, truth)
        expected = []
        for order in itertools.permutations(range(7)):  # every way to break the ties, equally often
            best = sorted(order, key=lambda i: -score[i])[:n]  # a stable sort: earlier in `order` wins
            expected.append(truth[best].mean())
        assert problem_gaps(np.zeros(7, int), truth, weights, 1).filtered_P[0] == pytest.approx(np.mean(expected))


def test_kl_weights_are_ratios_within_a_problem():
    # beta = .5: problem 0 exp((s - .9) / .5); problem 1 exp((s + 1) / .5); unparseable 0.
    weights = Kl(verifier="v", beta=0.5).weights(PROBLEM, SCORE, TRUTH)
    assert weights == pytest.approx([np.exp(-1.6), 1, np.exp(-0.8), 0, 1, np.exp(-2)])
    plain = np.where(np.isnan(SCORE), 0, np.exp(np.nan_to_num(SCORE) / 0.5))
    ours, direct = (problem_gaps(PROBLEM, TRUTH, w, 2).filtered_P for w in (weights, plain))
    assert ours == pytest.approx(direct)


def test_kl_is_safe_for_scores_of_any_size():
    weights = Kl(verifier="v", beta=1e-3).weights(
        np.array([0, 0, 0, 1, 1]), np.array([1e6, 1e6, 999999.0, -np.inf, -5.0]), np.zeros(5, bool)
    )
    assert weights.tolist() == [1, 1, 0, 0, 1]
    infinite = Kl(verifier="v", beta=1.0).weights(
        np.array([0, 0, 1, 1]), np.array([np.inf, 3.0, -np.inf, -np.inf]), np.zeros(4, bool)
    )
    assert infinite.tolist() == [1, 0, 1, 1]


def test_kl_of_only_unparseable_keeps_nothing():
    assert Kl(verifier="v", beta=1.0).weights(np.zeros(2, int), np.full(2, np.nan), np.ones(2, bool)).tolist() == [0, 0]


def test_and_keeps_what_every_member_keeps():
    both = And(filters=(Threshold(verifier="a", threshold=0.5), Threshold(verifier="b", threshold=8)))
    scores = {"a": SCORE, "b": np.array([9.0, 9, 7, 9, 9, 9])}
    # a keeps responses 1 and 2; b keeps all but 2.
    assert both.weights_of(PROBLEM, scores, TRUTH).tolist() == [0, 1, 0, 0, 0, 0]
    assert both.verifier_name is None
    assert both.verifier_names == ("a", "b")


def test_and_multiplies_shared_places():
    # Three tied for one place (1/3 each); the threshold keeps two of them.
    both = And(filters=(TopN(verifier="a", n=1), Threshold(verifier="b", threshold=0.5)))
    weights = both.weights_of(np.zeros(3, int), {"a": np.ones(3), "b": np.array([1.0, 0, 1])}, np.ones(3, bool))
    assert weights == pytest.approx([1 / 3, 0, 1 / 3])


def test_and_refuses_one_score_for_several_verifiers():
    both = And(filters=(Threshold(verifier="a", threshold=0.5), Threshold(verifier="b", threshold=8)))
    with pytest.raises(TypeError, match="weights_of"):
        both.weights(PROBLEM, SCORE, TRUTH)


def test_weights_of_equals_weights_of_the_named_verifier():
    item = Quantile(verifier="logit", q=0.5)
    scores = {"logit": SCORE, "other": -SCORE}
    assert item.weights_of(PROBLEM, scores, TRUTH).tolist() == item.weights(PROBLEM, SCORE, TRUTH).tolist()
    assert FILTERS["gold"]().weights_of(PROBLEM, {}, TRUTH).tolist() == TRUTH.astype(float).tolist()
    assert FILTERS["none"]().weights_of(PROBLEM, {}, TRUTH).tolist() == [1.0] * 6


def test_a_missing_verifier_is_named():
    with pytest.raises(ExperimentError, match=r"no scores of logit \(there are: other\)"):
        Threshold(verifier="logit", threshold=0).weights_of(PROBLEM, {"other": SCORE}, TRUTH)


def test_an_experiment_file_can_nest_filters():
    adapter = TypeAdapter(union(FILTERS))
    members = [{"name": "threshold", "verifier": "a", "threshold": 0.5}, {"name": "top_n", "verifier": "b", "n": 2}]
    parsed = adapter.validate_python({"name": "and", "filters": members})
    assert parsed == And(filters=(Threshold(verifier="a", threshold=0.5), TopN(verifier="b", n=2)))
    assert hash(parsed) == hash(adapter.validate_python({"name": "and", "filters": members}))
    assert adapter.validate_json(parsed.model_dump_json()) == parsed


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "and", "filters": [{"name": "threshold", "verifier": "a", "threshold": 0.5}]},
        {"name": "and", "filters": [{"name": "gold"}, {"name": "threshold", "verifier": "a", "threshold": 0.5}]},
        {"name": "and", "filters": [{"name": "kl", "verifier": "a", "beta": 1.0}] * 2},
        {"name": "kl", "verifier": "a", "beta": 0.0},
        {"name": "top_n", "verifier": "a", "n": 0},
        {"name": "top_n", "verifier": "a", "n": 1.5},
    ],
)
def test_wrong_filters_are_refused(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(union(FILTERS)).validate_python(wrong)


def test_labels():
    threshold, top = Threshold(verifier="logit", threshold=0.5), Quantile(verifier="score_cot", q=0.8)
    assert threshold.label == "logit ≥ 0.5"
    assert top.label == "score_cot top 20 %"
    assert And(filters=(threshold, top)).label == "logit ≥ 0.5 AND score_cot top 20 %"
    assert TopN(verifier="logit", n=4).label == "logit best 4"
    assert Kl(verifier="logit", beta=0.1).label == "exp(logit / 0.1)"
    assert [FILTERS[name]().label for name in ("gold", "none")] == ["gold labels", "no filter"]


def test_different_filters_have_different_labels():
    values = [0.0, 5e-324, 0.1, 0.1234567, 0.1234568, 0.2, 1 / 3, 0.30000000000000004, 0.3, 0.8, 0.80001, 0.99999999]
    labels = [Threshold(verifier="v", threshold=x).label for x in [*values, 8.0, -8.0, 1e6, 1e6 + 0.5, 1e22]]
    labels += [Quantile(verifier="v", q=x).label for x in values]
    labels += [Kl(verifier="v", beta=x).label for x in values[1:]]
    assert len(set(labels)) == len(labels)
    assert Threshold(verifier="v", threshold=-0.0).label == Threshold(verifier="v", threshold=0.0).label == "v ≥ 0"
    assert Threshold(verifier="v", threshold=0.1234567).label == "v ≥ 0.1234567"
    assert [Quantile(verifier="v", q=q).label for q in (0.0, 0.8, 0.9, 0.125, 0.999)] == [
        "v top 100 %",
        "v top 20 %",
        "v top 10 %",
        "v top 87.5 %",
        "v top 0.1 %",
    ]
