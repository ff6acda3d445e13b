"""Training dynamics: the policy's responses of a whole training against the base model's at the same number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ops.errors import StorageError
from ops.estimation.bootstrap import resample_counts
from ops.estimation.sampling_curves import (
    Groups,
    Outcomes,
    budget_steps,
    curve_intervals,
    sampling_curves,
    window_curves,
)
from ops.lab import Lab
from ops.plan import exploration_asset
from ops.stages.drawing import draw_asks, pool_responses
from ops.stages.evaluation import policy_source
from ops.stages.measured import without_nan
from ops.stages.problems import stored_problems
from ops.stages.wanted import Ask
from ops.storage.schemas import polars_schema
from ops.types import Problem, StageResult

ASSET = exploration_asset("training_dynamics")
TABLE = "training_dynamics"
DRAWN = ["step", "problem_id", "sample_index"]
MEASURED = [*DRAWN, "answer", "verdict", "n_tokens", "entropy_nats"]


@dataclass(frozen=True)
class Visits:
    """What a policy was trained on: all training problems, and how often each of them was visited.

    Attributes:
        problems: P training problems, in the order of the table ``problems``.
        times: of each problem, 0 where it was never visited.
        n: responses of a visit.
        window: steps of an epoch: what is measured of the latest responses is measured over so many steps.
    """

    problems: list[Problem]
    times: list[int]
    n: int
    window: int

    @property
    def visited(self) -> tuple[list[Problem], list[int]]:
        """The problems that were visited, and the number of the policy's responses to each."""
        some = [(problem, times) for problem, times in zip(self.problems, self.times, strict=True) if times]
        return [problem for problem, _ in some], [times * self.n for _, times in some]


def draw_base_responses(lab: Lab) -> dict[str, Any]:
    """Draw twice as many responses of the base model to each training problem as the policy drew in its training (GPU).

    The first half of a problem's is compared with the policy's; the second half only says which questions are unsolved.
    They are the first samples of the base model's own pool, which all experiments with that model and sampling share:
    arms and seeds that visit the same problems draw them once.

    Returns:
        how many were drawn and reused, how many are compared and how many classify, the tokens per second of the
        drawing, and what the engine spent.
    """
    if lab.store.has(TABLE, lab.plan.fingerprints[ASSET]):
        return {"drawn": 0, "reused": True}
    problems, counts = _visits(lab, _rollouts(lab, DRAWN)).visited
    prompts = lab.prompt_format()
    by_prompt: dict[str, list[tuple[Problem, int]]] = {}
    for problem, count in zip(problems, counts, strict=True):
        by_prompt.setdefault(prompts.solve(problem), []).append((problem, 2 * count))
    asks = [
        Ask(prompt, tuple(problem for problem, _ in posed), max(count for _, count in posed))
        for prompt, posed in by_prompt.items()
    ]
    label = "base model at twice the policy's number of responses"
    numbers = {"reused": False, "compared_samples": sum(counts), "classifying_samples": sum(counts)}
    return numbers | draw_asks(lab, lambda: lab.policy_engine(0), policy_source(lab, 0), asks, label)


def measure_training_dynamics(lab: Lab) -> StageResult:
    """Measure policy and base model at equal numbers of responses and commit the table ``training_dynamics`` (CPU).

    Raises:
        StorageError: when a group of ``rollouts`` is not whole, or responses of the base model are not in their pool.
    """
    return lab.materialise(TABLE, ASSET, None, lambda: _frame(lab), _shown)


def _frame(lab: Lab) -> pl.DataFrame:
    exploration, statistics = lab.experiment.exploration, lab.experiment.statistics
    assert exploration is not None  # for the type checker: the plan has this asset only with exploration
    rollouts = _rollouts(lab, MEASURED)
    visits = _visits(lab, rollouts)
    rows = _by_problem(visits, rollouts)
    groups = _groups(visits, rows)
    budgets_B = budget_steps(exploration.steps)
    compared, classifying = _base_responses(lab, visits)
    policy, base = _outcomes(rows, visits.n), _outcomes(compared, visits.n)
    classified_G = _outcomes(classifying, visits.n).solved
    curves = sampling_curves(groups, policy, base, classified_G, budgets_B, visits.window)
    curves |= window_curves(groups, _values(rows, visits.n), budgets_B, visits.window)
    counts_RP = resample_counts(groups.n_problems, statistics.resamples, statistics.seed)
    intervals = curve_intervals(curves, counts_RP, statistics.confidence)
    n_responses_B = np.searchsorted(np.sort(groups.step_G), budgets_B) * visits.n
    cells = [
        without_nan({"step": step, "n_responses": n, **key._asdict(), **vars(interval), "n_problems": n_problems})
        for key, ratio in curves.items()
        for step, n, interval, n_problems in zip(
            budgets_B.tolist(), n_responses_B.tolist(), intervals[key], ratio.n_problems.tolist(), strict=True
        )
    ]
    return pl.DataFrame(cells, schema=polars_schema(TABLE))


def _rollouts(lab: Lab, columns: list[str]) -> pl.DataFrame:
    return lab.store.read("rollouts", lab.plan.fingerprints[exploration_asset("rollouts")], columns)


