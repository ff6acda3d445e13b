"""The page of an experiment with ``exploration``: one self-contained HTML file, every text escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ops.reporting import words
from ops.reporting.exploration_examples import KINDS, PolicyExample
from ops.reporting.exploration_figures import TRAINED, draw_panels, sources
from ops.reporting.exploration_plots import step_words
from ops.reporting.exploration_summary import ExplorationSummary
from ops.reporting.exploration_words import NOT_MEASURED, ORGANISM, change_words, key_figures, kl_words
from ops.reporting.page import FOLDED_CHARS, cut, page_template
from ops.reporting.words import interval
from ops.types import Interval

TEMPLATE = Path(__file__).with_name("exploration_page.html.j2")

METRICS = {
    "strict_accuracy": "strict accuracy",
    "majority_vote_accuracy": "majority vote",
    "distinct_answers_in_k": "distinct answers in {k}",
    "distinct_correct_in_k": "distinct correct in {k}",
    "answer_entropy_nats": "answer entropy, nats",
    "response_tokens": "tokens per response",
    "unparseable_fraction": "unparseable",
}
"""Of the second table, in its order; metrics with k at the largest k."""
SHARES = ("strict_accuracy", "majority_vote_accuracy", "unparseable_fraction")
"""Those that have a ceiling and a floor."""


def exploration_page(summary: ExplorationSummary, examples: Sequence[PolicyExample]) -> str:
    """The report of one experiment as HTML.

    Args:
        examples: of ``policy_examples``; their texts are escaped and cut.
    """
    from markupsafe import Markup

    template = page_template(TEMPLATE, cut=cut, svg=Markup)
    return template.render(
        summary=summary,
        answer=summary.answer,
        tiles=key_figures(summary),
        organism=ORGANISM,
        missing=words.NOTHING,
        not_measured=NOT_MEASURED,
        folded=FOLDED_CHARS,
        level=f"{100 * summary.confidence:g} %",
        figures=draw_panels(summary),
        notes=_notes(summary),
        ks=summary.shown_ks,
        models=_model_rows(summary),
        others=_other_rows(summary),
        made_from=sources(("policy_evaluation",), summary.provenance),
        groups=[(said, [item for item in examples if item.kind == kind]) for kind, said in KINDS.items()],
        has_examples=bool(examples),
    )


def _model_rows(summary: ExplorationSummary) -> list[dict[str, Any]]:
    """Base model, snapshots, trained policy: pass@k with its change, by k."""
    return [
        {
            "words": step_words(summary, step),
            "step": step,
            "cells": [_cell(summary, step, k) for k in summary.shown_ks],
        }
        for step in (summary.evaluated if summary.ks else ())
    ]


def _cell(summary: ExplorationSummary, step: int, k: int) -> tuple[Interval | None, Interval | None, str]:
    """pass@k, its change to the base model, and the change in words."""
    value, change = summary.value(step, "pass_at_k", k), summary.change(step, "pass_at_k", k)
    return value, change, change_words(summary.value(0, "pass_at_k", k), value, change)


def _notes(summary: ExplorationSummary) -> dict[str, str]:
    """Sentences below the questions' headings."""
    steps = summary.pass_steps
    passes = (
        f"One pass over the training questions takes {steps:,} step{'s' * (steps != 1)}. Faint points are single "
        f"steps; bands are {100 * summary.confidence:g} % intervals that resample training questions."
    )
    return {TRAINED: f"{passes} {kl_words(summary)}"}


def _other_rows(summary: ExplorationSummary) -> list[dict[str, Any]]:
    """The other metrics: of the base model, of the trained policy, and the change; what is undefined is left out."""
    rows = []
    for metric, said in METRICS.items():
        k = summary.ks[-1] if metric.endswith("_in_k") and summary.ks else None
        cells = {
            "base": summary.value(0, metric, k),
            "final": summary.value(summary.final, metric, k),
            "change": summary.change(summary.final, metric, k),
        }
        if any(_is_known(item) for item in cells.values()):
            change = interval(cells["change"], sign=True) if metric not in SHARES else change_words(*cells.values())
            rows.append({"words": said.format(k=k), "change_words": change, **cells})
    return rows


def _is_known(item: Interval | None) -> bool:
    return item is not None and not math.isnan(item.value)
