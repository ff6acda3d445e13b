"""Checks of win rates: each passes on sound data, fails on the fault it is for, and says so."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl
import pytest

from ops.lab import named_experiment
from ops.storage.schemas import polars_schema
from orchestration import evaluation_checks as checks
from orchestration.check_parts import _missing
from orchestration.stale import Stale, why
from tests.graph.test_evaluation_graph import write_comparing
from tests.graph.test_exploration_graph import write_exploring

ASSET_OF = {"judge_metrics": "win_rates"}


def _lab(table: str, rows: list[dict[str, Any]], *, n_eval: int = 2, metadata: Any = None, **limits: float) -> Any:
    """A lab whose store holds one table; its columns that no row names are NULL."""
    schema = polars_schema(table)
    frame = pl.DataFrame([dict.fromkeys(schema) | row for row in rows], schema=schema)
    wanted = f"print of evaluation/{ASSET_OF.get(table, table)}"

    def read(name: str, fingerprint: str, columns: list[str] | None = None) -> pl.DataFrame:
        assert name == table and fingerprint == wanted
        return frame.select(columns) if columns else frame

    def about(name: str, fingerprint: str) -> dict[str, Any]:
        assert name == table and fingerprint == wanted
        return {"metadata": metadata}

    names = ("pairs", "human_labels", "synthetic_judgements", "tuned_judgements", "win_rates")
    return SimpleNamespace(
        store=SimpleNamespace(read=read, about=about),
        plan=SimpleNamespace(fingerprints={f"evaluation/{name}": f"print of evaluation/{name}" for name in names}),
        evaluation=SimpleNamespace(responses=None),
        experiment=SimpleNamespace(sampling=SimpleNamespace(n_eval=n_eval), limits=SimpleNamespace(**limits)),
    )


def _pairs() -> list[dict[str, Any]]:
    """Two models, three problems, two samples of each."""
    return [
        {"pair_id": f"{model}{problem}{i}", "problem_id": problem, "model": model, "sample_index": i}
        for model in "bc"
        for problem in "xyz"
        for i in range(2)
    ]


def test_every_model_has_every_pair_once() -> None:
    finding = checks.pairs_complete(_lab("pairs", _pairs()))
    assert finding.passed and finding.numbers == {"pairs": 12, "models": 2, "problems": 3}
    missing = checks.pairs_complete(_lab("pairs", _pairs()[:-1]))
    assert not missing.passed and "1 of 12 pairs are missing" in missing.sentence
    twice = checks.pairs_complete(_lab("pairs", [*_pairs()[:-1], _pairs()[0]]))
    assert not twice.passed and "1 pairs stand there twice" in twice.sentence
    few = checks.pairs_complete(_lab("pairs", _pairs(), n_eval=3))
    assert not few.passed and "6 responses to 3 problems, 3 to each" in few.sentence


@pytest.mark.parametrize(("n_model", "passes"), [(50, True), (70, True), (71, False), (29, False)])
def test_sides_are_as_a_fair_coin_throws_them(n_model: int, passes: bool) -> None:
    """100 pairs: a standard deviation is .05, four of them .20. Identical pairs are shown to nobody."""
    sides = ["model"] * n_model + ["reference"] * (100 - n_model)
    rows: list[dict[str, Any]] = [{"is_identical": False, "shown_first": side} for side in sides]
    rows += [{"is_identical": True, "shown_first": "model"}] * 50
    finding = checks.sides_balanced(_lab("pairs", rows))
    assert finding.passed is passes
    assert finding.numbers == {"model_shown_first": n_model / 100, "pairs": 100}


def test_single_responses_have_no_sides() -> None:
    assert checks.sides_balanced(_lab("pairs", [{"is_identical": False, "shown_first": None}])).passed


@pytest.mark.parametrize(("alpha", "passes"), [(0.4, True), (0.01, True), (0.0, False), (-0.2, False), (None, True)])
def test_agreement_at_chance_is_told(alpha: float | None, passes: bool) -> None:
    low, high = (None, None) if alpha is None else (alpha - 0.1, alpha + 0.1)
    metadata = {"pairs_labelled_twice": 12, "conflicts": 3, "alpha": alpha, "alpha_low": low, "alpha_high": high}
    finding = checks.annotators_agree(_lab("human_labels", [], metadata=metadata))
    assert finding.passed is passes and finding.numbers["conflicts"] == 3
    assert checks.annotators_agree(_lab("human_labels", [], metadata={})).passed  # nobody labelled a pair twice


def test_labels_that_no_export_asked_for_are_counted() -> None:
    """Pair 2 has labels of two people, one of which was asked for: the pair was drawn."""
    waves = [("1", 0), ("2", 0), ("2", None), ("3", None)]
    finding = checks.drawn_at_random(_lab("human_labels", [{"pair_id": name, "wave": wave} for name, wave in waves]))
    assert not finding.passed and finding.numbers == {"labelled_pairs": 3, "not_drawn": 1}
    assert "evaluate export" in finding.sentence
    drawn = [{"pair_id": name, "wave": 1} for name in "123"]
    assert checks.drawn_at_random(_lab("human_labels", drawn)).passed
    assert "no labels yet" in checks.drawn_at_random(_lab("human_labels", [])).sentence


@pytest.mark.parametrize(("n_unread", "passes"), [(0, True), (1, True), (2, False), (10, False)])
def test_unreadable_judgements_are_below_the_limit_for_every_judge(n_unread: int, passes: bool) -> None:
    """Of one judge's 10 judgements; the other, with as many, is always read."""
    rows: list[dict[str, Any]] = [{"judge": "p", "score": None if i < n_unread else 0.5} for i in range(10)]
    rows += [{"judge": "logit", "score": 0.1}] * 10
    finding = checks.unreadable_judgements(_lab("synthetic_judgements", rows, unparseable_fraction=0.2))
    assert finding.passed is passes
    assert finding.numbers == {"limit": 0.2, "p_unreadable": n_unread / 10, "logit_unreadable": 0.0}
    assert passes or ("p " in finding.sentence and "logit" not in finding.sentence)


