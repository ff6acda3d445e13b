"""The problems of an experiment."""

import dagster as dg

from assets.common import about
from assets.metadata import shown
from ops.gpu_ops import CPU_TAGS, opened_lab
from ops.stages.problems import make_problems

DESCRIPTION = """\
The questions that the model is asked: held-out ones for evaluation, the same at every iteration, and fresh training
ones for each iteration. Generated from a seed, or read from files. SQL: `SELECT * FROM problems`."""


@dg.asset(
    **about("problems", None, {"python", "parquet"}, DESCRIPTION), op_tags=CPU_TAGS, required_resource_keys={"bench"}
)
def problems(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    with opened_lab(context) as lab:
        result = make_problems(lab)
        context.resources.bench.committed(result)
    return dg.MaterializeResult(metadata=shown(result), data_version=dg.DataVersion(result.fingerprint))
