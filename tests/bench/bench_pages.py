"""The browser pages against their budgets, in a real Chromium, with TensorBoard's page beside them if it is installed.

    python tests/bench/bench_pages.py [--quick] [--store DIR] [--only U4,U7,TensorBoard]

Builds its store with the public functions: 50 runs of eight metrics, `--runs` small ones, a series of a million points
with two spikes, 10,000 fields, a log of a million lines; for TensorBoard the same fifty runs are written once more.
Times are the median of five, for a quiet machine; with `--store` the data is kept for the next time.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import naiad

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
OFF: dict[str, Any] = {
    "capture_stdout": False,
    "capture_stderr": False,
    "capture_hardware_metrics": False,
    "git_ref": False,
    "source_files": [],
}
REPEATS = 5


def built(root: Path, small: int, points: int, lines: int) -> Path:
    """Make the store."""
    store = root / ".naiad"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(small):
            with naiad.init_run(store=str(store), project="many", name=f"run {number}", **OFF) as run:
                run["params"] = {
                    "lr": 10 ** -(1 + number % 5),
                    "depth": number % 12,
                    "optimizer": ("sgd", "adam")[number % 2],
                }
                run["score"] = (number * 7919 % 1000) / 1000
        for number in range(50):
            with naiad.init_run(store=str(store), project="fifty", name=f"run {number}", **OFF) as run:
                for metric in range(8):
                    noise = np.random.default_rng(number * 8 + metric)
                    values = 2 * np.exp(-3 * np.arange(1000) / 1000) + noise.normal(0, 0.05, 1000)
                    run[f"metrics/m{metric}"].extend(list(values), steps=list(range(1000)))
        with naiad.init_run(store=str(store), project="long", name="long", **OFF) as run:
            values = 2 * np.exp(-3 * np.arange(points) / points) + np.random.default_rng(1).normal(0, 0.03, points)
            values[points // 3], values[points // 2] = 9.0, -3.0
            run["loss"].extend(list(values), steps=list(range(points)))
            run["log"].extend([f"line {i} loss {values[i % points]:.3f}" for i in range(lines)])
        with naiad.init_run(store=str(store), project="deep", name="deep", **OFF) as run:
            run["layers"] = {f"b{i:03d}": {f"w{j}": i * j for j in range(100)} for i in range(100)}
    return store


@contextlib.contextmanager
def served(store: Path) -> Iterator[tuple[str, str, float, int]]:
    """Serve the store; yield its address, the token, the seconds until the first answer, and its process."""
    since = time.monotonic()
    program = [sys.executable, "-c", "from naiad.cli import main; main()", "--store", str(store)]
    server = subprocess.Popen([*program, "ui", "--port", "0", "--no-browser"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    found = re.search(r"(http://[^/\s]+)/#token=(\S+)", server.stdout.readline())
    assert found is not None
    yield found[1], found[2], time.monotonic() - since, server.pid
    server.send_signal(signal.SIGINT)
    server.wait(10)


def until(page: Any, expression: str, seconds: float = 60) -> float:
    """Wait in the page until an expression holds; return the milliseconds since the page began."""
    script = f"""async () => {{
        const end = performance.now() + {seconds * 1000};
        while (!({expression})) {{
            if (performance.now() > end) throw new Error('never');
            await new Promise(requestAnimationFrame);
        }}
        return performance.now();
    }}"""
    return float(page.evaluate(script))


def median(measure: Callable[[], float]) -> float:
    """Return the median of some repeats."""
    return statistics.median(measure() for _ in range(REPEATS))


ROWS = "document.querySelectorAll('tbody tr[role=row]').length > 5"
CHARTS = "!document.querySelector('.skeleton, .busy') && document.querySelectorAll('canvas').length >= {}"


def measured(page: Any, origin: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, str, float]]:
    """Yield each figure that is wanted: its name, its goal and its milliseconds."""

    def opened(path: str, shown: str) -> float:
        page.goto(origin + path)
        return until(page, shown)

    fifty = "/p/fifty/compare/charts?runs=" + ",".join(f"FIFTY-{i}" for i in range(1, 51))
    if wanted("U3"):
        name = "U3 first chart of a million points, warm"
        yield name, "400", median(lambda: opened("/p/long/runs/LONG-1/charts", CHARTS.format(1)))
    if wanted("U4"):
        yield "U4 charts of 50 runs x 8 metrics", "1000", median(lambda: opened(fifty, CHARTS.format(4)))
    if wanted("U5"):
        opened("/p/long/runs/LONG-1/charts", CHARTS.format(1))

        def zoomed() -> float:
            low = np.random.default_rng().integers(0, 400_000)
            return float(page.evaluate(_STEP, f"?zooms=loss,{low}~{low + 100_000}"))

        yield "U5 zoom of that chart", "150", median(zoomed)
    if wanted("U6"):
        yield "U6 first rows of the table", "500", median(lambda: opened("/p/many/runs", ROWS))
        page.wait_for_timeout(3000)
        yield "U6 click on a header to paint", "100", median(lambda: float(page.evaluate(_SORT)))
        typed = median(lambda: float(page.evaluate(_TYPE, ["Find in rows", "run 1"])))
        yield "U6 filter keystroke to paint", "50", typed
    if wanted("U7"):
        opened("/p/many/runs", ROWS)
        page.wait_for_timeout(3000)
        frames = page.evaluate(_SCROLL)
        late = 100 * sum(frame > 34 for frame in frames) / len(frames)
        yield "U7 frames above 34 ms while scrolling, %", "5", late
    if wanted("U14"):
        opened("/p/deep/runs/DEEP-1/fields", "document.querySelectorAll('[role=treeitem]').length > 0")
        typed = median(lambda: float(page.evaluate(_TYPE, ["Search fields", "b04 w7"])))
        yield "U14 keystroke in the tree of 10,000 fields", "100", typed
    if wanted("U15"):
        tail = "/p/long/runs/LONG-1/logs?follow=1"
        line = "!!document.querySelector('.log-line .text')"
        yield "U15 log opened at its end", "300", median(lambda: opened(tail, line))
        yield "U15 search in it", "1000", median(lambda: float(page.evaluate(_FIND)))


_STEP = """async search => {
    const from = performance.now();
    history.pushState(null, '', location.pathname + search);
    dispatchEvent(new PopStateEvent('popstate'));
    const isShown = () => performance.now() - from > 30 && !document.querySelector('.busy');
    do await new Promise(requestAnimationFrame); while (!isShown());
    return performance.now() - from;
}"""
_SORT = """async () => {
    const from = performance.now();
    [...document.querySelectorAll('th button.sort')].at(-1).click();
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return performance.now() - from;
}"""
_TYPE = """async ([label, text]) => {
    const input = document.querySelector(`[aria-label="${label}"]`);
    const from = performance.now();
    input.value = text + ' '.repeat(Math.random() * 3);
    input.dispatchEvent(new Event('input', {bubbles: true}));
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return performance.now() - from;
}"""
_SCROLL = """async () => {
    const box = document.querySelector('.table-scroll');
    const times = [];
    let last = performance.now();
    for (let i = 0; i < 120; i++) {
        box.scrollTop += 400;
        await new Promise(requestAnimationFrame);
        times.push(performance.now() - last);
        last = performance.now();
    }
    return times.slice(5);
}"""
_FIND = """async () => {
    const input = document.querySelector('[aria-label="Search the log"]');
    input.value = '';
    input.dispatchEvent(new Event('input', {bubbles: true}));
    await new Promise(r => setTimeout(r, 200));
    const from = performance.now();
    input.value = 'line ' + Math.floor(900000 * Math.random() / 10 + 10) + ' ';
    input.dispatchEvent(new Event('input', {bubbles: true}));
    const isOver = () => document.querySelector('.log-line.marked') || performance.now() - from > 20000;
    do await new Promise(requestAnimationFrame); while (!isOver());
    return performance.now() - from;
}"""


def copied(store: Path, folder: Path) -> None:
    """Write the fifty runs for TensorBoard too."""
    from torch.utils.tensorboard import SummaryWriter

    for number in range(1, 51):
        writer = SummaryWriter(str(folder / f"run{number}"))
        with naiad.init_run(store=str(store), with_id=f"FIFTY-{number}", mode="read-only") as run:
            for metric in range(8):
                points = run[f"metrics/m{metric}"].fetch_values(progress_bar=False)
                for step, value in zip(points["step"], points["value"], strict=True):
                    writer.add_scalar(f"metrics/m{metric}", value, int(step))
        writer.close()


def tensorboard(browser: Any, store: Path, folder: Path) -> tuple[float, int, float] | None:
    """Open TensorBoard's page on the same fifty runs: milliseconds to its first chart, requests and KB.

    None if it is not installed. The server has read all runs before: both pages are opened warm.
    """
    try:
        if not folder.exists():
            copied(store, folder)
    except ImportError:
        return None
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", "6731", "--load_fast=false"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    try:
        for _ in range(60):
            time.sleep(1)
            with contextlib.suppress(Exception):
                page.goto("http://127.0.0.1:6731/")
                break
        time.sleep(15)
        sizes: list[float] = []
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        took = []
        for _ in range(REPEATS - 2):
            page.goto("about:blank")
            sizes.clear()
            since = time.monotonic()
            page.goto("http://127.0.0.1:6731/#timeseries")
            page.wait_for_selector("line-chart canvas, line-chart svg path", timeout=60_000)
            took.append(1000 * (time.monotonic() - since))
        return statistics.median(took), len(sizes), sum(sizes) / 1000
    finally:
        server.terminate()
        server.wait(10)
        page.close()


def peak(process: int) -> float:
    """The largest resident set of a process so far, in MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="tiny sizes, whose numbers mean nothing")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--store", type=Path, help="keep the data here, and take it again")
    parser.add_argument("--only", default="", help="the figures to take, separated by commas")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    from playwright.sync_api import sync_playwright

    only = [name for name in options.only.split(",") if name]

    def wanted(name: str) -> bool:
        return not only or name in only

    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as started:
        root = options.store or Path(temporary)
        store = root / ".naiad"
        if not store.exists():
            sizes = (30, 20_000, 20_000) if options.quick else (options.runs, 1_000_000, 1_000_000)
            store = built(root, *sizes)
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        with served(store) as (origin, token, seconds, process):
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(f"{origin}/#token={token}")
            until(page, "!!document.querySelector('.projects')")
            print(f"{'U13 command to its address':50} {1000 * seconds:9.0f} ms   goal 1000")
            for name, goal, value in measured(page, origin, wanted):
                unit = "% " if name.endswith("%") else "ms"
                print(f"{name:50} {value:9.1f} {unit}   goal {goal}", flush=True)
            print(f"{'memory of the server after all of these, largest':50} {peak(process):9.0f} MB")
        if wanted("U10"):
            with served(store) as (origin, token, _seconds, process):
                page.goto(f"{origin}/#token={token}")
                until(page, "!!document.querySelector('.projects')")
                page.goto(f"{origin}/p/many/runs")
                until(page, ROWS)
                page.evaluate(_SCROLL)
                print(f"{'U10 memory of the server, its largest table open':50} {peak(process):9.0f} MB   goal 150")
        if wanted("TensorBoard") and not options.quick:
            beside = tensorboard(browser, store, root / "tensorboard")
            if beside is None:
                print("TensorBoard is not installed")
            else:
                facts = f"{beside[1]} requests, {beside[2]:,.0f} KB"
                print(f"{'beside U4: TensorBoard, its first chart':50} {beside[0]:9.1f} ms   {facts}")
        browser.close()


if __name__ == "__main__":
    main()
