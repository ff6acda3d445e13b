"""The summary of an experiment: what every report shows, read from the tables of its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ops.arm_kinds import ArmKind, kind_of
from ops.config import Experiment
from ops.models import BuiltinModel, HubModel, RecordedModel, RegistryModel
from ops.plan import Plan, asset_name
from ops.reporting.changes import Change, measure_changes
from ops.reporting.numbers import interval_of, number_of
from ops.reporting.provenance import ProvenanceRow, read_provenance
from ops.reporting.trajectory import Trajectory, read_trajectory
from ops.reporting.verifiers import VerifierSummary, read_verifiers
from ops.stages.training_rows import rows_in
from ops.stopping import last_iteration, stopped_at
from ops.storage.store import Store
from ops.types import Interval


@dataclass(frozen=True)
class FilterGap:
    """What one measured filter would gain at one iteration (evaluation split)."""

    label: str
    filtered_accuracy: Interval
    gap: Interval
    relative_gap: Interval
    auroc: Interval
    kept_fraction: float
    unparseable_fraction: float
    n_problems_kept_empty: int
    n_problems_solved: int


@dataclass(frozen=True)
class IterationSummary:
    """One iteration on the evaluation split, and the fine-tuning that follows it.

    Attributes:
        gaps: of every measured filter; ``primary`` is the one that trains after this iteration (with the threshold that
            its pilot chose), or else the first.
        pass_at_k, distinct_in_k: by k, ascending; empty where diversity is not measured yet.
        finetune_rows: examples that the next model is trained on; None where nothing follows (yet).
        finetune_correct_fraction: share of them that is really correct.
        update_error: gap(t) - (J(t+1) - J(t)) of what was trained on, the improvement identity of 2412.02674; None
            where ``iteration_changes`` of t+1 is not there (yet).
    """

    iteration: int
    n_problems: int
    n_responses: int
    accuracy: Interval
    strict_accuracy: float
    unparseable_response_fraction: float
    primary: FilterGap
    gaps: tuple[FilterGap, ...]
    pass_at_k: Mapping[int, Interval]
    distinct_in_k: Mapping[int, Interval]
    answer_entropy_nats: Interval | None
    finetune_rows: int | None
    finetune_correct_fraction: float | None
    update_error: Interval | None


@dataclass(frozen=True)
class Summary:
    """An experiment as far as it has come.

    Attributes:
        model: the base model in words.
        arm: what is trained on, in words; ``kind`` who judges it; ``training_rule`` the filter in words.
        verifiers: what the first measured iteration says of them; None where that is not measured.
        builtin: whether the model is a model organism of this lab.
        confidence: of every interval, e.g. 0.95.
        planned_iterations: index of the last iteration that the experiment asks for.
        stopped: the iteration after which a rule of the experiment's own ended the loop, and why; None where none has.
        iterations: those that are measured, ascending.
        changes: from the first to the last measured iteration, paired by problem; None with fewer than two.
        trajectory: the tables that curves are drawn from.
    """

    name: str
    hypothesis: str
    model: str
    task: str
    arm: str
    kind: ArmKind
    training_rule: str
    builtin: bool
    confidence: float
    planned_iterations: int
    stopped: tuple[int, str] | None
    iterations: tuple[IterationSummary, ...]
    changes: Change | None
    base_model: Mapping[str, Any] | None
    verifiers: VerifierSummary | None
    provenance: tuple[ProvenanceRow, ...]
    trajectory: Trajectory

    @property
    def is_measured(self) -> bool:
        """Whether anything is there to report."""
        return bool(self.iterations)

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will be measured: every iteration that belongs to the experiment is."""
        last = self.planned_iterations if self.stopped is None else self.stopped[0]
        return bool(self.iterations) and self.iterations[-1].iteration == last

    @property
    def answer(self) -> str:
        """What the experiment says, in one sentence with its interval."""
        from ops.reporting.words import answer

        return answer(self)

    @property
    def largest_k(self) -> int | None:
        """The largest k that every iteration with diversity metrics has."""
        shared = [set(item.pass_at_k) for item in self.iterations if item.pass_at_k]
        return max(set.intersection(*shared), default=None) if shared else None


def summarise(experiment: Experiment, plan: Plan, store: Store) -> Summary:
    """Read what there is of an experiment; iterations without gap metrics, or behind a stop, are left out.

    Raises:
        StorageError: when a table is damaged.
    """
    last = last_iteration(experiment, plan, store)
    trajectory = read_trajectory(experiment, plan, store, last)
    found = [_iteration(experiment, plan, store, trajectory, k) for k in range(last + 1)]
    iterations = [item for item in found if item is not None]
    base = _read(store, plan, "models", "base_model")
    return Summary(
        name=experiment.name,
        hypothesis=" ".join(experiment.hypothesis.split()),
        model=model_words(experiment),
        task=variant_words(experiment.task),
        arm=arm_words(experiment),
        kind=kind_of(experiment),
        training_rule=training_rule(experiment),
        builtin=isinstance(experiment.model, BuiltinModel),
        confidence=experiment.statistics.confidence,
        planned_iterations=experiment.iterations,
        stopped=stopped_at(experiment, plan, store),
        iterations=tuple(iterations),
        changes=measure_changes(experiment, plan, store, [item.iteration for item in iterations]),
        base_model=base.row(0, named=True) if base is not None else None,
        verifiers=read_verifiers(plan, store, iterations[0].iteration) if iterations else None,
        provenance=read_provenance(experiment, plan, store, last),
        trajectory=trajectory,
    )


