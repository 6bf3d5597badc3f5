"""Every control of a chart, used as a user does, in a real browser."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytestmark = pytest.mark.browser
LONG = "/p/digits/runs/DIGITS-51/charts?m=long"
SOME = "/p/digits/compare/charts?runs=DIGITS-1,DIGITS-2,DIGITS-8"


def chart(page: Any, number: int = 0) -> Any:
    """One of the charts that are shown."""
    return page.locator("section.chart").nth(number)


def option(page: Any, name: str) -> None:
    """Choose from the options of the first chart."""
    chart(page).get_by_label(re.compile("Options of")).click()
    page.get_by_role("button", name=name, exact=True).click()


def asked(look: Any) -> list[str]:
    """The requests for charts so far."""
    return [url for url in look.requests if "/api/v1/chart" in url]


@pytest.mark.parametrize("kind", ["relative", "time"])
def test_x_is_another_clock(look: Any, until: Any, settled: Any, kind: str) -> None:
    page = look.open(SOME + "&m=train/loss")
    settled(page, until)
    page.get_by_role("radio", name=kind).click()
    until(page, f"location.search.includes('x={kind}')")
    settled(page, until)

    assert f"x={kind}" in asked(look)[-1]
    assert "3,000 points" in chart(page).inner_text()


def test_x_is_another_series(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-1/charts?m=loss")
    settled(page, until)
    page.get_by_role("button", name="Axes").click()
    page.get_by_label("Field for the horizontal axis").fill("val au")
    page.get_by_role("button", name="val/auc", exact=True).click()
    until(page, "location.search.includes('x=series')")
    settled(page, until)

    assert "x=series%3Aval%2Fauc" in asked(look)[-1]


def test_log_axes_say_what_they_leave_out(look: Any, until: Any, settled: Any) -> None:
    page = look.open(LONG)
    settled(page, until)
    page.get_by_role("button", name="Axes").click()
    page.get_by_label("log vertical axis").check()
    page.get_by_label("log horizontal axis").check()
    until(page, "location.search.includes('logy=1') && location.search.includes('logx=1')")
    settled(page, until)

    assert "values of zero or less cannot be drawn on a log axis" in chart(page).inner_text()


def test_clipped_outliers_are_counted(look: Any, until: Any, settled: Any) -> None:
    page = look.open(LONG)
    settled(page, until)
    page.get_by_role("button", name="Axes").click()
    page.get_by_label("clip outliers, with marks").check()
    until(page, "document.querySelector('section.chart').textContent.includes('beyond the clipped axis')")


def test_smoothing_keeps_the_raw_envelope(look: Any, until: Any, settled: Any) -> None:
    """The slider smooths on the server from all points; the spikes stay in the shade and in the numbers."""
    page = look.open(LONG)
    settled(page, until)
    page.get_by_label("Smoothing").fill("0.9")
    until(page, "location.search.includes('smooth=0.9')")
    until(page, "document.querySelector('section.chart').textContent.includes('smoothed from the raw points')")
    settled(page, until)

    assert "smooth=0.9" in asked(look)[-1]
    option(page, "Show as table")
    assert {"9", "−3"} <= set(chart(page).locator("table.plain tbody").first.locator("td").all_text_contents())


def test_smoothing_by_key(look: Any, until: Any, settled: Any) -> None:
    page = look.open(LONG)
    settled(page, until)
    page.keyboard.press("s")
    until(page, "location.search.includes('smooth=0.25')")
    page.keyboard.press("Shift+S")
    until(page, "!location.search.includes('smooth')")


def test_dragging_zooms_and_a_double_click_resets(look: Any, until: Any, settled: Any) -> None:
    page = look.open(LONG)
    settled(page, until)
    box = page.locator(".u-over").first.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.3, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4, middle, steps=5)
    page.mouse.up()
    until(page, "location.search.includes('zooms=long')")
    settled(page, until)
    low, high = re.findall(r"(?:from|to)=([\d.]+)", asked(look)[-1])
    page.mouse.dblclick(box["x"] + box["width"] / 2, middle)
    until(page, "!location.search.includes('zooms')")

    assert float(low) == pytest.approx(60_000, rel=0.05)
    assert float(high) == pytest.approx(80_000, rel=0.05)


def test_zoom_is_shared_if_that_is_chosen(look: Any, until: Any, settled: Any) -> None:
    page = look.open(SOME + "&m=loss&sync=1")
    settled(page, until)
    page.locator(".chart-canvas").first.focus()
    page.keyboard.press("+")
    until(page, "location.search.includes('zoom=')")
    settled(page, until)
    until(
        page, "[...document.querySelectorAll('section.chart')].every(card => card.textContent.includes('Reset zoom'))"
    )
    page.locator(".chart-canvas").first.focus()
    page.keyboard.press("0")
    until(page, "!location.search.includes('zoom=')")


def test_pointer_is_shown_in_all_charts_at_one_step(look: Any, until: Any, settled: Any) -> None:
    page = look.open(SOME + "&m=loss")
    settled(page, until)
    box = page.locator(".u-over").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector(".hover-table")
    places = page.locator(".u-cursor-x").evaluate_all("lines => lines.map(line => line.style.transform)")
    rows = page.locator(".hover-table tr td.end:nth-child(3)").all_text_contents()

    assert 2 <= len(places)
    assert 1 == len({re.findall(r"[\d.]+", place)[0].split(".")[0] for place in places})
    assert rows == sorted(rows, key=lambda text: -float(text.replace("−", "-")))


def test_runs_are_grouped_with_mean_and_band(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/compare/charts?m=train/loss&runs=" + ",".join(f"DIGITS-{n}" for n in range(1, 21)))
    settled(page, until)
    page.get_by_role("button", name="group by: none").click()
    page.get_by_label("Field for group by").fill("optim")
    page.get_by_role("button", name="params/optimizer", exact=True).click()
    until(page, "document.querySelector('section.chart').textContent.includes('the line is their mean')")

    assert "20 runs in groups" in chart(page).inner_text()
    assert {"adam", "lion", "sgd"} == set(chart(page).locator(".legend .name").all_text_contents())


def test_chart_is_pinned_and_shown_in_full(look: Any, until: Any, settled: Any) -> None:
    page = look.open(SOME)
    settled(page, until)
    chart(page, 2).get_by_label(re.compile("Options of")).click()
    page.get_by_role("button", name="Pin to the top").click()
    until(page, "location.search.includes('pin=train')")
    page.get_by_role("button", name="Show train/accuracy in full screen").click()
    page.wait_for_selector("section.chart.full")
    address = page.url
    page.keyboard.press("Escape")
    until(page, "!document.querySelector('section.chart.full')")
    page.goto(address)
    page.wait_for_selector("section.chart.full")

    assert "full=train%2Faccuracy" in address


def test_chart_is_kept_as_picture_and_as_numbers(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-51/charts?m=odd/values")
    settled(page, until)
    found = {}
    for form in ("PNG", "SVG", "CSV"):
        with page.expect_download() as download:
            option(page, f"Download {form}")
        found[form] = Path(download.value.path()).read_bytes()
    with Image.open(io.BytesIO(found["PNG"])) as picture:
        size = picture.size
    lines = found["CSV"].decode().splitlines()

    assert size[0] > 300
    assert found["SVG"].startswith(b"<svg")
    assert b"odd/values" in found["SVG"]
    assert "run,path,step,time,value" == lines[0]
    assert [line.rpartition(",")[2] for line in lines[1:]] == ["1.0", "0.8", "nan", "0.6", "inf", "0.5", "-inf", "0.4"]


def test_metrics_are_chosen_by_a_regular_expression(look: Any, until: Any, settled: Any) -> None:
    page = look.open(SOME)
    settled(page, until)
    page.get_by_label("Metrics by regular expression").fill("^val/(auc|f1)$")
    until(page, "document.querySelectorAll('section.chart').length === 2")

    assert "2 charts" in page.locator("main").inner_text()


def test_chart_that_fails_says_so_and_is_tried_again(look: Any, until: Any, settled: Any) -> None:
    """One card fails alone, and the others stay."""
    look.allowed = ["500"]
    broken = [True]

    def answer(route: Any) -> None:
        if broken[0] and "train%2Floss" in route.request.url:
            route.fulfill(status=500, json={"status": 500, "detail": "The disk is gone."})
        else:
            route.continue_()

    look.page.route("**/api/v1/chart*", answer)
    page = look.open(SOME + "&m=train")
    page.wait_for_selector("section.chart [role=alert]")
    settled(page, until)
    others = page.locator("section.chart canvas").count()
    broken[0] = False
    page.get_by_role("button", name="Try again").click()
    until(page, f"document.querySelectorAll('section.chart canvas').length === {others + 1}")

    assert 1 == others
    assert 0 == page.locator("[role=alert]").count()
