"""What is known of the warm server of a set of GPUs: one folder under ``MINDGAP_HOME/servers``, read by everybody.

::

    servers/MACHINE-GPUS/           readable by its owner alone
        server.json                 the running server: address, key, processes; gone when it is
        log, log.1                  what the server wrote, and the one before it
        events.jsonl                every start and every end with its reason
        lock                        held while a server is started or ended
        users/PID-BIRTH-ID          an engine that is open; with .busy behind it, one that is at work
        owners/PID-BIRTH            a run's process: without any, the server ends

Nothing here imports torch: the keeper of a server lives as long as it does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import psutil
from filelock import FileLock

from ops.storage.atomic import atomic_file, exclusive, host_mark, process_birth

FOLDER = "servers"

OWNER_VARIABLE = "MINDGAP_RUN_PROCESS"
"""PID-BIRTH of the process that executes the run, for the steps' processes; empty where there is none (Kubernetes);
unset: the process that loads the engine is the run."""

DEVICES_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def mark_of(pid: int) -> str | None:
    """``PID-BIRTH`` of a living process, None of one that is gone."""
    birth = process_birth(pid)
    return None if birth is None else f"{pid}-{birth}"


def own_mark() -> str:
    """``PID-BIRTH`` of this process."""
    return f"{os.getpid()}-{process_birth(os.getpid())}"


def is_alive(mark: str) -> bool:
    """Whether the process of a ``PID-BIRTH`` is alive, and not another one of its pid."""
    pid, _, birth = mark.partition("-")
    return pid.isdigit() and process_birth(int(pid)) == birth


def owner_mark() -> str | None:
    """The run's process as its environment says it; None where no process stands for the whole run."""
    return os.environ.get(OWNER_VARIABLE, own_mark()) or None


@dataclass(frozen=True)
class Record:
    """A server that was started.

    Attributes:
        key: of checkpoint and settings: equal keys, equal servers.
        model: its name there.
        path: the checkpoint's folder.
        api_key: what requests have to carry.
        keeper, server: PID-BIRTH; the server is the leader of a process group that holds all its processes.
        started: Unix time.
    """

    key: str
    model: str
    path: str
    port: int
    api_key: str
    keeper: str
    server: str
    started: float

    @property
    def address(self) -> str:
        """Without a path: ``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_kept(self) -> bool:
        """Whether the server's process is alive and its keeper as well."""
        return is_alive(self.server) and is_alive(self.keeper)

    def members(self) -> list[int]:
        """Living processes of the server."""
        pid, _, birth = self.server.partition("-")
        now = process_birth(int(pid))
        own = str(process_birth(os.getpid()))
        if (now is not None and now != birth) or own.partition("t")[0] != birth.partition("t")[0]:
            return []  # the number belongs to somebody else by now, or the machine was started anew
        return members(int(pid))


def members(group: int) -> list[int]:
    """Living processes of a session that is a process group of its own. The unreaped dead do not count."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getpgid(pid) == group and os.getsid(pid) == group and process_birth(pid) is not None:
                found.append(pid)
    return found


@dataclass(frozen=True)
class Slot:
    """The place of the one server of a set of GPUs."""

    folder: Path

    @classmethod
    def here(cls) -> Slot:
        """That of this machine and of the GPUs which this process may use.

        Engine settings get no home, so it is read from ``MINDGAP_HOME``, which ``mindgap`` makes absolute for the
        steps' processes.
        """
        from ops.lab import home_folder  # not above: ops.lab imports the engines

        devices = [f"{name}={os.environ[name]}" for name in DEVICES_VARIABLES if name in os.environ]
        digest = hashlib.blake2b(" ".join(devices).encode(), digest_size=3).hexdigest() if devices else "all"
        return cls(home_folder() / FOLDER / f"{host_mark()}-{digest}")

    @property
    def log(self) -> Path:
        """What the server of now writes."""
        return self.folder / "log"

    def make(self) -> None:
        """Make the folders, for nobody else to read."""
        for folder in (self.folder.parent, self.folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("users", "owners"):
            (self.folder / name).mkdir(exist_ok=True)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Nobody else starts or ends a server meanwhile."""
        self.make()
        return exclusive(self.folder / "lock")

    def lock(self) -> FileLock:
        """The same lock, to be tried."""
        return FileLock(self.folder / "lock", is_singleton=False, fallback_to_soft=False)

    def record(self) -> Record | None:
        """What is known of the last server; None where there is none, or its file is not one of ours."""
        try:
            found = json.loads((self.folder / "server.json").read_text(encoding="utf-8"))
            return Record(**{field.name: found[field.name] for field in fields(Record)})
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def write(self, record: Record) -> None:
        """Make ``record`` known. Its file holds a key: nobody else may read it, at no moment."""
        with atomic_file(self.folder / "server.json") as staging:
            staging.touch(mode=0o600)
            staging.write_text(json.dumps(asdict(record)), encoding="utf-8")

    def forget(self, record: Record) -> None:
        """Remove ``record``, unless another one has taken its place."""
        if self.record() == record:
            (self.folder / "server.json").unlink(missing_ok=True)

    def note(self, what: str, **numbers: object) -> None:
        """Add a line to events.jsonl."""
        line = json.dumps({"time": time.time(), "event": what, **numbers}) + "\n"
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(line)

    def tail(self, characters: int, api_key: str) -> str:
        """The end of the server's log, without its key, should it ever stand there."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - characters))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return text.replace(api_key, "[key]") if api_key else text

    def add_owner(self, mark: str) -> None:
        """Let a run's process keep the server."""
        (self.folder / "owners" / mark).touch()

    def owners(self) -> list[str]:
        """Living runs' processes; the dead ones' files are removed."""
        return [path.name for path in self._living("owners")]

    def users(self) -> list[str]:
        """PID-BIRTH of the living process of every open engine, once for each; the dead ones' files are removed."""
        paths = [path for path in self._living("users") if path.suffix != ".busy"]
        return ["-".join(path.name.split("-")[:2]) for path in paths]

    def is_busy(self) -> bool:
        """Whether an engine of a living process is at work."""
        return any(path.suffix == ".busy" for path in self._living("users"))

    def used_at(self) -> float:
        """Unix time at which an engine last began, ended or was opened: the folder's own time says it."""
        return (self.folder / "users").stat().st_mtime

    def _living(self, name: str) -> Iterator[Path]:
        for path in sorted((self.folder / name).glob("*")):
            if is_alive("-".join(path.name.split("-")[:2]).removesuffix(".busy")):
                yield path
            else:
                path.unlink(missing_ok=True)


class Lease:
    """The file that says an engine is open, and the one that says it is at work."""

    def __init__(self, slot: Slot) -> None:
        slot.make()
        self._path = slot.folder / "users" / f"{own_mark()}-{uuid.uuid4().hex[:8]}"
        self._busy = self._path.with_suffix(".busy")
        self._depth = 0
        self._path.touch()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """The engine is at work meanwhile."""
        self._depth += 1
        self._busy.touch()
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self._busy.unlink(missing_ok=True)

    def end(self) -> None:
        """The engine is closed."""
        self._busy.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)
