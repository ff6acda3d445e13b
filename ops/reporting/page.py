"""One self-contained HTML page: nothing is fetched, every text is escaped."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ops.reporting import words
from ops.reporting.examples import KINDS, Example
from ops.reporting.figures import BETTER, DIVERSITY, STOP, TELLS, Drawn, draw_figures
from ops.reporting.flips import FLIPS, FlipExample
from ops.reporting.numbers import interval_of
from ops.reporting.summary import Summary
from ops.reporting.tiles import key_figures
from ops.reporting.trajectory import Trajectory
from ops.reporting.trajectory_plots import spread
from ops.types import Interval

TEMPLATE = Path(__file__).with_name("page.html.j2")
MAX_TEXT_CHARS = 4000
"""Longer texts of examples are cut on the page (never in the tables)."""
FOLDED_CHARS = 300
"""Longer prompts are folded."""


def page_template(path: Path, **filters: Callable[..., Any]) -> Any:
    """A Jinja template that escapes every text and refuses unknown names, with the filters of all pages and these."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(path.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": words.number, "interval": words.interval, "percent": words.percent, **filters}
    return environment.get_template(path.name)


def html_page(summary: Summary, examples: Sequence[Example], flips: Sequence[FlipExample] = ()) -> str:
    """The report of one experiment as HTML.

    Args:
        examples: of ``examples_of``; their texts are escaped and cut at ``MAX_TEXT_CHARS``.
        flips: of ``flips_of``.
    """
    from markupsafe import Markup

    template = page_template(TEMPLATE, cut=cut, svg=Markup)
    found = summary.trajectory
    return template.render(
        summary=summary,
        answer=summary.answer,
        progress=words.progress(summary),
        tiles=key_figures(summary),
        organism=words.ORGANISM,
        missing=words.NOTHING,
        folded=FOLDED_CHARS,
        level=f"{100 * summary.confidence:g} %",
        figures=_figures(summary),
        stop=STOP,
        rules=stopping_rows(found),
        rules_at=max(found.tables["stopping_rules"]["iteration"].to_list(), default=None),
        fits=saturation_rows(found),
        changes=change_rows(found),
        ks=sorted({k for item in summary.iterations for k in item.pass_at_k}),
        groups=_grouped(examples),
        flips=[(kind, [flip for flip in flips if flip.kind == kind]) for kind in FLIPS] if flips else [],
    )


def _figures(summary: Summary) -> dict[str, list[Drawn]]:
    """All by question; of an experiment that trains nothing only the questions that it can answer."""
    if not summary.iterations:
        return {}
    if summary.planned_iterations > 0:
        return draw_figures(summary.trajectory, summary.provenance)
    drawn = draw_figures(summary.trajectory, summary.provenance, (BETTER, TELLS, DIVERSITY))
    return {question: [each for each in figures if each.name != "update_error"] for question, figures in drawn.items()}


def stopping_rows(found: Trajectory) -> list[dict[str, Any]]:
    """Rows of ``stopping_rules`` with ``value`` as an interval, by rule and iteration."""
    rows = found.rows("stopping_rules")
    order = {name: place for place, name in enumerate(dict.fromkeys(row["rule"] for row in rows))}
    rows.sort(key=lambda row: (order[row["rule"]], row["iteration"]))
    return [{**row, "value": interval_of(row)} for row in rows]


def saturation_rows(found: Trajectory) -> list[dict[str, Any]]:
    """Rows of ``saturation`` in words: of the filter that is shown, and of accuracy.

    NULL means infinity there: a straight line has no limit in sight, and a half-life without end.
    """
    rows = []
    for row in found.rows("saturation"):
        if row["rule"] in (None, found.label) and row["next_value"] is not None:
            is_line = row["rate"] == 0.0
            cells = {
                "limit": _open(interval_of(row, "limit"), "none in sight" if is_line else words.NOTHING, sign=True)
                + words.impossible(row["quantity"], row["limit"]),
                "half_life": _open(interval_of(row, "half_life_iterations"), "∞" if is_line else words.NOTHING),
                "next_value": words.interval(interval_of(row, "next_value"), sign=True),
            }
            rows.append({**row, **cells})
    return rows


def _open(item: Interval, undefined: str, sign: bool = False) -> str:
    """An interval whose undefined ends are at infinity: only where the value has none either is nothing known.

    What has no sign (a half-life) has no end at −∞.
    """
    value = undefined if math.isnan(item.value) else words.number(item.value, 2, sign)
    if math.isnan(item.value) and math.isnan(item.low) and math.isnan(item.high):
        return value
    low = ("−∞" if sign else "∞") if math.isnan(item.low) else words.number(item.low, 2, sign)
    high = ("+∞" if sign else "∞") if math.isnan(item.high) else words.number(item.high, 2, sign)
    return f"{value} [{low}, {high}]"


def change_rows(found: Trajectory) -> list[dict[str, Any]]:
    """What the last iteration changed: ``words`` with ``previous`` and ``base`` as intervals, None where not there.

    Metrics with k are shown at the smallest, a middle and the largest k; gaps for the filter that is shown.
    """
    last = max(found.tables["iteration_changes"]["iteration"].to_list(), default=None)
    cells: dict[tuple[int, int, str], dict[str, Any]] = {}
    rows = [] if last is None else found.rows("iteration_changes", iteration=last)
    for row in rows:
        metric, k, rule = row["metric"], row["k"], row["rule"]
        shown = k is None or k in spread(sorted({r["k"] for r in rows if r["metric"] == metric and r["k"]}))
        if metric not in words.METRICS or not shown or (rule is not None and rule not in (found.label, found.verifier)):
            continue
        place = (list(words.METRICS).index(metric), k or 0, rule or "")
        named = words.metric_words(metric, k, rule)
        cell = cells.setdefault(place, {"words": named, "previous": None, "base": None, "iteration": last})
        cell[row["reference"]] = interval_of(row)
        cell["n_problems"] = row["n_problems"]
    return [cells[place] for place in sorted(cells) if not _undefined(cells[place])]


def _undefined(cell: dict[str, Any]) -> bool:
    return all(cell[name] is None or math.isnan(cell[name].value) for name in ("previous", "base"))


def cut(text: str) -> str:
    """A text as far as pages show it, and how long it is."""
    return text if len(text) <= MAX_TEXT_CHARS else f"{text[:MAX_TEXT_CHARS]} … ({len(text):,} characters in all)"


def _grouped(examples: Sequence[Example]) -> list[tuple[int, list[tuple[str, list[Example]]]]]:
    """By iteration, then by kind; every kind is there, also where no response is of it."""
    iterations = sorted({example.iteration for example in examples})
    return [
        (k, [(kind, [e for e in examples if e.iteration == k and e.kind == kind]) for kind in KINDS])
        for k in iterations
    ]
