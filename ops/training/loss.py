"""The training loss: a weighted mean of token losses over documents, with its gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from ops.errors import ModelError


@dataclass(frozen=True)
class TokenDocument:
    """Token ids with the loss weight of predicting each of them (the first token is never predicted)."""

    ids: Sequence[int]
    weights: Sequence[float]


def weighted_backward(
    model: Any,
    documents: Sequence[TokenDocument],
    *,
    pad_id: int,
    micro_batches: int = 1,
    scale: float = 1.0,
    max_tokens: int | None = None,
    precision: str = "float32",
) -> float:
    """Add ``scale`` times the gradient of the mean loss of ``documents``, weighted by token.

    The batch is cut by document length into ``micro_batches`` parts, or into parts of at most ``max_tokens``, so that
    short documents are not padded to long ones and the memory is bounded. Only positions that are learnt go through
    the output layer.

    Returns:
        the loss, in nats per unit of weight (without ``scale``).
    """
    ordered = sorted(documents, key=lambda document: len(document.ids))
    total = sum(sum(document.weights[1:]) for document in ordered)
    if total <= 0:
        raise ValueError("no token of the batch is learnt")
    loss_sum = 0.0
    for part in cut([len(document.ids) for document in ordered], micro_batches, max_tokens):
        losses, weights, _ = learnt_losses(model, [ordered[i] for i in part], pad_id=pad_id, precision=precision)
        loss = (losses * weights).sum() / total
        (loss * scale).backward()
        loss_sum += float(loss.detach())
    return loss_sum


def mean_loss(
    model: Any,
    documents: Sequence[TokenDocument],
    *,
    pad_id: int,
    micro_batches: int,
    max_tokens: int | None,
    precision: str,
) -> float:
    """The loss of ``weighted_backward`` without a gradient, the model as in use (no dropout)."""
    import torch

    total = sum(sum(document.weights[1:]) for document in documents)
    loss_sum = 0.0
    with torch.no_grad(), in_use(model):
        for part in cut([len(document.ids) for document in documents], micro_batches, max_tokens):
            losses, weights, _ = learnt_losses(model, [documents[i] for i in part], pad_id=pad_id, precision=precision)
            loss_sum += float((losses * weights).sum())
    return loss_sum / total


def cut(lengths: Sequence[int], micro_batches: int, max_tokens: int | None) -> list[list[int]]:
    """Indices of documents sorted by length, in parts.

    Args:
        lengths: tokens of each document, or a bound of its part's share.
        micro_batches: parts of equal count, where ``max_tokens`` is None.
        max_tokens: of a part, padding included; a document that is longer is a part of its own.
    """
    ordered = sorted(range(len(lengths)), key=lengths.__getitem__)
    if max_tokens is None:
        size = math.ceil(len(ordered) / micro_batches)
        return [ordered[start : start + size] for start in range(0, len(ordered), size)]
    parts: list[list[int]] = []
    for i in ordered:  # lengths rise, so this document's is what its part is padded to
        if parts and (len(parts[-1]) + 1) * lengths[i] <= max_tokens:
            parts[-1].append(i)
        else:
            parts.append([i])
    return parts


def learnt_losses(
    model: Any, part: Sequence[TokenDocument], *, pad_id: int, precision: str = "float32"
) -> tuple[Any, Any, list[int]]:
    """Losses (nats) and weights of the L learnt tokens of a part, row by row, and how many there are in each row.

    Attention is causal and padding stands behind, so no mask is needed.
    """
    import torch
    import torch.nn.functional as F

    longest = max(len(document.ids) for document in part)
    tokens_BT = torch.tensor([[*d.ids, *[pad_id] * (longest - len(d.ids))] for d in part], device=model.device)
    weights_BT = torch.tensor([[*d.weights, *[0.0] * (longest - len(d.ids))] for d in part], device=model.device)
    learnt_BT = weights_BT[:, 1:] != 0
    with cast_to(model.device.type, precision):
        hidden_BTD = model.base_model(input_ids=tokens_BT[:, :-1], use_cache=False).last_hidden_state
        logits = model.get_output_embeddings()(hidden_BTD[learnt_BT])
    losses_L = F.cross_entropy(logits.float(), tokens_BT[:, 1:][learnt_BT], reduction="none")
    counts = [sum(weight != 0 for weight in document.weights[1:]) for document in part]
    return losses_L, weights_BT[:, 1:][learnt_BT], counts


@contextmanager
def in_use(model: Any) -> Iterator[None]:
    """The model without dropout, and afterwards as it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def check_precision(device: str, precision: str, section: str = "training") -> None:
    """Refuse a precision that the device does not compute in.

    Args:
        section: of the experiment file, where the setting stands.

    Raises:
        ModelError: names the setting.
    """
    import torch

    known = precision == "float32" or torch.amp.is_autocast_available(device)
    if known and precision == "bfloat16" and device == "cuda":
        known = torch.cuda.is_bf16_supported()
    if not known:
        raise ModelError(
            f"device {device}",
            f"does not compute in {precision}",
            field=f"{section}.precision",
            remedy="take precision: float32",
        )


def cast_to(device: str, precision: str) -> Any:
    """Where matrix products are computed in ``precision``; weights, sums of losses and gradients stay float32."""
    import torch

    if precision == "float32":
        return nullcontext()
    return torch.autocast(device, dtype=getattr(torch, precision))
