"""The page of a study of exploration: one self-contained HTML file. Nothing is fetched, every text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from ops.exploration_study import BASE
from ops.reporting import words
from ops.reporting.arms_data import Cell
from ops.reporting.exploration_page import METRICS
from ops.reporting.exploration_study_data import ExplorationData, TaskShown
from ops.reporting.exploration_study_figures import study_svgs
from ops.reporting.exploration_study_plots import color_of
from ops.reporting.exploration_study_settings import StudySettings
from ops.reporting.exploration_study_table import HIGHER, LOWER, ORGANISM, legend, passed_words, value_words
from ops.reporting.exploration_study_words import PUBLISHED, study_answer
from ops.reporting.numbers import interval_of
from ops.reporting.page import page_template
from ops.reporting.plots import SERIES
from ops.types import Interval

TEMPLATE = Path(__file__).with_name("exploration_study_page.html.j2")
QUESTIONS = ("all", "solved", "unsolved")
PER_GROUP, OWN = "distinct_answers_per_group", "distinct_answers_per_group_own"
SAMPLED = {
    "solved questions": ("solved_questions", "all"),
    "distinct answers": ("distinct_answers", "all"),
    "distinct answers, unsolved": ("distinct_answers", "unsolved"),
}
"""At the end of training: metric and questions of the table below the small multiples."""


class Passed(NamedTuple):
    """A cell of the talk's table.

    Attributes:
        mark: whether the arm is measurably higher or lower than the reference; '' where it is not.
    """

    text: str
    mark: str


class Sampled(NamedTuple):
    """Of one metric, over seeds: policy, base model, and the difference."""

    policy: Cell | None
    base: Cell | None
    difference: Cell | None


def exploration_study_page(data: ExplorationData, training: pl.DataFrame, settings: StudySettings) -> str:
    """The report of a study of exploration as HTML.

    Args:
        training: of ``read_training``.
    """
    from markupsafe import Markup

    figures = {item.name: (item, Markup(svg)) for item, svg in study_svgs(data, training)}  # noqa: S704
    return page_template(TEMPLATE, cell=cell_words).render(
        data=data,
        answer=study_answer(data),
        organism=ORGANISM if data.is_builtin else None,
        missing=words.NOTHING,
        level=f"{100 * data.confidence:g} %",
        legend=legend(data),
        marks=(HIGHER, LOWER),
        base=BASE,
        colors={arm: css_color(data, arm) for arm in (BASE, *data.arms)},
        figures=figures,
        findings=[dict(row, value=interval_of(row, "value")) for row in data.tables["findings"].iter_rows(named=True)],
        columns=[(task, k) for task in data.tasks for k in task.shown_ks],
        passed={arm: _passed(data, arm) for arm in (BASE, *data.arms)},
        differences=[(task, _differences(data, task)) for task in data.tasks],
        published=PUBLISHED,
        others=[(task, _others(data, task)) for task in data.tasks],
        sampled=[(task, _sampled(data, task)) for task in data.tasks],
        sampled_columns=list(SAMPLED),
        groups=[(task, _groups(data, task, PER_GROUP, QUESTIONS)) for task in data.tasks],
        own_groups={task.label: _groups(data, task, OWN, QUESTIONS[1:]) for task in data.tasks},
        settings=settings,
        table_rows={name: frame.height for name, frame in {**data.tables, "training_dynamics": training}.items()},
        images=[name for name, (_, svg) in figures.items() if svg or name == "exploration"],
    )


def cell_words(cell: Cell | None, sign: bool = False) -> str:
    """``2.883 ± .012``; of one seed with its interval."""
    if cell is None:
        return words.NOTHING
    if math.isnan(cell.standard_error):
        return words.interval(cell.interval, sign)
    return f"{words.number(cell.interval.value, sign=sign)} ± {words.number(cell.standard_error)}"


def css_color(data: ExplorationData, arm: str) -> str:
    """The colour of an arm in the page's CSS, the same as in the figures."""
    color = color_of(data, arm)
    if color not in SERIES:
        return color
    place = SERIES.index(color)
    return "var(--series)" if place == 0 else f"var(--series-{place}, {color})"


def _passed(data: ExplorationData, arm: str) -> list[Passed]:
    found = []
    for task in data.tasks:
        for k in task.shown_ks:
            text = passed_words(data, task, arm, k).strip()
            mark = text[-1] if text.endswith((HIGHER, LOWER)) else ""
            found.append(Passed(text.removesuffix(mark).strip(), mark))
    return found


@dataclass(frozen=True)
class Difference:
    """A cell of the table of differences; ``seeds``: its t interval over seeds; ``is_clear``: both exclude 0."""

    cell: Cell | None
    seeds: Interval | None
    is_clear: bool


def _differences(data: ExplorationData, task: TaskShown) -> list[tuple[str, list[Difference]]]:
    """By arm: its pass@k minus the base model's at every shown k, then minus the reference arm's."""
    others = [label for label in (BASE, task.reference) if label is not None]

    def one(arm: str, other: str, k: int) -> Difference:
        asked = (task.label, arm, other, "pass_at_k", k)
        return Difference(data.difference(*asked), data.seed_interval(*asked), data.side(*asked) != 0)

    return [(arm, [one(arm, other, k) for other in others for k in task.shown_ks]) for arm in task.arms]


def _others(data: ExplorationData, task: TaskShown) -> list[tuple[str, list[str]]]:
    """Other metrics of the base model and of every trained policy; with k at the largest k."""
    rows = []
    for metric, said in METRICS.items():
        k = task.ks[-1] if metric.endswith("_in_k") and task.ks else None
        cells = [data.cell(task.label, arm, metric, k) for arm in (BASE, *task.arms)]
        if any(cell is not None and not math.isnan(cell.interval.value) for cell in cells):
            rows.append((said.format(k=k), [words.NOTHING if cell is None else value_words(cell) for cell in cells]))
    return rows


def _sampled(data: ExplorationData, task: TaskShown) -> list[tuple[str, list[Sampled]]]:
    """By arm: at the end of training, policy against base model at the same number of responses."""
    return [
        (arm, [_of_samplers(data, task.label, arm, metric, questions) for metric, questions in SAMPLED.values()])
        for arm in task.arms
    ]


def _groups(
    data: ExplorationData, task: TaskShown, metric: str, questions: Sequence[str]
) -> list[tuple[str, list[Sampled]]]:
    """By arm: distinct answers per group, of groups of these kinds."""
    return [(arm, [_of_samplers(data, task.label, arm, metric, item) for item in questions]) for arm in task.arms]


def _of_samplers(data: ExplorationData, task: str, arm: str, metric: str, questions: str) -> Sampled:
    return Sampled(
        *(data.cell(task, arm, metric + end, questions=questions) for end in ("", "_of_base", "_minus_base"))
    )
