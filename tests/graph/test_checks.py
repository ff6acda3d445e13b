"""Each check passes on sound data, fails on the fault it is for, and says so in a sentence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, get_args

import polars as pl
import pytest

from ops.config import StopRule
from ops.models import BuiltinModel, FolderModel
from ops.stages.stopping_rules import RULES
from ops.storage.schemas import polars_schema
from ops.tasks.countdown import Countdown
from ops.training.sft_settings import FilteredSft
from ops.types import Problem
from orchestration import checks, loop_checks

LOOP = {
    "iterations": 2,
    "filter": SimpleNamespace(label="logit ≥ 0"),
    "adapt": None,
    "chooses_threshold": False,
    "measured_filters": lambda: [SimpleNamespace(label="binary_cot ≥ 0.5"), SimpleNamespace(label="logit ≥ 0")],
}
"""Trained on by another filter than the one in the table."""


def _lab(table: pl.DataFrame, **experiment: Any) -> Any:
    """A lab whose store holds one table; checks read nothing else."""

    class Fingerprints(dict):
        def __missing__(self, key: str) -> str:
            return key

    def read(name: str, fingerprint: str, columns: list[str] | None = None) -> pl.DataFrame:
        return table.select(columns) if columns else table

    return SimpleNamespace(
        store=SimpleNamespace(read=read),
        plan=SimpleNamespace(fingerprints=Fingerprints()),
        experiment=SimpleNamespace(**experiment),
    )


def _gap(**columns: Any) -> pl.DataFrame:
    base = dict.fromkeys(polars_schema("gap_metrics"))
    sound = {
        "split": "eval",
        "verifier": "binary_cot",
        "filter": "threshold",
        "rule": "binary_cot ≥ 0.5",
        "gap": 0.2,
        "gap_low": 0.1,
        "gap_high": 0.3,
    }
    return pl.DataFrame([{**base, **sound, **columns}], schema=polars_schema("gap_metrics"))


def _problems_table(train: Sequence[Problem], evaluation: Sequence[Problem]) -> pl.DataFrame:
    rows = [
        {
            "split": split,
            "problem_id": f"{split}-{i}",
            "task": problem.task,
            "data": json.dumps(dict(problem.data)),
            "answer": problem.answer,
            "train_iteration": 0 if split == "train" else None,
        }
        for split, problems in (("train", train), ("eval", evaluation))
        for i, problem in enumerate(problems)
    ]
    return pl.DataFrame(rows, schema=polars_schema("problems"))


@pytest.mark.parametrize("model", [BuiltinModel(kind="builtin"), FolderModel(kind="folder", path="anywhere")])
def test_train_eval_disjoint(model: Any) -> None:
    task = Countdown()
    train, evaluation = task.generate("train", 4, 0), task.generate("eval", 4, 0)
    sound = checks.train_eval_disjoint(
        _lab(_problems_table(train, evaluation), task=task, model=model, verifier_models=list, evaluation=None)
    )
    assert sound.passed
    assert sound.numbers == {"train_problems": 4, "eval_problems": 4, "shared": 0}
    leaked = _problems_table(train, [*evaluation, train[0]])  # under another identity
    finding = checks.train_eval_disjoint(_lab(leaked, task=task, model=model, verifier_models=list, evaluation=None))
    assert not finding.passed
    assert finding.numbers["shared"] == 1
    assert "accuracy would measure memory" in finding.sentence


@pytest.mark.parametrize(("n_unparseable", "passes"), [(0, True), (1, True), (2, False)])
def test_unparseable_fraction_is_below_its_limit(n_unparseable: int, passes: bool) -> None:
    verdicts = ["unparseable"] * n_unparseable + ["correct"] * (10 - n_unparseable)
    lab = _lab(pl.DataFrame({"verdict": verdicts}), limits=SimpleNamespace(unparseable_fraction=0.2))
    finding = checks.unparseable_fraction(lab, 0)
    assert finding.passed is passes
    assert finding.numbers["unparseable_fraction"] == n_unparseable / 10


def test_filter_kept_something() -> None:
    lab = {"problems": SimpleNamespace(train_per_iteration=4), "training": FilteredSft()}
    columns = {"sample_index": [0, 1, 0], "response_id": ["x", "y", "z"], "verdict": ["correct"] * 3}
    rows = pl.DataFrame({"problem_id": ["a", "a", "b"], **columns})
    kept = checks.filter_kept_something(_lab(rows, **lab), 0)
    assert kept.passed
    assert kept.numbers == {"examples": 3, "problems_without_examples_fraction": 0.5}
    nothing = checks.filter_kept_something(_lab(rows.clear(), **lab), 0)
    assert not nothing.passed
    assert "nothing to fine-tune on" in nothing.sentence


@pytest.mark.parametrize(
    ("loss", "steps", "passes"),
    [(1.5, 10, True), (float("nan"), 10, False), (float("inf"), 10, False), (None, 10, False), (None, None, True)],
)
def test_finite_loss(loss: float | None, steps: int | None, passes: bool) -> None:
    schema = {"final_loss": pl.Float64, "optimizer_steps": pl.Int32}
    table = pl.DataFrame({"final_loss": [loss], "optimizer_steps": [steps]}, schema=schema)
    assert checks.finite_loss(_lab(table), "model", 0).passed is passes


@pytest.mark.parametrize(
    ("columns", "passes"),
    [
        ({}, True),
        ({"gap_low": 0.0}, False),
        ({"gap_low": -0.05}, False),
        ({"gap": None, "gap_low": None, "gap_high": None}, False),
    ],
)
def test_gap_above_zero(columns: dict[str, Any], passes: bool) -> None:
    finding = checks.gap_above_zero(_lab(_gap(**columns), **LOOP), 0)
    assert finding.passed is passes
    assert "binary_cot ≥ 0.5" in finding.sentence
    assert ("do not train on them" in finding.sentence) is not passes


def test_gap_above_zero_ignores_the_training_split() -> None:
    table = pl.concat([_gap(), _gap(split="train", gap=-0.1, gap_low=-0.2, gap_high=0.0)])
    assert checks.gap_above_zero(_lab(table, **LOOP), 0).passed


def test_gap_above_zero_leaves_the_filter_that_is_trained_on_to_its_stopping_rule() -> None:
    table = _gap(rule="logit ≥ 0", gap=0.0, gap_low=-0.1, gap_high=0.1)
    finding = checks.gap_above_zero(_lab(table, **LOOP), 0)
    assert finding.passed and finding.numbers == {"logit ≥ 0": "+0.000 [-0.100, +0.100]"}
    gold = {**LOOP, "filter": SimpleNamespace(label="gold labels")}  # the first measured one, binary_cot, stands in
    assert not checks.gap_above_zero(_lab(table, **gold), 0).passed
    assert checks.gap_above_zero(_lab(_gap(gap_low=-0.1), **gold), 0).passed
    nothing_is_trained = {**LOOP, "iterations": 0}
    assert not checks.gap_above_zero(_lab(table, **nothing_is_trained), 0).passed


def _judged(**columns: Any) -> pl.DataFrame:
    rows = [
        {"rule": name, "stops": False, "value": None, "low": None, "high": None, "limit": 0.0, "fires": None}
        | {"sentence": f"about {name}"}
        | (columns if name == "diversity_collapsed" else {})
        for name in ("gap_closed", "diversity_collapsed", "drift_grows")
    ]
    return pl.DataFrame(rows, schema=polars_schema("stopping_rules"))


@pytest.mark.parametrize(("fires", "stops", "passes"), [(True, True, False), (True, False, False), (False, True, True)])
def test_a_rule_that_fires_fails_its_check_in_its_own_words(fires: bool, stops: bool, passes: bool) -> None:
    table = _judged(fires=fires, stops=stops, value=-0.2, low=-0.3, high=-0.1)
    finding = loop_checks.rule_holds(_lab(table), 1, "diversity_collapsed")
    assert finding.passed is passes
    assert finding.sentence == "about diversity_collapsed"
    numbers = {"limit": 0.0, "ends_the_loop": fires and stops, "value": "-0.200 [-0.300, -0.100]"}
    assert finding.numbers == numbers


def test_a_rule_that_cannot_be_judged_is_no_warning() -> None:
    finding = loop_checks.rule_holds(_lab(_judged()), 0, "drift_grows")
    assert finding.passed and finding.numbers == {"limit": 0.0, "ends_the_loop": False}


def test_every_stopping_rule_has_its_check_and_all_of_them_only_warn() -> None:
    assert {rule for rule, _ in loop_checks.RULE_CHECKS.values()} == set(get_args(StopRule)) == set(RULES)
    built = [spec for item in loop_checks.build_loop_checks(2) for spec in item.check_specs]
    assert {spec.name for spec in built} == set(loop_checks.RULE_CHECKS)
    assert {spec.asset_key.to_user_string() for spec in built} == {"iteration_2/stopping_rules"}
    assert not any(spec.blocking for spec in built)


@pytest.mark.parametrize(
    ("auroc", "malformed", "passes", "word"),
    [
        (0.8, 0.01, True, "AUC 0.800"),
        (0.65, 0.01, False, "at or below 0.65"),
        (None, 0.01, False, "undefined"),
        (0.8, 0.05, False, "unparseable"),
    ],
)
def test_base_model_gate(auroc: float | None, malformed: float, passes: bool, word: str) -> None:
    lab = _lab(_gap(auroc=auroc, unparseable_response_fraction=malformed), model=BuiltinModel(kind="builtin"))
    finding = checks.base_model_gate(lab)
    assert finding.passed is passes
    assert word in finding.sentence


def test_base_model_gate_is_for_built_in_models() -> None:
    lab = _lab(_gap(auroc=0.1, unparseable_response_fraction=1.0), model=SimpleNamespace(kind="folder"))
    assert checks.base_model_gate(lab).passed
