"""Find the warm server of a checkpoint, or start it: one on the GPUs at a time, by one process at a time."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

import ops
from ops.engines.server_records import Record, Slot, is_alive, own_mark, owner_mark
from ops.engines.server_settings import VllmServerSettings
from ops.engines.server_wanted import WHO, Wanted
from ops.engines.settings import LOADING_PROGRESS
from ops.errors import EngineError

KEY_VARIABLE = "VLLM_API_KEY"
SICK_SECONDS = 30.0
"""A server whose process lives and which has not said for so long that it is well is started again."""
STOP_SECONDS = 120.0
KEEPERS: list[subprocess.Popen[bytes]] = []
"""Started by this process; kept, so that Python does not complain that they still run."""


def ensure(slot: Slot, wanted: Wanted, settings: VllmServerSettings) -> tuple[Record, bool]:
    """The healthy server that is wanted, and whether it had to be started.

    Only one process at a time is in here for one slot. Another server there is stopped first, once no engine of
    another process is open with it.

    Raises:
        EngineError: when the server does not start (with the end of its log), or another one stays in use.
    """
    with slot.locked():
        owner = owner_mark()
        if owner is not None:
            slot.add_owner(owner)
        record = slot.record()
        if record is not None and record.key == wanted.key and is_well(record):
            return record, False
        if record is not None:
            in_the_way = record.key != wanted.key and record.is_kept
            if in_the_way:
                wait_for_users(slot, record, settings.startup_timeout_seconds)
            stop(slot, record)
        return _start(slot, wanted, settings, owner), True


def is_well(record: Record) -> bool:
    """Whether the server answers, given a while where it only is slow to."""
    end = time.monotonic() + SICK_SECONDS
    while record.is_kept and time.monotonic() < end:
        found = answers(record)
        if found is not None:
            return found
        time.sleep(0.5)
    return False


def answers(record: Record) -> bool | None:
    """Whether the server at its address is well and ours; None where it does not answer in time."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback needs no proxy
    try:
        opener.open(f"{record.address}/health", timeout=5).close()
        asked = urllib.request.Request(  # noqa: S310
            f"{record.address}/v1/models", headers={"Authorization": f"Bearer {record.api_key}"}
        )
        with opener.open(asked, timeout=5) as answer:
            return any(card["id"] == record.model for card in json.load(answer)["data"])
    except urllib.error.HTTPError:
        return False
    except urllib.error.URLError as error:
        return None if isinstance(error.reason, TimeoutError) else False
    except TimeoutError:
        return None
    except (OSError, ValueError, KeyError):
        return False


def wait_for_users(slot: Slot, record: Record, seconds: float) -> None:
    """Wait until no engine of another process is open with the server of ``slot``.

    Raises:
        EngineError: when one still is after ``seconds``, or one of this process is.
    """
    end = time.monotonic() + seconds
    while True:
        users = slot.users()
        others = sorted({mark.partition("-")[0] for mark in users if mark != own_mark()})
        ours = users.count(own_mark())
        if not others and ours <= 1:  # the one that waits here
            return
        if not others or time.monotonic() > end:
            who = f"process {', '.join(others)}" if others else "this process"
            raise EngineError(
                WHO,
                f"the GPUs hold the server of {record.path}, and an engine of {who} is open with it",
                remedy="wait for the other run, or give each run GPUs of its own (CUDA_VISIBLE_DEVICES)"
                if others
                else "close it first",
            )
        waited = int(seconds - (end - time.monotonic()))
        shown = {"used by process": ", ".join(others)}
        LOADING_PROGRESS.get()("waiting for the vLLM server's GPUs", waited, int(seconds), shown)
        time.sleep(0.25)


def stop(slot: Slot, record: Record) -> None:
    """End a server and wait until all of it is gone. The caller holds the lock.

    Raises:
        EngineError: when something of it stays.
    """
    from ops.engines.server_keeper import end_members

    pid = int(record.keeper.partition("-")[0])
    if is_alive(record.keeper):
        os.kill(pid, 15)
        end = time.monotonic() + STOP_SECONDS
        while is_alive(record.keeper) and time.monotonic() < end:
            time.sleep(0.02)
    if is_alive(record.keeper):
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
    if not end_members(record.members):
        raise EngineError(
            WHO,
            f"the server of {record.path} cannot be ended: {record.members()}",
            remedy="its processes hang in the GPU's driver: see dmesg, restart the machine",
        )
    slot.forget(record)


def release(slot: Slot, seconds: float, *, wait: bool) -> None:
    """Stop the server of ``slot``; with ``wait`` once nobody uses it, without only if nobody does.

    Raises:
        EngineError: when an engine is open with it after ``seconds``.
    """
    if slot.record() is None:
        return
    with slot.locked():
        record = slot.record()
        if record is None or (not wait and slot.users()):
            return
        if record.is_kept and slot.users():
            wait_for_users(slot, record, seconds)
        stop(slot, record)


def _start(slot: Slot, wanted: Wanted, settings: VllmServerSettings, owner: str | None) -> Record:
    port, api_key = _free_port(), secrets.token_urlsafe(32)
    command, environment = wanted.command(port)
    told = {
        "command": command,
        "key": wanted.key,
        "model": wanted.model,
        "path": str(wanted.path),
        "port": port,
        "key_variable": KEY_VARIABLE,
        "owned": owner is not None,
        "idle_seconds": settings.idle_seconds,
    }
    with (slot.folder / "keeper.log").open("ab") as out:
        keeper = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "ops.engines.server_keeper", str(slot.folder)],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            cwd=Path(ops.__file__).parent.parent,
            env={**environment, KEY_VARIABLE: api_key},
            start_new_session=True,  # it outlives this step, and Ctrl-C is not for it
        )
    KEEPERS.append(keeper)
    with contextlib.suppress(BrokenPipeError):
        if keeper.stdin is not None:
            keeper.stdin.write(json.dumps(told).encode())
            keeper.stdin.close()
    try:
        return _wait(slot, wanted, settings.startup_timeout_seconds, keeper, api_key)
    except BaseException:  # also Ctrl-C: a server that is half started is nobody's
        keeper.terminate()
        keeper.wait(STOP_SECONDS)
        raise


def _wait(slot: Slot, wanted: Wanted, seconds: float, keeper: subprocess.Popen[bytes], api_key: str) -> Record:
    """Wait until the keeper's server answers."""
    start = time.monotonic()
    while keeper.poll() is None:
        record = slot.record()
        if record is not None and record.api_key == api_key and answers(record):
            return record
        now = time.monotonic()
        if now - start > seconds:
            raise failed(
                slot,
                f"the server of {wanted.path} was not ready after {seconds:g} s",
                "raise engine.startup_timeout_seconds, or see what it waits for",
                api_key,
            )
        last = slot.tail(500, api_key).strip().rpartition("\n")[2]
        LOADING_PROGRESS.get()("starting the vLLM server", int(now - start), int(seconds), {"log:": last[-120:]})
        time.sleep(0.1)
    remedy = "see the log; mend the engine's settings, or take engine transformers for this model"
    raise failed(slot, f"the server of {wanted.path} did not start", remedy, api_key)


def failed(slot: Slot, problem: str, remedy: str, api_key: str = "") -> EngineError:
    """An error with the end of the server's log."""
    tail = slot.tail(3000, api_key).strip() or "(empty)"
    return EngineError(WHO, f"{problem}; the end of its log:\n{tail}", remedy=f"{remedy}\n  log: {slot.log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
