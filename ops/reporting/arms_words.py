"""A study of arms in words: the answer in one sentence, findings in short, what was left out."""

from __future__ import annotations

import math

import polars as pl

from ops.reporting.arms_data import Arm, ArmsData, Cell, Metric
from ops.reporting.words import interval, number
from ops.stages.arm_values import TRAINING_FILTER
from ops.study_findings import FAILS, HOLDS, UNDECIDED

SHORT = {
    "5a": "the gap goes to about 0 within two to three iterations",
    "5b": "pass@k rises for small k and falls for large k",
    "5c": "it falls with a fixed other verifier as well",
    "5d": "it falls least with gold labels",
    "6a": "the first update gains more than the gap",
    "6b": "the first update teaches the format",
}
"""Findings of 2412.02674 as far as a study of arms decides them."""

OUTCOMES = {HOLDS: "Holds here", FAILS: "Does not hold here", UNDECIDED: "Undecided"}

ORGANISM = (
    "The built-in models of this study are model organisms: tiny decoders that this lab pretrained itself, and whose "
    "verifying was taught with gold labels. Their numbers show how self-improvement behaves; they say nothing about "
    "any released model."
)


NAMED = 3
"""So many incomplete experiments are named; the page says of each arm what it lacks."""


def arms_answer(data: ArmsData) -> str:
    """What the study says, in one paragraph."""
    return " ".join([arms_summary(data), *(f"{outcome}: {text}." for outcome, text in arms_outcomes(data))])


def arms_summary(data: ArmsData) -> str:
    """The question answered: the (first) self-verified arm against the reference; then what is missing."""
    parts = [_main_sentence(data)]
    if data.missing:
        named = ", ".join(data.missing) if len(data.missing) <= NAMED else f"{len(data.missing)} experiments"
        parts.append(f"Not complete: {named}.")
    return " ".join(parts)


def _main_sentence(data: ArmsData) -> str:
    others = [arm for arm in data.arms if arm.label != data.reference] or list(data.arms)
    main = next((arm for arm in others if arm.kind == "self"), others[0])
    accuracy = data.metric("accuracy")
    if accuracy is None or main.last < 0:
        return "Nothing is measured yet."
    level = f"{100 * data.confidence:g} % interval over problems"
    curve = data.curve(main.label, accuracy)
    if main.last == 0:
        return f"Not known yet: only iteration 0 is measured; accuracy is {cell_words(curve[0])}; {level}."
    updates = f"{main.last} update{'s' * (main.last != 1)}"
    start = (
        f"Over {updates} of training on {main.words}, accuracy went from {number(curve[0].interval.value)} to "
        f"{cell_words(curve[main.last])}"
    )
    compared = "" if data.reference is None else _against(data, main, data.arm(data.reference))
    return f"{start}{compared}; {level}, SE: standard error over seeds."


def _against(data: ArmsData, main: Arm, reference: Arm) -> str:
    """What the first arm is above the reference, at the last iteration that both have."""
    last = min(main.last, reference.last)
    if last == 0:
        return f"; not comparable yet: of training on {reference.words} only iteration 0 is measured"
    parts = []
    for metric in data.metrics:
        if metric.name in ("accuracy", "pass_at_k"):
            cell = data.difference(main.label, reference.label, metric, last)
            if cell is not None:
                parts.append(f"its {metric.words} is {_verdict(cell)}, {cell_words(cell, sign=True)}")
    return f"; against training on {reference.words}, at iteration {last}, {' and '.join(parts)}" if parts else ""


def _verdict(cell: Cell) -> str:
    if math.isnan(cell.interval.low):
        return "undecided"
    return "higher" if cell.interval.low > 0 else "lower" if cell.interval.high < 0 else "not measurably different"


def cell_words(cell: Cell | None, sign: bool = False) -> str:
    """``+.071 [+.052, +.090] (SE .004)``."""
    if cell is None:
        return interval(None)
    words = interval(cell.interval, sign)
    if math.isnan(cell.standard_error):
        return words
    return f"{words} (SE {number(cell.standard_error)})"


