"""Accuracy, and what improvement costs in diversity."""

from __future__ import annotations

import dagster as dg

from assets.common import cpu_asset, iteration_key
from ops.stages.diversity import measure_diversity

DESCRIPTION = """\
Accuracy (flexible, strict, of a majority vote), pass@k, the expected number of distinct answers and of distinct right
answers among k, the entropy of answers, self-BLEU and response length, with intervals over problems. Self-improvement
tends to raise pass@1 and lower pass@64. SQL: `SELECT * FROM diversity_metrics`."""


def build_diversity_metrics(iteration: int) -> dg.AssetsDefinition:
    """``iteration_k/diversity_metrics``."""
    deps = [iteration_key(iteration, "generations")]
    return cpu_asset("diversity_metrics", iteration, deps, {"polars", "duckdb"}, DESCRIPTION, measure_diversity)
