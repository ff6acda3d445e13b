"""A comparison as aligned tables for a terminal: what differs in the settings, then a table for each iteration."""

from __future__ import annotations

from string import ascii_uppercase
from typing import TYPE_CHECKING

from ops.reporting.compare import OWN, Comparison, Key, Row
from ops.reporting.words import METRICS, NOTHING, interval, metric_words, number
from ops.types import Interval

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

    from ops.reporting.compare_exploration import PolicyComparison

SIGNED = ("gap", "relative_gap", "score_drift")


def key_words(key: Key) -> str:
    """``pass@64``, ``gap of logit ≥ 0``."""
    return metric_words(*key)


def value_words(row: Row, place: int) -> str:
    """The estimate of the experiment at ``place`` with its interval."""
    return interval(row.cells[place].value, sign=row.key[0] in SIGNED)


def difference_words(item: Interval | None) -> str:
    """``+.085 [+.058, +.112]``."""
    return NOTHING if item is None else interval(item, sign=True)


def excludes_zero(item: Interval | None) -> bool:
    """Whether the interval lies on one side of 0; False where it is undefined."""
    return item is not None and (item.low > 0 or item.high < 0)


def pairing_words(found: Comparison) -> list[str]:
    """How each experiment is compared with the first one, in a sentence each."""
    first, level = found.names[0], f"{100 * found.confidence:g} %"
    said = []
    for place, name in enumerate(found.names[1:], 1):
        if found.is_paired[place]:
            said.append(
                f"{name} − {first}: paired by problem, the same {found.n_problems[0]:,} evaluation problems; {level} "
                "intervals resample problems."
            )
        else:
            said.append(
                f"{name} − {first}: NOT paired, the evaluation problems differ ({found.n_problems[place]:,} and "
                f"{found.n_problems[0]:,}, {found.n_common[place]:,} in common); {level} intervals resample each "
                "side's problems on its own, and the difference is also one between problems."
            )
    if any(row.key[2] == OWN for row in found.rows):
        said.append(f"The gap of {OWN}: the experiments measure no filter in common.")
    elif not any(row.key[0] == "gap" for row in found.rows):
        said.append("No gaps: the experiments measure no filter in common, and not all of them train.")
    if found.not_compared:
        ns = ", ".join(f"{low}" if low == high else f"{low} to {high}" for low, high in found.n_responses)
        named = ", ".join(METRICS[name] for name in found.not_compared)
        said.append(
            f"The numbers of responses to an evaluation problem differ ({ns}), so what depends on it is left out: "
            f"{named}. Gaps depend on it a little: with fewer responses a filter keeps nothing of more problems."
        )
    return said


def terminal_comparison(found: Comparison) -> Group:
    """A Rich renderable of the whole comparison."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [
        Text(f"{letter}  {name}: {hypothesis}")
        for letter, name, hypothesis in zip(ascii_uppercase, found.names, found.hypotheses, strict=False)
    ]
    parts += [Text(""), *(Text(line) for line in pairing_words(found))]
    parts += [Text(""), settings_table(found)]
    for iteration in found.iterations:
        parts += [Text(""), _results(found, iteration)]
    left_out = len(found.at(found.iterations[-1])) - len(found.shown(found.iterations[-1]))
    more = f"; {left_out} more rows (of other filters and verifiers) are on the page: --html FILE" if left_out else ""
    parts += [Text(f"* the interval excludes 0{more}", style="dim"), Text("")]
    return Group(*parts)


def plain_table(title: str) -> Table:
    """As comparisons draw them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    return Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        show_edge=False,
    )


def settings_table(found: Comparison | PolicyComparison) -> RenderableType:
    """The settings that differ; a sentence where none does."""
    from rich.text import Text

    if not found.settings:
        return Text("The settings are the same.")
    table = plain_table("Settings that differ")
    for name in ("setting", *found.names):
        table.add_column(Text(name), overflow="fold")
    for setting in found.settings:
        table.add_row(Text(setting.field), *(Text(value) for value in setting.values))
    return table


def _results(found: Comparison, iteration: int) -> Table:
    """Two experiments under their names; more under letters, with the intervals below the values."""
    from rich.text import Text

    table, stacked = plain_table(f"Iteration {iteration}"), len(found.names) > 2
    table.add_column("metric", overflow="fold")
    for letter, name in zip(ascii_uppercase, found.names, strict=False):
        table.add_column(Text(letter if stacked else f"{letter}: {name}"), justify="right", overflow="fold")
    for letter in ascii_uppercase[1 : len(found.names)]:
        table.add_column(Text(f"{letter} − A"), justify="right", no_wrap=True)
        table.add_column("")
    for row in found.shown(iteration):
        cells = [value_words(row, place) for place in range(len(found.names))]
        for cell in row.cells[1:]:
            cells += [difference_words(cell.difference), "*" if excludes_zero(cell.difference) else ""]
        if stacked:
            cells = [cell.replace(" [", "\n[") if cell != "*" else "\n*" for cell in cells]
        table.add_row(Text(key_words(row.key)), *(Text(cell, justify="right") for cell in cells))
    return table


def sentence(found: Comparison) -> str:
    """What the last iteration says of accuracy and of pass@k at the largest k, against the first experiment."""
    last = found.iterations[-1]
    rows = {row.key: row for row in found.at(last)}
    passes = [key for key in rows if key[0] == "pass_at_k"]
    shown = [key for key in (("accuracy", None, None), *passes[-1:]) if key in rows]
    parts = []
    for place, name in enumerate(found.names[1:], 1):
        said = [_said(rows[key], place) for key in shown]
        parts.append(f"{name} against {found.names[0]} at iteration {last}: {'; '.join(said)}")
    return ". ".join(parts) + f" ({100 * found.confidence:g} % intervals)."


def _said(row: Row, place: int) -> str:
    item = row.cells[place].difference
    assert item is not None  # only the first experiment has no difference
    verb = "is higher" if item.low > 0 else "is lower" if item.high < 0 else "cannot be told apart"
    ends = " → ".join(number(cell.value.value) for cell in (row.cells[0], row.cells[place]))
    return f"{key_words(row.key)} {verb}, {ends}: {interval(item, sign=True)}"
