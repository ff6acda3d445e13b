"""A comparison of trained policies in the terminal: settings that differ, then a table for each other experiment."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ops.reporting.compare_exploration import PolicyComparison, PolicyRow
from ops.reporting.compare_table import excludes_zero, plain_table, settings_table
from ops.reporting.exploration_table import Fitting, broken
from ops.reporting.exploration_words import at_limit, change_words
from ops.reporting.words import interval, number

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

METRICS = {
    "pass_at_k": "pass@{k}",
    "distinct_answers_in_k": "distinct answers in {k}",
    "distinct_correct_in_k": "distinct correct in {k}",
    "unparseable_fraction": "unparseable",
}
SHARES = ("pass_at_k", "unparseable_fraction")


def metric_words(row: PolicyRow) -> str:
    """``pass@64``."""
    return METRICS[row.metric].format(k=row.k)


def pairing_words(found: PolicyComparison) -> list[str]:
    """On what the policies are compared, and what the differences hold besides."""
    said = [
        f"Paired by problem: the same {found.n_problems:,} evaluation problems, {found.n_responses:,} responses to "
        f"each; {100 * found.confidence:g} % intervals resample problems."
    ]
    for name, is_same in zip(found.names, found.has_same_base, strict=True):
        if not is_same:
            said.append(
                f"{name} starts from another base model than {found.names[0]}: differences are also those between the "
                "base models."
            )
    said.append(
        "Each was trained once: intervals hold the luck of problems, not that of training. A study of exploration with "
        "several seeds gives the standard error over seeds."
    )
    return said


def terminal_policies(found: PolicyComparison) -> Group:
    """A Rich renderable of the whole comparison."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [
        Text(f"{name} (step {step:,}): {hypothesis}")
        for name, step, hypothesis in zip(found.names, found.steps, found.hypotheses, strict=True)
    ]
    parts += [Text(""), *(Text(line) for line in pairing_words(found)), Text(""), settings_table(found)]
    for place in range(1, len(found.names)):
        layouts = [partial(_results, found, place, is_broken) for is_broken in (False, True)]
        parts += [Text(""), Fitting(layouts)]
    return Group(*parts, Text("* the interval excludes 0", style="dim"), Text(""))


def _results(found: PolicyComparison, place: int, is_broken: bool) -> Table:
    """The first experiment, another one, and their difference; ``is_broken``: intervals below their values."""
    from rich.text import Text

    table = plain_table(f"{found.names[place]} − {found.names[0]}")
    table.add_column("metric", overflow="fold")
    for name in (found.names[0], found.names[place]):
        table.add_column(Text(name), justify="right", overflow="fold")
    table.add_column("difference", justify="right")
    table.add_column("")
    for row in found.rows:
        cells = [interval(row.cells[0].value), interval(row.cells[place].value), difference_words(row, place)]
        star = "*" if excludes_zero(row.cells[place].difference) else ""
        table.add_row(Text(metric_words(row)), *(Text(broken(cell, is_broken)) for cell in cells), star)
    return table


def difference_words(row: PolicyRow, place: int) -> str:
    """``+.085 [+.058, +.112]``; of a share that is 1 of both ``at ceiling``."""
    first, other = row.cells[0], row.cells[place]
    if row.metric in SHARES:
        return change_words(first.value, other.value, other.difference)
    return interval(other.difference, sign=True)


def policies_sentence(found: PolicyComparison) -> str:
    """What pass@1 and pass@k at the largest k say of each experiment against the first."""
    passes = [row for row in found.rows if row.metric == "pass_at_k"]
    shown = [*passes[:1], *passes[-1:]] if len(passes) > 1 else passes
    parts = [
        f"{name} against {found.names[0]}: {'; '.join(_said(row, place) for row in shown)}"
        for place, name in enumerate(found.names[1:], 1)
    ]
    return ". ".join(parts) + f" ({100 * found.confidence:g} % intervals over problems)."


def _said(row: PolicyRow, place: int) -> str:
    first, other = row.cells[0].value, row.cells[place].value
    if limit := at_limit(first, other):
        return f"{metric_words(row)} is {number(other.value)} of both, at the {limit}"
    item = row.cells[place].difference
    assert item is not None  # only the first experiment has no difference
    verb = "is higher" if item.low > 0 else "is lower" if item.high < 0 else "cannot be told apart"
    ends = f"{number(first.value)} → {number(other.value)}"
    return f"{metric_words(row)} {verb}, {ends}: {interval(item, sign=True)}"
