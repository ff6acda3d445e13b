"""Two or more experiments with ``exploration`` side by side: their trained policies on the same evaluation problems.

The first experiment is subtracted from the others, paired by problem: both answer the same problems, so that the
bootstrap draws the same ones for both sides and what both find easy or hard cancels. All is computed anew from the
stored responses. pass@k is the unbiased estimator of 2107.03374.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ops.errors import ExperimentError, StorageError
from ops.estimation.bootstrap import mean_interval
from ops.estimation.paired import paired_mean
from ops.lab import Lab
from ops.plan import exploration_asset
from ops.reporting.exploration_summary import SHOWN_KS
from ops.reporting.settings_diff import Setting, differing_settings
from ops.stages.diversity import Metric, ProblemValues
from ops.stages.evaluation import policy_values
from ops.stages.measured import bootstrap_of
from ops.types import Interval

WHERE = "mindgap compare"
AT_LARGEST_K = ("distinct_answers_in_k", "distinct_correct_in_k")


@dataclass(frozen=True)
class PolicyCell:
    """One trained policy's estimate; ``difference``: minus the first one's, None of the first itself."""

    value: Interval
    difference: Interval | None


@dataclass(frozen=True)
class PolicyRow:
    """One metric with its k, and a cell for each experiment."""

    metric: str
    k: int | None
    cells: tuple[PolicyCell, ...]


@dataclass(frozen=True)
class PolicyComparison:
    """Trained policies side by side; the first is the reference.

    Attributes:
        settings: those that differ.
        steps: of each training, after which it is measured.
        has_same_base: for each whether its base model is the first one's (True for the first).
        n_problems, n_responses: evaluation problems, and responses to each, of all alike.
    """

    names: tuple[str, ...]
    hypotheses: tuple[str, ...]
    settings: tuple[Setting, ...]
    confidence: float
    steps: tuple[int, ...]
    has_same_base: tuple[bool, ...]
    n_problems: int
    n_responses: int
    rows: tuple[PolicyRow, ...]


def compare_policies(labs: Sequence[Lab]) -> PolicyComparison:
    """Compare the trained policies of two or more experiments, with the first one's statistics.

    Raises:
        ExperimentError: the same experiment twice, fewer than two, one without exploration, another task, other
            evaluation problems or another number of responses to each.
        StorageError: one that is not evaluated yet, or whose responses are no longer in their pool.
    """
    _check_settings(labs)
    for lab in labs:
        name, asset = lab.experiment.name, exploration_asset("evaluation")
        if not lab.store.has("policy_evaluation", lab.plan.fingerprints[asset]):
            raise StorageError(f"experiment {name}", "is not evaluated yet", remedy=f"mindgap run {name}")
    steps = tuple(max(lab.plan.policies) for lab in labs)
    found = [policy_values(lab, step) for lab, step in zip(labs, steps, strict=True)]
    _check_problems(labs, found)
    first = labs[0]
    return PolicyComparison(
        names=tuple(lab.experiment.name for lab in labs),
        hypotheses=tuple(" ".join(lab.experiment.hypothesis.split()) for lab in labs),
        settings=differing_settings([lab.experiment for lab in labs]),
        confidence=first.experiment.statistics.confidence,
        steps=steps,
        has_same_base=tuple(lab.plan.policies[0] == first.plan.policies[0] for lab in labs),
        n_problems=len(found[0].responses.problem_ids),
        n_responses=first.experiment.sampling.n_eval,
        rows=_rows(first, found),
    )


def _check_settings(labs: Sequence[Lab]) -> None:
    """Refuse what cannot be paired, as far as the experiments' files tell."""
    names = [lab.experiment.name for lab in labs]
    if len(set(names)) != len(names) or len(names) < 2:
        problem = f"expected two or more different experiments, got {', '.join(names)}"
        raise ExperimentError(WHERE, problem, remedy="name others")
    first = labs[0].experiment
    for lab in labs:
        mine = lab.experiment
        if mine.exploration is None:
            raise ExperimentError(
                WHERE,
                f"{mine.name} has no exploration and others have: iterations cannot be compared with trained policies",
                remedy="name experiments of one kind",
            )
        for field, value, other in (
            ("task", mine.task, first.task),
            ("sampling.n_eval", mine.sampling.n_eval, first.sampling.n_eval),
        ):
            if value != other:
                raise ExperimentError(
                    WHERE,
                    f"{mine.name} has another {field} than {first.name}; trained policies are compared on the same "
                    f"evaluation problems and as many responses to each",
                    field=field,
                    remedy=f"name experiments with the same {field}",
                )


def _check_problems(labs: Sequence[Lab], found: Sequence[ProblemValues]) -> None:
    """Refuse other evaluation problems than the first experiment's."""
    ids = found[0].responses.problem_ids
    for lab, values in zip(labs, found, strict=True):
        mine = values.responses.problem_ids
        if mine != ids:
            raise ExperimentError(
                WHERE,
                f"{lab.experiment.name} and {labs[0].experiment.name} have other evaluation problems "
                f"({len(mine):,} and {len(ids):,}, {len(set(mine) & set(ids)):,} in common) and cannot be paired",
                field="problems",
                remedy="give both the same problems.seed and problems.eval and run them again",
            )


def _rows(first: Lab, found: Sequence[ProblemValues]) -> tuple[PolicyRow, ...]:
    counts_RP = bootstrap_of(first, found[0].responses)  # of all alike: what differences are paired by
    confidence = first.experiment.statistics.confidence
    rows = []
    for key in _keys(found):
        reference_P = found[0].value_P[key]
        cells = []
        for place, values in enumerate(found):
            value_P = np.asarray(values.value_P[key], float)
            paired = paired_mean(value_P, reference_P, counts_RP, confidence).difference if place else None
            cells.append(PolicyCell(mean_interval(value_P, counts_RP, confidence), paired))
        rows.append(PolicyRow(*key, tuple(cells)))
    return tuple(rows)


def _keys(found: Sequence[ProblemValues]) -> list[Metric]:
    """pass@k at some ks and the largest, distinct answers at the largest, unparseable responses: what all have."""
    ks = sorted({k for metric, k in found[0].value_P if metric == "pass_at_k" and k is not None})
    keys: list[Metric] = [("pass_at_k", k) for k in ks if k in SHOWN_KS or k == ks[-1]]
    keys += [(metric, ks[-1]) for metric in AT_LARGEST_K if ks]
    keys.append(("unparseable_fraction", None))
    return [key for key in keys if all(key in values.value_P for values in found)]
