"""Progress of long work: one callback, so that the work knows neither terminals nor Dagster."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

Progress = Callable[[str, int, int, dict[str, Any]], None]
"""Called with (what, done, total, numbers to show); called often, so receivers throttle."""


def silent(what: str, done: int, total: int, numbers: dict[str, Any]) -> None:
    """Show nothing."""


def format_line(what: str, done: int, total: int, numbers: dict[str, Any]) -> str:
    """One line such as ``pretrain s   400/2100  19 %  loss 0.93  tokens/s 44k``."""
    percent = f"{100 * done / total:3.0f} %" if total else ""
    shown = "  ".join(f"{key} {_short(value)}" for key, value in numbers.items())
    return f"{what:<34} {done:>7,}/{total:<7,} {percent}  {shown}"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


class Throttled:
    """A ``Progress`` that hands a formatted line to ``emit`` at most every ``every_seconds``, and at each end."""

    def __init__(self, emit: Callable[[str], None], every_seconds: float) -> None:
        self._emit, self._every, self._last, self._what = emit, every_seconds, 0.0, ""

    def __call__(self, what: str, done: int, total: int, numbers: dict[str, Any]) -> None:
        now = time.monotonic()
        if what != self._what or done >= total or now - self._last >= self._every:
            self._what, self._last = what, now
            self._emit(format_line(what, done, total, numbers))


def terminal(every_seconds: float = 2.0) -> Progress:
    """A progress line on standard error every ``every_seconds``."""
    start = time.monotonic()

    def emit(line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - start), 60)
        print(f"[{minutes:02d}:{seconds:02d}] {line}", file=sys.stderr, flush=True)

    return Throttled(emit, every_seconds)


def both(*receivers: Progress) -> Progress:
    """One ``Progress`` that feeds several."""

    def send(what: str, done: int, total: int, numbers: dict[str, Any]) -> None:
        for receiver in receivers:
            receiver(what, done, total, numbers)

    return send
