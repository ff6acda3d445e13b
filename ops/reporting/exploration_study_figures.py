"""Figures of a study of exploration: the same drawing as SVG for the page and as PNG for papers."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ops.reporting.dynamics_plots import ENTROPIES
from ops.reporting.exploration_study_curves import BASE_MODEL
from ops.reporting.exploration_study_data import ExplorationData, TaskShown
from ops.reporting.exploration_study_plots import ROWS, draw_entropies, draw_over_steps, draw_passed, draw_sampling
from ops.reporting.plots import STYLE, inline_svg, new_figure
from ops.storage.atomic import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OVERVIEW = "exploration"
PANEL_INCHES = (3.9, 2.7)
SMALL_INCHES = (1.95, 1.75)
LEGEND_INCHES = 0.35

Draw = Callable[["Sequence[Axes]", ExplorationData, pl.DataFrame], bool]


@dataclass(frozen=True)
class StudyFigure:
    """One figure of several panels.

    Attributes:
        columns, rows: of panels.
        inches: of one panel.
        draw: draws into the panels, row by row, from the study's data and ``read_training``; says whether it found
            anything.
        caption: what is shown, and what bars and bands are.
    """

    name: str
    title: str
    caption: str
    columns: int
    rows: int
    inches: tuple[float, float]
    draw: Draw


def study_figures(data: ExplorationData) -> list[StudyFigure]:
    """Every figure, in the order of the page."""
    tasks = [task for task in data.tasks if task.ks]
    n = max(len(tasks), 1)
    level = f"{100 * data.confidence:g} % intervals over problems"
    bars = "one standard error over seeds" if len(data.seeds) > 1 else level
    passed = StudyFigure(
        OVERVIEW,
        "pass@k of the trained policies",
        "Chance that one of k responses is right, and below it what training changed of it (paired by seed and "
        f"problem; below 0 the base model is better). Mean over seeds; bars above: {bars}; below: {level}. Arms stand "
        "side by side at each k.",
        n,
        2,
        PANEL_INCHES,
        partial(draw_passed, tasks=tasks),
    )
    over_steps = StudyFigure(
        "pass_over_steps",
        "pass@k along training",
        f"At the snapshots; step 0 is the base model. Mean over seeds; bars: {bars}.",
        n,
        2,
        PANEL_INCHES,
        partial(draw_over_steps, tasks=tasks),
    )
    return [passed, over_steps, *(_sampling_figure(task, bars) for task in data.tasks), _entropy_figure(data, bars)]


def _sampling_figure(task: TaskShown, band: str) -> StudyFigure:
    return StudyFigure(
        f"sampling_{task.label}",
        f"Training as sampling: {task.label}",
        "Each arm against the base model at the same number of responses to every question. Unsolved: as "
        f"many further responses of the base model hold no right one, the same questions for both. Mean over seeds; "
        f"bands: {band}; a curve is left out where a seed has no such question.",
        len(task.arms),
        len(ROWS),
        SMALL_INCHES,
        partial(draw_sampling, task=task),
    )


def _entropy_figure(data: ExplorationData, band: str) -> StudyFigure:
    return StudyFigure(
        "token_entropy",
        "Entropy of correct and other responses along training",
        "Next-token entropy of the policy in training, of responses that were right and of all others. Mean over "
        f"seeds; bands: {band}; steps at which a seed has no such response are left out.",
        max(len(data.tasks), 1),
        len(ENTROPIES),
        PANEL_INCHES,
        draw_entropies,
    )


def study_svgs(data: ExplorationData, training: pl.DataFrame) -> list[tuple[StudyFigure, str]]:
    """Figures as inline SVG in the page's colours; '' where there is nothing to draw.

    Args:
        training: of ``read_training``.
    """
    return [(item, _svg(item, data, training)) for item in study_figures(data)]


def study_pngs(data: ExplorationData, training: pl.DataFrame, folder: Path) -> list[Path]:
    """The same as PNG files; those with nothing to draw are left out, except for ``exploration.png``, which says so."""
    import matplotlib

    paths = []
    for item in study_figures(data):
        with matplotlib.rc_context(STYLE):
            figure = _figure(item, data, training)
            if figure is None and item.name == OVERVIEW:
                figure = _nothing()
            if figure is not None:
                path = folder / f"{item.name}.png"
                with atomic_file(path) as staging:
                    _saved(figure, staging, format="png", facecolor="white", dpi=200)
                paths.append(path)
    return paths


def _nothing() -> Figure:
    figure, [axes] = new_figure(1, PANEL_INCHES)
    axes.set_axis_off()
    axes.text(0.5, 0.5, "nothing is measured yet", ha="center", transform=axes.transAxes)
    return figure


def _svg(item: StudyFigure, data: ExplorationData, training: pl.DataFrame) -> str:
    import matplotlib

    name = item.name.replace("_", "-")
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": f"mindgap exploration {data.name} {name}"}):
        figure = _figure(item, data, training)
        if figure is None:
            return ""
        text = io.StringIO()
        _saved(figure, text, format="svg", transparent=True)
    return inline_svg(text.getvalue(), name)


def _saved(figure: Figure, where: Any, **options: Any) -> None:
    metadata = {"Date": None, "Creator": None} if options["format"] == "svg" else {"Software": None}
    figure.savefig(where, metadata=metadata, **options)


def _figure(item: StudyFigure, data: ExplorationData, training: pl.DataFrame) -> Figure | None:
    """All panels and one legend below them."""
    inches = (item.columns * item.inches[0], item.rows * item.inches[1] + LEGEND_INCHES)
    figure, axes = new_figure(item.columns, inches, item.rows)
    if not item.draw(axes, data, training):
        return None
    labels: dict[str, Any] = {}
    for panel in axes:
        handles, words = panel.get_legend_handles_labels()
        labels |= {word: handle for word, handle in zip(words, handles, strict=True) if word not in labels}
    order = [label for label in (BASE_MODEL, *data.arms) if label in labels]
    columns = min(len(order), max(int(inches[0] / 1.1), 1))
    figure.legend([labels[label] for label in order], order, loc="outside lower center", ncols=columns)
    return figure
