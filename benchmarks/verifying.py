"""What verification costs next to generation: every mechanism on the same sampled responses, by the same engine.

    python benchmarks/verifying.py CHECKPOINT [--engine transformers] [--rounds 5] [--only logit,binary_cot]

Draws 64 responses to each of 300 evaluation problems of experiments/demo.yaml, then verifies exactly these, mechanism
by mechanism. Every round does all of it in the same process, generation first; a cost is the mechanism's seconds over
those of generation, round by round. Prints one JSON line for generation and one for each mechanism, medians over the
rounds; ``cost`` carries the lowest and the highest round too. A first, smaller round warms up and is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ops.config import Experiment
from ops.engines.base import Engine, SampleRequest, SamplingSettings
from ops.engines.loading import LOADING
from ops.experiment_files import load_experiment
from ops.identity import seed_of
from ops.prompts.compact import CompactFormat
from ops.types import Completion, Problem
from ops.verifiers import VERIFIERS
from ops.verifiers.base import VerificationItem

MECHANISMS = (
    "logit",
    "p_true",
    "sequence_logprob",
    "self_certainty",
    "binary_cot",
    "score_cot",
    "tournament",
)
WARM_UP_PROBLEMS = 20


class Counted:
    """An engine that notes how many different prompts (and texts read after them) it was asked about."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.distinct = engine, 0

    def sample(self, requests, settings):
        requests = list(requests)
        self.distinct += len({request.prompt for request in requests})
        return self._engine.sample(requests, settings)

    def choice_logprobs(self, prompts, choices):
        self.distinct += len(set(prompts))
        return self._engine.choice_logprobs(prompts, choices)

    def token_statistics(self, prompts, continuations):
        self.distinct += len(set(zip(prompts, continuations, strict=True)))
        return self._engine.token_statistics(prompts, continuations)


def drawn(engine, problems: list[Problem], experiment: Experiment) -> tuple[list[VerificationItem], int, float]:
    """``n_eval`` responses to each problem as items to verify, in the order of their problems; new tokens; seconds."""
    prompts, sampling = CompactFormat(), experiment.sampling
    start = time.perf_counter()
    requests = [
        SampleRequest(
            prompts.solve(problem),
            tuple(seed_of(f"{problem.problem_id}:{j}") for j in range(sampling.n_eval)),
        )
        for problem in problems
    ]
    settings = SamplingSettings(sampling.temperature, sampling.top_p, sampling.max_tokens, prompts.solve_stop)
    found: dict[tuple[int, int], Completion] = {}
    for group in engine.sample(requests, settings):
        for index, place, completion in group:
            found[index, place] = completion
    seconds = time.perf_counter() - start
    items = [
        VerificationItem(
            problems[index], found[index, place].text, f"{problems[index].problem_id}:{place}", f"{index}", place
        )
        for index, place in sorted(found)
    ]
    return items, sum(completion.n_tokens for completion in found.values()), seconds


def verified(engine, name: str, items: list[VerificationItem]) -> tuple[int, float]:
    """How many items one mechanism gave a score, and its seconds."""
    verifier = VERIFIERS[name](name=name)
    start = time.perf_counter()
    scored = 0
    for group in verifier.verify(engine, CompactFormat(), items):
        scored += sum(verification.score is not None for _, verification in group)
    return scored, time.perf_counter() - start


def one_round(engine, problems: list[Problem], experiment: Experiment, names: list[str]) -> dict[str, dict]:
    """Generation, then every mechanism on what it drew: seconds and counts by name."""
    items, tokens, seconds = drawn(engine, problems, experiment)
    found = {"generation": {"seconds": seconds, "distinct_prompts": len(problems), "tokens": tokens}}
    for name in names:
        counted = Counted(engine)
        scored, spent = verified(counted, name, items)
        found[name] = {"seconds": spent, "distinct_prompts": counted.distinct, "scored": scored}
    for line in found.values():
        line["responses"] = len(items)
    return found


def summary(name: str, rounds: list[dict[str, dict]]) -> dict:
    """One line of output: medians over the rounds, the cost as the median of the rounds' ratios."""
    seconds = statistics.median(found[name]["seconds"] for found in rounds)
    ratios = [found[name]["seconds"] / found["generation"]["seconds"] for found in rounds]
    last = rounds[-1][name]
    return {
        "mechanism": name,
        "seconds": round(seconds, 3),
        "responses_per_second": round(last["responses"] / seconds),
        **{key: value for key, value in last.items() if key != "seconds"},
        "cost": round(statistics.median(ratios), 3),
        "cost_range": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def main() -> None:
    """Measure round by round and print one line per mechanism."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--engine", choices=sorted(LOADING), default="transformers")
    parser.add_argument("--settings", type=json.loads, default={}, help="the engine's settings as JSON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--problems", type=int, default=None, help="default: those of the experiment")
    parser.add_argument("--only", default=",".join(MECHANISMS), help="mechanisms, separated by commas")
    arguments = parser.parse_args()
    experiment = load_experiment(Path(__file__).resolve().parent.parent / "experiments" / "demo.yaml")
    n_problems, seed = arguments.problems or experiment.problems.eval, experiment.problems.seed
    problems = experiment.task.generate("eval", n_problems, seed)
    engine = LOADING[arguments.engine](name=arguments.engine, **arguments.settings).load(arguments.checkpoint)
    names = [name for name in arguments.only.split(",") if name]
    try:
        one_round(engine, problems[:WARM_UP_PROBLEMS], experiment, names)
        rounds = [one_round(engine, problems, experiment, names) for _ in range(arguments.rounds)]
    finally:
        engine.close()
    about = {"benchmark": "verifying", "engine": engine.name, "version": engine.version, "rounds": len(rounds)}
    for name in ("generation", *names):
        print(json.dumps({**about, **summary(name, rounds)}), flush=True)


if __name__ == "__main__":
    main()
