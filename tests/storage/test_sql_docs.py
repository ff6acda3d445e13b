"""docs/sql.md: every query runs and answers, and every column is described."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ops
from ops.storage.query import query
from ops.storage.schemas import COLUMNS

TEXT = (Path(ops.__file__).resolve().parent.parent / "docs" / "sql.md").read_text(encoding="utf-8")
QUERIES = dict(re.findall(r"^### (.+?)\n+```sql\n(.*?)```", TEXT, re.M | re.S))


def answer(store, title: str):
    [sql] = [sql for name, sql in QUERIES.items() if title in name]
    return query(store.home, sql)


def test_every_block_is_found():
    assert len(QUERIES) == TEXT.count("```sql") >= 12


@pytest.mark.parametrize("title", QUERIES)
def test_each_query_answers(fabricated, title):
    assert query(fabricated.home, QUERIES[title]).height > 0


def described(table: str) -> set[str]:
    """Columns that the table of ``### table`` describes."""
    section = re.search(rf"^### {table}\n(.*?)(?=^##)", TEXT, re.M | re.S)[1]
    return {name for line in re.findall(r"^\| (`.*?) \|", section, re.M) for name in re.findall(r"`(\w+)`", line)}


@pytest.mark.parametrize("table", [*COLUMNS, "experiments", "materializations"])
def test_every_column_is_described_and_no_other(fabricated, table):
    columns = set(query(fabricated.home, f"DESCRIBE {table}")["column_name"])
    common = {"experiment", "iteration", "fingerprint"} if table in COLUMNS else set()
    assert described(table) == columns - common


def test_the_answers_are_what_the_data_says(fabricated):
    gaps = answer(fabricated, "Accuracy and gap per iteration").filter(experiment="demo", verifier="binary_cot")
    assert gaps["accuracy"].to_list() == pytest.approx([0.3, 0.4])
    assert gaps["gap"].to_list() == pytest.approx([0.2, 0.2]) and gaps["gap_is_positive"].to_list() == [True, True]
    passes = answer(fabricated, "pass@1 beside pass@64").filter(experiment="demo")
    assert passes["pass_at_1"].to_list() == pytest.approx([0.3, 0.4])
    assert passes["pass_at_64"].to_list() == pytest.approx([0.8, 0.7])
    changes = answer(fabricated, "How do the arms compare").filter(experiment="demo-gold")
    assert changes["change"].to_list() == pytest.approx([0.1, -0.1])
    # Binary CoT accepts sample 2 whatever it is; of the four problems, (p + 2) % 4 <= 0 is right at p = 2 only.
    wrong = answer(fabricated, "What did the verifier accept")
    assert wrong.filter(experiment="demo", iteration=0)["problem_id"].sort().to_list() == ["e0", "e1", "t1"]
    assert wrong["transcript"].unique().to_list() == ["I add the numbers:\nyes"]
    # At iteration 0 of the eval split: (0, 0) and (1, 3) are right, and the verdict on sample 3 is never parseable.
    matrix = answer(fabricated, "confusion matrix").filter(experiment="demo", iteration=0, verifier="binary_cot")
    assert {row[3]: row[4:] for row in matrix.rows()} == {
        "correct": (1, 0, 1),
        "incorrect": (2, 3, 0),
        "unparseable": (0, 0, 1),
    }
    [source] = answer(fabricated, "Where does a number come from").rows(named=True)
    assert (source["fingerprint"], source["seed"], source["run_id"]) == ("gap-demo-0", 7, "run-demo")
    assert Path(source["data_path"]).is_file() and source["temperature"] == "1.0"
    versions = answer(fabricated, "What was it before")
    assert versions["fingerprint"].to_list() == ["gap-old", "gap-demo-0"]
    assert versions["is_current"].to_list() == [False, True]
    kept = answer(fabricated, "How much does each filter keep").filter(experiment="demo", verifier="binary_cot")
    assert kept["n_trained_on"].to_list() == [2, 0] and kept["trained_on_accuracy"].to_list() == [1.0, None]
    assert answer(fabricated, "Which data do experiments share").height == 5
    assert answer(fabricated, "Is anything damaged").rows() == [(0, None)]


