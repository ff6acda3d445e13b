"""The keeper of a warm server: a small process that starts it, watches it and ends it, all of it.

Run as ``python -m ops.engines.server_keeper SLOT`` with a JSON object on standard input and the server's key in the
environment. It ends the server when it is asked to (SIGTERM), when the runs that wanted it are gone, or when no engine
was at work for ``idle_seconds``.

If the keeper itself is killed, its guard ends the server: a second process that waits at a pipe which the keeper holds
open, on every POSIX system. On Linux the kernel also sends the server SIGTERM (PR_SET_PDEATHSIG), so that it ends
where keeper and guard are killed together; elsewhere ``mindgap recover`` ends it then.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import Timeout

from ops.engines.server_records import FOLDER, Record, Slot, is_alive, mark_of, members, own_mark
from ops.storage.atomic import host_mark

TICK_SECONDS = 0.25
GRACE_SECONDS = 15.0
"""For the first process of a server after SIGTERM, at which vLLM ends its own processes."""
ORPHAN_SECONDS = 2.0
"""What the first process has left behind when it is gone is given so long."""
KILL_SECONDS = 60.0
"""A killed process may take a while to give its memory back."""
PR_SET_PDEATHSIG = 1
GUARD = "--guard"


def end_members(living: Callable[[], list[int]]) -> bool:
    """End a server: SIGTERM to its first process, which ends the others, then SIGKILL to whatever is left.

    Args:
        living: gives the processes of the server that are alive.

    Returns:
        Whether all are gone.
    """
    group = living()
    first = [pid for pid in group if _group(pid) == pid]
    _send(first, signal.SIGTERM)
    _wait(lambda: not set(first) & set(living()), GRACE_SECONDS)
    if _wait(lambda: not living(), ORPHAN_SECONDS):
        return True
    _send(living(), signal.SIGKILL)
    return _wait(lambda: not living(), KILL_SECONDS)


def _send(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _group(pid: int) -> int:
    """The process group of ``pid``; 0 where it is gone."""
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def _die_with(keeper: int) -> Callable[[], None]:
    """What the server's process does before it becomes the server."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != keeper:  # it died before the line above
            os._exit(1)

    return prepare


class Keeper:
    """One server from its start to its end."""

    def __init__(self, slot: Slot, wanted: dict[str, Any]) -> None:
        self._slot, self._wanted, self._asked = slot, wanted, False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _ask(self, number: int, frame: Any) -> None:
        self._asked = True

    def run(self) -> None:
        """Start the server, wait for a reason to end it, end it."""
        slot, wanted = self._slot, self._wanted
        guard = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "ops.engines.server_keeper", GUARD],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name != wanted["key_variable"]},
            start_new_session=True,
        )
        with contextlib.suppress(FileNotFoundError):
            slot.log.replace(slot.folder / "log.1")
        with slot.log.open("ab") as out:
            server = subprocess.Popen(  # noqa: S603
                wanted["command"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=slot.folder,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),
            )
        self._tell(guard, str(server.pid))
        started = time.time()
        api_key = os.environ[wanted["key_variable"]]
        named = {name: wanted[name] for name in ("key", "model", "path", "port")}
        mark = mark_of(server.pid) or f"{server.pid}-gone"
        record = Record(**named, api_key=api_key, keeper=own_mark(), server=mark, started=started)
        slot.write(record)
        slot.note("started", key=record.key, path=record.path, server=record.server)
        lock, reason = slot.lock(), "its keeper failed"
        try:
            reason = self._watch(server, lock)
        finally:
            all_gone = end_members(lambda: members(server.pid))
            server.poll()
            slot.note("ended", key=record.key, reason=reason, seconds=time.time() - started, all_gone=all_gone)
            if all_gone:
                self._tell(guard, "down")
            slot.forget(record)  # not before: whoever finds no record takes the GPUs for free
            lock.release()

    @staticmethod
    def _tell(guard: subprocess.Popen[bytes], what: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            if guard.stdin is not None:
                guard.stdin.write(f"{what}\n".encode())
                guard.stdin.flush()

    def _watch(self, server: subprocess.Popen[bytes], lock: Any) -> str:
        """Why the server has to end. The lock is held then, but where somebody asked, who holds it."""
        while True:
            if server.poll() is not None:
                return f"it ended by itself (exit status {server.returncode})"
            if self._asked:
                return "it was asked to"
            if self._over():
                with contextlib.suppress(Timeout):
                    lock.acquire(timeout=0)
                    why = self._over()  # somebody may have come just before the lock was ours
                    if why:
                        return why
                    lock.release()
            time.sleep(TICK_SECONDS)

    def _over(self) -> str | None:
        """Whether nobody wants the server any more."""
        slot = self._slot
        if self._wanted["owned"] and not slot.owners() and not slot.users():
            return "the runs that wanted it are gone"
        idle = self._wanted["idle_seconds"]
        if not slot.is_busy() and time.time() - slot.used_at() > idle:
            return f"no engine was at work for {idle:g} s"
        return None


def sweep_servers(home: Path) -> list[Path]:
    """End what dead keepers have left behind on this machine, and remove what is known of it.

    Returns:
        Removed files.
    """
    removed = []
    for folder in sorted((home / FOLDER).glob(f"{host_mark()}-*")):
        slot = Slot(folder)
        record = slot.record()
        if record is None or is_alive(record.keeper):
            continue
        with slot.locked():
            record = slot.record()
            if record is None or is_alive(record.keeper):
                continue
            end_members(record.members)
            slot.forget(record)
            slot.note("ended", key=record.key, reason="its keeper was gone (recover)")
            removed.append(folder / "server.json")
    return removed


def guard() -> None:
    """Wait for the keeper's word that the server is gone; end the server where the keeper dies without it."""
    group = sys.stdin.readline().strip()
    if group and sys.stdin.readline().strip() != "down":
        end_members(lambda: members(int(group)))


def main() -> None:
    """Keeper, or its guard."""
    if sys.argv[1:] == [GUARD]:
        guard()
    else:
        Keeper(Slot(Path(sys.argv[1])), json.load(sys.stdin)).run()


if __name__ == "__main__":
    main()
