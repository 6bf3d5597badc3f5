"""`naiad export RUN... --format html`: one file that opens from disk, makes no request, and executes nothing logged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import naiad

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def files(store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run with every kind of field, and four runs together."""
    folder = tmp_path_factory.mktemp("exports")
    made = {}
    for name, runs in (("one", ["DIGITS-52"]), ("many", ["DIGITS-1", "DIGITS-2", "DIGITS-8", "DIGITS-51"])):
        made[name] = folder / f"{name}.html"
        program = [sys.executable, "-c", "from naiad.cli import main; main()", "--store", str(store)]
        subprocess.run([*program, "export", *runs, "--to", str(made[name]), "--format", "html"], check=True, timeout=60)
    return made


@pytest.fixture
def opened(chromium: Any, files: dict[str, Path], watched: Any) -> Any:
    """Open one of the files at a place, in a browser that reports every request."""
    with watched(chromium, "file://", "") as look:

        def open_file(name: str, place: str = "") -> Any:
            look.page.goto(f"file://{files[name]}{place}")
            look.page.wait_for_selector(".page")
            return look.page

        yield open_file
        assert {"file"} == {url.partition(":")[0] for url in look.requests} - {"data", "blob"}


@pytest.mark.parametrize("tab", ["", "/charts", "/fields", "/images", "/files", "/logs", "/source"])
def test_parts_of_a_run_are_in_the_file(opened: Any, until: Any, axe: Any, tab: str) -> None:
    page = opened("one", f"#/p/digits/runs/DIGITS-52{tab}")
    until(page, "!document.querySelector('main .skeleton')")

    assert 0 == page.locator("[role=alert]").count()
    assert page.evaluate("window.hacked === undefined")
    assert "every kind" in page.locator("h1").text_content()


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of the test's own, whose runs have nothing but what is logged to them."""
    monkeypatch.setenv("NAIAD_CAPTURES", "off")
    return tmp_path / ".naiad"


def test_long_name_without_spaces_is_shown_whole(chromium: Any, watched: Any, empty: Path, tmp_path: Path) -> None:
    """On a phone too, where a name of forty letters is wider than the window."""
    name = "resnet50_lr0.001_bs128_cutmix_mixup_ema_seed42_warmup5_" * 4
    with naiad.init_run(project="digits", store=empty, name=name) as run:
        run["loss"] = 0.5
    program = [sys.executable, "-c", "from naiad.cli import main; main()", "--store", str(empty)]
    file = tmp_path / "run.html"
    subprocess.run([*program, "export", "DIGITS-1", "--to", str(file), "--format", "html"], check=True, timeout=60)

    with watched(chromium, "file://", "") as look:
        look.page.set_viewport_size({"width": 400, "height": 800})
        look.page.goto(f"file://{file}#/p/digits/runs/DIGITS-1")
        look.page.wait_for_selector("h1")

        assert name == look.page.locator("h1").text_content()
        assert look.page.evaluate("document.querySelector('h1').getBoundingClientRect().right <= innerWidth")


def test_file_that_is_too_large_for_the_page_is_said_to_be_missing(
    chromium: Any, watched: Any, until: Any, empty: Path, tmp_path: Path
) -> None:
    """Nothing offers to try again: it would be missing again."""
    with naiad.init_run(project="digits", store=empty) as run:
        run["notes"].upload(naiad.types.File.from_content("word " * 500_000, extension="txt"))
    program = [sys.executable, "-c", "from naiad.cli import main; main()", "--store", str(empty)]
    file = tmp_path / "run.html"
    subprocess.run([*program, "export", "DIGITS-1", "--to", str(file), "--format", "html"], check=True, timeout=60)

    with watched(chromium, "file://", "") as look:
        look.page.goto(f"file://{file}#/p/digits/runs/DIGITS-1/fields?path=notes")
        until(look.page, "document.querySelector('[role=alert]')?.textContent.includes('is not kept in the page')")

        assert 0 == look.page.get_by_text("Try again").count()


def test_charts_are_drawn_and_show_every_spike(opened: Any, until: Any) -> None:
    page = opened("many", "#/p/digits/runs/DIGITS-51/charts?m=long")
    until(page, "document.querySelectorAll('canvas').length > 0")
    page.get_by_label("Options of long/loss").click()
    page.get_by_role("button", name="Show as table").click()

    assert "9" in page.locator("table.plain td").all_text_contents()


def test_runs_are_compared_in_the_file(opened: Any, until: Any) -> None:
    page = opened("many", "#/p/digits/compare?runs=DIGITS-1,DIGITS-2,DIGITS-8&diff=1")
    until(page, "document.querySelectorAll('tbody tr[role=row]').length > 5")

    assert "params/lr" in page.locator("tbody").first.text_content()


def test_runs_are_grouped_in_the_file(opened: Any, until: Any) -> None:
    """With the means of their numbers; each group opens as its own runs."""
    columns = "sys/id,score,spark:val/auc,spark:val/loss,val/loss:average"
    page = opened("many", f"#/p/digits/runs?group=sys/tags&cols={columns}")
    until(page, "document.querySelectorAll('tr.group').length > 1")
    counts = [int(text) for text in page.locator("tr.group button.link > .faint").all_text_contents()]
    for number in range(len(counts)):
        page.locator("tr.group button.link").nth(number).click()
        opened_rows = sum(counts[: number + 1])
        until(page, f"document.querySelectorAll('tbody tr[role=row]:not(.group)').length === {opened_rows}")

    assert 4 == sum(counts)
    assert "mean" in page.locator("tr.group").first.text_content()
    assert 0 == page.get_by_role("combobox", name="Query").count()
    until(page, "document.querySelectorAll('svg.spark').length >= 6")


def test_nothing_can_be_changed_in_the_file(opened: Any, until: Any) -> None:
    page = opened("many")
    until(page, "document.querySelectorAll('tbody tr[role=row]').length === 4")

    assert 0 == page.get_by_role("button", name="Edit").count()


def test_file_holds_no_way_out_of_its_data(files: dict[str, Path]) -> None:
    """A value that ends a script cannot end the data: every "<" in it is escaped."""
    text = files["one"].read_text()
    data = text.partition('id="naiad-data">')[2].partition("</script>")[0]

    assert "<" not in data
    assert "\\u003c/script>" in data
