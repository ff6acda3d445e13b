"""Messages about failed runs arrive once, at a real HTTP server, and never fail anything nor write an address."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import dagster as dg
import pytest

from ops.gpu_ops import INTERRUPTED
from orchestration import notifications
from orchestration.endings import first_failure, reason_of, was_interrupted
from orchestration.notifications import NOTIFIED_TAG, notify_of, send
from orchestration.sensors import notify_of_failures, notify_of_successes

SECRET = "s3cret-token"


@pytest.fixture
def received() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a server of ours, and what it was sent."""
    messages: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if "refuse" in self.path else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"json://user:{SECRET}@127.0.0.1:{server.server_port}", messages
    server.shutdown()
    server.server_close()
    thread.join()


@dg.op
def breaks() -> None:
    raise dg.Failure(description="experiments/demo.yaml: model.path: found none", allow_retries=False)


@dg.op
def works() -> None:
    pass


@dg.op
def divides() -> None:
    try:
        raise ZeroDivisionError("no problems")
    except ZeroDivisionError as error:
        raise RuntimeError("while measuring") from error


@dg.op
def resumable() -> None:
    raise dg.Failure(description=INTERRUPTED, allow_retries=False)  # as a step on the GPU says it


@dg.op
def interrupted() -> None:
    raise KeyboardInterrupt  # Ctrl-C in a step on the CPU


@dg.job
def broken() -> None:
    divides()


@dg.job
def gives_up() -> None:
    resumable()


@dg.job
def stopped() -> None:
    interrupted()


@dg.job
def failing() -> None:
    breaks()


@dg.job
def working() -> None:
    works()


def _run(instance: dg.DagsterInstance, job: dg.JobDefinition) -> dg.ExecuteInProcessResult:
    tags = {"dagster/partition": "demo"}
    return job.execute_in_process(instance=instance, raise_on_error=False, tags=tags)


def _failure_tick(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> str:
    context = dg.build_run_status_sensor_context(
        "notify_of_failures", result.get_run_failure_event(), instance, result.dagster_run
    ).for_run_failure()
    return notify_of_failures(context).skip_message


@pytest.fixture
def instance(lab_home) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_a_failed_run_is_told_once_with_step_reason_and_remedy(instance, received, monkeypatch) -> None:
    address, messages = received
    monkeypatch.setenv("MINDGAP_NOTIFY", f"{address}/one\n{address}/two")
    result = _run(instance, failing)
    assert "told 2 of 2" in _failure_tick(instance, result)
    assert len(messages) == 2
    message = messages[0]
    assert message["title"] == "Mindgap: demo failed"
    assert "breaks: experiments/demo.yaml: model.path: found none" in message["message"]
    assert result.run_id in message["message"]
    assert "mindgap run demo" in message["message"]
    assert message["type"] == "failure"
    # `mindgap run` and the daemon see the same run: whoever comes second is silent.
    assert "already" in notify_of(instance, result.dagster_run, event="failure", reason="again")
    assert len(messages) == 2
    assert instance.get_run_by_id(result.run_id).tags[NOTIFIED_TAG] == result.run_id


def test_a_re_executed_run_is_told_of_although_it_has_its_parents_tags(instance, received, monkeypatch) -> None:
    address, messages = received
    monkeypatch.setenv("MINDGAP_NOTIFY", address)
    parent = _run(instance, failing)
    assert "told 1 of 1" in _failure_tick(instance, parent)
    copied = instance.get_run_by_id(parent.run_id).tags  # as Re-execute in the UI does
    assert NOTIFIED_TAG in copied
    again = failing.execute_in_process(instance=instance, raise_on_error=False, tags=copied)
    assert instance.get_run_by_id(again.run_id).tags[NOTIFIED_TAG] == parent.run_id
    assert "told 1 of 1" in _failure_tick(instance, again)
    assert "already" in _failure_tick(instance, again)
    assert [item["message"].splitlines()[1] for item in messages] == [f"run {parent.run_id}", f"run {again.run_id}"]


def test_what_nobody_took_is_tried_again_and_sent_once(instance, received, monkeypatch) -> None:
    address, messages = received
    result = _run(instance, failing)
    monkeypatch.setenv("MINDGAP_NOTIFY", f"json://user:{SECRET}@127.0.0.1:1")  # the network is down
    assert "told 0 of 1" in notify_of(instance, result.dagster_run, event="failure", reason="why")
    monkeypatch.setenv("MINDGAP_NOTIFY", address)
    assert "told 1 of 1" in _failure_tick(instance, result)
    assert "already" in _failure_tick(instance, result)
    assert len(messages) == 1


def test_two_who_see_the_end_at_once_send_one_message(instance, received, monkeypatch) -> None:
    address, messages = received
    monkeypatch.setenv("MINDGAP_NOTIFY", address)
    run = _run(instance, failing).dagster_run
    tell = lambda: notify_of(instance, run, event="failure", reason="why")  # noqa: E731
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda _: tell(), range(4)))
    assert sorted("told 1 of 1" in item for item in said) == [False, False, False, True]
    assert len(messages) == 1


def test_nothing_happens_without_the_variable(instance, monkeypatch) -> None:
    monkeypatch.delenv("MINDGAP_NOTIFY", raising=False)
    assert "not set" in _failure_tick(instance, _run(instance, failing))


