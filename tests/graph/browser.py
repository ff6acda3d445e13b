"""Dagster's UI as a reader uses it: Chromium clicks through it. Needs playwright (the extra ``dev``) and Chromium.

``python -m tests.graph.browser HOME OUT`` makes the pictures of docs/images/, from a home in which ``make demo`` has
run, in the folder ``OUT``. Locators name what is written on the page, as Dagster 1.13 writes it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from ops.lab import PROJECT
from tests.ports import free_port

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER = (
    f"no browser: none of {', '.join(BROWSERS)} is on the PATH, and MINDGAP_CHROMIUM names none "
    "(Debian: apt install chromium)"
)
PATIENCE = 60_000
"""Milliseconds for a page to show something: the machine may have other work."""

MAX_PICTURE_BYTES = 300_000


def chromium() -> str | None:
    """The program, or None where this machine has none."""
    named = os.environ.get("MINDGAP_CHROMIUM")
    return next(filter(None, map(shutil.which, [named] if named else BROWSERS)), None)


@contextmanager
def ui(log: Path, seconds: float = 240) -> Iterator[str]:
    """``mindgap ui`` on a free loopback port, in this environment; yields its address, ends all its processes."""
    port = free_port()
    command = [sys.executable, "-m", "orchestration.cli", "ui", "--port", str(port)]
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=PROJECT, stdout=output, stderr=output, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, server, log, seconds)
        yield url
    finally:
        _end(server)


def _wait_for(url: str, server: subprocess.Popen, log: Path, seconds: float) -> None:
    """Until the graph is there: the web server answers earlier, with an empty one."""
    query = json.dumps({"query": "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"}).encode()
    request = urllib.request.Request(f"{url}/graphql", query, {"Content-Type": "application/json"})
    deadline = time.monotonic() + seconds
    while True:
        with suppress(OSError), urllib.request.urlopen(request, timeout=30) as answer:
            if json.load(answer)["data"]["repositoriesOrError"].get("nodes"):
                return
        assert server.poll() is None, f"mindgap ui ended: {log.read_text()[-2000:]}"
        assert time.monotonic() < deadline, f"no graph after {seconds:.0f} s: {log.read_text()[-2000:]}"
        time.sleep(0.5)


def _end(server: subprocess.Popen) -> None:
    """As Ctrl-C does; what is left after 20 s is killed."""
    known: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(server.pid)
        known = [parent, *parent.children(recursive=True)]
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGINT)
    _, left = psutil.wait_procs(known, timeout=20)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=20)
    server.wait(timeout=20)


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    program = chromium()
    assert program is not None, NO_BROWSER
    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=program)
        try:
            yield chrome
        finally:
            chrome.close()


def new_page(chrome: Browser, width: int = 1400, height: int = 900, *, dark: bool = False) -> Page:
    """An empty page in a context of its own: nothing is remembered from another one."""
    context = chrome.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        locale="en-US",
        timezone_id="UTC",
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    return context.new_page()


def menu(page: Page, name: str) -> None:
    """Click an entry of the navigation on the left."""
    page.get_by_role("navigation").get_by_text(name, exact=True).first.click()


def open_graph(page: Page) -> None:
    """The asset graph of all groups."""
    menu(page, "Lineage")
    expect(page.get_by_text("Global asset lineage")).to_be_visible()
    expect(page.get_by_role("button", name="asset_group problems")).to_be_visible()


def choose_partition(page: Page, experiment: str) -> Locator:
    """The dialogue that materializes ``experiment_job`` for one partition, chosen and not yet launched."""
    menu(page, "Jobs")
    page.get_by_text("experiment_job", exact=True).first.click()
    page.get_by_role("button", name="Materialize all").click()
    dialogue = page.get_by_role("dialog").filter(has_text="Partition selection")
    dialogue.get_by_text("Select a partition").click()
    page.get_by_role("menuitem", name=re.compile(rf"\b{re.escape(experiment)}$")).click()
    page.keyboard.press("Escape")  # closes the list, not the dialogue
    expect(page.get_by_role("menuitem")).to_have_count(0)
    expect(dialogue.get_by_text("1 partition", exact=True)).to_be_visible()
    return dialogue


def launch(page: Page, dialogue: Locator) -> None:
    """Launch, and follow the link of the message to the page of the run."""
    dialogue.get_by_role("button", name="Launch 1 run").click()
    page.get_by_role("link", name="View", exact=True).click()
    expect(page).to_have_url(re.compile(r"/runs/[0-9a-f-]{36}"))


def wait_for_success(page: Page, seconds: float) -> None:
    """Watch the page of a run until the run has ended."""
    status = page.get_by_text(re.compile("^(Success|Failure|Canceled)$")).first
    expect(status).to_be_visible(timeout=seconds * 1000)
    assert status.inner_text() == "Success", page.locator("body").inner_text()


def open_asset(page: Page, key: str, tab: str) -> None:
    """The page of an asset, e.g. ``iteration_0/gap_metrics``, found through the catalog's search."""
    menu(page, "Catalog")
    search = page.get_by_role("textbox", name="Search and filter assets")
    search.press_sequentially(f'key:"{key}"')
    search.press("Enter")
    name = key.replace("/", " / ")
    rows = page.get_by_role("link", name=name)
    expect(rows).to_have_count(1)
    rows.click()
    page.get_by_role("tab", name=tab, exact=True).first.click()


