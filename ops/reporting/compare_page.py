"""A comparison as one self-contained HTML page: settings that differ, curves side by side, differences. No network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ops.plan import asset_name
from ops.reporting import words
from ops.reporting.compare import Comparison, Key
from ops.reporting.compare_table import (
    SIGNED,
    difference_words,
    excludes_zero,
    key_words,
    pairing_words,
    sentence,
    value_words,
)
from ops.reporting.page import page_template
from ops.reporting.plots import figure_svg
from ops.reporting.provenance import ProvenanceRow
from ops.reporting.summary import Summary
from ops.reporting.trajectory_plots import Line, draw_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEMPLATE = Path(__file__).with_name("compare_page.html.j2")


@dataclass(frozen=True)
class Panel:
    """One metric of all experiments over the iterations; ``svg`` is '' where there is nothing to draw."""

    title: str
    svg: str


def comparison_page(found: Comparison, summaries: Sequence[Summary]) -> str:
    """The comparison as HTML; every text is escaped.

    Args:
        summaries: of the same experiments, in the same order.
    """
    from markupsafe import Markup

    template = page_template(TEMPLATE, svg=Markup, metric=key_words, difference=difference_words)
    return template.render(
        found=found,
        sentence=sentence(found),
        experiments=[(item.name, item.hypothesis, item.answer) for item in summaries],
        pairing=pairing_words(found),
        panels=[panel for panel in _panels(found) if panel.svg],
        value=value_words,
        marked=excludes_zero,
        sources=[(item.name, _sources(found, item)) for item in summaries],
        organism=words.ORGANISM if any(item.builtin for item in summaries) else "",
        missing=words.NOTHING,
        level=f"{100 * found.confidence:g} %",
    )


def _sources(found: Comparison, summary: Summary) -> list[ProvenanceRow]:
    """The materializations that every number of one experiment is computed from."""
    wanted = {asset_name(asset, k) for k in found.iterations for asset in ("generations", "verification_scores")}
    return [row for row in summary.provenance if row.asset in wanted]


def _panels(found: Comparison) -> list[Panel]:
    keys: dict[Key, None] = dict.fromkeys(row.key for k in found.iterations for row in found.shown(k))
    return [_panel(found, place, key) for place, key in enumerate(keys)]


def _panel(found: Comparison, place: int, key: Key) -> Panel:
    drawn: list[bool] = []

    def draw(axes: Axes) -> None:
        lines = [Line(name, found.series(key, i)) for i, name in enumerate(found.names)]
        what = words.METRICS[key[0]].removesuffix(" of {rule}").format(k=key[1])
        drawn.append(draw_lines(axes, lines, what, found.confidence, zero=key[0] in SIGNED))

    svg = figure_svg(draw, f"metric-{place}", " ".join(found.names))
    title = key_words(key)
    return Panel(title[0].upper() + title[1:] if not title.startswith("pass@") else title, svg if drawn[-1] else "")
