"""The training loop of exploration: draw, grade, weigh, update; checkpoints that resume to the bit on a CPU.

Our own, not TRL's (docs/decisions/0018): its checkpoints are pickles, it draws by itself, and it knows neither seeds of
single responses nor counts of answers. The objective is held to TRL's in a test. Departures from the paper
(2509.06941), whose code is not public, are listed in ``ops.exploration.objective``; those of the loop are:

- problems are drawn in seeded epochs, without those that do not fill a whole step;
- a response cut at ``max_tokens`` is graded like any other and trained on, without an end token;
- where an engine of its own draws (vLLM), its probabilities differ from the trained model's by rounding; and with
  precision bfloat16 responses are drawn from the float32 weights, while the gradient is that of the cast forward pass.
  The ratio of probabilities is taken between versions of the trained model, and neither difference is corrected;
- a group without any signal (all its advantages 0, as centred ones are where all rewards are equal, and no bonus) stays
  in the averages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ops.engines.base import PolicyEngine, SampleRequest, SamplingSettings
from ops.errors import StorageError
from ops.exploration.counts import AnswerCounts
from ops.exploration.drawn import AnswerSpan, Drawn, token_weights
from ops.exploration.objective import ObjectiveNumbers, PolicySample, policy_backward, token_logprobs
from ops.exploration.rollout_files import keep_until, write_steps
from ops.exploration.schedule import mini_batches_of, problems_of_step, rollout_seeds
from ops.exploration.settings import Exploration
from ops.exploration.step_rows import rollout_rows, step_row
from ops.exploration.worth import worth_of
from ops.progress import Progress
from ops.training.checkpoint import (
    RNG,
    load_checkpoint,
    load_part,
    random_states,
    restore_random_states,
    save_checkpoint,
)
from ops.training.loop import check_finite
from ops.training.loss import check_precision
from ops.training.pretrained import recomputed_activations, without_dropout
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
    answer_span: AnswerSpan | None


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


@dataclass(kw_only=True)
class PolicyTraining:
    """One training of a policy in place; checkpoints and drawn responses go to ``work`` and are resumed from there.

    Attributes:
        engine: draws from ``model``.
        base: the model that the KL divergence is taken to; None where ``kl_coefficient`` is 0.
        live: is told the numbers of every step.
        snapshot: called with (steps done, ``Trained`` so far) after each of ``settings.snapshot_steps``, the weights
            being those of that step, and again where a run resumes there; all responses up to it are in ``work``.
    """

    model: Any
    tokenizer: Any
    engine: PolicyEngine
    base: Any | None
    world: World
    settings: Exploration
    pad_id: int
    work: Path
    progress: Progress
    live: Callable[[int, Mapping[str, float]], None]
    snapshot: Callable[[int, Trained], None]
    label: str

    def to_the_end(self) -> Trained:
        """Train from the last checkpoint on.

        Raises:
            ModelError: when the loss or the gradient is no longer finite, or the device does not fit the settings.
            StorageError: when ``work`` lacks responses of steps that its checkpoint has done.
        """
        check_precision(self.model.device.type, self.settings.precision, SECTION)
        with without_dropout(self.model), recomputed_activations(self.model, self.settings.activation_checkpointing):
            self._prepare()
            return self._steps()

    def _prepare(self) -> None:
        """The state of the last checkpoint, or of the beginning."""
        import torch

        settings, world = self.settings, self.world
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        prompts = self.tokenizer(list(world.prompts), add_special_tokens=False)["input_ids"]
        self.prompt_ids = {problem.problem_id: ids for problem, ids in zip(world.problems, prompts, strict=True)}
        self.counts, self.rows = AnswerCounts(), list[dict[str, Any]]()
        self.tokens = self.forward_tokens = self.responses = 0
        self.waiting: list[pl.DataFrame] = []  # rows of `rollouts` since the last save
        self.drawn_by = f"{self.engine.engine.name} {self.engine.engine.version}"
        self.first = self._restored()
        self.saved = self.first

    def _restored(self) -> int:
        """The step to go on from; state of the last checkpoint, or of the beginning."""
        from safetensors import SafetensorError

        try:
            restored = load_checkpoint(self.work, self.model, {"adamw": self.optimizer})
            if restored is None:
                keep_until(self.work, 0)
                return 0
            step, extra = restored
            drawn_by = extra["drawn_by"]
            self.counts, self.rows = AnswerCounts.from_json(extra["counts"]), extra["rows"]
            self.tokens, self.forward_tokens, self.responses = (extra[name] for name in TOTALS)
            restore_random_states(load_part(self.work, RNG))
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            raise StorageError(
                str(self.work),
                f"its checkpoint cannot be read ({type(error).__name__}: {error})",
                remedy="remove the folder and run the experiment again: training starts from its first step",
            ) from error
        if drawn_by != self.drawn_by:
            raise StorageError(
                str(self.work),
                f"its {step} steps were drawn by {drawn_by}, and the experiment now says {self.drawn_by}: the rest of "
                "the training would be another one's",
                field="engine.name",
                remedy=f"take {drawn_by} again, or remove the folder: training starts from its first step",
            )
        keep_until(self.work, step)
        return step

    def _steps(self) -> Trained:
        """Every step that is left."""
        settings, saves = self.settings, Saves(self.first, seconds=SAVE_SECONDS)
        if self.first:
            self.progress(f"{self.label} goes on", self.first, settings.steps, {})
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
        self.forward_tokens += sum(len(self.prompt_ids[problem.problem_id]) for problem in asked)
        drawn = Drawn(problems, completions, grades, seeds, worths)
        self._weigh(drawn)
        self._read(drawn)
        return drawn

    def _weigh(self, drawn: Drawn) -> None:
        """What the objective reads of each response, but for log-probabilities."""
        weight = self.settings.bonus.weight
        advantage_B = np.concatenate([worth.advantage_N for worth in drawn.worths])
        bonus_B = weight * np.concatenate([worth.bonus_N for worth in drawn.worths])
        for i, (problem, one) in enumerate(zip(drawn.problems, drawn.completions, strict=True)):
            weight_T, n_tokens = token_weights(
                self.tokenizer, problem, one, advantage_B[i], bonus_B[i], self.world.answer_span
            )
            drawn.bonus_tokens.append(n_tokens)
            drawn.samples.append(PolicySample(self.prompt_ids[problem.problem_id], one.token_ids, weight_T))

    def _read(self, drawn: Drawn) -> None:
        """Log-probabilities under the base model, and under the policy as it is now where it is about to change."""
        settings, temperature = self.settings, self.world.sampling.temperature
        if self.engine.holds_a_copy:
            first = drawn.samples[: settings.responses_per_problem]
            found, _ = self._logprobs(self.model, first, 1.0)
            far = [abs(float(own.sum()) - one.logprob) for own, one in zip(found, drawn.completions, strict=False)]
            drawn.engine_difference = sum(far) / sum(len(own) for own in found)
        if settings.mini_batches * settings.passes > 1:
            olds, drawn.entropy_B = self._logprobs(self.model, drawn.samples, temperature)
            pairs = zip(drawn.samples, olds, strict=True)
            drawn.samples = [replace(sample, old_logprob_T=old) for sample, old in pairs]
        if self.base is not None:
            bases, _ = self._logprobs(self.base, drawn.samples, temperature)
            pairs = zip(drawn.samples, bases, strict=True)
            drawn.samples = [replace(sample, base_logprob_T=base) for sample, base in pairs]

    def _logprobs(
        self, model: Any, samples: Sequence[PolicySample], temperature: float
    ) -> tuple[list[np.ndarray], np.ndarray]:
        self.forward_tokens += sum(len(sample.prompt_ids) + len(sample.response_ids) for sample in samples)
        return token_logprobs(
            model,
            samples,
            temperature=temperature,
            pad_id=self.pad_id,
            precision=self.settings.precision,
            tokens_per_micro_batch=self.settings.tokens_per_micro_batch,
        )

    def _update(self, step: int, drawn: Drawn) -> tuple[list[ObjectiveNumbers], np.ndarray, float, float]:
        """All optimiser steps on one step's responses.

        Returns:
            numbers of each, the responses' mean token entropies [B] under the policy that drew them, the last learning
            rate, the mean norm of the gradients.
        """
        import torch

        settings, samples = self.settings, drawn.samples
        numbers, norms = list[ObjectiveNumbers](), list[float]()
        entropy_B, rate = drawn.entropy_B, 0.0
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
                check_finite("loss", found.loss, step, self.label, SECTION)
                norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, settings.clip_norm))
                check_finite("norm of the gradient", norm, step, self.label, SECTION)
                self.optimizer.step()
                if entropy_B is None:  # the one mini-batch, which holds the responses in their order
                    entropy_B = found.entropy_B
                self.tokens += found.tokens
                numbers.append(found)
                norms.append(norm)
        self.optimizer.zero_grad(set_to_none=True)  # while responses are drawn, gradients need no memory
        if entropy_B is None:
            raise RuntimeError("a step without an optimiser step")
        return numbers, entropy_B, rate, float(np.mean(norms))

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
            "engine_logprob_difference": drawn.engine_difference,
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
            {"counts": self.counts.as_json(), "rows": self.rows, "drawn_by": self.drawn_by, **totals},
            generators=random_states(self.model.device.type),
        )

    def _trained(self) -> Trained:
        return Trained(list(self.rows), self.tokens, self.forward_tokens, self.responses)


SECTION = "exploration"
"""Of the experiment file, where the settings stand."""

SAVE_SECONDS = 60.0
"""A step draws, grades and learns: no kill is to cost much more than a minute of it."""

TOTALS = ("tokens", "forward_tokens", "responses")
"""Numbers of a run that go into its checkpoints."""
