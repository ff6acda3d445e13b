"""The tables over iterations from stores that a test fills: every number is worked out by hand.

::

    eval   iteration 0           iteration 1
           truth  answers score  truth  answers score
    A      c c i i  x x y y  1 1 1 0    c c c i  x x x y  1 1 1 0
    B      i i i i  s t u v  1 0 0 0    c i i i  x w w v  1 0 0 0
    C      c c c c  x x x x  1 1 - 1    i i c c  v u x x  0 0 0 0
"""

from __future__ import annotations

import polars as pl
import pytest

from ops.errors import StorageError
from ops.lab import Lab
from ops.plan import asset_name
from ops.stages.chosen import CHOSEN
from ops.stages.diversity import measure_diversity, problem_values
from ops.stages.gap import measure_gap
from ops.stages.iteration_changes import measure_changes
from ops.stages.measured import check_same_problems
from ops.stages.problem_flips import measure_flips
from ops.stages.selection_metrics import measure_selection
from ops.stages.verifier_metrics import measure_verifiers
from tests.conftest import tiny_experiment
from tests.stages.test_verifier_tables import VERDICT, commit

EVAL = (
    {"A": ("ccii", "xxyy", "1110"), "B": ("iiii", "stuv", "1000"), "C": ("cccc", "xxxx", "11-1")},
    {"A": ("ccci", "xxxy", "1110"), "B": ("ciii", "xwwv", "1000"), "C": ("iicc", "vuxx", "0000")},
)
FILTER = {"name": "threshold", "verifier": "binary_cot", "threshold": 0.5}
ADAPT = {"name": "balance", "temperatures": [1.0], "thresholds": [0.0, 0.5], "problems": 2}
TRAIN = {"T": "ccci", "U": "ii", "V": "ic"}
TEXTS = {"T": "aabd", "U": "ef", "V": "gh"}


def rows_of(iteration: int) -> list[dict]:
    """Rows of ``generations``; a response of the evaluation split is its answer, so equal answers are equal texts."""
    rows = []
    for name, (verdicts, answers, _) in EVAL[iteration].items():
        for i, (verdict, answer) in enumerate(zip(verdicts, answers, strict=True)):
            rows.append({"split": "eval", "problem_id": name, "sample_index": i, "answer": answer, "response": answer}
                        | {"verdict": VERDICT[verdict], "n_tokens": 2 * (i + 1) + iteration})  # fmt: skip
    for name, verdicts in TRAIN.items():
        for i, (verdict, text) in enumerate(zip(verdicts, TEXTS[name], strict=True)):
            rows.append({"split": "train", "problem_id": name, "sample_index": i, "answer": text, "response": text}
                        | {"verdict": VERDICT[verdict], "n_tokens": 3})  # fmt: skip
    for row in rows:
        row |= {"strict_verdict": row["verdict"], "response_id": f"{iteration}{row['problem_id']}{row['sample_index']}"}
    return rows


def score_rows(iteration: int) -> list[dict]:
    rows = []
    for row in rows_of(iteration):
        said = EVAL[iteration][row["problem_id"]][2][row["sample_index"]] if row["split"] == "eval" else "1"
        score = None if said == "-" else float(said)
        verdict = "unparseable" if score is None else "correct" if score else "incorrect"
        known = {name: row[name] for name in ("split", "problem_id", "sample_index", "response_id")}
        rows.append({**known, "verifier": "binary_cot", "score": score, "verdict": verdict, "n_tokens": 5})
    return rows


@pytest.fixture
def lab(tmp_path) -> Lab:
    """Two iterations; T0, T1, T2, T3 and V0 were selected for training."""
    return filled(tmp_path)


def filled(tmp_path, **changes) -> Lab:
    settings = {"verifiers": [{"name": "binary_cot"}], "statistics": {"resamples": 400}, "filter": FILTER, **changes}
    experiment = tiny_experiment(**settings)
    lab = Lab.open(experiment, home=tmp_path / "home", run_id="test")
    problems = [("eval", name) for name in EVAL[0]] + [("train", name) for name in TRAIN]
    commit(lab, "problems", None, [
        {"split": split, "problem_id": name, "task": "countdown", "data": '{"numbers": [10, 8, 6], "target": 12}'}
        | {"train_iteration": 0 if split == "train" else None}
        for split, name in problems
    ])  # fmt: skip
    for k in (0, 1):
        commit(lab, "generations", k, rows_of(k))
        commit(lab, "verification_scores", k, score_rows(k))
    chosen = [row for row in rows_of(0) if row["problem_id"] == "T" or row["response_id"] == "0V0"]
    names = ("problem_id", "sample_index", "verdict", "response_id")
    commit(lab, "finetune_data", 0, [{**{name: row[name] for name in names}, "weight": 1.0} for row in chosen])
    return lab


