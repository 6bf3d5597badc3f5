"""A run and runs beside each other, used by keys and by hand, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.browser
COPIED = """
globalThis.copied = "";
Object.defineProperty(navigator, "clipboard", { value: { writeText: async (text) => { globalThis.copied = text; } } });
"""


def test_keys_of_a_run(look: Any, until: Any, settled: Any) -> None:
    """`]` and `[` walk the runs on the same tab, `l` shows the log, `g c` the charts, `t` the other theme."""
    page = look.open("/p/digits/runs/DIGITS-20/charts")
    settled(page, until)
    page.keyboard.press("]")
    until(page, "location.pathname.endsWith('/DIGITS-19/charts')")
    settled(page, until)
    page.keyboard.press("[")
    until(page, "location.pathname.endsWith('/DIGITS-20/charts')")
    settled(page, until)
    page.keyboard.press("l")
    until(page, "location.pathname.endsWith('/DIGITS-20/logs')")
    page.keyboard.press("g")
    page.keyboard.press("c")
    until(page, "location.pathname.endsWith('/DIGITS-20/charts')")
    page.keyboard.press("t")
    until(page, "document.documentElement.dataset.theme === 'dark'")


def test_value_is_copied_and_read_back_in_python(look: Any, until: Any, settled: Any) -> None:
    look.page.add_init_script(COPIED)
    page = look.open("/p/digits/runs/DIGITS-52/fields?path=params/lr&open=params")
    settled(page, until)
    page.get_by_role("button", name="Copy value").click()
    until(page, "copied === '0.003'")
    page.get_by_role("button", name="Copy as Python").click()
    until(page, "copied.includes('fetch()')")
    code = page.evaluate("copied")

    compile(code, "copied", "exec")
    assert 'run["params/lr"].fetch()' in code


def test_all_steps_of_images_are_one_grid_that_zooms_together(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-52/images")
    settled(page, until)
    page.get_by_label("all steps").check()
    until(page, "document.querySelectorAll('.tile').length > 20")
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Zoom in").click()
    until(
        page,
        "[...document.querySelectorAll('.tile img')].every(image => image.style.transform.includes('scale(2.25)'))",
    )
    page.get_by_role("button", name="Whole images").click()
    until(page, "[...document.querySelectorAll('.tile img')].every(image => !image.style.transform)")


def test_images_are_played(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-52/images?step=0")
    settled(page, until)
    page.get_by_role("button", name="Play").click()
    until(page, "Number(new URLSearchParams(location.search).get('step')) >= 10")
    page.get_by_role("button", name="Pause").click()


def test_images_of_runs_say_who_has_none(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/compare/images?runs=DIGITS-52,DIGITS-1")
    settled(page, until)

    assert "have no images of this name" in page.locator("main").inner_text()


def test_axes_of_parallel_coordinates_are_moved_and_narrowed(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/compare/parallel?axes=params/depth,params/optimizer,val/auc")
    settled(page, until)
    page.get_by_role("button", name="Move val/auc left").click(force=True)
    until(page, "location.search.includes('axes=params%2Fdepth%2Cval%2Fauc%2Cparams%2Foptimizer')")
    box = page.locator(".parallel-axis").first.bounding_box()
    x = box["x"] + box["width"] / 2
    page.mouse.move(x, box["y"] + box["height"] * 0.1)
    page.mouse.down()
    page.mouse.move(x, box["y"] + box["height"] * 0.5, steps=4)
    page.mouse.up()
    until(page, "!!document.querySelector('.parallel-axis b')")
    kept = page.locator(".parallel p").inner_text()
    page.get_by_role("button", name="Keep all").click()
    until(page, "!document.querySelector('.parallel-axis b')")

    assert not kept.startswith("54 of 54")


def test_scatter_opens_the_run_of_a_dot(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/compare/scatter?xf=params/depth&yf=score")
    settled(page, until)
    page.get_by_role("button", name="vertical: score").click()
    page.get_by_label("Field for vertical").fill("val auc")
    page.get_by_role("button", name="val/auc", exact=True).click()
    until(page, "location.search.includes('yf=val%2Fauc')")
    settled(page, until)
    page.locator(".scatter circle").first.hover(force=True)
    page.wait_for_selector(".scatter .hover-table")
    page.locator(".scatter circle").first.click(force=True)
    until(page, "location.pathname.includes('/runs/DIGITS-')")


def test_better_runs_are_told_from_the_others(look: Any, until: Any, settled: Any) -> None:
    """Judged by another metric, in another direction, the groups are others; a field leads to its scatter."""
    page = look.open("/p/digits/compare/why?yf=score")
    settled(page, until)
    until(page, "document.querySelectorAll('.reasons tbody tr').length > 2")
    said = page.locator("main [aria-live]").last.inner_text()
    page.get_by_role("radio", name="less is better").click()
    page.get_by_label("the best").select_option(label="quarter")
    until(page, "location.search.includes('mode=less') && location.search.includes('share=0.25')")
    quarter = page.locator("main [aria-live]").last.inner_text()
    page.get_by_role("button", name="judged by: score").click()
    page.get_by_label("Field for judged by").fill("val loss min")
    page.get_by_role("button", name="val/loss:min", exact=True).click()
    until(page, "location.search.includes('yf=val%2Floss%3Amin') && !location.search.includes('mode')")
    until(page, "document.querySelector('[role=radio][aria-checked=true]')?.textContent === 'less is better'")
    page.locator(".reasons tbody a").first.click()
    until(page, "location.pathname.endsWith('/scatter') && location.search.includes('xf=')")

    assert "25 runs against 25" == said
    assert "12 runs against 38" == quarter


def test_code_of_two_runs_is_compared(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/compare/code?runs=DIGITS-52,DIGITS-1")
    settled(page, until)
    before = page.locator("main").inner_text()
    page.get_by_role("button", name="Swap").click()
    until(page, "document.querySelector('main').innerText.includes('1 added')")

    assert "1 removed" in before


@pytest.mark.parametrize(
    ("path", "shown"),
    [("sound", "audio[controls]"), ("book", ".markdown pre"), ("table", ".sheet td"), ("plain", ".code-line")],
)
def test_media_and_tables_are_shown(look: Any, until: Any, settled: Any, path: str, shown: str) -> None:
    page = look.open(f"/p/media/runs/MEDIA-1/files?path=files/{path}")
    settled(page, until)
    page.wait_for_selector(f".side {shown}")

    assert page.evaluate("window.hacked === undefined")
    assert 0 == page.locator("[role=alert]").count()


def test_project_page_leads_to_its_parts(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/")
    settled(page, until)
    page.get_by_role("link", name="sweep").first.click()
    until(page, "location.pathname === '/p/sweep/runs'")
    page.locator("nav.rail a.project").click()
    until(page, "location.pathname === '/p/sweep'")
    page.locator("main .bar a.primary").click()
    until(page, "location.pathname === '/p/sweep/runs'")


def test_box_of_a_log_axis_says_how_the_dots_are_drawn(look: Any, until: Any, settled: Any) -> None:
    """The axis of learning rates is one of powers of ten at first, and may be made a plain one."""
    runs = ",".join(f"DIGITS-{number}" for number in range(1, 40))
    page = look.open(f"/p/digits/compare/scatter?runs={runs}&xf=params/lr&yf=score")
    settled(page, until)
    until(page, "document.querySelectorAll('.scatter circle').length > 20")
    ticks = "[...document.querySelectorAll('.scatter svg text')].map(text => text.textContent).join()"
    before, box = page.evaluate(ticks), page.get_by_label("log horizontal")
    assert box.is_checked()
    box.uncheck()
    until(page, "location.search.includes('mode=linear')")
    until(page, f"{ticks} !== {before!r}")

    assert not box.is_checked()
    box.check()
    until(page, f"{ticks} === {before!r}")


@pytest.mark.parametrize("address", ["/p/digits/runs/DIGITS-1/monitoring", "/p/digits/compare/artifacts?runs=DIGITS-1"])
def test_shown_tab_is_in_view_on_a_phone(look: Any, until: Any, settled: Any, address: str) -> None:
    look.page.set_viewport_size({"width": 390, "height": 844})
    page = look.open(address)
    settled(page, until)
    box = page.locator(".tabs [aria-current=page]").bounding_box()

    assert 0 <= box["x"]
    assert box["x"] + box["width"] <= 390


def test_values_that_an_overview_leaves_out_are_counted(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-53")
    settled(page, until)

    left = page.get_by_text("more namespaces in Fields").text_content()
    assert 60 == page.locator("section.card dl").count()
    assert int(left.split()[1].replace(",", "")) > 60


def test_slider_of_histograms_takes_one_line(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-52/fields?path=weights")
    settled(page, until)

    assert page.locator(".stepper").bounding_box()["height"] < 60


def test_columns_are_removed_on_a_phone(look: Any, until: Any, settled: Any) -> None:
    look.page.set_viewport_size({"width": 390, "height": 844})
    page = look.open("/p/digits/runs")
    settled(page, until)
    page.get_by_role("button", name="Columns", exact=True).click()
    button = page.get_by_role("button", name="Remove name", exact=True)
    box, panel = button.bounding_box(), page.locator(".panel")

    assert box["x"] + box["width"] <= 390
    assert panel.evaluate("panel => panel.scrollWidth <= panel.clientWidth")


def test_chart_that_makes_functions_of_texts_is_drawn(look: Any, until: Any, settled: Any) -> None:
    """As those of Altair do; it runs in the sandbox of logged content."""
    page = look.open("/p/media/runs/MEDIA-1/files?path=files/chart")
    settled(page, until)

    assert "42" == page.frame_locator(".side iframe").locator("#drawn").text_content()


def test_beginning_of_a_long_text_is_shown(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/media/runs/MEDIA-1/files?path=files/long")
    settled(page, until)
    said = page.locator(".side").inner_text()

    assert "The first 500 kB of 2.9 MB" in said
    assert "line 1999" in said


def test_cells_of_a_table_take_one_line(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/media/runs/MEDIA-1/files?path=files/wide")
    settled(page, until)
    page.wait_for_selector(".sheet td")

    assert page.locator(".sheet tbody tr").first.bounding_box()["height"] < 40
    assert "several words" in page.locator(".sheet td").last.get_attribute("title")


def test_overview_without_parameters_says_where_the_rest_is(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/media/runs/MEDIA-1")
    settled(page, until)
    page.locator("main .empty a").first.click()
    until(page, "location.pathname.endsWith('/files')")
    settled(page, until)

    assert "application/vnd" not in page.locator("main").inner_text()


def test_chosen_file_is_in_view_on_a_phone(look: Any, until: Any, settled: Any) -> None:
    look.page.set_viewport_size({"width": 390, "height": 844})
    page = look.open("/p/digits/runs/DIGITS-52/files?path=files/table")
    settled(page, until)
    page.wait_for_selector(".side .sheet td")

    assert page.locator(".side .sheet").bounding_box()["y"] < 700


def test_traceback_is_open_on_the_overview_and_one_line_on_the_log(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs?find=fails")
    settled(page, until)
    page.get_by_role("link", name="DIGITS-").first.click()
    page.wait_for_selector("details.traceback[open]")
    page.keyboard.press("l")
    page.wait_for_selector("details.traceback:not([open])")
    until(page, "document.querySelector('.traceback summary').innerText.includes('ZeroDivisionError')")


def test_size_of_a_run_has_its_files(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/media/runs/MEDIA-1")
    settled(page, until)
    until(page, "/\\d MB/.test(document.querySelector('.run-head .line').innerText)")


def test_version_leads_back_to_its_model(look: Any, until: Any, settled: Any) -> None:
    """Also from the address that names the version alone."""
    page = look.open("/p/digits/models/DIGITS-CNN-1")
    settled(page, until)
    page.get_by_role("link", name="DIGITS-CNN", exact=True).click()
    until(page, "location.pathname.endsWith('/models/DIGITS-CNN')")


def test_values_of_fields_far_down_a_search_are_shown(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-53/fields?find=norm")
    settled(page, until)
    page.locator("[role=tree]").evaluate("tree => { tree.scrollTop = tree.scrollHeight; }")
    shown = "[...document.querySelectorAll('[role=treeitem]:not(.space-row) .value')].map(value => value.textContent)"
    until(page, f"{shown}.length > 5 && {shown}.every(Boolean)")
