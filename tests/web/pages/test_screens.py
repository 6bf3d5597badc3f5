"""Every screen over a real store, served as users serve it, in a real browser."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

import naiad
from naiad.management import delete_objects_from_trash, trash_objects
from naiad_web.server.pages import Pages

pytestmark = pytest.mark.browser
PAGES = Path(__file__).parents[3] / "core/naiad_web/pages"
RUN_BUDGET = 25
"""U4: requests of the interface when charts of fifty runs are opened."""


SCREENS = {
    "projects": "/",
    "runs": "/p/digits/runs",
    "runs with charts": "/p/digits/runs?split=1",
    "groups": "/p/digits/runs?group=params/optimizer",
    "trash": "/p/digits/runs?trash=1",
    "overview": "/p/digits/runs/DIGITS-52",
    "failed": "/p/digits/runs/DIGITS-54",
    "charts": "/p/digits/runs/DIGITS-51/charts?smooth=0.9",
    "fields": "/p/digits/runs/DIGITS-52/fields?path=params/long&open=params",
    "images": "/p/digits/runs/DIGITS-52/images",
    "files": "/p/digits/runs/DIGITS-52/files?path=files/report",
    "source": "/p/digits/runs/DIGITS-52/source",
    "logs": "/p/digits/runs/DIGITS-52/logs",
    "monitoring": "/p/digits/runs/DIGITS-54/monitoring",
    "side by side": "/p/digits/compare?runs=DIGITS-1,DIGITS-2,DIGITS-8&ref=DIGITS-1&diff=1",
    "overlaid": "/p/digits/compare/charts?runs=DIGITS-1,DIGITS-2,DIGITS-8",
    "tree": "/p/sweep/runs?tree=1&open=SWEEP-1",
    "versions side by side": "/p/digits/compare?runs=DIGITS-CNN-1,DIGITS-CNN-3&kind=model_version",
    "parallel": "/p/digits/compare/parallel",
    "scatter": "/p/digits/compare/scatter",
    "why better": "/p/digits/compare/why?yf=score",
    "compared images": "/p/digits/compare/images?runs=DIGITS-52,DIGITS-1",
    "compared code": "/p/digits/compare/code?runs=DIGITS-52,DIGITS-1",
    "compared artifacts": "/p/digits/compare/artifacts?runs=DIGITS-1,DIGITS-2",
    "no comparison": "/p/digits/compare",
    "models": "/p/digits/models",
    "model": "/p/digits/models/DIGITS-CNN",
    "version": "/p/digits/models/DIGITS-CNN/DIGITS-CNN-2",
    "artifacts": "/p/digits/artifacts",
    "project": "/p/digits",
    "about": "/about",
    "no such project": "/p/none/runs",
}


@pytest.mark.parametrize("screen", SCREENS)
def test_screen_is_whole_and_accessible_in_both_themes_and_on_a_phone(
    look: Any, axe: Any, color_rules: Any, until: Any, settled: Any, screen: str
) -> None:
    """U2, U16, U17: no error, no report, no foreign request, no serious finding; hostile names stay text.

    The themes and sizes of one screen are looked at without loading it again, which takes longer than all of them.
    """
    page = look.open(SCREENS[screen])
    settled(page, until)

    assert [] == axe(page)
    assert 0 == page.locator("[role=alert]").count()
    assert page.evaluate("window.hacked === undefined && document.title.includes('naiad')")
    assert 0 == page.locator("main img[src='x'], a[href^='javascript']").count()

    page.emulate_media(color_scheme="dark")
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert [] == axe(page, only=color_rules)

    page.set_viewport_size({"width": 380, "height": 760})

    # Charts and tables follow the size of their place in some of the next frames.
    until(page, "document.documentElement.scrollWidth <= innerWidth")
    until(page, "document.querySelector('main').scrollWidth <= innerWidth + 1")


def test_address_is_the_state(look: Any, until: Any, settled: Any) -> None:
    """What is typed and clicked is in the address; pasted, it gives the same picture; back leads back."""
    page = look.open("/p/digits/runs")
    settled(page, until)
    page.locator("th", has_text="name").locator("button.sort").click()
    page.get_by_label("Find in rows").fill("resnet18")
    until(page, "location.search.includes('find=resnet18') && location.search.includes('sort=sys')")
    names = page.locator("tbody td:nth-child(3)").all_text_contents()
    address = page.url
    page.locator("tbody a", has_text="DIGITS").first.click()
    until(page, "!!document.querySelector('.run-head h1')")
    page.go_back()
    until(page, "!!document.querySelector('table[role=grid]')")
    page.goto(address)
    settled(page, until)

    assert names == sorted(names)
    assert names[:8] == page.locator("tbody td:nth-child(3)").all_text_contents()[:8]
    assert "resnet18" == page.get_by_label("Find in rows").input_value()


def test_charts_of_fifty_runs_cost_few_requests(fresh: Any, until: Any, settled: Any) -> None:
    """U4: at most 25 requests and 2.5 MB for the charts that are seen."""
    page = fresh.page
    sizes: list[int] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    fresh.open("/p/digits/runs")
    settled(page, until)
    sizes.clear()
    before = len(fresh.requests)
    page.get_by_label("charts").check()
    until(page, "document.querySelectorAll('.split canvas').length >= 2")
    settled(page, until)
    asked = [url for url in fresh.requests[before:] if "/api/" in url]

    assert len(asked) <= RUN_BUDGET
    assert sum(sizes) <= 2_500_000


@pytest.mark.parametrize(
    ("screen", "limit"), [("runs", 67_800), ("runs with charts", 93_900), ("overview", 77_900), ("overlaid", 84_200)]
)
def test_opening_a_screen_loads_few_scripts(fresh: Any, until: Any, settled: Any, screen: str, limit: int) -> None:
    """U1 by screen: scripts and styles as they are sent, compressed; a table without charts loads no uPlot."""
    page = fresh.open(SCREENS[screen])
    settled(page, until)
    names = {re.sub(r"^v-\w+/", "", url.partition("/static/")[2]) for url in fresh.requests if "/static/" in url}
    files = Pages(PAGES)
    total = sum(len(files.answer(f"/static/{name}", encodings="gzip").body) for name in names)

    assert total <= limit


def test_spikes_of_a_long_series_are_drawn(look: Any, until: Any, settled: Any) -> None:
    """U8, U9: the two points among 200,000 reach their height, at any zoom; one chart is at most 30 KB a series."""
    page = look.open("/p/digits/runs/DIGITS-51/charts?m=long")
    settled(page, until)
    text = page.locator("section.chart").first.text_content()
    table = _as_table(page)
    sizes = page.evaluate(
        "performance.getEntriesByType('resource').filter(e => e.name.includes('/chart')).map(e => e.encodedBodySize)"
    )

    assert "200,000 points shown as minimum and maximum of 1,000 buckets" in text
    assert "9" in table
    assert "−3" in table
    assert 0 < max(sizes) <= 30_000


def _as_table(page: Any) -> list[str]:
    page.locator("section.chart").first.get_by_label(re.compile("Options of")).click()
    page.get_by_role("button", name="Show as table").click()
    return page.locator("section.chart table.plain tbody").first.locator("td").all_text_contents()


def test_zoom_reaches_raw_points(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-51/charts?m=long&zooms=long/loss,123400~123500")
    settled(page, until)
    until(page, "document.querySelector('section.chart').textContent.includes('each drawn')")

    assert page.get_by_role("button", name="Reset zoom").count() == 1


def test_hover_gives_the_stored_value_and_step(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-51/charts?m=odd/one")
    settled(page, until)
    box = page.locator(".u-over").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector(".hover-table")
    page.wait_for_timeout(300)

    assert "step 3" in page.locator(".hover-table").text_content()
    assert "0.25" in page.locator(".hover-table").text_content()


def test_values_that_no_line_shows_are_marked(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-51/charts?m=odd/values")
    settled(page, until)

    assert "1 NaN (×), 1 +∞ (▲), 1 −∞ (▼) marked." in page.locator("section.chart").text_content()


def test_traceback_of_a_failed_run_stands_in_front(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-54")
    settled(page, until)

    assert "ZeroDivisionError" in page.locator("details.traceback[open] pre").text_content()
    assert page.locator("details.traceback").bounding_box()["y"] < page.locator(".tabs").bounding_box()["y"]


def test_thousands_of_fields_are_searched(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-53/fields")
    settled(page, until)
    page.get_by_label("Search fields").fill("block49 w7 norm")
    until(page, "document.querySelector('.tree [aria-live]').textContent.includes('found')")
    page.locator("[role=treeitem]", has_text="norm").last.click()
    until(page, "location.search.includes('norm') && !!document.querySelector('.whole')")

    assert "73.5" in page.locator(".whole").text_content()


def test_logs_are_searched_linked_and_coloured(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-52/logs")
    settled(page, until)
    page.get_by_label("Search the log").fill("epoch 4321 ")
    until(page, "document.querySelector('.log-line.marked mark')?.textContent.includes('4321')")
    page.locator(".log-line.marked .number").click()
    until(page, "location.search.includes('line=4321')")

    assert page.locator(".ansi-2").count() > 0
    assert "\x1b" not in page.locator(".log").text_content()


def test_log_shows_steps_instead_of_times(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-52/logs")
    settled(page, until)
    page.get_by_label("steps").check()
    until(page, "location.search.includes('mode=steps')")

    assert ["0", "1", "2"] == page.locator(".log-line .time").all_text_contents()[:3]


def test_page_that_was_logged_runs_in_a_sandbox_only(look: Any, until: Any, settled: Any) -> None:
    """A logged page may run its scripts, in a frame without our origin."""
    look.allowed = ["Blocked script execution"]
    page = look.open("/p/digits/runs/DIGITS-52/files?path=files/report")
    settled(page, until)
    frame = page.wait_for_selector("iframe.frame").content_frame()
    frame.wait_for_selector("h1")

    assert "allow-scripts" == page.locator("iframe.frame").get_attribute("sandbox")
    assert "SecurityError" == frame.evaluate("document.body.dataset.denied")
    assert "hacked" not in page.title()


@pytest.mark.parametrize("path", ["notes", "config", "table", "archive", "drawing", "set"])
def test_files_are_shown_in_their_own_form(look: Any, until: Any, settled: Any, path: str) -> None:
    page = look.open(f"/p/digits/runs/DIGITS-52/files?path=files/{path}")
    settled(page, until)
    found = {
        "notes": ".markdown li",
        "config": ".json",
        "table": ".sheet td",
        "archive": ".bad-text",
        "drawing": ".view img",
        "set": ".list .row",
    }
    page.wait_for_selector(f".side {found[path]}")

    assert page.evaluate("window.hacked === undefined")


def test_images_follow_the_step(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-52/images?step=10")
    settled(page, until)
    until(page, "document.querySelectorAll('.tile img').length >= 3")
    page.get_by_role("button", name="Next step").click()
    until(page, "location.search.includes('step=15')")

    assert "digit 15" in page.locator("figcaption").first.text_content()


def test_comparison_shows_differences_with_a_reference(look: Any, until: Any, settled: Any) -> None:
    page = look.open(SCREENS["side by side"])
    settled(page, until)
    paths = page.locator("tbody td:first-child").all_text_contents()
    page.keyboard.press("d")
    until(page, "!location.search.includes('diff=1')")

    assert "params/lr" in paths
    assert page.locator(".delta").count() > 3


def test_comparison_tells_a_file_from_none(look: Any, until: Any, settled: Any) -> None:
    """Files have no value to show beside each other, but being there is one."""
    page = look.open("/p/sweep/compare?runs=SWEEP-2,SWEEP-4")
    settled(page, until)
    cells = page.locator("tr", has_text="weights").locator("td").all_text_contents()

    assert ["weights", "≠", "file", "–"] == cells


def test_times_that_differ_look_different(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/sweep/compare?runs=SWEEP-2,SWEEP-4")
    settled(page, until)
    first, second = page.locator("tr", has_text="sys/creation_time").locator("td time").all_text_contents()

    assert first != second


def test_one_run_alone_is_compared_with_nothing(look: Any, settled: Any, until: Any) -> None:
    """Its values stand there without a spread, which would be zero everywhere, and without a reference."""
    page = look.open("/p/digits/compare?runs=DIGITS-1")
    settled(page, until)

    assert page.get_by_role("columnheader").all_text_contents()[0].startswith("field")
    assert 2 == page.get_by_role("columnheader").count()
    assert 0 == page.get_by_text("differences only").count()


def test_fields_of_a_model_take_the_height_they_need(look: Any, settled: Any, until: Any) -> None:
    page = look.open("/p/digits/models/DIGITS-CNN")
    settled(page, until)
    rows = page.get_by_role("treeitem").count()

    assert page.get_by_role("tree").bounding_box()["height"] <= 26 * rows + 2


def test_about_names_the_format_of_the_store(look: Any, settled: Any, until: Any) -> None:
    page = look.open("/about")
    settled(page, until)

    assert "format of the store1" in page.get_by_label("Server and store").text_content()


def test_versions_of_a_model_are_compared(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/models/DIGITS-CNN")
    settled(page, until)
    for version in ("v0", "v2"):
        page.get_by_label(f"Select DIGITS-CNN-{int(version[1]) + 1}").check()
    page.get_by_role("button", name="Compare 2 versions").click()
    until(page, "location.pathname.endsWith('/compare')")
    settled(page, until)
    accuracy = page.locator("tr", has_text="accuracy").locator("td").all_text_contents()
    page.get_by_role("link", name="v2").click()
    until(page, "location.pathname.endsWith('/models/DIGITS-CNN/DIGITS-CNN-3')")

    assert ["0.94", "0.9"] == accuracy[2:] or ["0.9", "0.94"] == accuracy[2:]


def test_artifacts_of_two_runs_differ_by_their_lines(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/compare/artifacts?runs=DIGITS-1,DIGITS-2")
    settled(page, until)
    page.wait_for_selector(".diff, .list, .good-text")

    assert "data/train" in page.locator("main").text_content()


def test_artifact_lists_who_used_the_same_hash(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/artifacts")
    settled(page, until)
    page.locator(".list button.row").first.click()
    until(page, "document.querySelectorAll('.side .tags a').length > 3")


def test_edit_controls_are_absent_without_edit(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs?runs=DIGITS-1")
    settled(page, until)
    look.page.goto(look.origin + "/p/digits/runs/DIGITS-1")
    settled(page, until)

    assert 0 == page.get_by_role("button", name=re.compile("^(Edit|Move to trash|Save this view)")).count()
    assert 0 == page.locator("h1 button").count()


def test_run_is_renamed_tagged_trashed_and_restored(edit: Any, until: Any, settled: Any) -> None:
    page = edit.open("/p/digits/runs/DIGITS-4")
    settled(page, until)
    page.get_by_role("button", name="Edit…").click()
    page.get_by_label("Name").fill("renamed <b>")
    page.get_by_label("Tags, separated by commas").fill("first, second")
    page.get_by_role("button", name="Save").click()
    until(page, "document.querySelector('h1').textContent === 'renamed <b>'")
    tags = page.locator(".run-head .tag").all_text_contents()
    edit.open("/p/digits/runs?runs=DIGITS-4")
    settled(page, until)
    page.get_by_role("button", name="Move to trash").click()
    page.get_by_role("button", name="Undo").click()
    until(page, "document.querySelector('.toast')?.textContent.includes('restored')")

    assert ["first", "second"] == tags


def test_name_is_changed_in_its_place(edit: Any, until: Any, settled: Any) -> None:
    """Enter keeps what was typed, Escape drops it, and the change is in the store."""
    page = edit.open("/p/digits/runs/DIGITS-6")
    settled(page, until)
    before = page.locator("h1").text_content()
    page.locator("h1 button").click()
    page.get_by_label("Name of the run").fill("dropped")
    page.keyboard.press("Escape")
    until(page, f"document.querySelector('h1').textContent === {before!r}")
    page.locator("h1 button").click()
    page.get_by_label("Name of the run").fill("<i>kept</i>")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('h1 button')?.textContent === '<i>kept</i>'")
    page.reload()
    settled(page, until)

    assert "<i>kept</i>" == page.locator("h1").text_content()


def test_view_is_saved_in_the_project_and_opened(edit: Any, until: Any, settled: Any) -> None:
    page = edit.open("/p/digits/runs?find=adam&sort=-sys/name")
    settled(page, until)
    page.get_by_text("Views", exact=True).click()
    page.get_by_role("button", name="Save this view…").click()
    page.get_by_role("textbox", name="Name").fill("adams")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_selector(".toast")
    edit.open("/p/digits/runs")
    settled(page, until)
    page.get_by_text("Views", exact=True).click()
    page.get_by_role("button", name="adams", exact=True).click()
    until(page, "location.search.includes('find=adam')")


def test_page_without_a_token_says_what_to_do(chromium: Any, served: Any, watched: Any) -> None:
    with watched(chromium, served.origin, "") as look:
        look.allowed = ["401"]
        page = look.open("/p/digits/runs")

        assert "needs a token" in page.locator("h1").text_content()
        text = page.locator("main").text_content()
        assert "naiad ui prints" in text
        assert "ask the owner of the project for a token" in text  # as a colleague who opens a team's server


def test_token_in_the_address_is_taken_out_of_it(
    chromium: Any, served: Any, watched: Any, until: Any, settled: Any
) -> None:
    with watched(chromium, served.origin, "") as look:
        page = look.open(f"/#token={served.token}")
        settled(page, until)

        assert "token" not in page.url
        assert served.token == page.evaluate("localStorage.getItem('naiad.token')")


TRAINING = """
import sys, time, naiad
run = naiad.init_run(store=sys.argv[1], project="digits", name="live", capture_stdout=False, capture_stderr=False,
                     capture_hardware_metrics=False, git_ref=False, source_files=[])
