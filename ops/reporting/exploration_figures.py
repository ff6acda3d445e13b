"""The figures of the page of an experiment with ``exploration``: which question each answers, and made of what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.reporting import dynamics_plots as sampling
from ops.reporting import exploration_plots as plots
from ops.reporting.exploration_summary import ASSET_OF, FEWEST_QUESTIONS, ExplorationSummary
from ops.reporting.exploration_words import at_limit, few_words
from ops.reporting.figures import Drawn
from ops.reporting.numbers import interval_of
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
        note: what the experiment's own numbers add to the guide, the number of questions say.
        is_shown: whether the experiment could measure it at all; else the page leaves it out.
    """

    name: str
    title: str
    guide: str
    table: str
    draw: Callable[[Axes, ExplorationSummary], bool]
    undefined: str = "it has no such values"
    note: Callable[[ExplorationSummary], str] = lambda found: ""
    is_shown: Callable[[ExplorationSummary], bool] = lambda found: True


def _sampled(panel: sampling.Panel, guide: str) -> PolicyFigure:
    """Policy against base model at the same number of responses."""

    def draw(axes: Axes, found: ExplorationSummary) -> bool:
        curves = sampling.curves_of(found.sampled, panel)
        return sampling.draw_panel(axes, panel, curves, band=plots.level(found))

    def note(found: ExplorationSummary) -> str:
        return _questions_words(found, panel.metric, panel.questions)

    few = f"fewer than {FEWEST_QUESTIONS} such questions" if panel.questions != "all" else "it has no such values"
    return PolicyFigure(panel.name, panel.title, guide, DYNAMICS, draw, few, note)


def _questions_words(found: ExplorationSummary, metric: str, questions: str) -> str:
    """``Of 400 questions.``; of those that are (un)solved how many there were at first and at last."""
    counts = found.n_questions(metric, questions)
    if not counts:
        return ""
    (first, before), (last, after) = counts[0], counts[-1]
    if questions == "all":
        return f"Of {after:,} question{'s' * (after != 1)} at step {last:,}.{_limit_words(found, metric)}"
    few = few_words(after)
    return (
        f"Such questions: {before:,} at step {first:,}, {after:,} at step {last:,}{few and ': too few'}; drawn where "
        f"there are {FEWEST_QUESTIONS} or more."
    )


def _limit_words(found: ExplorationSummary, metric: str) -> str:
    """That both samplers end where no difference between them can show; '' where they do not."""
    if metric != "solved_questions":
        return ""
    ends = [[interval_of(row) for row in found.dynamics(name, metric)[-1:]] for name in ("policy", "base")]
    limit = at_limit(*(rows[0] if rows else None for rows in ends))
    return f" Both are at the {limit} there, where no difference shows." if limit else ""


def _groups(axes: Axes, found: ExplorationSummary) -> bool:
    curves = sampling.group_curves(found.sampled)
    return sampling.draw_panel(axes, sampling.PER_GROUP, curves, x=sampling.STEPS, band=plots.level(found))


def _groups_words(found: ExplorationSummary) -> str:
    metric = f"{sampling.PER_GROUP.metric}_own"
    counts = {name: found.n_questions(metric, name)[-1:] for name in ("solved", "unsolved")}
    said = [f"{name} {rows[0][1]:,}" for name, rows in counts.items() if rows]
    return f"Questions at the last step: {', '.join(said)}; drawn from {FEWEST_QUESTIONS} on." if said else ""


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
            "Were the curves to cross, one model would lead with few responses and the other with many.",
            EVALUATION,
            plots.pass_at_k,
        ),
        PolicyFigure(
            "pass_at_some_k",
            "pass@k over training",
            "Should small k rise while large k falls, diversity is traded for accuracy.",
            EVALUATION,
            plots.pass_at_some_k,
        ),
        PolicyFigure(
            "distinct",
            "Distinct answers",
            "A fall would be good only if it is the wrong answers that go.",
            EVALUATION,
            plots.distinct,
        ),
        PolicyFigure(
            "answer_entropy",
            "Answer entropy",
            "At 0 every response to a problem would give the same answer.",
            EVALUATION,
            plots.answer_entropy,
        ),
        PolicyFigure(
            "unparseable",
            "Unparseable responses",
            "Should accuracy rise while this falls, part of the gain may be format learned.",
            EVALUATION,
            plots.unparseable,
        ),
    ),
    TRAINED: (
        PolicyFigure(
            "rollout_accuracy",
            "Accuracy in training",
            "Of the responses drawn in the pass over the training questions before each step. Groups all right or all "
            "wrong have no advantage; their lines are means without intervals.",
            STEPS,
            plots.rollout_accuracy,
        ),
        PolicyFigure(
            "policy_entropy",
            "Token entropy of the policy",
            "Of its next-token distributions, of right responses and of the others in the pass before each step; near "
            "0 it could no longer explore. All: a mean without an interval.",
            STEPS,
            plots.policy_entropy,
        ),
        PolicyFigure(
            "kl",
            "KL to the base model",
            "Per token, k3 estimator, on the responses of the step; line: mean of a pass, without an interval.",
            STEPS,
            plots.kl,
            is_shown=lambda found: found.kl_coefficient > 0,
        ),
        PolicyFigure(
            "reward_and_bonus",
            "Reward and bonus",
            "What the responses of a step were worth, and the exploration bonus before its coefficient; lines: means "
            "of a pass, without intervals.",
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
            "To one question, over all responses so far. Should the policy lie below the base model, its training "
            "samples fewer answers than as many responses of the base model would.",
        ),
        _sampled(
            sampling.UNSOLVED,
            "To questions that as many further responses of the base model do not solve. Should the policy lie below "
            "the base model, diversity is lost where nothing was learned.",
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
            note=_groups_words,
        ),
    ),
}
"""By question, in the order of the page."""


def draw_panels(found: ExplorationSummary) -> dict[str, list[Drawn]]:
    """All figures by question."""
    return {
        question: [_drawn(panel, found) for panel in panels if panel.is_shown(found)]
        for question, panels in PANELS.items()
    }


def _drawn(panel: PolicyFigure, found: ExplorationSummary) -> Drawn:
    answer: list[bool] = []
    svg = figure_svg(lambda axes: answer.append(panel.draw(axes, found)), panel.name, found.name)
    missing = "" if answer[-1] else why_missing(panel, found)
    tables = (STEPS, DYNAMICS) if panel.table == STEPS else (panel.table,)
    made_from = sources(tables, found.provenance)
    guide = f"{panel.guide} {panel.note(found)}".strip()
    return Drawn(panel.name, panel.title, guide, svg if answer[-1] else "", missing, made_from)


def why_missing(panel: PolicyFigure, found: ExplorationSummary) -> str:
    """Which table a figure waits for, in a sentence."""
    if found.tables[panel.table].height:
        return f"Not measured: {panel.undefined}."
    return f"Not measured: no table {panel.table} of this experiment yet."


def sources(tables: Sequence[str], provenance: Sequence[ProvenanceRow]) -> tuple[ProvenanceRow, ...]:
    """The materializations behind a figure."""
    assets = {ASSET_OF[table] for table in tables}
    return tuple(row for row in provenance if row.asset in assets)
