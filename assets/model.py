"""The next iteration's model."""

from __future__ import annotations

import dagster as dg

from assets.common import about, commit_op, iteration_key, start_model_key
from ops.gpu_ops import iteration_op
from ops.stages.finetuning import finetune_model, register_model

DESCRIPTION = """\
The model fine-tuned on what the filter kept; it answers at the next iteration. A Hugging Face folder with safetensors,
registered in MLflow as a version of the experiment's model. SQL: `SELECT * FROM models`."""


def build_model(iteration: int) -> dg.AssetsDefinition:
    """``iteration_k/model``: training on the GPU, then registration on the CPU; the last iteration has none."""
    train = iteration_op(
        "finetune_model",
        iteration,
        "Fine-tune on the kept responses; resumes from the last saved step.",
        ("finetune_data", "start_model"),
        finetune_model,
        trains=True,
    )
    register = commit_op("register_model", iteration, "Commit the model's row, register its version.", register_model)

    @dg.graph_asset(
        **about("model", iteration, {"torch", "huggingface", "mlflow"}, DESCRIPTION, gpu=True),
        ins={
            "finetune_data": dg.AssetIn(iteration_key(iteration, "finetune_data"), dagster_type=dg.Nothing),
            "start_model": dg.AssetIn(start_model_key(iteration), dagster_type=dg.Nothing),
        },
    )
    def model(finetune_data, start_model):
        return register(train(finetune_data=finetune_data, start_model=start_model))

    return model
