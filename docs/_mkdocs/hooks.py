"""What the documentation site needs beyond MkDocs: formulas as MathML, the notebook as a page, links as on GitHub.

MkDocs calls the functions by name (``hooks`` in mkdocs.yml). Everything happens at build time: a page loads nothing
from another host.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.inlinepatterns import InlineProcessor
from mkdocs.structure.files import File, Files

DECISIONS = "decisions/README.md"
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s:]+)\)")
_CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_DOLLARS = r"(?<![\\$\w])\$(?!\s)([^$\n]+?)(?<![\s\\])\$(?![\w$])"


class _Formula(InlineProcessor):
    """``$x$`` in running text, as GitHub reads it."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # type: ignore[override]  # noqa: N802
        return self.md.htmlStash.store(convert(m[1])), m.start(0), m.end(0)


class Formulas(Extension):
    """MathML for ``$...$``; fences called ``math`` are set by ``formula_block``."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        md.inlinePatterns.register(_Formula(_DOLLARS, md), "formula", 185)


def formula_block(source: str, *_: Any, **__: Any) -> str:
    """The MathML of a fence called ``math``."""
    return f'<div class="formula">{convert(source.strip(), display="block")}</div>'


def on_config(config: Any) -> Any:
    """Add the two ways of writing a formula."""
    fence = {"name": "math", "class": "math", "format": formula_block}
    config.markdown_extensions.append(Formulas())
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    return config


def on_files(files: Files, config: Any) -> Files:
    """Every notebook of docs/ becomes a page with its pictures."""
    from nbconvert import MarkdownExporter

    for notebook in sorted(Path(config.docs_dir).rglob("*.ipynb")):
        if ".ipynb_checkpoints" in notebook.parts:
            continue
        place = notebook.relative_to(config.docs_dir).with_suffix("")
        body, resources = MarkdownExporter().from_filename(str(notebook))
        for name, content in resources["outputs"].items():
            pictured = f"{place}-{name}"
            body = body.replace(f"]({name})", f"]({Path(pictured).name})")
            files.append(File.generated(config, pictured, content=content))
        files.append(File.generated(config, f"{place}.md", content=body))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links as GitHub follows them: to a folder, to a notebook, and out of docs/ (there the text alone stays)."""
    docs = Path(config.docs_dir).resolve()
    here = docs / Path(page.file.src_uri).parent

    def changed(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        path, hash_mark, anchor = target.partition("#")
        found = (here / path).resolve()
        if path and not found.is_relative_to(docs) and found.exists():
            return f"{text} (`{found.relative_to(docs.parent)}`)" if found.name not in text else text
        if path.endswith(".ipynb"):
            path = f"{path.removesuffix('.ipynb')}.md"
        elif path.endswith("/") and (found / "README.md").is_file():
            path += "README.md"
        return f"{mark}[{text}]({path}{hash_mark}{anchor})"

    pieces = _CODE.split(markdown)
    for i in range(0, len(pieces), 2):
        pieces[i] = _LINK.sub(changed, pieces[i])
    listed = _listed(here, page.file.src_uri) if page.file.src_uri == DECISIONS else ""
    return "".join(pieces) + listed


def _listed(folder: Path, itself: str) -> str:
    """Links to all pages of a folder by their headlines, as GitHub shows its files."""
    pages = [path for path in sorted(folder.glob("*.md")) if path.name != Path(itself).name]
    titles = [path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for path in pages]
    return "\n" + "".join(f"- [{title}]({path.name})\n" for title, path in zip(titles, pages, strict=True))
