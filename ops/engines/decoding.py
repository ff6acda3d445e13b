"""The decoding loop of the transformers engine: shared prefill, a cache without copies, per-sample random numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from ops.engines.base import SamplingSettings

COMPACT_BELOW = 0.75
"""Finished rows are dropped from the batch when fewer than this fraction is still running."""

TEXT_STOP_EVERY_TOKENS = 8
"""How often running rows are decoded to look for stop strings that are not one token."""


def uniform(seed_B: torch.Tensor, position: int) -> torch.Tensor:
    """One number in [0, 1) per sample, a function of (seed, token position) alone (SplitMix64).

    Args:
        seed_B: int64 [B].
        position: index of the token within its response.

    Returns:
        float64 [B].
    """
    z = seed_B + _signed((position + 1) * 0x9E3779B97F4A7C15)
    z = (z ^ _shift(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shift(z, 27)) * _signed(0x94D049BB133111EB)
    z = z ^ _shift(z, 31)
    return _shift(z, 11).double() * 2.0**-53


def _signed(value: int) -> int:
    """``value`` modulo 2^64 as a signed 64-bit integer."""
    value %= 1 << 64
    return value - (1 << 64) if value >= 1 << 63 else value


def _shift(z: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical right shift of int64."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def draw(
    logits_BV: torch.Tensor, u_B: torch.Tensor, temperature: float, top_p: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token per row by inverting the cumulative distribution at ``u_B``.

    Returns:
        (token [B], natural-log probability of it at temperature 1 without top-p [B]).
    """
    logits_BV = logits_BV.float()
    if temperature == 0.0:
        token_B = logits_BV.argmax(-1)
        return token_B, torch.log_softmax(logits_BV, -1).gather(1, token_B[:, None])[:, 0]
    plain_BV = torch.softmax(logits_BV, -1)
    p_BV = plain_BV if temperature == 1.0 else torch.softmax(logits_BV / temperature, -1)
    if top_p < 1.0:
        sorted_BV, order_BV = p_BV.sort(-1, descending=True)
        outside_BV = sorted_BV.cumsum(-1) - sorted_BV >= top_p
        p_BV = p_BV.masked_fill(torch.zeros_like(outside_BV).scatter(1, order_BV, outside_BV), 0.0)
    cumulative_BV = p_BV.cumsum(-1)
    cut_B1 = u_B[:, None] * cumulative_BV[:, -1:].double()
    token_B = torch.searchsorted(cumulative_BV, cut_B1.to(cumulative_BV.dtype), right=True)[:, 0]
    token_B = token_B.clamp_max(p_BV.shape[1] - 1)
    empty_B = p_BV.gather(1, token_B[:, None])[:, 0] <= 0.0
    if bool(empty_B.any()):  # rounding put the cut on a token that has no probability
        token_B = torch.where(empty_B, p_BV.argmax(-1), token_B)
    return token_B, plain_BV.gather(1, token_B[:, None])[:, 0].log()


class Arena:
    """Memory that is used again by the next batch, so that a batch does not pay for fresh pages."""

    def __init__(self) -> None:
        self._flat: dict[tuple[str, torch.dtype, torch.device], torch.Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        """An uninitialised tensor of ``shape`` in the memory called ``name``."""
        key, size = (name, like.dtype, like.device), math.prod(shape)
        if key not in self._flat or self._flat[key].numel() < size:
            self._flat[key] = like.new_empty(size)
        return self._flat[key][:size].view(shape)


class RoomyLayer(DynamicLayer):
    """A cache layer that owns room for ``capacity`` tokens and writes in place, so that no step copies the past.

    It starts as the rows ``rows`` of a prefilled layer.
    """

    def __init__(self, layer: DynamicLayer, rows: torch.Tensor, capacity: int, arena: Arena, name: str) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = layer.dtype, layer.device, True
        if layer.keys is None or layer.values is None:
            raise ValueError("the layer to start from is not prefilled")
        self.length = layer.keys.shape[2]
        rooms = []
        for kind, states in (("keys", layer.keys), ("values", layer.values)):
            room = arena.take(f"{name}/{kind}", (len(rows), states.shape[1], capacity, states.shape[3]), states)
            room[:, :, : self.length] = states[rows]
            rooms.append(room)
        self._key_room, self._value_room = rooms
        self._show()

    def _show(self) -> None:
        self.keys = self._key_room[:, :, : self.length]
        self.values = self._value_room[:, :, : self.length]

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any):
        end = self.length + key_states.shape[2]
        self._key_room[:, :, self.length : end] = key_states
        self._value_room[:, :, self.length : end] = value_states
        self.length = end
        self._show()
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        for room in (self._key_room, self._value_room):
            room[: len(indices), :, : self.length] = room[indices, :, : self.length]
        self._key_room, self._value_room = self._key_room[: len(indices)], self._value_room[: len(indices)]
        self._show()


