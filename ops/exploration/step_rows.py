"""What a step of exploration leaves behind: rows of ``rollouts``, and its row of ``policy_steps``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from ops.exploration.drawn import Drawn
from ops.exploration.objective import ObjectiveNumbers
from ops.storage.schemas import polars_schema
from ops.types import UNPARSEABLE


def rollout_rows(
    step: int, drawn: Drawn, entropy_B: np.ndarray, uses_counts: bool, engine: str, engine_version: str
) -> pl.DataFrame:
    """Rows of ``rollouts``: the responses that the policy drew after ``step`` steps.

    Args:
        entropy_B: mean token entropy of each response, nats.
        uses_counts: whether the bonus read N(x, a).
    """
    n = drawn.worths[0].group.n
    groups = [worth.group for worth in drawn.worths]
    columns: dict[str, Any] = {
        "step": [step] * len(drawn.completions),
        "problem_id": [problem.problem_id for problem in drawn.problems],
        "sample_index": [i % n for i in range(len(drawn.completions))],
        "response": [one.text for one in drawn.completions],
        "answer": [grade.answer for grade in drawn.grades],
        "verdict": [grade.verdict for grade in drawn.grades],
        "finish_reason": [one.finish_reason for one in drawn.completions],
        "n_tokens": [one.n_tokens for one in drawn.completions],
        "logprob": [one.logprob for one in drawn.completions],
        "entropy_nats": entropy_B.tolist(),
        "seen": np.concatenate([group.seen_N for group in groups]).tolist() if uses_counts else None,
        "reward": np.concatenate([worth.reward_N for worth in drawn.worths]).tolist(),
        "advantage": np.concatenate([worth.advantage_N for worth in drawn.worths]).tolist(),
        "bonus": np.concatenate([worth.bonus_N for worth in drawn.worths]).tolist(),
        "bonus_tokens": drawn.bonus_tokens,
        "seed": drawn.seeds,
        "engine": [engine] * len(drawn.completions),
        "engine_version": [engine_version] * len(drawn.completions),
    }
    if not uses_counts:
        columns["seen"] = [None] * len(drawn.completions)
    return pl.DataFrame(columns, schema=polars_schema("rollouts"))


def step_row(done: int, drawn: Drawn, numbers: Sequence[ObjectiveNumbers]) -> dict[str, Any]:
    """What ``policy_steps`` says of the responses and of the objective, after ``done`` steps."""
    correct_GN = np.stack([worth.group.correct_N for worth in drawn.worths])
    distinct = [len({answer for answer in worth.group.answers if answer is not None}) for worth in drawn.worths]

    def mean(values: Sequence[float]) -> float | None:
        known = [value for value in values if not math.isnan(value)]
        return float(np.mean(known)) if known else None

    return {
        "step": done,
        "loss": mean([one.loss for one in numbers]),
        "kl_to_base_nats": mean([one.kl_nats for one in numbers]),
        "entropy_nats": mean([one.entropy_nats for one in numbers]),
        "clip_fraction": mean([one.clip_fraction for one in numbers]),
        "accuracy": float(correct_GN.mean()),
        "mean_reward": float(np.mean([worth.reward_N.mean() for worth in drawn.worths])),
        "mean_bonus": float(np.mean([worth.bonus_N.mean() for worth in drawn.worths])),
        "unparseable_fraction": float(np.mean([grade.verdict == UNPARSEABLE for grade in drawn.grades])),
        "distinct_answers_per_group": float(np.mean(distinct)),
        "all_correct_fraction": float(correct_GN.all(axis=1).mean()),
        "all_wrong_fraction": float((~correct_GN.any(axis=1)).mean()),
        "response_tokens": float(np.mean([one.n_tokens for one in drawn.completions])),
    }
