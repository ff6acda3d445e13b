"""Studies of arms whose responses and scores are written by hand, so that their numbers can be computed on paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from ops.arms_files import load_arms
from ops.arms_plan import ArmsBench
from ops.lab import Lab
from ops.stages.problems import make_problems
from tests.studies import commit_rows


class Response(NamedTuple):
    """One response: whether it is right, what it answers, and whether the logit check accepts it."""

    is_correct: bool
    accepted: bool
    answer: str = ""
    is_strict: bool | None = None


Responses = Callable[[str, int, int, int], Sequence[Response]]
"""Of (arm, seed, iteration, place of the evaluation problem)."""


def fabricate(
    path: Path,
    responses: Responses,
    *,
    reached: Mapping[tuple[str, int], int] | None = None,
    stops: Mapping[tuple[str, int], int] | None = None,
    kl: Callable[[str, int, int], float] | None = None,
) -> ArmsBench:
    """Commit hand-written tables for every experiment of the file, and open the study.

    Args:
        reached: (arm, seed) -> the last iteration that is there; such an experiment has not run to its end.
        stops: (arm, seed) -> the iteration after which the rule gap_closed, which ``stop`` lists, has ended it.
        kl: of (arm, seed, iteration), committed as a row of ``policy_shift``.
    """
    for member in load_arms(path).members:
        lab = Lab.open(member.experiment)
        make_problems(lab)
        key = (member.arm, member.seed)
        stop = (stops or {}).get(key)
        last = (reached or {}).get(key, member.experiment.iterations if stop is None else stop)
        for k in range(last + 1):
            rows = _generations(lab, partial(responses, *key, k))
            commit_rows(lab, "generations", "generations", k, rows)
            commit_rows(lab, "verification_scores", "verification_scores", k, _scores(lab, rows))
            if kl is not None:
                value = kl(member.arm, member.seed, k)
                row = {"split": "eval", "metric": "kl_to_base_nats", "value": value, "low": value, "high": value}
                commit_rows(lab, "policy_shift", "policy_shift", k, [row])
            if member.experiment.stop:
                rule = {"rule": "gap_closed", "stops": True, "fires": k == stop, "sentence": "The gap is closed."}
                commit_rows(lab, "stopping_rules", "stopping_rules", k, [rule])
        if key not in (reached or {}):
            commit_rows(lab, "reports", "report", None, [{"answer": "written by hand"}])
    return ArmsBench.open(path.stem)


def _generations(lab: Lab, responses: Callable[[int], Sequence[Response]]) -> list[dict[str, Any]]:
    problems = lab.store.read("problems", lab.plan.fingerprints["problems"])
    rows = []
    for place, problem_id in enumerate(sorted(problems.filter(pl.col("split") == "eval")["problem_id"])):
        for sample, item in enumerate(responses(place)):
            is_strict = item.is_correct if item.is_strict is None else item.is_strict
            rows.append(
                {
                    "split": "eval",
                    "problem_id": problem_id,
                    "sample_index": sample,
                    "response": f"answer {item.answer}",
                    "answer": item.answer or ("right" if item.is_correct else "wrong"),
                    "verdict": "correct" if item.is_correct else "incorrect",
                    "strict_verdict": "correct" if is_strict else "incorrect",
                    "n_tokens": 3,
                    "response_id": f"{place}-{sample}",
                    "recorded_scores": "1" if item.accepted else "-1",
                }
            )
    return rows


def _scores(lab: Lab, generations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every check says what the response's hand-written acceptance says."""
    rows = []
    for verifier in lab.experiment.verifiers:
        for row in generations:
            score = float(row["recorded_scores"])
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
