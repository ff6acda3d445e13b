"""The file of labels: what people said of pairs, a line for each pair and annotator.

``{"pair_id", "label", "annotator", "wave", "stratum", "comment"}``: the label in [0, 1] is the worth of the *model's*
response against the reference's (1 better, 0 worse, 0.5 a tie; accuracy: 1 correct). Annotators who disagree about a
pair keep a line each. ``wave`` and ``stratum`` are those of the request; both null where no export asked for the pair.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ops.errors import DatasetError
from ops.evaluation.requests import Request, by_pair, lock_path, read_requests, requests_path
from ops.storage.atomic import exclusive, write_text_atomically
from ops.tasks.rows import check_keys, json_rows

IDENTICAL = "identical"
"""The annotator of pairs of equal responses: nobody was asked."""
GOLD = "gold"
"""The annotator where the task's grader labels."""
RESERVED = (IDENTICAL, GOLD)
MAX_ANNOTATOR_CHARS = 100
MAX_COMMENT_CHARS = 10_000
_REMEDY = "mend the line, or remove it and import the pair's label again"
_SHOWN = 20


@dataclass(frozen=True)
class LabelRow:
    """One line of the file; the attributes are its keys."""

    pair_id: str
    label: float
    annotator: str
    wave: int | None
    stratum: str | None
    comment: str | None

    @property
    def key(self) -> tuple[str, str]:
        """Who said it of what."""
        return self.annotator, self.pair_id


@dataclass(frozen=True)
class Merged:
    """What a merge did.

    Attributes:
        new: rows that were not there.
        same: rows that were there already, with the same label, comment included.
        replaced: rows whose label or comment took the place of another.
        total: rows of the file afterwards.
    """

    new: int
    same: int
    replaced: int
    total: int


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a file.

    ``kind``: what of ``--allow`` leaves it out; None where nothing does.
    """

    kind: str | None
    where: str
    field: str
    problem: str
    remedy: str


def refuse(path: Path, problems: Sequence[Problem], allow_remedy: str = "") -> None:
    """Tell of everything that is wrong, in one error.

    Raises:
        DatasetError: unless there is nothing.
    """
    if not problems:
        return
    first = problems[0]
    remedies = list(dict.fromkeys(item.remedy for item in problems))
    if len(problems) == 1:
        raise DatasetError(
            first.where,
            first.problem,
            field=first.field,
            remedy="; ".join([*remedies, allow_remedy][:2]).removesuffix("; "),
        )
    lines = [f"  {item.where}: {item.field}: {item.problem}" for item in problems[:_SHOWN]]
    lines += [f"  and {len(problems) - _SHOWN:,} more"] if len(problems) > _SHOWN else []
    told = "\n".join([f"{len(problems):,} problems, nothing was changed", *lines])
    raise DatasetError(str(path), told, remedy="; ".join([*remedies, allow_remedy]).removesuffix("; "))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the files of labels and of requests against other exports and imports."""
    with exclusive(lock_path(path)):
        yield


def read_labels_file(path: Path) -> list[LabelRow]:
    """All rows in their order, none where there is no file.

    Raises:
        DatasetError: names every line that cannot be used: somebody may have edited the file.
    """
    if not path.exists():
        return []
    found: list[LabelRow] = []
    problems: list[Problem] = []
    line_of: dict[tuple[str, str], int] = {}
    for line, row in json_rows(path):
        where = f"{path}:{line}"
        wrong = _wrong_field(row, where)
        if wrong is not None:
            problems.append(wrong)
            continue
        item = LabelRow(**{**row, "label": float(row["label"])})
        if item.key in line_of:
            said = f"{item.annotator} labels the pair in line {line_of[item.key]} too"
            problems.append(Problem(None, where, "annotator", said, "keep one of the two lines"))
            continue
        line_of[item.key] = line
        found.append(item)
    refuse(path, problems)
    return found


