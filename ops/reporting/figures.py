"""The figures of an experiment's page: which question each answers, how to read it, and what it is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.plan import TRAINING_ASSETS
from ops.reporting import training_plots as training
from ops.reporting import trajectory_plots as plots
from ops.reporting import verifier_plots as checks
from ops.reporting.plots import figure_svg
from ops.reporting.provenance import ProvenanceRow
from ops.reporting.trajectory import ASSET_OF, Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Figure:
    """One panel.

    Attributes:
        guide: one sentence on how to read it; ``{label}`` is the filter, ``{verifier}`` what it reads.
        tables: what it is drawn from; the first is the one without which there is no figure.
        draw: draws into the axes and says whether it found anything.
    """

    name: str
    title: str
    guide: str
    tables: tuple[str, ...]
    draw: Callable[[Axes, Trajectory], bool]


BETTER, TELLS, DIVERSITY, MOVED, STOP, TRAINED = (
    "Does it get better?",
    "Can it still tell right from wrong?",
    "What does it cost in diversity?",
    "How far did it move?",
    "When to stop?",
    "What was it trained on?",
)
CALIBRATION = "Scores of {verifier}: points on the diagonal mean what they say, below it the verifier is too sure."
FIGURES: dict[str, tuple[Figure, ...]] = {
    BETTER: (
        Figure(
            "accuracy",
            "Accuracy",
            "Where strict lies below flexible, right answers are in the wrong format; closing in is format learned.",
            ("gap_metrics", "diversity_metrics"),
            plots.accuracy,
        ),
        Figure(
            "votes",
            "Majority vote",
            "What voting over all responses buys: a vote that falls to single responses has nothing left to gain.",
            ("diversity_metrics", "gap_metrics"),
            plots.votes,
        ),
        Figure(
            "pass_at_k",
            "pass@k",
            "Curves that cross: later models win with one response and lose with many.",
            ("diversity_metrics",),
            plots.pass_at_k,
        ),
    ),
    TELLS: (
        Figure(
            "gap",
            "Gap",
            "What keeping only the responses with {label} would gain, with the fitted decay, the next value that it "
            "predicts (hollow) and its limit (band).",
            ("gap_metrics", "saturation", "sampling_choices"),
            checks.gap,
        ),
        Figure(
            "relative_gap",
            "Relative gap",
            "The gain of {label} as a share of what is missing to 1, mean over problems.",
            ("gap_metrics", "saturation", "sampling_choices"),
            checks.relative_gap,
        ),
        Figure(
            "update_error",
            "Update error",
            "The gap of what was trained on (gold labels and unfiltered responses, too) minus the rise in accuracy: "
            "above 0 the update realised less than the gap promised, below 0 more.",
            ("iteration_changes",),
            checks.update_error,
        ),
        Figure(
            "score_drift",
            "Score drift",
            "Above 0 a verifier says right more often than is true; a rising line is growing self-deception.",
            ("verifier_metrics",),
            checks.drift,
        ),
        Figure(
            "auroc",
            "AUROC",
            "How often a right response scores above a wrong one: .5 is chance, 1 perfect.",
            ("verifier_metrics",),
            checks.auroc,
        ),
        Figure(
            "ece",
            "Calibration error",
            "How far scores lie, on average, from how often they are right; 0 is calibrated, a rising line is a "
            "verifier that means what it says less and less.",
            ("verifier_metrics",),
            checks.ece,
        ),
        Figure("reliability", "Calibration", CALIBRATION, ("calibration_bins",), checks.reliability),
    ),
    DIVERSITY: (
        Figure(
            "pass_at_some_k",
            "pass@k over the iterations",
            "Small k rising while large k falls is effective diversity collapsing.",
            ("diversity_metrics",),
            plots.pass_at_some_k,
        ),
        Figure(
            "distinct",
            "Distinct answers",
            "How many different answers so many responses give: fewer is good only where it is the wrong ones that go.",
            ("diversity_metrics",),
            plots.distinct,
        ),
        Figure(
            "distinct_correct",
            "Distinct correct answers",
            "Right answers of different form count each: a falling line is solutions lost. On a task with one right "
            "answer it is pass@k and says nothing new.",
            ("diversity_metrics",),
            plots.distinct_correct,
        ),
        Figure(
            "entropy",
            "Answer entropy",
            "At 0 every response to a problem gives the same answer.",
            ("diversity_metrics",),
            plots.entropy,
        ),
        Figure(
            "self_bleu",
            "Self-BLEU",
            "How alike the texts of one problem's responses are, whatever they answer; rising is less diverse.",
            ("diversity_metrics",),
            plots.self_bleu,
        ),
        Figure(
            "length",
            "Response length",
            "A length that runs away, or shrinks to the answer alone, is a change of style that accuracy hides.",
            ("diversity_metrics",),
            plots.length,
        ),
    ),
    MOVED: (
        Figure(
            "kl",
            "KL to the base model",
            "How unlikely its own responses have become under the base model, in nats per response; 0 is no move. It "
            "is the divergence where sampling is at temperature 1 and top-p 1, else a mean over what was sampled.",
            ("policy_shift",),
            plots.kl,
        ),
        Figure(
            "flips",
            "Learned and forgotten",
            "Problems newly solved (up) and no longer solved (down) at each update, solved meaning that at least half "
            "of the responses are right. Near one half some flip by chance, in both directions alike, even where the "
            "model has not changed: the difference is the progress.",
            ("problem_flips",),
            plots.flips,
        ),
    ),
    STOP: (),
    TRAINED: (
        Figure(
            "balance",
            "Balance score",
            "1 where every problem has enough right and no wrong responses among the kept ones (2412.17256).",
            ("selection_metrics",),
            training.balance,
        ),
        Figure(
            "selected",
            "Selection",
            "How clean the training data is, and how many of the problems it covers.",
            ("selection_metrics",),
            training.selected,
        ),
        Figure(
            "kept",
            "Kept responses",
            "Many kept but few distinct ones means that the model is trained on repetitions.",
            ("selection_metrics",),
            training.kept,
        ),
        Figure(
            "loss",
            "Loss",
            "Lines: training, after each iteration; dotted: validation. One that rises alone is overfitting.",
            ("training_steps",),
            training.loss,
        ),
    ),
}
"""By question, in the order of the page. ``When to stop?`` is a table."""


@dataclass(frozen=True)
class Drawn:
    """A figure as the page shows it: ``svg`` is '' where there is nothing to draw, and ``missing`` says why."""

    name: str
    title: str
    guide: str
    svg: str
    missing: str
    provenance: tuple[ProvenanceRow, ...]


def draw_figures(
    found: Trajectory, provenance: Sequence[ProvenanceRow], questions: Sequence[str] = tuple(FIGURES)
) -> dict[str, list[Drawn]]:
    """The figures of these questions; less than a tenth of a second each."""
    return {question: [_drawn(each, found, provenance) for each in FIGURES[question]] for question in questions}


def _drawn(figure: Figure, found: Trajectory, provenance: Sequence[ProvenanceRow]) -> Drawn:
    answer: list[bool] = []
    svg = figure_svg(lambda axes: answer.append(figure.draw(axes, found)), figure.name, found.name)
    drawn = answer[-1]
    guide = figure.guide.format(label=found.label, verifier=found.verifier)
    missing = "" if drawn else why_missing(figure, found)
    return Drawn(figure.name, figure.title, guide, svg if drawn else "", missing, sources(figure.tables, provenance))


def why_missing(figure: Figure, found: Trajectory) -> str:
    """Which table a figure waits for, in a sentence."""
    table = figure.tables[0]
    if found.tables[table].height:
        return f"Not defined for this experiment: {table} has no such values."
    if ASSET_OF[table] in TRAINING_ASSETS:
        return f"Not there: {table} is written where something was fine-tuned with this version."
    return f"Not there: no table {table} of this experiment yet."


def sources(tables: Sequence[str], provenance: Sequence[ProvenanceRow]) -> tuple[ProvenanceRow, ...]:
    """The materializations behind a figure, in the order of the graph."""
    assets = {ASSET_OF[table] for table in tables}
    return tuple(row for row in provenance if row.asset.rpartition("/")[2] in assets)


def by_name(drawn: Mapping[str, Sequence[Drawn]]) -> dict[str, Drawn]:
    """All figures of ``draw_figures`` by their names."""
    return {each.name: each for group in drawn.values() for each in group}
