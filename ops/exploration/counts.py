"""N(x, a): how often each final answer to each problem has been drawn over training (arXiv 2509.06941 §4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ops.exploration.bonuses.base import Bonus, OutcomeBonus

Answer = str | None
"""A canonical answer; None is the one class of all unparseable responses, which no text can be."""


@dataclass
class AnswerCounts:
    """Counts per problem and answer. Two are equal when they hold the same counts, in whatever order they came.

    They are kept with every bonus, also with those that read none: a resumed training has them all the same. With
    ``unparseable: one`` unparseable responses are counted as one answer; with ``apart`` and ``not`` they are no answer
    that could be seen again, and are not counted.
    """

    counts: dict[str, Counter[Answer]] = field(default_factory=dict)

    def seen(self, problem_id: str, answers: Sequence[Answer], bonus: Bonus) -> np.ndarray:
        """N(x, a_i) of a group's answers as ``bonus`` wants it: what ``Group.seen_N`` takes.

        Call it before ``add`` of the same group: ``counting: before`` reads the counts as they are, ``after`` adds the
        whole group to them, whatever its order.

        Returns:
            Counts, int64, shape [N]. Of an unparseable response: with ``apart`` 0 before and 1 after (its answer is its
            own), with ``not`` always 0 (it has no bonus).
        """
        known, counting, unparseable = self.counts.get(problem_id, Counter()), *_rules(bonus)
        here = Counter(answers) if counting == "after" else Counter()
        seen = [known[answer] + here[answer] for answer in answers]
        if unparseable != "one":
            own = int(unparseable == "apart" and counting == "after")
            seen = [own if answer is None else count for answer, count in zip(answers, seen, strict=True)]
        return np.array(seen, dtype=np.int64)

    def add(self, problem_id: str, answers: Sequence[Answer], bonus: Bonus) -> None:
        """Count a group's answers."""
        _, unparseable = _rules(bonus)
        counted = [answer for answer in answers if answer is not None or unparseable == "one"]
        if counted:
            self.counts.setdefault(problem_id, Counter()).update(counted)

    @property
    def total(self) -> int:
        """Responses counted so far."""
        return sum(counter.total() for counter in self.counts.values())

    def as_json(self) -> dict[str, Any]:
        """Plain values, sorted, for a checkpoint: ``from_json`` reads them. Unparseable responses stand beside the
        answers, so that no answer's text can be taken for them.
        """
        return {
            problem_id: {
                "answers": {answer: counter[answer] for answer in sorted(a for a in counter if a is not None)},
                "unparseable": counter[None],
            }
            for problem_id, counter in sorted(self.counts.items())
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> AnswerCounts:
        """The counts that ``as_json`` wrote."""
        counts: dict[str, Counter[Answer]] = {}
        for problem_id, item in value.items():
            counts[problem_id] = Counter({str(answer): int(count) for answer, count in item["answers"].items()})
            if item["unparseable"]:
                counts[problem_id][None] = int(item["unparseable"])
        return cls(counts)


def _rules(bonus: Bonus) -> tuple[str, str]:
    """(counting, unparseable) of a bonus; of one that does not go by answers, those that an outcome bonus has unset."""
    if isinstance(bonus, OutcomeBonus):
        return bonus.counting, bonus.unparseable
    fields = OutcomeBonus.model_fields
    return fields["counting"].default, fields["unparseable"].default
