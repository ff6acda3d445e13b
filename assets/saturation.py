"""Where the curves over the iterations lead."""

from __future__ import annotations

import dagster as dg

from assets.common import fan_in_asset, iteration_key
from ops.stages.saturation import fit_saturation

DESCRIPTION = """\
An exponential decay to a limit (arXiv 2507.00075), fitted to the gap and the relative gap of every measured filter and
to accuracy over the iterations: the limit they approach, how fast, and the value expected after one more iteration,
with intervals over problems. Needs at least three iterations. SQL: `SELECT * FROM saturation`."""

READ = ("generations", "verification_scores", "stopping_rules")


def build_saturation(iterations: int) -> dg.AssetsDefinition:
    """``saturation`` of a graph with iterations 0..iterations."""
    keys = [iteration_key(k, asset) for k in range(iterations + 1) for asset in READ]
    op = "fit_curves", "Fit the curves over all iterations that there are."
    kinds = {"polars", "duckdb"}
    return fan_in_asset("saturation", kinds, DESCRIPTION, keys, *op, fit_saturation, needs_loop=True)
