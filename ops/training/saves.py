"""When an unfinished training is saved. Results do not depend on it: a resumed run ends with the same weights."""

from __future__ import annotations

import time
from collections.abc import Callable

SAVE_STEPS = 50
SAVE_SECONDS = 300.0
"""Steps may be slow: no kill costs much more than this."""
REST = 10.0
"""Between two saves lies at least so many times what the last one took: a large model's may take minutes."""


class Saves:
    """After so many steps or seconds, whichever comes first, and never for more than a tenth of the time.

    Args:
        step: optimiser steps done before.
        clock: seconds, from any origin.
        seconds: after which a save is due; None: ``SAVE_SECONDS``.
    """

    def __init__(self, step: int, clock: Callable[[], float] = time.monotonic, seconds: float | None = None) -> None:
        self._clock, self._step, self._at, self._cost = clock, step, clock(), 0.0
        self._seconds = SAVE_SECONDS if seconds is None else seconds

    def due(self, step: int) -> bool:
        """Whether the state after ``step`` steps is to be saved."""
        waited = self._clock() - self._at
        wanted = step - self._step >= SAVE_STEPS or waited >= self._seconds
        return wanted and waited >= REST * self._cost

    def save(self, step: int, write: Callable[[], None]) -> None:
        """``write``, and note what it took."""
        start = self._clock()
        write()
        self._at, self._step = self._clock(), step
        self._cost = self._at - start
