"""The experiment's report."""

from __future__ import annotations

import dagster as dg

from assets.common import fan_in_asset, group_key, iteration_key
from ops.plan import CHANGE_ASSETS, EXPLORATION_ASSETS, MEASURED_ASSETS, measures
from ops.stages.report import write_report

DESCRIPTION = """\
One HTML page: accuracy, gap and diversity over the iterations (or over the steps of reinforcement learning, or win
rates against a reference), with intervals and plots, and what they say about the hypothesis.
`mindgap report EXPERIMENT` shows it in the terminal."""


def build_report(iterations: int) -> dg.AssetsDefinition:
    """``report`` of a graph with iterations 0..iterations."""
    read = (*MEASURED_ASSETS, *CHANGE_ASSETS, "stopping_rules", "selection_metrics")
    keys = [iteration_key(k, asset) for k in range(iterations + 1) for asset in read if measures(asset, k, iterations)]
    keys += [dg.AssetKey("saturation"), *(group_key("exploration", asset) for asset in EXPLORATION_ASSETS)]
    keys.append(group_key("evaluation", "win_rates"))
    op = "write_report", "Write the page from all tables of the experiment."
    return fan_in_asset("report", {"html", "plotly"}, DESCRIPTION, keys, *op, write_report)