def table(lab: Lab, stage, name: str, iteration: int) -> pl.DataFrame:
    assert not stage(lab, iteration).reused
    assert stage(lab, iteration).reused
    return lab.store.read(name, lab.plan.fingerprints[asset_name(name, iteration)])


def test_changes_are_paired_by_problem(lab):
    """Accuracy 1/2 0 1 -> 3/4 1/4 1/2: changes 1/4 1/4 -1/2, mean 0.

    Kept by binary_cot >= .5: A 2 of 3 right, then 3 of 3; B 0 of 1, then 1 of 1; C 3 of 3, then nothing. Gap 1/6 0 0 ->
    1/4 3/4 0: changes 1/12 3/4 0, mean 5/18. Relative 1/3 0 - -> 1 1 0: 2/3 and 1, C is left out: 5/6. Update error 1/6
    - 1/4, 0 - 1/4, 0 + 1/2: mean 1/18. Drift 1/4 1/4 0 -> 0 0 -1/2: mean of -1/4 -1/4 -1/2 = -1/3.
    pass@2, 1 - C(wrong,2)/6: 5/6 0 1 -> 1 1/2 5/6: changes 1/6 1/2 -1/6: 1/6. Entropy log 2, log 4, 0 -> h, m, m with
    h = (3/4) log(4/3) + (1/4) log 4 = .562335 and m = (1/2) log 2 + (1/2) log 4 = 1.039721: mean of -.130812, -.346574
    and 1.039721 is .187445. Votes 1/2 0 1 -> 1 0 1: 1/6. Tokens: +1.
    """
    found = table(lab, measure_changes, "iteration_changes", 1)
    assert set(found["reference"]) == {"previous", "base"} and set(found["from_iteration"]) == {0}
    previous = found.filter(pl.col("reference") == "previous")
    rows = {(row["metric"], row["k"]): row for row in previous.iter_rows(named=True)}
    expected = {
        ("accuracy", None): 0.0,
        ("strict_accuracy", None): 0.0,
        ("majority_vote_accuracy", None): 1 / 6,
        ("pass_at_k", 1): 0.0,
        ("pass_at_k", 2): 1 / 6,
        ("answer_entropy_nats", None): 0.187445,
        ("response_tokens", None): 1.0,
        ("gap", None): 5 / 18,
        ("relative_gap", None): 5 / 6,
        ("update_error", None): 1 / 18,
        ("score_drift", None): -1 / 3,
    }
    for key, value in expected.items():
        assert rows[key]["value"] == pytest.approx(value, abs=1e-6), key
        assert rows[key]["low"] - 1e-9 <= rows[key]["value"] <= rows[key]["high"] + 1e-9, key
    assert (rows["relative_gap", None]["n_problems"], rows["relative_gap", None]["n_problems_left_out"]) == (2, 1)
    assert rows["gap", None]["rule"] == rows["update_error", None]["rule"] == "binary_cot ≥ 0.5"
    assert rows["score_drift", None]["rule"] == "binary_cot"
    base = found.filter(pl.col("reference") == "base")
    assert "update_error" not in set(base["metric"])  # it is of one update
    assert base.height == previous.height - 1


def test_the_improvement_identity_holds(lab):
    """J(f1) - J(f0) = gap(f0) - update error (2412.02674): 0 = 1/18 - 1/18."""
    found = table(lab, measure_changes, "iteration_changes", 1).filter(pl.col("reference") == "previous")
    values = dict(found.filter(pl.col("k").is_null()).select("metric", "value").iter_rows())
    assert values["accuracy"] == pytest.approx(1 / 18 - values["update_error"])


def update_errors(lab: Lab) -> list[dict]:
    found = table(lab, measure_changes, "iteration_changes", 1)
    return found.filter(pl.col("metric") == "update_error").rows(named=True)