def arm_words(experiment: Experiment) -> str:
    """What is trained on: ``self-verified (binary_cot >= 0.5)``, ``gold labels``, ``no filter``."""
    chosen, kind = experiment.filter, kind_of(experiment)
    if experiment.iterations == 0:
        return "verification only"
    if kind in ("gold", "none"):
        return chosen.label
    named = {"self": "self-verified", "cross": "cross-verified", "mixed": "verified by itself and by another model"}
    return f"{named[kind]} ({training_rule(experiment)})"


def training_rule(experiment: Experiment) -> str:
    """The training filter in words; where a pilot chooses its threshold, that it does."""
    chosen = experiment.filter
    if not experiment.chooses_threshold:
        return chosen.label
    return f"{' AND '.join(chosen.verifier_names)}, its {chosen.name} chosen at each iteration"


def _iteration(
    experiment: Experiment, plan: Plan, store: Store, trajectory: Trajectory, k: int
) -> IterationSummary | None:
    gaps = _read(store, plan, "gap_metrics", asset_name("gap_metrics", k))
    if gaps is None:
        return None
    rows = gaps.filter(pl.col("split") == "eval").rows(named=True)
    diversity = _read(store, plan, "diversity_metrics", asset_name("diversity_metrics", k))
    values = {} if diversity is None else _metrics(diversity)
    data = _chosen(experiment, plan, store, k)
    measured = [_filter_gap(row) for row in rows]
    first = rows[0]
    return IterationSummary(
        iteration=k,
        n_problems=first["n_problems"],
        n_responses=first["n_responses"],
        accuracy=interval_of(first, "accuracy"),
        strict_accuracy=number_of(first["strict_accuracy"]),
        unparseable_response_fraction=number_of(first["unparseable_response_fraction"]),
        primary=next((item for item in measured if item.label == trajectory.label_at(k)), measured[0]),
        gaps=tuple(measured),
        pass_at_k={n: item for (metric, n), item in values.items() if metric == "pass_at_k" and n},
        distinct_in_k={n: item for (metric, n), item in values.items() if metric == "distinct_answers_in_k" and n},
        answer_entropy_nats=values.get(("answer_entropy_nats", None)),
        finetune_rows=None if data is None else data.height,
        finetune_correct_fraction=None if data is None or not data.height else _share_correct(data),
        update_error=trajectory.update_errors().get(k),
    )


def _chosen(experiment: Experiment, plan: Plan, store: Store, k: int) -> pl.DataFrame | None:
    """What is trained on after iteration k; None where nothing is (yet)."""
    table, fingerprint = experiment.training.examples_table, plan.fingerprints.get(asset_name("finetune_data", k))
    known = fingerprint is not None and store.has(table, fingerprint)
    return rows_in(store, table, fingerprint) if known and fingerprint else None


def _share_correct(data: pl.DataFrame) -> float:
    return sum(verdict == "correct" for verdict in data["verdict"]) / data.height


def _read(store: Store, plan: Plan, table: str, asset: str, columns: list[str] | None = None) -> pl.DataFrame | None:
    fingerprint = plan.fingerprints.get(asset)
    if fingerprint is None or not store.has(table, fingerprint):
        return None
    return store.read(table, fingerprint, columns)


def _filter_gap(row: Mapping[str, Any]) -> FilterGap:
    return FilterGap(
        label=row["rule"],
        filtered_accuracy=interval_of(row, "filtered_accuracy"),
        gap=interval_of(row, "gap"),
        relative_gap=interval_of(row, "relative_gap"),
        auroc=interval_of(row, "auroc"),
        kept_fraction=number_of(row["kept_fraction"]),
        unparseable_fraction=number_of(row["unparseable_fraction"]),
        n_problems_kept_empty=row["n_problems_kept_empty"],
        n_problems_solved=row["n_problems_solved"],
    )


def _metrics(frame: pl.DataFrame) -> dict[tuple[str, int | None], Interval]:
    rows = frame.filter(pl.col("split") == "eval").sort("metric", "k").iter_rows(named=True)
    return {(row["metric"], row["k"]): interval_of(row) for row in rows}


def model_words(experiment: Experiment) -> str:
    """The base model: ``built-in countdown model, size s, 1,500 steps, seed 0``."""
    model = experiment.model
    if isinstance(model, BuiltinModel):
        return f"built-in {model.recipe} model, size {model.size}, {model.steps:,} steps, seed {model.seed}"
    if isinstance(model, RecordedModel):
        return f"{model.label} (recorded responses)"
    if isinstance(model, RegistryModel):
        return f"{model.name}, version {model.version} of the registry"
    if isinstance(model, HubModel):
        return f"{model.id} at {model.revision}"
    return model.path if model.kind == "folder" else f"{model.shown} of the model registry"


def variant_words(variant: Any) -> str:
    """Name and parameters: ``countdown (numbers 3)``."""
    settings = ", ".join(f"{key} {value}" for key, value in variant.model_dump().items() if key != "name")
    return f"{variant.name} ({settings})" if settings else str(variant.name)
