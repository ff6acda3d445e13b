"""What was selected for training."""

from __future__ import annotations

import dagster as dg

from assets.common import cpu_asset, iteration_key
from ops.stages.selection_metrics import measure_selection

DESCRIPTION = """\
What the next model is trained on: the share that is right, how many problems have anything, how many different right
responses a problem has, and the balance score of B-STaR (2412.17256), with intervals over the training problems.
SQL: `SELECT * FROM selection_metrics`."""


def build_selection_metrics(iteration: int) -> dg.AssetsDefinition:
    """``iteration_k/selection_metrics``, of iterations that train."""
    deps = [iteration_key(iteration, "finetune_data")]
    kinds = {"polars", "duckdb"}
    return cpu_asset("selection_metrics", iteration, deps, kinds, DESCRIPTION, measure_selection, trains=True)
