"""Checks of reinforcement learning: each passes on sound data, fails on the fault it is for, and says so."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from ops.lab import named_experiment
from ops.storage.schemas import polars_schema
from orchestration import exploration_checks as checks
from orchestration.check_parts import _missing
from tests.graph.test_exploration_graph import write_exploring


def _lab(table: str, rows: list[dict[str, Any]], **limits: float) -> Any:
    """A lab whose store holds one table; its columns that no row names are NULL."""
    schema = polars_schema(table)
    frame = pl.DataFrame([dict.fromkeys(schema) | row for row in rows], schema=schema)

    def read(name: str, fingerprint: str, columns: list[str] | None = None) -> pl.DataFrame:
        assert name == table and fingerprint.startswith("print of exploration/")
        return frame.select(columns) if columns else frame

    names = ("policy", "rollouts", "training_dynamics", "evaluation")
    prints = {f"exploration/{name}": f"print of exploration/{name}" for name in names}
    exploration = SimpleNamespace(steps=3)
    return SimpleNamespace(
        store=SimpleNamespace(read=read),
        plan=SimpleNamespace(fingerprints=prints, policies={0: "base", 2: "a", 3: "b"}),
        experiment=SimpleNamespace(exploration=exploration, limits=SimpleNamespace(**limits)),
    )


def _steps(*losses: float | None) -> list[dict[str, Any]]:
    return [{"step": i, "loss": loss, "gradient_norm": 1.0} for i, loss in enumerate(losses, start=1)]


def test_every_step_has_a_finite_loss() -> None:
    finding = checks.finite_steps(_lab("policy_steps", _steps(0.5, -0.1, 0.25)))
    assert finding.passed and finding.numbers == {"steps": 3, "wanted_steps": 3, "final_loss": 0.25}
    for loss in (float("nan"), float("inf"), None):
        broken = checks.finite_steps(_lab("policy_steps", _steps(0.5, loss, 0.25)))
        assert not broken.passed and "step 2" in broken.sentence and "learning_rate" in broken.sentence
    gradient = [*_steps(0.5, 0.5), {"step": 3, "loss": 0.5, "gradient_norm": float("nan")}]
    assert not checks.finite_steps(_lab("policy_steps", gradient)).passed


def test_a_step_that_is_missing_fails() -> None:
    finding = checks.finite_steps(_lab("policy_steps", _steps(0.5, 0.5)))
    assert not finding.passed and "2 of 3 steps" in finding.sentence


@pytest.mark.parametrize(("n_unparseable", "passes"), [(0, True), (1, True), (2, False)])
def test_unparseable_rollouts_are_below_the_limit(n_unparseable: int, passes: bool) -> None:
    """10 responses over steps 0 and 1; the unparseable ones are drawn at the last step, which has 5."""
    verdicts = ["correct"] * (10 - n_unparseable) + ["unparseable"] * n_unparseable
    rows = [{"step": i // 5, "verdict": verdict} for i, verdict in enumerate(verdicts)]
    finding = checks.unparseable_rollouts(_lab("rollouts", rows, unparseable_fraction=0.2))
    assert finding.passed is passes
    assert finding.numbers == {
        "unparseable_fraction": n_unparseable / 10,
        "limit": 0.2,
        "unparseable_fraction_of_last_step": n_unparseable / 5,
    }


def _pass_at_k(step: int, k: int, change: float | None, low: float | None, high: float | None) -> dict[str, Any]:
    cells = {"change": change, "change_low": low, "change_high": high}
    return {"step": step, "metric": "pass_at_k", "k": k, "value": 0.5, **cells}


@pytest.mark.parametrize(
    ("change", "limit", "passes"),
    [
        ((-0.2, -0.3, -0.1), 0.0, False),
        ((-0.2, -0.3, -0.1), 0.1, True),  # the interval reaches the limit
        ((-0.2, -0.3, -0.1), 0.05, False),
        ((-0.1, -0.3, 0.0), 0.0, True),  # may be noise
        ((0.2, 0.1, 0.3), 0.0, True),
        ((None, None, None), 0.0, True),
    ],
)
def test_pass_at_the_largest_k_of_the_trained_policy_holds(change: Any, limit: float, passes: bool) -> None:
    rows = [
        _pass_at_k(0, 64, None, None, None),
        _pass_at_k(2, 64, -0.9, -0.95, -0.85),  # another snapshot
        _pass_at_k(3, 8, -0.9, -0.95, -0.85),  # a smaller k
        _pass_at_k(3, 64, *change),
        {"step": 3, "metric": "distinct_answers_in_k", "k": 99, "value": 1.0, "change": -5.0},
    ]
    finding = checks.pass_at_k_holds(_lab("policy_evaluation", rows, pass_at_k_fall=limit))
    assert finding.passed is passes
    assert finding.numbers["k"] == 64 and "pass@64" in finding.sentence
    if change[0] == -0.2:
        assert finding.numbers["change"] == "-0.200 [-0.300, -0.100]"


def test_without_pass_at_k_there_is_nothing_to_judge() -> None:
    rows = [{"step": 3, "metric": "accuracy", "value": 0.5}]
    assert checks.pass_at_k_holds(_lab("policy_evaluation", rows, pass_at_k_fall=0.0)).passed


def test_checks_of_what_an_experiment_does_not_have_find_nothing_to_check(
    write_experiment: Callable[..., Any], lab_home: Any
) -> None:
    import dagster as dg

    write_experiment("tiny")
    write_exploring(lab_home.parent / "experiments")
    keys = {
        name: dg.AssetKey(name.split("/")) for name in ("problems", "iteration_0/gap_metrics", "exploration/policy")
    }
    for experiment, expected in (("tiny", [None, None, "exploration"]), ("explores", [None, "iterations", None])):
        lab: Any = SimpleNamespace(experiment=named_experiment(experiment))
        assert [_missing(lab, key) for key in keys.values()] == expected
