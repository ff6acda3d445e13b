"""The policy's gradient step against TRL's: the same responses, model and loss, in turns, in the same process.

    python benchmarks/policy_step.py [CHECKPOINT] [--size m] [--rounds 7] [--problems 32] [--responses 16]

Countdown prompts, with random tokens as responses whose lengths spread evenly up to ``--tokens``; GRPO's loss without
a KL divergence, the log-probabilities of the drawing policy given. Ours is ``policy_backward``; theirs is
``compute_loss`` of a real ``GRPOTrainer`` and ``backward``, on tensors that were padded beforehand. ``--micro`` is our
bound of tokens per micro-batch; TRL takes the mini-batch whole. Loss and gradient are held to each other before
anything is measured. Ratios are of the same round. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as `mindgap run` does
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from ops.builtin.model import new_model, new_tokenizer
from ops.exploration.objective import PolicySample, policy_backward, token_logprobs
from ops.exploration.settings import Exploration
from ops.prompts.compact import CompactFormat
from ops.tasks.countdown import Countdown

SETTINGS = Exploration(learning_rate=1e-4)


def samples_of(model, tokenizer, problems: int, responses: int, tokens: int) -> list[PolicySample]:
    """Responses of random tokens with random advantages, and the log-probabilities that the model gives them."""
    rng = np.random.default_rng(0)
    samples = []
    for problem in Countdown().generate("eval", problems, 0):
        prompt = tokenizer(CompactFormat().solve(problem), add_special_tokens=False)["input_ids"]
        for _ in range(responses):
            length = int(rng.integers(1, tokens + 1))
            weight_T = np.full(length, rng.normal())
            samples.append(PolicySample(prompt, rng.integers(4, len(tokenizer), length).tolist(), weight_T))
    old, _ = token_logprobs(
        model, samples, temperature=1.0, pad_id=tokenizer.pad_token_id, precision="float32", tokens_per_micro_batch=8192
    )
    return [replace(sample, old_logprob_T=one) for sample, one in zip(samples, old, strict=True)]


def trainer_of(model, tokenizer, samples: list[PolicySample], tokens: int, folder: str):
    """A real trainer, and its inputs: prompts padded on the left, responses on the right."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    config = GRPOConfig(
        output_dir=folder, use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False, loss_type="grpo",
        per_device_train_batch_size=len(samples), num_generations=len(samples), max_completion_length=tokens,
        num_iterations=2, beta=0.0, temperature=1.0,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": "1"}] * len(samples)),
        processing_class=tokenizer,
    )
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    longest = max(len(sample.prompt_ids) for sample in samples)
    left = [[0] * (longest - len(s.prompt_ids)) + [1] * len(s.prompt_ids) for s in samples]
    pad, width = tokenizer.pad_token_id, max(len(sample.response_ids) for sample in samples)
    right = [[1] * len(s.response_ids) + [0] * (width - len(s.response_ids)) for s in samples]
    old = [np.pad(s.old_logprob_T, (0, width - len(s.response_ids))) for s in samples]
    inputs = {
        "prompt_ids": torch.tensor([[pad] * (longest - len(s.prompt_ids)) + list(s.prompt_ids) for s in samples]),
        "prompt_mask": torch.tensor(left),
        "completion_ids": torch.tensor([list(s.response_ids) + [pad] * (width - len(s.response_ids)) for s in samples]),
        "completion_mask": torch.tensor(right),
        "advantages": torch.tensor([float(s.weight_T[0]) for s in samples]),
        "old_per_token_logps": torch.from_numpy(np.stack(old)).float(),
    }
    return trainer, inputs


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="default: a built-in model that is not trained")
    parser.add_argument("--size", default="m")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--problems", type=int, default=32)
    parser.add_argument("--responses", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--micro", type=int, default=None)
    arguments = parser.parse_args()
    tokenizer, model = new_tokenizer(), new_model(arguments.size, 0)
    if arguments.checkpoint:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(arguments.checkpoint, dtype=torch.float32)
    samples = samples_of(model, tokenizer, arguments.problems, arguments.responses, arguments.tokens)
    n_tokens = sum(sample.n_tokens for sample in samples)
    with tempfile.TemporaryDirectory() as folder:
        trainer, inputs = trainer_of(model, tokenizer, samples, arguments.tokens, folder)

    def ours() -> float:
        return policy_backward(
            model,
            samples,
            SETTINGS,
            temperature=1.0,
            max_tokens=arguments.tokens,
            pad_id=tokenizer.pad_token_id,
            tokens_per_micro_batch=arguments.micro,
        ).loss

    def theirs() -> float:
        loss = trainer.compute_loss(trainer.model, inputs)
        loss.backward()
        return float(loss.detach())

    losses, gradients = [], []
    for step in (ours, theirs):  # warm, and the same
        losses.append(step())
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
        model.zero_grad()
    difference = float((gradients[0] - gradients[1]).abs().max())
    if not (abs(losses[0] - losses[1]) < 1e-5 and difference < 1e-5):
        raise SystemExit(f"not the same: losses {losses}, gradients differ by up to {difference}")
    rates: dict[str, list[float]] = {"ours": [], "trl": []}
    for number in range(arguments.rounds):
        runs = [("ours", ours), ("trl", theirs)]
        for name, step in runs if number % 2 else reversed(runs):
            start = time.perf_counter()
            step()
            rates[name].append(n_tokens / (time.perf_counter() - start))
            model.zero_grad()
        print({name: round(found[-1]) for name, found in rates.items()}, file=sys.stderr, flush=True)
    ratios = [a / b for a, b in zip(rates["ours"], rates["trl"], strict=True)]
    line = {
        "benchmark": "policy_step",
        "rounds": arguments.rounds,
        "responses": len(samples),
        "tokens": n_tokens,
        "micro": arguments.micro,
        "threads": torch.get_num_threads(),
        "ours_tokens_per_second": round(statistics.median(rates["ours"])),
        "trl_tokens_per_second": round(statistics.median(rates["trl"])),
        "ours_to_trl": round(statistics.median(ratios), 3),
        "ours_to_trl_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "largest_gradient_difference": difference,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
