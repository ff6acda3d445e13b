"""The policy's next-token distributions at the tokens of responses, at the sampling temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ops.training.loss import cast_to

ENTROPY_ROWS = 1024
"""Distributions of which the entropy is computed at once where it has no gradient: bounds memory beside the logits."""


def response_logits(
    model: Any,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    temperature: float,
    pad_id: int,
    precision: str,
) -> tuple[Any, Any]:
    """Logits over temperature [L, V] at the positions that predict the L response tokens, and those tokens [L].

    Attention is causal and padding stands behind, so no mask is needed. Only these positions go through the output
    layer. The result is at least float32, whatever the precision of the forward pass.

    Args:
        pairs: tokens of a prompt and of its response; both have some.
    """
    import torch

    lengths = [len(prompt) + len(response) for prompt, response in pairs]
    ids_BT = np.full((len(pairs), max(lengths)), pad_id, dtype=np.int64)
    learnt_BT = np.zeros(ids_BT.shape, dtype=bool)
    for row, (prompt, response) in enumerate(pairs):
        ids_BT[row, : lengths[row]] = [*prompt, *response]
        learnt_BT[row, len(prompt) : lengths[row]] = True
    place_L = torch.from_numpy(np.flatnonzero(learnt_BT[:, 1:])).to(model.device)
    tokens_BT = torch.from_numpy(ids_BT).to(model.device)
    with cast_to(model.device.type, precision):
        hidden_BTD = model.base_model(input_ids=tokens_BT[:, :-1], use_cache=False).last_hidden_state
        logits_LV = model.get_output_embeddings()(hidden_BTD.flatten(0, 1)[place_L])
    logits_LV = logits_LV.to(torch.promote_types(logits_LV.dtype, torch.float32))
    tokens_L = tokens_BT[:, 1:].flatten()[place_L]
    return (logits_LV if temperature == 1 else logits_LV / temperature), tokens_L


def logprobs(logits_LV: Any, tokens_L: Any) -> Any:
    """Natural-log probabilities [L] of the tokens."""
    import torch.nn.functional as F

    return -F.cross_entropy(logits_LV, tokens_L, reduction="none")


def entropies(logits_LV: Any, *, with_gradient: bool) -> Any:
    """−Σ_v p_v ln p_v [L], nats."""
    import torch

    def of(rows_LV: Any) -> Any:
        logprob_LV = rows_LV.log_softmax(-1)
        return -(logprob_LV.exp() * logprob_LV).sum(-1)

    if with_gradient:
        return of(logits_LV)
    with torch.no_grad():
        return torch.cat([of(rows_LV) for rows_LV in logits_LV.split(ENTROPY_ROWS)])
