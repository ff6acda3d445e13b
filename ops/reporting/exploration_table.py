"""An experiment with ``exploration`` in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.estimation.sampling_curves import BASE, DIFFERENCE, POLICY
from ops.reporting.exploration_plots import step_words
from ops.reporting.exploration_summary import ExplorationSummary
from ops.reporting.exploration_words import NOT_MEASURED
from ops.reporting.numbers import interval_of
from ops.reporting.words import NOTHING, ORGANISM, interval, number, percent

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
    from rich.table import Table

CELL_CHARS = (20, 14)
"""About as wide are a change with its interval, and the interval alone: terminals with less room for each break them
into two or three lines."""


def terminal_exploration(summary: ExplorationSummary) -> Group:
    """Everything about one experiment: hypothesis, pass@k by model, answer, training and sampling."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts: list[RenderableType] = [Text(f"Hypothesis: {summary.hypothesis}"), evaluation_table(summary)]
    parts += [Text(summary.answer), _training(summary), _sampling(summary)]
    padded: list[RenderableType] = [Padding(part, (0, 0, 1, 0)) for part in parts]
    return Group(*padded, *([Text(ORGANISM, style="dim")] if summary.builtin else []))


def evaluation_table(summary: ExplorationSummary) -> RenderableType:
    """A row for each evaluated model: pass@k with its interval, and its change to the base model."""
    return _Fitting(summary)


class _Fitting:
    """The table of evaluations, laid out for the width it is printed at."""

    def __init__(self, summary: ExplorationSummary) -> None:
        self.summary = summary

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        cells = 1 + 2 * len(self.summary.shown_ks)
        yield _evaluation(self.summary, sum(options.max_width < chars * cells for chars in CELL_CHARS))


def _evaluation(summary: ExplorationSummary, breaks: int) -> RenderableType:
    """For each model pass@k with its interval and the change to the base model, each over ``breaks`` + 1 lines."""
    from rich.text import Text

    ks = summary.shown_ks
    if not ks:
        return Text(f"{summary.name}: pass@k is {NOT_MEASURED} (no table policy_evaluation yet)")
    title = f"{summary.name}: pass@k [{100 * summary.confidence:g} %] and change to the base model"
    headers = ["model", *(f"{word}@{k}" for k in ks for word in ("pass", "Δ"))]
    table = _table(title, headers)
    for step in summary.evaluated:
        cells = []
        for k in ks:
            cells += [interval(summary.value(step, "pass_at_k", k))]
            cells += [interval(summary.change(step, "pass_at_k", k), sign=True)]
        cells = [step_words(summary, step), *cells]
        for text in (" [", " (", ", ")[: (0, 2, 3)[breaks]]:
            cells = [cell.replace(text, f"{text.rstrip(' [(')}\n{text.strip(' ,')}") for cell in cells]
        table.add_row(*map(_text, cells))
    return table


def _training(summary: ExplorationSummary) -> RenderableType:
    """A few of the training's steps, the first and the last among them."""
    from rich.text import Text

    rows = summary.tables["policy_steps"].sort("step").rows(named=True)
    if not rows:
        return Text(f"Training: {NOT_MEASURED} (no table policy_steps yet)")
    headers = ["step", "accuracy", "reward", "bonus", "entropy\nnats", "KL\nnats", "distinct\nper group"]
    table = _table("Training, of the responses of one step", [*headers, "unpar-\nseable"])
    shown = sorted({0, len(rows) // 4, len(rows) // 2, 3 * len(rows) // 4, len(rows) - 1})
    for row in (rows[place] for place in shown):
        names = ("accuracy", "mean_reward", "mean_bonus", "entropy_nats", "kl_to_base_nats")
        cells = [f"{row['step']:,}", *(number(row[name]) for name in names)]
        cells += [number(row["distinct_answers_per_group"], 2), percent(row["unparseable_fraction"])]
        table.add_row(*map(_text, cells))
    return table


SAMPLED = {
    ("solved_questions", "all"): "questions solved so far",
    ("distinct_answers", "all"): "distinct answers so far",
    ("distinct_answers", "unsolved"): "… to unsolved questions",
    ("distinct_correct_answers", "all"): "distinct right answers so far",
}
"""Rows of ``training_dynamics`` that are shown, at the last step that they are measured at."""

SAMPLERS = {POLICY: "policy", BASE: "base model", DIFFERENCE: "difference"}


def _sampling(summary: ExplorationSummary) -> RenderableType:
    """Policy and base model at the same number of responses."""
    from rich.text import Text

    if summary.tables["training_dynamics"].is_empty():
        return Text(f"Training as sampling: {NOT_MEASURED} (no table training_dynamics yet)")
    table = _table("Training as sampling, at equal numbers of responses", ["", *SAMPLERS.values(), "questions"])
    for (metric, questions), words in SAMPLED.items():
        last = {sampler: summary.dynamics(sampler, metric, questions)[-1:] for sampler in SAMPLERS}
        cells = [number(last[name][0]["value"]) if last[name] else NOTHING for name in (POLICY, BASE)]
        cells += [interval(interval_of(row), sign=True) for row in last[DIFFERENCE]] or [NOTHING]
        cells += [f"{row['n_problems']:,}" for row in last[DIFFERENCE]] or [NOTHING]
        table.add_row(_text(words), *map(_text, cells))
    return table


def _table(title: str, headers: list[str]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    for place, header in enumerate(headers):
        justify = "left" if place == 0 else "right"
        table.add_column(Text(header), justify=justify, no_wrap=True, vertical="bottom")  # type: ignore[arg-type]
    return table


def _text(cell: str) -> RenderableType:
    from rich.text import Text

    return Text(cell)
