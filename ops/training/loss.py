"""The training loss: a weighted mean of token losses over documents, with its gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ops.errors import ModelError


@dataclass(frozen=True)
class TokenDocument:
    """Token ids with the loss weight of predicting each of them (the first token is never predicted)."""

    ids: Sequence[int]
    weights: Sequence[float]


HEAD_SETTINGS = ("final_logit_softcapping", "logit_scale", "logits_scaling")


def check_head(config: Any) -> None:
    """Refuse models that change their logits after the output layer, which this loss does not do.

    Raises:
        ModelError: names the setting of the model's configuration.
    """
    for name in HEAD_SETTINGS:
        value = getattr(config, name, None)
        if value not in (None, 1, 1.0):
            raise ModelError(
                f"model type {config.model_type}",
                f"{name} is {value}: its logits are changed after the output layer, which fine-tuning here does not do",
                field="model",
                remedy="choose another model; sampling, verification and the gap work with this one",
            )


def weighted_backward(
    model: Any, documents: Sequence[TokenDocument], *, pad_id: int, micro_batches: int, scale: float = 1.0
) -> float:
    """Add ``scale`` times the gradient of the mean loss of ``documents``, weighted by token.

    The batch is cut by document length into ``micro_batches`` parts, so that short documents are not padded
    to long ones. Only positions that are learnt go through the output layer.

    Returns:
        the loss, in nats per unit of weight (without ``scale``).
    """
    import torch
    import torch.nn.functional as F

    ordered = sorted(documents, key=lambda document: len(document.ids))
    total = sum(sum(document.weights[1:]) for document in ordered)
    if total <= 0:
        raise ValueError("no token of the batch is learnt")
    size = math.ceil(len(ordered) / micro_batches)
    loss_sum = 0.0
    for start in range(0, len(ordered), size):
        part = ordered[start : start + size]
        longest = len(part[-1].ids)
        tokens_BT = torch.tensor([[*d.ids, *[pad_id] * (longest - len(d.ids))] for d in part], device=model.device)
        weights_BT = torch.tensor([[*d.weights, *[0.0] * (longest - len(d.ids))] for d in part], device=model.device)
        hidden_BTD = model.base_model(input_ids=tokens_BT[:, :-1], use_cache=False).last_hidden_state
        learnt_BT = weights_BT[:, 1:] != 0
        logits = model.get_output_embeddings()(hidden_BTD[learnt_BT]).float()
        losses = F.cross_entropy(logits, tokens_BT[:, 1:][learnt_BT], reduction="none")
        loss = (losses * weights_BT[:, 1:][learnt_BT]).sum() / total
        (loss * scale).backward()
        loss_sum += float(loss.detach())
    return loss_sum
