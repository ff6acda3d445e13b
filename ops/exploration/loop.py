"""The training loop of exploration: draw, grade, weigh, update; checkpoints that resume to the bit on a CPU.

Our own, not TRL's (docs/decisions/0018): its checkpoints are pickles, it draws by itself, and it knows neither seeds of
single responses nor counts of answers. The objective is held to TRL's in a test. Departures from the paper
(2509.06941), whose code is not public, are listed in ``ops.exploration.objective``; those of the loop are:

- problems are drawn in seeded epochs, without those that do not fill a whole step;
- a response cut at ``max_tokens`` is graded like any other and trained on, without an end token;
- where an engine of its own draws (vLLM), its probabilities differ from the trained model's by rounding; the ratio of
  probabilities is taken between versions of the trained model, and that difference is not corrected;
- what a whole group adds is 0 where all its rewards are equal and it has no bonus; such groups stay in the averages.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ops.engines.base import PolicyEngine, SampleRequest, SamplingSettings
from ops.errors import ModelError
from ops.exploration.answer_mask import answer_mask
from ops.exploration.counts import AnswerCounts
from ops.exploration.objective import ObjectiveNumbers, PolicySample, policy_backward, token_logprobs
from ops.exploration.rollout_files import keep_until, write_steps
from ops.exploration.schedule import mini_batches_of, problems_of_step, rollout_seeds
from ops.exploration.settings import Exploration
from ops.exploration.step_rows import rollout_rows, step_row
from ops.exploration.worth import Worth, worth_of
from ops.progress import Progress
from ops.training.checkpoint import (
    RNG,
    load_checkpoint,
    load_part,
    random_states,
    restore_random_states,
    save_checkpoint,
)
from ops.training.loss import check_precision
from ops.training.pretrained import without_dropout
from ops.training.saves import Saves
from ops.training.schedule import learning_rate_at
from ops.types import Completion, Grade, Problem


@dataclass(frozen=True)
class World:
    """What the policy meets.

    Attributes:
        problems: training problems.
        prompts: their complete texts.
        sampling: with ``with_tokens``.
        grade: of (problem, response, finished), in their order.
        answer_span: characters of a response's final answer, whose tokens carry no bonus; None: all tokens carry it.
    """

    problems: Sequence[Problem]
    prompts: Sequence[str]
    sampling: SamplingSettings
    grade: Callable[[Sequence[tuple[Problem, str, bool]]], Sequence[Grade]]
    answer_span: Callable[[Problem, str], tuple[int, int] | None] | None


@dataclass(frozen=True)
class Trained:
    """What training came to.

    Attributes:
        rows: of the table ``policy_steps``.
        tokens: trained on, prompts included, each pass counted.
        forward_tokens: read or drawn without a gradient.
        responses: drawn.
    """

    rows: list[dict[str, Any]]
    tokens: int
    forward_tokens: int
    responses: int


@dataclass(frozen=True)
class Drawn:
    """The responses of one step, flat: ``n`` of the first problem, ``n`` of the second ..."""

    problems: list[Problem]
    completions: list[Completion]
    grades: list[Grade]
    seeds: list[int]
    worths: list[Worth]
    samples: list[PolicySample]
    bonus_tokens: list[int]


def train_on(
    model: Any,
    tokenizer: Any,
    engine: PolicyEngine,
    base: Any | None,
    world: World,
    settings: Exploration,
    *,
    pad_id: int,
    work: Path,
    progress: Progress,
    live: Callable[[int, Mapping[str, float]], None],
    snapshot: Callable[[int, Trained], None],
    label: str,
) -> Trained:
    """Train ``model`` in place; checkpoints and drawn responses go to ``work`` and are resumed from there.

    Args:
        engine: draws from ``model``.
        base: the model that the KL divergence is taken to; None where ``kl_coefficient`` is 0.
        live: is told the numbers of every step.
        snapshot: called with (steps done, ``Trained`` so far) after each of ``settings.snapshot_steps``, the weights
            being those of that step, and again where a run resumes there; all responses up to it are in ``work``.

    Raises:
        ModelError: when the loss or the gradient is no longer finite, or the device does not fit the settings.
        StorageError: when ``work`` lacks responses of steps that its checkpoint has done.
    """
    check_precision(model.device.type, settings.precision)
    with without_dropout(model):
        if settings.activation_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        run = _Run(model, tokenizer, engine, base, world, settings, pad_id, work, progress, live, snapshot, label)
        result = run.to_the_end()
        if settings.activation_checkpointing:
            model.gradient_checkpointing_disable()
        return result


class _Run:
    """One training from its last checkpoint on."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        engine: PolicyEngine,
        base: Any | None,
        world: World,
        settings: Exploration,
        pad_id: int,
        work: Path,
        progress: Progress,
        live: Callable[[int, Mapping[str, float]], None],
        snapshot: Callable[[int, Trained], None],
        label: str,
    ) -> None:
        import torch

        self.model, self.tokenizer, self.engine, self.base = model, tokenizer, engine, base
        self.world, self.settings, self.pad_id, self.work = world, settings, pad_id, work
        self.progress, self.live, self.snapshot, self.label = progress, live, snapshot, label
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        prompts = tokenizer(list(world.prompts), add_special_tokens=False)["input_ids"]
        self.prompt_ids = {problem.problem_id: ids for problem, ids in zip(world.problems, prompts, strict=True)}
        self.counts, self.rows = AnswerCounts(), list[dict[str, Any]]()
        self.tokens = self.forward_tokens = self.responses = 0
        self.waiting: list[pl.DataFrame] = []  # rows of `rollouts` since the last save
        self.first = self._restored()
        self.saved = self.first

    def _restored(self) -> int:
        """The step to go on from; state of the last checkpoint, or of the beginning."""
        restored = load_checkpoint(self.work, self.model, {"adamw": self.optimizer})
        if restored is None:
            keep_until(self.work, 0)
            return 0
        step, extra = restored
        keep_until(self.work, step)
        restore_random_states(load_part(self.work, RNG))
        self.counts, self.rows = AnswerCounts.from_json(extra["counts"]), extra["rows"]
        self.tokens, self.forward_tokens, self.responses = (extra[name] for name in TOTALS)
        return step

    def to_the_end(self) -> Trained:
        """Every step that is left."""
        settings, saves = self.settings, Saves(self.first)
        kept = set(settings.snapshot_steps)
        if self.first in kept:  # killed between its checkpoint and its snapshot, perhaps
            self.snapshot(self.first, self._trained())
        for step in range(self.first, settings.steps):
            start = time.monotonic()
            if step > 0:
                self.engine.update(self.model)
            drawn = self._draw(step)
            numbers, entropy_B, rate, norm = self._update(step, drawn)
            self._note(step, drawn, numbers, entropy_B, rate, norm, time.monotonic() - start)
            done = step + 1
            if done in kept or (done < settings.steps and saves.due(done)):
                saves.save(done, partial(self._save, done))
            if done in kept:
                self.snapshot(done, self._trained())
        return self._trained()

    def _draw(self, step: int) -> Drawn:
        """The step's responses, graded and weighed."""
        settings, world = self.settings, self.world
        indices = problems_of_step(step, settings.problems_per_step, len(world.problems), settings.seed)
        asked = [world.problems[index] for index in indices]
        n = settings.responses_per_problem
        requests = [
            SampleRequest(world.prompts[index], rollout_seeds(settings.seed, step, problem.problem_id, n))
            for index, problem in zip(indices, asked, strict=True)
        ]
        found: list[Completion | None] = [None] * (n * len(requests))
        for finished in self.engine.engine.sample(requests, world.sampling):
            for request, place, completion in finished:
                found[request * n + place] = completion
        completions = [completion for completion in found if completion is not None]
        if len(completions) != len(found):
            raise RuntimeError(f"the engine drew {len(completions)} of {len(found)} responses")
        problems = [problem for problem in asked for _ in range(n)]
        items = [(p, one.text, one.finish_reason == "stop") for p, one in zip(problems, completions, strict=True)]
        grades = list(world.grade(items))
        groups = [slice(start, start + n) for start in range(0, len(found), n)]
        worths = [
            worth_of(problem.problem_id, completions[group], grades[group], settings, self.counts)
            for problem, group in zip(asked, groups, strict=True)
        ]
        seeds = [seed for request in requests for seed in request.seeds]
        self.forward_tokens += sum(one.n_tokens for one in completions)
        return self._with_samples(Drawn(problems, completions, grades, seeds, worths, [], []))

    def _with_samples(self, drawn: Drawn) -> Drawn:
        """What the objective reads of each response."""
        weight, span_of = self.settings.bonus.weight, self.world.answer_span
        advantage_B = np.concatenate([worth.advantage_N for worth in drawn.worths])
        bonus_B = weight * np.concatenate([worth.bonus_N for worth in drawn.worths])
        samples = []
        for i, (problem, one) in enumerate(zip(drawn.problems, drawn.completions, strict=True)):
            carries_T = np.ones(len(one.token_ids), dtype=bool)
            if span_of is not None and bonus_B[i] != 0.0 and (span := span_of(problem, one.text)) is not None:
                carries_T = ~answer_mask(self.tokenizer, one.token_ids, one.text, span)
            drawn.bonus_tokens.append(int(carries_T.sum()) if bonus_B[i] != 0.0 else 0)
            weight_T = advantage_B[i] + np.where(carries_T, bonus_B[i], 0.0)
            samples.append(PolicySample(self.prompt_ids[problem.problem_id], one.token_ids, weight_T, None, None))
        return Drawn(**{**vars(drawn), "samples": self._with_logprobs(samples)})

    def _with_logprobs(self, samples: list[PolicySample]) -> list[PolicySample]:
        """With log-probabilities under the base model, and under the policy as it is now where it will change."""
        settings = self.settings
        olds: Sequence[np.ndarray | None] = [None] * len(samples)
        bases: Sequence[np.ndarray | None] = [None] * len(samples)
        if settings.mini_batches * settings.passes > 1:
            olds = self._logprobs(self.model, samples)
        if self.base is not None:
            bases = self._logprobs(self.base, samples)
        return [
            PolicySample(sample.prompt_ids, sample.response_ids, sample.weight_T, old, base)
            for sample, old, base in zip(samples, olds, bases, strict=True)
        ]

    def _logprobs(self, model: Any, samples: list[PolicySample]) -> Sequence[np.ndarray]:
        found, _ = token_logprobs(
            model,
            samples,
            temperature=self.world.sampling.temperature,
            pad_id=self.pad_id,
            precision=self.settings.precision,
            tokens_per_micro_batch=self.settings.tokens_per_micro_batch,
        )
        self.forward_tokens += sum(len(sample.prompt_ids) + len(sample.response_ids) for sample in samples)
        return found

    def _update(self, step: int, drawn: Drawn) -> tuple[list[ObjectiveNumbers], np.ndarray, float, float]:
        """All optimiser steps on one step's responses.

        Returns:
            numbers of each, the responses' mean token entropies [B] in the first pass, the last learning rate, the mean
            norm of the gradients.
        """
        import torch

        settings, samples = self.settings, drawn.samples
        numbers, norms = list[ObjectiveNumbers](), list[float]()
        entropy_B, rate = np.full(len(samples), math.nan), 0.0
        self.model.train()
        for one_pass in range(settings.passes):
            for chosen in mini_batches_of(len(samples), settings.mini_batches, settings.seed, step, one_pass):
                rate = learning_rate_at(
                    step * settings.mini_batches * settings.passes + len(numbers), settings.optimizer_steps, settings
                )
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
                self.optimizer.zero_grad(set_to_none=True)
                found = policy_backward(
                    self.model,
                    [samples[i] for i in chosen],
                    settings,
                    temperature=self.world.sampling.temperature,
                    max_tokens=self.world.sampling.max_tokens,
                    pad_id=self.pad_id,
                    tokens_per_micro_batch=settings.tokens_per_micro_batch,
                )
                self._check_finite("loss", found.loss, step)
                norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, settings.clip_norm))
                self._check_finite("norm of the gradient", norm, step)
                self.optimizer.step()
                if one_pass == 0:
                    entropy_B[chosen] = found.entropy_B
                self.tokens += found.tokens
                numbers.append(found)
                norms.append(norm)
        self.optimizer.zero_grad(set_to_none=True)  # while responses are drawn, gradients need no memory
        return numbers, entropy_B, rate, float(np.mean(norms))

    def _check_finite(self, what: str, value: float, step: int) -> None:
        """Before the weights are touched: one such step would ruin them all.

        Raises:
            ModelError: names the number and the step.
        """
        if not math.isfinite(value):
            raise ModelError(
                self.label,
                f"the {what} is {value} at step {step}",
                field="exploration.learning_rate",
                remedy="lower exploration.learning_rate, or take precision: float32",
            )

    def _note(
        self,
        step: int,
        drawn: Drawn,
        numbers: Sequence[ObjectiveNumbers],
        entropy_B: np.ndarray,
        rate: float,
        norm: float,
        seconds: float,
    ) -> None:
        """Rows of both tables, progress and live numbers."""
        self.responses += len(drawn.completions)
        engine = self.engine.engine
        self.waiting.append(
            rollout_rows(step, drawn, entropy_B, self.settings.bonus.uses_counts, engine.name, engine.version)
        )
        row = step_row(step + 1, drawn, numbers) | {
            "learning_rate": rate,
            "gradient_norm": norm,
            "responses": self.responses,
            "tokens": self.tokens,
            "seconds": seconds,
        }
        self.rows.append(row)
        shown = ("accuracy", "distinct_answers_per_group", "entropy_nats")
        self.progress(self.label, step + 1, self.settings.steps, {name: row[name] for name in shown})
        self.live(step + 1, {name: float(value) for name, value in row.items() if name != "step" and value is not None})

    def _save(self, step: int) -> None:
        """Responses since the last save, then the checkpoint."""
        if self.waiting:
            write_steps(self.work, self.saved, step, self.waiting)
        self.waiting, self.saved = [], step
        totals = {name: getattr(self, name) for name in TOTALS}
        save_checkpoint(
            self.work,
            step,
            self.model,
            {"adamw": self.optimizer},
            {"counts": self.counts.as_json(), "rows": self.rows, **totals},
            generators=random_states(self.model.device.type),
        )

    def _trained(self) -> Trained:
        return Trained(list(self.rows), self.tokens, self.forward_tokens, self.responses)


TOTALS = ("tokens", "forward_tokens", "responses")
"""Numbers of a run that go into its checkpoints."""
