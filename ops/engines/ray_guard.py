"""Watches over a Ray that the lab has started: whatever of it outlives the lab's process is ended, its files removed.

Ray's own servers die with the process that has started them (PR_SET_PDEATHSIG), and its workers a moment later; two
agents of a node go on for a minute after a kill -9. Nothing here imports Ray or torch, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

SECONDS = 15
"""How long leftovers are looked for: a process that is just starting has no file open yet."""


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start the watch. It ends, and removes ``folder``, when its standard input is closed: by us, or by our death."""
    command = [sys.executable, "-P", str(Path(__file__).resolve()), str(folder), str(os.getpid())]
    return subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C ends the lab, which then ends Ray; not the watch
    )


def leftovers(folder: Path) -> Iterator[psutil.Process]:
    """Processes of this user with a file open in the folder: every process of Ray has its log there."""
    inside = f"{folder}{os.sep}"
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            fds = Path(f"/proc/{process.pid}/fd")
            if fds.is_dir():
                paths = [os.readlink(fd) for fd in fds.iterdir()]
            else:
                paths = [file.path for file in process.open_files()]
            if process.pid != os.getpid() and any(path.startswith(inside) for path in paths):
                yield process


def wait(parent: int) -> bool:
    """Wait for the parent's word that Ray has been shut down, or for its death; whether it was its word."""
    while os.getppid() == parent:  # a process that it has forked may hold the pipe open
        if select.select([sys.stdin], [], [], 1.0)[0]:
            return os.read(sys.stdin.fileno(), 16) == b"down"
    return False


def main(folder: Path, parent: int) -> None:
    """Wait for the end; after a death end what is left of Ray; remove the folder."""
    clean = wait(parent)
    end = time.monotonic() + SECONDS
    quiet = 0
    while not clean and quiet < 3 and time.monotonic() < end:
        quiet += 1
        for process in leftovers(folder):
            quiet = 0
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.3)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
