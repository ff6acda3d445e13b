"""Numbers of a training that is under way, as MLflow shows them: collected, and logged a few seconds' worth at a time.

A training is worth more than its curves: what goes wrong here is one warning, never an error, and no number is lost by
it, because what could not be logged waits for the next attempt.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence

LOGGER = logging.getLogger("mindgap")

Points = Sequence[tuple[int, int | None, Mapping[str, float]]]
"""(step, milliseconds since 1970, numbers by name)."""

LIVE_SECONDS = 5.0
"""What is logged is at most about so old, unless logging is slow."""

COST_FRACTION = 0.01
"""Of the wall time, that logging may take."""

PAUSE_SECONDS = 60.0
"""After a failure; a database that does not answer is waited for up to ten seconds each time."""


class LiveMetrics:
    """Collects points and hands them to ``log``: the first one at once, then a batch every few seconds."""

    def __init__(self, log: Callable[[Points], object], *, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            log: logs points; it may raise anything.
            clock: in seconds.
        """
        self._log, self._clock = log, clock
        self._points: list[tuple[int, int | None, dict[str, float]]] = []
        self._next = -math.inf
        self._is_first, self._has_warned = True, False

    def __call__(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take the numbers of one step; those that are not finite are undefined, and left out."""
        kept = {name: float(value) for name, value in numbers.items() if is_number(value)}
        if kept:
            self._points.append((step, time.time_ns() // 1_000_000, kept))
        if self._clock() >= self._next:
            self.flush()

    def flush(self) -> None:
        """Log what has been collected."""
        if not self._points:
            return
        start = self._clock()
        try:
            self._log(self._points)
        except Exception as error:
            self._next = self._clock() + PAUSE_SECONDS
            if not self._has_warned:
                self._has_warned = True
                LOGGER.warning(
                    "live metrics are not shown in MLflow for now (%s); the training goes on, and they are logged as "
                    "soon as MLflow takes them",
                    type(error).__name__,  # its text may quote the database's address
                )
            return
        self._points = []
        end = self._clock()
        cost = 0.0 if self._is_first else end - start  # the first one imports MLflow and opens its database
        self._is_first = False
        self._next = end + max(LIVE_SECONDS, cost / COST_FRACTION)


def is_number(value: object) -> bool:
    """Whether MLflow can draw it: finite, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