def test_the_update_error_is_of_what_was_trained_on(tmp_path):
    """Gold labels keep A's two right ones and all of C, of B nothing: gaps 1/2 0 0, minus the rises 1/4 1/4 -1/2: 1/4
    -1/4 1/2, mean 1/6. Unfiltered, the gap is 0 everywhere, so that the update error is minus the rise."""
    [gold] = update_errors(filled(tmp_path / "gold", filter={"name": "gold"}))
    assert (gold["rule"], gold["value"]) == ("gold labels", pytest.approx(1 / 6))
    lab = filled(tmp_path / "none", filter={"name": "none"})
    [none] = update_errors(lab)
    found = lab.store.read("iteration_changes", lab.plan.fingerprints[asset_name("iteration_changes", 1)])
    [rise] = found.filter(metric="accuracy", reference="previous").rows(named=True)
    assert none["rule"] == "no filter"
    ends = ("value", "low", "high")
    assert [none[end] for end in ends] == pytest.approx([-rise[end] for end in ("value", "high", "low")])
    assert none["low"] < 0 < none["high"]


def adapted(tmp_path) -> Lab:
    """The pilots chose binary_cot >= 0 at iteration 0 and binary_cot >= .5, as in the file, at iteration 1."""
    lab = filled(tmp_path, adapt=ADAPT)
    for k, threshold in ((0, 0.0), (1, 0.5)):
        rows = [
            {"temperature": 1.0, "rule": f"binary_cot ≥ {value:g}", "threshold": value, "balance_score": 0.5}
            | {"chosen": value == threshold}
            for value in (0.0, 0.5)
        ]
        commit(lab, "sampling_choices", k, rows)
    return lab


def test_the_filter_that_a_pilot_chose_is_measured_beside_the_experiments(tmp_path):
    """At iteration 0 >= 0 keeps all that could be parsed: A and B whole, of C three right ones: gaps 0 0 0."""
    lab = adapted(tmp_path)
    found = table(lab, measure_gap, "gap_metrics", 0).filter(split="eval")
    assert dict(found.select("rule", "gap").iter_rows()) == {
        "binary_cot ≥ 0.5": pytest.approx(1 / 18),
        "binary_cot ≥ 0": 0.0,
    }
    assert table(lab, measure_gap, "gap_metrics", 1).filter(split="eval")["rule"].to_list() == ["binary_cot ≥ 0.5"]


def test_changes_follow_the_filter_that_a_pilot_chose(tmp_path):
    """Its gap: 0 0 0 by >= 0, then 1/4 3/4 0 by >= .5: mean 1/3. Update error: 0 minus the rises, mean 0; of the file's
    filter, which trained nothing, it would have been 1/18."""
    lab = adapted(tmp_path)
    [error] = update_errors(lab)
    assert (error["rule"], error["value"]) == ("binary_cot ≥ 0", pytest.approx(0.0))
    found = lab.store.read("iteration_changes", lab.plan.fingerprints[asset_name("iteration_changes", 1)])
    gaps = found.filter(metric="gap", reference="previous")
    assert dict(gaps.select("rule", "value").iter_rows()) == {
        "binary_cot ≥ 0.5": pytest.approx(5 / 18),
        CHOSEN: pytest.approx(1 / 3),
    }


def test_self_bleu_and_distinct_correct(lab):
    """Texts of one token: equal ones count 1, others 0. A: x x y y all have an equal one: 1 -> x x x y: 3/4. B: 0 -> x
    w w v: 1/2. C: 1 -> v u x x: 1/2. Mean change (-1/4 + 1/2 - 1/2) / 3 = -1/12.
    Distinct right answers of all 4: 1 0 1 -> 1 1 1: 1/3."""
    found = table(lab, measure_changes, "iteration_changes", 1).filter(pl.col("reference") == "previous")
    rows = {(row["metric"], row["k"]): row["value"] for row in found.iter_rows(named=True)}
    assert rows["self_bleu", None] == pytest.approx(-1 / 12)
    assert rows["distinct_correct_in_k", 4] == pytest.approx(1 / 3)


def test_problems_that_differ_are_not_paired():
    with pytest.raises(StorageError, match="different problems, for example b"):
        check_same_problems(["a", "b"], ["a"])


