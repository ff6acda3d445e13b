"""Pretraining FLOPs of public models, from a table file: 6 N D, with N parameters and D pretraining tokens.

Only models whose number of pretraining tokens its makers have published are in the shipped table
(``ops/reference/pretraining_flops.csv``). Qwen-1.5 is not (its report names no number per size), nor are Yi-1.5-9B
(grown out of a smaller model) and mixtures of experts (6 N D is not theirs).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.errors import DatasetError

SHIPPED = Path(__file__).resolve().parent / "reference" / "pretraining_flops.csv"
COLUMNS = ("model", "family", "n_parameters", "pretraining_tokens", "pretraining_flops", "source")
REMEDY = f"write a CSV file with the columns {', '.join(COLUMNS)}; tokens, parameters and source may be empty"


@dataclass(frozen=True)
class Pretraining:
    """One row of the table. ``flops``: floating-point operations; N and D are None where the table leaves them out."""

    model: str
    family: str
    n_parameters: int | None
    tokens: int | None
    flops: float
    source: str


def read_flops(path: str | None = None) -> Mapping[str, Pretraining]:
    """Rows by model name: the shipped table, a user's rows replacing those of the same model.

    Raises:
        DatasetError: names file and line, the column, what was expected and what was found.
    """
    rows = _read(SHIPPED)
    return rows if path is None else {**rows, **_read(Path(path))}


def _read(path: Path) -> dict[str, Pretraining]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DatasetError(f"{path}, line 1", f"no column {missing[0]}", field=missing[0], remedy=REMEDY)
            found = [_row(row, f"{path}, line {reader.line_num}") for row in reader]
    except UnicodeDecodeError as error:
        raise DatasetError(str(path), f"not UTF-8 text (byte {error.start})", remedy="save it as UTF-8") from None
    except OSError as error:
        raise DatasetError(str(path), f"cannot be read: {error.strerror}", remedy="check the path") from None
    return {row.model: row for row in found}


def _row(row: Mapping[str, str | None], where: str) -> Pretraining:
    for name in ("model", "family"):
        if not row[name]:
            raise DatasetError(where, "expected text, got nothing", field=name, remedy=REMEDY)
    parameters, tokens = (_number(row[name], name, where) for name in ("n_parameters", "pretraining_tokens"))
    flops = _number(row["pretraining_flops"], "pretraining_flops", where)
    if flops is None:
        if parameters is None or tokens is None:
            problem = "expected a number, or both n_parameters and pretraining_tokens"
            raise DatasetError(where, problem, field="pretraining_flops", remedy=REMEDY)
        flops = 6.0 * parameters * tokens
    return Pretraining(
        str(row["model"]),
        str(row["family"]),
        None if parameters is None else int(parameters),
        None if tokens is None else int(tokens),
        flops,
        row["source"] or "",
    )


def _number(text: str | None, name: str, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise DatasetError(where, f"expected a number above 0, got {text!r}", field=name, remedy=REMEDY)
    return value