@dataclass
class Drawn:
    """What the loop drew for B rows: tokens [B, T] (padded), lengths, log-probability sums, finished by a stop."""

    tokens_BT: torch.Tensor
    length_B: torch.Tensor
    logprob_BT: torch.Tensor
    stopped_B: torch.Tensor


def left_padded(
    prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Token ids, attention mask and positions, each int64 [P, T]; no mask and positions where all lengths are equal."""
    longest = max(len(prompt) for prompt in prompts)
    input_PT = torch.tensor([[pad_id] * (longest - len(p)) + list(p) for p in prompts], device=device)
    if all(len(prompt) == longest for prompt in prompts):
        return input_PT, None, None
    mask_PT = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    return input_PT, mask_PT, (mask_PT.cumsum(1) - 1).clamp_min(0)


@torch.inference_mode()
def decode(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    row_prompt: Sequence[int],
    seeds: Sequence[int],
    settings: SamplingSettings,
    stop_ids: Sequence[int],
    text_stops: tuple[str, ...],
    pad_id: int,
    arena: Arena,
) -> Drawn:
    """Sample one continuation per row; rows of the same prompt share its prefill.

    Args:
        prompts: token ids of the distinct prompts of this batch.
        row_prompt: for each row the index of its prompt.
        seeds: for each row its seed.
        arena: memory for the cache, used again by the next call.
    """
    device = model.device
    longest = max(len(prompt) for prompt in prompts)
    input_PT, mask_PT, position_PT = left_padded(prompts, pad_id, device)
    cache = DynamicCache(config=model.config)
    logits = model(
        input_ids=input_PT, attention_mask=mask_PT, position_ids=position_PT,
        past_key_values=cache, use_cache=True, logits_to_keep=1,
    ).logits[:, -1]  # fmt: skip
    rows = torch.tensor(row_prompt, device=device)
    logits = logits[rows]
    for i, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[i] = RoomyLayer(layer, rows, longest + settings.max_tokens, arena, str(i))
        else:
            layer.batch_select_indices(rows)  # type: ignore[union-attr]
    mask_BT = None
    if mask_PT is not None:
        mask_BT = torch.ones(len(rows), longest + settings.max_tokens, dtype=mask_PT.dtype, device=device)
        mask_BT[:, :longest] = mask_PT[rows]
    next_position_B = torch.tensor([len(p) for p in prompts], device=device)[rows]

    total, limit = len(rows), settings.max_tokens
    seed_B = torch.tensor(seeds, dtype=torch.int64, device=device)
    tokens_BT = torch.full((total, limit), pad_id, dtype=torch.int64, device=device)
    logprob_BT = torch.zeros(total, limit, dtype=torch.float32, device=device)
    length_B = torch.full((total,), limit, dtype=torch.int64, device=device)
    stopped_B = torch.zeros(total, dtype=torch.bool, device=device)
    is_stop_V = torch.zeros(logits.shape[-1], dtype=torch.bool, device=device)
    is_stop_V[torch.tensor(list(stop_ids), dtype=torch.int64, device=device)] = True
    alive = torch.arange(total, device=device)  # rows of the batch, as indices into the whole
    done_b = torch.zeros(total, dtype=torch.bool, device=device)  # finished, but still riding along
    for step in range(limit):
        token_b, logprob_b = draw(logits, uniform(seed_B, step), settings.temperature, settings.top_p)
        live = ~done_b
        tokens_BT[alive, step] = torch.where(live, token_b, tokens_BT[alive, step])
        logprob_BT[alive, step] = torch.where(live, logprob_b, 0.0)
        ended_b = live & is_stop_V[token_b]
        length_B[alive[ended_b]] = step + 1
        stopped_B[alive[ended_b]] = True
        done_b |= ended_b
        if text_stops and (step + 1) % TEXT_STOP_EVERY_TOKENS == 0:
            texts = tokenizer.batch_decode(tokens_BT[alive, : step + 1].cpu())
            done_b |= torch.tensor([any(stop in text for stop in text_stops) for text in texts], device=device)
        running = int((~done_b).sum())
        if running == 0 or step + 1 == limit:
            break
        if running < COMPACT_BELOW * len(alive):
            keep = torch.nonzero(~done_b)[:, 0]
            cache.batch_select_indices(keep)
            alive, done_b, seed_B, token_b = alive[keep], done_b[keep], seed_B[keep], token_b[keep]
            next_position_B = next_position_B[keep]
            mask_BT = None if mask_BT is None else mask_BT[keep]
        logits = model(
            input_ids=token_b[:, None],
            attention_mask=None if mask_BT is None else mask_BT[:, : longest + step + 1],
            position_ids=next_position_B[:, None],
            past_key_values=cache, use_cache=True, logits_to_keep=1,
        ).logits[:, -1]  # fmt: skip
        next_position_B = next_position_B + 1
    return Drawn(tokens_BT, length_B, logprob_BT, stopped_B)