def test_flips(lab):
    """any: 1 0 1 -> 1 1 1. half: 1/2 counts: 1 0 1 -> 1 0 1. majority: A's tie of right and wrong is not solved, B's
    plurality w is wrong: 0 0 1 -> 1 0 1."""
    found = table(lab, measure_flips, "problem_flips", 1)
    names = ["stayed_solved", "learned", "forgotten", "stayed_unsolved"]
    expected = {"any": (2 / 3, 1 / 3, 0, 0), "half": (2 / 3, 0, 0, 1 / 3), "majority": (1 / 3, 1 / 3, 0, 1 / 3)}
    for reference in ("previous", "base"):
        part = found.filter(pl.col("reference") == reference)
        assert {row[0]: row[1:] for row in part.select("criterion", *names).iter_rows()} == {
            criterion: pytest.approx(values) for criterion, values in expected.items()
        }
    assert set(found["n_problems"]) == {3}
    assert found.select(pl.sum_horizontal(names)).to_series().to_list() == pytest.approx([1.0] * 6)


def test_score_drift_of_a_verifier(lab):
    """Iteration 0: A 3/4 - 1/2, B 1/4 - 0, C 1 - 1 over the three that could be parsed: mean 1/6. Train: T 1 - 3/4, U
    1, V 1 - 1/2: 7/12."""
    found = table(lab, measure_verifiers, "verifier_metrics", 0)
    drift = {row["split"]: row for row in found.iter_rows(named=True)}
    assert drift["eval"]["score_drift"] == pytest.approx(1 / 6)
    assert drift["train"]["score_drift"] == pytest.approx(7 / 12)
    assert drift["eval"]["score_drift_low"] <= 1 / 6 <= drift["eval"]["score_drift_high"]


def test_selection(lab):
    """Selected: T a a b right, d wrong; V g wrong; U nothing. n* = 4. Distinct: T keeps 3, 2 of them right: 2/4 * 2/3 =
    1/3, U 0, V 0: mean 1/9. Precision 3/5 (T and V have something), of 3 problems 2 kept, 2/3 distinct right ones and
    5/3 responses of a problem."""
    found = table(lab, measure_selection, "selection_metrics", 0)
    rows = {row["metric"]: row for row in found.iter_rows(named=True)}
    expected = {"balance_score": 1 / 9, "precision": 3 / 5, "kept_problem_fraction": 2 / 3}
    expected |= {"distinct_correct_kept": 2 / 3, "kept_per_problem": 5 / 3}
    assert {name: row["value"] for name, row in rows.items()} == pytest.approx(expected)
    assert {name: row["n_problems"] for name, row in rows.items()} == dict.fromkeys(expected, 3) | {"precision": 2}
    assert all(row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9 for row in rows.values())


def test_nothing_selected_is_a_balance_of_zero_and_no_precision(tmp_path):
    lab = Lab.open(tiny_experiment(verifiers=[{"name": "binary_cot"}]), home=tmp_path, run_id="test")
    commit(lab, "generations", 0, rows_of(0))
    commit(lab, "finetune_data", 0, [])
    found = table(lab, measure_selection, "selection_metrics", 0)
    values = dict(found.select("metric", "value").iter_rows())
    assert values.pop("precision") is None
    assert set(values.values()) == {0.0} and set(found["n_problems"]) == {0, 3}


def test_self_bleu_reads_the_first_responses_of_the_first_problems(lab, monkeypatch):
    """Of iteration 1 the first two texts: A x x, B x w, C v u: 1 0 0, mean 1/3. Of A alone: 1."""
    monkeypatch.setattr("ops.stages.diversity.SELF_BLEU_RESPONSES", 2)
    values = problem_values(lab, 1)["eval"].value_P["self_bleu", None]
    assert values.tolist() == [1.0, 0.0, 0.0]
    monkeypatch.setattr("ops.stages.diversity.SELF_BLEU_PROBLEMS", 1)
    found = table(lab, measure_diversity, "diversity_metrics", 1).filter(pl.col("split") == "eval")
    rows = {(row["metric"], row["k"]): row for row in found.iter_rows(named=True)}
    assert (rows["self_bleu", None]["value"], rows["self_bleu", None]["n_problems"]) == (1.0, 1)
    assert rows["accuracy", None]["value"] == rows["pass_at_k", 1]["value"] == pytest.approx(1 / 2)
    assert rows["response_tokens", None]["value"] == pytest.approx(6.0)  # 3 5 7 9 of every problem
