"""The table ``policy_evaluation`` from responses that the test puts into the pools; see ``pools`` for the drawing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ops.errors import StorageError
from ops.lab import Lab
from ops.stages.evaluation import draw_evaluation, evaluate_policies, policy_values
from ops.stages.problems import problems_of
from tests.exploration.pools import eval_problems, opened, put
from tests.verifiers.scripted import ScriptedEngine


@pytest.fixture
def lab(tmp_path) -> Lab:
    lab = opened(tmp_path / "home")
    for step in (0, 2, 4):
        put(lab, step)
    return lab


def table(lab: Lab) -> dict[tuple, dict]:
    result = evaluate_policies(lab)
    frame = lab.store.read("policy_evaluation", result.fingerprint)
    return {(row["step"], row["metric"], row["k"]): row for row in frame.iter_rows(named=True)}


def test_values_problem_by_problem(lab):
    """pass@2 of c right in 4 is 1 - C(4-c, 2)/C(4, 2): c = 0, 1, 2 give 0, 1 - 3/6 = 1/2, 1 - 1/6 = 5/6.

    Distinct answers in 2 of A, x x y y: each is missed by C(2, 2)/C(4, 2) = 1/6, so 2 - 2/6 = 5/3; of B all 2 differ;
    of C, y x z and one that is none: each is missed by C(3, 2)/C(4, 2) = 1/2, so 3/2. Tokens: (2 + 4 + 6 + 8) / 4 = 5.
    """
    found = policy_values(lab, 0)
    assert found.responses.problem_ids == [problem.problem_id for problem in eval_problems(lab)]
    by_hand = {
        ("accuracy", None): [2 / 4, 0, 1 / 4],
        ("strict_accuracy", None): [1 / 4, 0, 1 / 4],
        ("pass_at_k", 1): [2 / 4, 0, 1 / 4],
        ("pass_at_k", 2): [5 / 6, 0, 1 / 2],
        ("pass_at_k", 4): [1, 0, 1],
        ("distinct_answers_in_k", 2): [5 / 3, 2, 3 / 2],
        ("distinct_answers_in_k", 4): [2, 4, 3],
        ("distinct_correct_in_k", 4): [1, 0, 1],
        ("majority_vote_accuracy", None): [1 / 2, 0, 1 / 3],  # A: x and y tie; C: y, x and z tie
        ("answer_entropy_nats", None): [math.log(2), math.log(4), math.log(3)],
        ("response_tokens", None): [5, 5, 5],
        ("unparseable_fraction", None): [0, 0, 1 / 4],
    }
    for metric, expected_P in by_hand.items():
        np.testing.assert_allclose(found.value_P[metric], expected_P, err_msg=str(metric))
    assert {k for name, k in found.value_P if name == "pass_at_k"} == {1, 2, 4}  # of 4 responses no pass@8


def test_the_table_and_its_changes(lab):
    """Accuracy (1/2 + 0 + 1/4)/3 = 1/4, then (3/4 + 1/4 + 2/4)/3 = 1/2, then 1/3; pass@4 2/3, then 1, then 1/3."""
    rows = table(lab)
    assert {step for step, *_ in rows} == {0, 2, 4}
    assert [rows[step, "accuracy", None]["value"] for step in (0, 2, 4)] == pytest.approx([1 / 4, 1 / 2, 1 / 3])
    assert [rows[step, "pass_at_k", 4]["value"] for step in (0, 2, 4)] == pytest.approx([2 / 3, 1, 1 / 3])
    assert rows[4, "accuracy", None]["change"] == pytest.approx(1 / 12)
    assert rows[4, "pass_at_k", 4]["change"] == pytest.approx(-1 / 3)
    assert rows[0, "unparseable_fraction", None]["value"] == pytest.approx(1 / 12)
    assert rows[4, "answer_entropy_nats", None]["value"] == 0.0
    assert {row["n_problems"] for row in rows.values()} == {3}
    base = [row for (step, *_), row in rows.items() if step == 0]
    assert {row[name] for row in base for name in ("change", "change_low", "change_high")} == {None}


def test_changes_are_paired_by_problem(lab):
    """After 2 steps every problem has one more right response of 4: the change is .25 in every resample of problems,
    although accuracy itself lies anywhere between .25 and .75 as A or C is drawn three times."""
    row = table(lab)[2, "accuracy", None]
    assert (row["change"], row["change_low"], row["change_high"]) == pytest.approx((0.25, 0.25, 0.25))
    assert row["low"] < 0.3 and row["high"] > 0.7


def test_metadata_names_both_ends_and_the_change(lab):
    shown = evaluate_policies(lab).metadata
    assert shown["steps"] == 4
    assert (shown["accuracy_base"], shown["accuracy_final"]) == pytest.approx((1 / 4, 1 / 3))
    assert shown["pass_at_4_change"] == pytest.approx(-1 / 3)
    assert shown["pass_at_4_change_low"] <= shown["pass_at_4_change"] <= shown["pass_at_4_change_high"]


def test_a_problem_without_any_answer_has_no_entropy_and_is_left_out(tmp_path):
    """B's four responses cannot be parsed after 4 steps: its entropy is unknown, not 0, and so is its change."""
    lab = opened(tmp_path / "home")
    put(lab, 0), put(lab, 2)
    put(lab, 4, (("cccc", "xxxx"), ("uuuu", "----"), ("iiii", "yyyy")))
    row = table(lab)[4, "answer_entropy_nats", None]
    assert (row["value"], row["n_problems"]) == (0.0, 2)
    assert row["change"] == pytest.approx(-(math.log(2) + math.log(3)) / 2)  # of A and C
    assert table(lab)[4, "unparseable_fraction", None]["value"] == pytest.approx(1 / 3)


