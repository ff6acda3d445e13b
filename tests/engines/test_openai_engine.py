"""The OpenAI-compatible engine against a faulty server of our own: what is repeated, refused, counted and hidden."""

import asyncio
import itertools
import json
import logging
import math
import threading
import time
import traceback
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("openai")

from aiohttp import web

from ops.engines import openai_client
from ops.engines.base import SampleRequest, SamplingSettings
from ops.engines.openai_answers import Asked, Drawn, GarbageError, drawn, first_token
from ops.engines.openai_client import retry_after, waiting_seconds
from ops.engines.openai_served import served_from
from ops.engines.openai_settings import OpenaiSettings
from ops.errors import EngineError

KEY = "sk-secret-0123456789"
PROMPT = "<s> 10 8 6 -> 12 :"
GREEDY = SamplingSettings(0.0, 1.0, 4, (".",))


class FaultyServer:
    """A completions server whose answers a test chooses: ``faults[n]`` for the n-th completion request, then good."""

    def __init__(self, root, **card):
        self.card = {"id": "tiny", "owned_by": "vllm", "root": str(root), "max_model_len": 64, **card}
        self.faults = iter(())
        self.requests, self.headers = [], []
        self.inside = self.most_inside = self.cancelled = 0
        self.delay = 0.0
        self.token = 5
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def _run(self):
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._start())
        self._ready.set()
        self.loop.run_forever()
        self.loop.run_until_complete(self._runner.cleanup())
        self.loop.close()

    async def _start(self):
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/version", self._version)
        app.router.add_post("/v1/completions", self._completions)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)

    async def _models(self, request):
        if self.card.get("wants") and request.headers.get("Authorization") != f"Bearer {self.card['wants']}":
            said = f"Incorrect key {request.headers.get('Authorization')}"
            return web.json_response({"error": {"message": said}}, status=401)
        return web.json_response({"object": "list", "data": [self.card, *self.card.get("others", [])]})

    async def _version(self, request):
        if self.card["owned_by"] != "vllm":
            return web.Response(status=404)
        return web.json_response({"version": "0.32.0"})

    async def _completions(self, request):
        body = await request.json()
        self.requests.append(body)
        self.headers.append(request.headers)
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            fault = next(self.faults, None)
            if self.delay:
                await asyncio.sleep(self.delay)
            return await fault(self, request, body) if fault else web.json_response(self.answer(body, request))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.inside -= 1

    def answer(self, body, request):
        """What vLLM says when it draws the same token until the end, each with probability 1/2."""
        n = body["max_tokens"]
        top = {f"token_id:{token}": -1.5 for token in body.get("logprob_token_ids") or []}
        return {
            "id": f"cmpl-{request.headers['X-Request-Id']}",
            "choices": [
                {
                    "index": 0,
                    "text": "x",
                    "finish_reason": "length",
                    "stop_reason": None,
                    "token_ids": [self.token] * n,
                    "prompt_token_ids": body["prompt"],
                    "logprobs": {
                        "tokens": [f"token_id:{self.token}"] * n,
                        "token_logprobs": [math.log(0.5)] * n,
                        "top_logprobs": [{f"token_id:{self.token}": math.log(0.5), **top}] * n,
                    },
                }
            ],
            "usage": {"prompt_tokens": len(body["prompt"]), "completion_tokens": n},
        }


