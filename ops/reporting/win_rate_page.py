"""The page of an experiment with ``evaluation``: one self-contained HTML file, every text escaped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.reporting import words
from ops.reporting.numbers import interval_of
from ops.reporting.page import cut, page_template
from ops.reporting.win_rate_figures import BETTER, SAVED, WORTH, draw_panels
from ops.reporting.win_rate_summary import WinRateSummary
from ops.reporting.win_rate_table import JUDGE_METRICS, SIGNED, WITH_JUDGE, judges_of, without_limit_words
from ops.reporting.win_rate_words import (
    NOT_MEASURED,
    ORGANISM,
    QUANTITIES,
    correlation_words,
    key_figures,
    labels_worth,
    predicted_words,
    share_words,
    shown_value,
)
from ops.reporting.words import interval

TEMPLATE = Path(__file__).with_name("win_rate_page.html.j2")


def win_rate_page(summary: WinRateSummary) -> str:
    """The report of one experiment as HTML."""
    from markupsafe import Markup

    template = page_template(TEMPLATE, cut=cut, svg=Markup)
    return template.render(
        summary=summary,
        answer=summary.answer,
        tiles=key_figures(summary),
        organism=ORGANISM,
        missing=words.NOTHING,
        not_measured=NOT_MEASURED,
        level=f"{100 * summary.confidence:g} %",
        what=QUANTITIES[summary.quantity],
        questions={"better": BETTER, "saved": SAVED, "worth": WORTH},
        figures=draw_panels(summary),
        estimates=[row for model in summary.judged if summary.is_measured for row in _estimate_rows(summary, model)],
        savings=[row for model in summary.judged for row in _saving_rows(summary, model)],
        gaps=[row for model in summary.judged for row in _gap_rows(summary, model)],
        metrics=list(JUDGE_METRICS.values()),
        judges=_judge_rows(summary),
    )


def _estimate_rows(summary: WinRateSummary, model: str) -> list[dict[str, Any]]:
    """A row for each judge and for all at once; the human estimate stands in the first."""
    human = summary.row(model, "human")
    rows = []
    for place, judge in enumerate(judges_of(summary, model)):
        by = {name: summary.row(model, name, judge) for name in WITH_JUDGE}
        values = {name: shown_value(row) if judge else words.NOTHING for name, row in by.items()}
        any_row = next((row for row in (by["synthetic"], by["control_variate"], human) if row is not None), {})
        counts = {
            "n_labelled": (human or {}).get("n_labelled", 0),
            "n_pairs": any_row.get("n_pairs", 0),
            "n_excluded": any_row.get("n_excluded") or 0,
        }
        first = {"model": model, "human": shown_value(human)} if place == 0 else {"model": "", "human": ""}
        rows.append({**first, "judge": judge or words.NOTHING, **values, **counts})
    return rows


def _saving_rows(summary: WinRateSummary, model: str) -> list[dict[str, Any]]:
    return [
        {
            "model": model,
            "judge": row["judge"],
            "correlation": correlation_words(row),
            "saving": share_words(interval_of(row, "saving")),
            "predicted": predicted_words(row),
            "without_limit": without_limit_words(row),
            "n_labelled": row["n_labelled"],
            "worth": labels_worth(row),
        }
        for row in summary.control_variates(model)
        if row["value"] is not None
    ]


def _gap_rows(summary: WinRateSummary, model: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for row in summary.control_variates(model, "gap"):
        human = summary.row(model, "human", row["judge"], "gap")
        values: Mapping[str, Any] = {"human": human, "control_variate": row}
        shown = {
            name: words.NOTHING if each is None else interval(interval_of(each), sign=True)
            for name, each in values.items()
        }
        rows.append({"model": model, "judge": row["judge"], **shown, "saving": share_words(interval_of(row, "saving"))})
    return rows


def _judge_rows(summary: WinRateSummary) -> list[tuple[str, list[str]]]:
    """Every judge with its metrics over all models, in the order of ``JUDGE_METRICS``."""
    found = {metric: summary.metrics(metric) for metric in JUDGE_METRICS}
    judges = [name for name in summary.judges if any(name in by_judge for by_judge in found.values())]
    return [(name, [interval(by.get(name), sign=metric in SIGNED) for metric, by in found.items()]) for name in judges]
