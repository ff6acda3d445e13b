"""Reading a user's problems from JSON Lines: every row is checked before any is used."""

from __future__ import annotations

import hashlib
import json
import time
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ops.errors import DatasetError
from ops.storage.atomic import file_digest
from ops.tasks.base import Task
from ops.types import Problem, Split

MAX_LINE_BYTES = 1_000_000
MAX_TEXT_CHARS = 50_000
"""Of one text field; the longest of the public datasets have a fifth of that."""
MAX_ID_CHARS = 200
MAX_CATEGORY_CHARS = 100
SETTLED_NS = 2_000_000_000
"""Age from which on every later change gives a file another time: clocks of file systems tick at most so slowly."""
_BOM = b"\xef\xbb\xbf"
_ONE_OBJECT = "write one JSON object per line, UTF-8, without blank lines"


def file_state(path: Path) -> tuple[Path, int, int] | None:
    """(absolute path, bytes, time of change in ns): while they stay, what was read from the file can be remembered.

    None for a file that changed within the last two seconds: it could change again and keep its time.

    Raises:
        OSError: when it is not there or cannot be looked up.
    """
    stat = path.stat()
    settled = time.time_ns() - stat.st_mtime_ns > SETTLED_NS
    return (path.absolute(), stat.st_size, stat.st_mtime_ns) if settled else None


def content_digest(path: Path) -> str:
    """SHA-256 of a file of the user's, in hexadecimal; remembered in this process while size and time stay the same.

    Raises:
        OSError: when it cannot be read.
    """
    state = file_state(path)
    return file_digest(path) if state is None else _digest(*state)


@lru_cache(maxsize=1024)
def _digest(path: Path, size: int, modified_ns: int) -> str:
    return file_digest(path)


def problem_file_digest(path: str) -> str:
    """SHA-256 of a problem file's content.

    Raises:
        DatasetError: when it cannot be read.
    """
    try:
        return content_digest(Path(path))
    except OSError as error:
        raise DatasetError(path, f"cannot be read: {error.strerror}") from None


def read_problem_file(task: Task, path: str | Path, split: Split) -> list[Problem]:
    """All problems of a JSONL file, in its order. Nothing is returned unless every row is good.

    Raises:
        DatasetError: for the first bad line; names file and line, the field where there is one, and the remedy.
    """
    problems: list[Problem] = []
    line_of: dict[str, int] = {}
    line_of_content: dict[str, int] = {}
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
        content = task.content_key(problem)
        if content in line_of_content:
            raise DatasetError(
                where,
                f"the same problem stands in line {line_of_content[content]} too, under another id",
                field="problem_id",
                remedy="keep one of the two lines",
            )
        line_of[problem.problem_id] = line_of_content[content] = number
        problems.append(problem)
    if not problems:
        raise DatasetError(str(path), "expected at least one row, found an empty file", remedy=_ONE_OBJECT)
    return problems


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of a JSONL file, line by line.

    Raises:
        DatasetError: for a line that is no usable JSON object, naming file and line.
    """
    for number, raw in _lines(path):
        yield number, _row(raw, f"{path}:{number}")


def check_keys(row: Mapping[str, Any], known: Collection[str], where: str, remedy: str) -> None:
    """Refuse a row with a key that nobody reads.

    Raises:
        DatasetError: names the key.
    """
    unknown = sorted(set(row) - set(known))
    if unknown:
        raise DatasetError(where, "unknown key", field=unknown[0], remedy=remedy)


def text_field(row: Mapping[str, Any], field: str, where: str, remedy: str, longest: int = MAX_TEXT_CHARS) -> str:
    """A required text of a row, without white space around it.

    Raises:
        DatasetError: names the field and what was found.
    """
    if row.get(field) is None:
        raise DatasetError(where, "required, but missing", field=field, remedy=remedy)
    return checked_text(row[field], field, where, remedy, longest)


def checked_text(value: Any, field: str, where: str, remedy: str, longest: int = MAX_TEXT_CHARS) -> str:
    """``value`` where it is a text that can be stored and shown, without white space around it.

    Raises:
        DatasetError: names the field and what was found.
    """
    if not isinstance(value, str):
        raise DatasetError(where, f"expected a text, got {_kind(value)}", field=field, remedy=remedy)
    if "\0" in value:
        raise DatasetError(where, "holds a NUL character", field=field, remedy="the text is damaged; write it again")
    if not value.strip():
        raise DatasetError(where, "expected a text, got an empty one", field=field, remedy=remedy)
    if len(value) > longest:
        raise DatasetError(
            where,
            f"expected at most {longest:,} characters, got {len(value):,}",
            field=field,
            remedy="shorten it, or drop the row",
        )
    return value.strip()


def id_of(task: str, row: Mapping[str, Any], text: str, where: str) -> str:
    """The row's ``problem_id``, or one that is made of the problem's words.

    Raises:
        DatasetError: where it is neither a short text nor an integer.
    """
    value = row.get("problem_id")
    if value is None:
        return f"{task}-{content_hash(text)}"
    if type(value) is int:
        return str(value)
    return checked_text(value, "problem_id", where, "write a short text or an integer", MAX_ID_CHARS)


def category_field(row: Mapping[str, Any], where: str, remedy: str) -> dict[str, str]:
    """``{"category": ...}`` of a row that names one, else nothing.

    Raises:
        DatasetError: where it is no text.
    """
    if row.get("category") is None:
        return {}
    return {"category": checked_text(row["category"], "category", where, remedy, MAX_CATEGORY_CHARS)}


def content_hash(text: str) -> str:
    """16 hexadecimal digits of a text's SHA-256, whatever its white space and Unicode form."""
    same = " ".join(unicodedata.normalize("NFC", text).split())
    return hashlib.sha256(same.encode()).hexdigest()[:16]


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
    names = {
        dict: "an object",
        list: "an array",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return "null" if value is None else names[type(value)]