def open_metadata(page: Page, key: str, experiment: str) -> Locator:
    """The metadata of an asset's partition; returns the table."""
    open_asset(page, key, "Partitions")
    page.get_by_text(experiment, exact=True).first.click()
    table = page.get_by_role("table").filter(has_text="fingerprint")
    expect(table).to_be_visible()
    return table


def open_plot(page: Page) -> Locator:
    """Show the plot of the metadata that is open; returns the dialogue with it."""
    page.get_by_text("[Show Markdown]").click()
    dialogue = page.get_by_role("dialog")
    expect(dialogue.get_by_role("img", name="plot")).to_be_visible()
    return dialogue


def open_check(page: Page, key: str, check: str) -> None:
    """What a check of an asset found last."""
    open_asset(page, key, "Checks")
    page.get_by_text(check, exact=True).first.click()
    expect(page.get_by_text("Latest execution", exact=True)).to_be_visible()
    expect(page.get_by_text("Evaluation result", exact=True)).to_be_visible()


def main(home: Path, out: Path, experiment: str = "demo") -> None:
    """Write the pictures of the docs: the UI with the demo's three experiments only, and the demo's page."""
    with browser() as chrome, tempfile.TemporaryDirectory() as folder:
        for name, dark in (("report", False), ("report-dark", True)):
            page = new_page(chrome, 1300, 1600, dark=dark)
            page.goto((home.resolve() / "reports" / f"{experiment}.html").as_uri())
            _picture(page, out / f"{name}.png")
        for file in (PROJECT / "experiments").glob(f"{experiment}*.yaml"):
            shutil.copy(file, folder)
        os.environ["MINDGAP_HOME"] = str(home.resolve())
        os.environ["MINDGAP_EXPERIMENTS"] = folder
        os.environ["MINDGAP_STUDIES"] = str(Path(folder) / "none")
        with ui(Path(folder) / "ui.log") as url:
            _pictures_of_the_ui(chrome, url, out, experiment)


def _pictures_of_the_ui(chrome: Browser, url: str, out: Path, experiment: str) -> None:
    page = new_page(chrome, 1900, 1060)
    page.goto(url)
    open_graph(page)
    page.get_by_text("Hide navigation").click()
    page.get_by_role("button", name="panel_show_right").click()  # the list of groups: the graph says the same
    page.mouse.dblclick(300, 1000)  # fits the graph into the page; only then do its boxes say what they hold
    expect(page.get_by_text(re.compile("fetching|loading"))).to_have_count(0)
    _picture(page, out / "graph.png", width=1400)

    page = new_page(chrome, 1400, 640)
    page.goto(url)
    choose_partition(page, experiment)
    _picture(page, out / "materialize.png")

    page = new_page(chrome, 1400, 925)
    page.goto(url)
    open_metadata(page, "iteration_0/gap_metrics", experiment)
    _picture(page, out / "metadata.png")
    open_plot(page)
    _picture(page, out / "plot.png")

    page = new_page(chrome, 1400, 800)
    page.goto(url)
    open_check(page, "iteration_1/stopping_rules", "diversity_holds")
    _picture(page, out / "checks.png")


def _picture(page: Page, path: Path, width: int | None = None) -> None:
    """Write what the page shows, in ``width`` pixels; in 256 colours where it would be too large for the repository."""
    from PIL import Image

    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)  # the layout of graphs and diagrams moves until it has settled
    page.screenshot(path=path)
    with Image.open(path) as shot:
        image = shot.convert("RGB")
    if width is not None:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    image.save(path, optimize=True)
    if path.stat().st_size > MAX_PICTURE_BYTES:
        image.quantize(256).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
