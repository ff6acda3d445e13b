"""The page of a bandit simulation: one self-contained HTML file. Nothing is fetched, every text is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from ops.bandits import LEARNERS
from ops.bandits.settings import Bandits
from ops.reporting.bandit_plots import BOUNDED, bandit_svgs, place_of
from ops.reporting.plots import MARKERS, SERIES

TEMPLATE = Path(__file__).with_name("bandit_page.html.j2")
SIGNS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼"}


def bandit_page(frame: pl.DataFrame, settings: Bandits, fingerprint: str) -> str:
    """The page as HTML.

    Args:
        frame: the table ``bandit_regret`` of this simulation.
    """
    from markupsafe import Markup

    from ops.reporting.page import page_template

    legend = [(name, _color(name), SIGNS[MARKERS[place_of(name)]], kind.assumption) for name, kind in LEARNERS.items()]
    return page_template(TEMPLATE).render(
        settings=settings,
        fingerprint=fingerprint,
        level=f"{100 * settings.confidence:g} %",
        legend=legend,
        bounds=[(words, _color(name)) for name, words in BOUNDED.items()],
        figures=[(title, Markup(svg)) for title, svg in bandit_svgs(frame, settings)],  # noqa: S704
        rows=_final(frame, settings),
        answer=answer(frame, settings),
    )


def answer(frame: pl.DataFrame, settings: Bandits) -> str:
    """What came out, in one sentence."""
    fewest, most = min(settings.arms), max(settings.arms)
    last = frame.filter(pl.col("round") == pl.col("round").max())

    def regret(name: str, n_arms: int) -> str:
        [row] = last.filter(algorithm=name, n_arms=n_arms).iter_rows(named=True)
        return f"{row['regret']:,.0f} [{row['regret_low']:,.0f}, {row['regret_high']:,.0f}]"

    return (
        f"From {fewest:,} to {most:,} arms at {settings.outcomes} outcomes, the regret after {settings.rounds:,} "
        f"rounds went from {regret('arm_ucb', fewest)} to {regret('arm_ucb', most)} for UCB over arms, and from "
        f"{regret('outcome_ucb', fewest)} to {regret('outcome_ucb', most)} for UCB over outcomes under assumption G."
    )


def _final(frame: pl.DataFrame, settings: Bandits) -> list[dict[str, Any]]:
    """One row per algorithm with its last round at every K."""
    last = frame.filter(pl.col("round") == pl.col("round").max())
    rows = []
    for name in LEARNERS:
        cells = {row["n_arms"]: row for row in last.filter(algorithm=name).iter_rows(named=True)}
        rows.append({"name": name, "cells": [cells[n_arms] for n_arms in sorted(settings.arms)]})
    return rows


def _color(name: str) -> str:
    """The colour of an algorithm in the page's CSS."""
    number = place_of(name)
    return "var(--series)" if number == 0 else f"var(--series-{number}, {SERIES[number]})"
