"""The table of runs: its query, filters, columns, groups, tree, keys and export, in a real browser."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize("group", ["", "&group=params/optimizer"])
def test_query_in_an_address_that_is_not_valid_is_said_so(look: Any, until: Any, group: str) -> None:
    look.allowed = ["400"]
    page = look.open(f"/p/digits/runs?q=params%2Flr+%3C+%3C{group}")
    page.wait_for_selector(".caret-error")
    until(page, "document.querySelector('.page-head').innerText.includes('the query is not valid')")
    page.get_by_role("button", name="Show all runs").click()
    until(page, "document.querySelectorAll('tbody tr[role=row]').length > 2")

    assert "…" not in page.locator(".page-head [aria-live]").inner_text()


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


def exported(page: Any, form: str) -> str:
    """Return the file that the export of a table gives."""
    page.get_by_role("button", name="Export what is shown").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=form, exact=True).click()
    return Path(download.value.path()).read_text()


def test_shown_rows_are_exported(look: Any, until: Any, settled: Any) -> None:
    """In the order of the screen, in which an id counts by its number."""
    page = look.open("/p/digits/runs?cols=sys/id,params/%3Dcmd,sys/name,score&sort=sys/id&find=DIGITS-5")
    settled(page, until)
    until(page, "document.querySelectorAll('tbody tr[role=row]').length > 5")
    lines = exported(page, "CSV").splitlines()
    rows = json.loads(exported(page, "JSON"))

    shown = [text.strip() for text in page.evaluate(_CELLS, "sys/id")]
    scores = [float(text) for text in page.evaluate(_CELLS, "score") if text]
    page.goto(f"{look.origin}/p/digits/runs?cols=sys/id&sort=sys/id")
    settled(page, until)
    until(page, "document.querySelectorAll('tbody tr[role=row]').length > 12")
    first = [text.strip() for text in page.evaluate(_CELLS, "sys/id")]
    every = exported(page, "CSV").splitlines()[1:]

    assert "sys/id,params/=cmd,sys/name,score" == lines[0]
    assert shown == [line.split(",")[0] for line in lines[1:]] == [row["sys/id"] for row in rows]
    assert {"DIGITS-5", *(f"DIGITS-{number}" for number in range(50, 55))} <= set(shown)
    assert any("'=1+1" in line for line in lines)
    assert scores == pytest.approx([row["score"] for row in rows if row["score"] is not None], rel=1e-4)
    assert ["DIGITS-1", "DIGITS-2", "DIGITS-3"] == first[:3]
    assert first == every[: len(first)]


def test_table_without_rows_is_exported_as_its_heads(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs?cols=sys/id,score&find=nothing%20has%20this%20name")
    settled(page, until)
    page.wait_for_selector(".empty")

    assert "sys/id,score\n" == exported(page, "CSV")


def test_groups_are_exported_as_they_are_shown(look: Any, until: Any, settled: Any) -> None:
    """A line for each group, with the means of its runs."""
    page = look.open("/p/digits/runs?cols=sys/id,score&group=params/optimizer")
    settled(page, until)
    until(page, "document.querySelectorAll('tr.group').length >= 3")
    rows = json.loads(exported(page, "JSON"))

    shown = page.locator("tr.group").all_text_contents()
    assert ["params/optimizer", "runs", "score (mean)"] == list(rows[0])
    assert len(shown) == len(rows)
    for text, row in zip(shown, rows, strict=True):
        assert f"{row['params/optimizer'] or 'none'} {row['runs']}" in text


def test_groups_are_not_said_to_be_empty_while_they_load(look: Any, until: Any, settled: Any) -> None:
    """What is not known yet is shown as loading, never as nothing."""
    seen: list[str] = []

    def hold(route: Any) -> None:
        look.page.wait_for_timeout(300)
        seen.append(look.page.locator("main").inner_text())
        route.continue_()

    look.page.route("**/api/v1/groups*", hold)
    page = look.open("/p/digits/runs?group=params/optimizer")
    until(page, "document.querySelectorAll('tr.group').length >= 3")

    assert seen
    assert not any("No run matches" in text or "0 groups" in text for text in seen)


def test_children_stand_below_their_parents(look: Any, until: Any, settled: Any) -> None:
    """The tree opens by the arrow keys, says its levels, and is in the address."""
    page = look.open("/p/sweep/runs")
    settled(page, until)
    flat = page.locator("tbody tr[role=row]").count()
    page.get_by_label("tree").check()
    until(page, "document.querySelectorAll('tbody tr[role=row]').length === 1")
    page.locator("tbody td[role=gridcell]").nth(1).focus()
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelectorAll('tbody tr[role=row]').length === 3")
    page.get_by_role("button", name="1 child of SWEEP-2").click()
    until(page, "document.querySelectorAll('tbody tr[role=row]').length === 4")
    page.reload()
    settled(page, until)
    until(page, "document.querySelectorAll('tbody tr[role=row]').length === 4")
    levels = page.locator("tbody tr[role=row]").evaluate_all("rows => rows.map(row => row.ariaLevel)")
    page.locator("tbody td[role=gridcell]").nth(1).focus()
    page.keyboard.press("ArrowLeft")
    until(page, "document.querySelectorAll('tbody tr[role=row]').length === 1")

    assert 4 == flat
    assert ["1", "2", "2", "3"] == levels


def test_filter_that_hides_a_parent_leaves_its_children(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/sweep/runs?tree=1&find=evaluation")
    settled(page, until)
    until(page, "document.querySelectorAll('tbody tr[role=row]').length === 1")

    assert "SWEEP-3" in page.locator("tbody").inner_text()


def test_numbers_of_a_column_are_shaded_and_written_as_chosen(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs?cols=sys/id,score&sort=-score&find=adam")
    settled(page, until)
    menu = page.get_by_role("button", name="Column score")
    menu.click()
    page.get_by_role("button", name="Shade by value").click()
    until(page, "location.search.includes('scales=score')")
    menu.click()
    page.get_by_role("button", name="Numbers: percent").click()
    until(page, "location.search.includes('formats=score')")
    cells = page.locator("tbody tr[role=row] td:nth-child(3)")
    texts = cells.all_text_contents()
    shades = cells.evaluate_all("cells => cells.map(cell => getComputedStyle(cell).backgroundColor)")

    assert all(text.endswith(" %") for text in texts[:10])
    assert shades[0] != shades[9]


def test_columns_are_moved_pinned_resized_renamed_and_removed(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs?cols=sys/id,sys/name,score,val/auc")
    settled(page, until)
    look.page.on("dialog", lambda dialog: dialog.accept("points"))

    def chosen(column: str, action: str) -> None:
        page.get_by_role("button", name=f"Column {column}", exact=True).click()
        page.get_by_role("button", name=action).click()

    chosen("score", "Move left")
    until(page, "location.search.includes('cols=sys%2Fid%2Cscore%2Csys%2Fname')")
    chosen("score", "Pin to the left")
    until(page, "/pins=[^&]*score/.test(location.search)")
    chosen("score", "Wider")
    until(page, "location.search.includes('widths=score')")
    chosen("score", "Rename…")
    until(page, "location.search.includes('titles=score%2Cpoints')")
    chosen("val/auc", "Remove column")
    until(page, "!location.search.includes('auc')")
    heads = page.locator("thead th .title").all_text_contents()
    page.locator("thead th", has_text="name").drag_to(page.locator("thead th", has_text="points"))
    until(page, "location.search.indexOf('sys%2Fname') < location.search.indexOf('score')")

    assert ["id", "points", "name"] == heads


def test_rows_are_sorted_by_several_columns(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs?cols=sys/id,params/optimizer,params/depth")
    settled(page, until)
    page.locator("th", has_text="optimizer").locator("button.sort").click()
    page.locator("th", has_text="depth").locator("button.sort").click(modifiers=["Shift"])
    until(page, "location.search.includes('sort=params%2Foptimizer%2Cparams%2Fdepth')")
    rows = page.locator("tbody tr[role=row]").evaluate_all(
        "rows => rows.slice(0, 20).map(row => [row.children[2].textContent, Number(row.children[3].textContent)])"
    )

    assert rows == sorted(rows)


def test_row_and_curve_are_highlighted_together(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs?split=1&m=val/auc&find=DIGITS-1")
    settled(page, until)
    until(page, "document.querySelectorAll('.split canvas').length === 1")
    box = page.locator(".u-over").first.bounding_box()
    for share in range(1, 20):
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * share / 20)
        page.wait_for_timeout(40)
        if page.locator("tr.highlighted").count():
            break

    assert page.locator("tr.highlighted").count() == 1


def test_eye_of_a_row_takes_its_curve_away(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs?split=1&m=val/auc&find=DIGITS-1")
    settled(page, until)
    curves = "document.querySelector('section.chart .chart-canvas')?.ariaLabel.match(/(\\d+) curves/)?.[1]"
    until(page, f"{curves} === '11'")
    page.get_by_role("button", name="Hide curves of DIGITS-12").click()
    until(page, f"{curves} === '10'")

    assert "hidden=DIGITS-12" in page.url
