"""Judgements that were made elsewhere, read from a file."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from ops.errors import DatasetError
from ops.evaluation.judges.base import Judge
from ops.tasks.rows import json_rows

Key = tuple[str, str, int]
"""problem_id, label of the model, sample_index."""


@dataclass(frozen=True)
class RecordedJudgement:
    """One row of the file.

    Attributes:
        score: None where the judge gave none.
        shown_first, shown_second: with the model's response in that place; both None where the file does not tell
            orders apart, one of them None where the judge gave no score in that order: then there is no ``score``.
    """

    score: float | None
    shown_first: float | None = None
    shown_second: float | None = None


class RecordedJudge(Judge):
    """JSONL with a row for each judged pair: ``problem_id``, ``model``, ``score``, optionally ``sample_index`` and
    ``score_shown_second`` (asked in the other order).

    Any scale: control variates do not care. ``column``: the key of the score, so that one file holds several judges.
    A score is null where the judge gave none. ``sample_index`` left out is 0. With ``score_shown_second`` (of another
    column ``COLUMN_shown_second``) the judgement is the mean of both orders, and none where either is null. Rows of
    pairs that the experiment does not have are counted, not used.
    """

    name: Literal["recorded"] = "recorded"
    path: str
    column: str = "score"
    version: ClassVar[str] = "1"

    @property
    def called(self) -> str:
        return self.label or (self.column if self.column != "score" else self.name)

    def identity(self) -> dict[str, Any]:
        return self.model_dump(exclude={"label", "path"})

    def read(self) -> dict[Key, RecordedJudgement]:
        """Every judgement of the file.

        Raises:
            DatasetError: for the first bad row, naming file, line and field; for an empty file.
        """
        found: dict[Key, tuple[RecordedJudgement, int]] = {}
        for number, row in json_rows(Path(self.path)):
            where = f"{self.path}:{number}"
            key = (_problem_id(row, where), _text(row, "model", where), _index(row, where))
            if key in found:
                raise DatasetError(
                    where,
                    f"sample {key[2]} of model {key[1]} for problem {key[0]} is judged in line {found[key][1]} already",
                    field="sample_index",
                    remedy="keep one of the two; give sample_index where a model has several responses to a problem",
                )
            if self.column not in row:
                raise DatasetError(
                    where,
                    f"required, but missing (there are: {', '.join(row)})",
                    field=self.column,
                    remedy="write null where the judge gave no score, or name another column",
                )
            found[key] = self._judgement(row, where), number
        if not found:
            raise DatasetError(self.path, "expected at least one row, found an empty file", remedy="write judgements")
        return {key: judgement for key, (judgement, _) in found.items()}

    def check(self, found: Mapping[Key, RecordedJudgement], pairs: Collection[Key], *, complete: bool) -> None:
        """Refuse a file that is of other pairs.

        Args:
            found: the file as ``read``.
            complete: refuse pairs without a judgement, too.

        Raises:
            DatasetError: when no row belongs to any pair, or where ``complete`` a pair has no judgement.
        """
        keys = set(pairs)
        if not keys & found.keys():
            problem_id, model, index = next(iter(found))
            raise DatasetError(
                self.path,
                f"none of its {len(found):,} judgements is of a pair of this experiment (the first is of problem "
                f"{problem_id}, model {model}, sample {index})",
                field="problem_id, model, sample_index",
                remedy="write ids of problems and labels of models as in the table pairs",
            )
        without = sorted(key for key in keys if key not in found or found[key].score is None)
        if complete and without:
            problem_id, model, index = without[0]
            raise DatasetError(
                self.path,
                f"no judgement of {len(without):,} of {len(keys):,} pairs, e.g. of problem {problem_id}, model "
                f"{model}, sample {index}"
                + "".join(
                    f"; {len(names):,} are of {what} that no pair has, e.g. {names[0]!r}"
                    for what, names in unknown_names(found, keys).items()
                    if names
                ),
                field=self.column,
                remedy="add them, or set evaluation.missing_judgements: `exclude` leaves such pairs out and counts "
                "them, `mean` gives them the judge's mean",
            )

    def _judgement(self, row: Mapping[str, Any], where: str) -> RecordedJudgement:
        second = f"{self.column}_shown_second"
        score = _number(row, self.column, where)
        if second not in row:
            return RecordedJudgement(score)
        other = _number(row, second, where)
        mean = None if score is None or other is None else (score + other) / 2.0
        return RecordedJudgement(mean, score, other)


def unknown_names(found: Collection[Key], pairs: Collection[Key]) -> dict[str, list[str]]:
    """``problems`` and ``models`` that no pair has, an entry for each judgement of one."""
    problems, models = {key[0] for key in pairs}, {key[1] for key in pairs}
    return {
        "problems": [problem_id for problem_id, _, _ in found if problem_id not in problems],
        "models": [model for _, model, _ in found if model not in models],
    }


def _problem_id(row: Mapping[str, Any], where: str) -> str:
    """A text or an integer, as in files of problems."""
    value = row.get("problem_id")
    return str(value) if type(value) is int else _text(row, "problem_id", where)


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value:
        raise DatasetError(where, f"expected text, got {value!r}", field=field, remedy=f"give every row its {field}")
    return value


def _index(row: Mapping[str, Any], where: str) -> int:
    value = row.get("sample_index")
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        remedy = "number the responses to one problem 0, 1, 2 ..."
        raise DatasetError(where, f"expected a whole number from 0, got {value!r}", field="sample_index", remedy=remedy)
    return value


def _number(row: Mapping[str, Any], field: str, where: str) -> float | None:
    value = row.get(field)
    if value is None:
        return None
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:  # JSON has whole numbers of any size
        number = math.inf
    if not math.isfinite(number):
        raise DatasetError(
            where,
            f"expected a finite number, got {str(value)[:40]!r}",
            field=field,
            remedy="write a number, or null for none",
        )
    return number
