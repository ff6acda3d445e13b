"""Sampling speed of the transformers engine against plain ``generate``, and how often rounding changes a sample.

    python benchmarks/sampling.py CHECKPOINT [--rounds 3]

Both draw 64 samples of at most 24 tokens for the same 200 Countdown problems, in turns, in the same process; the
ratio is taken round by round. ``generate`` gets the batch size of the measured recipe (4,096 rows). Prints JSON lines.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ops.engines.base import SampleRequest, SamplingSettings
from ops.engines.transformers_settings import TransformersEngineSettings
from ops.identity import seed_of
from ops.prompts.compact import CompactFormat
from ops.tasks.countdown import Countdown

N, MAX_TOKENS = 64, 24


def requests() -> list[SampleRequest]:
    """64 seeded samples for each of 200 evaluation problems."""
    prompts = [CompactFormat().solve(problem) for problem in Countdown().generate("eval", 200, 0)]
    return [SampleRequest(prompt, tuple(seed_of(f"{prompt}:{j}") for j in range(N))) for prompt in prompts]


def ours(engine, wanted) -> tuple[dict, float]:
    """All samples by (request, place), and new tokens per second."""
    start = time.monotonic()
    found = {}
    for group in engine.sample(wanted, SamplingSettings(1.0, 1.0, MAX_TOKENS, (".",))):
        for index, place, completion in group:
            found[index, place] = completion
    return found, sum(c.n_tokens for c in found.values()) / (time.monotonic() - start)


def generate(engine, wanted, batch: int) -> float:
    """New tokens per second of ``model.generate`` with the same prompts, stop and count."""
    import torch

    tokenizer, model = engine.tokenizer, engine.model
    stop = tokenizer.convert_tokens_to_ids(".")
    rows = [request.prompt for request in wanted for _ in request.seeds]
    tokenizer.padding_side = "left"
    start, tokens = time.monotonic(), 0
    for i in range(0, len(rows), batch):
        inputs = tokenizer(rows[i : i + batch], return_tensors="pt", add_special_tokens=False, padding=True)
        with torch.inference_mode():
            out = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                do_sample=True,
                temperature=1.0,
                top_k=0,
                max_new_tokens=MAX_TOKENS,
                eos_token_id=[stop, tokenizer.eos_token_id],
                pad_token_id=tokenizer.pad_token_id,
            )
        new = out[:, inputs["input_ids"].shape[1] :]
        tokens += int((new != tokenizer.pad_token_id).sum())
    return tokens / (time.monotonic() - start)


def main() -> None:
    """Measure speed round by round, then the effect of the batch size on samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    wanted = requests()
    reference = None
    for dtype in ("float32", "bfloat16"):
        engine = TransformersEngineSettings(dtype=dtype).load(arguments.checkpoint)
        ours(engine, wanted[:20])
        rates = [(ours(engine, wanted)[1], generate(engine, wanted, 4096)) for _ in range(arguments.rounds)]
        line = {
            "benchmark": "sampling",
            "dtype": dtype,
            "tokens_per_second": round(statistics.median(a for a, _ in rates)),
            "generate_tokens_per_second": round(statistics.median(b for _, b in rates)),
            "ratio": round(statistics.median(a / b for a, b in rates), 2),
        }
        print(json.dumps(line), flush=True)
    for batch_size in (2048, 256, 31, 4096):
        engine = TransformersEngineSettings(batch_size=batch_size).load(arguments.checkpoint)
        part = wanted[:50] if batch_size < 100 else wanted
        found, _ = ours(engine, part)
        reference = reference or found
        changed = sum(found[key].text != reference[key].text for key in found)
        line = {"benchmark": "rounding", "batch_size": batch_size, "samples": len(found), "changed": changed}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
