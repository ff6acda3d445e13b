"""Numbers and the answer in words, the same on the terminal and on the page."""

from __future__ import annotations

import math

from ops.reporting.summary import IterationSummary, Summary
from ops.types import Interval

ORGANISM = (
    "The model of this experiment is a model organism: a tiny decoder that this lab pretrained itself, and whose "
    "verifying was taught with gold labels. Its numbers show how self-improvement behaves; they say nothing about any "
    "released model."
)
NOTHING = "–"

METRICS = {
    "accuracy": "accuracy",
    "strict_accuracy": "strict accuracy",
    "pass_at_k": "pass@{k}",
    "majority_vote_accuracy": "majority vote",
    "gap": "gap of {rule}",
    "relative_gap": "relative gap of {rule}",
    "distinct_answers_in_k": "distinct answers in {k}",
    "distinct_correct_in_k": "distinct correct in {k}",
    "answer_entropy_nats": "answer entropy, nats",
    "self_bleu": "self-BLEU",
    "response_tokens": "tokens per response",
    "score_drift": "score drift of {rule}",
}
"""Metrics that iterations and experiments are compared by, in the order in which they are read."""


def metric_words(metric: str, k: int | None, rule: str | None) -> str:
    """``pass@64``, ``gap of logit ≥ 0``."""
    return METRICS[metric].format(k=k, rule=rule)


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """``.391``, ``+.204``, ``−.010``, ``12.345``; a dash where it is undefined."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "−∞" if value < 0 else "+∞" if sign else "∞"
    text = f"{abs(value):.{digits}f}"
    if text.startswith("0."):
        text = text[1:]
    zero = not text.strip("0.")
    return ("" if zero else "−" if value < 0 else "+" if sign else "") + text


def interval(item: Interval | None, sign: bool = False) -> str:
    """``.391 [.372, .410]``."""
    if item is None or math.isnan(item.value):
        return NOTHING
    if math.isnan(item.low):
        return number(item.value, sign=sign)
    return f"{number(item.value, sign=sign)} [{number(item.low, sign=sign)}, {number(item.high, sign=sign)}]"


def percent(value: float | None) -> str:
    """``31 %``."""
    return NOTHING if value is None or math.isnan(value) else f"{100 * value:.0f} %"


POSSIBLE = {"accuracy": (0.0, 1.0), "gap": (-1.0, 1.0), "relative_gap": (-math.inf, 1.0)}
"""Between what a quantity lies whose curve is fitted; the fit does not know."""


def impossible(quantity: str, limit: float | None) -> str:
    """``: below 0 or above 1, never reached`` where a curve leads to what the quantity cannot be; '' elsewhere."""
    if limit is None or math.isnan(limit):
        return ""
    low, high = POSSIBLE[quantity]
    where = f"above {high:g}" if limit > high else f"below {low:g}".replace("-", "−") if limit < low else ""
    return f" ({where}: never reached)" if where else ""


def answer(summary: Summary) -> str:
    """What the experiment says, in one sentence with its interval."""
    measured = summary.iterations
    level = f"{100 * summary.confidence:g} % interval"
    if not measured:
        return "Nothing is measured yet."
    first, last = measured[0], measured[-1]
    measured_gap = interval(first.primary.gap, sign=True)
    gap = f"the gap of {first.primary.label} was {measured_gap} at iteration {first.iteration}"
    if summary.planned_iterations == 0:
        return _best_check(first, level)
    if summary.changes is None and summary.is_finished:
        return f"Nothing was trained: the loop stopped at iteration {first.iteration}; {gap} ({level})."
    if summary.changes is None:
        return f"Not known yet: only iteration {first.iteration} is measured; {gap} ({level})."
    change = summary.changes.accuracy
    updates = last.iteration - first.iteration
    verb = "rose" if change.low > 0 else "fell" if change.high < 0 else "did not change measurably"
    passed, k = summary.changes.pass_at_k, summary.changes.k
    diversity = "rose" if passed.low > 0 else "fell" if passed.high < 0 else "did not change measurably"
    over = f"{updates} update{'s' * (updates != 1)}" + ("" if summary.is_finished else " so far")
    return (
        f"Trained on {training_words(summary)}, accuracy {verb} over {over}, from "
        f"{number(first.accuracy.value)} to {number(last.accuracy.value)}: {interval(change, sign=True)} ({level}); "
        f"pass@{k} {diversity} ({interval(passed, sign=True)}); {gap}."
    )


def progress(summary: Summary) -> str:
    """How far the loop came, and why no further: ``4 of 4 measured``, ``2 measured; a rule stopped ...``."""
    measured, planned = len(summary.iterations), summary.planned_iterations + 1
    if summary.stopped is None:
        return f"{measured} of {planned} measured"
    last, why = summary.stopped
    missing = "" if summary.is_finished else f" of {last + 1}"
    return f"{measured}{missing} measured; of {planned} planned the loop stopped itself after iteration {last}: {why}"


def _best_check(measured: IterationSummary, level: str) -> str:
    """Of an experiment that trains nothing: what the best check gains."""
    known = [gap for gap in measured.gaps if not math.isnan(gap.gap.value)]
    if not known:
        return f"Accuracy is {interval(measured.accuracy)} ({level}); no check's gap is defined."
    best = max(known, key=lambda item: item.gap.value)
    sign = "is above zero" if best.gap.low > 0 else "is below zero" if best.gap.high < 0 else "cannot be told from zero"
    return (
        f"Accuracy is {interval(measured.accuracy)}. Of {len(measured.gaps)} measured "
        f"check{'s' * (len(measured.gaps) != 1)}, {best.label} has the largest gap, {interval(best.gap, sign=True)}; "
        f"it {sign} ({level}). The largest of several is optimistic: choose by other problems."
    )


def training_words(summary: Summary) -> str:
    """What the model was trained on, to follow 'trained on'."""
    return {
        "gold": "what gold labels accept",
        "none": "all of its own responses, unfiltered",
        "self": f"what it accepted itself ({summary.training_rule})",
        "cross": f"what another model accepted ({summary.training_rule})",
        "mixed": f"what it and another model accepted ({summary.training_rule})",
    }[summary.kind]