def _metric(judge: str, low: float | None, high: float | None, model: str | None = None) -> dict[str, Any]:
    value = None if low is None or high is None else (low + high) / 2
    return {"model": model, "judge": judge, "metric": "position_bias", "value": value, "low": low, "high": high}


def test_a_judge_that_prefers_a_position_is_told() -> None:
    fine = [_metric("p", -0.1, 0.2), _metric("p", 0.2, 0.4, "b"), _metric("q", None, None)]
    other = {"judge": "p", "metric": "mean_score", "value": 0.9, "low": 0.8, "high": 1.0}
    finding = checks.position_bias(_lab("judge_metrics", [*fine, other]))
    assert finding.passed and finding.numbers == {"p": "+0.050 [-0.100, +0.200]"}
    for low, high in ((0.2, 0.3), (-0.3, 0.0), (0.3, 0.5)):
        biased = checks.position_bias(_lab("judge_metrics", [_metric("r", low, high), *fine]))
        assert not biased.passed and biased.sentence.startswith("r ") and "p " not in biased.sentence.split(":")[0]
    assert checks.position_bias(_lab("judge_metrics", [other])).passed


def _rate(estimator: str, low: float, high: float, **others: Any) -> dict[str, Any]:
    cells = {"model": "b", "quantity": "win_rate", "estimator": estimator, "value": (low + high) / 2}
    return cells | {"judge": None if estimator == "human" else "p", "low": low, "high": high} | others


@pytest.mark.parametrize(
    ("low", "high", "passes"), [(0.5, 0.6, True), (0.55, 0.7, True), (0.61, 0.7, False), (0.3, 0.39, False)]
)
def test_estimates_with_and_without_judges_overlap(low: float, high: float, passes: bool) -> None:
    """The labels alone say [.4, .6]; another model's interval, and a judge alone, say nothing about this one."""
    rows = [_rate("human", 0.4, 0.6), _rate("control_variate", low, high), _rate("synthetic", 0.9, 1.0)]
    rows += [_rate("human", 0.0, 0.1, model="c"), _rate("control_variate", 0.0, 0.1, model="c")]
    rows += [_rate(name, 0.9, 1.0, quantity="gap", judge="p") for name in ("human", "control_variate")]
    finding = checks.labels_represent_pairs(_lab("win_rates", rows))
    assert finding.passed is passes and set(finding.numbers) == {"b with p", "c with p"}
    assert passes or ("b with p" in finding.sentence and "c with p" not in finding.sentence)
    assert checks.labels_represent_pairs(_lab("win_rates", [_rate("synthetic", 0.9, 1.0)])).passed


@pytest.mark.parametrize(
    ("saving", "passes"),
    [
        ((0.2, 0.1, 0.3), True),
        ((-0.1, -0.2, 0.05), True),
        ((-0.08, -0.1, -0.04), True),
        ((-0.2, -0.3, -0.1), False),
        ((-0.2, None, None), True),
    ],
)
def test_judges_that_cost_labels_are_told(saving: Any, passes: bool) -> None:
    cells = dict(zip(("saving", "saving_low", "saving_high"), saving, strict=True))
    rows = [_rate("human", 0.4, 0.6), _rate("control_variate", 0.4, 0.6, **cells)]
    rows.append(_rate("control_variate", 0.1, 0.2, quantity="gap", saving=-0.9, saving_low=-1.0, saving_high=-0.8))
    finding = checks.judges_save_labels(_lab("win_rates", rows))
    assert finding.passed is passes and set(finding.numbers) == {"b with p"}


def test_checks_of_another_kind_of_experiment_find_nothing_to_check(
    write_experiment: Callable[..., Any], lab_home: Any
) -> None:
    write_experiment("tiny")
    write_exploring(lab_home.parent / "experiments")
    write_comparing(lab_home.parent / "experiments")
    names = ("problems", "iteration_0/gap_metrics", "exploration/policy", "evaluation/pairs")
    expected = {
        "tiny": [None, None, "exploration", "evaluation"],
        "explores": [None, "iterations", None, "evaluation"],
        "compares": [None, "iterations", "exploration", None],
    }
    for experiment, lacks in expected.items():
        lab: Any = SimpleNamespace(experiment=named_experiment(experiment))
        assert [_missing(lab, dg.AssetKey(name.split("/"))) for name in names] == lacks


@pytest.mark.parametrize(
    ("assets", "said", "unsaid"),
    [
        (("evaluation/human_labels", "evaluation/win_rates", "report"), "the file of labels changed", "judge"),
        (
            ("evaluation/synthetic_judgements", "evaluation/win_rates"),
            "its file of judgements changed",
            "labels changed",
        ),
        (("problems", "evaluation/pairs", "evaluation/human_labels"), "a problem file", "labels changed"),
        (("base_model", "evaluation/synthetic_judgements"), "the checkpoint changed", "file of judgements"),
    ],
)
def test_the_input_that_changed_is_named_and_what_hangs_on_it_is_not(assets, said: str, unsaid: str) -> None:
    sentence = why(Stale("compares", "f", "0", assets, {}, ()))
    assert said in sentence and unsaid not in sentence.partition(": ")[2]
