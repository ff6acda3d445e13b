"""Requests: which pairs each export drew, so that one knows of a label that its pair was drawn at random.

``NAME.requests.jsonl`` beside the file of labels, a line for each drawn pair in the order in which it was drawn.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ops.errors import DatasetError
from ops.storage.atomic import write_text_atomically
from ops.tasks.rows import check_keys, json_rows

REMEDY = "only `mindgap evaluate export` writes this file: restore it from a copy"


@dataclass(frozen=True)
class Request:
    """One drawn pair.

    Attributes:
        wave: which export, 0, 1, ...
        design: how its pairs were drawn, e.g. ``uniform``.
        stratum: within which this one was drawn at random; None: among all pairs of its model.
        seed: of the draw.
        pairs: fingerprint of the table of pairs that it was drawn from.
        asked: False of two equal responses: a tie, which nobody is asked about.
    """

    wave: int
    pair_id: str
    model: str
    design: str
    stratum: str | None
    seed: int
    pairs: str
    asked: bool


_KINDS: dict[str, Any] = {
    "wave": int,
    "pair_id": str,
    "model": str,
    "design": str,
    "stratum": str | None,
    "seed": int,
    "pairs": str,
    "asked": bool,
}


def requests_path(labels: Path) -> Path:
    """``labels/demo.jsonl`` -> ``labels/demo.requests.jsonl``."""
    return labels.with_name(f"{labels.stem}.requests.jsonl")


def lock_path(labels: Path) -> Path:
    """What both files are written under: hidden, and left there."""
    return labels.with_name(f".{labels.stem}.lock")


def read_requests(path: Path) -> list[Request]:
    """All of them in their order; none where there is no file.

    Raises:
        DatasetError: names the line that cannot be used.
    """
    if not path.exists():
        return []
    names = [item.name for item in fields(Request)]
    found: list[Request] = []
    line_of: dict[str, int] = {}
    for line, row in json_rows(path):
        where = f"{path}:{line}"
        check_keys(row, names, where, REMEDY)
        for name in names:
            kind = _KINDS[name]
            if name not in row or not isinstance(row[name], kind) or (kind is int and isinstance(row[name], bool)):
                problem = f"expected what an export writes there, got {row.get(name)!r}"
                raise DatasetError(where, problem, field=name, remedy=REMEDY)
        if row["pair_id"] in line_of:
            problem = f"the pair stands in line {line_of[row['pair_id']]} too"
            raise DatasetError(where, problem, field="pair_id", remedy=REMEDY)
        line_of[row["pair_id"]] = line
        found.append(Request(**row))
    return found


def write_requests(path: Path, requests: Iterable[Request]) -> None:
    """Write the file whole or not at all."""
    write_text_atomically(path, "".join(f"{json.dumps(asdict(item), ensure_ascii=False)}\n" for item in requests))


def by_pair(requests: Iterable[Request]) -> dict[str, Request]:
    """Each by its pair: a pair is drawn once at most."""
    return {item.pair_id: item for item in requests}


def next_wave(requests: Sequence[Request]) -> int:
    """The number of the next export."""
    return 1 + max((item.wave for item in requests), default=-1)


def skipped(requests: Sequence[Request], labelled: Mapping[str, Any]) -> int:
    """Pairs that were asked about and passed over: one of the same wave and model behind them was labelled.

    The order is random, so whoever labels from the top leaves a random rest. Whoever picks does not.
    """
    last: dict[tuple[int, str], int] = {}
    for place, item in enumerate(requests):
        if item.pair_id in labelled:
            last[item.wave, item.model] = place
    return sum(
        item.asked and item.pair_id not in labelled and place < last.get((item.wave, item.model), -1)
        for place, item in enumerate(requests)
    )


def ties_drawn(requests: Sequence[Request], labelled: Mapping[str, Any]) -> list[Request]:
    """The drawn pairs of equal responses that count as labelled.

    Where people have answered k of the K pairs of a wave (of one model and stratum) that they were asked about, the
    same share k/K of its ties counts, to the nearest whole number: all of them would make ties too frequent until the
    wave is finished. A stratum of ties only has the share of its wave; a wave of ties only is finished.
    """
    asked = Counter(key for item in requests if item.asked for key in _groups(item))
    answered = Counter(key for item in requests if item.asked and item.pair_id in labelled for key in _groups(item))
    ties: dict[tuple[Any, ...], list[Request]] = {}
    for item in requests:
        if not item.asked:
            ties.setdefault(_groups(item)[0], []).append(item)
    found: list[Request] = []
    for group, items in ties.items():
        key = next((one for one in _groups(items[0]) if asked[one]), group)
        share = answered[key] / asked[key] if asked[key] else 1.0
        found += items[: round(share * len(items))]
    return found


def _groups(item: Request) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What was drawn together: wave, model and stratum; wave and model."""
    return (item.wave, item.model, item.stratum), (item.wave, item.model)
