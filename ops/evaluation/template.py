"""Templates: what labellers fill in, written as JSON Lines or CSV, and read back.

A row for each pair, in random order, blind: A and B are the two responses, and no column says whose they are.

Spreadsheets take a cell that begins with = + - or @ (or a tab or line end before them) for a formula, and responses may
begin so. They round long numbers and write others anew, and ids of pairs may look like one (``12e5``). In CSV such
cells get one apostrophe in front, which reading takes away again; so does a cell that already looks as if it had one,
which makes the round trip exact. Lines end in CR LF, cells are quoted, UTF-8 with a byte order
mark, by which spreadsheets tell that it is UTF-8. Semicolons and tabs are read as well: some spreadsheets save them.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ops.errors import DatasetError
from ops.storage.atomic import atomic_file
from ops.tasks.rows import json_rows

PAIR_COLUMNS = ("pair_id", "problem", "response_a", "response_b", "label", "annotator", "comment")
SINGLE_COLUMNS = ("pair_id", "problem", "response", "label", "annotator", "comment")
"""Where a response is judged by itself (accuracy)."""
ENDINGS = (".jsonl", ".csv")

_FORMULA = r"[\s']*[=+\-@＝＋－＠]|'*[\t\r\n]"  # noqa: RUF001 - full width as well, which some take for a formula
_NUMBER = r"'*(?:0\d+|\d{12,}|\d+[eE]\d+)\Z"  # of 12 digits on they are shown rounded, and saved so
_RISKY = re.compile(f"{_FORMULA}|{_NUMBER}")
_EMPTY = ("label", "annotator", "comment")


def kind_of(path: Path) -> str:
    """``.jsonl`` or ``.csv``.

    Raises:
        DatasetError: for another ending.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        problem = f"expected a file name that ends in {' or '.join(ENDINGS)}, got {path.name!r}"
        raise DatasetError(str(path), problem, remedy="name it labels.csv, say, or labels.jsonl")
    return ending


def check_new(path: Path) -> None:
    """Refuse a template that is there already: somebody may have filled it in.

    Raises:
        DatasetError: for such a file, another ending, and a folder that is not there.
    """
    kind_of(path)
    if not path.parent.is_dir():
        raise DatasetError(str(path), f"there is no folder {path.parent}", remedy="check the path, or make the folder")
    if path.exists():
        raise DatasetError(str(path), "is there already", remedy="give another name, or remove it if nobody needs it")


def write_template(path: Path, rows: Iterable[Mapping[str, str]], columns: tuple[str, ...]) -> int:
    """Write a template whole or not at all; returns the number of rows.

    Args:
        rows: texts by column; label, annotator and comment may be left out.

    Raises:
        DatasetError: as ``check_new``, and when the file cannot be written.
    """
    check_new(path)
    filled = [{**dict.fromkeys(_EMPTY, ""), **row} for row in rows]
    try:
        with atomic_file(path) as staging:
            _write_csv(staging, filled, columns) if kind_of(path) == ".csv" else _write_json(staging, filled, columns)
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        raise DatasetError(str(path), problem, remedy="name another file") from None
    return len(filled)


def read_template(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(place, cells by column) of every row; other columns than those of templates are kept.

    The place is the line; of CSV also the row that a spreadsheet shows, and the pair: ``388 (row 195, pair 5f0c...)``.
    Cells of CSV are texts; values of JSON are what they are.

    Raises:
        DatasetError: for a file that is not one of the two kinds, or a row that cannot be read.
    """
    rows = _read_csv(path) if kind_of(path) == ".csv" else [(str(line), row) for line, row in json_rows(path)]
    for place, row in rows:
        for name in ("pair_id", "label"):
            if name not in row:
                unknown = ", ".join(key for key in row if key not in (*PAIR_COLUMNS, *SINGLE_COLUMNS))
                problem = "required, but missing" + (f" (unknown keys: {unknown})" if unknown else "")
                remedy = 'keep the columns of the exported file ("label": "" is: not labelled yet)'
                raise DatasetError(f"{path}:{place}", problem, field=name, remedy=remedy)
    return rows


def guarded(text: str) -> str:
    """A cell that no spreadsheet takes for a formula, or for a number that it would write otherwise."""
    return f"'{text}" if _RISKY.match(text) else text


def unguarded(cell: str) -> str:
    """What ``guarded`` was given."""
    return cell[1:] if cell.startswith("'") and _RISKY.match(cell[1:]) else cell


def _write_json(path: Path, rows: Iterable[Mapping[str, str]], columns: tuple[str, ...]) -> None:
    lines = (json.dumps({name: row[name] for name in columns}, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _write_csv(path: Path, rows: Iterable[Mapping[str, str]], columns: tuple[str, ...]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
        writer.writerow(columns)
        writer.writerows([guarded(row[name]) for name in columns] for row in rows)


def _read_csv(path: Path) -> list[tuple[str, dict[str, Any]]]:
    remedy = "save it as CSV with UTF-8, with the columns of the exported file"
    before = csv.field_size_limit(sys.maxsize)  # of the whole process: responses may be longer than the default
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = _delimiter(file.readline())
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            _check_header(path, header, remedy)
            rows: list[tuple[str, dict[str, Any]]] = []
            start = reader.line_num + 1
            for number, cells in enumerate(reader, start=2):  # texts of several lines: a row is more than one line
                if any(cells):
                    row = _cells(header, cells, f"{path}:{start} (row {number})", remedy)
                    rows.append((f"{start} (row {number}, pair {row['pair_id']})", row))
                start = reader.line_num + 1
            return rows
    except OSError as error:
        raise DatasetError(str(path), f"cannot be read: {error.strerror}", remedy="check the path") from None
    except UnicodeDecodeError as error:
        raise DatasetError(str(path), f"not UTF-8 text (byte {error.start + 1})", remedy=remedy) from None
    except csv.Error as error:
        raise DatasetError(str(path), f"not CSV: {error}", remedy=remedy) from None
    finally:
        csv.field_size_limit(before)


def _delimiter(header: str) -> str:
    """Spreadsheets save with what their language puts between values."""
    return max(",;\t", key=header.count)


def _check_header(path: Path, header: list[str], remedy: str) -> None:
    for name in ("pair_id", "label"):
        if header.count(name) != 1:
            problem = f"expected the column {name} once in the first line, found it {header.count(name)} times"
            raise DatasetError(f"{path}:1", problem, field=name, remedy=remedy)


def _cells(header: list[str], cells: list[str], where: str, remedy: str) -> dict[str, Any]:
    if len(cells) > len(header) and any(cells[len(header) :]):
        problem = f"expected {len(header)} cells, found {len(cells)}"
        raise DatasetError(where, problem, remedy=remedy)
    padded = cells + [""] * (len(header) - len(cells))  # spreadsheets leave empty cells at the end out
    return {name: unguarded(cell) for name, cell in zip(header, padded, strict=False)}
