"""What has changed since the iteration before, and since iteration 0."""

from __future__ import annotations

import dagster as dg

from assets.common import cpu_asset, iteration_key
from ops.stages.iteration_changes import measure_changes
from ops.stages.problem_flips import measure_flips

CHANGES = """\
Every metric of this iteration minus the iteration before, and minus iteration 0, paired by problem, with intervals: so
much of it is more than noise. Also the update error: what the filter promised and training did not deliver
(2412.02674). SQL: `SELECT * FROM iteration_changes`."""

FLIPS = """\
Which share of the problems was learned, forgotten, or stayed as it was, since the iteration before and since iteration
0, with intervals. A rising accuracy may hide forgotten problems. SQL: `SELECT * FROM problem_flips`."""


def build_iteration_changes(iteration: int) -> list[dg.AssetsDefinition]:
    """``iteration_k/iteration_changes`` and ``iteration_k/problem_flips``, for k from 1 on."""
    compared = sorted({0, iteration - 1, iteration})
    scores = [iteration_key(k, "verification_scores") for k in compared]
    responses = [iteration_key(k, "generations") for k in compared]
    kinds = {"polars", "duckdb"}
    return [
        cpu_asset("iteration_changes", iteration, scores, kinds, CHANGES, measure_changes),
        cpu_asset("problem_flips", iteration, responses, kinds, FLIPS, measure_flips),
    ]
