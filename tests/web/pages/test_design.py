"""Every widget in every state on the design page, in both themes, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.browser
PARTS = [
    "Controls",
    "Charts",
    "Table of 10",
    "Table of one",
    "Tree",
    "Log of a",
    "Log of two",
    "Images",
    "Code",
    "Documents",
    "Parallel",
]


@pytest.mark.parametrize("part", PARTS)
def test_widgets_are_accessible_in_both_themes(alone: Any, axe: Any, part: str) -> None:
    """U16: no serious finding of axe-core."""
    page = alone.open(f"/design?m={part.replace(' ', '+')}")
    page.locator(".design-pair").first.wait_for()
    page.wait_for_timeout(300)

    assert [] == axe(page)
    assert [] == page.evaluate("__naiad.errors")


def test_ten_thousand_rows_cost_a_few_rows_of_nodes(alone: Any) -> None:
    page = alone.open("/design?m=Table+of+10")
    table = page.locator("table[aria-rowcount='10001']").first

    assert table.locator("tbody tr[role=row]").count() < 40


def test_table_is_walked_with_keys(alone: Any, until: Any) -> None:
    """Arrows, j and k, Home and End move the one cell that has the focus, also to rows that are not drawn yet."""
    page = alone.open("/design?m=Table+of+10")
    page.locator("table[role=grid] tbody td[role=gridcell]:not(.select)").first.click()
    page.locator("table[role=grid] tbody td[role=gridcell]:not(.select)").first.focus()
    for key in ("j", "j", "ArrowRight", "k"):
        page.keyboard.press(key)
    row = page.evaluate("document.activeElement.closest('tr').getAttribute('aria-rowindex')")
    page.keyboard.press("Control+End")
    until(page, "document.activeElement.closest('tr')?.getAttribute('aria-rowindex') === '10001'")

    assert "3" == row
    assert 1 == page.evaluate(
        "document.querySelectorAll('table[aria-rowcount=\"10001\"]')[0].querySelectorAll('[tabindex=\"0\"]').length"
    )


def test_header_states_the_order_where_screen_readers_look(alone: Any) -> None:
    page = alone.open("/design?m=Table+of+10")
    head = page.locator("th[role=columnheader]", has_text="name").first
    head.locator("button.sort").click()

    assert "ascending" == head.get_attribute("aria-sort")


def test_columns_are_resized_moved_and_pinned(alone: Any) -> None:
    page = alone.open("/design?m=Table+of+10")
    names = "[...document.querySelector('table').querySelectorAll('th .title')].map(e => e.textContent)"
    first = page.locator("table").first
    head = first.locator("th", has_text="state").first
    width = head.bounding_box()["width"]
    handle = head.locator(".resize").bounding_box()
    page.mouse.move(handle["x"] + 3, handle["y"] + 8)
    page.mouse.down()
    page.mouse.move(handle["x"] + 63, handle["y"] + 8, steps=4)
    page.mouse.up()
    page.wait_for_timeout(50)
    wider = head.bounding_box()["width"]
    head.hover()
    head.get_by_label("Column state").click()
    page.get_by_role("button", name="Move left").click()
    moved = page.evaluate(names)
    head = first.locator("th", has_text="lr").first
    head.hover()
    head.get_by_label("Column params/lr").click()
    page.get_by_role("button", name="Pin to the left").click()

    assert 55 < wider - width < 65
    assert ["id", "state", "name"] == moved[:3]
    assert ["id", "params/lr"] == page.evaluate(names)[:2]


def test_tree_of_thousands_is_searched(alone: Any, until: Any) -> None:
    """U14: of 10,000 fields those that fit are shown, no more than have room; bench_pages takes the time."""
    page = alone.open("/design?m=Tree")
    page.locator(".tree input").first.fill("w999 norm")
    until(page, "document.querySelector('.tree').textContent.includes('w9990')")

    assert 60 > page.locator(".tree").first.locator("[role=treeitem]").count() > 3


def test_tree_is_walked_with_keys(alone: Any) -> None:
    page = alone.open("/design?m=Tree")
    page.locator("[role=treeitem]", has_text="layers").first.focus()
    for key in ("ArrowDown", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)

    assert "layers" == page.evaluate("document.activeElement.querySelector('.name').textContent")
    assert "true" == page.evaluate("document.activeElement.getAttribute('aria-expanded')")


def test_a_million_lines_scroll_to_the_last(alone: Any, until: Any) -> None:
    page = alone.open("/design?m=Log+of+a")
    page.locator(".log .toggle", has_text="follow").first.click()
    until(page, "document.querySelector('.log-lines').textContent.includes('1000000')")

    assert page.locator(".log").first.locator(".log-line").count() < 40


def test_log_is_searched_and_colours_are_classes(alone: Any, until: Any) -> None:
    page = alone.open("/design?m=Log+of+a")
    page.locator(".log input[type=search]").first.fill("DONE step 9996")
    until(page, "document.querySelector('.log-line.marked .text mark')")

    assert "1 of 1" == page.locator(".log [aria-live=polite]").first.text_content()
    assert page.locator(".log").first.locator(".ansi-2").count() > 0
    assert "\x1b" not in page.locator(".log").first.text_content()


def test_spike_is_painted(alone: Any, until: Any) -> None:
    """U8: one point among a million; the pixels at its column reach the top of the plot."""
    page = alone.open("/design?m=Charts")
    until(page, "__naiad.draws > 4")
    card = page.locator("section.chart", has_text="a spike among").first
    card.scroll_into_view_if_needed()
    page.wait_for_timeout(200)
    highest = card.locator("canvas").evaluate("""canvas => {
        const {width, height} = canvas;
        const data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
        let best = height;
        for (let x = Math.round(width * 0.55); x < width * 0.75; x++)
            for (let y = 4; y < height; y++) {
                const i = 4 * (y * width + x);
                if (data[i + 3] > 120 && data[i] > data[i + 1] + 60) { best = Math.min(best, y / height); break; }
            }
        return best;
    }""")

    assert highest < 0.25


def test_chart_is_read_zoomed_and_exported(alone: Any, until: Any) -> None:
    page = alone.open("/design?m=Charts")
    card = page.locator("section.chart").first
    card.locator(".u-over").wait_for()
    label = card.locator("[role=img]").get_attribute("aria-label")
    box = card.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + 80, box["y"] + 40)
    page.wait_for_selector(".hover-table")
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 40, steps=5)
    page.mouse.up()
    card.get_by_role("button", name="Reset zoom").wait_for()
    card.locator("[role=img]").focus()
    page.keyboard.press("0")
    card.get_by_role("button", name="Reset zoom").wait_for(state="detached")
    names = []
    for kind in ("PNG", "SVG", "CSV"):
        card.get_by_label("Options of train/loss").click()
        with page.expect_download() as download:
            card.get_by_role("button", name=f"Download {kind}").click()
        names.append(download.value.suggested_filename)
    card.get_by_label("Options of train/loss").click()
    card.get_by_role("button", name="Show as table").click()

    assert "1 curve" in label
    assert ["train_loss.png", "train_loss.svg", "train_loss.csv"] == names
    assert "300" in card.locator("table.plain").text_content()


@pytest.fixture(scope="module")
def whole(without_server: Any, static: str, opened: Any) -> Iterator[Any]:
    """The page with all its parts, which takes seconds to draw."""
    with opened(without_server, static) as watched:
        page = watched.open("/design")
        page.locator("section[aria-label^=Parallel] svg, section[aria-label^=Parallel] canvas").first.wait_for()
        yield page


def test_hostile_text_stays_text(whole: Any) -> None:
    assert 0 == whole.locator("img[src='x'], a[href^='javascript']").count()
    assert "\u202e" not in whole.locator("main").text_content()


@pytest.mark.parametrize("width", [360, 1280])
def test_page_does_not_scroll_sideways(whole: Any, width: int) -> None:
    whole.set_viewport_size({"width": width, "height": 740})
    whole.wait_for_timeout(200)  # for what follows the size of its place

    assert whole.evaluate(
        "document.querySelector('main').scrollWidth <= document.querySelector('main').clientWidth + 1"
    )
