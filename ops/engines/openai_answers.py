"""What an OpenAI-compatible server answers, read strictly: it is a completion of what was asked, or garbage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from ops.engines.tokens import DrawnRow

KEY_PREFIX = "mindgap-"
TOKEN_ID_PREFIX = "token_id:"  # noqa: S105
LOWEST_LOGPROB = -9999.0
"""What vLLM writes for minus infinity, which JSON has no word for."""


class GarbageError(Exception):
    """An answer that is none; asked for again a bounded number of times."""


class _Read(BaseModel):
    """Base: unknown fields are passed over, wrong types and numbers that are none are refused."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Logprob = Annotated[float, Field(le=0.01)]  # rounding may lift a certainty over 0


class _Logprobs(_Read):
    tokens: list[str] | None = None
    token_logprobs: list[Logprob | None] | None = None
    top_logprobs: list[dict[str, Logprob | None] | None] | None = None


class _Choice(_Read):
    text: str
    finish_reason: Literal["stop", "length"]
    stop_reason: int | str | None = None
    logprobs: _Logprobs | None = None
    token_ids: list[TokenId] | None = None
    prompt_token_ids: list[TokenId] | None = None


class _Usage(_Read):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class _Answer(_Read):
    id: str | None = None
    choices: list[_Choice] = Field(min_length=1, max_length=1)
    usage: _Usage | None = None


class ModelCard(_Read):
    """One model of /v1/models; ``root`` and ``max_model_len`` are vLLM's."""

    id: str
    owned_by: str | None = None
    root: str | None = None
    max_model_len: int | None = Field(None, ge=1)


class Models(_Read):
    """The answer of /v1/models."""

    data: list[ModelCard]


class Version(_Read):
    """The answer of vLLM's /version."""

    version: str = Field(min_length=1, max_length=100)


Shape = TypeVar("Shape", bound=_Read)


def read(shape: type[Shape], body: bytes) -> Shape:
    """A body as ``shape``.

    Raises:
        GarbageError: when it is not JSON of that shape.
    """
    problem = ""
    try:
        return shape.model_validate_json(body)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        problem = f"{place}: {first['msg']}" if place else first["msg"]
    raise GarbageError(problem)


@dataclass(frozen=True)
class Asked:
    """What an answer has to answer.

    Attributes:
        key: identity of the sample, ``KEY_PREFIX`` and a hash.
        prompt: its token ids.
        max_tokens: largest number of new tokens.
        logprobs: whether log-probabilities were asked for.
        stop_ids: token ids that end a response.
    """

    key: str
    prompt: tuple[int, ...]
    max_tokens: int
    logprobs: bool
    stop_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """One response as the server gave it.

    Attributes:
        row: its tokens; None where the server does not give their ids.
        text: as the server decoded it.
        n_tokens: new tokens, as the server counts them.
        logprob: sum over all of them; NaN where the server does not give one for each.
        finish_reason: the server's.
        prompt_tokens: as the server counts them.
    """

    row: DrawnRow | None
    text: str
    n_tokens: int
    logprob: float
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int


def drawn(body: bytes, asked: Asked) -> Drawn:
    """The one response in the body of an answer.

    Raises:
        GarbageError: when it is not one, or answers something else.
    """
    answer = _answer(body, asked)
    choice = answer.choices[0]
    logprobs = _drawn_logprobs(choice) if asked.logprobs else None
    ids = _token_ids(choice)
    if ids is None:
        if answer.usage is None:
            raise GarbageError("usage: missing, so nothing says how many tokens were drawn")
        n_tokens = answer.usage.completion_tokens
        known = logprobs is not None and len(logprobs) == n_tokens
        total = sum(logprobs or []) if known else float("nan")
        row = None
    else:
        n_tokens = len(ids)
        _check_ids(ids, choice, asked, logprobs)
        running = list(accumulate(logprobs)) if logprobs is not None else [float("nan")] * n_tokens
        at_id = ids[-1] in asked.stop_ids or choice.stop_reason == ids[-1]
        row, total = DrawnRow(ids, running, choice.finish_reason == "stop" and at_id), running[-1]
    if n_tokens > asked.max_tokens:
        raise GarbageError(f"{n_tokens} tokens, asked for at most {asked.max_tokens}")
    prompt_tokens = answer.usage.prompt_tokens if answer.usage else len(asked.prompt)
    return Drawn(row, choice.text, n_tokens, total, choice.finish_reason, prompt_tokens)


@dataclass(frozen=True)
class FirstToken:
    """Log-probabilities of the token after a prompt: by the token as the server writes it, and its usage."""

    by_token: dict[str, float]
    prompt_tokens: int
    n_tokens: int


def first_token(body: bytes, asked: Asked) -> FirstToken:
    """The log-probabilities in the body of an answer of one token.

    Raises:
        GarbageError: when there are none, or it answers something else.
    """
    answer = _answer(body, asked)
    logprobs = answer.choices[0].logprobs
    tops = logprobs.top_logprobs if logprobs else None
    if not tops or tops[0] is None:
        raise GarbageError("choices.0.logprobs.top_logprobs: missing")
    by_token = {
        token: float("-inf") if value <= LOWEST_LOGPROB else value
        for token, value in tops[0].items()
        if value is not None
    }
    usage = answer.usage
    return FirstToken(
        by_token,
        usage.prompt_tokens if usage else len(asked.prompt),
        usage.completion_tokens if usage else len(tops),
    )


def _answer(body: bytes, asked: Asked) -> _Answer:
    answer = read(_Answer, body)
    # vLLM names its answer after the request; a late or repeated one on a kept connection is thereby known.
    if answer.id and KEY_PREFIX in answer.id and asked.key not in answer.id:
        raise GarbageError("id: the answer to another request")
    prompt = answer.choices[0].prompt_token_ids
    if prompt is not None and prompt != list(asked.prompt):
        raise GarbageError("choices.0.prompt_token_ids: the answer to another prompt")
    return answer


def _drawn_logprobs(choice: _Choice) -> list[float]:
    found = choice.logprobs.token_logprobs if choice.logprobs else None
    if found is None:
        raise GarbageError("choices.0.logprobs.token_logprobs: missing")
    values = [value for value in found if value is not None]
    if len(values) < len(found):
        raise GarbageError("choices.0.logprobs.token_logprobs: a token without one")
    return values


def _token_ids(choice: _Choice) -> list[int] | None:
    """Ids of the drawn tokens; vLLM before 0.10.2 gives them in the words of its tokens only."""
    if choice.token_ids is not None:
        return choice.token_ids
    words = choice.logprobs.tokens if choice.logprobs else None
    if not words or not all(word.startswith(TOKEN_ID_PREFIX) for word in words):
        return None
    numbers = [word.removeprefix(TOKEN_ID_PREFIX) for word in words]
    if not all(number.isascii() and number.isdigit() and len(number) < 10 for number in numbers):
        raise GarbageError("choices.0.logprobs.tokens: not token ids")
    return [int(number) for number in numbers]


def _check_ids(ids: Sequence[int], choice: _Choice, asked: Asked, logprobs: Sequence[Any] | None) -> None:
    if not ids:
        raise GarbageError("choices.0.token_ids: no tokens")
    if logprobs is not None and len(logprobs) != len(ids):
        raise GarbageError(f"{len(ids)} tokens with {len(logprobs)} log-probabilities")
    if choice.finish_reason == "length" and len(ids) < asked.max_tokens:
        raise GarbageError(f"cut after {len(ids)} tokens, asked for {asked.max_tokens}")
