"""Numbers of a training that is under way, as MLflow shows them: collected, and logged a few seconds' worth at a time.

A training is worth more than its curves: what goes wrong here is one warning, never an error, and no number is lost by
it, because what could not be logged waits for the next attempt.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence

from ops.errors import MindgapError

LOGGER = logging.getLogger("mindgap")

Points = Sequence[tuple[int, int | None, Mapping[str, float]]]
"""(step, milliseconds since 1970, numbers by name)."""

LIVE_SECONDS = 5.0
"""What is logged is at most about so old, unless logging is slow."""

COST_FRACTION = 0.01
"""Of the wall time, that logging may take."""

PAUSE_SECONDS = 60.0
"""After a failure; longer where the attempt took more than ``COST_FRACTION`` of it."""


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
            end = self._clock()
            self._next = end + max(PAUSE_SECONDS, self._cost(end - start) / COST_FRACTION)
            if not self._has_warned:
                self._has_warned = True
                warn(
                    f"live metrics are not shown in MLflow for now ({reason_of(error)}); the training goes on, and "
                    "they are logged as soon as MLflow takes them"
                )
            return
        self._points = []
        end = self._clock()
        self._next = end + max(LIVE_SECONDS, self._cost(end - start) / COST_FRACTION)

    def _cost(self, seconds: float) -> float:
        """What counts of an attempt's time: nothing of the first one, which imports MLflow and opens its database."""
        cost, self._is_first = 0.0 if self._is_first else seconds, False
        return cost


def warn(message: str) -> None:
    """Warn on the terminal and, inside a step, in Dagster's log of the run."""
    from dagster import get_dagster_logger

    LOGGER.warning("%s", message)
    for handler in get_dagster_logger().handlers:  # the step's; as a logger it would write to the terminal once more
        handler.handle(LOGGER.makeRecord(LOGGER.name, logging.WARNING, __file__, 0, message, (), None))


def reason_of(error: Exception) -> str:
    """The class of an error; with our own its text, for that of others may quote the database's address."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if isinstance(error, MindgapError) else type(error).__name__


def is_number(value: object) -> bool:
    """Whether MLflow can draw it: finite, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
