"""Whether another iteration is worth it."""

from __future__ import annotations

import dagster as dg

from assets.common import cpu_asset, iteration_key
from ops.stages.stopping_rules import judge_rules

DESCRIPTION = """\
Three rules, each judged by an interval over problems and the experiment's `limits`: is the gap of the training filter
closed, has pass@k at the largest k fallen below that of iteration 0, does the verifier believe ever more wrong
answers? One that the experiment lists under `stop` ends the loop: nothing more is trained.
SQL: `FROM stopping_rules`."""


def build_stopping_rules(iteration: int) -> dg.AssetsDefinition:
    """``iteration_k/stopping_rules``; iteration 0 has nothing to compare with, so only its gap is judged."""
    read = ["gap_metrics", *(["iteration_changes"] if iteration > 0 else [])]
    deps = [iteration_key(iteration, asset) for asset in read]
    return cpu_asset("stopping_rules", iteration, deps, {"polars", "duckdb"}, DESCRIPTION, judge_rules)
