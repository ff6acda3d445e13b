"""An experiment with ``evaluation`` whose tables are filled by hand: no model is needed.

::

    problem   p0   p1   p2   p3   p4   p5   p6   p7
    label      1    1    0    0    -    -    -    -
    judge x    1   .5   .5    0    1    1    1    0
    judge y   .5    1    0   .5    1    0    1    1

One pair for each problem, N = 8, n = 4. Judge x: mean_n(z) = mean_n(zh) = .5, mean_N(zh) = 5/8; deviations of z are
+.5 +.5 -.5 -.5, those of zh +.5 0 0 -.5, so Cov/Var = .5 / .5 = 1 and rho^2 = .5^2 / (1 * .5) = .5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ops.lab import Lab
from ops.plan import evaluation_asset
from ops.storage.store import Provenance
from ops.types import StageResult
from tests.evaluation.evaluated import write_rows, written
from tests.studies import commit_rows

HOW = Provenance("run-abcdef12", "1", 1.5, False, {}, 7)
LABELS = (1.0, 1.0, 0.0, 0.0, None, None, None, None)
X = (1.0, 0.5, 0.5, 0.0, 1.0, 1.0, 1.0, 0.0)
Y = (0.5, 1.0, 0.0, 0.5, 1.0, 0.0, 1.0, 1.0)


def judge(folder: Path, label: str) -> dict[str, Any]:
    """A recorded judge; what its file holds is not read where the table is filled by hand."""
    path = write_rows(folder / f"{label}.jsonl", [{"problem_id": "p0", "model": "m", "score": 1.0}])
    return {"name": "recorded", "path": str(path), "label": label}


def opened(folder: Path, judges: tuple[str, ...] = ("x",), models: tuple[str, ...] = ("m",), **evaluation: Any) -> Lab:
    """A lab on 8 prompts with recorded responses of the reference and of ``models``."""
    folder.mkdir(exist_ok=True)
    settings = {"judges": [judge(folder, name) for name in judges], **evaluation}
    experiment = written(folder, 8, ("ref", *models), name="rates", evaluation=settings)
    return Lab.open(experiment, home=folder / "home", run_id="run-abcdef12")


def commit(lab: Lab, table: str, asset: str, rows: list[dict[str, Any]]) -> StageResult:
    name = evaluation_asset(asset)
    commit_rows(lab, table, name, None, rows, HOW)
    return StageResult(name, lab.experiment.name, lab.plan.fingerprints[name], False, len(rows), 1.0)


def put_pairs(lab: Lab, models: tuple[str, ...] = ("m",), reference: str | None = "ref", **more: Any) -> None:
    """One pair of every model for each of 8 problems; their categories are a and b in turn."""
    rows = [
        {
            "pair_id": f"{model}{i}",
            "problem_id": f"p{i}",
            "category": "ab"[i % 2],
            "model": model,
            "reference": reference,
            "sample_index": 0,
            "response": f"{model} wrote to {i}",
            "is_identical": False,
            **more,
        }
        for model in models
        for i in range(8)
    ]
    commit(lab, "pairs", "pairs", rows)


def put_judgements(lab: Lab, scores: dict[str, tuple[float | None, ...]], models: tuple[str, ...] = ("m",)) -> None:
    """Scores of every judge, the same of all models."""
    rows = [
        {"pair_id": f"{model}{i}", "model": model, "judge": name, "score": score}
        for name, of in scores.items()
        for model in models
        for i, score in enumerate(of)
    ]
    commit(lab, "synthetic_judgements", "synthetic_judgements", rows)


def put_labels(
    lab: Lab, labels: tuple[float | None, ...] = LABELS, models: tuple[str, ...] = ("m",), **more: Any
) -> None:
    """One annotator's labels, None where there is none; in wave 0 unless ``more`` says otherwise."""
    rows = [
        {"pair_id": f"{model}{i}", "model": model, "annotator": "ann", "label": label, "wave": 0, **more}
        for model in models
        for i, label in enumerate(labels)
        if label is not None
    ]
    commit(lab, "human_labels", "human_labels", rows)


def filled(folder: Path, **evaluation: Any) -> Lab:
    """The table above with judge x."""
    lab = opened(folder, **evaluation)
    put_pairs(lab), put_judgements(lab, {"x": X}), put_labels(lab)
    return lab
