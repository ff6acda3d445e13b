"""The report: one HTML page and one plot, made from the tables of every iteration, of exploration or of evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import polars as pl

from ops.kinds import Kind, kind_of
from ops.lab import Lab
from ops.storage.atomic import write_text_atomically
from ops.storage.schemas import polars_schema
from ops.types import StageResult

if TYPE_CHECKING:
    from ops.reporting.exploration_summary import ExplorationSummary
    from ops.reporting.summary import Summary
    from ops.reporting.win_rate_summary import WinRateSummary

    AnySummary = Summary | ExplorationSummary | WinRateSummary


def write_report(lab: Lab) -> StageResult:
    """Write ``reports/EXPERIMENT.html`` and ``.png`` and commit their row of the table ``reports`` (CPU).

    A page that somebody removed is written again, although its row is there.
    """
    html = lab.store.home / "reports" / f"{lab.experiment.name}.html"
    plot = html.with_suffix(".png")

    def write() -> pl.DataFrame:
        from ops.reporting.exploration_plots import exploration_png
        from ops.reporting.exploration_summary import ExplorationSummary
        from ops.reporting.plots import plot_png
        from ops.reporting.win_rate_plots import win_rates_png
        from ops.reporting.win_rate_summary import WinRateSummary

        summary, page = page_of(lab)
        write_text_atomically(html, page)
        if isinstance(summary, ExplorationSummary):
            exploration_png(summary, plot)
        elif isinstance(summary, WinRateSummary):
            win_rates_png(summary, plot)
        else:
            plot_png(summary, plot)
        row = {
            "answer": summary.answer,
            "html_path": str(html.relative_to(lab.store.home)),
            "plot_path": str(plot.relative_to(lab.store.home)),
        }
        return pl.DataFrame([row], schema=polars_schema("reports"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        return {"answer": frame["answer"][0], "path": frame["html_path"][0], "plot": frame["plot_path"][0]}

    if lab.store.has("reports", lab.plan.fingerprints["report"]) and not (html.is_file() and plot.is_file()):
        write()
    return lab.materialise("reports", "report", None, write, metadata)


def summary_of(lab: Lab) -> AnySummary:
    """What is known of the experiment.

    Raises:
        StorageError: when a table is damaged.
    """
    from ops.reporting.exploration_summary import summarise_exploration
    from ops.reporting.summary import summarise
    from ops.reporting.win_rate_summary import summarise_win_rates

    read: dict[Kind, Callable[..., AnySummary]] = {
        "loop": summarise,
        "exploration": summarise_exploration,
        "evaluation": summarise_win_rates,
    }
    return read[kind_of(lab.experiment)](lab.experiment, lab.plan, lab.store)


def page_of(lab: Lab) -> tuple[AnySummary, str]:
    """What is known of the experiment, and its page as HTML.

    Raises:
        StorageError: when a table is damaged.
    """
    from ops.reporting.examples import examples_of
    from ops.reporting.exploration_examples import policy_examples
    from ops.reporting.exploration_page import exploration_page
    from ops.reporting.exploration_summary import ExplorationSummary
    from ops.reporting.flips import flips_of
    from ops.reporting.page import html_page
    from ops.reporting.win_rate_page import win_rate_page
    from ops.reporting.win_rate_summary import WinRateSummary

    summary = summary_of(lab)
    if isinstance(summary, WinRateSummary):
        return summary, win_rate_page(summary)
    if isinstance(summary, ExplorationSummary):
        return summary, exploration_page(summary, policy_examples(lab))
    bench = lab.experiment, lab.plan, lab.store
    flips = flips_of(*bench, tuple(item.iteration for item in summary.iterations))
    return summary, html_page(summary, examples_of(*bench), flips)
