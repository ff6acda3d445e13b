"""A study in words: the answer in one paragraph, findings in short."""

from __future__ import annotations

import polars as pl

from ops.reporting.numbers import interval_of
from ops.reporting.study_data import StudyData
from ops.reporting.words import interval
from ops.study_findings import FAILS, HOLDS, UNDECIDED

SHORT = {
    "1a": "the relative gap of score CoT is about linear in log compute",
    "1b": "the absolute gap of score CoT is not linear in log compute",
    "2a": "the gap grows with the verifier's compute",
    "2b": "the gap falls with the generator's compute",
    "3a": "the gap is concave in the threshold of logit and tournament",
    "3b": "the gap rises with the threshold of score CoT",
    "3c": "the best threshold carries over between models",
    "3d": "the best threshold does not carry over between tasks",
    "4a": "the AND of several checks beats each of them",
    "4b": "mechanisms correlate little",
}
"""Findings of 2412.02674 as far as a study decides them."""

ORGANISMS = (
    "The built-in models of this study are model organisms: tiny decoders that this lab pretrained itself, and whose "
    "verifying was taught with gold labels. Their numbers show how verification behaves; they say nothing about any "
    "released model."
)
OUTCOMES = {
    HOLDS: "Holds here",
    FAILS: "Does not hold here",
    UNDECIDED: "Undecided",
    "mixed": "Depends on task or check",
}


def study_answer(data: StudyData) -> str:
    """What the study says, in one paragraph."""
    return " ".join([study_summary(data), *(f"{outcome}: {text}." for outcome, text in study_outcomes(data))])


def study_summary(data: StudyData) -> str:
    """What was measured, the best check of the largest model of each task, and what is missing."""
    models, tasks = len(data.models()), len(data.tasks)
    level = f"{100 * data.confidence:g} % intervals"
    parts = [f"{models} model{'s' * (models != 1)} on {', '.join(data.tasks)}, {level} over problems."]
    parts += [largest_gap(data, task) for task in data.tasks]
    if data.missing:
        parts.append(f"Not complete: {', '.join(data.missing)} {'is' if len(data.missing) == 1 else 'are'} missing.")
    if tasks == 1:
        parts.append("One task says nothing about others.")
    return " ".join(parts)


def study_outcomes(data: StudyData) -> list[tuple[str, str]]:
    """(outcome, the findings that have it) in words; ``mixed`` where tasks or checks disagree."""
    found = []
    for outcome, names in grouped_outcomes(data).items():
        each = [f"{SHORT[name]} ({name}{_counts(data, name) if outcome == 'mixed' else ''})" for name in names]
        if each:
            found.append((OUTCOMES[outcome], "; ".join(each)))
    return found


def largest_gap(data: StudyData, task: str) -> str:
    """The check of the model with the most known compute that has the largest gap on the training problems.

    It is chosen there and reported on the evaluation problems, because the largest of several is optimistic. Without
    training problems, or without known FLOPs, that is said instead.
    """
    known = [item for item in data.rows if item.task == task and item.flops is not None]
    if not known:
        return f"On {task} no model's pretraining FLOPs are known."
    row = max(known, key=lambda item: item.flops or 0.0)
    start = f"On {task} the model with the most compute, {row.model}, has accuracy {interval(row.accuracy)}"
    gaps = data.tables["gap_metrics"].filter(
        (pl.col("experiment") == row.experiment) & pl.col("rule").is_in(data.tables["scaling_points"]["rule"].implode())
    )
    on_eval = {item["rule"]: item for item in gaps.filter(pl.col("split") == "eval").iter_rows(named=True)}
    on_train = gaps.filter((pl.col("split") == "train") & pl.col("gap").is_not_null())
    if on_train.is_empty():
        return f"{start}; there are no training problems to choose the best of its checks on."
    best = on_eval[on_train.sort("gap", descending=True, maintain_order=True)["rule"][0]]
    return (
        f"{start}; of its {len(on_eval)} checks “{best['rule']}” has the largest gap on the training problems, and on "
        f"the evaluation problems {interval(interval_of(best, 'gap'), sign=True)}."
    )


def grouped_outcomes(data: StudyData) -> dict[str, list[str]]:
    """Findings by their outcome where all tasks and checks agree, otherwise under ``mixed``."""
    groups: dict[str, list[str]] = {outcome: [] for outcome in OUTCOMES}
    findings = data.tables["findings"]
    for name in SHORT:
        outcomes = set(findings.filter(pl.col("finding") == name)["outcome"])
        if outcomes:
            groups[outcomes.pop() if len(outcomes) == 1 else "mixed"].append(name)
    return groups


def _counts(data: StudyData, name: str) -> str:
    """``: 2 of 6 hold, 1 does not, 3 undecided``."""
    outcomes = data.tables["findings"].filter(pl.col("finding") == name)["outcome"].to_list()
    held, failed, open_ = (outcomes.count(item) for item in (HOLDS, FAILS, UNDECIDED))
    parts = (
        [f"{held} of {len(outcomes)} hold"] + [f"{failed} not"] * (failed > 0) + [f"{open_} undecided"] * (open_ > 0)
    )
    return f": {', '.join(parts)}"


def scientific(value: float | None) -> str:
    """``3.1e13`` as ``3.1 × 10¹³``; a dash where it is unknown."""
    if value is None:
        return "–"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