def test_success_is_told_where_it_is_asked_for(instance, received, monkeypatch) -> None:
    address, messages = received
    monkeypatch.setenv("MINDGAP_NOTIFY", address)
    result = _run(instance, working)
    context = dg.build_run_status_sensor_context(
        "notify_of_successes", result.get_run_success_event(), instance, result.dagster_run
    )
    assert "does not ask" in notify_of_successes(context).skip_message
    monkeypatch.setenv("MINDGAP_NOTIFY_ON", "failure, success")
    assert "told 1 of 1" in notify_of_successes(context).skip_message
    assert messages[0]["title"] == "Mindgap: demo is done"


def test_an_interrupted_run_is_not_told(instance, received, monkeypatch) -> None:
    address, messages = received
    monkeypatch.setenv("MINDGAP_NOTIFY", address)
    for job in (gives_up, stopped):
        result = _run(instance, job)
        assert was_interrupted(instance, result.run_id)
        assert "interrupted" in reason_of(instance, result.run_id)
        assert "interrupted" in _failure_tick(instance, result)
        assert "interrupted" in notify_of(instance, result.dagster_run, event="failure", reason="whatever")
    assert messages == []
    assert not was_interrupted(instance, _run(instance, failing).run_id)


def test_an_interrupt_between_steps_is_not_told(instance, received, monkeypatch) -> None:
    from dagster._core.events import DagsterEventType, JobFailureData, RunFailureReason

    address, messages = received
    monkeypatch.setenv("MINDGAP_NOTIFY", address)
    for reason in RunFailureReason:
        run = instance.create_run_for_job(working)
        event = dg.DagsterEvent(
            DagsterEventType.RUN_FAILURE.value,
            working.name,
            message="Execution was interrupted unexpectedly.",
            event_specific_data=JobFailureData(None, failure_reason=reason),
        )
        instance.report_dagster_event(event, run.run_id)
        said = notify_of(instance, run, event="failure", reason="why")
        is_interrupt = reason == RunFailureReason.UNEXPECTED_TERMINATION
        assert ("nobody is told" in said) is is_interrupt, reason
    assert len(messages) == len(RunFailureReason) - 1


def test_the_command_and_the_daemon_name_the_same_cause(instance) -> None:
    for job in (failing, broken, gives_up, stopped):
        result = _run(instance, job)
        assert first_failure(result.all_events) == reason_of(instance, result.run_id)
    assert reason_of(instance, _run(instance, broken).run_id) == "divides: ZeroDivisionError: no problems"
    assert first_failure([]) == ""


@pytest.mark.parametrize("ending", ["/refuse", ""])
def test_what_cannot_be_delivered_warns_and_keeps_the_secret(received, monkeypatch, caplog, capfd, ending: str) -> None:
    address, _ = received
    gone = address if ending else f"json://user:{SECRET}@127.0.0.1:1"
    monkeypatch.setenv("MINDGAP_NOTIFY", f"{gone}{ending} nonsense://{SECRET} {SECRET}")
    with caplog.at_level(logging.DEBUG):
        assert send("title", "text", event="failure") == 0
    assert "no message sent to address 1 of MINDGAP_NOTIFY (json://...)" in caplog.text
    assert "no message sent to address 3: not an address" in caplog.text
    out, err = capfd.readouterr()
    assert SECRET not in caplog.text + out + err


def test_loggers_speak_again_afterwards(received, monkeypatch) -> None:
    monkeypatch.setenv("MINDGAP_NOTIFY", received[0])
    assert send("title", "text", event="failure") == 1
    assert not logging.getLogger("apprise").disabled
    assert not logging.getLogger("urllib3").disabled


def test_a_missing_library_is_named(received, monkeypatch, caplog) -> None:
    monkeypatch.setenv("MINDGAP_NOTIFY", received[0])
    monkeypatch.setattr(notifications, "find_spec", lambda name: None)
    assert send("title", "text", event="failure") == 0
    assert ".[notify]" in caplog.text


def test_a_wrong_event_is_left_out(monkeypatch, caplog) -> None:
    monkeypatch.setenv("MINDGAP_NOTIFY_ON", "success,always")
    assert notifications.wanted_events() == {"success"}
    assert "'always'" in caplog.text


def test_the_command_tells_of_its_own_run(write_experiment, received, monkeypatch) -> None:
    from orchestration.cli_run import execute
    from orchestration.instance import open_instance, prepare_environment
    from orchestration.partitions import add_partitions

    address, messages = received
    monkeypatch.setenv("MINDGAP_NOTIFY", address)
    write_experiment("tiny").write_text("name: tiny\n")  # broken after the check: the first step says so
    prepare_environment()
    with open_instance() as instance:
        add_partitions(instance, ["tiny"])
        result = execute(instance, "tiny")
        assert not result.success
        run = instance.get_run_by_id(result.run_id)
        assert "tiny.yaml" in reason_of(instance, result.run_id)
    assert len(messages) == 1
    assert "tiny.yaml" in messages[0]["message"]
    assert run.tags[NOTIFIED_TAG] == run.run_id
    assert run.tags["mindgap/experiment"] == "tiny"


def test_a_history_that_does_not_answer_fails_nothing(instance, received, monkeypatch, caplog) -> None:
    address, messages = received
    monkeypatch.setenv("MINDGAP_NOTIFY", address)
    run = _run(instance, failing).dagster_run

    def gone(*_: object) -> None:
        raise ConnectionError(SECRET)

    monkeypatch.setattr(instance, "add_run_tags", gone)
    assert "ConnectionError" in notify_of(instance, run, event="failure", reason="why")
    assert messages == [] and SECRET not in caplog.text
