"""Reaching a Ray cluster, or starting one for this process, and ending what was started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.engines import ray_guard
from ops.engines.ray_settings import RaySettings
from ops.engines.tokens import first_line
from ops.errors import EngineError

WHO = "engine ray"
PROJECT = Path(__file__).resolve().parent.parent.parent
OBJECT_STORE_BYTES = 512 << 20
"""Of a Ray of our own. What goes through it are prompts and responses on their way, not the model."""

SOCKET_ROOM = 16
"""Characters of a folder in which Ray can make its sockets: their whole path may have 107, and Ray needs the rest."""

REACH_SECONDS = 10

LOCAL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's switch for "no cluster of machines": every server then listens on loopback only.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
REMOTE = {"RAY_USAGE_STATS_ENABLED": "0"}


@dataclass
class _Joined:
    """The Ray that this process is connected to, and how many engines use it."""

    engines: int = 0
    ours: bool = False
    guard: subprocess.Popen[bytes] | None = None


_joined = _Joined()


def import_ray(local: bool = True) -> Any:
    """The package ray.

    Raises:
        EngineError: when it is not installed.
    """
    for name, value in (LOCAL if local else REMOTE).items():
        os.environ.setdefault(name, value)
    try:
        with _sigterm_kept():
            import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise EngineError(
            WHO,
            "the package ray is not installed",
            field="engine.name",
            remedy='pip install -e ".[ray]", on every node; or take engine transformers or vllm, which need no Ray',
        ) from None
    return ray


def join(settings: RaySettings) -> Any:
    """Connect to the cluster of the settings, or start a local one; a process has one connection, shared by engines.

    Raises:
        EngineError: when Ray is not installed, not there, or does not start.
    """
    ray = import_ray(settings.address is None)
    if not ray.is_initialized():
        with _sigterm_kept():
            try:
                if settings.address is None:
                    _start(ray, settings)
                else:
                    _connect(ray, settings.address)
            except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
                _end(ray)
                raise EngineError(
                    WHO,
                    f"no Ray at {settings.address or 'this machine'}: {first_line(error)}",
                    field="engine.address",
                    remedy="start it (`ray start --head`, and `ray start --address HOST:6379` on the other machines), "
                    "or leave address out for a Ray on this machine alone"
                    if settings.address
                    else "see that there is memory and room in the folder of temporary files, or take another engine",
                ) from error
        _joined.ours = True
    _joined.engines += 1
    return ray


def leave(ray: Any) -> None:
    """An engine is done; the last one of a connection that we have made ends it, and a Ray that we have started."""
    _joined.engines -= 1
    if _joined.engines <= 0 and _joined.ours:
        _end(ray)


def _start(ray: Any, settings: RaySettings) -> None:
    # A folder of its own: "auto" of other programs does not find it, and nothing of it stays.
    place = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="mindgap-ray-", dir=place if len(place) <= SOCKET_ROOM else "/tmp"))  # noqa: S108
    _joined.guard = ray_guard.start(folder)
    ray.init(
        num_cpus=settings.workers * settings.cpus_per_worker,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
        _temp_dir=str(folder),
        object_store_memory=OBJECT_STORE_BYTES,
    )


def _connect(ray: Any, address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():  # Ray itself tries for minutes
        socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()
    # The workers run this process's code, whatever is installed on their nodes.
    code = {"py_modules": [str(PROJECT / "ops")], "excludes": ["**/__pycache__"]}
    ray.init(address=address, log_to_driver=False, logging_level="ERROR", runtime_env=code)


def _end(ray: Any) -> None:
    with contextlib.suppress(Exception):  # what does not answer any more is ended by the guard
        ray.shutdown()
    guard = _joined.guard
    _joined.engines, _joined.ours, _joined.guard = 0, False, None
    if guard is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            guard.communicate(b"down", timeout=ray_guard.SECONDS)


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray replaces the handler of SIGTERM; the lab's own (and Dagster's) stays."""
    mine = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if mine else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
