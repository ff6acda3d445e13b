"""The summary of an experiment with ``evaluation``: what its page, its terminal table and its plots show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ops.config import Experiment
from ops.evaluation.labels import FileLabels
from ops.evaluation.plan import compared_models
from ops.evaluation.settings import Evaluation
from ops.models import BuiltinModel
from ops.plan import Plan, evaluation_asset
from ops.reporting.numbers import interval_of
from ops.reporting.provenance import ProvenanceRow, read_provenance
from ops.reporting.summary import model_words, variant_words
from ops.reporting.words import number
from ops.storage.schemas import polars_schema
from ops.storage.store import Store
from ops.types import Interval

ASSET = evaluation_asset("win_rates")
LABELS = evaluation_asset("human_labels")
TABLES = ("win_rates", "judge_metrics", "label_curves")
"""All of them lie under ``ASSET``."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class WinRateSummary:
    """An experiment with ``evaluation`` as far as it has come; what is not there yet has no rows.

    Attributes:
        model: of the reference, in words; ``reference``: its label.
        quantity: what is estimated: ``win_rate`` or ``accuracy``.
        judged: labels of the models that have estimates, as the experiment lists them.
        judges: labels of all judges, as the experiment lists them.
        labels: where labels come from, in words.
        builtin: whether a model is a model organism of this lab.
        confidence: of every interval, e.g. 0.95.
        settings: every field of ``evaluation``, ``sampling``, ``problems`` and ``statistics`` with its value, as text.
        notes: sentences on what was not estimated, or on what was assumed.
        tables: ``win_rates``, ``judge_metrics`` and ``label_curves``.
    """

    name: str
    hypothesis: str
    model: str
    reference: str
    task: str
    quantity: str
    judged: tuple[str, ...]
    judges: tuple[str, ...]
    labels: str
    builtin: bool
    confidence: float
    settings: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    tables: Mapping[str, pl.DataFrame]
    provenance: tuple[ProvenanceRow, ...]

    @property
    def is_measured(self) -> bool:
        """Whether anything is there to report."""
        return self.tables["win_rates"].height > 0

    @property
    def answer(self) -> str:
        """What the experiment says, in one sentence with its intervals."""
        from ops.reporting.win_rate_words import answer

        return answer(self)

    def row(self, model: str, estimator: str, judge: str | None = None, quantity: str | None = None) -> Row | None:
        """The row of ``win_rates``; None where it is not there."""
        wanted = {"model": model, "estimator": estimator, "quantity": quantity or self.quantity}
        found = self.tables["win_rates"].filter(pl.col("judge").eq_missing(judge), **wanted)
        return found.row(0, named=True) if found.height else None

    def quoted(self, model: str) -> Row | None:
        """The estimate to quote: with all judges, of all that judged the model; the human one where there is no judge.

        A judge that is fine-tuned on other models' labels is not there before those are.
        """
        known = [row for row in self.control_variates(model) if row["value"] is not None]
        return max(known, key=lambda row: row["judge"].count(" + ")) if known else self.row(model, "human")

    def control_variates(self, model: str, quantity: str | None = None) -> list[Row]:
        """Its plain control variates, as the table lists them: each judge alone, then all at once."""
        wanted = {"model": model, "estimator": "control_variate", "quantity": quantity or self.quantity}
        return list(self.tables["win_rates"].filter(**wanted).rows(named=True))

    def metrics(self, metric: str, model: str | None = None) -> dict[str, Interval]:
        """Of ``judge_metrics`` by judge; ``model`` None: over all models."""
        rows = self.tables["judge_metrics"].filter(pl.col("model").eq_missing(model), metric=metric)
        known = rows.filter(pl.col("value").is_not_null()).rows(named=True)
        return {row["judge"]: interval_of(row) for row in known}


