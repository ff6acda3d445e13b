"""A set of keys that stays small: 16 bytes for each, whatever its length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl


class KeySet:
    """Which keys are there, by a 128-bit hash of each; two of ten million share one with probability 1e-25.

    The hashes hold within one process only.
    """

    def __init__(self, columns: Iterable[pl.Series] = ()) -> None:
        parts = [_hashed(column) for column in columns]
        self._sorted = np.unique(np.concatenate(parts)) if parts else np.empty(0, "S16")

    def __len__(self) -> int:
        """Number of different keys."""
        return len(self._sorted)

    def contains(self, keys: Sequence[str]) -> np.ndarray:
        """Bool [len(keys)]."""
        if not len(self._sorted) or not len(keys):
            return np.zeros(len(keys), dtype=bool)
        wanted = _hashed(pl.Series(keys, dtype=pl.String))
        place = np.searchsorted(self._sorted, wanted)
        return self._sorted[np.minimum(place, len(self._sorted) - 1)] == wanted


def _hashed(keys: pl.Series) -> np.ndarray:
    """Bytes S16 [N]."""
    halves_2N = [keys.hash(seed).to_numpy() for seed in (11, 23)]
    return np.ascontiguousarray(np.stack(halves_2N, axis=1)).view("S16")[:, 0]
