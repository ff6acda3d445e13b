"""An experiment with ``evaluation`` in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from ops.lab import Lab
from ops.reporting.exploration_table import Fitting, broken
from ops.reporting.numbers import interval_of
from ops.reporting.rich_tables import add_texts, compact_table
from ops.reporting.win_rate_summary import Row, WinRateSummary, summarise_win_rates
from ops.reporting.win_rate_words import (
    BIASED,
    NOT_MEASURED,
    ORGANISM,
    QUANTITIES,
    correlation_words,
    labels_worth,
    predicted_words,
    share_words,
    shown_value,
)
from ops.reporting.words import NOTHING, interval

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

JUDGE_METRICS = {
    "position_bias": "position\nbias",
    "order_agreement": "same in\nboth orders",
    "agreement": "agrees\nwith labels",
    "correlation": "correlation\nwith labels",
    "auroc": "AUROC\nfor labels",
    "mean_score": "mean\nscore",
    "unreadable_fraction": "unreadable",
}
"""Columns of the table of judges: metrics of ``judge_metrics`` over all models."""
SIGNED = ("position_bias", "correlation")
WITH_JUDGE = ("synthetic", "control_variate", "cross_fitted")
"""Estimators that have a judge, in the order of columns."""
NARROW = WITH_JUDGE[:2]
"""Those of them for which there is room in a narrow terminal."""


def terminal_win_rates(lab: Lab) -> Group:
    """Everything about one experiment with ``evaluation``, from what is stored.

    Raises:
        StorageError: when a table is damaged.
    """
    return terminal_evaluation(summarise_win_rates(lab.experiment, lab.plan, lab.store))


def terminal_evaluation(summary: WinRateSummary) -> Group:
    """Hypothesis, estimates by model, answer, what the judges saved and what they are worth."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts: list[RenderableType] = [Text(f"Hypothesis: {summary.hypothesis}"), win_rate_table(summary)]
    parts += [Text(summary.answer), *(Text(note, style="dim") for note in summary.notes)]
    parts += [part for part in (_savings(summary), _gaps(summary), _judges(summary)) if part is not None]
    padded: list[RenderableType] = [Padding(part, (0, 0, 1, 0)) for part in parts]
    return Group(*padded, *([Text(ORGANISM, style="dim")] if summary.builtin else []))


def win_rate_table(summary: WinRateSummary) -> RenderableType:
    """A row for each model and judge: human labels alone, the judge alone, and both together."""
    from rich.console import Group
    from rich.text import Text

    what = QUANTITIES[summary.quantity]
    if not summary.is_measured:
        return Text(f"{summary.name}: {what} is {NOT_MEASURED} (no table win_rates yet)")
    against = f" against {summary.reference}" if summary.quantity == "win_rate" else ""
    title = f"{summary.name}: {what}{against} [{100 * summary.confidence:g} % intervals]"
    layouts = [partial(_estimates, summary, *how) for how in ((False, WITH_JUDGE), (True, WITH_JUDGE), (True, NARROW))]
    return Group(Text(title, style="bold"), Fitting(layouts))


def _estimates(summary: WinRateSummary, is_broken: bool, estimators: Sequence[str]) -> Table:
    alone = f"judge alone\n({BIASED})"
    headers = dict(zip(WITH_JUDGE, (alone, "control variate", "cross-fitted"), strict=True))
    shown = ("model", "judge", "labels", "human labels", *(headers[name] for name in estimators))
    table = compact_table("", shown, left=2, vertical="top")
    for model in summary.judged:
        of_model = [model, _labels(summary, model), shown_value(summary.row(model, "human"))]
        for judge in judges_of(summary, model):
            rows = [summary.row(model, name, judge) if judge else None for name in estimators]
            cells = [of_model[0], judge or NOTHING, *of_model[1:], *(shown_value(row) for row in rows)]
            add_texts(table, (_in_lines(cell) if is_broken else cell for cell in cells))
            of_model = ["", "", ""]
    return table


def _in_lines(cell: str) -> str:
    """Interval below its value, one judge below the other, all pairs below the labelled ones."""
    return broken(cell, True).replace(" + ", "\n+ ").replace(" of ", "\nof ")


def judges_of(summary: WinRateSummary, model: str) -> list[str | None]:
    """Judges with an estimate of a model, alone and together; [None] where there is none."""
    rows = summary.tables["win_rates"].filter(model=model, quantity=summary.quantity)
    return list(rows["judge"].drop_nulls().unique(maintain_order=True)) or [None]


