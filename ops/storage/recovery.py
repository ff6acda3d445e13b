"""After a crash: what a killed process left half-written is found by its name and removed."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from ops.storage.atomic import TEMPORARY_MARK, host_mark, process_birth

FOREIGN_HOURS = 24.0
"""A temporary file of another machine (a shared disk) is taken for orphaned when untouched this long."""

NOT_OURS = ("dagster", "mlflow")
"""Folders under MINDGAP_HOME that other programs write."""

_NAME = re.compile(
    r"\..*\.(?P<host>[0-9a-f]{6})-(?P<pid>\d+)-(?P<birth>[0-9a-z]+)-[0-9a-f]{8}"
    + re.escape(TEMPORARY_MARK)
    + r"(\..*)?"
)


def sweep(home: Path) -> list[str]:
    """Remove orphaned temporary files and folders, and checkpoints of training whose model is there.

    Warm servers whose keeper is gone are ended, and what is known of them is removed.

    A temporary file is orphaned when no process of its writer's pid and birth is alive: a living
    writer's files are never touched, and a reused pid does not protect a dead one's.

    Returns:
        Removed paths relative to ``home``.
    """
    from ops.engines.server_keeper import sweep_servers  # not above: the engines' modules read recordings of storage

    home = Path(home).expanduser().resolve()
    removed: list[Path] = []
    for folder, folders, files in os.walk(home):
        here = Path(folder)
        if here == home:
            folders[:] = [name for name in folders if name not in NOT_OURS]
        for name in [*folders, *files]:
            match = _NAME.fullmatch(name)
            if match and _is_orphaned(here / name, match):
                _remove(here / name)
                removed.append(here / name)
        folders[:] = [name for name in folders if not _NAME.fullmatch(name)]
    for work in sorted((home / "work").glob("*/*")):
        if (home / "models" / work.name).is_dir():
            _remove(work)
            removed.append(work)
    removed += sweep_servers(home)
    return sorted(str(path.relative_to(home)) for path in removed)


def _is_orphaned(path: Path, match: re.Match[str]) -> bool:
    if match["host"] != host_mark():
        try:
            return time.time() - path.stat().st_mtime > FOREIGN_HOURS * 3600
        except FileNotFoundError:
            return False
    return process_birth(int(match["pid"])) != match["birth"]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
