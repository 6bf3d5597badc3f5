"""A run that another process trains, watched in the table of its project and the charts beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad.management import create_project

pytestmark = pytest.mark.browser
TRAINING = """
import sys, time, naiad
run = naiad.init_run(project="live", store=sys.argv[1], name="net", capture_stdout=False, capture_stderr=False,
                     capture_hardware_metrics=False, git_ref=False, source_files=[])
print("begun", flush=True)
sys.stdin.readline()
run["params/lr"] = 0.1
for step in range(100_000):
    run["train/loss"].append(1 / (step + 1), step=step)
    if step > 40:
        run["val/loss"].append(2 / (step + 1), step=step)
    time.sleep(0.05)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store with a project that has no runs."""
    create_project("live", store=tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def look(chromium: Any, place: Path, serve: Any, watched: Any) -> Iterator[Any]:
    server = serve(place)
    with watched(chromium, server.origin, server.token) as page:
        yield page
    server.stop()


@pytest.fixture
def training(place: Path) -> Iterator[Any]:
    """A process that trains: it logs after it was sent a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_first_run_of_a_project_brings_its_columns_and_charts(look: Any, until: Any, training: Any) -> None:
    """The page was opened before anything was logged: columns, charts and their points come as the run has them."""
    page = look.open("/p/live/runs?split=1")
    until(page, "document.querySelectorAll('tbody tr[role=row]').length === 1")
    heads = "[...document.querySelectorAll('th')].map(head => head.title)"
    assert not page.evaluate(f"{heads}.includes('params/lr')")
    training.stdin.write("go\n")
    training.stdin.flush()
    until(page, f"{heads}.includes('params/lr') && {heads}.includes('train/loss')")
    until(page, "document.querySelectorAll('section.chart canvas').length === 2")  # of train/loss and, later, val/loss
    points = "Number(document.querySelector('section.chart footer')?.textContent.match(/(\\d+) point/)?.[1])"
    until(page, f"{points} > 20")
    before = page.evaluate(points)
    until(page, f"{points} > {before} + 20")


def test_small_curves_in_the_table_grow_with_their_run(look: Any, until: Any, training: Any) -> None:
    training.stdin.write("go\n")
    training.stdin.flush()
    page = look.open("/p/live/runs?cols=sys/id,spark:train/loss")
    drawn = "document.querySelector('svg.spark path, svg.spark polyline')?.outerHTML"
    until(page, f"{drawn} !== undefined")
    for _ in range(2):
        before = page.evaluate(drawn)
        until(page, f"{drawn} !== {json.dumps(before)}")


def test_chart_grows_where_changes_come_faster_than_answers(look: Any, until: Any, training: Any) -> None:
    """Each answer about points takes longer than it takes the run to change again, as over a slow connection."""
    training.stdin.write("go\n")
    training.stdin.flush()
    page = look.open("/p/live/runs/LIVE-1/charts")
    points = "Number(document.querySelector('section.chart footer')?.textContent.match(/(\\d+) point/)?.[1] ?? 0)"
    until(page, f"{points} > 0")
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    slow = {"offline": False, "latency": 1_500, "downloadThroughput": -1, "uploadThroughput": -1}
    session.send("Network.emulateNetworkConditions", slow)
    for _ in range(2):
        before = page.evaluate(points)
        until(page, f"{points} > {before} + 10")


def test_chart_grows_after_a_request_that_is_never_answered(look: Any, until: Any, training: Any) -> None:
    """As over a connection that was lost without a sign, such as of a laptop that slept."""
    training.stdin.write("go\n")
    training.stdin.flush()
    page = look.open("/p/live/runs/LIVE-1/charts")
    points = "Number(document.querySelector('section.chart footer')?.textContent.match(/(\\d+) point/)?.[1] ?? 0)"
    until(page, f"{points} > 0")
    lost: list[Any] = []
    page.route("**/api/v1/chart*", lambda route: lost.append(route), times=1)  # noqa: PLW0108 (Playwright marks it)
    while not lost:
        page.wait_for_timeout(50)
    before = page.evaluate(points)
    page.evaluate("performance.now = ((now) => () => now() + 120_000)(performance.now.bind(performance))")
    until(page, f"{points} > {before} + 10")
    lost[0].abort()


def test_events_of_many_runs_load_a_chart_once(look: Any, until: Any, place: Path) -> None:
    """Fifty runs that ended a moment ago are told to the page one by one."""
    for number in range(50):
        with naiad.init_run(
            project="live", store=place, name=f"net {number}", capture_stdout=False, capture_stderr=False,
            capture_hardware_metrics=False, git_ref=False, source_files=[],
        ) as run:  # fmt: skip
            run["loss"].extend([1.0, 0.5])
    page = look.open("/p/live/compare/charts?runs=" + ",".join(f"LIVE-{number}" for number in range(1, 51)))
    until(page, "document.querySelector('section.chart canvas') && !document.querySelector('.skeleton, .busy')")
    page.wait_for_timeout(1_500)  # the events come within this time, and are over

    assert 1 <= len([address for address in look.requests if "/api/v1/chart" in address]) <= 4


def test_curves_of_runs_with_one_name_are_told_apart(look: Any, until: Any, place: Path) -> None:
    for loss in (1.0, 2.0):
        with naiad.init_run(
            project="live", store=place, name="net", capture_stdout=False, capture_stderr=False,
            capture_hardware_metrics=False, git_ref=False, source_files=[],
        ) as run:  # fmt: skip
            run["loss"].extend([loss, loss / 2])
    page = look.open("/p/live/compare/charts?runs=LIVE-1,LIVE-2")
    until(page, "document.querySelectorAll('.legend li').length === 2")

    assert {"net LIVE-1", "net LIVE-2"} == {text.strip() for text in page.locator(".legend li").all_text_contents()}
