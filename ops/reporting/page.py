"""One self-contained HTML page: nothing is fetched, every text is escaped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ops.reporting import words
from ops.reporting.examples import KINDS, Example
from ops.reporting.plots import plot_svgs
from ops.reporting.summary import Summary

TEMPLATE = Path(__file__).with_name("page.html.j2")
MAX_TEXT_CHARS = 4000
"""Longer texts of examples are cut on the page (never in the tables)."""


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


def html_page(summary: Summary, examples: Sequence[Example]) -> str:
    """The report of one experiment as HTML.

    Args:
        examples: of ``examples_of``; their texts are escaped and cut at ``MAX_TEXT_CHARS``.
    """
    from markupsafe import Markup

    template = page_template(TEMPLATE, cut=_cut)
    plots = {name: Markup(svg) for name, svg in plot_svgs(summary).items()} if summary.iterations else {}  # noqa: S704
    return template.render(
        summary=summary,
        answer=summary.answer,
        organism=words.ORGANISM,
        missing=words.NOTHING,
        plots=plots,
        captions=_captions(summary),
        ks=sorted({k for item in summary.iterations for k in item.pass_at_k}),
        groups=_grouped(examples),
    )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT_CHARS else f"{text[:MAX_TEXT_CHARS]} … ({len(text):,} characters in all)"


def _grouped(examples: Sequence[Example]) -> list[tuple[int, list[tuple[str, list[Example]]]]]:
    """By iteration, then by kind; every kind is there, also where no response is of it."""
    iterations = sorted({example.iteration for example in examples})
    return [
        (k, [(kind, [e for e in examples if e.iteration == k and e.kind == kind]) for kind in KINDS])
        for k in iterations
    ]


def _captions(summary: Summary) -> dict[str, str]:
    level = f"{100 * summary.confidence:g} % bootstrap intervals over problems"
    label = summary.iterations[0].primary.label if summary.iterations else ""
    return {
        "accuracy": f"Accuracy on the evaluation problems, by iteration. Bars: {level}.",
        "gap": f"What keeping only the responses with {label} would gain. Bars: {level}.",
        "pass_at_k": "Chance that one of k responses is right. Bands (first and last iteration): " + level + ".",
    }
