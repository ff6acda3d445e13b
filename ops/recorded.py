"""Responses recorded elsewhere: every row of the file is checked before any is used.

One row per response, JSONL or Parquet: ``problem_id``, ``problem``, ``answer``, ``response``; optionally
``sample_index``, ``label`` (a given correctness), ``scores`` (numbers by name, each a verifier), ``n_tokens``,
``logprob``, ``finish_reason``, and what the task's grader reads beside (``aliases``, ``data``). With a task other than
``jsonl``, ``data`` is the problem as that task's own problem files have it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ops.engines.replay import ReplaySettings
from ops.errors import DatasetError
from ops.identity import seed_of
from ops.tasks.base import Task
from ops.tasks.jsonl import Jsonl
from ops.tasks.rows import file_state, json_rows
from ops.types import CORRECT, INCORRECT, Problem, Split, Verdict
from ops.verifiers.base import LABEL_PATTERN

REQUIRED = ("problem_id", "problem", "answer", "response")
OPTIONAL = ("sample_index", "label", "scores", "n_tokens", "logprob", "finish_reason", "aliases", "data")
MAX_ID_BYTES = 200
BATCH_ROWS = 1024
"""Rows of Parquet in memory at once, as Python values."""
MIN_EVAL_PROBLEMS = 2
"""As in ``problems.eval``: intervals resample problems."""
_POSED = ("problem", "answer", "aliases", "data")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # in JSON text, where a backslash of the text itself is doubled
_LABELS: dict[Any, Verdict] = {True: CORRECT, False: INCORRECT, "correct": CORRECT, "incorrect": INCORRECT}


@dataclass(frozen=True)
class RecordedResponse:
    """One row of the file.

    Attributes:
        label: the correctness given with it, None where there is none.
        scores: verification scores given with it, by name; None where one is missing for this response.
    """

    problem: Problem
    sample_index: int
    response: str
    label: Verdict | None
    scores: Mapping[str, float | None]
    n_tokens: int | None
    logprob: float | None
    finish_reason: str


def read_recorded(settings: ReplaySettings, task: Task) -> list[RecordedResponse]:
    """All responses of the file, by problem in the order of first appearance, then by sample index.

    The last ones read are remembered in this process: a run reads them to check them, to pose the problems and to
    import the responses.

    Raises:
        DatasetError: for the first bad row; names file and line, the field and the remedy. Nothing is half-imported.
    """
    try:
        state = file_state(Path(settings.path))
    except (OSError, ValueError):  # said below in the words of this file's readers
        state = None
    if state is None:
        return _read(settings, task)
    # What runs the models of verifiers changes nothing in the file.
    plain = settings.model_copy(update={"verifying": ReplaySettings.model_fields["verifying"].default})
    return list(_last_read(plain, task, *state))


@lru_cache(maxsize=1)
def _last_read(
    settings: ReplaySettings, task: Task, path: Path, size: int, modified_ns: int
) -> tuple[RecordedResponse, ...]:
    return tuple(_read(settings, task))


def _read(settings: ReplaySettings, task: Task) -> list[RecordedResponse]:
    path = Path(settings.path)
    found: dict[str, dict[int, RecordedResponse]] = {}
    posed: dict[str, tuple[list[str], Problem, int]] = {}
    id_of: dict[str, str] = {}
    names: tuple[str, ...] | None = None
    for number, row in _rows(path):
        where = f"{path}:{number}"
        _check_keys(row, where)
        identity = _identity(row, where)
        content = [_json(row.get(key), key, where) for key in _POSED]
        if identity not in posed:
            problem = _problem(identity, row, settings, task, where)
            known = id_of.setdefault(task.content_key(problem), identity)
            if known != identity:
                raise DatasetError(
                    where,
                    f"the same problem as {known!r} of line {posed[known][2]}",
                    field="problem_id",
                    remedy="give all responses to a problem the same id: they are not independent",
                )
            posed[identity] = (content, problem, number)
        elif posed[identity][0] != content:
            _problem(identity, row, settings, task, where)  # what is wrong with the row itself is told first
            pairs = zip(_POSED, content, posed[identity][0], strict=True)
            field = next(key for key, value, other in pairs if value != other)
            raise DatasetError(
                where,
                f"{identity!r} has another {field} in line {posed[identity][2]}",
                field=field,
                remedy="give different problems different ids",
            )
        group = found.setdefault(identity, {})
        response = _response(row, posed[identity][1], len(group), settings, task, where)
        if response.sample_index in group:
            raise DatasetError(
                where,
                f"sample {response.sample_index} of {identity!r} stands in the file already",
                field="sample_index" if row.get("sample_index") is not None else "problem_id",
                remedy="number the responses to one problem 0, 1, 2 ..., or leave sample_index out everywhere",
            )
        names = names if names is not None else tuple(response.scores)
        _check_names(names, tuple(response.scores), where)
        group[response.sample_index] = response
    _check_splits(path, [problem for _, problem, _ in posed.values()], settings)
    return [group[index] for group in found.values() for index in sorted(group)]


def _check_names(first: tuple[str, ...], found: tuple[str, ...], where: str) -> None:
    if set(found) != set(first):
        raise DatasetError(
            where,
            f"expected the scores {', '.join(first) or '(none)'} as in the first row, "
            f"got {', '.join(found) or '(none)'}",
            field="scores",
            remedy="give every row the same scores; null where one is missing",
        )


def _check_splits(path: Path, problems: list[Problem], settings: ReplaySettings) -> None:
    if not problems:
        remedy = "write one row per response (docs/replay.md)"
        raise DatasetError(str(path), "expected at least one row, found an empty file", remedy=remedy)
    evaluation = sum(problem.split == "eval" for problem in problems)
    if evaluation < MIN_EVAL_PROBLEMS:
        raise DatasetError(
            str(path),
            f"{evaluation} of {len(problems)} problems to evaluate, at least {MIN_EVAL_PROBLEMS} needed",
            field="problem_id",
            remedy="intervals resample problems: add problems, or lower engine.train_fraction",
        )
    if settings.train_fraction > 0 and evaluation == len(problems):
        raise DatasetError(
            str(path),
            f"none of {len(problems)} problems falls to the train split by the hash of its id",
            field="problem_id",
            remedy="raise engine.train_fraction, or leave it out",
        )


def score_columns(path: str) -> tuple[str, ...]:
    """Names under ``scores`` in the first row: each becomes a verifier.

    Raises:
        DatasetError: when the first row cannot be read.
    """
    try:
        state = file_state(Path(path))
    except OSError as error:
        raise DatasetError(path, f"cannot be read: {error.strerror}", remedy="check the path and its rights") from None
    return _first_scores(path) if state is None else _score_columns(path, *state)


@lru_cache(maxsize=256)
def _score_columns(path: str, absolute: Path, size: int, modified_ns: int) -> tuple[str, ...]:
    return _first_scores(path)


def _first_scores(path: str) -> tuple[str, ...]:
    for number, row in _rows(Path(path)):
        return tuple(_scores(row, f"{path}:{number}"))
    return ()


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(line from 1, row) of a JSONL file; (row from 1, row) of a Parquet file."""
    if path.suffix != ".parquet":
        yield from json_rows(path)
        return
    yield from enumerate(_parquet_rows(path), start=1)


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, read by pyarrow: on damaged files Polars 2.1 panics, or takes the process down."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    done = 0
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise pa.ArrowInvalid("two columns have the same name")
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                yield from batch.to_pylist()
                done += batch.num_rows
    except UnicodeDecodeError:
        problem = f"not UTF-8 text (in a column's name or in one of the {BATCH_ROWS:,} rows after row {done:,})"
        raise DatasetError(str(path), problem, remedy="write the file again, texts as UTF-8") from None
    except (OSError, pa.ArrowException, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DatasetError(str(path), f"not readable as Parquet: {reason}", remedy="write the file again") from None


def _check_keys(row: Mapping[str, Any], where: str) -> None:
    known = (*REQUIRED, *OPTIONAL)
    unknown = [key for key in row if key not in known]
    if unknown:
        remedy = f"known fields are {', '.join(known)}; numbers of your own go under scores"
        raise DatasetError(where, "unknown field", field=unknown[0], remedy=remedy)


def _identity(row: Mapping[str, Any], where: str) -> str:
    identity = _text(row, "problem_id", where, MAX_ID_BYTES)
    if not identity or identity != identity.strip():
        problem = "expected an id without white space around it" if identity else "an empty id"
        raise DatasetError(where, problem, field="problem_id", remedy="give every row the id of its problem")
    return identity


def _json(value: Any, field: str, where: str) -> str:
    """``value`` as JSON text. Parquet holds more than JSON does: bytes, times, NaN."""
    remedy = "texts, numbers, true, false, null, lists and objects can be kept"
    try:
        text = json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DatasetError(where, f"cannot be kept as JSON: {error}", field=field, remedy=remedy) from None
    if _NUL.search(text):
        raise DatasetError(where, "a NUL character", field=field, remedy="the file is damaged or not text")
    return text


def _text(row: Mapping[str, Any], field: str, where: str, limit: int) -> str:
    value = row.get(field)
    if value is None:
        raise DatasetError(where, "required, but missing", field=field, remedy=f"give every row its {field}")
    if not isinstance(value, str):
        found = f"{type(value).__name__} {str(value)[:40]!r}"
        raise DatasetError(where, f"expected text, got {found}", field=field, remedy=f"write {field} as text")
    if "\0" in value:
        raise DatasetError(where, "a NUL character", field=field, remedy="the file is damaged or not text")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise DatasetError(where, "a lone surrogate", field=field, remedy="write whole characters") from None
    if size > limit:
        raise DatasetError(
            where,
            f"{size:,} bytes, at most {limit:,} are taken",
            field=field,
            remedy="shorten it" if field != "response" else "raise engine.max_response_bytes, or cut the response",
        )
    return value


def _problem(identity: str, row: Mapping[str, Any], settings: ReplaySettings, task: Task, where: str) -> Problem:
    split = split_of(identity, settings.train_fraction)
    if isinstance(task, Jsonl):
        known = {key: row[key] for key in _POSED if row.get(key) is not None}
        return task.read_row(known | {"problem_id": identity}, where, split)
    data = row.get("data")
    if not isinstance(data, Mapping):
        wanted = "expected an object: the problem as this task reads it from a file of problems"
        remedy = "give data, or take task {name: jsonl, grader: ...}"
        raise DatasetError(where, wanted, field="data", remedy=remedy)
    try:
        return replace(task.read_row(dict(data), where, split), problem_id=identity)
    except DatasetError as error:
        field = "data" if error.field is None else f"data.{error.field}"
        raise DatasetError(where, error.problem, field=field, remedy=error.remedy) from None


def split_of(problem_id: str, train_fraction: float) -> Split:
    """The split of a recorded problem: a hash of its id, so that it never depends on the other rows."""
    return "train" if seed_of(problem_id, "replay split") / 2**63 < train_fraction else "eval"


def _response(
    row: Mapping[str, Any], problem: Problem, place: int, settings: ReplaySettings, task: Task, where: str
) -> RecordedResponse:
    label = row.get("label")
    if label is not None and (not isinstance(label, bool | str) or label not in _LABELS):
        wrong = f"expected true, false, correct or incorrect, got {_shown(label)}"
        raise DatasetError(where, wrong, field="label", remedy="write one of them, or null where none is known")
    if label is None and getattr(task, "grader", None) == "label":
        remedy = "give every row its label, or choose a grader that reads the response"
        raise DatasetError(where, "the task is graded by given labels, and there is none", field="label", remedy=remedy)
    index = _whole(row, "sample_index", where)
    finish = row.get("finish_reason")
    if finish not in (None, "stop", "length"):
        wrong = f"expected stop or length, got {_shown(finish)}"
        raise DatasetError(where, wrong, field="finish_reason", remedy="leave it out where the response is complete")
    return RecordedResponse(
        problem=problem,
        sample_index=place if index is None else index,
        response=_text(row, "response", where, settings.max_response_bytes),
        label=None if label is None else _LABELS[label],
        scores=_scores(row, where),
        n_tokens=_whole(row, "n_tokens", where),
        logprob=_number(row.get("logprob"), "logprob", where),
        finish_reason=finish or "stop",
    )


def _scores(row: Mapping[str, Any], where: str) -> dict[str, float | None]:
    scores = row.get("scores")
    if scores is None:
        return {}
    if not isinstance(scores, Mapping):
        remedy = 'write "scores": {"my_verifier": 0.7}'
        raise DatasetError(where, "expected a mapping of numbers by name", field="scores", remedy=remedy)
    for name in scores:
        if not re.fullmatch(LABEL_PATTERN, str(name)):
            remedy = "1 to 63 letters, digits and _ . @ / + -, a letter or digit first: it names a verifier"
            raise DatasetError(where, f"a score cannot be called {_shown(name)}", field="scores", remedy=remedy)
    return {str(name): _number(value, f"scores.{name}", where) for name, value in scores.items()}


def _number(value: Any, field: str, where: str) -> float | None:
    if value is None:
        return None
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # JSON knows integers beyond every double
            number = math.inf
    if not math.isfinite(number):
        problem = f"expected a finite number or null, got {_shown(value)}"
        raise DatasetError(where, problem, field=field, remedy="write a number, or null where there is none")
    return number


def _whole(row: Mapping[str, Any], field: str, where: str) -> int | None:
    value = row.get(field)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < 2**31:
        problem = f"expected a whole number from 0 to {2**31 - 1:,}, got {_shown(value)}"
        raise DatasetError(where, problem, field=field, remedy="write a whole number, or leave it out")
    return value


def _shown(value: Any) -> str:
    """A found value, shortened."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def scores_text(scores: Mapping[str, float | None]) -> str | None:
    """The recorded scores as the JSON text of the column ``recorded_scores``; NULL where there are none."""
    return json.dumps(dict(scores)) if scores else None
