"""Pretraining of a built-in model: a curriculum of drills, solving and verifying, in three phases.

The recipe is the measured one of docs/builtin-models.md. The batch of step i is a function of (seed, i)
alone, so a run that was killed resumes from its last checkpoint and ends with the same weights.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.builtin.countdown import CountdownExercises
from ops.builtin.documents import DOCUMENTS, Material, to_tokens
from ops.builtin.exercises import Attempt, Exercises, Key
from ops.builtin.notation import BOS, END, PAD, VOCABULARY
from ops.identity import seed_of
from ops.progress import Progress
from ops.training.loss import TokenDocument, weighted_backward

PHASES = (0.25, 0.45, 0.30)
"""Shares of the steps; each phase has its mix of documents. The learning rate falls to 0 over the last one."""

OWN_PROBLEMS, OWN_SAMPLES, OWN_SHARE = 1500, 8, 0.8
MUON_LEARNING_RATE, MUON_WEIGHT_DECAY, ADAMW_LEARNING_RATE = 0.02, 0.05, 3e-3
WARMUP_STEPS, CLIP_NORM, CHECKPOINT_STEPS = 50, 1.0, 250
MICRO_BATCHES = 4


@dataclass(frozen=True)
class PretrainResult:
    """What pretraining reports: document tokens, FLOPs (6 N D), steps, last loss (nats per weighted token)."""

    tokens: int
    flops: float
    steps: int
    final_loss: float


def phase_of(step: int, steps: int) -> int:
    """The phase (0, 1, 2) of an optimiser step."""
    first, second = round(PHASES[0] * steps), round((PHASES[0] + PHASES[1]) * steps)
    return 0 if step < first else 1 if step < second else 2


def learning_rate_factor(step: int, steps: int) -> float:
    """Warm-up, then constant, then linearly to 0 over the last phase."""
    last = round((PHASES[0] + PHASES[1]) * steps)
    down = 1.0 if step < last else (steps - step) / max(1, steps - last)
    return min(1.0, (step + 1) / WARMUP_STEPS) * down


def make_batch(step: int, steps: int, count: int, seed: int, material: Material) -> list[TokenDocument]:
    """The documents of one optimiser step: a function of (seed, step) and the material."""
    rng = random.Random(f"pretrain:{seed}:{step}")
    mix = material.exercises.mixes[phase_of(step, steps)]
    kinds = rng.choices(list(mix), weights=list(mix.values()), k=count)
    return [to_tokens(DOCUMENTS[kind](rng, material)) for kind in kinds]


def make_optimizers(model: Any) -> dict[str, Any]:
    """Muon on the matrices of the layers, AdamW on the embedding and the norms."""
    import torch

    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return {
        "muon": torch.optim.Muon(matrices, lr=MUON_LEARNING_RATE, weight_decay=MUON_WEIGHT_DECAY),
        "adamw": torch.optim.AdamW(others, lr=ADAMW_LEARNING_RATE, weight_decay=0.0),
    }


def pretrain(
    model: Any,
    tokenizer: Any,
    keys: Sequence[Key],
    *,
    size: str,
    steps: int,
    batch_size: int,
    seed: int,
    work: Path,
    progress: Progress,
    exercises: Exercises | None = None,
) -> PretrainResult:
    """Train ``model`` in place on the problems ``keys``; checkpoints go to ``work`` and are resumed from there.

    ``exercises`` None means those of Countdown.
    """
    import torch

    from ops.builtin.model import count_parameters
    from ops.training.checkpoint import load_checkpoint, save_checkpoint

    optimizers = make_optimizers(model)
    base_rates = {"muon": MUON_LEARNING_RATE, "adamw": ADAMW_LEARNING_RATE}
    restored = load_checkpoint(work, model, optimizers)
    fresh: dict[str, Any] = {"tokens": 0, "loss": 0.0}
    first, extra = restored if restored else (0, fresh)
    tokens, loss, begun, tokens_before = extra["tokens"], extra["loss"], time.monotonic(), extra["tokens"]
    model.train()
    exercises = exercises or CountdownExercises()
    material = Material(keys, exercises=exercises)
    last_phase = next(step for step in range(steps + 1) if step == steps or phase_of(step, steps) == 2)
    for start, stop in _stretches(first, last_phase, steps):
        if start >= last_phase:
            attempts = own_attempts(model, tokenizer, keys, exercises, seed, work, progress)
            material = Material(keys, attempts, OWN_SHARE, exercises)
        for step, documents in _prefetched(start, stop, steps, batch_size, seed, material):
            factor = learning_rate_factor(step, steps)
            for name, optimizer in optimizers.items():
                for group in optimizer.param_groups:
                    group["lr"] = base_rates[name] * factor
                optimizer.zero_grad(set_to_none=True)
            loss = weighted_backward(model, documents, pad_id=VOCABULARY[PAD], micro_batches=MICRO_BATCHES)
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            for optimizer in optimizers.values():
                optimizer.step()
            tokens += sum(len(document.ids) for document in documents)
            done = step + 1
            rate = (tokens - tokens_before) / (time.monotonic() - begun)
            progress(
                f"pretrain {size}, phase {phase_of(step, steps) + 1} of 3",
                done,
                steps,
                {"loss": loss, "tokens/s": rate},
            )
            if done % CHECKPOINT_STEPS == 0 and done < steps:
                save_checkpoint(work, done, model, optimizers, {"tokens": tokens, "loss": loss})
    return PretrainResult(tokens, 6.0 * count_parameters(model) * tokens, steps, loss)


def _stretches(first: int, last_phase: int, steps: int) -> Iterator[tuple[int, int]]:
    """The steps still to do, cut where the last phase begins."""
    for start, stop in ((0, last_phase), (last_phase, steps)):
        if max(first, start) < stop:
            yield max(first, start), stop


def _prefetched(
    start: int, stop: int, steps: int, count: int, seed: int, material: Material
) -> Iterator[tuple[int, list[TokenDocument]]]:
    """Batches in order, the next one made while the current one trains."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = pool.submit(make_batch, start, steps, count, seed, material)
        for step in range(start, stop):
            documents = waiting.result()
            if step + 1 < stop:
                waiting = pool.submit(make_batch, step + 1, steps, count, seed, material)
            yield step, documents


