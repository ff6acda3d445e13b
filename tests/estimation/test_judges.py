"""Metrics of judges, by hand; their intervals resample problems."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from ops.config import Statistics
from ops.estimation.judges import judge_metrics
from ops.storage.schemas import polars_schema

STATISTICS = Statistics(resamples=400)
NAN = None
LABELLED = ("correlation", "agreement", "auroc")


def tables(rows, judge="j"):
    """(problem, model, identical, score, first, second, labels) each."""
    pairs, judgements, labels = [], [], []
    for i, (problem, model, identical, score, first, second, given) in enumerate(rows):
        pairs.append({"pair_id": f"x{i}", "problem_id": problem, "model": model, "is_identical": identical})
        about = {"pair_id": f"x{i}", "model": model, "judge": judge}
        judgements.append({**about, "score": score, "score_shown_first": first, "score_shown_second": second})
        labels += [{"pair_id": f"x{i}", "model": model, "label": label, "wave": 0, "stratum": None} for label in given]
    kinds = polars_schema("synthetic_judgements")
    schema = {name: kinds[name] for name in judgements[0]}
    known = {"pair_id": pl.String, "model": pl.String, "label": pl.Float64, "wave": pl.Int32, "stratum": pl.String}
    return pl.DataFrame(pairs), pl.DataFrame(judgements, schema=schema), pl.DataFrame(labels, schema=known)


ROWS = [
    ("p0", "b", False, 1.0, 1.0, 1.0, [1.0]),  # both orders name the model's, rightly
    ("p0", "c", False, 0.5, 1.0, 0.0, [0.0]),  # the first shown twice
    ("p1", "b", False, 0.0, 0.0, 0.0, [1.0, 0.0, 1.0]),  # both the reference's; labels 2/3: a win
    ("p1", "c", False, 0.5, 0.0, 1.0, [0.5]),  # the second shown twice
    ("p2", "b", True, 0.5, NAN, NAN, [0.5]),  # equal: nobody asked
    ("p2", "c", False, NAN, 1.0, NAN, [1.0]),  # one order could not be read
    ("p3", "b", False, 0.5, 1.0, 0.0, []),  # no label
]


def metrics(frame, model, judge="j"):
    rows = frame.filter(pl.col("model").eq_missing(model), judge=judge)
    assert rows["metric"].is_unique().all()
    return {row["metric"]: row for row in rows.iter_rows(named=True)}


def test_values_by_hand():
    found = judge_metrics(*tables(ROWS), STATISTICS)
    assert dict(found.schema) == polars_schema("judge_metrics")
    assert found["model"].unique(maintain_order=True).to_list() == ["b", "c", None]
    every = metrics(found, None)
    shown = {name: (row["value"], row["n_pairs"]) for name, row in every.items()}
    assert shown["unreadable_fraction"] == (pytest.approx(1 / 7), 7)
    assert shown["mean_score"] == (pytest.approx((1 + 0.5 + 0 + 0.5 + 0.5 + 0.5) / 6), 6)
    # halves of first - second: 0, +1/2, 0, -1/2, +1/2 over the five read in both orders
    assert shown["position_bias"] == (pytest.approx(0.5 / 5), 5)
    assert shown["order_agreement"] == (pytest.approx(2 / 5), 5)
    # labelled, scored and asked: win/win, tie/loss, loss/win, tie/tie
    assert shown["agreement"] == (pytest.approx(2 / 4), 4)
    scores, labels = [1.0, 0.5, 0.0, 0.5, 0.5], [1.0, 0.0, 2 / 3, 0.5, 0.5]  # the equal pair counts as a label
    assert shown["correlation"] == (pytest.approx(np.corrcoef(scores, labels)[0, 1]), 5)
    # decisive: wins scored 1 and 0, a loss scored .5: one of two comparisons won
    assert shown["auroc"] == (pytest.approx(0.5), 3)
    assert metrics(found, "b")["position_bias"]["value"] == pytest.approx(0.5 / 3)
    assert metrics(found, "c")["unreadable_fraction"]["value"] == pytest.approx(1 / 3)


def test_the_interval_resamples_problems():
    # 40 problems of 100 pairs each, alike within a problem: as wide as with one pair each, not a tenth of it.
    many = [(f"p{p}", "b", False, float(p % 2), *[float(p % 2)] * 2, []) for p in range(40) for _ in range(100)]
    few = [(f"p{p}", "b", False, float(p % 2), *[float(p % 2)] * 2, []) for p in range(40)]
    rows = [metrics(judge_metrics(*tables(rows), STATISTICS), "b")["mean_score"] for rows in (many, few)]
    widths = [row["high"] - row["low"] for row in rows]
    assert widths[0] == pytest.approx(widths[1])
    assert widths[0] == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(40), rel=0.15)


def test_undefined_is_null_and_what_a_judge_has_not_is_no_row():
    alone = [(f"p{i}", "b", None, -3.0 - i, NAN, NAN, [float(i % 2)]) for i in range(4)]
    found = metrics(judge_metrics(*tables(alone), STATISTICS), "b")
    assert not {"position_bias", "order_agreement"} & found.keys()
    assert found["agreement"]["value"] is None  # scores on another scale say no win or loss
    assert found["agreement"]["n_pairs"] == 0
    assert found["auroc"]["value"] == pytest.approx(0.25)  # right ones -4, -6; wrong ones -3, -5: 1 of 4
    unlabelled = metrics(judge_metrics(*tables([(*row[:6], []) for row in alone]), STATISTICS), "b")
    assert unlabelled["correlation"]["value"] is None and unlabelled["correlation"]["n_pairs"] == 0
    assert unlabelled["auroc"]["value"] is None


def test_labels_that_nobody_drew_count_only_where_there_are_no_others():
    # The judge is right about three drawn labels of b and wrong about two that nobody drew; c has only the latter.
    drawn = [(f"p{i}", "b", False, score, NAN, NAN, [score]) for i, score in enumerate([1.0, 0.0, 1.0])]
    chosen = [(f"q{i}", model, False, 1.0 - i, NAN, NAN, [float(i)]) for model in "bc" for i in range(2)]
    pairs, judgements, labels = tables(drawn + chosen)
    labels = labels.with_columns(wave=pl.when(pl.col("pair_id").is_in(["x0", "x1", "x2"])).then(0).cast(pl.Int32))
    found = judge_metrics(pairs, judgements, labels, STATISTICS)
    shown = {
        model: {name: (row["value"], row["n_pairs"]) for name, row in metrics(found, model).items()}
        for model in ("b", "c", None)
    }
    assert [shown["b"][name] for name in LABELLED] == [(pytest.approx(1), 3)] * 3
    assert [shown["c"][name] for name in LABELLED] == [(-1, 2), (0, 2), (0, 2)]
    assert shown[None]["agreement"] == (pytest.approx(3 / 5), 5)


def test_labels_drawn_within_strata_do_not_count():
    """Category a (900 pairs, judge always right) and b (100, judge always wrong): agreement is .9 over all pairs.

    Wave 0 is uniform, 90 and 10; wave 1 draws 10 of a and 90 of b; wave 2, uniform again, is of what is left.
    """
    rng = np.random.default_rng(0)
    rows, waves = [], []
    for category, size, ends in (("a", 900, (90, 100, 200)), ("b", 100, (10, 100, 100))):
        for i in range(size):
            label = float(rng.integers(0, 2))
            rows.append((f"{category}{i}", "b", False, label if category == "a" else 1.0 - label, NAN, NAN, [label]))
            waves.append(next((wave for wave, end in enumerate(ends) if i < end), None))
    pairs, judgements, labels = tables(rows)
    labels = labels.with_columns(
        wave=pl.Series(waves, dtype=pl.Int32),
        stratum=pl.Series([row[0][0] if wave == 1 else None for row, wave in zip(rows, waves, strict=True)]),
    ).filter(pl.col("wave").is_not_null())
    found = metrics(judge_metrics(pairs, judgements, labels, STATISTICS), "b")
    assert [(name, found[name]["n_pairs"]) for name in LABELLED[:2]] == [("correlation", 100), ("agreement", 100)]
    assert found["agreement"]["value"] == pytest.approx(0.9)
    assert found["mean_score"]["n_pairs"] == 1000  # of all pairs, as before
    alone = metrics(judge_metrics(pairs, judgements, labels.filter(wave=1), STATISTICS), "b")
    assert [(alone[name]["value"], alone[name]["n_pairs"]) for name in LABELLED] == [(None, 0)] * 3


def test_several_judges_and_none():
    pairs, judgements, labels = tables(ROWS)
    both = pl.concat([judgements, judgements.with_columns(judge=pl.lit("k"), score=1.0 - pl.col("score"))])
    found = judge_metrics(pairs, both, labels, STATISTICS)
    j, k = metrics(found, None), metrics(found, None, "k")
    assert j["correlation"]["value"] == pytest.approx(-k["correlation"]["value"])
    assert j["correlation"]["low"] == pytest.approx(-k["correlation"]["high"])
    assert judge_metrics(pairs, judgements.clear(), labels, STATISTICS).is_empty()


def test_a_judge_that_loves_the_first_place_is_found_out():
    rng = np.random.default_rng(1)
    rows = []
    for i in range(2000):  # names the response shown first with probability .7 in either order
        first, second = float(rng.random() < 0.7), float(rng.random() >= 0.7)
        rows.append((f"p{i}", "b", False, (first + second) / 2, first, second, []))
    found = metrics(judge_metrics(*tables(rows), STATISTICS), "b")
    bias = found["position_bias"]
    assert bias["low"] <= 0.2 <= bias["high"] and bias["low"] > 0.15
    agree = found["order_agreement"]  # both name the first response with .7 * .3, both the second with .3 * .7
    assert agree["low"] <= 0.42 <= agree["high"] and agree["high"] - agree["low"] < 0.05
