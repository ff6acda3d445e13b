"""What the model answers."""

from __future__ import annotations

import dagster as dg

from assets.common import about, commit_op, start_model_key
from ops.gpu_ops import iteration_op
from ops.stages.generations import grade_responses, sample_responses

DESCRIPTION = """\
n sampled responses to every problem by the model of this iteration, each with its own seed and identity, graded
correct, incorrect or unparseable. Samples drawn once are never drawn again. SQL: `SELECT * FROM generations`."""


def build_generations(iteration: int) -> dg.AssetsDefinition:
    """``iteration_k/generations``: sampling on the GPU, then grading on the CPU."""
    sample = iteration_op(
        "sample_responses",
        iteration,
        "Draw the responses that no run has drawn yet, committing them in chunks.",
        ("problems", "model"),
        sample_responses,
    )
    grade = commit_op("grade_responses", iteration, "Grade every response against the truth.", grade_responses)

    @dg.graph_asset(
        **about("generations", iteration, {"torch", "parquet"}, DESCRIPTION, gpu=True),
        ins={
            "problems": dg.AssetIn("problems", dagster_type=dg.Nothing),
            "model": dg.AssetIn(start_model_key(iteration), dagster_type=dg.Nothing),
        },
    )
    def generations(problems, model):
        return grade(sample(problems=problems, model=model))

    return generations
