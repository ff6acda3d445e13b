"""An experiment with ``exploration`` in the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ops.estimation.sampling_curves import BASE, DIFFERENCE, POLICY
from ops.reporting.exploration_plots import step_words
from ops.reporting.exploration_summary import ExplorationSummary
from ops.reporting.exploration_words import (
    NOT_MEASURED,
    ORGANISM,
    at_limit,
    change_words,
    few_words,
    kl_words,
    responses_words,
)
from ops.reporting.numbers import interval_of
from ops.reporting.rich_tables import add_texts, compact_table
from ops.reporting.words import NOTHING, interval, number
from ops.types import Interval

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
    from rich.table import Table

UNBOUNDED = 10_000
"""Columns: what a layout would take if it had room."""


def terminal_exploration(summary: ExplorationSummary) -> Group:
    """Everything about one experiment: hypothesis, pass@k by model, answer, training and sampling."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts: list[RenderableType] = [Text(f"Hypothesis: {summary.hypothesis}"), evaluation_table(summary)]
    parts += [Text(summary.answer), _training(summary), _sampling(summary)]
    padded: list[RenderableType] = [Padding(part, (0, 0, 1, 0)) for part in parts]
    return Group(*padded, *([Text(ORGANISM, style="dim")] if summary.builtin else []))


class Fitting:
    """The first of several layouts that fits the width it is printed at, else the last."""

    def __init__(self, layouts: Sequence[Callable[[], RenderableType]]) -> None:
        self.layouts = layouts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.measure import Measurement

        for layout in self.layouts:
            made = layout()
            if Measurement.get(console, options.update(max_width=UNBOUNDED), made).maximum <= options.max_width:
                break
        yield made


