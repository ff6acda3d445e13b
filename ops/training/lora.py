"""Low-rank adapters through peft: put in before training, merged into the weights after it."""

from __future__ import annotations

from typing import Any

from ops.errors import ModelError
from ops.training.lora_settings import ALL_LINEAR, Lora


def add_adapters(model: Any, lora: Lora, where: str) -> Any:
    """Freeze ``model`` and put trainable adapters into it, in place; A is drawn from torch's generator, B is 0.

    Returns:
        peft's wrapper of the same model, which ``merge_adapters`` takes.

    Raises:
        ModelError: names a target that is no linear module of the model.
    """
    from peft import LoraConfig, get_peft_model

    targets = list(lora.target_modules)
    if targets != [ALL_LINEAR]:
        check_targets(model, targets, where)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # declared int, used as the number it is
        lora_dropout=lora.dropout,
        target_modules=ALL_LINEAR if targets == [ALL_LINEAR] else targets,
        bias="none",
    )
    return get_peft_model(model, config)


def check_targets(model: Any, targets: list[str], where: str) -> None:
    """Every target is the last part of the name of a linear module, and none of them the output layer.

    peft itself takes a list of which one name is right, and would untie an output layer from its embeddings.

    Raises:
        ModelError: names the target and the modules that there are.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    output = model.get_output_embeddings()
    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not output
    }
    for target in targets:
        if target not in linear:
            raise ModelError(
                where,
                f"{target!r} is no linear module of a {model.config.model_type} model "
                f"(there are: {', '.join(sorted(linear))})",
                field="training.lora.target_modules",
                remedy=f"name some of these, or {ALL_LINEAR}",
            )


def merge_adapters(adapted: Any) -> None:
    """Add the adapters to the weights, in place: the model is again one of its own kind, with all its parameters."""
    model = adapted.merge_and_unload()
    model.requires_grad_(True)
    if hasattr(model, "peft_config"):
        del model.peft_config
