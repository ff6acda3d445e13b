"""Responses of several models that were written elsewhere: every row of the file is checked before any is used.

JSONL with a row for each response: ``problem_id`` (of ``problems.eval_file``), ``model`` (the reference, or a label of
``evaluation.models``), ``response``; optionally ``sample_index`` (else 0, 1, 2 ... in the order of the file; then no
text may repeat, which is more often a row twice than the same answer twice) and ``finish_reason``. Response j of a
model is compared with response j of the reference to the same problem, so every model has the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ops.errors import DatasetError
from ops.tasks.rows import check_keys, json_rows
from ops.types import Problem

MAX_RESPONSE_BYTES = 65_536
"""Of one response, as in recordings (``engine.max_response_bytes``)."""
_KEYS = ("problem_id", "model", "response", "sample_index", "finish_reason")
_REMEDY = 'write rows such as {"problem_id": "rain", "model": "small", "response": "..."}'

Written = dict[tuple[str, int], "WrittenResponse"]
"""One model's responses by problem id and sample index, in the order of the problems."""


@dataclass(frozen=True)
class WrittenResponse:
    """One row of the file.

    Attributes:
        model: label.
        finish_reason: ``length`` where it was cut at a limit of tokens.
    """

    problem_id: str
    model: str
    sample_index: int
    response: str
    finish_reason: Literal["stop", "length"]


def read_responses(path: str, problems: Sequence[Problem], models: Sequence[str]) -> dict[str, Written]:
    """All responses of a file, by model.

    Args:
        problems: those that are evaluated.
        models: labels, the reference first.

    Raises:
        DatasetError: for the first bad row, naming file and line, and for responses that are missing.
    """
    found: dict[str, Written] = {label: {} for label in models}
    counts: dict[tuple[str, str], int] = {}
    line_of: dict[tuple[str, str, int], int] = {}
    line_of_text: dict[tuple[str, str, str], int] = {}
    known = {problem.problem_id for problem in problems}
    for number, row in json_rows(Path(path)):
        where = f"{path}:{number}"
        check_keys(row, _KEYS, where, _REMEDY)
        group = _problem_id(row, known, where), _model(row, models, where)
        response = _response(row, *group, counts.get(group, 0), where)
        key = (*group, response.sample_index)
        if key in line_of:
            raise DatasetError(
                where,
                f"sample {key[2]} of {key[1]} to {key[0]!r} stands in line {line_of[key]} too",
                field="sample_index",
                remedy="keep one of the two lines, or number the responses to one problem 0, 1, 2 ...",
            )
        text = (*group, response.response)
        if text in line_of_text and row.get("sample_index") is None:
            raise DatasetError(
                where,
                f"the same response of {group[1]} to {group[0]!r} stands in line {line_of_text[text]} too",
                field="sample_index",
                remedy="remove the line if it is there twice; if the model did say it twice, give every response its "
                "sample_index: 0, 1, 2 ...",
            )
        line_of_text.setdefault(text, number)
        line_of[key], counts[group] = number, counts.get(group, 0) + 1
        found[response.model][response.problem_id, response.sample_index] = response
    _check_complete(path, found, problems)
    place = {problem.problem_id: i for i, problem in enumerate(problems)}
    return {
        label: dict(sorted(written.items(), key=lambda item: (place[item[0][0]], item[0][1])))
        for label, written in found.items()
    }


def _check_complete(path: str, found: Mapping[str, Written], problems: Sequence[Problem]) -> None:
    """Every problem has a response, and every model the same ones as the reference, which is the first.

    A pair left out silently would change what is estimated: models fail to answer where a problem is hard for them.
    """
    (reference, of_reference), *others = found.items()
    answered = {problem_id for problem_id, _ in of_reference}
    open_ = [problem.problem_id for problem in problems if problem.problem_id not in answered]
    if open_:
        raise DatasetError(
            path,
            f"no response of {reference} to {len(open_)} of {len(problems)} problems, e.g. {open_[0]!r}",
            field="model",
            remedy=f"add them ({reference} is the reference), or leave these problems out of problems.eval_file",
        )
    for label, written in others:
        missing = [key for key in of_reference if key not in written]
        surplus = [key for key in written if key not in of_reference]
        if not missing and not surplus:
            continue
        problem_id, index = (missing or surplus)[0]
        raise DatasetError(
            path,
            f"{len(missing)} responses of {label} are missing that {reference} has, e.g. sample {index} to "
            f"{problem_id!r}"
            if missing
            else f"{len(surplus)} responses of {label} that {reference} has none for, e.g. sample {index} to "
            f"{problem_id!r}",
            field="model",
            remedy="give every model as many responses to each problem as the reference has: left-out pairs would "
            "change what is estimated; a response that failed stands in the file as it is, if need be empty",
        )


def _problem_id(row: Mapping[str, Any], known: set[str], where: str) -> str:
    value = _given(row, "problem_id", where)
    found = str(value) if type(value) is int else value
    if not isinstance(found, str) or found not in known:
        raise DatasetError(
            where,
            f"no problem {_shown(value)} among the {len(known)} that are evaluated",
            field="problem_id",
            remedy="give the id that the problem has in problems.eval_file; problems.eval says how many of its rows "
            "are taken",
        )
    return found


def _model(row: Mapping[str, Any], models: Sequence[str], where: str) -> str:
    value = _given(row, "model", where)
    if value in models:
        return str(value)
    others = ", ".join(models[1:]) or "none"
    raise DatasetError(
        where,
        f"{_shown(value)} is neither the reference ({models[0]}) nor one of evaluation.models ({others})",
        field="model",
        remedy="list it under evaluation.models as {label: ...} (the reference under model as {kind: recorded, label: "
        "...}), or take its rows out",
    )


def _response(row: Mapping[str, Any], problem_id: str, model: str, place: int, where: str) -> WrittenResponse:
    index = row.get("sample_index")
    index = place if index is None else index
    if type(index) is not int or not 0 <= index < 2**31:
        problem = f"expected a whole number from 0 on, got {_shown(index)}"
        raise DatasetError(where, problem, field="sample_index", remedy="number them 0, 1, 2 ..., or leave it out")
    finish = row.get("finish_reason")
    if finish not in (None, "stop", "length"):
        problem = f"expected stop or length, got {_shown(finish)}"
        raise DatasetError(where, problem, field="finish_reason", remedy="leave it out where the response is complete")
    return WrittenResponse(problem_id, model, index, _text(row, where), finish or "stop")


def _text(row: Mapping[str, Any], where: str) -> str:
    """The response as it stands: white space may be part of it, and it may be empty."""
    value = _given(row, "response", where)
    if not isinstance(value, str):
        raise DatasetError(where, f"expected a text, got {_shown(value)}", field="response", remedy=_REMEDY)
    if "\0" in value:
        remedy = "the text is damaged; write it again"
        raise DatasetError(where, "holds a NUL character", field="response", remedy=remedy)
    size = len(value.encode())
    if size > MAX_RESPONSE_BYTES:
        problem = f"{size:,} bytes, at most {MAX_RESPONSE_BYTES:,} are taken"
        raise DatasetError(
            where, problem, field="response", remedy="cut the responses of all models at the same length"
        )
    return value


def _given(row: Mapping[str, Any], field: str, where: str) -> Any:
    if row.get(field) is None:
        raise DatasetError(where, "required, but missing", field=field, remedy=_REMEDY)
    return row[field]


def _shown(value: Any) -> str:
    """A found value, shortened."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