def status(code, text="broken", **headers):
    async def fault(server, request, body):
        return web.Response(status=code, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return fault


def says(change):
    """An answer that was good until ``change`` had it; a str or bytes is the whole body."""

    async def fault(server, request, body):
        good = server.answer(body, request)
        changed = change(good) if callable(change) else change
        if isinstance(changed, str | bytes):
            return web.Response(body=changed, content_type="application/json")
        return web.json_response(good)

    return fault


def choice(**fields):
    return says(lambda good: good["choices"][0].update(fields))


async def drop(server, request, body):
    request.transport.abort()
    return web.Response()


async def truncate(server, request, body):
    text = json.dumps(server.answer(body, request)).encode()
    response = web.StreamResponse(headers={"Content-Length": str(len(text)), "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(text[: len(text) // 2])
    request.transport.close()
    return response


async def hang(server, request, body):
    await asyncio.sleep(60)


async def drip(server, request, body):
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(600):
        await response.write(b" ")
        await asyncio.sleep(0.1)
    return response


async def not_http(server, request, body):
    request.transport.write(b"garbage that is no status line\r\n\r\n")
    request.transport.close()
    return web.Response()


@pytest.fixture
def server(tiny_model_folder):
    server = FaultyServer(tiny_model_folder)
    yield server
    server.close()


@pytest.fixture
def load(server, tiny_model_folder, monkeypatch):
    """Load the engine on the server, with the key in the environment and hardly any waiting."""
    monkeypatch.setattr(openai_client, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(openai_client, "LONGEST_WAIT_SECONDS", 0.05)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    engines = []

    def start(**fields):
        fields = {"base_url": server.url, "timeout_seconds": 10.0, "max_retries": 3, **fields}
        engines.append(OpenaiSettings(**fields).load(tiny_model_folder))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


def collect(engine, requests, sampling=GREEDY):
    found = {}
    for group in engine.sample(requests, sampling):
        for index, place, completion in group:
            assert (index, place) not in found
            found[index, place] = completion
    return found


def test_what_is_asked_and_what_comes_back(server, load):
    engine = load()
    assert (engine.name, engine.version) == ("openai", "vllm 0.32.0")
    found = collect(engine, [SampleRequest(PROMPT, (7, 2**62)), SampleRequest("<s> 1 2 :", (9,))])
    assert set(found) == {(0, 0), (0, 1), (1, 0)}
    one = found[0, 0]
    # Four tokens of probability 1/2: log 2^-4 = -2.7726.
    assert (one.n_tokens, one.finish_reason) == (4, "length") and one.logprob == pytest.approx(-2.7725887)
    assert one.text == engine._tokens.tokenizer.decode([5] * 4)
    asked = sorted(server.requests, key=lambda body: body["seed"])
    assert [body["seed"] for body in asked] == [7, 9, 2**62]
    assert asked[0]["prompt"] == engine._tokens.ids([PROMPT])[0]  # ids: nothing is left for the server to add
    plain = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "temperature": 0.0, "top_p": 1.0, "logprobs": 0}
    assert plain.items() <= asked[0].items()
    assert engine._tokens.single_token(".") in asked[0]["stop_token_ids"] and "stop" not in asked[0]
    used = engine.usage()
    assert used["prompt_tokens"] == sum(len(body["prompt"]) for body in asked) and used["completion_tokens"] == 12
    assert used["retries"] == 0 and "cost" not in used


def test_stops_end_a_response(server, load):
    engine = load()
    dot, plus = engine._tokens.single_token("."), engine._tokens.single_token("+")
    ends = {"token_ids": [plus, dot], "logprobs": {"token_logprobs": [-1.0, -0.25]}, "finish_reason": "stop"}
    text = {"token_ids": [5, plus, 5], "logprobs": {"token_logprobs": [-1.0, -0.5, -8.0]}, "finish_reason": "stop"}
    server.faults = iter([choice(**ends), choice(**text)])
    by_id = collect(engine, [SampleRequest(PROMPT, (0,))])[0, 0]
    assert by_id.text == "+" and (by_id.n_tokens, by_id.logprob, by_id.finish_reason) == (2, -1.25, "stop")
    word = engine._tokens.tokenizer.decode([5])
    sampling = SamplingSettings(0.0, 1.0, 4, (f"{word} +",))
    by_text = collect(engine, [SampleRequest(PROMPT, (0,))], sampling)[0, 0]
    assert server.requests[-1]["stop"] == [f"{word} +"]
    assert by_text.text == "" and (by_text.n_tokens, by_text.logprob, by_text.finish_reason) == (2, -1.5, "stop")


PASSING = {
    "dropped": drop,
    "truncated": truncate,
    "no http": not_http,
    "500": status(500),
    "503": status(503),
    "408": status(408),
    "429": status(429),
    "empty": says(""),
    "html": says("<html>bad gateway</html>"),
    "half of it": says('{"choices": [{"text": "x"'),
    "a list": says("[]"),
    "null": says("null"),
    "deep": says("[" * 5000),
    "no utf-8": says(b'{"choices": "\xff"}'),
    "nan": says(lambda good: json.dumps(good).replace("-0.69", "NaN, -0.69")),
    "no choices": says(lambda good: good.pop("choices") and None),
    "two choices": says(lambda good: good["choices"].append(good["choices"][0])),
    "text is a number": choice(text=3),
    "unknown end": choice(finish_reason="content_filter"),
    "no end": choice(finish_reason=None),
    "no logprobs": choice(logprobs=None),
    "fewer logprobs": choice(logprobs={"token_logprobs": [-1.0]}),
    "a null logprob": choice(logprobs={"token_logprobs": [None] * 4}),
    "a probability of e": choice(logprobs={"token_logprobs": [1.0] * 4}),
    "negative ids": choice(token_ids=[-1] * 4),
    "no tokens": choice(token_ids=[]),
    "too many": choice(token_ids=[5] * 5, logprobs={"token_logprobs": [-1.0] * 5}),
    "cut too early": choice(token_ids=[5], logprobs={"token_logprobs": [-1.0]}),
    "another prompt": choice(prompt_token_ids=[1, 2]),
    "another answer": says(lambda good: good.update(id="cmpl-mindgap-" + "0" * 64)),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_may_pass_is_asked_again_with_the_same_key(server, load, fault):
    engine = load(max_retries=2)
    server.faults = iter([PASSING[fault], PASSING[fault]])
    found = collect(engine, [SampleRequest(PROMPT, (3,))])
    assert found[0, 0].logprob == pytest.approx(-2.7725887) and len(server.requests) == 3
    keys = {headers[name] for headers in server.headers for name in ("Idempotency-Key", "X-Request-Id")}
    assert len(keys) == 1 and len(next(iter(keys))) > 64
    assert engine.usage()["retries"] == 2 and engine.usage()["completion_tokens"] == 4


@pytest.mark.parametrize("fault", [hang, drip])
def test_a_slow_answer_is_asked_for_again(server, load, fault):
    engine = load(timeout_seconds=2.0)  # also for the good answers: a busy machine must not fail them
    server.faults = iter([fault])
    start = time.monotonic()
    assert len(collect(engine, [SampleRequest(PROMPT, (3,))])) == 1
    assert 2.0 <= time.monotonic() - start < 30
    assert engine.usage()["retries"] == 1 and len(server.requests) == 2


@pytest.mark.parametrize("fault", ["dropped", "no http", "500", "429", "html", "no logprobs"])
def test_what_never_passes_ends_with_an_error(server, load, fault):
    engine = load(max_retries=2)
    server.faults = itertools.repeat(PASSING[fault])
    with pytest.raises(EngineError, match=r"tried 3 times") as caught:
        collect(engine, [SampleRequest(PROMPT, (3,))])
    assert server.url in str(caught.value) and "remedy" in str(caught.value)
    assert len(server.requests) == 3


def test_a_server_that_never_answers_ends_with_an_error(server, load):
    engine = load(timeout_seconds=2.0, max_retries=1)
    server.faults = itertools.repeat(hang)
    start = time.monotonic()
    with pytest.raises(EngineError, match=r"did not answer within 2 s \(tried 2 times\)"):
        collect(engine, [SampleRequest(PROMPT, tuple(range(20)))])
    assert time.monotonic() - start < 30  # one after another, or as long as the server hangs, would be longer


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 413, 422])
def test_what_is_refused_is_not_asked_again(server, load, code):
    engine = load()
    server.faults = itertools.repeat(status(code, "no such thing"))
    with pytest.raises(EngineError, match=f"HTTP {code}.*no such thing"):
        collect(engine, [SampleRequest(PROMPT, (3,))])
    assert len(server.requests) == 1


def test_retry_after_is_honoured(server, load):
    engine = load()
    server.faults = iter([status(429, Retry_After="1")])
    start = time.monotonic()
    assert len(collect(engine, [SampleRequest(PROMPT, (3,))])) == 1
    assert time.monotonic() - start >= 1.0
    server.faults = itertools.repeat(status(429, Retry_After="86400"))
    with pytest.raises(EngineError, match=r"HTTP 429.*asks to wait 86,400 s"):
        collect(engine, [SampleRequest(PROMPT, (3,))])


def test_waiting():
    assert [retry_after({"retry-after": text}) for text in ("7", "0", "soon", "")] == [7.0, 0.0, None, None]
    assert retry_after({}) is None
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0  # a date that has passed
    for tries, most in ((1, 0.5), (2, 1.0), (3, 2.0), (20, 30.0), (2000, 30.0)):
        assert most / 2 <= waiting_seconds(tries, None) <= most
    assert 5.0 <= waiting_seconds(1, 5.0) <= 5.5


def test_results_before_an_error_are_kept(server, load):
    engine = load(concurrency=1)
    server.faults = iter([None, None, status(400)])
    found = []
    with pytest.raises(EngineError, match="HTTP 400"):
        for group in engine.sample([SampleRequest(PROMPT, (0, 1, 2, 3))], GREEDY):
            found += group
    assert [place for _, place, _ in found] == [0, 1]


def test_a_repeated_answer_counts_once(server, load):
    """The server writes every answer twice on the same connection; the second must not answer the next request."""

    async def twice(server, request, body):
        text = json.dumps(server.answer(body, request)).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(text)
        request.transport.write((head + text) * 2)
        await asyncio.sleep(0.01)
        request.transport.close()
        return web.Response()

    engine = load(concurrency=2, max_retries=20)
    server.faults = itertools.cycle([twice, None])
    prompts = [f"<s> {i} 2 :" for i in range(8)]
    found = collect(engine, [SampleRequest(prompt, (1, 2, 3)) for prompt in prompts])
    assert len(found) == 24 and engine.usage()["completion_tokens"] == 24 * 4


def test_requests_in_flight_are_bounded(server, load):
    server.delay = 0.02
    engine = load(concurrency=5)
    streams = [engine.sample([SampleRequest(PROMPT, tuple(range(30)))], GREEDY) for _ in range(2)]
    for groups in itertools.zip_longest(*streams):  # two calls at once share the connections
        assert any(groups)
    assert server.most_inside == 5


def test_requests_are_read_as_they_are_needed(server, load, monkeypatch):
    engine, read = load(concurrency=4), 0

    def requests():
        nonlocal read
        for i in range(300):
            read += 1
            yield SampleRequest(PROMPT, (i,))

    monkeypatch.setattr(engine._server.loop.stream.__func__, "__defaults__", (20,))
    stream, taken = engine.sample(requests(), GREEDY), 0
    for group in stream:
        taken += len(group)
        assert read <= taken + 20
    assert taken == 300


def test_an_early_end_cancels_what_is_in_flight(server, load):
    engine = load(concurrency=8)

    async def when_all_are_in(server, request, body):
        while server.inside < 8:
            await asyncio.sleep(0.01)
        return web.json_response(server.answer(body, request))

    server.faults = iter([when_all_are_in, *[hang] * 7])
    stream = engine.sample([SampleRequest(PROMPT, tuple(range(8)))], GREEDY)
    assert sum(1 for _ in next(stream)) == 1
    stream.close()
    deadline = time.monotonic() + 5
    while server.inside and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.inside == 0 and server.cancelled == 7
    assert len(collect(engine, [SampleRequest(PROMPT, (0,))])) == 1  # the engine goes on


def test_closing_the_engine_ends_a_stream_and_the_thread(server, load):
    engine = load(concurrency=2)
    server.faults = iter([None, *[hang] * 8])
    stream = engine.sample([SampleRequest(PROMPT, tuple(range(4)))], GREEDY)
    next(stream)
    name = f"engine openai {server.url}"
    assert name in {thread.name for thread in threading.enumerate()}
    engine.close()
    engine.close()
    assert name not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(EngineError, match="is closed"):
        next(stream)
    with pytest.raises(EngineError, match="is closed"):
        collect(engine, [SampleRequest(PROMPT, (0,))])


def test_keys_of_samples(server, load, tiny_model_folder):
    """The same over runs; another prompt, seed or setting is another key."""
    request = [SampleRequest(PROMPT, (1, 2)), SampleRequest("<s> 1 2 :", (1,))]
    collect(load(), request)
    first = {headers["Idempotency-Key"] for headers in server.headers}
    collect(load(concurrency=1, timeout_seconds=5.0), request)
    assert {headers["Idempotency-Key"] for headers in server.headers} == first and len(first) == 3
    collect(load(), request, SamplingSettings(1.0, 0.9, 4, (".",)))
    assert len({headers["Idempotency-Key"] for headers in server.headers}) == 6


def test_choices(server, load):
    engine = load()
    found = engine.choice_logprobs([PROMPT, "<s> 1 2 :", PROMPT], ["yes", "no"])
    assert found.shape == (3, 2) and np.all(found == -1.5)
    assert len(server.requests) == 2  # equal prompts are asked once
    assert server.requests[0]["logprob_token_ids"] == [engine._tokens.single_token(word) for word in ("yes", "no")]
    assert engine.choice_logprobs([], ["yes"]).shape == (0, 1)
    # vLLM's word for minus infinity, and a choice that is not there.
    yes = engine._tokens.single_token("yes")
    server.faults = iter([choice(logprobs={"top_logprobs": [{f"token_id:{yes}": -9999.0}]})])
    one = engine.choice_logprobs([PROMPT], ["yes", "no"])
    assert one[0, 0] == -np.inf and np.isnan(one[0, 1]) and engine.usage()["choices_missing"] == 1
    with pytest.raises(EngineError, match="tokens of this model"):
        engine.choice_logprobs([PROMPT], ["yes no"])


def test_a_server_that_is_not_vllm(server, load):
    """No token ids: the server's text, count and log-probabilities; choices among the most probable tokens."""
    server.card |= {"owned_by": "somebody", "root": None}
    engine = load(model="tiny")
    assert engine.version == "openai-compatible somebody (checkpoint not compared)"
    plain = {"text": "3 + 5. and more", "finish_reason": "stop", "token_ids": None, "prompt_token_ids": None}
    three = {"tokens": ["3", "+", "5"], "token_logprobs": [-1.0, -2.0, -3.0], "top_logprobs": None}
    three_tokens = {"completion_tokens": 3}
    server.faults = iter(
        [
            says(lambda good: good["choices"][0].update(plain, logprobs=three) or good["usage"].update(three_tokens)),
            choice(**plain, logprobs=three),
            choice(logprobs={"top_logprobs": [{"yes": -0.5, " no": -2.0}]}),
        ]
    )
    one = collect(engine, [SampleRequest(PROMPT, (0,))])[0, 0]
    assert (one.text, one.n_tokens, one.logprob, one.finish_reason) == ("3 + 5", 3, -6.0, "stop")
    assert server.requests[-1]["stop"] == ["."] and not {"top_k", "stop_token_ids"} & set(server.requests[-1])
    # Four tokens drawn, three log-probabilities: their sum is not that of the response.
    assert math.isnan(collect(engine, [SampleRequest(PROMPT, (0,))])[0, 0].logprob)
    assert engine.usage()["logprobs_unknown"] == 1
    found = engine.choice_logprobs([PROMPT], ["yes", "no"])
    assert found[0, 0] == -0.5 and np.isnan(found[0, 1])


def test_a_server_without_log_probabilities(server, load):
    engine = load(logprobs=False)
    server.faults = iter([choice(logprobs=None)])
    one = collect(engine, [SampleRequest(PROMPT, (0,))])[0, 0]
    assert math.isnan(one.logprob) and one.n_tokens == 4 and "logprobs" not in server.requests[0]
    with pytest.raises(EngineError, match=r"engine.logprobs"):
        engine.choice_logprobs([PROMPT], ["yes"])


def test_no_distributions(load):
    engine = load()
    assert not OpenaiSettings(base_url="http://127.0.0.1/v1").reads_distributions
    with pytest.raises(EngineError, match="remedy"):
        engine.token_statistics([PROMPT], ["x"])


def test_what_fits(load):
    engine = load(max_model_len=20)  # lower than the server's 64
    tokens = len(engine._tokens.ids([PROMPT])[0])
    assert [fit.fits for fit in engine.fits([PROMPT], 20 - tokens) + engine.fits([PROMPT], 21 - tokens)] == [
        True,
        False,
    ]
    assert engine.fits([PROMPT])[0].new_tokens == 1
    with pytest.raises(EngineError, match=r"do(es)? not fit"):
        collect(engine, [SampleRequest(PROMPT, (0,))], SamplingSettings(1.0, 1.0, 40))


def test_cost(load):
    engine = load(price_per_million_input_tokens=2.0, price_per_million_output_tokens=10.0)
    collect(engine, [SampleRequest("<s> 1 2 :", (0, 1))])
    # 2 requests of 4 prompt tokens and 4 new ones: (8 × 2 + 8 × 10) / 10^6.
    assert engine.usage()["cost"] == pytest.approx(96e-6)


def test_nothing_answers(load):
    with pytest.raises(EngineError, match=r"127.0.0.1:9/v1 broke the connection or took none.*tried 3") as caught:
        load(base_url="http://127.0.0.1:9/v1")
    assert "start the server" in str(caught.value)


def test_the_wrong_checkpoint_or_model(server, load, tmp_path):
    with pytest.raises(EngineError, match=r"serves 'tiny', not 'huge'"):
        load(model="huge")
    with pytest.raises(EngineError, match=r"(?s)HTTP 404.*usually ends with /v1"):
        load(base_url=server.url + "/v2")
    server.card["root"] = str(tmp_path)
    with pytest.raises(EngineError, match=f"from '{tmp_path}'.*(?s:.*)served_path"):
        load()
    load(served_path=str(tmp_path))
    server.card |= {"root": None, "others": [{"id": "second"}]}
    with pytest.raises(EngineError, match=r"(?s)serves 'second', 'tiny'.*engine.model"):
        load()
    load(model="tiny")


def test_a_server_that_does_not_say_its_checkpoint_is_believed_on_the_users_word_only(server, load):
    assert load(model="tiny").version == "vllm 0.32.0"  # it says, and is compared
    server.card["root"] = None
    for fields in ({}, {"model": "tiny", "served_path": "/there"}):
        with pytest.raises(EngineError, match=r"(?s)does not say from which checkpoint.*remedy: .*engine.model: tiny"):
            load(**fields)
    assert load(model="tiny").version == "vllm 0.32.0 (checkpoint not compared)"


def test_served_from(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert served_from(str(tmp_path / "link"), tmp_path, None) and served_from("x", tmp_path, "x")
    assert not served_from(str(tmp_path / "other"), tmp_path, None) and not served_from(str(tmp_path), tmp_path, "x")
    snapshot = tmp_path / "models--Owner--Name" / "snapshots" / "0123"
    assert served_from("Owner/Name", snapshot, None) and not served_from("Owner/Other", snapshot, None)


def test_the_key_is_the_environments_and_shown_nowhere(server, load, caplog, monkeypatch):
    """Sent to the server, and in no log, error, traceback or repr; also where the server says it back."""
    caplog.set_level(logging.DEBUG)
    server.card["wants"] = KEY
    engine = load()
    collect(engine, [SampleRequest(PROMPT, (0,))])
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    server.faults = iter(
        [status(400, "x" * 190 + KEY), says(KEY), choice(text=KEY, finish_reason=KEY), status(500, KEY)]
    )
    texts = [repr(engine), repr(engine._settings), str(vars(engine._settings)), engine._settings.model_dump_json()]
    for _ in range(2):
        with pytest.raises(EngineError) as caught:
            collect(load(max_retries=0), [SampleRequest(PROMPT, (0,))])
        texts += ["".join(traceback.format_exception(caught.value)), repr(caught.value), str(caught.value)]
        assert caught.value.__cause__ is None and caught.value.__context__ is None
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "wrong")
    with pytest.raises(EngineError, match=r"(?s)HTTP 401.*\[key\].*OPENAI_API_KEY") as caught:
        load()
    texts += [str(caught.value)]
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(EngineError, match=r"(?s)wants a key.*OPENAI_API_KEY"):
        load()
    assert KEY[:12] not in "\n".join(texts) + caplog.text


def test_another_variable_and_no_key_at_all(server, load, monkeypatch):
    monkeypatch.setenv("MY_KEY", "abc")
    collect(load(api_key_variable="MY_KEY"), [SampleRequest(PROMPT, (0,))])
    assert server.headers[-1]["Authorization"] == "Bearer abc"
    collect(load(api_key_variable="NO_KEY"), [SampleRequest(PROMPT, (0,))])
    assert "Authorization" not in server.headers[-1]  # and not the key in OPENAI_API_KEY
    monkeypatch.setenv("MY_KEY", "a\nb")
    with pytest.raises(EngineError, match="MY_KEY holds characters"):
        load(api_key_variable="MY_KEY")


@pytest.mark.parametrize(
    "fields",
    [
        {"base_url": "127.0.0.1:8000/v1"},
        {"base_url": "ftp://127.0.0.1/v1"},
        {"base_url": f"http://user:{KEY}@127.0.0.1/v1"},
        {"base_url": f"http://127.0.0.1/v1?key={KEY}"},
        {"api_key_variable": KEY},
        {"price_per_million_input_tokens": 1.0},
        {"concurrency": 0},
        {"api_key": KEY},
    ],
)
def test_settings_that_cannot_be(fields):
    with pytest.raises(ValueError) as caught:
        OpenaiSettings(**{"base_url": "http://127.0.0.1:8000/v1", **fields})
    assert KEY not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PLACES = [(), ("id",), ("choices",), ("choices", 0), ("usage",), ("usage", "completion_tokens")] + [
    ("choices", 0, name)
    for name in ("text", "finish_reason", "stop_reason", "token_ids", "prompt_token_ids", "logprobs")
]
PLACES += [("choices", 0, "logprobs", name) for name in ("tokens", "token_logprobs", "top_logprobs")]


@settings(max_examples=400, deadline=None)
@given(place=st.sampled_from(PLACES), value=JSON, logprobs=st.booleans(), second=st.sampled_from(PLACES), other=JSON)
def test_any_json_is_a_completion_or_garbage(place, value, logprobs, second, other):
    body = {
        "id": "x",
        "choices": [
            {
                "text": "x",
                "finish_reason": "stop",
                "stop_reason": None,
                "token_ids": [5, 6],
                "prompt_token_ids": [1],
                "logprobs": {"tokens": ["a", "b"], "token_logprobs": [-1.0, -2.0], "top_logprobs": [{"a": -1.0}]},
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    for at, what in ((place, value), (second, other)):
        body = put(body, at, what)
    asked = Asked("mindgap-0", (1,), 2, logprobs, (6,))
    try:
        found = drawn(json.dumps(body).encode(), asked)
    except GarbageError:
        pass
    else:
        assert isinstance(found, Drawn) and isinstance(found.text, str) and 0 <= found.n_tokens <= 2
        assert found.finish_reason in ("stop", "length")
        assert math.isnan(found.logprob) or (logprobs and found.logprob <= 0.02)
        assert found.row is None or (len(found.row.ids) == found.n_tokens == len(found.row.running_logprob))
    try:
        first = first_token(json.dumps(body).encode(), asked)
    except GarbageError:
        pass
    else:
        assert all(value <= 0.01 for value in first.by_token.values())


def put(body, place, value):
    """``body`` with ``value`` at ``place``; unchanged where there is no such place any more."""
    if not place:
        return value
    inside = body
    for name in place[:-1]:
        try:
            inside = inside[name]
        except (TypeError, KeyError, IndexError):
            return body
    if isinstance(inside, dict) or (isinstance(inside, list) and inside and place[-1] == 0):
        inside[place[-1]] = value
    return body


@given(body=st.binary(max_size=60))
def test_any_bytes_are_garbage(body):
    with pytest.raises(GarbageError):
        drawn(body, Asked("mindgap-0", (1,), 2, True))


def test_all_faults_at_once(server, load):
    """Four hundred samples over a server that fails one request in two, in every way: each comes exactly once."""
    engine = load(concurrency=32, max_retries=50)
    faults = [fault for name, fault in PASSING.items() if name != "deep"]
    server.faults = itertools.cycle([item for fault in faults for item in (fault, None)])
    requests = [SampleRequest(f"<s> {i} 2 :", tuple(range(20))) for i in range(20)]
    found = collect(engine, requests)
    assert len(found) == 400 and all(one.n_tokens == 4 for one in found.values())
    counts = Counter(headers["Idempotency-Key"] for headers in server.headers)
    assert len(counts) == 400 and sum(counts.values()) == 400 + engine.usage()["retries"]