def evaluation_table(summary: ExplorationSummary) -> RenderableType:
    """A row for each evaluated model: pass@k with its interval, and its change to the base model.

    Every cell is one line: as many ks stand side by side as there is room for, the others below them.
    """
    from rich.console import Group
    from rich.text import Text

    ks = summary.shown_ks
    if not ks:
        return Text(f"{summary.name}: pass@k is {NOT_MEASURED} (no table policy_evaluation yet)")
    title = f"{summary.name}: pass@k and change to the base model [{100 * summary.confidence:g} % intervals]"
    numbers = sorted({-(-len(ks) // rows) for rows in range(1, len(ks) + 1)}, reverse=True)
    layouts = [partial(_blocks, summary, [ks[at : at + n] for at in range(0, len(ks), n)]) for n in numbers]
    layouts.append(partial(_blocks, summary, [[k] for k in ks], is_broken=True))
    return Group(Text(title, style="bold"), Fitting(layouts))


def _blocks(summary: ExplorationSummary, blocks: Sequence[Sequence[int]], is_broken: bool = False) -> RenderableType:
    """A table for each group of ks; ``is_broken``: intervals below their values."""
    from rich.console import Group

    parts: list[RenderableType] = []
    for ks in blocks:
        table = compact_table(
            "", ["model", *(word for k in ks for word in (f"pass@{k}", "change"))], left=1, vertical="top"
        )
        for step in summary.evaluated:
            cells = [step_words(summary, step)]
            for k in ks:
                base, value = summary.value(0, "pass_at_k", k), summary.value(step, "pass_at_k", k)
                cells += [interval(value), change_words(base, value, summary.change(step, "pass_at_k", k))]
            add_texts(table, (broken(cell, is_broken) for cell in cells))
        parts += [*([""] if parts else []), table]
    return Group(*parts)


def broken(cell: str, is_broken: bool) -> str:
    """The interval below its value; the step below the word trained."""
    return cell.replace(" [", "\n[").replace(" (", "\n(") if is_broken else cell


def _short(item: Interval, sign: bool = False) -> str:
    """As ``interval``; with two digits after the point where a number has one or more before it."""
    ends = (item.value, item.low, item.high)
    digits = 3 if all(abs(end) < 1.0005 for end in ends if not math.isnan(end)) else 2
    value, low, high = (number(end, digits, sign) for end in ends)
    return value if math.isnan(item.value) or math.isnan(item.low) else f"{value} [{low}, {high}]"


TRAINED = {
    "accuracy": "accuracy",
    "entropy_nats_correct": "entropy, right\n(nats/token)",
    "entropy_nats_incorrect": "entropy, others\n(nats/token)",
    "distinct_answers_per_group": "distinct\nper group",
    "unparseable_fraction": "unparseable",
}
"""Columns over training: metrics of the policy in ``training_dynamics``."""


def _training(summary: ExplorationSummary) -> RenderableType:
    """The training's windows at a few of its steps, the first and the last among them."""
    from rich.console import Group
    from rich.text import Text

    steps = [row["step"] for row in summary.dynamics(POLICY, "accuracy")]
    if not steps:
        return Text(f"Training: {NOT_MEASURED} (no table training_dynamics yet)")
    n, last = summary.pass_steps, len(steps) - 1
    about = (
        f"Each row: the responses drawn in the {n:,} step{'s' * (n != 1)} up to it, one pass over the training "
        f"questions (fewer at the start); {100 * summary.confidence:g} % intervals resample training questions. "
        f"{kl_words(summary)}"
    )
    shown = [steps[place] for place in sorted({0, last // 4, last // 2, 3 * last // 4, last})]
    layouts = [partial(_windows, summary, shown, is_broken) for is_broken in (False, True)]
    return Group(Fitting(layouts), Text(about, style="dim"))


def _windows(summary: ExplorationSummary, steps: Sequence[int], is_broken: bool) -> Table:
    rows = {name: {row["step"]: interval_of(row) for row in summary.dynamics(POLICY, name)} for name in TRAINED}
    table = compact_table("Training", ["step", *TRAINED.values()], left=1, vertical="top")
    for step in steps:
        cells = [_short(found[step]) if step in found else NOTHING for found in rows.values()]
        add_texts(table, (f"{step:,}", *(broken(cell, is_broken) for cell in cells)))
    return table


SAMPLED = {
    ("solved_questions", "all"): "questions solved",
    ("distinct_answers", "all"): "distinct answers",
    ("distinct_answers", "unsolved"): "… to unsolved",
    ("distinct_correct_answers", "all"): "distinct right answers",
}
"""Rows of ``training_dynamics`` that are shown, at the last step that they are measured at."""

SAMPLERS = {POLICY: "policy", BASE: "base model", DIFFERENCE: "difference"}


def _sampling(summary: ExplorationSummary) -> RenderableType:
    """Policy and base model at the same number of responses."""
    from rich.console import Group
    from rich.text import Text

    if summary.tables["training_dynamics"].is_empty():
        return Text(f"Training as sampling: {NOT_MEASURED} (no table training_dynamics yet)")
    about = (
        f"So far, with {responses_words(summary)}; {100 * summary.confidence:g} % intervals resample questions, the "
        "difference is paired. Unsolved: by as many further responses of the base model."
    )
    layouts = [partial(_samplers, summary, is_broken) for is_broken in (False, True)]
    return Group(Fitting(layouts), Text(about, style="dim"))


def _samplers(summary: ExplorationSummary, is_broken: bool) -> Table:
    table = compact_table("Training as sampling", ["", *SAMPLERS.values(), "ques-\ntions"], left=1, vertical="top")
    for (metric, questions), words in SAMPLED.items():
        counts = summary.n_questions(metric, questions)[-1:]
        n = counts[0][1] if counts else 0
        cells = _sampled_cells(summary, metric, questions)
        if questions != "all" and counts and few_words(n):
            cells = [NOTHING, NOTHING, few_words(n)]
        cells.append(f"{n:,}" if counts else NOTHING)
        add_texts(table, (words, *(broken(cell, is_broken and "[" in cell) for cell in cells)))
    return table


def _sampled_cells(summary: ExplorationSummary, metric: str, questions: str) -> list[str]:
    """Policy, base model and difference; where a share is 1 of both, at ceiling."""
    last = {name: summary.dynamics(name, metric, questions)[-1:] for name in SAMPLERS}
    found = {name: interval_of(rows[0]) for name, rows in last.items() if rows}
    cells = [_short(found[name], name == DIFFERENCE) if name in found else NOTHING for name in SAMPLERS]
    if metric == "solved_questions" and (limit := at_limit(found.get(POLICY), found.get(BASE))):
        cells[-1] = f"both at {limit}"
    return cells
