"""A lab with pairs made by hand, and a judge that says what a test tells it to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from ops.config import Experiment
from ops.lab import Lab
from ops.models import BuiltinModel
from ops.plan import evaluation_asset
from ops.stages.problems import make_problems, problems_of
from ops.stages.synthetic_judgements import commit_judgements, judge_pairs
from ops.storage.schemas import polars_schema
from tests.verifiers.scripted import PlainFormat, ScriptedEngine

TINY = {"kind": "builtin", "recipe": "countdown", "size": "a", "steps": 12, "batch_size": 16}
REFERENCE = {**TINY, "seed": 0}


class Scripted(ScriptedEngine):
    """A scripted engine that a stage can use."""

    def usage(self) -> dict[str, float]:
        return {}


def judged_experiment(judges: list[dict[str, Any]], estimand: str = "win_rate", **changes: Any) -> Experiment:
    """The reference against models ``b`` and ``c``, 6 problems; the mapping ``evaluation`` is merged."""
    evaluation = {
        "estimand": estimand,
        "models": [{"label": name, "model": {**TINY, "seed": seed}} for name, seed in (("b", 1), ("c", 2))],
        "judges": judges,
        "labels": {"source": "gold"},
        **changes.pop("evaluation", {}),
    }
    fields = {
        "name": "judged",
        "hypothesis": "Synthetic judgements are made once.",
        "model": REFERENCE,
        "task": {"name": "countdown"},
        "problems": {"eval": 6},
        "sampling": {"n_eval": 1, "max_tokens": 16},
        "iterations": 0,
        "verifiers": [],
        "evaluation": evaluation,
        "statistics": {"resamples": 200},
    }
    return Experiment.model_validate({**fields, **changes})


def open_lab(home: Path, judges: list[dict[str, Any]], estimand: str = "win_rate", **changes: Any) -> Lab:
    """A lab with problems committed."""
    lab = Lab.open(judged_experiment(judges, estimand, **changes), home=home, run_id="test")
    make_problems(lab)
    return lab


def commit_pairs(lab: Lab, rows: list[tuple[str, str, str | None]]) -> pl.DataFrame:
    """The table ``pairs`` of (model, response, reference's response), the n-th row of a model about problem n."""
    problems = [problem.problem_id for problem in problems_of(lab, 0, "eval")]
    counts: dict[str, int] = {}
    cells = []
    for model, response, reference in rows:
        place = counts[model] = counts.get(model, -1) + 1
        cells.append(
            {
                "pair_id": f"{model}{place}",
                "problem_id": problems[place],
                "category": None,
                "model": model,
                "reference": None if reference is None else "countdown/a",
                "sample_index": 0,
                "response": response,
                "reference_response": reference,
                "response_id": f"r-{model}{place}",
                "reference_response_id": None if reference is None else f"r-ref{place}",
                "is_identical": response == reference,
                "shown_first": "model",
            }
        )
    frame = pl.DataFrame(cells, schema=polars_schema("pairs"))
    lab.materialise("pairs", evaluation_asset("pairs"), None, lambda: frame, lambda frame: {})
    return frame


def script(lab: Lab, engine: Scripted, model: dict[str, Any] = REFERENCE) -> None:
    """Let an engine and prompts of a test speak for the model that judges ask."""
    from ops.plan_parts import model_fingerprint

    wanted = BuiltinModel.model_validate(model)
    lab.engines[model_fingerprint(wanted)] = engine
    lab._formats[wanted] = PlainFormat()


def judged(lab: Lab) -> pl.DataFrame:
    """The table after both ops."""
    judge_pairs(lab)
    commit_judgements(lab)
    return table_of(lab)


def table_of(lab: Lab) -> pl.DataFrame:
    """The committed table."""
    asset = evaluation_asset("synthetic_judgements")
    return lab.store.read("synthetic_judgements", lab.plan.fingerprints[asset])
