"""What the sampling stage costs beside the bare engine: the same prompts, in turns, in the same process.

    python benchmarks/stage.py CHECKPOINT [--engine transformers|vllm] [--rounds 5] [--problems 300]

The stage is ``sample_responses`` of the demo's evaluation problems (64 responses each) into an empty home: prompts,
identities, seeds, sampling, grading, chunks on disk. Bare is, for vLLM, its own ``LLMEngine`` given every prompt at
once with ``n=64`` and the parameters that the stage uses: a seed, the drawn token's log-probability, no texts, for the
stage makes them itself. ``generate`` is the same with vLLM's defaults instead (texts, no seeds, no log-probabilities).
For transformers bare is the engine's own ``sample``, its results thrown away, and ``generate`` is ``model.generate``.
``logit`` is the stage of logit verification on what the stage has sampled: ``verify_responses``, of which the seconds
over those of sampling are shown. Every round runs all of it, in changing order; ratios are of the same round. Prints
one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as `mindgap run` does
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ops.config import Experiment
from ops.engines.base import SampleRequest, SamplingSettings
from ops.engines.loading import LOADING
from ops.experiment_files import load_experiment
from ops.identity import seed_of
from ops.lab import Lab
from ops.stages.generations import grade_responses, sample_responses
from ops.stages.problems import make_problems, problems_of
from ops.stages.verification import verify_responses

PROJECT = Path(__file__).resolve().parent.parent
N, MAX_TOKENS, STOP = 64, 24, "."
Rate = tuple[int, float]


def demo(problems: int, engine: dict[str, object]) -> Experiment:
    """The demo's evaluation problems; one training response, because an experiment has some."""
    base = load_experiment(PROJECT / "experiments" / "demo.yaml").model_dump(mode="json")
    changes = {
        "problems": {"seed": 0, "train_per_iteration": 1, "eval": problems},
        "sampling": {**base["sampling"], "n_train": 1, "n_eval": N},
        "iterations": 0,
        "verifiers": [{"name": "logit"}],
        "filter": {"name": "none"},
        "engine": engine,
    }
    return Experiment.model_validate_json(json.dumps({**base, **changes}))


def stage(experiment: Experiment, engine, logit_cost: list[float]) -> Rate:
    """New tokens and seconds of the whole stage, the engine being loaded; appends what logit verification cost."""
    Lab.engine = lambda self, iteration, verifier=None: engine
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab.open(experiment, home=Path(folder), run_id="benchmark")
        make_problems(lab)
        start = time.perf_counter()
        numbers = sample_responses(lab, 0)
        seconds = time.perf_counter() - start
        grade_responses(lab, 0)
        start = time.perf_counter()
        verify_responses(lab, 0)
        logit_cost.append((time.perf_counter() - start) / seconds)
        return int(numbers["new_tokens"]), seconds


def bare_transformers(engine, prompts: list[str]) -> Rate:
    """The engine alone."""
    wanted = [SampleRequest(prompt, tuple(seed_of(f"{prompt}:{j}") for j in range(N))) for prompt in prompts]
    start, tokens = time.perf_counter(), 0
    for group in engine.sample(wanted, SamplingSettings(1.0, 1.0, MAX_TOKENS, (STOP,))):
        tokens += sum(done.n_tokens for _, _, done in group)
    return tokens, time.perf_counter() - start


def bare_vllm(engine, prompts: list[str], *, same: bool = True) -> Rate:
    """vLLM alone, with its own fan-out of n samples; ``same``: with the stage's parameters, else with its defaults."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    llm, tokenizer = engine._llm, engine._tokens.tokenizer
    stop = tokenizer.convert_tokens_to_ids(STOP)
    start, tokens = time.perf_counter(), 0
    for i, prompt in enumerate(prompts):
        params = SamplingParams(
            n=N,
            temperature=1.0,
            max_tokens=MAX_TOKENS,
            seed=i * N if same else None,
            logprobs=0 if same else None,
            flat_logprobs=same,
            detokenize=not same,
            ignore_eos=same,
            stop_token_ids=[stop, *engine._tokens.eos_ids] if same else [stop],
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        llm.add_request(f"bare-{time.perf_counter_ns()}-{i}", {"prompt_token_ids": ids}, params)
    while llm.has_unfinished_requests():
        for output in llm.step():
            tokens += sum(len(one.token_ids) for one in output.outputs)
    return tokens, time.perf_counter() - start


def generate(engine, prompts: list[str]) -> Rate:
    """``model.generate`` of transformers in batches of 4,096 rows."""
    from benchmarks.sampling import generate as tokens_per_second

    wanted = [SampleRequest(prompt, tuple(range(N))) for prompt in prompts]
    start = time.perf_counter()
    rate = tokens_per_second(engine, wanted, 4096)
    seconds = time.perf_counter() - start
    return round(rate * seconds), seconds


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--engine", choices=["transformers", "vllm"], default="transformers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--settings", default="{}", help="further engine settings as JSON")
    arguments = parser.parse_args()
    settings = {"name": arguments.engine, "dtype": "float32", **json.loads(arguments.settings)}
    experiment = demo(arguments.problems, settings)
    engine = LOADING[arguments.engine].model_validate(settings).load(arguments.checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab.open(experiment, home=Path(folder))
        make_problems(lab)
        prompts = [lab.prompt_format().solve(item) for item in problems_of(lab, 0) if item.split == "eval"]
    peers = {
        "transformers": {"bare": bare_transformers, "generate": generate},
        "vllm": {"bare": bare_vllm, "generate": lambda *a: bare_vllm(*a, same=False)},
    }[arguments.engine]
    bare_transformers(engine, prompts[:10])  # warm
    rates: dict[str, list[float]] = {"stage": [], **{name: [] for name in peers}}
    tokens_per_response, logit_cost = 0.0, []
    for number in range(arguments.rounds):
        runs = [("stage", lambda: stage(experiment, engine, logit_cost))]
        runs += [(name, lambda run=run: run(engine, prompts)) for name, run in peers.items()]
        for name, run in runs if number % 2 else reversed(runs):
            tokens, seconds = run()
            rates[name].append(tokens / seconds)
            if name == "stage":
                tokens_per_response = tokens / (N * len(prompts))
        shown = {name: round(found[-1]) for name, found in rates.items()}
        print(shown, round(logit_cost[-1], 3), file=sys.stderr, flush=True)
    median = statistics.median
    line = {
        "benchmark": "stage",
        "engine": engine.name,
        "version": engine.version,
        "rounds": arguments.rounds,
        "responses": N * len(prompts),
        "tokens_per_response": round(tokens_per_response, 1),
        "stage_tokens_per_second": round(median(rates["stage"])),
        "stage_responses_per_second": round(median(rates["stage"]) / tokens_per_response),
    }
    for name in peers:
        ratios = [a / b for a, b in zip(rates["stage"], rates[name], strict=True)]
        line |= {
            f"{name}_tokens_per_second": round(median(rates[name])),
            f"stage_to_{name}": round(median(ratios), 3),
            f"stage_to_{name}_range": [round(min(ratios), 3), round(max(ratios), 3)],
        }
    line |= {
        "logit_to_sampling": round(median(logit_cost), 3),
        "logit_to_sampling_range": [round(min(logit_cost), 3), round(max(logit_cost), 3)],
    }
    engine.close()
    print(json.dumps(line))


if __name__ == "__main__":
    main()
