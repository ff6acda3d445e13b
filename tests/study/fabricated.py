"""A study whose responses and scores are written by hand, so that its numbers can be computed on paper.

Three models (log10 FLOPs 10, 11, 12), two evaluation problems with one right and one wrong response each. As a verifier
the small model accepts all, the middle one sees the wrong response of the first problem only, the large one both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from ops.lab import Lab
from ops.stages.problems import make_problems
from ops.study_files import load_study
from ops.study_plan import StudyBench
from tests.studies import commit_rows
from tests.study.run import MEASURES

MODELS = {"small": 1e10, "middle": 1e11, "large": 1e12}
SEES = {"small": (), "middle": (0,), "large": (0, 1)}
"""Problems whose wrong response a model rejects when it verifies."""
CHANGES: dict[str, Any] = {
    "models": {
        label: {"kind": "builtin", "size": size, "steps": 12}
        for label, size in zip(MODELS, ("a", "xxs", "xs"), strict=True)
    },
    "verifiers": [
        {"name": "logit"},
        {"name": "score_cot"},
        {"name": "ensemble", "label": "both", "how": "and", "of": ["logit", "score_cot"]},
    ],
    "problems": {"eval": 2, "train_per_iteration": 2},
    "sampling": {"n_eval": 2, "n_train": 2},
}


def fabricate(path: Path, **about: Any) -> StudyBench:
    """Commit hand-written tables for every experiment of the study file, measure them, and open the study."""
    for member in load_study(path).members:
        lab = Lab.open(member.experiment)
        make_problems(lab)
        numbers = {"n_parameters": 1000, "train_flops": MODELS[member.model]}
        commit_rows(lab, "models", "base_model", None, [{"role": "base", "model": member.model, **numbers}])
        generations = _generations(lab)
        commit_rows(lab, "generations", "generations", 0, generations)
        commit_rows(lab, "verification_scores", "verification_scores", 0, _scores(lab, member, generations, **about))
        for measure in MEASURES:
            measure(lab, 0)
    return StudyBench.open(path.stem)


def _generations(lab: Lab) -> list[dict[str, Any]]:
    problems = lab.store.read("problems", lab.plan.fingerprints["problems"])
    rows = []
    for split in ("eval", "train"):
        ids = sorted(problems.filter(pl.col("split") == split)["problem_id"])
        for place, problem_id in enumerate(ids):
            for sample in (0, 1):
                verdict = "correct" if sample == 0 else "incorrect"
                rows.append(
                    {
                        "split": split,
                        "problem_id": problem_id,
                        "sample_index": sample,
                        "response": f"{place}",
                        "answer": verdict,
                        "verdict": verdict,
                        "strict_verdict": verdict,
                        "response_id": f"{split}{place}{sample}",
                    }
                )
    return rows


def _scores(lab: Lab, member: Any, generations: list[dict[str, Any]], and_score: float = 1.0) -> list[dict[str, Any]]:
    rows = []
    for verifier in lab.experiment.verifiers:
        asked = member.crossed.get(verifier.called, (verifier.called, member.model))[1]
        low, high = {"logit": (-1.0, 1.0), "score_cot": (0.0, 10.0), "ensemble": (0.0, and_score)}[verifier.name]
        for row in generations:
            is_seen = row["verdict"] == "incorrect" and int(row["response"]) in SEES[asked]
            score = low if is_seen else high
            rows.append(
                {
                    **{name: row[name] for name in ("split", "problem_id", "sample_index", "response_id")},
                    "verifier": verifier.called,
                    "mechanism": verifier.name,
                    "score": score,
                    "verdict": verifier.verdict_of(score),
                    "n_tokens": 0,
                }
            )
    return rows
