"""The tables about verifiers, from a store that a test fills: every number is worked out by hand.

::

    eval    verdict    answer  binary_cot  sequence_logprob  majority
    A 0     correct    x       1           -1                1/2
    A 1     incorrect  y       1           -2                1/2
    A 2     unparsed   -       1           -3                -
    B 0     correct    x       1           -4                1
    B 1     correct    x       -           -1                1
    C 0     incorrect  z       1           -2                1/2
    C 1     incorrect  w       0           -5                1/2

J = (1/3 + 1 + 0) / 3 = 4/9. sequence_logprob has no threshold: its own rule is the best fifth of each problem.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ops.lab import Lab
from ops.plan import asset_name
from ops.stages.comparison import comparable, compare_verifiers, sweep_filters
from ops.stages.diversity import measure_diversity
from ops.stages.gap import measure_gap
from ops.stages.scores import collect_scores
from ops.stages.test_time import measure_test_time
from ops.stages.verification import VERIFICATION_SCHEMA
from ops.stages.verifier_metrics import measure_calibration, measure_verifiers
from ops.storage.schemas import COLUMNS, polars_schema
from ops.storage.store import Provenance
from tests.conftest import tiny_experiment

PROVENANCE = Provenance("run", "1", 0.0, False, {}, None)
VERDICT = {"c": "correct", "i": "incorrect", "u": "unparseable"}
Row = tuple[str, int, str, str | None, float | None, float | None]

EVAL: list[Row] = [
    ("A", 0, "c", "x", 1.0, -1.0),
    ("A", 1, "i", "y", 1.0, -2.0),
    ("A", 2, "u", None, 1.0, -3.0),
    ("B", 0, "c", "x", 1.0, -4.0),
    ("B", 1, "c", "x", None, -1.0),
    ("C", 0, "i", "z", 1.0, -2.0),
    ("C", 1, "i", "w", 0.0, -5.0),
]
TRAIN: list[Row] = [("T", 0, "c", "x", 1.0, -1.0), ("T", 1, "i", "y", 0.0, -2.0)]
VERIFIERS = [{"name": "binary_cot"}, {"name": "sequence_logprob"}, {"name": "majority"}]


def commit(lab: Lab, table: str, iteration: int | None, rows: list[dict[str, Any]]) -> None:
    complete = [{name: row.get(name) for name in COLUMNS[table]} for row in rows]
    frame = pl.DataFrame(complete, schema=polars_schema(table), orient="row")
    fingerprint = lab.plan.fingerprints[asset_name(table, iteration)]
    where = {"experiment": lab.experiment.name, "asset": table, "iteration": iteration}
    lab.store.commit_table(table, frame, fingerprint=fingerprint, provenance=PROVENANCE, **where)


def filled(folder: Path, evaluation: list[Row], train: list[Row] = (), verifiers=VERIFIERS, **changes) -> Lab:
    """A lab whose pools hold the scores, with ``verification_scores`` collected from them."""
    experiment = tiny_experiment(verifiers=verifiers, iterations=0, **changes)
    lab = Lab.open(experiment, home=folder / "home", run_id="test")
    rows = [("eval", *row) for row in evaluation] + [("train", *row) for row in train]
    posed = {(split, name): None for split, name, *_ in rows}
    commit(
        lab,
        "problems",
        None,
        [
            {"split": split, "problem_id": name, "task": "countdown", "data": '{"numbers": [10, 8, 6], "target": 12}'}
            | {"train_iteration": 0 if split == "train" else None}
            for split, name in posed
        ],
    )
    commit(
        lab,
        "generations",
        0,
        [
            {
                "split": split,
                "problem_id": name,
                "sample_index": index,
                "response": f"{name}{index}",
                "answer": answer,
                "verdict": VERDICT[verdict],
                "strict_verdict": VERDICT[verdict],
                "response_id": f"{name}{index}",
            }
            for split, name, index, verdict, answer, *_ in rows
        ],
    )
    for place, name in enumerate(("binary_cot", "sequence_logprob")):
        for verifier in lab.experiment.verifiers:
            if verifier.called == name:
                pool = lab.store.pool("verifications", lab.plan.verification_pools[0][name], VERIFICATION_SCHEMA)
                pool.append(_verifications(verifier, [(f"{row[1]}{row[2]}", row[5 + place]) for row in rows]))
    collect_scores(lab, 0)
    return lab


def _verifications(verifier, scored: list[tuple[str, float | None]]) -> pl.DataFrame:
    """10 new tokens and half a second for each; 24 tokens for A2. A log-probability draws no tokens."""
    rows = [
        (identity, score, verifier.verdict_of(score), "", 24 if identity == "A2" else 10, 0.5)
        for identity, score in scored
    ]
    return pl.DataFrame(rows, schema=VERIFICATION_SCHEMA, orient="row")


def table(lab: Lab, stage, name: str) -> pl.DataFrame:
    stage(lab, 0)
    return lab.store.read(name, lab.plan.fingerprints[asset_name(name, 0)])


def by_verifier(frame: pl.DataFrame) -> dict[str, dict[str, Any]]:
    return {row["verifier"]: row for row in frame.iter_rows(named=True)}


def check(row: dict[str, Any], expected: dict[str, Any]) -> None:
    """Every expected cell; an estimate lies in its interval, and what is undefined has none."""
    for name, value in expected.items():
        assert row[name] == (pytest.approx(value) if isinstance(value, float) else value), name
        if f"{name}_low" in row:
            if value is None:
                assert (row[f"{name}_low"], row[f"{name}_high"]) == (None, None), name
            else:
                assert row[f"{name}_low"] - 1e-9 <= value <= row[f"{name}_high"] + 1e-9, name


@pytest.fixture
def lab(tmp_path):
    return filled(tmp_path, EVAL)


def test_verifier_metrics(lab):
    """binary_cot accepts A0 A1 A2 B0 C0, 5 of 7, of which 2 are right: precision 2/5; of 3 right ones it accepts 2.
    6 verdicts can be read, and A0, B0, C1 are right: 1/2. Generation accuracy (pooled) 3/7.
    AUROC: right A0 B0 (1, 1), wrong A1 A2 C0 C1 (1, 1, 1, 0): each right one ties 3 and beats 1: 2.5 of 4.
    Bins: at 1 are 5 of which 2/5 are right, at 0 C1, wrong: ECE = 5/6 * 3/5 + 0 = 1/2. Brier: A1 A2 C0, 3/6.
    Highest score: A ties of three 1/3, B0 1, C0 0: 4/9; at least one right: 2/3; so 2/9.
    Tokens (6 * 10 + 24) / 7 = 12. Seconds .5 each."""
    frame = table(lab, measure_verifiers, "verifier_metrics")
    assert frame.columns == list(COLUMNS["verifier_metrics"])
    rows = by_verifier(frame)
    assert (frame.height, set(frame["split"])) == (3, {"eval"})
    check(
        rows["binary_cot"],
        {
            "generator": "countdown/a",
            "mechanism": "binary_cot",
            "verifier_model": "countdown/a",
            "n_problems": 3,
            "n_responses": 7,
            "unparseable_fraction": 1 / 7,
            "accepted_fraction": 5 / 7,
            "mean_score": 5 / 6,
            "verification_accuracy": 1 / 2,
            "precision": 2 / 5,
            "recall": 2 / 3,
            "auroc": 5 / 8,
            "ece": 1 / 2,
            "brier": 1 / 2,
            "verification_accuracy_minus_generation_accuracy": 1 / 2 - 3 / 7,
            "precision_minus_accuracy": 2 / 5 - 3 / 7,
            "oracle_minus_selected": 2 / 9,
            "new_tokens_per_1000_responses": 12_000.0,
            "seconds_per_1000_responses": 500.0,
        },
    )


def test_a_verifier_without_range_or_threshold(lab):
    """Best fifth, lower order statistic: of A's -3 -2 -1 the place floor(.8 * 2) = 1: A0 A1; of pairs place 0: both.
    Accepted 6 of 7, 3 right: precision 1/2, recall 1. Right verdicts A0, A2, B0, B1: 4/7.
    AUROC: right -1 -4 -1, wrong -2 -3 -2 -5: A0 and B1 beat 4 each, B0 beats C1: 9/12.
    Highest: A0 1, B1 1, C0 0: as many as the oracle. -1 is no probability: neither ECE nor Brier nor bins."""
    rows = by_verifier(table(lab, measure_verifiers, "verifier_metrics"))
    check(
        rows["sequence_logprob"],
        {
            "unparseable_fraction": 0.0,
            "accepted_fraction": 6 / 7,
            "mean_score": -18 / 7,
            "verification_accuracy": 4 / 7,
            "precision": 1 / 2,
            "recall": 1.0,
            "auroc": 3 / 4,
            "ece": None,
            "brier": None,
            "oracle_minus_selected": 0.0,
        },
    )
    assert "sequence_logprob" not in table(lab, measure_calibration, "calibration_bins")["verifier"].to_list()


def test_a_verifier_that_asks_nobody(lab):
    """majority: AUROC of 1/2 1 1 against 1/2 1/2 1/2 (A2 has no score): (1.5 + 3 + 3) / 9."""
    row = by_verifier(table(lab, measure_verifiers, "verifier_metrics"))["majority"]
    check(row, {"auroc": 7.5 / 9, "unparseable_fraction": 1 / 7, "accepted_fraction": 6 / 7, "mean_score": 4 / 6})
    check(row, {"verifier_model": None, "seconds_per_1000_responses": 0.0, "new_tokens_per_1000_responses": 0.0})


def test_calibration_bins(lab):
    """Ten bins of width .1 for each of the two verifiers with a range; an empty bin has no accuracy, not 0."""
    frame = table(lab, measure_calibration, "calibration_bins")
    assert frame.columns == list(COLUMNS["calibration_bins"])
    rows = frame.filter(pl.col("verifier") == "binary_cot").sort("bin").rows(named=True)
    assert [row["bin"] for row in rows] == list(range(10))
    assert [row["n_responses"] for row in rows] == [1, *[0] * 8, 5]
    assert [row["accuracy"] for row in rows] == [0.0, *[None] * 8, pytest.approx(2 / 5)]
    assert [row["mean_probability"] for row in rows] == [0.0, *[None] * 8, 1.0]
    assert (rows[9]["bin_low"], rows[9]["bin_high"]) == (pytest.approx(0.9), pytest.approx(1.0))
    assert rows[4]["accuracy_low"] is rows[4]["accuracy_high"] is None
    majority = frame.filter((pl.col("verifier") == "majority") & (pl.col("n_responses") > 0))
    assert majority.select("bin", "n_responses", "accuracy").rows() == [(5, 4, 0.25), (9, 2, 1.0)]


def test_threshold_sweeps_without_a_train_split(lab):
    """logprob >= -2 keeps A0 A1 B1 C0: J_w = (1/2 + 1 + 0) / 3, gap 1/18; relative over A and C (1/4 + 0) / 2 = 1/8.
    logprob >= -1 keeps A0 B1: gap (2/3) / 3 = 2/9 (C keeps nothing, so 0), relative (1 + 0) / 2."""
    frame = table(lab, sweep_filters, "threshold_sweeps")
    assert frame.columns == list(COLUMNS["threshold_sweeps"])
    assert frame["best_on_train"].null_count() == frame.height
    own = frame.filter(pl.col("verifier") == "sequence_logprob")
    thresholds = own.filter(pl.col("filter") == "threshold").sort("value").rows(named=True)
    assert [row["value"] for row in thresholds] == [-5.0, -4.0, -3.0, -2.0, -1.0]
    check(thresholds[0], {"gap": 0.0, "relative_gap": 0.0, "kept_fraction": 1.0})
    check(thresholds[3], {"gap": 1 / 18, "relative_gap": 1 / 8, "kept_fraction": 4 / 7})
    check(thresholds[4], {"gap": 2 / 9, "relative_gap": 1 / 2, "kept_fraction": 2 / 7})
    quantiles = own.filter(pl.col("filter") == "quantile").sort("value").rows(named=True)
    assert [row["value"] for row in quantiles] == [pytest.approx(i / 20) for i in range(20)]
    check(quantiles[0], {"gap": 0.0, "kept_fraction": 1.0})
    check(quantiles[10], {"gap": 1 / 18, "relative_gap": 1 / 8, "kept_fraction": 6 / 7})  # A0 A1, both, both


def test_the_best_threshold_on_train_and_its_value_on_eval(tmp_path):
    """Train: T0 right at -1, T1 wrong at -2. At -1 the gap is 1/2, at -2 it is 0: -1 is best; on eval it gives 2/9."""
    lab = filled(tmp_path, EVAL, TRAIN)
    frame = table(lab, sweep_filters, "threshold_sweeps")
    own = frame.filter((pl.col("verifier") == "sequence_logprob") & (pl.col("filter") == "threshold"))
    found = own.sort("split", "value").select("split", "value", "gap", "best_on_train").rows()
    assert found == [
        ("eval", -2.0, pytest.approx(1 / 18), False),
        ("eval", -1.0, pytest.approx(2 / 9), True),
        ("train", -2.0, 0.0, False),
        ("train", -1.0, 0.5, True),
    ]
    best = frame.filter(pl.col("best_on_train"))
    assert best.group_by("split", "verifier", "filter").len()["len"].to_list() == [1] * best.height
    assert set(table(lab, measure_verifiers, "verifier_metrics")["split"]) == {"train", "eval"}
    assert set(table(lab, measure_test_time, "test_time_metrics")["split"]) == {"eval"}


def test_verifier_pairs(lab):
    """binary_cot and logprob share 6 responses: 1 1 1 1 1 0 and -1 -2 -3 -4 -2 -5.
    Pearson: means 5/6, -17/6; cov 13/6, variances 5/6 and 65/6: 13 / sqrt(325). Spearman: ranks 4 4 4 4 4 1 and
    6 4.5 3 2 4.5 1: 7.5 / sqrt(7.5 * 17). Within a problem only C is defined: 1. Gaps: 0 minus 1/18; relative, over
    A and C: (0 - 1/4 + 0) / 2. AUROC: 5/8, and of -1 -4 against -2 -3 -2 -5: (4 + 1) / 8."""
    frame = table(lab, compare_verifiers, "verifier_pairs")
    assert frame.columns == list(COLUMNS["verifier_pairs"])
    pairs = {(row["verifier_a"], row["verifier_b"]): row for row in frame.iter_rows(named=True)}
    assert set(pairs) == {
        ("binary_cot", "sequence_logprob"),
        ("binary_cot", "majority"),
        ("sequence_logprob", "majority"),
    }
    check(
        pairs["binary_cot", "sequence_logprob"],
        {
            "split": "eval",
            "n_responses": 6,
            "rule_a": "binary_cot ≥ 0.5",
            "rule_b": "sequence_logprob top 20 %",
            "pearson": 13 / 325**0.5,
            "spearman": 7.5 / (7.5 * 17) ** 0.5,
            "within_problem_pearson": 1.0,
            "gap_difference": -1 / 18,
            "relative_gap_difference": -1 / 8,
            "auroc_difference": 0.0,
        },
    )
    # without A2: -1 -4 -1 against -2 -2 -5 is (3 + 1 + 3) / 9; majority 7.5 / 9
    check(pairs["sequence_logprob", "majority"], {"n_responses": 6, "auroc_difference": -0.5 / 9})


def test_test_time_metrics(lab):
    """n = 1 and 2, as B and C have two. oracle at 2: A 2/3 of its pairs, B 1, C 0. majority at 2: A0 A1 tie (1/2),
    A0 A2 is x, A1 A2 is y: 1/2; B 1; C 0. binary_cot ties on all of A: 1/3; B0 before B1; C 0.
    logprob: A0 wins its two pairs: 2/3; B 1; C 0. Its vote weighs ranks 1, 2/3 (A2 has no answer): x x y: 2/3.
    binary_cot's vote on A is the majority's; on B one vote for x."""
    frame = table(lab, measure_test_time, "test_time_metrics")
    assert frame.columns == list(COLUMNS["test_time_metrics"])
    assert (set(frame["split"]), set(frame["n_problems"]), set(frame["n"])) == ({"eval"}, {3}, {1, 2})
    at_two = {(row["method"], row["verifier"]): row for row in frame.filter(pl.col("n") == 2).iter_rows(named=True)}
    expected = {
        ("oracle", None): 5 / 9,
        ("majority_vote", None): 1 / 2,
        ("best_of_n", "binary_cot"): 4 / 9,
        ("best_of_n", "sequence_logprob"): 5 / 9,
        ("weighted_vote", "binary_cot"): 1 / 2,
        ("weighted_vote", "sequence_logprob"): 5 / 9,
    }
    for key, value in expected.items():
        check(at_two[key], {"accuracy": value})
    at_one = frame.filter(pl.col("n") == 1)
    assert at_one.height == 2 + 2 * 3
    assert at_one["accuracy"].to_list() == [pytest.approx(4 / 9)] * 8


def test_no_correct_response_leaves_ranking_undefined(tmp_path):
    """AUROC and recall are NULL, never 0.5 or 0; precision of what was accepted is 0."""
    wrong = [(name, index, "i" if verdict == "c" else verdict, *rest) for name, index, verdict, *rest in EVAL]
    lab = filled(tmp_path, wrong)
    rows = by_verifier(table(lab, measure_verifiers, "verifier_metrics"))
    expected = {"auroc": None, "recall": None, "precision": 0.0, "oracle_minus_selected": 0.0}
    for name in ("binary_cot", "sequence_logprob"):
        check(rows[name], expected)
    check(
        rows["binary_cot"], {"verification_accuracy": 1 / 6, "verification_accuracy_minus_generation_accuracy": 1 / 6}
    )
    assert table(lab, compare_verifiers, "verifier_pairs")["auroc_difference"].null_count() == 3
    gaps = table(lab, measure_gap, "gap_metrics")
    assert gaps["auroc"].null_count() == gaps.height == 3
    assert gaps["gap"].to_list() == [0.0, 0.0, 0.0]
    accuracy = table(lab, measure_test_time, "test_time_metrics")["accuracy"]
    assert accuracy.to_list() == [0.0] * len(accuracy)


def test_every_problem_solved_leaves_the_relative_gap_undefined(tmp_path):
    right = [(name, index, "c", "x", *scores) for name, index, _, _, *scores in EVAL]
    lab = filled(tmp_path, right)
    gaps = table(lab, measure_gap, "gap_metrics")
    assert gaps["relative_gap"].null_count() == gaps["auroc"].null_count() == gaps.height
    assert gaps["n_problems_solved"].to_list() == [3] * gaps.height
    assert table(lab, compare_verifiers, "verifier_pairs")["relative_gap_difference"].null_count() == 3
    assert table(lab, sweep_filters, "threshold_sweeps")["relative_gap"].drop_nulls().is_empty()


def test_nothing_of_a_verifier_can_be_read(tmp_path):
    """Everything about binary_cot is NULL but its counts and cost; best-of-n selects at random, so J = 4/9."""
    silent = [(name, index, verdict, answer, None, logprob) for name, index, verdict, answer, _, logprob in EVAL]
    lab = filled(tmp_path, silent)
    row = by_verifier(table(lab, measure_verifiers, "verifier_metrics"))["binary_cot"]
    undefined = (
        "mean_score",
        "verification_accuracy",
        "precision",
        "auroc",
        "ece",
        "brier",
        "precision_minus_accuracy",
    )
    check(row, dict.fromkeys(undefined))
    check(row, {"unparseable_fraction": 1.0, "accepted_fraction": 0.0, "recall": 0.0, "oracle_minus_selected": 2 / 9})
    assert "binary_cot" not in table(lab, measure_calibration, "calibration_bins")["verifier"].to_list()
    assert "binary_cot" not in table(lab, sweep_filters, "threshold_sweeps")["verifier"].to_list()
    pairs = table(lab, compare_verifiers, "verifier_pairs").filter(pl.col("verifier_a") == "binary_cot")
    assert pairs["n_responses"].to_list() == [0, 0]
    assert pairs["pearson"].null_count() == pairs["auroc_difference"].null_count() == 2
    times = table(lab, measure_test_time, "test_time_metrics")
    best = times.filter((pl.col("method") == "best_of_n") & (pl.col("verifier") == "binary_cot"))
    assert best["accuracy"].to_list() == [pytest.approx(4 / 9)] * 2
    gap = by_verifier(table(lab, measure_gap, "gap_metrics"))["binary_cot"]
    check(gap, {"gap": 0.0, "kept_fraction": 0.0, "n_problems_kept_empty": 3, "auroc": None})


def test_a_train_split_that_cannot_be_read_does_not_hide_the_eval_split(tmp_path):
    train = [("T", 0, "c", "x", None, -1.0), ("T", 1, "i", "y", None, -2.0)]
    lab = filled(tmp_path, EVAL, train)
    own = table(lab, sweep_filters, "threshold_sweeps").filter(pl.col("verifier") == "binary_cot")
    thresholds = own.filter((pl.col("split") == "eval") & (pl.col("filter") == "threshold"))
    assert thresholds.sort("value").select("value", "best_on_train").rows() == [(0.0, None), (1.0, None)]


def test_one_response_per_problem(tmp_path):
    """Nothing to choose from: every filter that keeps it changes nothing, curves have one point."""
    single = [row for row in EVAL if row[1] == 0]
    lab = filled(tmp_path, single)
    times = table(lab, measure_test_time, "test_time_metrics")
    assert set(times["n"]) == {1}
    assert times["accuracy"].to_list() == [pytest.approx(2 / 3)] * times.height
    pairs = table(lab, compare_verifiers, "verifier_pairs")
    assert pairs["within_problem_pearson"].null_count() == pairs.height
    rows = by_verifier(table(lab, measure_verifiers, "verifier_metrics"))
    check(rows["sequence_logprob"], {"auroc": 1 / 2, "oracle_minus_selected": 0.0, "n_responses": 3})  # -1 -4 and -2
    assert table(lab, measure_diversity, "diversity_metrics").height > 0


def test_comparable_pairs_differ_in_one_thing(tmp_path):
    model = {"kind": "builtin", "recipe": "countdown", "size": "a", "steps": 12, "batch_size": 16, "seed": 1}
    verifiers = [{"name": "logit"}, {"name": "binary_cot"}, {"name": "logit", "model": model}, {"name": "majority"}]
    items = tiny_experiment(verifiers=verifiers).verifiers
    assert comparable(items[0], items[1])  # another mechanism of the same model
    assert comparable(items[0], items[2])  # the same mechanism of another model
    assert not comparable(items[1], items[2])
    assert comparable(items[0], items[3])
    assert not comparable(items[2], items[3])