def arms_outcomes(data: ArmsData) -> list[tuple[str, str]]:
    """(outcome, the findings that have it, with their arms) in words."""
    found = []
    for outcome, words in OUTCOMES.items():
        parts = []
        for name, short in SHORT.items():
            rows = data.tables["findings"].filter((pl.col("finding") == name) & (pl.col("outcome") == outcome))
            arms = [arm for arm in (arm_in(evidence, data) for evidence in rows["evidence"]) if arm is not None]
            if rows.height:
                parts.append(f"{short} ({name}{': ' + ', '.join(arms) if arms else ''})")
        if parts:
            found.append((words, "; ".join(parts)))
    return found


def arm_in(evidence: str, data: ArmsData) -> str | None:
    """The arm that a finding is about: evidence begins with its label."""
    label = evidence.partition(":")[0]
    return label if label in {arm.label for arm in data.arms} else None


def left_out(data: ArmsData) -> list[str]:
    """What is missing from which iteration on, arm by arm."""
    sentences = []
    for arm in data.arms:
        if arm.notes:
            until = f"over all seeds it is shown up to iteration {arm.last}" if arm.last < arm.planned else ""
            sentences.append("; ".join([f"{arm.label}: {', '.join(arm.notes)}", *([until] if until else [])]) + ".")
    return sentences


def metric_caption(data: ArmsData, metric: Metric | None) -> str:
    """What a figure shows, and how sure it is."""
    seeds = len(data.seeds)
    level = f"{100 * data.confidence:g} % intervals over problems"
    lines = f"; thin lines: each of the {seeds} seeds" if seeds > 1 else ""
    if metric is None:
        return f"Chance that one of k responses is right. Mean over seeds; bands: {level}."
    text = _ABOUT.get(metric.name, "")
    if metric.rule == TRAINING_FILTER and metric.name in OF_VERIFIERS:
        text += " The training verifier is the one whose scores the training filter of an arm reads."
    if metric.rule not in (None, TRAINING_FILTER):
        text = f"{metric.words[:1].upper()}{metric.words[1:]}, in all arms. {text}"
    bars = "bars: one standard error over seeds" if metric.name in BY_SEED else f"bands: {level}"
    return f"{text + ' ' if text else ''}Mean over seeds; {bars}{lines}."


OF_VERIFIERS = ("auroc", "ece", "score_drift")
"""Metrics of a verifier; those of a filter are the others that have a rule."""

BY_SEED = ("kl_to_base_nats", "balance_score")
"""Metrics whose interval over all seeds is not known: they are taken over from the experiments."""

_SOLVED = "solved: at least half of the responses are right. Problems near one half change sides by chance."

_ABOUT = {
    "accuracy": "Share of responses that are right under flexible extraction: pass@1.",
    "strict_accuracy": "Share of responses that are right under strict extraction.",
    "gap": "Accuracy of what the filter keeps − accuracy; 0 where a problem keeps nothing.",
    "relative_gap": "Mean over problems of gap ÷ (1 − accuracy).",
    "update_error": "Gap before an update − what the update gained, at the iteration after which it was made; below 0 "
    "it gained more than the gap.",
    "pass_at_k": "Chance that one of so many responses is right.",
    "majority_vote_accuracy": "Share of problems whose most frequent answer is right.",
    "distinct_answers_in_k": "Expected number of distinct answers in so many responses.",
    "distinct_correct_in_k": "Expected number of distinct right answers in so many responses; pass@k where a task "
    "has one right answer only.",
    "answer_entropy_nats": "Entropy of a problem's answers, mean over problems.",
    "self_bleu": "How much a response repeats the others to its problem: 1 where they are all alike.",
    "response_tokens": "New tokens of a response.",
    "kl_to_base_nats": "Mean log-probability ratio to the base model per sampled response: the divergence where "
    "sampling is at temperature 1 and top-p 1.",
    "learned": f"Share of problems that were not solved at iteration 0 and are now; {_SOLVED}",
    "forgotten": f"Share of problems that were solved at iteration 0 and are not now; {_SOLVED}",
    "auroc": "How often a right response scores above a wrong one: .5 is chance, 1 perfect.",
    "ece": "Expected calibration error of the scores, mapped to 0..1, in ten bins; few responses raise it.",
    "score_drift": "Mean score, mapped to 0..1, − accuracy: how far the verifier overrates the responses.",
    "balance_score": "B-STaR's balance of enough and right training responses (2412.17256).",
}
