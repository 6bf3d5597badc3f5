"""A notebook in a real kernel: training, cells run again, an interrupted one, a restart, and its output."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import naiad

BEGIN = """
import naiad, numpy as np
from naiad.types import File
run = naiad.init_run(project="p", store={store!r}, tags=["good", "sweep"])
"""
TRAIN = """
run["params"] = {"lr": 0.1, "optimizer": "sgd"}
for step in range(200):
    run["train/loss"].append(1 / (step + 1), step=step)
pixels = np.indices((64, 64)).sum(0) % 16 / 15
for step in range(3):
    run["images"].append(File.as_image(pixels), step=step)
run["picture"].upload(File.as_image(pixels))
run["weights"].upload(File.from_content(b"w" * 10_000, extension="bin"))
run["folder"].upload_files([__file__] if "__file__" in globals() else [])
"""
SHOWN = ["run", "run['train/loss']", "run['picture']", "run['images']", "run['sys/tags']", "run['weights']"]
INTERRUPTED = """
import _thread, threading
threading.Timer(0.5, _thread.interrupt_main).start()
for step in range(200, 100_000):
    run["train/loss"].append(0.001, step=step)
    __import__("time").sleep(0.001)
"""


@pytest.mark.filterwarnings("ignore")  # of the notebook's own packages
def test_notebook_of_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_NOTEBOOK", "static")  # live views have tests of their own
    nbclient = pytest.importorskip("nbclient", reason="notebooks are run by nbclient")
    nbformat = pytest.importorskip("nbformat", reason="notebooks are made by nbformat")
    pytest.importorskip("ipykernel", reason="notebooks need a kernel")
    begin = BEGIN.format(store=str(tmp_path / "store"))
    again = [begin, "second = naiad.init_run(project='p', store=" + repr(str(tmp_path / "store")) + "); second.stop()"]
    cells = [begin, TRAIN.replace('run["folder"]', "#"), *SHOWN, *again, INTERRUPTED, "run['after'] = 1", "run.stop()"]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(book, timeout=60, kernel_name="python3", allow_errors=True).execute()
    restarted = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(cell)
            for cell in (begin.replace("tags=", "with_id='P-1', tags="), "run['resumed'] = 1", "run", "run.stop()")
        ]
    )
    nbclient.NotebookClient(restarted, timeout=60, kernel_name="python3").execute()
    outputs = [cell.outputs for cell in book.cells]
    pages = {cell: _html(found) for cell, found in zip(cells, outputs, strict=True)}

    assert [] == [each for each in outputs[0] + outputs[1] if each.get("name") == "stderr"]  # nothing was asked for
    for page, parts in (
        ("run", ["good, sweep", "sgd", "bin, 10.0 kB", "png, "]),
        ("run['train/loss']", ["<svg", "<text", ">1<", ">199<", ">0.005<"]),
        ("run['picture']", ['<img src="data:image/']),
        ("run['images']", ["3 files", '<img src="data:image/']),
        ("run['sys/tags']", ["good, sweep"]),
        ("run['weights']", ["10.0 kB"]),
    ):
        for part in parts:
            assert part in pages[page], (page, part)
    paths = re.findall(r"<tr><td[^>]*>([^<]*)</td>", pages["run"])
    assert ["images", "params/lr", "params/optimizer", "picture", "train/loss", "weights"] == paths[:6]
    told = ["".join(each.text for each in found if each.get("name") == "stderr") for found in outputs]
    assert ["P-2 is open at the same time as P-1" in each for each in told].count(True) == 1
    assert "KeyboardInterrupt" in [each.get("ename") for each in outputs[cells.index(INTERRUPTED)]]
    with naiad.init_run(with_id="P-2", mode="read-only", store=tmp_path / "store") as run:
        assert (1, "finished") == (run["after"].fetch(), run["sys/state"].fetch())
        assert run["train/loss"].fetch_last() == 0.001
    with naiad.init_run(with_id="P-1", mode="read-only", store=tmp_path / "store") as run:
        assert 1 == run["resumed"].fetch()
    _render(tmp_path, "\n<hr/>\n".join(page for page in pages.values() if page))


def _html(outputs: list[Any]) -> str:
    return "\n".join(each.data.get("text/html", "") for each in outputs if each.output_type == "execute_result")


def _render(folder: Path, page: str) -> None:
    """Draw the output in a browser; a picture of one colour would mean that nothing appeared."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        return  # what the page has was asserted
    from PIL import Image

    (folder / "page.html").write_text(f"<!doctype html><meta charset=utf-8><body>{page}</body>")
    picture = folder / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=900,1600"]
    subprocess.run(
        [
            chromium,
            *options,
            f"--user-data-dir={folder}/chromium",
            f"--screenshot={picture}",
            f"file://{folder}/page.html",
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert len(Image.open(picture).convert("L").getcolors(256) or range(257)) > 20
