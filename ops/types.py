"""The nouns: everything that flows between the steps of the lab.

Names follow the field: a *problem* gets *n* *responses* (its *group*); a *verifier* gives each
response a *verification* (score and verdict); a *filter* turns scores into weights.
Axis suffixes used in array names: ``_P`` problems, ``_G`` group (samples of one problem), ``_T`` tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["correct", "incorrect", "unparseable"]
Split = Literal["train", "eval"]

CORRECT: Verdict = "correct"
INCORRECT: Verdict = "incorrect"
UNPARSEABLE: Verdict = "unparseable"


@dataclass(frozen=True)
class Problem:
    """One problem of a task.

    Attributes:
        problem_id: unique and stable, made from the problem's content (never its position).
        task: name of the task, a key of ``ops.tasks.TASKS``.
        split: ``train`` or ``eval``; the two are disjoint by ``problem_id``.
        data: what the task needs to pose and grade it (JSON values only).
        answer: the reference answer, or None where correctness is computed from ``data``.
        iteration: the iteration that trains on it (train split), or None (eval split: all of them).
    """

    problem_id: str
    task: str
    split: Split
    data: Mapping[str, Any]
    answer: str | None = None
    iteration: int | None = None


@dataclass(frozen=True)
class Grade:
    """Outcome of grading one response against the ground truth u(x, y) (2412.02674 §2).

    Attributes:
        verdict: under flexible extraction (the last thing that reads as an answer).
        strict_verdict: under strict extraction (the response is exactly in the asked format).
        answer: canonical final answer used for diversity, None where unparseable.
        reason: why it is unparseable or incorrect, for people.
    """

    verdict: Verdict
    strict_verdict: Verdict
    answer: str | None
    reason: str = ""


@dataclass(frozen=True)
class Completion:
    """One sampled continuation of a prompt, as an engine returns it.

    Attributes:
        text: decoded new tokens, without the end-of-sequence token and without the stop string's tail.
        n_tokens: new tokens drawn (the end-of-sequence or stop token included).
        logprob: sum of the natural-log probabilities of the drawn tokens under the sampling
            distribution's model at temperature 1 (no top-p renormalisation); NaN where a server does not give it.
        finish_reason: ``stop`` (stop string or end of sequence) or ``length``.
        token_ids: the ``n_tokens`` drawn tokens, where ``SamplingSettings.with_tokens`` asked for them, else empty.
    """

    text: str
    n_tokens: int
    logprob: float
    finish_reason: Literal["stop", "length"]
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Verification:
    """What one verifier says of one response.

    Attributes:
        score: s_g(x, y); None where the verdict could not be parsed (never 0).
        verdict: the verifier's own claim.
        transcript: what the verifier wrote, or '' for verifiers that write nothing.
        n_tokens: new tokens the verifier drew.
    """

    score: float | None
    verdict: Verdict
    transcript: str = ""
    n_tokens: int = 0


@dataclass(frozen=True)
class TrainingExample:
    """One fine-tuning example; the loss falls on ``completion`` only."""

    problem_id: str
    sample_index: int
    prompt: str
    completion: str
    weight: float = 1.0


@dataclass(frozen=True)
class Interval:
    """A point estimate with its bootstrap interval over problems."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class StageResult:
    """What a stage reports when its output is committed.

    Attributes:
        asset: e.g. ``problems`` or ``iteration_2/gap_metrics``.
        fingerprint: identity of the output, also its Dagster data version.
        reused: True when the output already existed.
        n_rows: rows of the output table (1 for a model).
        seconds: wall time of the stage.
        metadata: numbers and short texts that a person wants to see.
    """

    asset: str
    experiment: str
    fingerprint: str
    reused: bool
    n_rows: int
    seconds: float
    metadata: Mapping[str, Any] = field(default_factory=dict)
