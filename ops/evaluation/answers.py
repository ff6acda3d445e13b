"""What labellers write into templates, read as labels of the model's response, with everything that is wrong told."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ops.errors import DatasetError
from ops.evaluation.judges.base import Estimand
from ops.evaluation.label_files import MAX_ANNOTATOR_CHARS, MAX_COMMENT_CHARS, RESERVED, LabelRow, Problem, refuse
from ops.evaluation.requests import Request
from ops.evaluation.template import read_template

Exclusion = Literal["unknown", "out-of-range", "duplicate", "unrequested"]
EXCLUSIONS: tuple[Exclusion, ...] = get_args(Exclusion)
"""What ``--allow`` takes. ``unknown``: rows of pairs that the experiment has not are left out. ``out-of-range``: so are
labels that cannot be read. ``duplicate``: of an annotator's different labels of a pair in one file the last one counts,
the later mind. ``unrequested``: labels of pairs that no export drew are kept, without a wave."""

WORDS: Mapping[Estimand, Mapping[str, float]] = {
    "win_rate": {"a": 1.0, "b": 0.0, "tie": 0.5},
    "accuracy": {"correct": 1.0, "incorrect": 0.0, "yes": 1.0, "no": 0.0},
}
"""Labels in words, of A where two responses are compared; numbers from 0 to 1 are read as well."""


@dataclass(frozen=True)
class PairSides:
    """What reading labels needs to know of the pair.

    ``model_first``: whether A is the model's response.
    """

    model: str
    model_first: bool
    is_identical: bool


@dataclass(frozen=True)
class Answers:
    """A file's labels.

    Attributes:
        rows, sources: the labels, and the file and line of each.
        empty: rows without a label: not labelled yet.
        repeated: rows that say again what the same annotator said of the same pair.
        excluded: by what was allowed, the rows left out (``unrequested``: kept without a wave).
    """

    rows: list[LabelRow]
    sources: list[str]
    empty: int
    repeated: int
    excluded: dict[str, int] = field(default_factory=dict)


def read_answers(
    path: Path,
    pairs: Mapping[str, PairSides],
    requests: Mapping[str, Request],
    estimand: Estimand,
    *,
    annotator: str | None = None,
    allow: Collection[str] = (),
) -> Answers:
    """Read a filled-in template, partial or whole.

    Args:
        pairs, requests: by pair id.
        annotator: who labelled; rows that name somebody keep that name.
        allow: of ``EXCLUSIONS``.

    Raises:
        DatasetError: names every row that is wrong, but for what is allowed.
    """
    reader = _Reader(path, pairs, requests, estimand, annotator, frozenset(allow))
    for place, row in read_template(path):
        reader.read(place, row)
    reader.check()
    return Answers(
        [row for row, _ in reader.kept.values()],
        [source for _, source in reader.kept.values()],
        reader.empty,
        reader.repeated,
        reader.excluded,
    )


def parse_label(value: Any, estimand: Estimand) -> float | None:
    """A label in [0, 1]; None where it cannot be read or lies outside.

    Words in any case; numbers with a decimal point or comma.
    """
    if isinstance(value, bool):
        return float(value) if estimand == "accuracy" else None
    if isinstance(value, str):
        word = value.strip().lower()
        if word in WORDS[estimand]:
            return WORDS[estimand][word]
        try:
            value = float(word.replace(",", ".")) if word.isascii() and "_" not in word else None
        except ValueError:
            return None
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if 0 <= value <= 1 else None


class _Reader:
    """Rows one after the other; what is wrong is collected."""

    def __init__(
        self,
        path: Path,
        pairs: Mapping[str, PairSides],
        requests: Mapping[str, Request],
        estimand: Estimand,
        annotator: str | None,
        allow: frozenset[str],
    ) -> None:
        self.path, self.pairs, self.requests, self.estimand = path, pairs, requests, estimand
        self.annotator, self.allow = annotator, allow
        self.kept: dict[tuple[str, str], tuple[LabelRow, str]] = {}
        self.empty = self.repeated = self.known = 0
        self.excluded: dict[str, int] = {}
        self.problems: list[Problem] = []

    def read(self, place: str, row: Mapping[str, Any]) -> None:
        where = f"{self.path}:{place}"
        value, pair_id = row.get("label"), row["pair_id"]
        if value is None or (isinstance(value, str) and not value.strip()):
            self.empty += 1
            return
        pair = self.pairs.get(pair_id) if isinstance(pair_id, str) else None
        if pair is None:
            self._unknown(pair_id, where)
            return
        self.known += 1
        label = parse_label(value, self.estimand)
        if label is None:
            words = ", ".join(WORDS[self.estimand])
            said = f"expected {words} or a number from 0 to 1, got {value!r}"
            self._wrong("out-of-range", where, "label", said, "write one of them, or leave the cell empty")
            return
        who = self._annotator(row, where)
        comment = self._comment(row, where)
        wave = self._wave(pair_id, pair, where)
        if who is None or wave is None:
            return
        own = label if pair.model_first else 1.0 - label
        self._keep(LabelRow(pair_id, own, who, *wave, comment), where)

    def _unknown(self, pair_id: Any, where: str) -> None:
        request = self.requests.get(pair_id) if isinstance(pair_id, str) else None
        said, remedy = f"no such pair: {pair_id!r}", "take it from this experiment's export"
        if request is not None:
            self.known += 1
            said = f"its problem or a response has changed, or is gone, since it was exported (wave {request.wave})"
            remedy = "the label was of other texts: export further pairs, and label those"
        self._wrong("unknown", where, "pair_id", said, remedy)

    def _wrong(self, kind: Exclusion, where: str, field: str, problem: str, remedy: str) -> bool:
        """Count what is allowed, remember what is not; returns whether it is."""
        if kind in self.allow:
            self.excluded[kind] = self.excluded.get(kind, 0) + 1
            return True
        self.problems.append(Problem(kind, where, field, problem, remedy))
        return False

    def _annotator(self, row: Mapping[str, Any], where: str) -> str | None:
        value = row.get("annotator")
        name = str(value).strip() if value is not None and str(value).strip() else (self.annotator or "").strip()
        if name and name not in RESERVED and len(name) <= MAX_ANNOTATOR_CHARS:
            return name
        said = f"expected who labelled, at most {MAX_ANNOTATOR_CHARS} characters, got {name!r}"
        remedy = "give another name, in the column or with --annotator"
        if not name:
            said = "required, but missing"
            remedy = "fill the column in, or give --annotator WHO for rows that name nobody"
        elif name in RESERVED:
            said = f"expected who labelled, got {name}, which stands for labels that no person gave"
        self.problems.append(Problem(None, where, "annotator", said, remedy))
        return None

    def _comment(self, row: Mapping[str, Any], where: str) -> str | None:
        value = row.get("comment")
        if value is None or not str(value).strip():
            return None
        if len(str(value)) > MAX_COMMENT_CHARS:
            said = f"expected at most {MAX_COMMENT_CHARS:,} characters, got {len(str(value)):,}"
            self.problems.append(Problem(None, where, "comment", said, "shorten it"))
        return str(value)

    def _wave(self, pair_id: str, pair: PairSides, where: str) -> tuple[int | None, str | None] | None:
        request = self.requests.get(pair_id)
        if request is not None and request.asked:
            return request.wave, request.stratum
        if pair.is_identical:
            said = "its responses are equal: a tie, which nobody is asked about"
            self.problems.append(Problem(None, where, "pair_id", said, "leave its label empty"))
            return None
        said = "no export drew the pair, so it was not chosen at random and the estimate may be biased"
        remedy = "label what `mindgap evaluate export` wrote"
        return (None, None) if self._wrong("unrequested", where, "pair_id", said, remedy) else None

    def _keep(self, row: LabelRow, where: str) -> None:
        if row.key in self.kept:
            before, source = self.kept[row.key]
            if before.label == row.label:
                self.repeated += 1
                return
            said = f"{row.annotator} labels the pair otherwise in {source}"
            if not self._wrong("duplicate", where, "label", said, "keep one of the two rows"):
                return
            del self.kept[row.key]  # the later mind counts, at its own place
        self.kept[row.key] = row, where

    def check(self) -> None:
        """Raises: DatasetError, unless nothing is wrong."""
        kinds = sorted({item.kind for item in self.problems if item.kind})
        if self.problems and not self.known and {item.kind for item in self.problems} == {"unknown"}:
            raise DatasetError(
                str(self.path),
                f"none of its {len(self.problems):,} labelled pairs belongs to this experiment, "
                f"the first is {self.problems[0].where}",
                field="pair_id",
                remedy="name the experiment whose export it was; a pair has another id once a response has changed",
            )
        if kinds:
            said = f"--allow {','.join(kinds)} counts such rows instead (see --help)"
            refuse(self.path, self.problems, said)
        refuse(self.path, self.problems)
