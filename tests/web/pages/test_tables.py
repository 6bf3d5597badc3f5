"""The table of runs: its query, filters, columns, groups, tree, keys and export, in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser


def test_query_is_completed_and_its_error_has_a_caret(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs")
    settled(page, until)
    box = page.get_by_role("combobox", name="Query")
    box.type("params/op")
    page.locator("[role=option]", has_text="params/optimizer").click()
    box.type('= "adam"')
    until(page, "location.search.includes('adam')")
    optimizers: set[str] = set()
    for _ in range(100):  # the rows before stay until the new ones are there
        optimizers = set(page.evaluate(_CELLS, "params/optimizer"))
        if optimizers == {"adam"}:
            break
        page.wait_for_timeout(100)
    box.fill("params/lr < <")
    for _ in range(40):
        page.keyboard.press("Escape")  # the suggestions lie above the caret
        page.wait_for_timeout(250)
        if page.locator(".caret-error").count():
            break

    assert {"adam"} == optimizers
    assert "^" in page.locator(".caret-error").text_content()


_CELLS = """name => {
    const heads = [...document.querySelectorAll('table[role=grid] th')];
    const at = heads.findIndex(head => head.title === name);
    const rows = [...document.querySelectorAll('table[role=grid] tbody tr[role=row]')];
    return rows.map(row => row.children[at].textContent);
}"""


def test_quick_filter_is_a_condition_of_the_query(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs")
    settled(page, until)
    page.get_by_role("button", name="Quick filters").or_(page.get_by_text("Filter", exact=True)).first.click()
    page.locator(".panel .tag", has_text="failed").locator("button").click()
    until(page, "document.querySelectorAll('tbody tr[role=row]').length === 1")

    assert 'sys/state = "failed"' in page.get_by_role("combobox", name="Query").input_value()


def test_columns_are_chosen_and_drawn_as_lines(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs?cols=sys/id,spark:val/auc,val/auc:max")
    settled(page, until)
    until(page, "document.querySelectorAll('svg.spark').length > 10")
    page.get_by_role("button", name="Columns", exact=True).click()
    page.get_by_label("Search fields").fill("grad")
    page.locator(".choices label", has_text="grad/norm:min").locator("input").check()
    page.keyboard.press("Escape")
    until(page, "[...document.querySelectorAll('th')].some(th => th.title === 'grad/norm:min')")
    for _ in range(100):  # the column is empty until its values are there
        empty = page.evaluate(_CELLS, "grad/norm:min").count("")
        if empty < 10:
            break
        page.wait_for_timeout(100)

    assert empty < 10


def test_keys_select_compare_and_walk(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs")
    settled(page, until)
    page.locator("tbody td[role=gridcell]").nth(3).focus()
    for key in ("j", "j", "j", "x", "j", "x", " "):
        page.keyboard.press(key)
    page.locator("h1").click()
    page.keyboard.press("c")
    until(page, "location.pathname.endsWith('/compare')")
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.keyboard.press("g")
    page.keyboard.press("r")
    until(page, "location.pathname.endsWith('/runs')")


def test_groups_open_and_have_aggregates(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs?group=params/optimizer")
    settled(page, until)
    until(page, "document.querySelectorAll('tr.group').length >= 3")
    page.locator("tr.group button.link").first.click()
    until(page, "document.querySelectorAll('tbody tr[role=row]:not(.group)').length > 2")

    assert "mean" in page.locator("tr.group").first.text_content()


def test_shown_rows_are_exported(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs?cols=sys/id,params/%3Dcmd,sys/name&sort=sys/id&find=DIGITS-5")
    settled(page, until)
    page.get_by_role("button", name="Export what is shown").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()

    assert 7 == len(lines)  # the header, DIGITS-5 and 50 to 54
    assert any("'=1+1" in line for line in lines)
