"""One OpenAI-compatible server: requests that are repeated where that helps, and errors that never hold the key."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from ops.engines.openai_answers import GarbageError
from ops.engines.openai_loop import LoopThread
from ops.engines.openai_settings import OpenaiSettings
from ops.errors import EngineError

Result = TypeVar("Result")

WHO = "engine openai"
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
"""Before a request is repeated: doubled every time, up to this, and shortened by up to a half at random."""
LONGEST_RETRY_AFTER_SECONDS = 600.0
"""A server that asks to wait longer ends the run instead."""
KEEP_ALIVE_SECONDS = 2.0
"""An idle connection is let go before the server does it: after 5 s in vLLM."""
SHOWN_CHARACTERS = 200
REPEATED_STATUSES = frozenset({408, 429})
"""Beside all from 500 on."""


@dataclass(frozen=True)
class Failure:
    """A request that came to nothing.

    Attributes:
        said: what came, to be put after the server's address.
        again: whether the same request may succeed later.
        wait: seconds that the server asks for, or None.
    """

    said: str
    again: bool
    remedy: str
    wait: float | None = None


@dataclass
class Spent:
    """Requests that were answered, and how often one had to be repeated."""

    requests: int = 0
    retries: int = 0


class Server:
    """A client of one server, on an event loop of its own.

    Raises:
        EngineError: when the openai package is missing, or the key is no key.
    """

    def __init__(self, settings: OpenaiSettings) -> None:
        openai = _package()
        self._openai, self._settings, self.spent = openai, settings, Spent()
        self._key = _key(settings.api_key_variable)
        transport = openai.DefaultAioHttpClient(
            timeout=None, limits=_limits(settings.concurrency), follow_redirects=False
        )
        self.client = openai.AsyncOpenAI(
            base_url=settings.base_url,
            # Given in any case: the package would otherwise look for OPENAI_API_KEY by itself.
            api_key=self._key or "none",
            max_retries=0,  # repeated below, together with garbage, and counted
            timeout=None,  # one limit over the whole answer, below: a server that drips has one too
            http_client=transport,
        )
        self.headers: dict[str, Any] = {} if self._key else {"Authorization": openai.Omit()}
        """Of every request."""
        self.loop = LoopThread(f"{WHO} {settings.base_url}")

    async def ask(
        self, send: Callable[[], Awaitable[Any]], read: Callable[[bytes], Result], max_retries: int | None = None
    ) -> Result:
        """``read`` of the body that ``send`` gets, repeated while that may help.

        Args:
            send: one HTTP request through ``client``, not yet parsed.
            max_retries: instead of the settings'.

        Raises:
            EngineError: when it came to nothing: says what came last and what to do.
        """
        limit = self._settings.max_retries if max_retries is None else max_retries
        tries = 0
        while True:
            tries += 1
            outcome = await self._once(send, read)
            if not isinstance(outcome, Failure):
                self.spent.requests += 1
                return outcome
            if not outcome.again or tries > limit:
                break
            self.spent.retries += 1
            await asyncio.sleep(waiting_seconds(tries, outcome.wait))
        times = f" (tried {tries} times)" if tries > 1 else ""
        raise self.error(f"{outcome.said}{times}", outcome.remedy)

    async def _once(self, send: Callable[[], Awaitable[Any]], read: Callable[[bytes], Result]) -> Result | Failure:
        """A result, or a failure as a value: an exception would carry the request, and with it the key."""
        import aiohttp

        openai, seconds = self._openai, self._settings.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                body = _body(await send())
            return read(body)
        except GarbageError as error:
            return Failure(
                f"answered garbage: {self.shown(str(error))}; it began {self.shown(body[:2000])!r}",
                True,
                "see that base_url is a completions server for this model; set engine.logprobs to false if it "
                "gives no log-probabilities",
            )
        except TimeoutError:
            remedy = "raise engine.timeout_seconds or lower engine.concurrency"
            return Failure(f"did not answer within {seconds:g} s", True, remedy)
        except (openai.APIConnectionError, aiohttp.ClientError) as error:
            why = _first_cause(error)
            return Failure(
                f"broke the connection or took none: {type(why).__name__}: {self.shown(str(why))}",
                True,
                "start the server, or correct engine.base_url",
            )
        except openai.APIStatusError as error:
            return self._refused(error.status_code, error.response.headers, error.response.content)

    def _refused(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        said = f"answered HTTP {status}: {self.shown(body[:2000])!r}"
        variable = self._settings.api_key_variable
        if status in (401, 403):
            remedy = (
                f"put the right key into the environment variable {variable}"
                if self._key
                else f"the server wants a key: put it into the environment variable {variable}"
            )
            return Failure(said, False, remedy)
        if status in REPEATED_STATUSES or status >= 500:
            wait = retry_after(headers)
            if wait is not None and wait > LONGEST_RETRY_AFTER_SECONDS:
                return Failure(f"{said} and asks to wait {wait:,.0f} s", False, "run again later: nothing is repeated")
            return Failure(said, True, "see the server's log", wait)
        if status in (301, 302, 303, 307, 308, 404, 405):
            remedy = "correct engine.base_url (it usually ends with /v1) and engine.model"
            return Failure(said, False, remedy)
        return Failure(said, False, "see what the server says: it refuses the request, so it is not repeated")

    def shown(self, text: str | bytes) -> str:
        """A piece of an answer for people: without the key, on one line, shortened."""
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        if self._key:
            for form in (self._key, json.dumps(self._key)[1:-1]):
                text = text.replace(form, "[key]")
        text = " ".join(text.split())
        return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"

    def error(self, said: str, remedy: str) -> EngineError:
        """An error that names the server."""
        return EngineError(WHO, f"the server {self._settings.base_url} {said}", field="engine.base_url", remedy=remedy)

    def close(self) -> None:
        """Close the connections, the loop and its thread."""
        if self.loop.alive:
            self.loop.run(self.client.close())
            self.loop.close()


def waiting_seconds(tries: int, asked_for: float | None) -> float:
    """Seconds until the next try: what the server asks for and up to a tenth more, or doubling with jitter."""
    if asked_for is not None:
        return asked_for * (1.0 + 0.1 * random.random())
    wait = min(FIRST_WAIT_SECONDS * 2.0 ** min(tries - 1, 30), LONGEST_WAIT_SECONDS)
    return wait * (1.0 - 0.5 * random.random())


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110 §10.2.3: seconds, or a date), None without a valid one."""
    value = (headers.get("retry-after") or "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _body(answer: Any) -> bytes:
    """The body of a raw response of the package, or of a plain HTTP response."""
    return getattr(answer, "http_response", answer).content


def _first_cause(error: BaseException) -> BaseException:
    """What the chain of an error began with: the package calls a dropped connection a timeout."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _key(variable: str) -> str | None:
    """The key from the environment, None where there is none."""
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise EngineError(
            WHO,
            f"the environment variable {variable} holds characters that no key has",
            field="engine.api_key_variable",
            remedy="put the key alone into it",
        )
    return key or None


def _package() -> Any:
    try:
        import openai
    except ImportError:
        raise EngineError(WHO, "the openai package is not installed", remedy='pip install -e ".[openai]"') from None
    return openai


def _limits(concurrency: int) -> Any:
    """Connections of one client, at most, however many calls share it."""
    import httpx2

    return httpx2.Limits(
        max_connections=concurrency, max_keepalive_connections=concurrency, keepalive_expiry=KEEP_ALIVE_SECONDS
    )
