"""Text that was rewritten for reading, and where each of its characters stood before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[int, int]
"""First character and the one after the last."""


@dataclass(frozen=True)
class Traced:
    """A text and, for each of its characters, the characters of the original that it stands for."""

    text: str
    places: tuple[Span, ...]

    @classmethod
    def of(cls, text: str) -> Traced:
        """A text that nothing was done to yet."""
        return cls(text, tuple((i, i + 1) for i in range(len(text))))

    def translate(self, table: dict[int, str]) -> Traced:
        """``text.translate(table)``.

        Raises:
            ValueError: when the table puts anything but one character for one.
        """
        text = self.text.translate(table)
        if len(text) != len(self.text):
            raise ValueError("expected a table of single characters")
        return Traced(text, self.places)

    def replace(self, pattern: re.Pattern[str], parts: Sequence[str | int]) -> Traced:
        """Every match becomes its ``parts``: a group by number, whose characters keep their places, or a text that
        stands for the whole match.
        """
        text: list[str] = []
        places: list[Span] = []
        done = 0
        for match in pattern.finditer(self.text):
            text.append(self.text[done : match.start()])
            places += self.places[done : match.start()]
            whole = (self.places[match.start()][0], self.places[match.end() - 1][1])
            for part in parts:
                text.append(match[part] if isinstance(part, int) else part)
                places += self.places[slice(*match.span(part))] if isinstance(part, int) else [whole] * len(part)
            done = match.end()
        return Traced("".join([*text, self.text[done:]]), (*places, *self.places[done:]))

    def back(self, start: int, end: int) -> Span:
        """The characters of the original that ``text[start:end]`` (not empty) stands for."""
        places = self.places[start:end]
        return min(place[0] for place in places), max(place[1] for place in places)


def trimmed(text: str, span: Span) -> Span | None:
    """``span`` without white space at its ends; None where nothing is left."""
    part = text[slice(*span)]
    start = span[0] + len(part) - len(part.lstrip())
    return (start, start + len(part.strip())) if part.strip() else None
