"""Reading verdicts, scores and preferences in words off a transcript. The last one stated counts; nothing raises."""

from __future__ import annotations

import re
from typing import Literal

from ops.prompts.base import Scale
from ops.types import CORRECT, INCORRECT, UNPARSEABLE, Verdict

_COLON = r"[\s*_`\"']{0,8}:[\s*_`\"'(\[]{0,12}"
_STATES = r"[\s*_`\"']{0,8}(?::|\bis\b)[\s*_`\"'(\[]{0,12}"
_ENDS = r"(?=[ \t]*(?:[*_`\"')\].,;:!]|$))"
"""After the word: the end of the line, or a mark."""

_VERDICT = re.compile(rf"\bverdict{_STATES}(correct|incorrect)\b(?!\s*(?:/|\||or\b))", re.IGNORECASE)
_SCORE = re.compile(
    rf"\bscore{_COLON}([-+−]?\d[^\s*_`\"')\]]*+)[*_`]{{0,4}}(?:\s*(?:/|out of)\s*([\d.]++))?(\s*(?:[-–—]|or|to)\s*\d)?",
    re.IGNORECASE,
)
_BETTER = re.compile(
    rf"\bbetter{_COLON}(?:(?:answer|response)[ \t]+)?[*_`(\[]{{0,4}}([AB])\b{_ENDS}"
    r"(?![^\w\n]{0,8}(?:or|and)?[^\w\n]{0,8}[AB]\b)",
    re.IGNORECASE | re.MULTILINE,
)
_NUMBER = re.compile(r"[-+−]?\d+(?:\.\d+)?")


def read_verdict(transcript: str) -> Verdict:
    """The last ``Verdict: correct`` or ``Verdict: incorrect``, in any case and with any Markdown emphasis."""
    said = _VERDICT.findall(transcript)
    if not said:
        return UNPARSEABLE
    return CORRECT if said[-1].lower() == "correct" else INCORRECT


def read_score(transcript: str, scale: Scale) -> float | None:
    """The number of the last ``Score: N`` (also ``N/10``, ``N out of 10``); None where it is not one of the scale.

    A range (``8-9``), a percentage and a denominator that is not the scale's highest score are no score.
    """
    said = _SCORE.findall(transcript)
    if not said:
        return None
    stated, denominator, until = said[-1]
    number, _, inside = stated.rstrip(".,;:!").partition("/")
    out_of = inside or denominator.rstrip(".")
    if until or not _NUMBER.fullmatch(number) or (out_of and not _NUMBER.fullmatch(out_of)):
        return None
    if out_of and float(out_of) != scale[1]:
        return None
    score = float(number.replace("−", "-"))
    return score if scale[0] <= score <= scale[1] else None


def read_better(transcript: str) -> Literal["first", "second"] | None:
    """The letter of the last ``Better: A`` or ``Better: B``; None where there is none, or both are named."""
    said = _BETTER.findall(transcript)
    if not said:
        return None
    return "first" if said[-1].upper() == "A" else "second"