def test_missing_responses_are_named(tmp_path):
    lab = opened(tmp_path / "home")
    put(lab, 0), put(lab, 2)
    put(lab, 4, (("ccc", "xxx"), ("iiii", "ssss"), ("iiii", "yyyy")))
    with pytest.raises(StorageError, match="after 4 steps") as caught:
        evaluate_policies(lab)
    assert "1 of 12 responses are not in their pool" in str(caught.value)
    assert not lab.store.has("policy_evaluation", lab.plan.fingerprints["exploration/evaluation"])


class Engines:
    """Stands for the loaded models: says which were loaded and what was asked of them."""

    def __init__(self, lab: Lab, monkeypatch) -> None:
        self.loaded: list[int] = []
        self.engine = ScriptedEngine(lambda prompt, seed: f"10 + {seed % 7}")
        self.engine.usage = dict
        sample = self.engine.sample
        self.engine.sample = lambda requests, settings: sample(list(requests), settings)
        monkeypatch.setattr(lab, "policy_engine", self.load)

    def load(self, step: int) -> ScriptedEngine:
        self.loaded.append(step)
        return self.engine


def test_only_what_is_missing_is_drawn_and_no_other_model_is_loaded(tmp_path, monkeypatch):
    lab = opened(tmp_path / "home")
    put(lab, 0), put(lab, 2)
    put(lab, 4, (("cccc", "xxxx"), ("iiii", "ssss"), ("i", "y")))
    engines = Engines(lab, monkeypatch)
    numbers = draw_evaluation(lab)
    assert engines.loaded == [4]
    assert (numbers["drawn"], numbers["reused_samples"], numbers["models_asked"]) == (3, 33, 1)
    third = eval_problems(lab)[2]
    assert engines.engine.calls == [[lab.prompt_format().solve(third)] * 3]
    assert table(lab)[2, "accuracy", None]["value"] == pytest.approx(1 / 2)  # what was there is as it was
    assert draw_evaluation(lab) == {"drawn": 0, "reused_samples": 36, "models_asked": 0}
    assert engines.loaded == [4]


def test_more_responses_are_drawn_on_top(tmp_path, monkeypatch):
    """With 6 instead of 4 responses two are missing of every problem and model; nothing else is planned anew."""
    lab = opened(tmp_path / "home")
    for step in (0, 2, 4):
        put(lab, step)
    before = evaluate_policies(lab).fingerprint
    more = opened(tmp_path / "home", sampling={"n_eval": 6, "max_tokens": 16})
    assert dict(more.plan.policies) == dict(lab.plan.policies)
    engines = Engines(more, monkeypatch)
    numbers = draw_evaluation(more)
    assert engines.loaded == [0, 2, 4]
    assert (numbers["drawn"], numbers["reused_samples"]) == (18, 36)
    values = policy_values(more, 0)
    assert values.responses.frame.height == 18
    assert {k for name, k in values.value_P if name == "pass_at_k"} == {1, 2, 4, 6}
    assert evaluate_policies(more).fingerprint != before


def test_training_problems_are_not_evaluated(lab):
    evaluated = set(policy_values(lab, 0).responses.problem_ids)
    assert evaluated.isdisjoint(p.problem_id for p in problems_of(lab, 0, "train"))
