"""Studies of exploration whose responses are put into their pools by hand, so that numbers can be computed on paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ops.exploration_bench import ExplorationBench
from ops.exploration_files import load_exploration
from ops.lab import Lab
from ops.stages.evaluation import evaluate_policies
from ops.stages.problems import make_problems
from tests.exploration.pools import eval_problems, put
from tests.studies import changed_copy, commit_rows

TINY: dict[str, Any] = {
    "name": "tiny",
    "hypothesis": "a tiny study of exploration runs through every stage, for tests only",
    "experiment": {
        "problems": {"train_per_iteration": 4, "eval": 3},
        "sampling": {"n_eval": 2, "max_tokens": 16},
        "statistics": {"resamples": 400},
        "exploration": {
            "steps": 2,
            "problems_per_step": 2,
            "responses_per_problem": 2,
            "learning_rate": 1e-3,
            "snapshots": 2,
        },
    },
    "tasks": {
        "countdown": {
            "model": {"kind": "builtin", "recipe": "countdown", "size": "a", "steps": 12, "batch_size": 16},
            "task": {"name": "countdown"},
        }
    },
    "arms": {"vanilla": {}, "ucb": {"exploration": {"bonus": {"name": "ucb", "coefficient": 0.2}}}},
    "seeds": [0, 1],
    "reference": "vanilla",
}
SECOND_TASK = {
    "model": {"kind": "builtin", "recipe": "arithmetic", "size": "a", "steps": 12, "batch_size": 16},
    "task": {"name": "arithmetic", "min_steps": 2, "max_steps": 2, "max_number": 9},
    "sampling": {"max_tokens": 20},
}

Right = Callable[[str, str, int, int], Sequence[int]]
"""Of (task, arm, seed, step), right responses to each evaluation problem; step 0 is asked with the arm ``base``."""

Place = tuple[str, str, int]
"""Task, arm, seed."""


def changed(**changes: Any) -> dict[str, Any]:
    """The tiny study with fields replaced, by dotted name (``arms__ucb__exploration``), or removed."""
    return changed_copy(TINY, changes)


def fabricate(
    path: Path,
    right: Right,
    *,
    without: Sequence[Place] = (),
    unfinished: Sequence[Place] = (),
    dynamics: Mapping[Place, Sequence[Mapping[str, Any]]] | None = None,
) -> ExplorationBench:
    """Put responses of every policy into their pools, commit what experiments say of them, and open the study.

    A right response answers ``r``, wrong ones are all different.

    Args:
        without: nothing is measured of these experiments.
        unfinished: these are measured and have no report.
        dynamics: rows of ``training_dynamics``.
    """
    put_already = set()
    for member in load_exploration(path).members:
        place = (member.task, member.arm, member.seed)
        if place in without:
            continue
        lab = Lab.open(member.experiment)
        make_problems(lab)
        for step, pool in lab.plan.policy_pools.items():
            if pool not in put_already:
                put_already.add(pool)
                counts = right(member.task, member.arm if step else "base", member.seed, step)
                put(lab, step, _drawn(lab, counts))
        evaluate_policies(lab)
        if rows := (dynamics or {}).get(place):
            commit_rows(lab, "training_dynamics", "exploration/training_dynamics", None, [dict(row) for row in rows])
        if place not in unfinished:
            commit_rows(lab, "reports", "report", None, [{"answer": "written by hand"}])
    return ExplorationBench.open(path.stem)


def _drawn(lab: Lab, counts: Sequence[int]) -> tuple[tuple[str, str], ...]:
    n = lab.experiment.sampling.n_eval
    assert len(counts) == len(eval_problems(lab))
    return tuple(("c" * right + "i" * (n - right), "r" * right + "abcdefgh"[: n - right]) for right in counts)


def of_dynamics(metric: str, questions: str, **samplers: tuple[float | None, float | None, float | None]) -> list[dict]:
    """Rows at the last step of the tiny study: value, low and high by sampler."""
    about = {"step": 2, "n_responses": 8, "questions": questions, "metric": metric, "n_problems": 4}
    return [
        {**about, "sampler": sampler, "value": value, "low": low, "high": high}
        for sampler, (value, low, high) in samplers.items()
    ]
