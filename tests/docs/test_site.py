"""The documentation site builds without a warning, its links lead somewhere, and no page loads from another host."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.reader import DOCS, PROJECT

LOADS = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "embed": "src",
}


@dataclass
class Page(HTMLParser):
    """What a page links to, what it loads, and its anchors."""

    path: Path
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    tags: list[str] = field(default_factory=list)

    def __post_init__(self):
        super().__init__()
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag in LOADS and LOADS[tag] in values and values.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(values[LOADS[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


def _target(page: Path, link: str) -> tuple[Path, str]:
    parts = urlsplit(link)
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    return (path / "index.html" if path.is_dir() else path), unquote(parts.fragment)


def test_every_page_is_there(site, pages):
    written = [path for path in DOCS.rglob("*.md") if "_mkdocs" not in path.parts]
    assert len(written) > 40 and len(pages) == len(written) + len(list(DOCS.rglob("*.ipynb")))


def test_internal_links_and_anchors_lead_somewhere(site, pages):
    dead = []
    for path, page in pages.items():
        for link in page.links + page.loads:
            if urlsplit(link).scheme or link.startswith("data:"):
                continue
            target, anchor = _target(path, link)
            known = pages[target].anchors if target in pages else set()
            if not target.is_file() or (anchor and target in pages and anchor not in known):
                dead.append(f"{path.relative_to(site)}: {link}")
    assert dead == []


def test_external_links_are_whole(pages):
    """They are not fetched; an address without a host, or with white space, can be told without."""
    external = {link for page in pages.values() for link in page.links if urlsplit(link).scheme}
    assert external, "the pages link to nothing outside: the parser is blind"
    wrong = [link for link in external if urlsplit(link).scheme not in ("https", "http") or not urlsplit(link).hostname]
    assert [link for link in [*wrong, *external] if link in wrong or any(c.isspace() for c in link)] == []


def test_nothing_is_loaded_from_another_host(site, pages):
    loaded = {load for page in pages.values() for load in page.loads if not load.startswith("data:")}
    assert loaded and [load for load in loaded if urlsplit(load).scheme or load.startswith("//")] == []
    styles = [path for path in site.rglob("*.css") if "url(http" in path.read_text() or "@import" in path.read_text()]
    assert styles == []
    # the theme's script fetches a renderer for diagrams from elsewhere where a page has one
    assert not any('class="mermaid"' in path.read_text() for path in pages)


def test_every_variant_is_in_the_reference(pages, site):
    import ops.estimation
    from ops.evaluation.judges import JUDGES
    from ops.exploration.advantages import ADVANTAGES
    from ops.exploration.bonuses import BONUSES
    from ops.exploration.rewards import REWARDS
    from ops.graders import GRADERS
    from ops.selection import FILTERS
    from ops.tasks import TASKS
    from ops.training import METHODS
    from ops.verifiers import VERIFIERS

    anchors = set().union(*(page.anchors for path, page in pages.items() if "reference" in path.parts))
    tables = (TASKS, GRADERS, VERIFIERS, FILTERS, METHODS, BONUSES, REWARDS, ADVANTAGES, JUDGES)
    classes = [item for table in tables for item in table.values()]
    assert len(classes) > 25
    assert [kind for kind in classes if f"{kind.__module__}.{kind.__qualname__}" not in anchors] == []
    estimators = {f"ops.estimation.{module.name}" for module in pkgutil.iter_modules(ops.estimation.__path__)}
    assert estimators - anchors == set()


def test_every_command_is_in_the_reference(pages, site):
    from orchestration.cli import main

    anchors = pages[site / "reference" / "cli" / "index.html"].anchors
    assert len(main.commands) > 8 and [name for name in main.commands if f"mindgap-{name}" not in anchors] == []


def test_formulas_are_set_and_the_notebook_is_a_page(pages, site):
    assert pages[site / "science" / "gap" / "index.html"].tags.count("math") > 10
    assert "$x$" not in (site / "science" / "gap" / "index.html").read_text()
    notebook = pages[site / "notebooks" / "catalog" / "index.html"]
    assert any(load.endswith(".png") for load in notebook.loads)