def own_attempts(
    model: Any,
    tokenizer: Any,
    keys: Sequence[Key],
    exercises: Exercises,
    seed: int,
    work: Path,
    progress: Progress,
) -> dict[Key, tuple[list[Attempt], list[Attempt]]]:
    """The model's own attempts at training problems, graded with gold labels: per problem (right, wrong).

    Written to ``work`` once, so that a resumed run verifies the same attempts.
    """
    from ops.engines.base import SampleRequest, SamplingSettings
    from ops.engines.transformers_engine import TransformersEngine
    from ops.engines.transformers_settings import TransformersEngineSettings
    from ops.storage.atomic import write_text_atomically

    rng = random.Random(f"own:{seed}")
    chosen = rng.sample(list(keys), min(OWN_PROBLEMS, len(keys)))
    path = work / "own_attempts.json"
    if path.exists():
        responses = json.loads(path.read_text())
    else:
        prompts = [" ".join([BOS, *exercises.shown(rng, key), ":"]) for key in chosen]
        requests = [
            SampleRequest(prompt, tuple(seed_of(f"{seed}:{prompt}:{j}", "own") for j in range(OWN_SAMPLES)))
            for prompt in prompts
        ]
        engine = TransformersEngine.from_model(model, tokenizer, TransformersEngineSettings())
        responses = [[""] * OWN_SAMPLES for _ in chosen]
        done = 0
        for group in engine.sample(requests, SamplingSettings(1.0, 1.0, exercises.attempt_tokens, (END,))):
            for i, j, completion in group:
                responses[i][j] = completion.text
            done += len(group)
            progress("own attempts to verify", done, len(chosen) * OWN_SAMPLES, {})
        work.mkdir(parents=True, exist_ok=True)
        write_text_atomically(path, json.dumps(responses))
    attempts: dict[Key, tuple[list[Attempt], list[Attempt]]] = {}
    for key, texts in zip(chosen, responses, strict=True):
        parsed = [tuple(steps) for steps in (exercises.parse(text, key) for text in texts) if steps]
        right = [steps for steps in parsed if exercises.is_right(steps, key)]
        attempts[key] = (right, [steps for steps in parsed if not exercises.is_right(steps, key)])
    return attempts