run["train/loss"].append(1.0, step=0)
print(run["sys/id"].fetch(), flush=True)
for line in sys.stdin:
    run["train/loss"].append(float(line.split()[1]), step=int(line.split()[0]))
"""


def test_training_is_watched_live_killed_and_the_stream_resumed(
    chromium: Any, store: Path, watched: Any, until: Any, settled: Any, serve: Any
) -> None:
    """Points arrive in an open page, the killed run turns to killed, and a new server goes on with the same page."""
    server = serve(store)
    training = subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert training.stdout is not None
    assert training.stdin is not None
    run = training.stdout.readline().strip()
    points = "document.querySelector('section.chart .card-foot')?.textContent.includes('{} points, each')"
    with watched(chromium, server.origin, server.token) as look:
        look.allowed = ["ERR_CONNECTION", "ERR_INCOMPLETE", "401", "ERR_EMPTY", "Failed to load resource"]
        page = look.open(f"/p/digits/runs/{run}/charts")
        settled(page, until)
        for step in range(1, 4):
            training.stdin.write(f"{step} {1 / (step + 1)}\n")
            training.stdin.flush()
            until(page, points.format(step + 1))
        server.stop()
        training.stdin.write("4 0.2\n")
        training.stdin.flush()
        server = serve(store, server.port)
        until(page, points.format(5))
        training.kill()
        training.wait()
        until(page, "document.querySelector('.run-head .state').textContent.includes('killed')")
    server.stop()
    for stream in (training.stdin, training.stdout):
        stream.close()


def test_tab_goes_on_after_the_run_of_another_tab_was_deleted(
    chromium: Any, tmp_path: Path, watched: Any, until: Any, settled: Any, serve: Any
) -> None:
    """All tabs share a stream of events, and each new one asks for the deleted run too."""
    with naiad.init_run(store=tmp_path, project="digits", capture_hardware_metrics=False, git_ref=False) as doomed:
        doomed["train/loss"].append(1.0)
    server = serve(tmp_path)
    training = subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert training.stdout is not None
    assert training.stdin is not None
    run = training.stdout.readline().strip()
    points = "document.querySelector('section.chart .card-foot')?.textContent.includes('{} points, each')"
    with watched(chromium, server.origin, server.token) as look:
        look.allowed = ["404", "Failed to load resource"]
        page, other = look.open(f"/p/digits/runs/{run}/charts"), look.page.context.new_page()
        other.goto(f"{server.origin}/p/digits/runs/DIGITS-1/charts")
        for each in (page, other):
            settled(each, until)
        trash_objects("digits", ["DIGITS-1"], store=tmp_path)
        delete_objects_from_trash("digits", ["DIGITS-1"], store=tmp_path)
        for step in (1, 2):  # in the stream that there is, and in a new one
            training.stdin.write(f"{step} 0.5\n")
            training.stdin.flush()
            until(page, points.format(step + 1))
            page.reload()
            settled(page, until)
    training.communicate(timeout=60)
    server.stop()


def test_tabs_share_one_event_stream(fresh: Any, until: Any, settled: Any) -> None:
    """A browser opens six connections to a server: ten tabs with a stream each would wait for each other for ever."""
    opened: dict[Any, str] = {}
    context = fresh.page.context
    context.on("request", lambda request: "/api/v1/events" in request.url and opened.update({request: request.url}))
    for event in ("requestfinished", "requestfailed"):
        context.on(event, lambda request: opened.pop(request, None))
    first, second = fresh.page, context.new_page()
    pages = (first, second)
    for page, run in zip(pages, ("DIGITS-1", "DIGITS-2"), strict=True):
        page.goto(f"{fresh.origin}/p/digits/runs/{run}/charts")
        settled(page, until)

    def watch(page: Any, runs: int) -> None:
        end = time.monotonic() + 90
        while [url.count("run=") for url in opened.values()] != [runs]:
            assert time.monotonic() < end, opened
            page.wait_for_timeout(50)

    watch(second, 2)
    opened.clear()  # a page that is closed tells of its requests no more
    first.close()
    watch(second, 1)


def test_pixel_under_the_pointer_is_told(look: Any, served: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-52/images?step=0")
    settled(page, until)
    tile = page.locator(".tile", has=page.locator("figcaption", has_text="samples/input")).first
    until(page, "[...document.querySelectorAll('.tile img')].every(image => image.complete && image.naturalWidth)")
    box = tile.locator("img").bounding_box()
    tile.locator("img").hover(position={"x": box["width"] / 2, "y": box["height"] / 3})
    told = re.fullmatch(r"x (\d+), y (\d+): (\d+)", tile.locator(".pixel").inner_text())
    address = f"{served.origin}/api/v1/file?run=DIGITS-52&path=samples/input&index=0"
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {served.token}"})
    with urllib.request.urlopen(request) as answer:
        image = Image.open(io.BytesIO(answer.read()))

    assert told is not None
    assert image.convert("L").getpixel((int(told[1]), int(told[2]))) == int(told[3])
    page.mouse.move(0, 0)
    until(page, "!document.querySelector('.pixel')")


def test_pixel_is_told_where_the_pointer_rested_before_the_image_came(fresh: Any, until: Any) -> None:
    page, held = fresh.page, []
    of_image = re.compile(r"/api/v1/file\?.*samples.*input")
    page.route(of_image, lambda route: held.append(route))  # noqa: PLW0108 - playwright marks what it is given
    page.goto(f"{fresh.origin}/p/digits/runs/DIGITS-52/images?step=0")
    view = page.locator(".tile", has=page.locator("figcaption", has_text="samples/input")).first.locator(".view")
    box = view.bounding_box()
    view.hover(position={"x": box["width"] / 2, "y": box["height"] / 3})
    while not held:
        page.wait_for_timeout(25)
    before = view.locator(".pixel").count()
    for route in held:
        route.continue_()
    told = view.locator(".pixel").inner_text()

    assert 0 == before
    assert re.fullmatch(r"x \d+, y \d+: \d+", told)


def test_color_of_a_run_is_chosen_for_all_screens(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs/DIGITS-3")
    settled(page, until)
    swatch = "[...document.querySelectorAll('main .swatch')].map(mark => getComputedStyle(mark).color)[0]"
    until(page, swatch)
    before = page.evaluate(swatch)
    page.get_by_role("button", name="Colour of the run").click()
    page.locator(".swatches button[aria-pressed=false]").first.click()
    until(page, f"({swatch} ?? '{before}') !== '{before}'")  # while the page is drawn anew there is none
    chosen = page.evaluate(swatch)
    look.open("/p/digits/compare?runs=DIGITS-3,DIGITS-4")
    until(page, swatch)
    elsewhere = page.evaluate(swatch)
    look.open("/p/digits/runs/DIGITS-3")
    settled(page, until)
    page.get_by_role("button", name="Colour of the run").click()
    page.get_by_role("button", name="By its id again").click()
    until(page, f"{swatch} === '{before}'")

    assert chosen == elsewhere


def test_density_is_chosen_and_remembered(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/runs")
    settled(page, until)
    height = "document.querySelector('tbody tr[role=row]').getBoundingClientRect().height"
    dense = page.evaluate(height)
    page.get_by_role("button", name="dense").click()
    until(page, f"{height} > {dense}")
    page.reload()
    settled(page, until)

    assert page.evaluate(height) > dense


def test_stages_of_a_version_are_listed_with_their_times(look: Any, until: Any, settled: Any) -> None:
    page = look.open("/p/digits/models/DIGITS-CNN/DIGITS-CNN-2")
    settled(page, until)
    history = page.get_by_role("region", name="Stage history")

    assert "production" in history.inner_text()
    assert history.locator("time").get_attribute("datetime").startswith("20")


def test_damaged_run_takes_nothing_else_down(look: Any, until: Any, settled: Any) -> None:
    """An address of a run that is not there is one sentence, and the other screens go on."""
    look.allowed = ["404"]
    page = look.open("/p/digits/runs/DIGITS-999")
    page.wait_for_selector("[role=alert]")
    page.get_by_role("link", name="Runs").click()
    settled(page, until)

    assert page.locator("tbody tr[role=row]").count() > 10


def test_address_takes_any_text(look: Any, until: Any, settled: Any) -> None:
    text = "<b>,\\\\ü"
    address = f"/p/digits/runs?find={quote(text)}&zooms=a,1~2&cols=sys/id,{quote('no/such')}&smooth=none"
    page = look.open(address)
    settled(page, until)

    assert text == page.get_by_label("Find in rows").input_value()
