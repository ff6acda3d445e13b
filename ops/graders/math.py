"""LaTeX answers, compared by the library math-verify (which parses with latex2sympy and compares with SymPy).

SymPy can hang or exhaust the stack on what a model writes, and math-verify's own timeout needs the
main thread's alarm signal; so this grader runs in worker processes only, with that timeout off.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Any, ClassVar

from ops.graders.base import Grader, accepted_answers, graded, quote, unparseable
from ops.graders.traced import Span
from ops.types import CORRECT, INCORRECT, Grade, Problem

MAX_ANSWER_CHARS = 500
_BOXED = "\\boxed{"
_WORD = re.compile(r"\s*([A-Za-z]{3,}(?: [A-Za-z0-9]+){0,5})\s*")
_BRACES = re.compile(r"\\f?box(?:ed)?\s*\{|(?<!\\)[{}]")


class Math(Grader):
    """Strict: the last line ends with the response's only box. Flexible: the last box, else math-verify's extraction.

    Canonical answer: the parsed value as SymPy writes it, with decimals as fractions and sums multiplied
    out; so 1/2 and 0.5 are one, x+1 and 1+x are one.
    """

    name: ClassVar[str] = "math"
    version: ClassVar[str] = "1"
    isolated: ClassVar[bool] = True

    def judge(self, problem: Problem, response: str, finished: bool) -> Grade:
        from math_verify import parse, verify

        boxed = read_strict(response) if finished else None
        found = parse(answer_part(response) if boxed is None else _box(boxed), parsing_timeout=None)
        if not found:
            return unparseable("no mathematical answer found")
        golds = accepted_answers(problem)
        right = any(verify(_parsed_gold(gold), found, timeout_seconds=None) for gold in golds)
        answer = canonical_value(found)
        strict = boxed is not None
        if right:
            return graded(CORRECT, answer, strict)
        return graded(INCORRECT, answer, strict, f"{quote(answer)} is not {quote(golds[0])}")

    def find_answer(self, problem: Problem, response: str) -> Span | None:
        """What the last box holds, from the first of several on its line; None without a box: where math-verify finds
        an answer in prose, it does not say in which characters.
        """
        box = _last_box(response)
        if box is None:
            return None
        line, several = _line_of(response, box)
        return (response.index(_BOXED, line) + len(_BOXED), box[1]) if several else box


@lru_cache(maxsize=4096)
def _parsed_gold(answer: str) -> Any:
    from math_verify import parse

    parsed = parse(_box(answer), parsing_timeout=None)
    if not parsed:
        raise ValueError(f"the reference answer {quote(answer)!r} cannot be parsed")
    return parsed


def read_strict(response: str) -> str | None:
    """What the only box of a response holds, where the last line ends with it, or None."""
    line = response.strip().rpartition("\n")[2]
    if response.count(_BOXED) != 1 or _BOXED not in line:
        return None
    content = last_boxed(line)
    if content is None:
        return None
    tail = line[line.index(_BOXED) + len(_BOXED) + len(content) + 1 :]
    return content if re.fullmatch(r"\$?\.?\$?", tail) and content.strip() else None


def answer_part(response: str) -> str:
    """The last box with the boxes before it on its line (``\\boxed{1} or \\boxed{2}``), else the whole response.

    Left to itself, math-verify joins boxes across lines: a corrected answer would count as two.
    """
    box = _last_box(response)
    if box is None:
        return response
    line, several = _line_of(response, box)
    return response[line : box[1] + 1] if several else _box(response[slice(*box)])


def _line_of(response: str, box: tuple[int, int]) -> tuple[int, bool]:
    """Where the line starts that a box stands on, and whether there are boxes before it."""
    line = response.rfind("\n", 0, response.rfind("\\", 0, box[0])) + 1
    return line, response.count(_BOXED, line, box[1]) > 1


def _box(content: str) -> str:
    """In a box; a bare word or phrase becomes text, for else it would be read as a product of its letters."""
    word = _WORD.fullmatch(content)
    return f"{_BOXED}\\text{{{word[1]}}}}}" if word else f"{_BOXED}{content}}}"


def last_boxed(text: str) -> str | None:
    """What the last closed ``\\boxed{...}`` (or ``\\fbox{...}``) of a text holds, or None."""
    box = _last_box(text)
    return text[slice(*box)] if box else None


def _last_box(text: str) -> tuple[int, int] | None:
    """Where the content of the last closed box starts and ends."""
    found: tuple[int, int] | None = None
    opened: list[int | None] = []  # where the content of a box starts; None for other braces
    for match in _BRACES.finditer(text):
        if match[0] != "}":
            opened.append(match.end() if match[0].startswith("\\") else None)
        elif opened:
            start = opened.pop()
            if start is not None and (found is None or start > found[0]):
                found = (start, match.start())
    return found


def canonical_value(parsed: list[Any]) -> str:
    """One text for one value; of what could not be parsed, the text itself."""
    value = parsed[0]
    shown = re.sub(r"\s+", "", value) if isinstance(value, str) else str(_expanded(value))
    if len(shown) <= MAX_ANSWER_CHARS:
        return shown
    return f"{shown[:MAX_ANSWER_CHARS]}... {hashlib.sha256(shown.encode('utf-8', 'replace')).hexdigest()[:16]}"


def _expanded(value: Any) -> Any:
    from sympy import Expr, Float, MatrixBase, Rational, Symbol, expand, radsimp
    from sympy.core.relational import Equality

    if isinstance(value, Equality) and isinstance(value.lhs, Symbol):
        value = value.rhs  # verify takes x = 5 for 5 as well
    if isinstance(value, MatrixBase):
        return value.applyfunc(_expanded).as_immutable()
    value = value.xreplace({number: Rational(str(number)) for number in value.atoms(Float)}).doit()
    if not isinstance(value, Expr):
        return value.func(*(_expanded(part) for part in value.args)) if value.args else value
    return expand(radsimp(value)) if value.is_number else expand(value)
