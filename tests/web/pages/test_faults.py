"""What goes wrong below a page, and what it says: a damaged run, a store that is moved away, a server that ends."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import naiad

pytestmark = pytest.mark.browser
OFF: dict[str, Any] = {
    "capture_stdout": False, "capture_stderr": False, "capture_hardware_metrics": False, "git_ref": False,
    "source_files": [],
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store with a whole run, P-1, and one whose bytes were changed after it ended, P-2."""
    store = tmp_path / ".naiad"
    for name in ("whole", "damaged"):
        with naiad.init_run(store=store, project="p", name=name, **OFF) as run:
            run["lr"] = 0.1
            run["loss"].extend([1 / (step + 1) for step in range(10_000)])
            uid = run._session.key
    for file in (store / "runs" / uid).rglob("*"):
        if file.suffix in (".db", ".seg"):  # points lie in one of them
            data = bytearray(file.read_bytes())
            data[len(data) // 3 : len(data) // 3 * 2] = bytes(len(data) // 3)
            file.write_bytes(data)
    return store


@pytest.fixture
def look(chromium: Any, place: Path, serve: Any, watched: Any) -> Iterator[Any]:
    server = serve(place)
    with watched(chromium, server.origin, server.token) as page:
        yield page
    server.stop()


def test_damaged_run_says_so_and_the_whole_one_is_drawn(look: Any, until: Any) -> None:
    """Its curve is missing from the chart with a sentence; the other run, the table and the comparison stay."""
    look.allowed = ["422", "500"]
    page = look.open("/p/p/runs/P-2")
    page.wait_for_selector("[role=alert]")
    said = page.locator("[role=alert]").first.inner_text()
    look.open("/p/p/compare/charts?runs=P-1,P-2&m=loss")
    until(page, "document.querySelectorAll('section.chart canvas').length === 1")
    until(page, "!!document.querySelector('section.chart .bad-text')")
    chart = page.locator("section.chart").inner_text()
    look.open("/p/p/runs")
    until(page, "document.querySelectorAll('tbody tr[role=row]').length === 2")

    assert "damaged" in said
    assert "Traceback" not in said + chart
    assert "10,000 points" in chart


def test_store_that_is_moved_away_is_one_sentence_and_comes_back(look: Any, place: Path, until: Any) -> None:
    look.allowed = ["503"]
    page = look.open("/p/p/runs")
    until(page, "document.querySelectorAll('tbody tr[role=row]').length === 2")
    shutil.move(place, place.with_name("elsewhere"))
    page.get_by_role("link", name="P-1").click()
    page.wait_for_selector("[role=alert]")
    said = page.locator("[role=alert]").first.inner_text()
    shutil.move(place.with_name("elsewhere"), place)
    page.get_by_role("button", name="Try again").first.click()
    until(page, "!!document.querySelector('.run-head h1')")

    assert f"The store {place} is not there any more: it was deleted or moved." in said
    assert "Traceback" not in said


def test_server_that_has_ended_is_named(chromium: Any, place: Path, serve: Any, watched: Any, until: Any) -> None:
    """What was shown stays, and what is asked for next says what to do."""
    server = serve(place)
    with watched(chromium, server.origin, server.token) as look:
        look.allowed = ["ERR_", "Failed to load resource", "dynamically imported"]
        page = look.open("/p/p/runs")
        until(page, "document.querySelectorAll('tbody tr[role=row]').length === 2")
        server.stop()
        page.get_by_role("link", name="P-1").click()
        page.get_by_text("naiad ui still running").first.wait_for()
        page.go_back()
        until(page, "!!document.querySelector('[role=alert]')")
