"""What the model learns from."""

from __future__ import annotations

import dagster as dg

from assets.common import cpu_asset, iteration_key
from ops.stages.finetuning import select_finetune_data

DESCRIPTION = """\
The training responses that the filter kept: what the next model is fine-tuned on. The truth stands beside each for
audit only; the filter never sees it, except in the gold-label control. Made unless a rule has stopped the loop.
SQL: `SELECT * FROM finetune_data`."""


def build_finetune_data(iteration: int) -> dg.AssetsDefinition:
    """``iteration_k/finetune_data``; the last iteration of an experiment has none."""
    deps = [iteration_key(iteration, asset) for asset in ("verification_scores", "stopping_rules")]
    return cpu_asset(
        "finetune_data", iteration, deps, {"polars", "parquet"}, DESCRIPTION, select_finetune_data, trains=True
    )