def summarise_win_rates(experiment: Experiment, plan: Plan, store: Store) -> WinRateSummary:
    """Read what there is of an experiment with ``evaluation``.

    Raises:
        StorageError: when a table is damaged.
    """
    evaluation = experiment.evaluation
    assert evaluation is not None  # for the type checker: the caller has asked
    fingerprint = plan.fingerprints[ASSET]
    models = compared_models(experiment, evaluation)
    reference = experiment.model.shown
    is_accuracy = evaluation.estimand == "accuracy"
    asked = [*models.values(), *(getattr(judge, "model", None) for judge in evaluation.judges)]
    return WinRateSummary(
        name=experiment.name,
        hypothesis=" ".join(experiment.hypothesis.split()),
        model=model_words(experiment),
        reference=reference,
        task=variant_words(experiment.task),
        quantity=evaluation.estimand,
        judged=tuple(name for name in models if is_accuracy or name != reference),
        judges=tuple(judge.called for judge in evaluation.judges),
        labels=labels_words(evaluation),
        builtin=any(isinstance(model, BuiltinModel) for model in asked),
        confidence=experiment.statistics.confidence,
        settings=_settings(experiment),
        notes=(*_notes(store, fingerprint), *label_notes(store, plan.fingerprints[LABELS])),
        tables={table: _read(store, table, fingerprint) for table in TABLES},
        provenance=read_provenance(experiment, plan, store),
    )


def labels_words(evaluation: Evaluation) -> str:
    """``people (labels/demo.jsonl)``, ``gold answers of 100 random pairs of each model``."""
    labels = evaluation.labels
    if isinstance(labels, FileLabels):
        return "people" + (f" ({Path(labels.path).name})" if labels.path else "")
    number = "all pairs" if labels.count is None else f"{labels.count:,} random pairs of each model"
    return f"gold answers in place of people, of {number}"


def _notes(store: Store, fingerprint: str) -> tuple[str, ...]:
    """Texts of the table's metadata that say what is missing or assumed."""
    if not store.has("win_rates", fingerprint):
        return ()
    metadata = store.about("win_rates", fingerprint)["metadata"]
    return tuple(str(metadata[name]) for name in ("labels", "left_out", "not_estimated") if metadata.get(name))


def label_notes(store: Store, fingerprint: str) -> tuple[str, ...]:
    """What reading the labels found that a reader of the estimates should know: what does not count, who disagrees."""
    if not store.has("human_labels", fingerprint):
        return ()
    found = store.about("human_labels", fingerprint)["metadata"]
    notes = []
    if found.get("labels_of_pairs_that_changed"):
        n = found["labels_of_pairs_that_changed"]
        notes.append(f"{n:,} labels do not count: a response of their pairs has changed since.")
    if found.get("labels_drawn_from_fewer_pairs"):
        n = found["labels_drawn_from_fewer_pairs"]
        notes.append(
            f"{n:,} labels were drawn when there were fewer pairs: no random part of those that there are now."
        )
    if found.get("pairs_passed_over"):
        n = found["pairs_passed_over"]
        notes.append(
            f"{n:,} drawn pairs have no label though later ones of their export have: where somebody left out what was "
            "hard, the labels are no random part."
        )
    if found.get("conflicts"):
        twice, percent, alpha = (found.get(name) for name in ("pairs_labelled_twice", "agreement", "alpha"))
        agree = "" if percent is None else f", agreement {number(percent)}"
        agree += "" if alpha is None else f", Krippendorff's alpha {number(alpha)}"
        notes.append(
            f"Annotators disagree on {found['conflicts']:,} of {twice:,} pairs that several labelled{agree}; "
            "the mean counts."
        )
    return tuple(notes)


def _settings(experiment: Experiment) -> tuple[tuple[str, str], ...]:
    rows: list[tuple[str, str]] = []
    for part in ("evaluation", "sampling", "problems", "statistics"):
        for field, value in getattr(experiment, part).model_dump(mode="json").items():
            rows += _flat(f"{part}.{field}", value)
    return tuple(rows)


def _flat(path: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [row for name, below in value.items() for row in _flat(f"{path}.{name}", below)]
    if isinstance(value, list):
        return [row for place, below in enumerate(value) for row in _flat(f"{path}[{place}]", below)]
    return [(path, "none" if value is None else str(value))]


def _read(store: Store, table: str, fingerprint: str) -> pl.DataFrame:
    """The whole table as planned; without rows where it is not there."""
    if not store.has(table, fingerprint):
        return pl.DataFrame(schema=polars_schema(table))
    return store.read(table, fingerprint)