def test_the_answers_about_verifiers(fabricated):
    [pair] = answer(fabricated, "Which check is best").filter(experiment="demo", iteration=0).rows(named=True)
    assert pair["better"] == "binary_cot" and pair["gap_difference"] == -0.2
    [best] = answer(fabricated, "What threshold should I use").filter(experiment="demo", iteration=0).rows(named=True)
    assert (best["filter"], best["value"]) == ("threshold", 0.5)
    [reached] = answer(fabricated, "at test time").filter(experiment="demo", iteration=0).rows(named=True)
    assert (reached["best_of_n"], reached["majority_vote"], reached["oracle"]) == (0.6, 0.5, 0.9)
    matrix = answer(fabricated, "Who can check whom")
    assert {row["generator"]: (row["a"], row["s"]) for row in matrix.rows(named=True)} == {
        "a": (0.1, 0.3),
        "s": (0.0, 0.2),
    }
    [promised] = answer(fabricated, "Did the update deliver").filter(experiment="demo").rows(named=True)
    assert (promised["accuracy_gained"], promised["update_error"]) == (0.1, 0.3)
    assert promised["gap_before"] == pytest.approx(0.4)
    moved = answer(fabricated, "How far has the model moved").filter(experiment="demo").sort("iteration")
    assert moved["precision_of_training"].to_list() == [None, 0.9]
    assert (traded := answer(fabricated, "KL–accuracy")).filter(experiment="demo")["accuracy_per_nat"].to_list() == [
        1.0
    ]
    assert traded["accuracy_gained"].to_list() == [0.1] * 3
    # Solved from half of four on. e0: sample 0, then 0 and 1 right (.25, .5); e1: sample 3, then 3 and 0 (.25, .5).
    flipped = answer(fabricated, "by their ids").filter(experiment="demo")
    assert flipped.rows() == [("demo", 1, "learned", "e0", 0.25, 0.5), ("demo", 1, "learned", "e1", 0.25, 0.5)]
    # e0: .25 at first, .5 at last; so e1, as worked out above. Each experiment's own last iteration counts.
    better = answer(fabricated, "Which problems got better").filter(experiment="demo")
    assert better.rows() == [("demo", "e0", 1, 0.25, 0.5, 0.25), ("demo", "e1", 1, 0.25, 0.5, 0.25)]
    arms = answer(fabricated, "Which arm is better")
    assert arms["arm"].to_list() == ["gold", "self"] and arms["standard_error"].to_list() == [0.01, 0.01]
    assert answer(fabricated, "By how much, paired")["higher"].to_list() == ["self"]
    # Sample 0 is given as correct; at iteration 0 it is so of e0 only ((p + 0) % 4 <= 0).
    given = answer(fabricated, "Where do a given correctness").filter(experiment="demo").unique(["problem_id", "ours"])
    assert set(given["problem_id"]) == {"e1", "t0", "t1"} and set(given["given"]) == {"correct"}
    matches = answer(fabricated, "How did the tournaments go").filter(experiment="demo", iteration=0, problem_id="e0")
    assert matches["opponent"].to_list() == [3, 2, 1, 0] and matches["outcome"].to_list() == [
        "loss",
        "loss",
        "win",
        "win",
    ]


def test_the_answers_about_exploration(fabricated):
    outcomes = answer(fabricated, "What did reinforcement learning win, and lose")
    assert outcomes.select("k", "outcome").rows() == [(1, "rose"), (64, "fell")]
    arms = answer(fabricated, "Which bonus keeps pass@64")
    assert arms.select("arm", "pass_at_1_gained", "pass_at_64_gained").rows() == [
        ("ucb", 0.1, -0.05),
        ("vanilla", 0.2, -0.1),
    ]
    # x1 has answered 7 twice at step 0 and once at step 1, where the bonus read a count of 2; x2 once 6 at step 1.
    wrong = answer(fabricated, "Which wrong answers")
    assert wrong.drop("experiment").rows() == [("x1", "7", 3, 0, 1, 2), ("x2", "6", 1, 1, 1, 2)]
    # Silent: x1 (all wrong) and x2 (all right) at step 0, x2 (one wrong, one unparseable) at step 1; x1 then has both.
    [silent] = answer(fabricated, "taught nothing").rows(named=True)
    assert (silent["n_groups"], silent["without_signal"]) == (4, 0.75)
    assert (silent["all_right"], silent["none_right"]) == (0.25, 0.5)
    transfer = answer(fabricated, "carry over to questions")
    assert transfer.select("questions", "step", "distinct_answers_minus_base").rows() == [
        ("all", 2, -1.0),
        ("solved", 2, -1.0),
        ("unsolved", 2, -1.0),
    ]


def test_the_answers_about_win_rates(fabricated):
    [wins] = answer(fabricated, "Which model wins").rows(named=True)
    assert (wins["model"], wins["reference"], wins["value"], wins["outcome"]) == ("b", "a", 0.65, "wins")
    [alone] = answer(fabricated, "How far off are judges alone").rows(named=True)
    assert (alone["judge_alone"], alone["human"], alone["control_variate"]) == (0.9, 0.6, 0.65)
    assert alone["judge_is_outside"]
    [saved] = answer(fabricated, "Does the saving come as predicted").rows(named=True)
    assert saved["as_predicted"] and saved["predicted_saving"] == 0.15
    [curve] = answer(fabricated, "How many labels until").rows(named=True)
    assert curve["error_saved"] == pytest.approx(0.25) and curve["error_saved_in_theory"] == pytest.approx(0.2)
    [bias] = answer(fabricated, "prefer a position").rows(named=True)
    assert (bias["position_bias"], bias["same_in_both_orders"], bias["is_biased"]) == (0.1, 0.7, True)
    # b0: mean label .5, the judge says 1; b1: .25 and .5.
    disagreed = answer(fabricated, "Where do people and a judge disagree most")
    assert disagreed.select("problem_id", "label", "score").rows() == [("e0", 0.5, 1.0), ("e1", 0.25, 0.5)]
    [twice] = answer(fabricated, "Where do annotators disagree").rows(named=True)
    assert (twice["pair_id"], twice["lowest"], twice["highest"], twice["annotators"]) == (
        "b0",
        0.0,
        1.0,
        ["ann", "bob"],
    )
