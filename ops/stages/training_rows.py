"""Which responses an iteration trains on, whatever the training method made of them."""

from __future__ import annotations

import polars as pl

from ops.lab import Lab
from ops.plan import asset_name
from ops.storage.store import Store

COLUMNS = ("problem_id", "sample_index", "response_id", "verdict")


def training_rows(lab: Lab, iteration: int) -> pl.DataFrame:
    """The responses that the experiment's filter chose at ``iteration``, one row each.

    Columns ``problem_id``, ``sample_index``, ``response_id`` and ``verdict`` (the truth, for audit), sorted by problem
    and sample index. Of preference pairs these are the chosen responses; one that stands in several pairs is one row.

    Raises:
        StorageError: when the iteration's ``finetune_data`` is not committed.
    """
    fingerprint = lab.plan.fingerprints[asset_name("finetune_data", iteration)]
    return rows_in(lab.store, lab.experiment.training.examples_table, fingerprint)


def rows_in(store: Store, table: str, fingerprint: str) -> pl.DataFrame:
    """``training_rows`` of a table of examples, ``TrainingMethod.examples_table``, by its fingerprint."""
    if table == "finetune_data":
        return store.read(table, fingerprint, list(COLUMNS)).sort("problem_id", "sample_index")
    names = {name: name if name == "problem_id" else f"chosen_{name}" for name in COLUMNS}
    frame = store.read(table, fingerprint, list(names.values()))
    chosen = frame.rename({stored: name for name, stored in names.items()})
    return chosen.unique("response_id").select(COLUMNS).sort("problem_id", "sample_index")
