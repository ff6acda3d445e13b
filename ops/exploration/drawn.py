"""The responses of one step, and what each of their tokens weighs in the gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ops.exploration.answer_mask import answer_mask
from ops.exploration.objective import PolicySample
from ops.exploration.worth import Worth
from ops.types import Completion, Grade, Problem

AnswerSpan = Callable[[Problem, str], tuple[int, int] | None]
"""(problem, response) -> characters of its final answer, first and behind the last; None where there is none."""


@dataclass
class Drawn:
    """The B responses of one step, flat: ``n`` of the first problem, ``n`` of the second ...

    Attributes:
        worths: of each group.
        samples: what the objective reads of each response.
        bonus_tokens: of each response, how many tokens carry its bonus.
        entropy_B: mean token entropy of each under the policy that drew it, nats; None where nobody has read it yet.
        engine_difference: mean distance of the log-probabilities of an engine with a copy of the weights from the
            model's own, nats per token of the first group; None where the model itself draws.
    """

    problems: list[Problem]
    completions: list[Completion]
    grades: list[Grade]
    seeds: list[int]
    worths: list[Worth]
    samples: list[PolicySample] = field(default_factory=list)
    bonus_tokens: list[int] = field(default_factory=list)
    entropy_B: np.ndarray | None = None
    engine_difference: float | None = None


def token_weights(
    tokenizer: Any, problem: Problem, completion: Completion, advantage: float, bonus: float, span_of: AnswerSpan | None
) -> tuple[np.ndarray, int]:
    """A_i + c b_i for each token of a response, and A_i alone for those of its final answer (2509.06941).

    Args:
        bonus: c b_i.
        span_of: None: the bonus is on every token.

    Returns:
        float64 [T], and how many tokens carry the bonus (0 where it is 0).
    """
    carries_T = np.ones(len(completion.token_ids), dtype=bool)
    if span_of is not None and bonus != 0.0 and (span := span_of(problem, completion.text)) is not None:
        carries_T = ~answer_mask(tokenizer, completion.token_ids, completion.text, span)
    return advantage + np.where(carries_T, bonus, 0.0), int(carries_T.sum()) if bonus != 0.0 else 0
