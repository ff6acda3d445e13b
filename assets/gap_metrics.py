"""How much better the model checks than it answers."""

from __future__ import annotations

import dagster as dg

from assets.common import cpu_asset, iteration_key
from ops.stages.gap import measure_gap

DESCRIPTION = """\
The generation-verification gap: accuracy after the filter minus accuracy before it, for every verifier, with 95 %
intervals over problems, the share that the filter keeps and the verifier's AUC. Above zero, the model can improve
itself by this check. SQL: `SELECT * FROM gap_metrics`."""


def build_gap_metrics(iteration: int) -> dg.AssetsDefinition:
    """``iteration_k/gap_metrics``."""
    deps = [iteration_key(iteration, "verification_scores")]
    return cpu_asset("gap_metrics", iteration, deps, {"polars", "duckdb"}, DESCRIPTION, measure_gap)