def _labels(summary: WinRateSummary, model: str) -> str:
    """``120 of 1,500``: labelled pairs of all."""
    rows = summary.tables["win_rates"].filter(model=model, quantity=summary.quantity)
    human = summary.row(model, "human")
    n_pairs = int(rows["n_pairs"].max() or 0)  # type: ignore[arg-type]
    return f"{0 if human is None else human['n_labelled']:,} of {n_pairs:,}"


def _savings(summary: WinRateSummary) -> RenderableType | None:
    """What each judge saved of the labels, beside what its correlation predicts."""
    rows = [row for model in summary.judged for row in summary.control_variates(model) if row["value"] is not None]
    if not rows:
        return None
    layouts = [partial(_savings_table, rows, is_broken) for is_broken in (False, True)]
    about = (
        "Saved: 1 − variance / variance of the human estimate from the same labels, as estimated. Predicted: by "
        "planning, ρ² (1 − n/N) with one pair per problem; without limit: ρ², with unlabelled pairs without end. "
        "Worth: human labels alone that would be as precise; > N: not even labels of all N pairs."
    )
    return _with_note(layouts, about)


def _savings_table(rows: Sequence[Row], is_broken: bool) -> Table:
    headers = ("model", "judge", "correlation", "saved", "predicted", "without\nlimit", "labels", "worth")
    table = compact_table("Labels saved by the control variate", headers, left=2, vertical="top")
    for place, row in enumerate(rows):
        again = place > 0 and rows[place - 1]["model"] == row["model"]
        cells = ["" if again else row["model"], row["judge"], correlation_words(row)]
        cells += [share_words(interval_of(row, "saving")), predicted_words(row), without_limit_words(row)]
        cells += [f"{row['n_labelled']:,}", labels_worth(row)]
        add_texts(table, (_in_lines(cell) if is_broken else cell for cell in cells))
    return table


def without_limit_words(row: Row) -> str:
    """``27 %``, ρ²."""
    return predicted_words({"predicted_saving": row["saving_without_limit"]})


def _gaps(summary: WinRateSummary) -> RenderableType | None:
    """With ``estimand: accuracy``: the gap of each verifier's own filter from few labels."""
    rows = [row for model in summary.judged for row in summary.control_variates(model, "gap")]
    if not rows:
        return None
    layouts = [partial(_gaps_table, summary, rows, is_broken) for is_broken in (False, True)]
    about = "Accuracy of the responses that the verifier accepts at its own threshold, minus accuracy of all."
    return _with_note(layouts, about)


def _gaps_table(summary: WinRateSummary, rows: Sequence[Row], is_broken: bool) -> Table:
    table = compact_table(
        "Gap from few labels", ("model", "verifier", "human labels", "control variate", "saved"), left=2
    )
    for row in rows:
        human = summary.row(row["model"], "human", row["judge"], "gap")
        values = (None if each is None else interval_of(each) for each in (human, row))
        cells = [row["model"], row["judge"], *(interval(item, sign=True) for item in values)]
        cells.append(share_words(interval_of(row, "saving")))
        add_texts(table, (_in_lines(cell) if is_broken else cell for cell in cells))
    return table


def _judges(summary: WinRateSummary) -> RenderableType | None:
    """What the judges are worth, over all models."""
    found = {metric: summary.metrics(metric) for metric in JUDGE_METRICS}
    judges = [name for name in summary.judges if any(name in by_judge for by_judge in found.values())]
    if not judges:
        return None
    layouts = [partial(_judges_table, found, judges, is_broken) for is_broken in (False, True)]
    about = (
        "Over all models. Position bias: how much more often than half the response shown first is preferred; such "
        "judges are asked in both orders. Agreement counts ties, which a score of exactly one half would be."
    )
    return _with_note(layouts, about)


def _judges_table(found: dict, judges: Sequence[str], is_broken: bool) -> Table:
    shown = {metric: words for metric, words in JUDGE_METRICS.items() if found[metric]}
    table = compact_table("Judges", ("judge", *shown.values()), left=1, vertical="top")
    for judge in judges:
        cells = [interval(found[metric].get(judge), sign=metric in SIGNED) for metric in shown]
        add_texts(table, (judge, *(broken(cell, is_broken) for cell in cells)))
    return table


def _with_note(layouts: Sequence, about: str) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    return Group(Fitting(layouts), Text(about, style="dim"))
