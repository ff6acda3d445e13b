"""The stage that estimates win rates, on tables filled by hand (``win_rate_tables`` has them with the arithmetic)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from ops.errors import ExperimentError
from ops.lab import Lab
from ops.plan import evaluation_asset
from ops.stages.win_rate_curves import FEWEST_FOR_CURVES
from ops.stages.win_rate_data import read_pairs
from ops.stages.win_rate_gap import gap_rows
from ops.stages.win_rates import estimate_win_rates
from ops.storage.catalog import rebuild_catalog
from ops.storage.query import query
from tests.evaluation.evaluated import evaluated
from tests.evaluation.win_rate_tables import (
    LABELS,
    X,
    Y,
    commit,
    filled,
    opened,
    put_judgements,
    put_labels,
    put_pairs,
)

ALL = (1.0, 1.0, 0.0, 0.0, 1.0, 0.5, 0.0, 1.0)


def rates(lab: Lab) -> dict[tuple[str, str | None], dict]:
    """Rows of ``win_rates`` of model m by estimator and judge."""
    estimate_win_rates(lab)
    frame = table(lab, "win_rates").filter(pl.col("quantity") != "gap", model="m")
    return {(row["estimator"], row["judge"]): row for row in frame.iter_rows(named=True)}


def table(lab: Lab, name: str) -> pl.DataFrame:
    return lab.store.read(name, lab.plan.fingerprints[evaluation_asset("win_rates")])


def about(lab: Lab, name: str = "win_rates") -> dict:
    return lab.store.about(name, lab.plan.fingerprints[evaluation_asset("win_rates")])["metadata"]


def test_the_numbers_are_those_of_the_arithmetic(tmp_path):
    lab = filled(tmp_path)
    found = rates(lab)
    assert list(found) == [("human", None), ("synthetic", "x"), ("control_variate", "x"), ("cross_fitted", "x")]
    human, alone, varied = found["human", None], found["synthetic", "x"], found["control_variate", "x"]
    # (1 + 1 + 0 + 0) / 4
    assert human["value"] == pytest.approx(0.5) and not human["is_biased"]
    # Var(z) = (4 * .25) / 3, divided by 4 labels
    assert human["standard_error"] == pytest.approx(math.sqrt(1 / 3 / 4))
    # (1 + .5 + .5 + 0 + 1 + 1 + 1 + 0) / 8
    assert alone["value"] == pytest.approx(0.625) and alone["is_biased"]
    # .5 - 1 * (.5 - .625)
    assert varied["value"] == pytest.approx(0.625) and varied["coefficient"] == pytest.approx(1.0)
    assert varied["correlation"] == pytest.approx(math.sqrt(0.5))
    assert varied["saving_without_limit"] == pytest.approx(0.5)
    # rho^2 adjusted for one judge: 1 - .5 * 3/2 = .25
    assert varied["predicted_saving"] == pytest.approx(0.25 * (1 - 4 / 8))
    assert varied["human_labels_equal"] == pytest.approx(4 / (1 - varied["saving"]))
    expected = 1 - varied["standard_error"] ** 2 / human["standard_error"] ** 2
    assert varied["saving"] == pytest.approx(expected)
    for row in found.values():
        assert (row["n_pairs"], row["n_labelled"], row["n_problems"], row["n_excluded"]) == (8, 4, 4, 0)
        assert (row["model"], row["reference"], row["quantity"]) == ("m", "ref", "win_rate")
        assert row["low"] < row["value"] < row["high"] and row["bootstrap_low"] <= row["bootstrap_high"]
    assert human["saving"] is None and alone["saving"] is None and human["coefficient"] is None


def test_several_judges_are_used_alone_and_together(tmp_path):
    """Six labels: two coefficients and a constant need five."""
    lab = opened(tmp_path, judges=("x", "y"))
    put_pairs(lab), put_judgements(lab, {"x": X, "y": Y}), put_labels(lab, (*LABELS[:4], 1.0, 0.5))
    found = rates(lab)
    both = found["control_variate", "x + y"]
    assert [judge for estimator, judge in found if estimator == "control_variate"] == ["x", "y", "x + y"]
    assert both["coefficient"] is None and "synthetic" not in {e for e, judge in found if judge == "x + y"}
    # Least squares of z on (1, x, y) over the six labelled pairs, and its fitted mean over all eight.
    design = np.column_stack([np.ones(8), X, Y])
    labels = np.array([1, 1, 0, 0, 1, 0.5])
    alpha = np.linalg.lstsq(design[:6], labels, rcond=None)[0]
    assert both["value"] == pytest.approx(float((design @ alpha).mean()))
    residual, total = labels - design[:6] @ alpha, labels - labels.mean()
    assert both["saving_without_limit"] == pytest.approx(1 - residual @ residual / (total @ total))


def test_too_few_labels_leave_null_and_a_reason(tmp_path):
    """Four labels: two coefficients need five; two: a single judge needs four."""
    lab = opened(tmp_path, judges=("x", "y"))
    put_pairs(lab), put_judgements(lab, {"x": X, "y": Y}), put_labels(lab)
    found = rates(lab)
    assert found["control_variate", "x + y"]["value"] is None and found["control_variate", "x"]["value"] is not None
    assert found["control_variate", "x + y"]["saving"] is None and found["control_variate", "x + y"]["n_labelled"] == 4
    assert "m, control_variate of x + y: labels of 4 problems" in about(lab)["not_estimated"]
    few = opened(tmp_path / "few")
    put_pairs(few), put_judgements(few, {"x": X}), put_labels(few, (1.0, 0.0))
    found = rates(few)
    assert found["human", None]["value"] == 0.5 and found["control_variate", "x"]["value"] is None
    one = opened(tmp_path / "one")
    put_pairs(one), put_judgements(one, {"x": X}), put_labels(one, (1.0,))
    assert rates(one)["human", None]["value"] is None
    assert "m, human: labels of 1 problem" in about(one)["not_estimated"]


def test_without_labels_there_are_judges_alone_and_it_is_said(tmp_path):
    lab = opened(tmp_path)
    put_pairs(lab), put_judgements(lab, {"x": X}), put_labels(lab, ())
    found = rates(lab)
    assert list(found) == [("synthetic", "x")] and found["synthetic", "x"]["is_biased"]
    assert found["synthetic", "x"]["n_labelled"] == 0
    assert about(lab)["labels"].startswith("No labels yet: judgements alone, biased") and about(lab)["m_labels"] == 0
    assert table(lab, "label_curves").is_empty()


def test_without_judges_there_are_human_labels(tmp_path):
    lab = opened(tmp_path, judges=())
    put_pairs(lab), put_judgements(lab, {}), put_labels(lab)
    assert list(rates(lab)) == [("human", None)]
    assert table(lab, "judge_metrics").is_empty()


def test_scores_on_another_scale_are_control_variates_but_no_win_rate(tmp_path):
    """Ten times x plus 3 moves nothing but alpha."""
    lab = opened(tmp_path)
    put_pairs(lab), put_judgements(lab, {"x": tuple(10 * score + 3 for score in X)}), put_labels(lab)
    found = rates(lab)
    assert found["synthetic", "x"]["value"] is None
    assert found["control_variate", "x"]["value"] == pytest.approx(0.625)
    assert found["control_variate", "x"]["coefficient"] == pytest.approx(0.1)
    assert "m, synthetic of x: its scores are on a scale of their own" in about(lab)["not_estimated"]


MISSING = (1.0, 0.5, 0.5, 0.0, 1.0, 1.0, 1.0, None)


def test_a_missing_judgement_is_an_error_unless_the_experiment_allows_it(tmp_path):
    lab = opened(tmp_path)
    put_pairs(lab), put_judgements(lab, {"x": MISSING}), put_labels(lab)
    with pytest.raises(ExperimentError, match="judge x has no judgement of 1 of the 8 pairs of m") as caught:
        estimate_win_rates(lab)
    assert caught.value.field == "evaluation.missing_judgements" and "exclude" in caught.value.remedy
    assert not lab.store.has("win_rates", lab.plan.fingerprints["evaluation/win_rates"])


def test_a_missing_judgement_is_left_out_and_counted(tmp_path):
    """Of the seven judged pairs: mean_N(zh) = 5/7, so .5 - 1 * (.5 - 5/7) = 5/7; the human estimate keeps all eight."""
    lab = opened(tmp_path, missing_judgements="exclude")
    put_pairs(lab), put_judgements(lab, {"x": MISSING}), put_labels(lab)
    found = rates(lab)
    varied = found["control_variate", "x"]
    assert varied["value"] == pytest.approx(5 / 7) and (varied["n_pairs"], varied["n_excluded"]) == (7, 1)
    assert varied["predicted_saving"] == pytest.approx(0.25 * (1 - 4 / 7))
    assert (found["human", None]["n_pairs"], found["human", None]["n_excluded"]) == (8, 0)


def test_what_is_of_some_pairs_only_is_marked_and_said(tmp_path):
    """The human row is of all eight pairs, that with the judge of the seven that it could read."""
    lab = opened(tmp_path, missing_judgements="exclude")
    put_pairs(lab), put_judgements(lab, {"x": MISSING}), put_labels(lab)
    found = rates(lab)
    marked = {estimator: row["is_biased"] for (estimator, _), row in found.items()}
    assert marked == {"human": False, "synthetic": True, "control_variate": True, "cross_fitted": True}
    assert about(lab)["left_out"].endswith("where some were left out: m with x 1.")
    whole = filled(tmp_path / "whole")
    assert rates(whole) and "left_out" not in about(whole)


def test_a_missing_judgement_is_the_mean_of_the_others(tmp_path):
    """The mean of seven is 5/7, and so is that of eight with it."""
    lab = opened(tmp_path, missing_judgements="mean")
    put_pairs(lab), put_judgements(lab, {"x": MISSING}), put_labels(lab)
    varied = rates(lab)["control_variate", "x"]
    assert varied["value"] == pytest.approx(5 / 7) and (varied["n_pairs"], varied["n_excluded"]) == (8, 0)


def test_annotators_are_averaged(tmp_path):
    """p0 is 1 and 0 by two annotators, .5 together: (.5 + 1 + 0 + 0) / 4."""
    lab = opened(tmp_path)
    put_pairs(lab), put_judgements(lab, {"x": X})
    rows = [("m0", "ann", 1.0), ("m0", "bob", 0.0), ("m1", "ann", 1.0), ("m2", "ann", 0.0), ("m3", "bob", 0.0)]
    commit(
        lab,
        "human_labels",
        "human_labels",
        [{"pair_id": pair, "model": "m", "annotator": who, "label": label, "wave": 0} for pair, who, label in rows],
    )
    found = rates(lab)
    assert found["human", None]["value"] == pytest.approx(0.375) and found["human", None]["n_labelled"] == 4


def test_labels_that_nobody_drew_count_alone_only_and_it_is_said(tmp_path):
    """Beside drawn ones they are left out; alone they are taken as one draw. Both are said."""
    alone = opened(tmp_path / "alone")
    put_pairs(alone), put_judgements(alone, {"x": X}), put_labels(alone, wave=None)
    assert rates(alone)["human", None]["value"] == 0.5
    assert "No export asked for these labels" in about(alone)["labels"] and "m 4" in about(alone)["labels"]
    mixed = opened(tmp_path / "mixed")
    put_pairs(mixed), put_judgements(mixed, {"x": X})
    drawn = {0: 1.0, 1: 0.0, 2: 0.0}
    rows = [{"pair_id": f"m{i}", "label": label, "wave": 3} for i, label in drawn.items()]
    rows += [{"pair_id": "m4", "label": 1.0, "wave": None}]
    commit(mixed, "human_labels", "human_labels", [{"model": "m", "annotator": "ann", **row} for row in rows])
    found = rates(mixed)["human", None]
    assert found["value"] == pytest.approx(1 / 3) and found["n_labelled"] == 3
    assert about(mixed)["labels"].endswith("do not count beside those drawn at random: m 1.")


def test_strata_are_weighed_by_their_share(tmp_path):
    """Categories a (p0 p2 p4 p6) and b: labels 1 1 0 of a and 0 0 of b give .5 * 2/3 + .5 * 0 = 1/3, not 2/5."""
    labels = (1.0, 0.0, 1.0, 0.0, 0.0, None, None, None)
    for strata, expected in (("none", 2 / 5), ("category", 1 / 3)):
        lab = opened(tmp_path / strata, strata=strata)
        put_pairs(lab), put_judgements(lab, {"x": X}), put_labels(lab, labels)
        assert rates(lab)["human", None]["value"] == pytest.approx(expected)


def test_strata_need_categories_and_labels_drawn_within_them(tmp_path):
    lab = opened(tmp_path / "bare", strata="category")
    put_pairs(lab, category=None), put_judgements(lab, {"x": X}), put_labels(lab)
    with pytest.raises(ExperimentError, match="8 of 8 pairs are of problems without a category") as caught:
        estimate_win_rates(lab)
    assert caught.value.field == "evaluation.strata"
    lab = opened(tmp_path / "drawn")
    put_pairs(lab), put_judgements(lab, {"x": X}), put_labels(lab, stratum="a")
    with pytest.raises(ExperimentError, match="labels were drawn within strata"):
        estimate_win_rates(lab)


def test_labels_drawn_within_strata_of_fewer_pairs_need_strata_too(tmp_path):
    """Their wave is gone, their shares are not; where they do not count, they forbid nothing."""
    lab = opened(tmp_path / "alone")
    put_pairs(lab), put_judgements(lab, {"x": X}), put_labels(lab, wave=None, stratum="a")
    with pytest.raises(ExperimentError, match="labels were drawn within strata"):
        estimate_win_rates(lab)
    lab = opened(tmp_path / "beside")
    put_pairs(lab), put_judgements(lab, {"x": X})
    rows = [{"pair_id": f"m{i}", "label": float(i < 2), "wave": 0} for i in range(4)]
    rows.append({"pair_id": "m5", "label": 1.0, "wave": None, "stratum": "a"})
    commit(lab, "human_labels", "human_labels", [{"model": "m", "annotator": "ann", **row} for row in rows])
    assert rates(lab)["human", None]["value"] == 0.5


def test_a_second_run_adopts_all_three_tables(tmp_path):
    lab = filled(tmp_path)
    first, again = estimate_win_rates(lab), estimate_win_rates(lab)
    assert (first.asset, first.reused, again.reused) == ("evaluation/win_rates", False, True)
    assert again.metadata == first.metadata and first.n_rows == 4
    assert first.metadata["m_control_variate"] == pytest.approx(0.625) and first.metadata["m_labels"] == 4
    assert all(lab.store.has(name, first.fingerprint) for name in ("judge_metrics", "label_curves", "win_rates"))


def test_all_three_tables_are_in_sql_under_one_asset(tmp_path):
    lab = filled(tmp_path)
    estimate_win_rates(lab)
    rebuild_catalog(lab.store.home)
    for name in ("win_rates", "judge_metrics"):
        assert query(lab.store.home, f"FROM {name} WHERE experiment = 'rates'").height == table(lab, name).height > 0
    current = query(lab.store.home, "SELECT table_name FROM materializations WHERE asset = 'evaluation/win_rates'")
    assert set(current["table_name"]) == {"win_rates", "judge_metrics", "label_curves"}


def test_curves_need_labels_and_the_judges_metrics_are_there(tmp_path):
    lab = filled(tmp_path)
    estimate_win_rates(lab)
    assert f"m: 4 labelled pairs, a curve needs {FEWEST_FOR_CURVES}" in about(lab, "label_curves")["not_drawn"]
    found = table(lab, "judge_metrics").filter(model="m", metric="mean_score")
    assert found["value"].to_list() == pytest.approx([0.625])


def test_a_curve_of_many_labels_ends_below_where_it_begins(tmp_path):
    """80 labels, the judge right four times of five: fewer errors with more labels, and with the judge."""
    lab = opened(tmp_path)
    rng = np.random.default_rng(0)
    truth = rng.random(80) < 0.6
    scores = np.where(rng.random(80) < 0.8, truth, ~truth).astype(float)
    about_pair = [{"pair_id": f"m{i}", "model": "m"} for i in range(80)]
    more = {"reference": "ref", "sample_index": 0, "is_identical": False}
    commit(lab, "pairs", "pairs", [{**row, **more, "problem_id": f"p{i}"} for i, row in enumerate(about_pair)])
    said = [{**row, "judge": "x", "score": float(score)} for row, score in zip(about_pair, scores, strict=True)]
    commit(lab, "synthetic_judgements", "synthetic_judgements", said)
    labels = [
        {**row, "annotator": "ann", "label": float(label), "wave": 0}
        for row, label in zip(about_pair, truth, strict=True)
    ]
    commit(lab, "human_labels", "human_labels", labels)
    estimate_win_rates(lab)
    curves = table(lab, "label_curves")
    for estimator in ("human", "control_variate", "cross_fitted"):
        errors = curves.filter(estimator=estimator).sort("n_labels")["squared_error"]
        assert errors[-1] < errors[0] / 3
    human, varied = (curves.filter(estimator=name).sort("n_labels") for name in ("human", "control_variate"))
    assert varied["squared_error"][-1] < human["squared_error"][-1]
    # (1/n - 1/L) S^2 of the 80 labels
    p = truth.mean()
    n = human["n_labels"].to_numpy()
    assert human["predicted"].to_numpy() == pytest.approx((1 / n - 1 / 80) * p * (1 - p) * 80 / 79)
    assert set(curves["n_redraws"]) == {1000} and set(curves["quantity"]) == {"win_rate"}
    # What the judge saved in redraws, read off the human curve, and what theory says of it; nothing for people alone.
    assert human["saving"].null_count() == human["human_labels_equal"].null_count() == human.height
    last = varied.row(-1, named=True)
    assert last["saving"] == pytest.approx(1 - last["n_labels"] / last["human_labels_equal"])
    assert last["saving_low"] < last["saving"] < last["saving_high"]
    rho = np.corrcoef(truth, scores)[0, 1]
    # rho^2 (1 - n/L), but for the price of alpha from 40 labels
    assert last["predicted_saving"] == pytest.approx(rho**2 * (1 - 40 / 80), abs=0.02)
    assert last["saving"] == pytest.approx(last["predicted_saving"], abs=0.1)


def test_pairs_are_read_by_problem_and_sample(tmp_path):
    """Rows in any order give the same arrays."""
    lab = filled(tmp_path)
    [pairs] = read_pairs(lab)
    assert pairs.problem_N.tolist() == list(range(8)) and pairs.scores["x"].tolist() == list(X)
    assert pairs.labels_N[:4].tolist() == [1, 1, 0, 0] and np.isnan(pairs.labels_N[4:]).all()
    assert pairs.wave_N.tolist() == [0] * 4 + [-1] * 4


def accuracy_lab(
    tmp_path,
    n_labelled: int,
    verifier: dict | None = None,
    unreadable: int = 0,
    samples: int = 2,
    missing: str = "exclude",
) -> Lab:
    """16 responses of model one, two to each of 8 problems; the verifier accepts the first of each at .5.

    The first is right 6 times of 8, the second twice: the gap is the mean of z_0 - (z_0 + z_1) / 2, (6 - 2) / 16 = .25.
    """
    judge = {"name": "bradley_terry", "verifier": verifier or {"name": "logit"}, "label": "v"}
    evaluation = {"estimand": "accuracy", "judges": [judge], "missing_judgements": missing}
    lab = Lab.open(evaluated(evaluation=evaluation), home=tmp_path / "home")
    places = [(i, j) for i in range(8) for j in range(samples)]
    rows = [
        {"pair_id": f"{i}.{j}", "problem_id": f"p{i}", "model": "one", "sample_index": j, "is_identical": False}
        for i, j in places
    ]
    commit(lab, "pairs", "pairs", rows)
    scores = [(0.8 if j == 0 else 0.3) + 0.01 * i * (1 - 2 * (i % 2)) for i, j in places]
    said = [
        {"pair_id": row["pair_id"], "model": "one", "judge": "v", "score": None if k < unreadable else score}
        for k, (row, score) in enumerate(zip(rows, scores, strict=True))
    ]
    commit(lab, "synthetic_judgements", "synthetic_judgements", said)
    right = [float(i < 6 if j == 0 else i >= 6) for i, j in places]
    labels = [
        {"pair_id": row["pair_id"], "model": "one", "annotator": "gold", "label": label, "wave": 0}
        for row, label in zip(rows, right, strict=True)
    ]
    commit(lab, "human_labels", "human_labels", labels[:n_labelled])
    return lab


def gaps(lab: Lab) -> dict[str, dict]:
    estimate_win_rates(lab)
    return {row["estimator"]: row for row in table(lab, "win_rates").filter(quantity="gap").iter_rows(named=True)}


def test_the_gap_of_a_verifiers_own_filter_is_estimated_with_accuracy(tmp_path):
    found = gaps(accuracy_lab(tmp_path, 16))
    assert set(found) == {"human", "control_variate", "cross_fitted"}
    for row in found.values():
        assert row["value"] == pytest.approx(0.25) and (row["judge"], row["reference"]) == ("v", None)
        assert (row["n_labelled"], row["n_pairs"], row["n_problems"]) == (16, 16, 8)
        assert row["low"] == row["t_low"] < 0.25 < row["t_high"] == row["high"]


def test_a_verifier_without_a_threshold_has_no_gap_and_it_is_said(tmp_path):
    lab = accuracy_lab(tmp_path, 16, {"name": "self_certainty"})
    assert gaps(lab) == {} and "one, gap of v: it has no threshold of its own" in about(lab)["not_estimated"]


def test_with_one_response_to_each_problem_there_is_no_gap_and_it_is_said(tmp_path):
    """A filter that has nothing to choose from changes nothing: 0 would be no measurement."""
    lab = accuracy_lab(tmp_path, 8, samples=1)
    assert gaps(lab) == {} and "gap of v: a filter needs 2 responses" in about(lab)["not_estimated"]


def test_a_gap_from_two_labels_is_none_with_a_reason(tmp_path):
    lab = accuracy_lab(tmp_path, 2)
    assert gaps(lab) == {} and "one, gap of v: " in about(lab)["not_estimated"]


def test_responses_that_the_verifier_could_not_read_are_left_out_of_the_gap(tmp_path):
    """Without problem 0 (6 - 1 and 2 - 0 right ones of 7): (5 - 2) / 14."""
    found = gaps(accuracy_lab(tmp_path, 16, unreadable=2))["human"]
    assert found["value"] == pytest.approx(3 / 14) and (found["n_pairs"], found["n_excluded"]) == (14, 2)
    assert found["is_biased"]


@pytest.mark.parametrize("missing", ["exclude", "mean"])
def test_a_verifier_that_read_nothing_has_no_gap_and_it_is_said(tmp_path, missing):
    lab = accuracy_lab(tmp_path, 16, unreadable=16, missing=missing)
    assert gaps(lab) == {} and "one, gap of v: it could read no response" in about(lab)["not_estimated"]
    assert "one, synthetic of v: there is no pair that could be judged" in about(lab)["not_estimated"]


def test_with_the_mean_in_place_of_a_score_all_responses_are_in_the_gap(tmp_path):
    """What could not be read is not kept. Problem 0: nothing is kept, so its part is 0 in place of 1/2: 3/2 / 8."""
    found = gaps(accuracy_lab(tmp_path, 16, unreadable=2, missing="mean"))["human"]
    assert found["value"] == pytest.approx(1.5 / 8) and (found["n_pairs"], found["is_biased"]) == (16, False)


def test_every_judge_is_a_control_of_the_gap(tmp_path):
    """The filter is v's: noise. w is right but for noise of half the labels' own spread, so it leaves little over."""
    lab = accuracy_lab(tmp_path, 14)
    [small] = [item for item in read_pairs(lab) if item.model == "one"]
    random = np.random.default_rng(0)
    right = (random.random(800) < 0.5).astype(float)
    scores = {"v": random.random(800), "w": right + 0.25 * random.normal(size=800)}
    labelled = random.permutation(800) < 120
    of = {
        "labels_N": np.where(labelled, right, np.nan),
        "wave_N": np.where(labelled, 0, -1),
        "problem_N": np.arange(800) // 4,
        "stratum_N": np.zeros(800, dtype=int),
    }
    both = replace(small, scores=scores, **of)
    alone = replace(both, scores={"v": scores["v"]})
    own, every = ({row["estimator"]: row for row in gap_rows(lab, item)[0]} for item in (alone, both))
    assert {row["judge"] for row in every.values()} == {"v"}
    assert own["control_variate"]["coefficient"] is not None and every["control_variate"]["coefficient"] is None
    assert every["human"] == own["human"]
    for estimator in ("control_variate", "cross_fitted"):
        assert 0 < every[estimator]["standard_error"] < 0.75 * own[estimator]["standard_error"]


def test_labels_drawn_within_strata_have_no_gap_and_it_is_said(tmp_path):
    """The gap weighs every label alike, whatever the share of its stratum that was drawn."""
    drawn = opened(tmp_path / "drawn", strata="category")
    put_pairs(drawn), put_judgements(drawn, {"x": X}), put_labels(drawn, stratum="a")
    [within] = read_pairs(drawn)
    assert within.drawn_within == ("a",)
    lab = accuracy_lab(tmp_path / "gap", 16)
    [pairs] = read_pairs(lab)
    assert pairs.drawn_within == () and len(gap_rows(lab, pairs)[0]) == 3
    rows, [reason] = gap_rows(lab, replace(pairs, drawn_within=("a",)))
    assert rows == [] and reason.startswith("one, gap of v: labels were drawn within strata")


def test_a_gap_has_no_percentiles_and_a_saving_from_standard_errors(tmp_path):
    found = gaps(accuracy_lab(tmp_path, 14))
    human, varied = found["human"], found["control_variate"]
    assert varied["bootstrap_low"] is None and varied["human_labels_equal"] is None
    assert varied["saving"] == pytest.approx(1 - varied["standard_error"] ** 2 / human["standard_error"] ** 2)
