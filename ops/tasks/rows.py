"""Reading a user's problems from JSON Lines: every row is checked before any is used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ops.errors import DatasetError
from ops.storage.atomic import file_digest
from ops.tasks.base import Task
from ops.types import Problem, Split

MAX_LINE_BYTES = 1_000_000
_BOM = b"\xef\xbb\xbf"
_ONE_OBJECT = "write one JSON object per line, UTF-8, without blank lines"


def problem_file_digest(path: str) -> str:
    """SHA-256 of a problem file's content.

    Raises:
        DatasetError: when it cannot be read.
    """
    try:
        return file_digest(Path(path))
    except OSError as error:
        raise DatasetError(path, f"cannot be read: {error.strerror}") from None


def read_problem_file(task: Task, path: str | Path, split: Split) -> list[Problem]:
    """All problems of a JSONL file, in its order. Nothing is returned unless every row is good.

    Raises:
        DatasetError: for the first bad line; names file and line, the field where there is one, and the remedy.
    """
    problems: list[Problem] = []
    line_of: dict[str, int] = {}
    for number, raw in _lines(Path(path)):
        where = f"{path}:{number}"
        problem = task.read_row(_row(raw, where), where, split)
        if problem.problem_id in line_of:
            raise DatasetError(
                where,
                f"{problem.problem_id!r} stands in line {line_of[problem.problem_id]} too (this is line {number})",
                field="problem_id",
                remedy="keep one of the two lines",
            )
        line_of[problem.problem_id] = number
        problems.append(problem)
    if not problems:
        raise DatasetError(str(path), "expected at least one row, found an empty file", remedy=_ONE_OBJECT)
    return problems


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, its bytes without the line end); a line is never read past the size limit."""
    try:
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(MAX_LINE_BYTES + 2):
                number += 1
                line = raw.removesuffix(b"\n").removesuffix(b"\r")
                if len(line) > MAX_LINE_BYTES:
                    raise DatasetError(
                        f"{path}:{number}",
                        f"expected at most {MAX_LINE_BYTES:,} bytes in a line, found more",
                        remedy="check that the rows are separated by line ends",
                    )
                yield number, line
    except OSError as error:
        remedy = "check the path and its rights"
        raise DatasetError(str(path), f"cannot be read: {error.strerror}", remedy=remedy) from None


def _row(raw: bytes, where: str) -> dict[str, Any]:
    if raw.startswith(_BOM):
        raise DatasetError(where, "starts with a byte order mark", remedy="save the file as UTF-8 without BOM")
    if b"\0" in raw:
        place = raw.index(b"\0") + 1
        remedy = "the file is damaged or not text; write it again"
        raise DatasetError(where, f"a NUL byte at byte {place} of the line", remedy=remedy)
    if not raw.strip():
        raise DatasetError(where, "expected a JSON object, found a blank line", remedy="remove the line")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 text (byte {error.start + 1} of the line)"
        raise DatasetError(where, problem, remedy="save it as UTF-8") from None
    try:
        row = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except _Refused as error:
        raise DatasetError(where, error.problem, field=error.field, remedy=error.remedy) from None
    except json.JSONDecodeError as error:
        problem = f"not valid JSON: {error.msg} (column {error.colno})"
        raise DatasetError(where, problem, remedy=_ONE_OBJECT) from None
    except UnicodeEncodeError:
        remedy = "write whole characters, not halves of a surrogate pair"
        raise DatasetError(where, "a text holds a lone surrogate (\\ud800-\\udfff)", remedy=remedy) from None
    except RecursionError:
        raise DatasetError(where, "nested too deeply", remedy=_ONE_OBJECT) from None
    except ValueError as error:
        raise DatasetError(where, f"not usable JSON: {error}", remedy=_ONE_OBJECT) from None
    if not isinstance(row, dict):
        raise DatasetError(where, f"expected a JSON object, found {_kind(row)}", remedy=_ONE_OBJECT)
    return row


class _Refused(Exception):
    """Valid JSON that is refused all the same."""

    def __init__(self, problem: str, field: str | None, remedy: str) -> None:
        super().__init__(problem)
        self.problem, self.field, self.remedy = problem, field, remedy


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for key, value in pairs:
        if key in row:
            raise _Refused("the key appears twice in one object", key, "keep one of the two")
        row[key] = value
    return row


def _refuse_constant(text: str) -> Any:
    raise _Refused(f"expected a finite number, found {text}", None, "NaN and infinities are not JSON")


def _kind(value: Any) -> str:
    names = {list: "an array", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else names[type(value)]