def _wrong_field(row: dict[str, Any], where: str) -> Problem | None:
    check_keys(row, [item.name for item in fields(LabelRow)], where, _REMEDY)
    label, wave = row.get("label"), row.get("wave")
    is_number = isinstance(label, int | float) and not isinstance(label, bool)
    wrong = {
        "pair_id": not isinstance(row.get("pair_id"), str),
        "label": not is_number or not 0 <= label <= 1,  # type: ignore[operator]
        "annotator": not _is_text(row.get("annotator"), MAX_ANNOTATOR_CHARS) or row["annotator"] in RESERVED,
        "wave": "wave" not in row or not (wave is None or (type(wave) is int and wave >= 0)),
        "stratum": "stratum" not in row or not isinstance(row["stratum"], str | None),
        "comment": "comment" not in row or not isinstance(row["comment"], str | None),
    }
    expected = {
        "pair_id": "the id of a pair",
        "label": "a number from 0 to 1",
        "annotator": f"a name (not {' or '.join(RESERVED)})",
        "wave": "a whole number or null",
        "stratum": "a text or null",
        "comment": "a text or null",
    }
    for field, is_wrong in wrong.items():
        if is_wrong:
            return Problem(None, where, field, f"expected {expected[field]}, got {row.get(field)!r}", _REMEDY)
    return None


def _is_text(value: Any, longest: int) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value) <= longest


def check_waves(path: Path, rows: Sequence[LabelRow], requests: Mapping[str, Request]) -> None:
    """Every wave in a file of labels is that of the request of its pair.

    A pair that is drawn after somebody has labelled it unasked has none until its label is imported again.

    Args:
        rows: all of the file, in its order.
        requests: by pair id.

    Raises:
        DatasetError: names the first line with another wave, or the file of requests where that is not there.
    """
    beside, n_drawn = requests_path(path), sum(row.wave is not None for row in rows)
    if n_drawn and not beside.exists():
        raise DatasetError(
            str(beside),
            f"is not there, and {n_drawn:,} labels of {path} are of pairs that exports drew, which it lists",
            remedy="restore it from where the labels come from; if it is lost, write null for wave and stratum in "
            "every line of the labels: they count as not drawn at random then",
        )
    for line, row in enumerate(rows, start=1):
        request = requests.get(row.pair_id)
        if row.wave is None or (request is not None and (row.wave, row.stratum) == (request.wave, request.stratum)):
            continue
        known = "no export drew the pair" if request is None else f"it was drawn in wave {request.wave}"
        raise DatasetError(
            f"{path}:{line}",
            f"wave {row.wave}, stratum {row.stratum!r}, but {known} according to the file of requests",
            field="wave",
            remedy="restore the file of requests beside it, or write null where the pair was not drawn at random",
        )


def checked_requests(path: Path) -> list[Request]:
    """The requests beside a file of labels, in their order.

    Raises:
        DatasetError: as ``check_waves``; when one of the two files cannot be read.
    """
    requests = read_requests(requests_path(path))
    check_waves(path, read_labels_file(path), by_pair(requests))
    return requests


def merge_labels(path: Path, rows: Sequence[LabelRow], *, replace: bool, sources: Sequence[str]) -> Merged:
    """Add rows to the file. The caller holds ``locked(path)``; the file is replaced whole, or stays as it was.

    Args:
        rows: one at most of each annotator and pair.
        replace: let a new label take the place of the same annotator's other one.
        sources: file and line of each row, for errors.

    Raises:
        DatasetError: when an annotator labelled a pair otherwise before and ``replace`` is False, or the file cannot be
            read.
    """
    known = {row.key: row for row in read_labels_file(path)}
    new = same = replaced = 0
    problems: list[Problem] = []
    for row, source in zip(rows, sources, strict=True):
        before = known.get(row.key)
        if before == row:
            same += 1
            continue
        if before is not None and before.label != row.label and not replace:
            said = f"{row.annotator} gave the model's response {before.label:g} before, and {row.label:g} now"
            problems.append(Problem(None, source, "label", said, "add --replace if the new label is meant"))
            continue
        new, replaced = new + (before is None), replaced + (before is not None)
        known[row.key] = row
    refuse(path, problems)
    if new or replaced:
        write_labels_file(path, known.values())
    return Merged(new, same, replaced, len(known))


def write_labels_file(path: Path, rows: Iterable[LabelRow]) -> None:
    """Write the file whole or not at all."""
    write_text_atomically(path, "".join(f"{json.dumps(asdict(row), ensure_ascii=False)}\n" for row in rows))
