"""How far the model has moved."""

from __future__ import annotations

import dagster as dg

from assets.common import about, commit_op, iteration_key
from ops.gpu_ops import iteration_op
from ops.stages.policy_shift import measure_policy_shift, read_under_base

DESCRIPTION = """\
How far this iteration's model has moved from the base model: the KL divergence estimated from its own responses, per
response and per token. Both models read the same texts; with an engine that cannot read given texts there are no rows.
SQL: `SELECT * FROM policy_shift`."""


def build_policy_shift(iteration: int) -> dg.AssetsDefinition:
    """``iteration_k/policy_shift``: reading on the GPU, then the table on the CPU.

    It waits for verification, so that the model that generates and verifies is loaded once.
    """
    read = iteration_op(
        "read_under_base",
        iteration,
        "Read the first responses of each evaluation problem under their own and the base model, committing in chunks.",
        ("verified",),
        read_under_base,
    )
    measure = commit_op("measure_policy_shift", iteration, "Estimate the divergence.", measure_policy_shift)

    @dg.graph_asset(
        **about("policy_shift", iteration, {"torch", "polars"}, DESCRIPTION, gpu=True),
        ins={"verified": dg.AssetIn(iteration_key(iteration, "verification_scores"), dagster_type=dg.Nothing)},
    )
    def policy_shift(verified):
        return measure(read(verified=verified))

    return policy_shift
