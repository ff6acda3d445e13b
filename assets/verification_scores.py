"""What the model thinks of its own answers."""

from __future__ import annotations

import dagster as dg

from assets.common import about, commit_op, iteration_key
from ops.gpu_ops import iteration_op
from ops.stages.scores import collect_scores
from ops.stages.verification import verify_responses

DESCRIPTION = """\
Every verifier of the experiment judges every response, with the same model that wrote it and without seeing the truth.
Scores, verdicts and transcripts. SQL: `SELECT * FROM verification_scores`."""


def build_verification_scores(iteration: int) -> dg.AssetsDefinition:
    """``iteration_k/verification_scores``: verification on the GPU, then the table on the CPU."""
    verify = iteration_op(
        "verify_responses",
        iteration,
        "Score the responses that are not scored yet, verifier by verifier, committing in chunks.",
        ("generations",),
        verify_responses,
    )
    collect = commit_op("collect_scores", iteration, "Put the scores of all verifiers into one table.", collect_scores)

    @dg.graph_asset(
        **about("verification_scores", iteration, {"torch", "parquet"}, DESCRIPTION, gpu=True),
        ins={"generations": dg.AssetIn(iteration_key(iteration, "generations"), dagster_type=dg.Nothing)},
    )
    def verification_scores(generations):
        return collect(verify(generations=generations))

    return verification_scores
