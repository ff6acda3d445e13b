"""A study of exploration on the terminal: the talk's table of 2509.06941, then the findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.exploration_findings import SEEDS_NEEDED
from ops.exploration_study import BASE
from ops.reporting.arms_data import Cell
from ops.reporting.arms_words import NAMED
from ops.reporting.exploration_study_data import ExplorationData, TaskShown
from ops.reporting.rich_tables import findings_table, new_table
from ops.reporting.words import NOTHING, number

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

ORGANISM = (
    "The built-in models of this study are model organisms: tiny decoders that this lab pretrained itself. Their "
    "numbers show how reinforcement learning and its bonuses behave; they say nothing about any released model."
)

HIGHER, LOWER = "▲", "▼"
"""Where both intervals of the difference to the reference arm, over problems and over seeds, lie above, below 0."""


def terminal_exploration(data: ExplorationData) -> Group:
    """A Rich renderable: pass@k of the base model and of every arm on every task, the findings, what is missing."""
    from rich.console import Group
    from rich.text import Text

    decisions = f"{data.tables['findings'].height} decisions, not adjusted for their number."
    parts: list = [_passed(data), Text(legend(data), style="dim"), Text(""), _findings(data), Text(decisions, "dim")]
    if data.missing:
        named = ", ".join(data.missing) if len(data.missing) <= NAMED else f"{len(data.missing)} experiments"
        parts.append(Text(f"Not complete: {named}.", style="dim"))
    if data.is_builtin:
        parts.append(Text(ORGANISM, style="dim"))
    return Group(*parts)


def _passed(data: ExplorationData) -> Table:
    from rich.text import Text

    table = new_table("pass@k of the trained policies")
    table.add_column("arm")
    columns = [(task, k) for task in data.tasks for k in task.shown_ks]
    for task, k in columns:
        table.add_column(f"{task.label}\npass@{k}", justify="right")
    for arm in (BASE, *data.arms):
        cells = [Text(passed_words(data, task, arm, k), justify="right") for task, k in columns]
        table.add_row(Text(arm), *cells)
    return table


def passed_words(data: ExplorationData, task: TaskShown, arm: str, k: int) -> str:
    """``.425 ± .004 ▲``; with fewer seeds than other arms of the task, how many."""
    cell = data.cell(task.label, arm, "pass_at_k", k)
    if cell is None:
        return NOTHING
    n_most = max((len(seeds) for seeds in task.seeds.values()), default=0)
    fewer = f" ({cell.n_seeds} of {n_most} seeds)" if arm != BASE and cell.n_seeds < n_most else ""
    return f"{value_words(cell)}{fewer}{_mark(data, task, arm, k)}"


def value_words(cell: Cell) -> str:
    """``.425 ± .004``; without a standard error, of one seed, the value."""
    error = f" ± {number(cell.standard_error)}" if cell.standard_error == cell.standard_error else ""
    return f"{number(cell.interval.value)}{error}"


def _mark(data: ExplorationData, task: TaskShown, arm: str, k: int) -> str:
    """Beside the reference arm: whether it is measurably higher or lower; a blank as wide keeps numbers in line."""
    if task.reference is None or arm == task.reference:
        return "  "
    if arm == BASE:
        found = -data.side(task.label, task.reference, BASE, "pass_at_k", k)
    else:
        found = data.side(task.label, arm, task.reference, "pass_at_k", k)
    return {1: f" {HIGHER}", 0: "  ", -1: f" {LOWER}"}[found]


def legend(data: ExplorationData) -> str:
    """What the table's numbers and marks mean, and what was asked."""
    references = dict.fromkeys(task.reference for task in data.tasks if task.reference is not None)
    asked = "; ".join(
        f"{task.label}: {task.model}, {task.steps} steps, {task.n_problems} problems × {task.n_responses} responses"
        for task in data.tasks
    )
    seeds = f"Mean of {len(data.seeds)} seeds ± standard error over seeds. " if len(data.seeds) > 1 else ""
    marks = (
        f"{HIGHER} {LOWER}: both {100 * data.confidence:g} % intervals of the difference to {', '.join(references)}, "
        f"paired by seed and problem, lie above or below 0: over problems, and the t interval over seeds. "
        if len(data.seeds) >= SEEDS_NEEDED
        else "One seed says nothing of other trainings: no arm is marked, no finding decided. "
    )
    return f"{seeds}{marks if references else ''}{asked}."


def _findings(data: ExplorationData) -> Table:
    from rich.text import Text

    return findings_table(
        "What arXiv 2509.06941 says of diversity, decided here",
        data.tables["findings"],
        ("task", "finding"),
        lambda row: (row["task"], Text(row["statement"])),
    )
