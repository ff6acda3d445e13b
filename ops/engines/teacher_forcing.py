"""Teacher forcing for the transformers engine: what a model's distributions say of tokens that are given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from ops.engines.decoding import left_padded

LOGIT_VALUES = 1 << 26
"""Logits held at once, at most: 256 MiB in float32. A vocabulary of 150,000 gives 447 rows of one token each."""


def rows_at_once(model: Any) -> int:
    """How many rows a batch may have so that one token of each stays within ``LOGIT_VALUES``."""
    return max(1, LOGIT_VALUES // model.get_output_embeddings().weight.shape[0])


def batches(
    prompts: Sequence[str],
    heads: Sequence[Sequence[int]],
    tails: Sequence[Sequence[int]],
    most: Callable[[], int],
    prefill: int,
) -> Iterator[list[int]]:
    """Rows that have something to read, by length of the prompt, then of the text, in few lengths each.

    Args:
        heads: token ids of the prompts.
        tails: token ids of the texts; rows without any are left out.
        most: rows of a batch, asked for anew with every row: it may become less where memory runs out.
        prefill: tokens of a batch's distinct prompts, as far as there is more than one.
    """
    order = sorted(
        (row for row in range(len(heads)) if tails[row]),
        key=lambda row: (len(heads[row]), prompts[row], len(tails[row])),
    )
    batch: list[int] = []
    tokens = 0
    for row in order:
        fresh = not batch or prompts[row] != prompts[batch[-1]]
        longer = batch and len(heads[row]) > len(heads[batch[0]]) * 1.25 + 8 and len(batch) >= most() // 4
        if batch and (len(batch) >= most() or longer or (fresh and tokens + len(heads[row]) > prefill)):
            yield batch
            batch, tokens, fresh = [], 0, True
        tokens += len(heads[row]) if fresh else 0
        batch.append(row)
    if batch:
        yield batch


@torch.inference_mode()
def read_tokens(
    model: Any,
    prompts: Sequence[Sequence[int]],
    row_prompt: Sequence[int],
    continuations: Sequence[Sequence[int]],
    pad_id: int,
) -> tuple[list[float], list[float]]:
    """Sums over each row's tokens of log p(token) and of KL(uniform || p), in nats.

    Prompts are padded on the left and run once each; continuations then run through the cache, padded on the right and
    in pieces, so that logits of ``rows x tokens x vocabulary`` never stand in memory whole.

    Args:
        prompts: token ids of the distinct prompts.
        row_prompt: for each of B rows the index of its prompt.
        continuations: for each row at least one token.
    """
    device = model.device
    prompt_PT, mask_PT, position_PT = left_padded(prompts, pad_id, device)
    cache = DynamicCache(config=model.config)
    logits_P1V = model(
        input_ids=prompt_PT, attention_mask=mask_PT, position_ids=position_PT,
        past_key_values=cache, use_cache=True, logits_to_keep=1,
    ).logits  # fmt: skip
    rows = torch.tensor(row_prompt, device=device)
    cache.batch_select_indices(rows)
    length_B = torch.tensor([len(row) for row in continuations], device=device)
    longest = int(length_B.max())
    token_BT = torch.tensor([list(row) + [pad_id] * (longest - len(row)) for row in continuations], device=device)
    before, start_B = prompt_PT.shape[1], torch.tensor([len(prompt) for prompt in prompts], device=device)[rows]
    mask_BT = None
    if mask_PT is not None:
        mask_BT = torch.ones(len(rows), before + longest, dtype=mask_PT.dtype, device=device)
        mask_BT[:, :before] = mask_PT[rows]
    sum_B2 = torch.zeros(len(rows), 2, dtype=torch.float64, device=device)
    _add(sum_B2, logits_P1V[rows], token_BT[:, :1], length_B, 0)
    piece = max(1, LOGIT_VALUES // (len(rows) * logits_P1V.shape[-1]))
    for start in range(0, longest - 1, piece):  # the token at i is read off the logits after the one at i - 1
        stop = min(start + piece, longest - 1)
        logits_BTV = model(
            input_ids=token_BT[:, start:stop],
            attention_mask=None if mask_BT is None else mask_BT[:, : before + stop],
            position_ids=start_B[:, None] + torch.arange(start, stop, device=device),
            past_key_values=cache, use_cache=True,
        ).logits  # fmt: skip
        _add(sum_B2, logits_BTV, token_BT[:, start + 1 : stop + 1], length_B, start + 1)
    return sum_B2[:, 0].tolist(), sum_B2[:, 1].tolist()


def _add(
    sum_B2: torch.Tensor, logits_BTV: torch.Tensor, token_BT: torch.Tensor, length_B: torch.Tensor, first: int
) -> None:
    """Add log p(token) and KL(uniform || p) of the tokens ``first`` onwards, as far as each row goes.

    KL(uniform || p) = -(1/V) sum_j log(V p_j) = logsumexp(z) - mean(z) - log V for logits z.
    """
    logits_BTV = logits_BTV.float()
    total_BT = torch.logsumexp(logits_BTV, -1)
    logprob_BT = logits_BTV.gather(-1, token_BT[:, :, None])[:, :, 0] - total_BT
    kl_BT = total_BT - logits_BTV.mean(-1) - math.log(logits_BTV.shape[-1])
    place_T = torch.arange(first, first + token_BT.shape[1], device=token_BT.device)
    inside_BT = place_T[None, :] < length_B[:, None]
    for column, value_BT in enumerate((logprob_BT, kl_BT)):
        sum_B2[:, column] += torch.where(inside_BT, value_BT, 0.0).double().sum(-1)
