"""The summary of an experiment with ``exploration``: what its page, its terminal table and its plot show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ops.config import Experiment
from ops.exploration.settings import Exploration
from ops.models import BuiltinModel
from ops.plan import Plan, exploration_asset
from ops.reporting.numbers import interval_of
from ops.reporting.provenance import ProvenanceRow, read_provenance
from ops.reporting.summary import model_words, variant_words
from ops.storage.schemas import polars_schema
from ops.storage.store import Store
from ops.types import Interval

ASSET_OF = {
    "policy_steps": exploration_asset("policy"),
    "training_dynamics": exploration_asset("training_dynamics"),
    "policy_evaluation": exploration_asset("evaluation"),
}
"""The tables of a summary, and the asset whose fingerprint each lies under."""

SHOWN_KS = (1, 8, 32, 64)
"""pass@k in tables: those of them that are measured, and the largest k."""

FEWEST_QUESTIONS = 10
"""Of solved or of unsolved training questions: of fewer nothing is drawn or quoted. An interval over so few says
little, and which they are is itself an outcome of the draw."""


@dataclass(frozen=True)
class ExplorationSummary:
    """An experiment with ``exploration`` as far as it has come; what is not there yet has no rows.

    Attributes:
        training: reward, advantage, bonus and KL coefficient in words.
        builtin: whether the model is a model organism of this lab.
        confidence: of every interval, e.g. 0.95.
        settings: every field of ``exploration``, of ``sampling`` and of ``problems`` with its value, as text.
        evaluated: the planned steps, 0 (the base model) first, the trained policy last.
        kl_coefficient: 0 where training loads no base model, so that the KL divergence to it is not measured.
        pass_steps: steps of one pass over the training questions, 1 at least.
        n_problems: evaluation problems; ``n_responses``: of each, from each model.
        tables: ``policy_evaluation``, ``policy_steps`` and ``training_dynamics``.
    """

    name: str
    hypothesis: str
    model: str
    task: str
    training: str
    builtin: bool
    confidence: float
    settings: tuple[tuple[str, str], ...]
    evaluated: tuple[int, ...]
    kl_coefficient: float
    pass_steps: int
    n_problems: int
    n_responses: int
    base_model: Mapping[str, Any] | None
    tables: Mapping[str, pl.DataFrame]
    provenance: tuple[ProvenanceRow, ...]

    @property
    def is_measured(self) -> bool:
        """Whether anything is there to report."""
        return any(frame.height for frame in self.tables.values())

    @property
    def final(self) -> int:
        """Steps of the whole training."""
        return self.evaluated[-1]

    @property
    def answer(self) -> str:
        """What the experiment says, in one sentence with its intervals."""
        from ops.reporting.exploration_words import answer

        return answer(self)

    @property
    def ks(self) -> list[int]:
        """Every k that pass@k is measured at, ascending."""
        frame = self.tables["policy_evaluation"]
        return sorted(frame.filter(pl.col("metric") == "pass_at_k", pl.col("value").is_not_null())["k"].unique())

    @property
    def shown_ks(self) -> list[int]:
        """Those of ``SHOWN_KS`` that are measured, and the largest."""
        return [k for k in self.ks if k in SHOWN_KS or k == self.ks[-1]]

    def value(self, step: int, metric: str, k: int | None = None) -> Interval | None:
        """Of ``policy_evaluation``; None where it is not measured, NaN where it is undefined."""
        return self._cell(step, metric, k, None)

    def change(self, step: int, metric: str, k: int | None = None) -> Interval | None:
        """The same minus the base model, paired by problem; None of the base model itself."""
        return None if step == 0 else self._cell(step, metric, k, "change")

    def _cell(self, step: int, metric: str, k: int | None, name: str | None) -> Interval | None:
        frame = self.tables["policy_evaluation"]
        rows = frame.filter(pl.col("step") == step, pl.col("metric") == metric, pl.col("k").eq_missing(k))
        return interval_of(rows.row(0, named=True), name) if rows.height else None

    def over_steps(self, column: str) -> list[tuple[int, float]]:
        """A column of ``policy_steps`` by step; steps where it is NULL or not finite are left out."""
        rows = self.tables["policy_steps"].select("step", column).drop_nulls().sort("step").rows()
        return [(step, value) for step, value in rows if math.isfinite(value)]

    def means_over_pass(self, column: str) -> list[tuple[int, float]]:
        """A column of ``policy_steps`` by step, each the mean over the last ``pass_steps`` steps (fewer at first)."""
        points = self.over_steps(column)
        window = [[value for at, value in points if step - self.pass_steps < at <= step] for step, _ in points]
        return [(step, math.fsum(near) / len(near)) for (step, _), near in zip(points, window, strict=True)]

    @property
    def sampled(self) -> pl.DataFrame:
        """``training_dynamics`` without what was measured on fewer than ``FEWEST_QUESTIONS`` (un)solved questions."""
        is_enough = (pl.col("questions") == "all") | (pl.col("n_problems") >= FEWEST_QUESTIONS)
        return self.tables["training_dynamics"].filter(is_enough)

    def dynamics(self, sampler: str, metric: str, questions: str = "all") -> list[dict[str, Any]]:
        """Rows of ``sampled`` by step, those without a value left out."""
        wanted = pl.col("sampler") == sampler, pl.col("metric") == metric, pl.col("questions") == questions
        return self.sampled.filter(*wanted, pl.col("value").is_not_null()).sort("step").rows(named=True)

    def n_questions(self, metric: str, questions: str = "all") -> list[tuple[int, int]]:
        """How many training questions the policy's value of a metric is made from, by step, too few included."""
        wanted = pl.col("sampler") == "policy", pl.col("metric") == metric, pl.col("questions") == questions
        return self.tables["training_dynamics"].filter(*wanted).sort("step").select("step", "n_problems").rows()


