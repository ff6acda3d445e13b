"""The figures of the page of an experiment with ``exploration``: which question each answers, and made of what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.reporting import dynamics_plots as sampling
from ops.reporting import exploration_plots as plots
from ops.reporting.exploration_summary import ASSET_OF, ExplorationSummary
from ops.reporting.figures import Drawn
from ops.reporting.plots import figure_svg
from ops.reporting.provenance import ProvenanceRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes


EVALUATION, STEPS, DYNAMICS = "policy_evaluation", "policy_steps", "training_dynamics"


@dataclass(frozen=True)
class PolicyFigure:
    """One figure.

    Attributes:
        guide: one sentence on how to read it.
        table: without which there is no figure.
        draw: draws into the axes and says whether it found anything.
        undefined: why there may be nothing although the table is there.
    """

    name: str
    title: str
    guide: str
    table: str
    draw: Callable[[Axes, ExplorationSummary], bool]
    undefined: str = "it has no such values"


def _sampled(panel: sampling.Panel, guide: str) -> PolicyFigure:
    """Policy against base model at the same number of responses."""

    def draw(axes: Axes, found: ExplorationSummary) -> bool:
        curves = sampling.curves_of(found.tables[DYNAMICS], panel)
        return sampling.draw_panel(axes, panel, curves, band=plots.level(found))

    return PolicyFigure(panel.name, panel.title, guide, DYNAMICS, draw)


def _groups(axes: Axes, found: ExplorationSummary) -> bool:
    curves = sampling.group_curves(found.tables[DYNAMICS])
    return sampling.draw_panel(axes, sampling.PER_GROUP, curves, x=sampling.STEPS, band=plots.level(found))


def _entropy(axes: Axes, found: ExplorationSummary) -> bool:
    curves = sampling.entropy_curves(found.tables[DYNAMICS])
    return sampling.draw_panel(axes, sampling.ENTROPY, curves, x=sampling.STEPS, band=plots.level(found))


EVALUATED, TRAINED, SAMPLED = (
    "Does it get better, and what does it cost in diversity?",
    "How did the training go?",
    "What did training find that the base model does not?",
)
PANELS: dict[str, tuple[PolicyFigure, ...]] = {
    EVALUATED: (
        PolicyFigure(
            "pass_at_k",
            "pass@k",
            "Curves that cross: the trained policy wins with one response and loses with many.",
            EVALUATION,
            plots.pass_at_k,
        ),
        PolicyFigure(
            "pass_at_some_k",
            "pass@k over training",
            "Small k rising while large k falls is diversity traded for accuracy.",
            EVALUATION,
            plots.pass_at_some_k,
        ),
        PolicyFigure(
            "distinct",
            "Distinct answers",
            "Fewer is good only where it is the wrong ones that go.",
            EVALUATION,
            plots.distinct,
        ),
        PolicyFigure(
            "answer_entropy",
            "Answer entropy",
            "At 0 every response to a problem gives the same answer.",
            EVALUATION,
            plots.answer_entropy,
        ),
        PolicyFigure(
            "unparseable",
            "Unparseable responses",
            "A gain in accuracy that goes with a fall here is, in part, format learned.",
            EVALUATION,
            plots.unparseable,
        ),
    ),
    TRAINED: (
        PolicyFigure(
            "rollout_accuracy",
            "Accuracy in training",
            "Of the responses drawn at each step; groups that are all right or all wrong have no advantage.",
            STEPS,
            plots.rollout_accuracy,
        ),
        PolicyFigure(
            "policy_entropy",
            "Entropy of the policy",
            "Of its next-token distributions; towards 0 it can no longer explore.",
            STEPS,
            plots.policy_entropy,
        ),
        PolicyFigure(
            "kl",
            "KL to the base model",
            "Per token, k3 estimator, on the responses of the step.",
            STEPS,
            plots.kl,
            "with kl_coefficient 0 no base model is loaded",
        ),
        PolicyFigure(
            "reward_and_bonus",
            "Reward and bonus",
            "What the responses of a step were worth, and the exploration bonus before its coefficient.",
            STEPS,
            plots.bonus,
        ),
    ),
    SAMPLED: (
        _sampled(
            sampling.SOLVED,
            "Training questions with a right response so far, at the same number of responses to each.",
        ),
        _sampled(
            sampling.DISTINCT,
            "To one question, over all responses so far: below the base model, training samples less than it could.",
        ),
        _sampled(
            sampling.UNSOLVED,
            "To questions that neither has solved so far: a fall here is diversity lost where nothing was learned.",
        ),
        _sampled(
            sampling.CORRECT,
            "Different right answers to one question; where each has one right answer, questions solved again.",
        ),
        PolicyFigure(
            sampling.PER_GROUP.name,
            sampling.PER_GROUP.title,
            "Of the policy's responses to one question at one step, also apart by whether one of them is right.",
            DYNAMICS,
            _groups,
        ),
        PolicyFigure(
            sampling.ENTROPY.name,
            sampling.ENTROPY.title,
            "Next-token entropy of the policy, of right responses and of all others.",
            DYNAMICS,
            _entropy,
        ),
    ),
}
"""By question, in the order of the page."""


def draw_panels(found: ExplorationSummary) -> dict[str, list[Drawn]]:
    """All figures by question."""
    return {question: [_drawn(panel, found) for panel in panels] for question, panels in PANELS.items()}


def _drawn(panel: PolicyFigure, found: ExplorationSummary) -> Drawn:
    answer: list[bool] = []
    svg = figure_svg(lambda axes: answer.append(panel.draw(axes, found)), panel.name, found.name)
    missing = "" if answer[-1] else why_missing(panel, found)
    made_from = sources((panel.table,), found.provenance)
    return Drawn(panel.name, panel.title, panel.guide, svg if answer[-1] else "", missing, made_from)


def why_missing(panel: PolicyFigure, found: ExplorationSummary) -> str:
    """Which table a figure waits for, in a sentence."""
    if found.tables[panel.table].height:
        return f"Not measured: {panel.undefined}."
    return f"Not measured: no table {panel.table} of this experiment yet."


def sources(tables: Sequence[str], provenance: Sequence[ProvenanceRow]) -> tuple[ProvenanceRow, ...]:
    """The materializations behind a figure."""
    assets = {ASSET_OF[table] for table in tables}
    return tuple(row for row in provenance if row.asset in assets)