def _visits(lab: Lab, rollouts: pl.DataFrame) -> Visits:
    """How often each training problem was visited.

    Raises:
        StorageError: when a group is not whole, or of a problem that the experiment does not train on.
    """
    exploration = lab.experiment.exploration
    assert exploration is not None  # for the type checker
    n = exploration.responses_per_problem
    problems = [problem for problem in stored_problems(lab) if problem.split == "train"]
    sizes = dict(rollouts.group_by("problem_id").len().iter_rows())
    times = rollouts.group_by("step", "problem_id", "sample_index").len()
    groups = times.group_by("step", "problem_id").agg(n=pl.len(), even=pl.col("len").n_unique() == 1)
    broken = groups.filter((pl.col("n") != n) | ~pl.col("even")).sort("step", "problem_id")
    if broken.height:
        step, name, *_ = broken.row(0)
        raise _refused(lab, f"the group of problem {name} at step {step} is not of {n} responses")
    unknown = sizes.keys() - {problem.problem_id for problem in problems}
    if unknown:
        raise _refused(lab, f"{len(unknown)} problems are no training problems, for example {min(unknown)}")
    window = len(problems) // exploration.problems_per_step
    return Visits(problems, [sizes.get(problem.problem_id, 0) // n for problem in problems], n, window)


def _refused(lab: Lab, problem: str) -> StorageError:
    return StorageError(
        f"rollouts {lab.plan.fingerprints[exploration_asset('rollouts')]}",
        problem,
        remedy="the table does not belong to this experiment: delete its file and run the experiment again",
    )


def _by_problem(visits: Visits, rollouts: pl.DataFrame) -> pl.DataFrame:
    """Rows by problem, step and group, with the column ``position`` of the problem.

    A step that begins a new pass over the problems may visit one twice: its rows of one sample index are told apart by
    the order of the table.
    """
    order = pl.DataFrame({"problem_id": [p.problem_id for p in visits.problems]}).with_row_index("position")
    rows = rollouts.join(order, on="problem_id", how="inner", maintain_order="left")
    again = pl.col("sample_index").cum_count().over("step", "problem_id", "sample_index")
    return rows.with_columns(again=again).sort("position", "step", "again", "sample_index", maintain_order=True)


def _groups(visits: Visits, rows: pl.DataFrame) -> Groups:
    first = rows.gather_every(visits.n)
    return Groups(first["position"].cast(pl.Int64).to_numpy(), first["step"].to_numpy(), len(visits.problems))


def _base_responses(lab: Lab, visits: Visits) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Answers and verdicts of the responses that are compared, and of those that classify.

    Both in the order of ``_by_problem``: of each half of a problem's samples the g-th n stand against the g-th visit.

    Raises:
        StorageError: when some are not in their pool.
    """
    problems, counts = visits.visited
    twice = [2 * count for count in counts]
    found = pool_responses(lab, policy_source(lab, 0), problems, twice, lab.plan.policies[0], ASSET)
    responses = pl.concat([frame.select("answer", "verdict") for frame in found])
    is_compared = pl.Series(np.repeat(np.tile([True, False], len(counts)), np.repeat(counts, 2)))
    return responses.filter(is_compared), responses.filter(~is_compared)


def _outcomes(rows: pl.DataFrame, n: int) -> Outcomes:
    """Answers as numbers. The verdict says whether there is one."""
    answers = rows.select(answer=pl.when(pl.col("verdict") != "unparseable").then("answer"))
    known = answers.drop_nulls().unique(maintain_order=True).with_row_index("code")
    code = answers.join(known, on="answer", how="left", maintain_order="left")["code"].cast(pl.Int64).fill_null(-1)
    correct = rows["verdict"] == "correct"
    return Outcomes(code.to_numpy().reshape(-1, n), correct.to_numpy().reshape(-1, n))


def _values(rows: pl.DataFrame, n: int) -> dict[str, np.ndarray]:
    """What is averaged over the policy's responses, float64 [G, n], NaN where a response is left out."""
    correct, unparseable = pl.col("verdict") == "correct", pl.col("verdict") == "unparseable"
    values = rows.select(
        entropy_nats_correct=pl.when(correct).then("entropy_nats"),
        entropy_nats_incorrect=pl.when(~correct).then("entropy_nats"),
        accuracy=correct,
        unparseable_fraction=unparseable,
        response_tokens="n_tokens",
    ).select(pl.all().cast(pl.Float64).fill_null(float("nan")))
    return {name: values[name].to_numpy().reshape(-1, n) for name in values.columns}


def _shown(frame: pl.DataFrame) -> dict[str, Any]:
    """The end of the training, for people."""
    last = frame.filter(pl.col("step") == frame["step"].max())
    n_responses = last["n_responses"].max()
    numbers: dict[str, Any] = {"responses": n_responses}
    numbers |= {"base_responses_compared": n_responses, "base_responses_classifying": n_responses}
    shown = (
        ("solved_questions", "all"),
        ("distinct_answers", "all"),
        ("distinct_answers", "unsolved"),
        ("distinct_correct_answers", "all"),
    )
    for metric, questions in shown:
        name = metric if questions == "all" else f"{metric}_{questions}"
        rows = {row["sampler"]: row for row in last.filter(metric=metric, questions=questions).iter_rows(named=True)}
        numbers |= {f"{name}_{sampler}": row["value"] for sampler, row in rows.items()}
        numbers |= {f"{name}_policy_minus_base_{end}": rows["policy_minus_base"][end] for end in ("low", "high")}
    return numbers
