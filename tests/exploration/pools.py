"""An experiment with exploration whose evaluation responses are put into their pools by hand: no model is needed.

::

    problem   step 0            step 2            step 4
              truth   answers   truth   answers   truth   answers
    A         c c i i x x y y   c c c i x x x y   c c c c x x x x
    B         i i i i s t u v   c i i i w t u v   i i i i s s s s
    C         i c i u y x z -   i c c u y x x -   i i i i y y y y

A, B, C are the evaluation problems in the order of their ids. After 2 steps every problem has exactly one more right
response; after 4 the policy has collapsed to one answer for each problem.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from ops.config import Experiment
from ops.identity import response_id
from ops.lab import Lab
from ops.stages.drawing import SAMPLE_SCHEMA, source_pool
from ops.stages.evaluation import policy_source
from ops.stages.grading import grader_identity
from ops.stages.problems import make_problems, problems_of
from ops.types import Problem

VERDICT = {"c": "correct", "i": "incorrect", "u": "unparseable"}
DRAWN = {
    0: (("ccii", "xxyy"), ("iiii", "stuv"), ("iciu", "yxz-")),
    2: (("ccci", "xxxy"), ("ciii", "wtuv"), ("iccu", "yxx-")),
    4: (("cccc", "xxxx"), ("iiii", "ssss"), ("iiii", "yyyy")),
}
NASTY = "<script>alert('x')</script> & \"quoted\""


def explored(name: str = "explored", **changes: Any) -> Experiment:
    """An experiment of 4 steps with snapshots after 2 and 4; ``exploration`` in ``changes`` adds to its settings."""
    exploration = {"steps": 4, "problems_per_step": 2, "responses_per_problem": 4, "learning_rate": 1e-4}
    exploration |= {"snapshots": 2, **changes.pop("exploration", {})}
    fields = {
        "name": name,
        "hypothesis": "Training on outcomes raises pass@1 and lowers pass@4.",
        "model": {"kind": "builtin", "recipe": "countdown", "size": "a", "steps": 12, "batch_size": 16, "seed": 0},
        "task": {"name": "countdown"},
        "problems": {"train_per_iteration": 6, "eval": 3},
        "sampling": {"n_eval": 4, "max_tokens": 16},
        "statistics": {"resamples": 400},
        "exploration": exploration,
    }
    return Experiment.model_validate({**fields, **changes})


def opened(home: Any, **changes: Any) -> Lab:
    """A lab with the experiment and its problems."""
    lab = Lab.open(explored(**changes), home=home, run_id="run-abcdef12")
    make_problems(lab)
    return lab


def eval_problems(lab: Lab) -> list[Problem]:
    """By id, as statistics sort them."""
    return sorted(problems_of(lab, 0, "eval"), key=lambda p: p.problem_id)


def put(lab: Lab, step: int, drawn: tuple[tuple[str, str], ...] | None = None) -> None:
    """Graded responses of one model into its pool; response j has 2 (j + 1) tokens."""
    rows = []
    for problem, (verdicts, answers) in zip(eval_problems(lab), drawn or DRAWN[step], strict=True):
        for j, (verdict, answer) in enumerate(zip(verdicts, answers, strict=True)):
            rows.append(_row(lab, step, problem, j, VERDICT[verdict], None if answer == "-" else answer))
    source_pool(lab, policy_source(lab, step)).append(pl.DataFrame(rows, schema=SAMPLE_SCHEMA))


def _row(lab: Lab, step: int, problem: Problem, j: int, verdict: str, answer: str | None) -> dict[str, Any]:
    prompt = lab.prompt_format().solve(problem)
    return {
        "response_id": response_id(lab.plan.policy_pools[step], prompt, j),
        "prompt": prompt,
        "sample_index": j,
        "response": f"{NASTY} {step}.{j}",
        "n_tokens": 2 * (j + 1),
        "logprob": -1.0,
        "finish_reason": "stop",
        "seed": j,
        "engine": "made up",
        "engine_version": "1",
        "answer": answer,
        "verdict": verdict,
        "strict_verdict": verdict if j else "incorrect",  # the first response is never in the asked format
        "reason": "" if verdict == "correct" else "wrong sum",
        "grader": grader_identity(lab.experiment),
        "graded_problem": problem.problem_id,
    }
