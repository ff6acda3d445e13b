"""Which problems were learned and which forgotten, since the iteration before and since iteration 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ops.estimation.bootstrap import resample_counts
from ops.estimation.gap import group_sizes, per_problem
from ops.estimation.plurality import plurality_accuracy
from ops.estimation.transitions import flips
from ops.lab import Lab
from ops.stages.iteration_changes import SPLIT, references_of
from ops.stages.measured import Responses, check_same_problems, splits_of, with_ends, without_nan
from ops.storage.schemas import polars_schema
from ops.types import StageResult

CRITERIA = ("any", "half", "majority")
"""What counts as solved: at least one response is right; at least half of them are; the most frequent answer is."""

_WHOLE = 1.0 - 1e-9
"""From here on a vote is won for certain."""


def solved(responses: Responses) -> dict[str, np.ndarray]:
    """Whether each problem is solved, 1 or 0 [P], by criterion.

    Under ``majority`` a tie of a right and a wrong answer counts as not solved; so does a problem without any answer
    unless all its responses are right. NaN everywhere where no response of the split has an answer.
    """
    index, n_problems = responses.problem_index, len(responses.problem_ids)
    correct_P = per_problem(index, responses.is_correct.astype(float), n_problems)
    answers = responses.frame["answer"].to_list()
    vote_P = plurality_accuracy(index, answers, responses.is_correct, n_problems)
    return {
        "any": (correct_P > 0).astype(float),
        "half": (2.0 * correct_P >= group_sizes(index, n_problems)).astype(float),
        "majority": np.where(np.isnan(vote_P), np.nan, vote_P >= _WHOLE),
    }


def measure_flips(lab: Lab, iteration: int) -> StageResult:
    """Count the transitions on the evaluation problems and commit ``problem_flips``, from iteration 1 on."""
    statistics = lab.experiment.statistics

    def compute() -> pl.DataFrame:
        found = {k: splits_of(lab, k).get(SPLIT) for k in {iteration, iteration - 1, 0}}
        rows: list[dict[str, Any]] = []
        now = found[iteration]
        for reference in references_of(iteration):
            then = found[reference.iteration]
            if now is None or then is None:
                continue
            check_same_problems(now.problem_ids, then.problem_ids)
            counts_RP = resample_counts(len(now.problem_ids), statistics.resamples, statistics.seed)
            before, after = solved(then), solved(now)
            for criterion in CRITERIA:
                counted = flips(before[criterion], after[criterion], counts_RP, statistics.confidence)
                about = {"split": SPLIT, "reference": reference.name, "from_iteration": reference.iteration}
                ends = with_ends(
                    stayed_solved=counted.stayed_solved,
                    learned=counted.learned,
                    forgotten=counted.forgotten,
                    stayed_unsolved=counted.stayed_unsolved,
                )
                rows.append(without_nan({**about, "criterion": criterion, "n_problems": counted.n_problems, **ends}))
        return pl.DataFrame(rows, schema=polars_schema("problem_flips"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        numbers: dict[str, Any] = {}
        for row in frame.iter_rows(named=True):
            for name in ("learned", "forgotten"):
                words = f"{name}_{row['criterion']}_since_{row['reference']}"
                numbers |= {f"{words}{end}": row[f"{name}{end}"] for end in ("", "_low", "_high")}
        return numbers

    return lab.materialise("problem_flips", "problem_flips", iteration, compute, metadata)
