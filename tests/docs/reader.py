"""A reader of the documentation: a fresh clone of the working tree, and pages whose blocks are copied into a shell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"


def blocks(page: str, language: str = "bash") -> list[str]:
    """The fenced blocks of a language on a page of docs/, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.M | re.S)


def named_blocks(page: str, words: str) -> dict[str, str]:
    """path -> the block below a sentence that ends in ``WORDS `path` ...:``."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return dict(re.findall(rf"{words} `([\w/.]+)`[^\n]*:\n\n```python\n(.*?)^```$", text, re.M | re.S))


def repository(folder: Path) -> Path:
    """A git repository with every file of the working tree that git does not ignore, changes included."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    git = ["git", "-c", "user.name=Reader", "-c", "user.email=reader@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "--all"], ["commit", "-q", "-m", "as it is"]):
        subprocess.run([*git, *command], cwd=folder, check=True, capture_output=True)
    return folder


def furnish(clone: Path) -> None:
    """What ``make setup`` would install, from the environment that runs this test: `make` then finds nothing to do.

    The one substitution: an empty environment whose path file names the clone first and the present libraries second.
    An installed (editable) Mindgap is not on that path: the clone's own code runs.
    """
    place = clone / ".venv"
    venv.create(place, with_pip=False, symlinks=True)
    [packages] = place.glob("lib/python3*/site-packages")
    (packages / "present.pth").write_text(f"{clone}\n{sysconfig.get_paths()['purelib']}\n")
    script = place / "bin" / "mindgap"
    script.write_text(f"#!{place}/bin/python\nfrom orchestration.cli import main\n\nmain()\n")
    script.chmod(0o755)
    for stamp in (".created", ".core-installed"):
        (place / stamp).touch()


@dataclass(frozen=True)
class Reader:
    """Somebody with an empty home folder who copies commands."""

    folder: Path
    source: Path

    @property
    def clone(self) -> Path:
        return self.folder / "mindgap"

    def run(self, script: str, cwd: Path | None = None, timeout: float = 3000) -> str:
        """Run blocks in one shell that ends at the first error; returns what was printed."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        environment = {**kept, "HOME": str(home), "REPOSITORY": str(self.source), "OMP_NUM_THREADS": threads()}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=cwd or self.folder, env=environment, timeout=timeout, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def follow(self, page: str) -> str:
        """Run all bash blocks of a page verbatim, from the folder above the clone or, once it is there, in it."""
        if self.clone.is_dir():
            return self.run("\n".join(blocks(page)), cwd=self.clone)
        first, *rest = blocks(page)
        install = f"{sys.executable} -c 'from tests.docs.reader import *; furnish(Path(\"{self.clone}\"))'"
        hidden = f"(cd {PROJECT} && {install})"
        return self.run("\n".join([first, hidden, *rest]))


def threads() -> str:
    """As many as an everyday run takes, unless the environment says otherwise."""
    return os.environ.get("OMP_NUM_THREADS", "1")


def new_reader(folder: Path) -> Reader:
    (folder / "source").mkdir(parents=True)
    return Reader(folder, repository(folder / "source"))


def add_to_dict(file: Path, block: str) -> None:
    """What the pages call one line: the import, and the entry at the end of the dict."""
    imported, entry = block.strip("\n").split("\n")
    text = file.read_text(encoding="utf-8")
    head, brace, tail = text.rpartition("}\n")
    first = text.index("from ")
    file.write_text(f"{text[:first]}{imported}\n{head[first:]}{entry}\n{brace}{tail}", encoding="utf-8")
