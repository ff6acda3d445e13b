"""A folder as a user has it, with recorded responses and judgements, and a labeller who is always right."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ops.experiment_files import load_experiment
from ops.lab import Lab
from ops.stages.pairs import commit_pairs
from ops.stages.problems import make_problems
from ops.stages.synthetic_judgements import commit_judgements, judge_pairs
from tests.evaluation.evaluated import write_rows

NAME = "win-rates"
MODELS = ("one", "two")


def write_workspace(folder: Path, prompts: int, *, ties: int = 0, **evaluation: Any) -> Path:
    """``experiments/win-rates.yaml`` with what it names; returns the file.

    Sums of two numbers, the first ``ties`` of which model one answers in the reference's words. Model one is right
    where the number of the sum is even, two where it is divisible by 3, the reference by 4. The judge thinks well of
    even ones.
    """
    (folder / "experiments").mkdir(parents=True, exist_ok=True)
    rows, responses, judged = [], [], []
    for i in range(prompts):
        rows.append({"problem_id": f"p{i:03}", "problem": f"{i} + 1?", "answer": str(i + 1), "category": "ab"[i % 2]})
        for label, divisor in (("base", 4), ("one", 2), ("two", 3)):
            right = i % divisor == 0
            text = (
                f"={label} says\n#### {i + 1 if right else -i}"
                if label != "one" or i >= ties
                else responses[-1]["response"]
            )
            responses.append({"problem_id": f"p{i:03}", "model": label, "response": text})
        judged += [{"problem_id": f"p{i:03}", "model": label, "score": 0.9 - 0.5 * (i % 2)} for label in MODELS]
    write_rows(folder / "prompts.jsonl", rows)
    write_rows(folder / "responses.jsonl", responses)
    write_rows(folder / "judge.jsonl", judged)
    fields = {
        "name": NAME,
        "hypothesis": "Model one is better than the reference.",
        "model": {"kind": "recorded", "label": "base"},
        "task": {"name": "jsonl", "grader": "numeric"},
        "problems": {"eval": prompts, "eval_file": "../prompts.jsonl"},
        "statistics": {"resamples": 200},
        "evaluation": {
            "models": [{"label": label} for label in MODELS],
            "responses": "../responses.jsonl",
            "judges": [{"name": "recorded", "path": "../judge.jsonl"}],
            **evaluation,
        },
    }
    path = folder / "experiments" / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


def open_lab(folder: Path) -> Lab:
    """The experiment of the folder as it is now, in a home in the folder."""
    return Lab.open(load_experiment(folder / "experiments" / f"{NAME}.yaml"), home=folder / "home")


def paired_lab(folder: Path, prompts: int, **options: Any) -> Lab:
    """Its lab with pairs and judgements."""
    write_workspace(folder, prompts, **options)
    lab = open_lab(folder)
    make_problems(lab)
    commit_pairs(lab)
    judge_pairs(lab)
    commit_judgements(lab)
    return lab


def fill(path: Path, answer: Callable[[dict[str, str]], str | None], annotator: str = "") -> int:
    """Fill in a template as a person would; ``answer`` gives the label of a row, None to leave it empty."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row.update(label=answer(row) or "", annotator=annotator)
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        write_rows(path, rows)
    return len(rows)


def prefers_the_model(row: dict[str, str]) -> str:
    """Whoever labels so says 1 for the model, wherever its response is shown."""
    return "b" if "base says" in row["response_a"] else "a"
