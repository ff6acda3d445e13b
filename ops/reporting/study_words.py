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
    "mixed": "Depends on task, model or check",
    UNDECIDED: "Undecided",
}


def study_answer(data: StudyData) -> str:
    """What the study says, in one paragraph."""
    models, tasks = len(data.models()), len(data.tasks)
    level = f"{100 * data.confidence:g} % intervals"
    parts = [f"{models} model{'s' * (models != 1)} on {', '.join(data.tasks)}, {level} over problems."]
    parts += [largest_gap(data, task) for task in data.tasks]
    groups = grouped_outcomes(data)
    words = {
        HOLDS: "Holds here",
        FAILS: "Does not hold here",
        UNDECIDED: "Undecided",
        "mixed": "Depends on task or check",
    }
    for outcome, text in words.items():
        found = [
            f"{SHORT[name]} ({name}{_counts(data, name) if outcome == 'mixed' else ''})" for name in groups[outcome]
        ]
        if found:
            parts.append(f"{text}: {'; '.join(found)}.")
    if data.missing:
        parts.append(f"Not complete: {', '.join(data.missing)} {'is' if len(data.missing) == 1 else 'are'} missing.")
    if tasks == 1:
        parts.append("One task says nothing about others.")
    return " ".join(parts)


def largest_gap(data: StudyData, task: str) -> str:
    """The check with the largest gap of the model with the most compute."""
    row = [item for item in data.rows if item.task == task][-1]
    points = data.tables["scaling_points"].filter(
        (pl.col("task") == task) & (pl.col("model") == row.model) & pl.col("gap").is_not_null()
    )
    if points.is_empty():
        return f"On {task} no gap is defined."
    best = points.sort("gap", descending=True).row(0, named=True)
    return (
        f"On {task} the largest model, {row.model}, has accuracy {interval(row.accuracy)}; “{best['rule']}” has the "
        f"largest gap of its {points.height} checks: {interval(interval_of(best, 'gap'), sign=True)}."
    )


def grouped_outcomes(data: StudyData) -> dict[str, list[str]]:
    """Findings by their outcome where all tasks and checks agree, otherwise under ``mixed``."""
    groups: dict[str, list[str]] = {HOLDS: [], FAILS: [], UNDECIDED: [], "mixed": []}
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
