"""What the page, the figures and the terminal show of a study of arms, read from its own tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from ops.arm_kinds import ArmKind, kind_of
from ops.arms_plan import ARM_TABLES, ArmsBench
from ops.models import BuiltinModel
from ops.reporting.numbers import interval_of, number_of
from ops.reporting.provenance import ProvenanceRow, read_provenance
from ops.reporting.summary import training_rule
from ops.stages.arm_values import TRAINING_FILTER, shared_filters, shared_verifiers
from ops.types import Interval


class Cell(NamedTuple):
    """One estimate over seeds."""

    interval: Interval
    standard_error: float
    n_seeds: int


class Metric(NamedTuple):
    """What identifies a metric in the tables, with its words.

    An update error is shown at the iteration after which the update was made, as in the report of an experiment; in the
    tables it stands in the rows of the iteration that the update led to.
    """

    name: str
    k: int | None
    rule: str | None
    words: str
    is_signed: bool = False

    @property
    def quantity(self) -> str:
        """The words without what it is of: ``gap``."""
        return self.words.partition(" of ")[0] if self.rule is not None else self.words

    @property
    def shift(self) -> int:
        """Shown iteration minus that of the tables."""
        return -1 if self.name == "update_error" else 0


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        words: what it trains on.
        measured: of every seed, the last measured iteration; -1 where nothing is measured.
        planned: its last iteration.
        last: the last iteration at which every measured seed is there; -1 where none is measured.
        notes: what is left out of it from where on, and why.
    """

    label: str
    kind: ArmKind
    words: str
    measured: Mapping[int, int]
    planned: int
    last: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ArmsData:
    """A study of arms as far as its experiments have come.

    Attributes:
        arms: those of which something is measured, in the order of the study.
        reference: label of the arm that the answer compares with; None where there is one arm only.
        metrics: those of the tables that are shown, in the order in which they are.
        tables: the study's own, by name.
        experiments: (arm, seed) by experiment name.
        provenance: of every experiment, by name.
        fingerprints: by the keys of ``ARM_TABLES``.
    """

    name: str
    hypothesis: str
    task: str
    model: str
    is_builtin: bool
    confidence: float
    resamples: int
    n_problems: int
    n_responses: int
    arms: tuple[Arm, ...]
    reference: str | None
    metrics: tuple[Metric, ...]
    tables: Mapping[str, pl.DataFrame]
    missing: tuple[str, ...]
    experiments: Mapping[str, tuple[str, int]]
    provenance: Mapping[str, tuple[ProvenanceRow, ...]]
    fingerprints: Mapping[str, str]

    @property
    def seeds(self) -> list[int]:
        """Of all measured experiments."""
        return sorted({seed for _, seed in self.experiments.values()})

    @property
    def last(self) -> int:
        """The last iteration of any arm over all its seeds."""
        return max(arm.last for arm in self.arms)

    def arm(self, label: str) -> Arm:
        """By its label."""
        return next(arm for arm in self.arms if arm.label == label)

    def metric(self, name: str, k: int | None = None, rule: str | None = None) -> Metric | None:
        """One of ``metrics``, or None where it is not measured."""
        return next((item for item in self.metrics if item[:3] == (name, k, rule)), None)

    def curve(self, arm: str, metric: Metric) -> dict[int, Cell]:
        """Over all seeds, by the iteration at which it is shown."""
        rows = self._rows("arm_metrics", metric).filter((pl.col("arm") == arm) & pl.col("seed").is_null())
        return {row["arm_iteration"] + metric.shift: cell_of(row) for row in rows.iter_rows(named=True)}

    def lines(self, arm: str, metric: Metric) -> dict[int, dict[int, Interval]]:
        """Of every seed, by the iteration at which it is shown."""
        rows = self._rows("arm_metrics", metric).filter((pl.col("arm") == arm) & pl.col("seed").is_not_null())
        found: dict[int, dict[int, Interval]] = {}
        for row in rows.iter_rows(named=True):
            found.setdefault(row["seed"], {})[row["arm_iteration"] + metric.shift] = interval_of(row)
        return found

    def difference(self, a: str, b: str, metric: Metric, iteration: int) -> Cell | None:
        """a minus b of the tables' iteration, whichever of the two comes first there; None where there is none."""
        rows = self._rows("arm_differences", metric).filter(pl.col("arm_iteration") == iteration)
        for sign, first, second in ((1.0, a, b), (-1.0, b, a)):
            for row in rows.filter((pl.col("arm_a") == first) & (pl.col("arm_b") == second)).iter_rows(named=True):
                cell = cell_of(row)
                if sign < 0:
                    item = cell.interval
                    return cell._replace(interval=Interval(-item.value, -item.high, -item.low))
                return cell
        return None

    def _rows(self, table: str, metric: Metric) -> pl.DataFrame:
        same = (
            pl.col("metric").eq_missing(metric.name)
            & pl.col("k").eq_missing(metric.k)
            & pl.col("rule").eq_missing(metric.rule)
        )
        return self.tables[table].filter(same).sort("arm_iteration", maintain_order=True)


