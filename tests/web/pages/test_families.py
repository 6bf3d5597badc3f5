"""Parents and their children in the pages, over a store of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import naiad

pytestmark = pytest.mark.browser


def started(store: Path, **options: Any) -> naiad.Run:
    off = {"capture_stdout": False, "capture_stderr": False, "capture_hardware_metrics": False, "git_ref": False}
    return naiad.init_run(store=store, project="digits", source_files=[], **off, **options)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory, serve: Any) -> Iterator[Any]:
    """A parent with two children, one of which has a child, and a protected run of its own, served for changes."""
    store = tmp_path_factory.mktemp("family") / ".naiad"
    with started(store, name="search") as parent:
        for number in range(2):
            with started(store, parent=parent, name=f"trial {number}") as child:
                child["score"] = 0.25 + number / 2
                child["val/loss"].extend([1.0, 0.5])
    started(store, parent=child, name="again").stop()
    with started(store, name="alone") as alone:
        alone.protect()
    server = serve(store, 0, "--edit")
    yield server
    server.stop()


@pytest.fixture
def look(chromium: Any, family: Any, watched: Any) -> Iterator[Any]:
    with watched(chromium, family.origin, family.token) as page:
        yield page


def rows(page: Any) -> list[str]:
    """The ids in the first column, with the signs before and behind them."""
    cells = page.locator("tbody tr td.pinned, tbody tr th.pinned").all_inner_texts()
    return [" ".join(text.split()) for text in cells if "DIGITS" in text]


def test_table_groups_children_by_their_parent(look: Any, axe: Any) -> None:
    page = look.open("/p/digits/runs?cols=sys/id,score")
    page.get_by_role("button", name="Group").click()
    page.get_by_label("Field for groups").fill("sys/parent")
    page.get_by_role("checkbox", name="sys/parent", exact=True).check()
    page.keyboard.press("Escape")
    group = page.get_by_role("button", name="DIGITS-1 2")
    group.wait_for()
    assert page.get_by_text("0.5 mean").count() == 1

    group.click()
    page.get_by_role("link", name="DIGITS-3").wait_for()
    assert [] == axe(page)
    page.get_by_role("link", name="DIGITS-2").click()
    page.get_by_text("child of").wait_for()


def test_page_of_a_parent_leads_to_its_children_and_theirs_names_it(look: Any, until: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-1")
    page.get_by_role("link", name="2 children").click()
    until(page, "document.querySelectorAll('tbody tr a').length === 2")
    assert ["DIGITS-3", "DIGITS-2"] == rows(page)

    page.get_by_role("link", name="DIGITS-3").click()
    page.get_by_text("child of").wait_for()
    page.get_by_role("link", name="DIGITS-1", exact=True).click()
    page.get_by_role("link", name="2 children").wait_for()


def test_protected_run_is_refused_by_the_pages(look: Any, until: Any) -> None:
    look.allowed.append("409")
    page = look.open("/p/digits/runs/DIGITS-5")
    page.get_by_text("protected", exact=True).wait_for()
    page = look.open("/p/digits/runs?runs=DIGITS-5")
    page.get_by_role("button", name="Move to trash").click()
    page.get_by_text("Run DIGITS-5 is protected, so it is not put into the trash.").wait_for()
    assert "DIGITS-5" in " ".join(rows(page))
