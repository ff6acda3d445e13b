"""The pages a reader meets: links lead somewhere, nothing was left to be filled in, what can be pasted is valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from ops.engines import ENGINES
from ops.variants import union
from ops.yaml_file import read_mapping

PROJECT = Path(__file__).resolve().parent.parent
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_and_placeholders(page):
    text = page.read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target.split("#")[0]).exists()]
    assert not missing
    assert not re.findall(r"^[A-Z_]{6,}$|TODO|TBD|FIXME", text, re.MULTILINE)


def test_the_engines_of_the_readme_can_be_pasted(tmp_path):
    """The block is YAML as the project reads it (no key twice, for one), and so is each of its lines alone."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    [block] = [block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "engine:" in block]
    names = []
    for i, content in enumerate([block, *(line.removeprefix("# ") for line in block.splitlines())]):
        (tmp_path / f"{i}.yaml").write_text(content)
        settings = read_mapping(tmp_path / f"{i}.yaml", content)["engine"]
        names.append(TypeAdapter(union(ENGINES)).validate_python(settings).name)
    assert names == ["vllm", "vllm", "openai", "ray", "vllm_server"]


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
