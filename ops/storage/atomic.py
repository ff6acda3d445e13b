"""Atomic writes: a temporary name that carries its writer, fsync, one rename."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock

TEMPORARY_MARK = ".mindgap-tmp"


def host_mark() -> str:
    """Six characters that stand for this machine in temporary names (a pid means nothing on another one)."""
    return hashlib.blake2b(socket.gethostname().encode(), digest_size=3).hexdigest()


def process_birth(pid: int) -> str | None:
    """When process ``pid`` was born, as letters and digits that no later process of that pid repeats; None if gone.

    On Linux these are the boot and the clock ticks since it, which, unlike ``psutil``'s wall time, stay the same
    when the machine's clock is set.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return None if fields[0] in "ZX" else f"{boot[:6]}t{fields[19]}"
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"s{int(process.create_time() * 1000)}"
    except psutil.NoSuchProcess:
        return None


def temporary_sibling(target: Path) -> Path:
    """A hidden name beside ``target`` that names its writer.

    ``.a.parquet.7f3a10-4711-9c01eat8812-ab12cd34.mindgap-tmp`` is machine 7f3a10, process 4711 of that birth;
    ``ops.storage.recovery`` reads it back.
    """
    writer = f"{host_mark()}-{os.getpid()}-{process_birth(os.getpid())}-{uuid.uuid4().hex[:8]}"
    return target.parent / f".{target.name}.{writer}{TEMPORARY_MARK}"


def fsync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_file(target: Path, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path to write to; on a clean exit it is fsynced and becomes ``target`` in one rename.

    Parent folders are made, and made durable. On an error the temporary file is removed and
    ``target`` stays as it was.

    Args:
        mode: permission bits of the finished file, e.g. 0o444.
    """
    make_folder(target.parent)
    staging = temporary_sibling(target)
    try:
        yield staging
        fsync_file(staging)
        if mode is not None:
            staging.chmod(mode)
        staging.replace(target)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    fsync_folder(target.parent)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; on a clean exit it is fsynced whole and becomes ``target`` in one rename.

    Where another writer has put ``target`` there meanwhile, that one stays and this one is dropped.
    """
    make_folder(target.parent)
    staging = temporary_sibling(target)
    staging.mkdir()
    try:
        yield staging
        for folder, _, names in os.walk(staging):
            for name in names:
                fsync_file(Path(folder) / name)
            fsync_folder(Path(folder))
        try:
            staging.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    fsync_folder(target.parent)


def write_bytes_atomically(target: Path, data: bytes) -> None:
    """Write ``target`` whole or not at all."""
    with atomic_file(target) as staging:
        staging.write_bytes(data)


def write_text_atomically(target: Path, text: str) -> None:
    """Write ``target`` whole or not at all, as UTF-8."""
    write_bytes_atomically(target, text.encode("utf-8"))


def make_folder(folder: Path) -> None:
    """``mkdir -p`` whose new folders survive a power cut."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for item in reversed(missing):
        item.mkdir(exist_ok=True)
        fsync_folder(item.parent)


@contextmanager
def exclusive(lock_file: Path) -> Iterator[None]:
    """Hold ``lock_file`` against other processes and threads; the kernel frees it when the holder dies."""
    make_folder(lock_file.parent)
    with FileLock(lock_file, is_singleton=False, fallback_to_soft=False):
        yield


def fsync_file(path: Path) -> None:
    """Make the content of ``path`` durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
