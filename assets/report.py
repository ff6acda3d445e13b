"""The experiment's report."""

import inspect
from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.common import about, iteration_key
from assets.metadata import shown
from ops.gpu_ops import CPU_TAGS, materialized, opened_lab
from ops.plan import MEASURED_ASSETS
from ops.stages.report import write_report

DESCRIPTION = """\
One HTML page: accuracy, gap and diversity over the iterations, with intervals and plots, and what they say about the
hypothesis. `mindgap report EXPERIMENT` shows it in the terminal."""


@dg.op(
    name="write_report",
    description="Write the page from the tables of every iteration.",
    ins={"measured": dg.In(dg.Nothing)},
    out=dg.Out(dg.Nothing),
    tags=CPU_TAGS,
    required_resource_keys={"bench"},
)
def _write(context: dg.OpExecutionContext) -> Iterator[dg.Output]:
    with opened_lab(context) as lab:
        result = write_report(lab)
        context.resources.bench.committed(result)
    yield materialized(result, shown(result))


def build_report(iterations: int) -> dg.AssetsDefinition:
    """``report`` of a graph with iterations 0..iterations.

    All measurements enter one fan-in input: Dagster skips a step as soon as one of its inputs is missing, but a
    fan-in input counts as missing only when all of its sources are. So an experiment with fewer iterations than
    the graph still gets its report (docs/decisions/0002-graph.md).
    """
    keys = [iteration_key(k, asset) for k in range(iterations + 1) for asset in MEASURED_ASSETS]
    names = {f"{key.path[1]}_{key.path[0].removeprefix('iteration_')}": key for key in keys}

    def report(**measured: Any) -> Any:
        return _write(measured=list(measured.values()))

    report.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
    )
    return dg.graph_asset(
        **about("report", None, {"html", "plotly"}, DESCRIPTION),
        ins={name: dg.AssetIn(key, dagster_type=dg.Nothing) for name, key in names.items()},
    )(report)
