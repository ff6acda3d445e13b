"""The pages a reader meets: links lead somewhere, and nothing was left to be filled in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_and_placeholders(page):
    text = page.read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target.split("#")[0]).exists()]
    assert not missing
    assert not re.findall(r"^[A-Z_]{6,}$|TODO|TBD|FIXME", text, re.MULTILINE)


def test_the_map_of_the_tree_is_true():
    """Every folder and file that the README's map names exists."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    block = text[text.index("## Map") :].split("```")[1]
    names, inside = [], ""
    for line in block.splitlines():
        words = re.match(r"^( *)((?:[\w.]+/? +)+) ", line + " ")
        if words:
            entries = [word for word in line[:24].split() if re.fullmatch(r"[\w.]+(/|\.py)", word)]
            inside = "" if not words[1] else inside
            names += [inside + entry if words[1] else entry for entry in entries]
            if not words[1]:
                inside = entries[0] if entries else ""
    assert len(names) > 20
    assert [name for name in names if not (PROJECT / name).exists()] == []
