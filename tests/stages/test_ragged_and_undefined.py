"""Groups of different sizes, responses without answers, scores off their scale or missing: what the tables then say."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from ops.errors import ExperimentError, StorageError
from ops.plan import asset_name
from ops.stages.comparison import compare_verifiers
from ops.stages.diversity import measure_diversity
from ops.stages.gap import measure_gap
from ops.stages.measured import ScoreTable, splits_of
from ops.stages.test_time import measure_test_time, vote_weights
from ops.stages.verifier_metrics import measure_calibration, measure_verifiers, probability_of
from ops.verifiers import VERIFIERS
from tests.replay.rows import write_jsonl
from tests.replay.test_replay import ROWS, replay
from tests.stages.test_stages import read
from tests.stages.test_verifier_tables import EVAL, by_verifier, filled, table


def ragged(sizes: list[int]):
    """Problems p0, p1 ... with so many responses; the first of each is right, and scored highest."""
    return [
        (f"p{p}", i, "c" if i == 0 else "i", f"a{i}", float(i == 0), -float(i))
        for p, size in enumerate(sizes)
        for i in range(size)
    ]


def test_one_short_group_does_not_cut_the_curves(tmp_path):
    """Sizes 1 4 4: n = 1 2 4, and from 2 on p0 is left out. Oracle at 2: 1 - C(3,2) / C(4,2) = 1/2; at 4: 1.
    At 1: (1 + 1/4 + 1/4) / 3 = 1/2. logprob ranks the right one first, so best of n is the oracle."""
    lab = filled(tmp_path, ragged([1, 4, 4]))
    times = table(lab, measure_test_time, "test_time_metrics")
    for method, verifier in (("oracle", None), ("best_of_n", "sequence_logprob")):
        rows = times.filter((pl.col("method") == method) & pl.col("verifier").eq_missing(verifier)).sort("n")
        assert rows.select("n", "n_problems", "accuracy").rows() == [
            (1, 3, pytest.approx(1 / 2)),
            (2, 2, pytest.approx(1 / 2)),
            (4, 2, pytest.approx(1.0)),
        ]
    found = table(lab, measure_diversity, "diversity_metrics")
    for metric, values in (("pass_at_k", [1 / 2, 1 / 2, 1.0]), ("distinct_answers_in_k", [1.0, 2.0, 4.0])):
        rows = found.filter(pl.col("metric") == metric).sort("k").select("k", "n_problems", "value").rows()
        assert rows == [(k, n, pytest.approx(v)) for k, n, v in zip((1, 2, 4), (3, 2, 2), values, strict=True)]


def test_one_long_group_does_not_stretch_the_curves(tmp_path):
    lab = filled(tmp_path, ragged([2, 2, 2, 8]))
    assert set(table(lab, measure_test_time, "test_time_metrics")["n"]) == {1, 2}
    assert set(table(lab, measure_diversity, "diversity_metrics")["k"].drop_nulls()) == {1, 2}


def test_labels_as_the_truth_leave_votes_and_distinct_answers_undefined(tmp_path):
    """No answer is read out of any response; pass@k, the oracle and best-of-n need none."""
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    lab = replay(tmp_path, task={"name": "jsonl", "grader": "label"}, verifiers=[])
    times = read(lab, "test_time_metrics", 0)
    votes = times.filter(pl.col("method").is_in(["majority_vote", "weighted_vote"]))
    assert votes.height > 0
    assert votes["accuracy"].null_count() == votes["accuracy_low"].null_count() == votes.height
    assert set(votes["n_problems"]) == {0}
    others = times.filter(~pl.col("method").is_in(["majority_vote", "weighted_vote"]))
    assert others["accuracy"].null_count() == 0
    found = read(lab, "diversity_metrics", 0)
    distinct = found.filter(pl.col("metric").is_in(["distinct_answers_in_k", "answer_entropy_nats"]))
    assert distinct["value"].null_count() == distinct.height > 0
    assert found.filter(pl.col("metric") == "pass_at_k")["value"].null_count() == 0


def test_a_problem_without_answers_beside_others_has_no_distinct_one(tmp_path):
    """Of A x x, B - -: 1 distinct answer in 2 for A, none for B: 1/2, a number, not NULL."""
    rows = [(name, i, "u" if name == "B" else "c", answer, 1.0, -1.0)
            for name, answer in (("A", "x"), ("B", None)) for i in range(2)]  # fmt: skip
    found = table(filled(tmp_path, rows), measure_diversity, "diversity_metrics")
    at_two = found.filter((pl.col("metric") == "distinct_answers_in_k") & (pl.col("k") == 2)).row(0, named=True)
    assert (at_two["value"], at_two["n_problems"]) == (0.5, 2)


def test_kept_fraction_is_a_share_of_responses(tmp_path):
    """binary_cot on A is 1 1 1, on B 1 -, on C 1 0. Best of each: 1/3 each of A, B0, C0: 3 of 7, and not 5 of 7. The
    KL weights keep everything more or less: NULL."""
    filters = [{"name": "top_n", "verifier": "binary_cot", "n": 1}, {"name": "kl", "verifier": "binary_cot", "beta": 1}]
    lab = filled(tmp_path, EVAL, gap_filters=filters)
    rows = {row["filter"]: row for row in table(lab, measure_gap, "gap_metrics").iter_rows(named=True)}
    assert rows["top_n"]["kept_fraction"] == pytest.approx(3 / 7)
    assert rows["kl"]["kept_fraction"] is None
    assert rows["kl"]["gap"] is not None


def test_thresholds_that_differ_in_the_seventh_digit_are_two_rows(tmp_path):
    names = [{"name": "threshold", "verifier": "binary_cot", "threshold": x} for x in (0.1234567, 0.1234568)]
    frame = table(filled(tmp_path, EVAL, gap_filters=names), measure_gap, "gap_metrics")
    assert frame["rule"].to_list() == ["binary_cot ≥ 0.1234567", "binary_cot ≥ 0.1234568"]


def test_scores_off_their_declared_scale_are_refused(tmp_path):
    """The rewards are .9 .8 .1 .7 .6; on a scale that ends at .75 two are no probabilities."""
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    listed = [{"name": "recorded", "column": "reward", "scale": [0.0, 0.75]}]
    with pytest.raises(ExperimentError, match=r"verifier reward: verifiers\[reward\].scale: 2 of 6 .*\[0, 0.75\]") as e:
        replay(tmp_path, verifiers=listed)
    assert "0.9" in e.value.problem
    inside = replay(tmp_path, verifiers=[{**listed[0], "scale": [0.0, 1.0]}])
    assert read(inside, "calibration_bins", 0).height > 0


def test_rounding_at_the_ends_of_a_scale_is_not_refused():
    verifier = VERIFIERS["logit"](name="logit")
    ends = np.array([-1.0 - 1e-7, 1.0 + 1e-7, 0.0, np.nan])
    assert probability_of(verifier, ends) == pytest.approx([0.0, 1.0, 0.5, np.nan], nan_ok=True)
    with pytest.raises(ExperimentError, match="1 of 2 scores"):
        probability_of(verifier, np.array([1.1, 0.5]))


def test_vote_weights_by_hand():
    """A scale gives probabilities: (score + 1) / 2 for p(yes) - p(no). Without one, the share that scores no higher.

    The unparseable response comes last: below -1 lies one of four, so it weighs (1 + 1) / 4, and so on.
    """
    index, score = np.zeros(4, dtype=int), np.array([-1.0, 0.0, np.nan, 0.5])
    scaled, unscaled = VERIFIERS["logit"](), VERIFIERS["sequence_logprob"]()
    assert vote_weights(scaled, index, score) == pytest.approx([0, 0.5, np.nan, 0.75], nan_ok=True)
    assert vote_weights(unscaled, index, score) == pytest.approx([0.5, 0.75, np.nan, 1.0], nan_ok=True)
    assert vote_weights(unscaled, index[:2], np.array([3.0, np.nan])) == pytest.approx([1, np.nan], nan_ok=True)
    assert vote_weights(unscaled, index[:2], np.array([3.0, 3.0])) == pytest.approx([0.75] * 2)  # (0 + 3 / 2) / 2
    for verifier in (scaled, unscaled):
        assert np.isnan(vote_weights(verifier, index[:2], np.full(2, np.nan))).all()
    with pytest.raises(ExperimentError, match=r"1 of 4 scores lie outside of the scale \[-1, 1\], for example -1.5"):
        vote_weights(scaled, index, np.array([-1.5, 0.0, np.nan, 0.5]))


@pytest.fixture
def damaged(tmp_path):
    """A lab whose ``verification_scores`` are rows of another table: B1 is not in it."""
    lab = filled(tmp_path, EVAL)
    whole = lab.store.read("verification_scores", lab.plan.fingerprints[asset_name("verification_scores", 0)])

    def without(keep: pl.Expr):
        other = filled(tmp_path / "other", EVAL[:1])
        fingerprint = other.plan.fingerprints[asset_name("verification_scores", 0)]
        frame = whole.filter(keep)
        other.store.read = lambda table, name, *rest: (
            frame if name == fingerprint else lab.store.read(table, name, *rest)
        )
        return other

    return without


@pytest.mark.parametrize("stage", [measure_gap, measure_verifiers, measure_calibration, measure_test_time])
def test_a_response_without_a_score_is_an_error_and_no_nan(damaged, stage):
    with pytest.raises(StorageError, match="1 of 7 responses have no score by") as caught:
        stage(damaged(pl.col("response_id") != "B1"), 0)
    assert "run the experiment again" in caught.value.remedy


def test_a_verifier_without_scores_is_an_error(damaged):
    with pytest.raises(StorageError, match="no scores by majority"):
        compare_verifiers(damaged(pl.col("verifier") != "majority"), 0)


def test_tokens_that_are_not_known_are_null(tmp_path):
    """Recorded scores cost what nobody told us."""
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    lab = replay(tmp_path)
    rows = by_verifier(read(lab, "verifier_metrics", 0))
    assert rows["reward"]["new_tokens_per_1000_responses"] is None
    assert rows["majority"]["new_tokens_per_1000_responses"] == 0.0
    responses = splits_of(lab, 0)["eval"]
    assert ScoreTable(lab, 0).of("majority", responses).n_tokens.tolist() == [0.0] * 6