def read_arms(bench: ArmsBench) -> ArmsData:
    """Read the study's tables, and of its experiments their provenance.

    Raises:
        StorageError: when a table of the study is missing or damaged.
    """
    tables = {
        table: bench.store.read(table, bench.fingerprints[table])
        for table in ("arm_metrics", "arm_differences", "findings")
    }
    first = bench.loaded.members[0].experiment
    name = next(iter(bench.labs))
    responses = bench.read(name, "generations", 0, ["split", "problem_id"])
    on_eval = None if responses is None else responses.filter(pl.col("split") == "eval")
    arms = tuple(_arm(bench, label) for label in bench.arms)
    models = dict.fromkeys(member.experiment.model.shown for member in bench.loaded.members)
    return ArmsData(
        name=bench.study.name,
        hypothesis=" ".join(bench.study.hypothesis.split()),
        task=first.task.name,
        model=", ".join(models),
        is_builtin=any(isinstance(member.experiment.model, BuiltinModel) for member in bench.loaded.members),
        confidence=bench.statistics.confidence,
        resamples=bench.statistics.resamples,
        n_problems=0 if on_eval is None else on_eval["problem_id"].n_unique(),
        n_responses=0 if on_eval is None else on_eval.height,
        arms=arms,
        reference=_reference(bench, arms),
        metrics=tuple(_metrics(bench, tables["arm_metrics"])),
        tables=tables,
        missing=bench.missing,
        experiments={key: (member.arm, member.seed) for key, member in bench.members.items()},
        provenance={
            key: read_provenance(lab.experiment, lab.plan, bench.store, bench.measured[key] - 1)
            for key, lab in bench.labs.items()
        },
        fingerprints={asset: bench.fingerprints[asset] for asset in ARM_TABLES},
    )


def cell_of(row: Mapping[str, Any]) -> Cell:
    """One row over seeds of a study's table."""
    return Cell(interval_of(row), number_of(row["standard_error"]), row["n_seeds"])


def _arm(bench: ArmsBench, label: str) -> Arm:
    members = [member for member in bench.loaded.members if member.arm == label]
    experiment = members[0].experiment
    measured = {member.seed: bench.measured.get(member.experiment.name, 0) - 1 for member in members}
    names = {member.seed: member.experiment.name for member in members}
    notes = []
    for seed, last in measured.items():
        stopped = bench.stopped.get(names[seed])
        if stopped is not None:
            notes.append(f"seed {seed} stopped after iteration {stopped[0]}: {stopped[1]}")
        elif names[seed] in bench.missing:
            reached = f"measured up to iteration {last} of {experiment.iterations}" if last >= 0 else "not measured"
            notes.append(f"seed {seed} has not run to its end ({reached})")
    return Arm(
        label=label,
        kind=kind_of(experiment),
        words=_trained_on(kind_of(experiment), training_rule(experiment)),
        measured=measured,
        planned=experiment.iterations,
        last=bench.last_of(label),
        notes=tuple(notes),
    )


def _trained_on(kind: ArmKind, rule: str) -> str:
    return {
        "self": f"what it accepts itself ({rule})",
        "cross": f"what another, fixed model accepts ({rule})",
        "mixed": f"what it and another model accept ({rule})",
        "gold": "what gold labels accept",
        "none": "all of its own responses",
    }[kind]


def _reference(bench: ArmsBench, arms: tuple[Arm, ...]) -> str | None:
    """The study's own; else the arm without a filter; else the last arm."""
    if len(arms) < 2:
        return None
    labels = [arm.label for arm in arms]
    if bench.study.reference in labels:
        return bench.study.reference
    return next((arm.label for arm in arms if arm.kind == "none"), labels[-1])


def _metrics(bench: ArmsBench, frame: pl.DataFrame) -> list[Metric]:
    """What is shown: of all k the largest; of filters and verifiers each arm's own and the first that all arms have."""
    k = max(frame.filter(pl.col("metric") == "pass_at_k")["k"].to_list(), default=None)
    shared, verifier = next(iter(shared_filters(bench)), None), next(iter(shared_verifiers(bench)), None)
    own = TRAINING_FILTER
    wanted = [
        Metric("accuracy", None, None, "accuracy"),
        Metric("strict_accuracy", None, None, "strict accuracy"),
        Metric("gap", None, own, f"gap of the {own}", True),
        Metric("gap", None, shared, f"gap of {shared}", True),
        Metric("relative_gap", None, own, f"relative gap of the {own}", True),
        Metric("relative_gap", None, shared, f"relative gap of {shared}", True),
        Metric("update_error", None, own, "update error", True),
        Metric("pass_at_k", k, None, f"pass@{k}"),
        Metric("majority_vote_accuracy", None, None, "majority vote accuracy"),
        Metric("learned", None, None, "learned problems"),
        Metric("forgotten", None, None, "forgotten problems"),
        Metric("distinct_answers_in_k", k, None, f"distinct answers in {k}"),
        Metric("distinct_correct_in_k", k, None, f"distinct correct answers in {k}"),
        Metric("answer_entropy_nats", None, None, "answer entropy (nats)"),
        Metric("self_bleu", None, None, "self-BLEU"),
        Metric("response_tokens", None, None, "response length (tokens)"),
        Metric("kl_to_base_nats", None, None, "KL to the base model (nats)"),
    ]
    for rule, whose in ((own, "the training verifier"), (verifier, str(verifier))):
        wanted += [
            Metric("auroc", None, rule, f"AUROC of {whose}"),
            Metric("ece", None, rule, f"ECE of {whose}"),
            Metric("score_drift", None, rule, f"score drift of {whose}", True),
        ]
    wanted.append(Metric("balance_score", None, None, "balance score"))
    there = set(frame.select("metric", "k", "rule").unique().rows())
    return [item for item in wanted if item[:3] in there]
