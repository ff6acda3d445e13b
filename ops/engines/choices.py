"""Choices read off the next token, for the transformers engine: what prompts have in common is computed once.

The prompts of a verifier are a tree: worked examples first, then the problem, then responses that begin alike. Sorted,
neighbours share the most; the tree is run down in a few steps of one forward pass each (shallow parts once for all
prompts below them), as many as save more than a pass costs. Nothing is masked: rows are padded on the right, where a
causal decoder does not look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from ops.engines.teacher_forcing import rows_at_once

CPU_TOKENS = 4_096
"""Tokens of a forward pass on a CPU, about: activations that stay in its caches are twice as fast as large ones."""

CPU_PASS_TOKENS, GPU_PASS_TOKENS = 256, 4_096
"""Tokens that take about as long as starting one more forward pass."""

_ROPE_BY_LENGTH = ("dynamic", "longrope")
"""Position encodings that change with the length of the input."""


@dataclass
class _Descent:
    """Where one batch stands in its tree.

    Attributes:
        index_S: for each part computed so far the row of it that each row of this pass goes on from.
        keep: whether this pass is gone on from.
    """

    index_S: list[torch.Tensor] = field(default_factory=list)
    keep: bool = True


class _SharedLayer(DynamicLayer):
    """A cache layer that holds every part of the tree once, and lays the past out by row only while a layer reads it.

    So the memory of a batch is that of its tree, and of one layer's rows.
    """

    def __init__(self, descent: _Descent) -> None:
        super().__init__()
        self.descent, self.length = descent, 0
        self.parts: list[tuple[torch.Tensor, torch.Tensor]] = []

    def get_seq_length(self) -> int:
        return self.length

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any):
        whole = key_states, value_states
        if self.parts:
            past = [
                [states[rows] for states in part] for part, rows in zip(self.parts, self.descent.index_S, strict=True)
            ]
            keys, values = zip(*past, strict=True)
            whole = torch.cat([*keys, key_states], 2), torch.cat([*values, value_states], 2)
        if self.descent.keep:
            self.parts.append((key_states, value_states))
            self.length += key_states.shape[2]
            self.is_initialized = True
        return whole


class ChoiceReader:
    """Log-probabilities of a few next tokens after each of many prompts, for one model.

    Args:
        tokens: prompt tokens of a batch, at most, each row counted as long as the longest.
    """

    def __init__(self, model: Any, choice_ids: Sequence[int], pad_id: int, tokens: int) -> None:
        self.model, self.choice_ids, self.pad_id, self.tokens = model, list(choice_ids), pad_id, tokens
        on_cpu = model.device.type == "cpu"
        self.fresh_tokens = min(tokens, CPU_TOKENS) if on_cpu else tokens
        self.pass_tokens = CPU_PASS_TOKENS if on_cpu else GPU_PASS_TOKENS
        self.by_length = _rope_by_length(model)
        self.shares = not self.by_length and _can_share(model)

    def batches(self, rows: Sequence[bytes], most: Callable[[], int]) -> Iterator[list[bytes]]:
        """Different rows in batches of few lengths each, neighbours in the tree together.

        Args:
            rows: prompts from ``packed``, in any order.
            most: rows of a batch, asked for anew with every row: it may become less where memory runs out.
        """
        limit = rows_at_once(self.model)
        for band in _bands(rows, -1 if self.by_length else self.pass_tokens):
            batch: list[bytes] = []
            longest = fresh = 0
            for row in band:
                length = len(row) // 4
                new = length - (_common(batch[-1], row) if batch and self.shares else 0)
                wide = (len(batch) + 1) * max(longest, length) > self.tokens
                if batch and (len(batch) >= min(most(), limit) or wide or fresh + new > self.fresh_tokens):
                    yield batch
                    batch, longest, fresh, new = [], 0, 0, 0
                # What the first row takes has to be run anyway, however long it is.
                fresh, longest = fresh + (new if batch else 0), max(longest, length)
                batch.append(row)
            if batch:
                yield batch

    @torch.inference_mode()
    def read(self, rows: Sequence[bytes]) -> np.ndarray:
        """Natural-log probabilities float64 [B, C] of the choices after each row of one batch.

        Args:
            rows: in the order of ``batches``: neighbours share the most.
        """
        length_B = np.array([len(row) // 4 for row in rows])
        token_BT = np.full((len(rows), length_B.max()), self.pad_id, dtype=np.int64)
        for i, row in enumerate(rows):
            token_BT[i, : length_B[i]] = np.frombuffer(row, ">u4")
        common_b = np.array([_common(a, b) for a, b in pairwise(rows)], dtype=np.int64)
        cut_S = cuts(common_b, length_B, self.pass_tokens) if self.shares else []
        cache, descent, layers = None, _Descent(), []
        group_SB = [np.concatenate([[0], np.cumsum(common_b < cut)]) for cut in cut_S]
        if cut_S:
            cache = DynamicCache(config=self.model.config)
            layers = [_SharedLayer(descent) for _ in cache.layers]
            cache.layers = list(layers)
        start = 0
        for i, (cut, group_B) in enumerate(zip(cut_S, group_SB, strict=True)):
            first_R = np.flatnonzero(np.diff(group_B, prepend=-1))
            descent.index_S = [self._on_device(above_B[first_R]) for above_B in group_SB[:i]]
            self._logits(token_BT[first_R, start:cut], cache, np.zeros(1, dtype=np.int64))
            if any(layer.length != cut for layer in layers):  # a model that remembers in its own way
                self.shares = False
                return self.read(rows)
            start = cut
        descent.index_S = [self._on_device(group_B) for group_B in group_SB]
        descent.keep = False
        logits_BV = self._logits(token_BT[:, start:], cache, length_B - 1 - start).float()
        logprob_BC = logits_BV[:, self.choice_ids] - torch.logsumexp(logits_BV, -1, keepdim=True)
        return logprob_BC.double().cpu().numpy()

    def _logits(self, token_RT: np.ndarray, cache: DynamicCache | None, place_R: np.ndarray) -> torch.Tensor:
        """Logits [R, V] after the token at ``place_R`` of each of the first rows.

        The other tokens never reach the output layer: its logits would be rows x tokens x vocabulary.
        """
        place = self._on_device(place_R)

        def pick(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            hidden_RTD = inputs[0]
            return (hidden_RTD[torch.arange(len(place), device=hidden_RTD.device), place][:, None], *inputs[1:])

        hook = self.model.get_output_embeddings().register_forward_pre_hook(pick)
        try:
            logits = self.model(
                input_ids=self._on_device(token_RT), past_key_values=cache, use_cache=cache is not None
            ).logits
        finally:
            hook.remove()
        return logits[:, 0]

    def _on_device(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.model.device)


def packed(ids: Sequence[int]) -> bytes:
    """Token ids as bytes that sort, compare and hash as the ids do."""
    return np.asarray(ids, dtype=">u4").tobytes()


def cuts(common_b: np.ndarray, length_B: np.ndarray, pass_tokens: int) -> list[int]:
    """Depths at which to cut a tree of prompts so that the fewest tokens are computed, passes counted as tokens.

    A part between two cuts is computed once for every different beginning as deep as its lower cut; what is below the
    last one, once for every row. With D(d) different beginnings of d tokens, the cost of cuts c_1 < ... < c_k is
    sum_i D(c_i) (c_i - c_{i-1}) + B (T - c_k) + k ``pass_tokens``; the least of it is found step by step.

    Args:
        common_b: int [B - 1], tokens that each row has in common with the next, rows sorted.
        length_B: tokens of each row, T at most; every row keeps at least one below the last cut.
        pass_tokens: what one more forward pass costs.

    Returns:
        Depths, ascending; none where the whole at once is cheapest.
    """
    rows, longest = len(length_B), int(length_B.max())
    depth_C = np.unique(np.minimum(common_b, length_B.min() - 1))
    depth_C = depth_C[depth_C > 0]
    if not len(depth_C):
        return []
    different_C = 1 + np.searchsorted(np.sort(common_b), depth_C)
    cost_C = different_C * depth_C + pass_tokens
    above_C = np.full(len(depth_C), -1)
    for i in range(1, len(depth_C)):
        via = cost_C[:i] + different_C[i] * (depth_C[i] - depth_C[:i]) + pass_tokens
        if via.min() < cost_C[i]:
            cost_C[i], above_C[i] = via.min(), via.argmin()
    total_C = cost_C + rows * (longest - depth_C)
    last = int(total_C.argmin())
    if total_C[last] >= rows * longest:
        return []
    found = []
    while last >= 0:
        found.append(int(depth_C[last]))
        last = int(above_C[last])
    return found[::-1]


def _bands(rows: Sequence[bytes], pass_tokens: int) -> Iterator[list[bytes]]:
    """Rows of like length, each band sorted so that neighbours share the most.

    Longer rows join the band while that costs less than another band would, about two passes and the beginning anew.
    What it costs: padding of the shorter rows, and for each longer row a token or more that it could have shared, as
    no cut is deeper than the shortest row.

    Args:
        pass_tokens: what one more forward pass costs; negative where only rows of one length may stand together.
    """
    band: list[bytes] = []
    padding = 0
    for size, same in groupby(sorted(rows, key=len), len):
        equal = list(same)
        if band:
            padding += len(band) * (size - len(band[-1])) // 4
            limit = 2 * pass_tokens + len(band[0]) // 4
            if pass_tokens < 0 or padding > limit or len(equal) > limit:
                yield sorted(band)
                band, padding = [], 0
        band += equal
    if band:
        yield sorted(band)


def _common(a: bytes, b: bytes) -> int:
    """Tokens that two rows begin with in common."""
    size = min(len(a), len(b))
    differ = np.frombuffer(a[:size], ">u4") != np.frombuffer(b[:size], ">u4")
    return int(differ.argmax()) if differ.any() else size // 4


def _can_share(model: Any) -> bool:
    """Whether the model's cache keeps all of the past: not with sliding windows and states of fixed size."""
    layers = DynamicCache(config=model.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def _rope_by_length(model: Any) -> bool:
    """Whether position encodings depend on the length of the input: neither parts nor padding are then exact."""
    rope = getattr(model.config.get_text_config(decoder=True), "rope_parameters", None) or {}
    settings = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    return any(setting.get("rope_type") in _ROPE_BY_LENGTH for setting in settings)