def summarise_exploration(experiment: Experiment, plan: Plan, store: Store) -> ExplorationSummary:
    """Read what there is of an experiment with ``exploration``.

    Raises:
        StorageError: when a table is damaged.
    """
    exploration = experiment.exploration
    assert exploration is not None  # for the type checker: the caller has asked
    base = _read(store, plan, "models", "base_model")
    return ExplorationSummary(
        name=experiment.name,
        hypothesis=" ".join(experiment.hypothesis.split()),
        model=model_words(experiment),
        task=variant_words(experiment.task),
        training=training_words(exploration),
        builtin=isinstance(experiment.model, BuiltinModel),
        confidence=experiment.statistics.confidence,
        settings=_settings(experiment),
        evaluated=tuple(sorted(plan.policies)),
        kl_coefficient=exploration.kl_coefficient,
        pass_steps=max(experiment.problems.train_per_iteration // exploration.problems_per_step, 1),
        n_problems=experiment.problems.eval,
        n_responses=experiment.sampling.n_eval,
        base_model=base.row(0, named=True) if base.height else None,
        tables={table: _read(store, plan, table, asset) for table, asset in ASSET_OF.items()},
        provenance=read_provenance(experiment, plan, store),
    )


def training_words(exploration: Exploration) -> str:
    """``reward verifiable, advantage group_normalised, bonus ucb (weight 0.2), no KL penalty``."""
    parts = [f"{name} {variant_words(getattr(exploration, name))}" for name in ("reward", "advantage", "bonus")]
    beta = exploration.kl_coefficient
    return ", ".join([*parts, f"KL coefficient {beta:g}" if beta else "no KL penalty"])


def _settings(experiment: Experiment) -> tuple[tuple[str, str], ...]:
    rows: list[tuple[str, str]] = []
    for part in ("exploration", "sampling", "problems", "statistics"):
        for field, value in getattr(experiment, part).model_dump(mode="json").items():
            rows += _flat(f"{part}.{field}", value)
    return tuple(rows)


def _flat(path: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [row for name, below in value.items() for row in _flat(f"{path}.{name}", below)]
    return [(path, "none" if value is None else str(value))]


def _read(store: Store, plan: Plan, table: str, asset: str) -> pl.DataFrame:
    """The whole table as planned; without rows where it is not there."""
    fingerprint = plan.fingerprints[asset]
    if not store.has(table, fingerprint):
        return pl.DataFrame(schema=polars_schema(table))
    return store.read(table, fingerprint)
