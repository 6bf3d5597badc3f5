"""The live view of a notebook: a real kernel sends it, and a real Chromium draws it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import naiad

BEGIN = """
import naiad
run = naiad.init_run(project="p", store={store!r}, name="live", git_ref=False, source_files=[])
run["params"] = {{"lr": 0.1}}
run["train/loss"].append(4.0)
run["train/loss"].extend([4.0 / step for step in range(2, 40)])
run["bad"].extend([1.0, float("nan"), 2.0])
"""
GROW = """
import time
for step in range(40, 400):
    run["train/loss"].append(4.0 / step, step=step)
    run["val/acc"].append(1 - 1 / step, step=step)
    time.sleep(0.005)
"""
PAGE = """<!doctype html><html><body style="color: rgb(20, 20, 20)"><div id="place"></div></body></html>"""
RENDER = """async ([script, style, shown]) => {
  const sheet = document.createElement("style");
  sheet.textContent = style;
  document.head.append(sheet);
  const module = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  window.shown = shown;
  const listeners = new Set();
  window.put = (next) => { window.shown = next; listeners.forEach((each) => each()); };
  const model = { get: () => window.shown, on: (_, f) => listeners.add(f), off: (_, f) => listeners.delete(f) };
  const el = document.createElement("div");
  window.end = module.default.render({ model, el });
  document.getElementById("place").append(el);
}"""
DRAWN = """() => [...document.querySelectorAll(".naiad canvas")].map((canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let drawn = 0;
  for (let at = 0; at < data.length; at += 4) drawn += data[at + 2] - data[at] > 90 && data[at + 3] > 200;
  return drawn;
})"""
"""How many pixels of each chart have the colour of its curve."""


class Kernel:
    """A real kernel, and what it has sent for its notebook."""

    def __init__(self) -> None:
        from jupyter_client.manager import start_new_kernel

        self.manager, self.client = start_new_kernel(kernel_name="python3")
        self.states: list[dict[str, Any]] = []
        self.outputs: list[tuple[str, dict[str, Any]]] = []
        self.are_closed = False

    def run(self, code: str) -> None:
        """Run a cell, and keep what arrives meanwhile."""
        wanted = self.client.execute(code)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            message = self.client.get_iopub_msg(timeout=60)
            self.take(message)
            is_own = message["parent_header"].get("msg_id") == wanted
            if is_own and message["content"].get("execution_state") == "idle":
                return
        raise AssertionError("the cell did not end")

    def take(self, message: Any) -> None:
        """Keep a message."""
        kind, content = message["msg_type"], message["content"]
        assert kind != "error", "\n".join(content["traceback"])
        if kind == "comm_open" and "shown" in content["data"].get("state", {}):
            self.states.append(content["data"]["state"])
        elif kind == "comm_msg" and "shown" in content["data"].get("state", {}):
            self.states.append({**self.states[-1], **content["data"]["state"]})
        elif kind == "comm_close":
            self.are_closed = True
        elif kind in ("display_data", "update_display_data", "execute_result"):
            self.outputs.append((kind, content["data"]))

    def until_closed(self) -> None:
        """Wait for the end of the widget."""
        end = time.monotonic() + 60
        while not self.are_closed:
            assert time.monotonic() < end, "the widget stays open"
            self.take(self.client.get_iopub_msg(timeout=60))

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    pytest.importorskip("anywidget", reason="live views are drawn by anywidget")
    pytest.importorskip("ipykernel", reason="notebooks need a kernel")
    found = Kernel()
    yield found
    found.close()


@pytest.mark.filterwarnings("ignore")  # of the packages of the notebook
def test_run_is_drawn_live_and_its_output_ends_as_the_static_form(
    kernel: Kernel, chromium: Any, tmp_path: Path
) -> None:
    kernel.run(BEGIN.format(store=str(tmp_path / "store")))
    kernel.run("run")
    kernel.run(GROW)
    kernel.run("run.stop()")
    kernel.until_closed()

    [(first, live), (last, static)] = kernel.outputs
    assert ("display_data", "update_display_data") == (first, last)
    assert {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"} == live.keys()
    assert {"text/plain", "text/html"} == static.keys()  # what a saved notebook has
    assert "train/loss" in live["text/html"]
    assert static["text/html"].count("<svg") == 3
    assert "399" in static["text/html"]
    begun, grown = next(each for each in kernel.states if each["shown"]), kernel.states[-1]["shown"]
    assert ["bad", "train/loss"] == [each["path"] for each in begun["shown"]["series"]]
    assert [1.0, None, 2.0] == begun["shown"]["series"][0]["mean"]
    assert ["bad", "train/loss", "val/acc"] == [each["path"] for each in grown["series"]]
    assert len(json.dumps(grown)) < 60_000
    context = chromium.new_context(viewport={"width": 900, "height": 500})
    page = context.new_page()
    troubles: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.set_content(PAGE)
    page.evaluate(RENDER, [begun["_esm"], begun["_css"], begun["shown"]])
    page.wait_for_selector(".naiad canvas", timeout=30_000)
    page.wait_for_function(f"({DRAWN})().every((drawn) => drawn > 20)", timeout=30_000)
    page.evaluate("(shown) => window.put(shown)", grown)
    page.wait_for_function(f"({DRAWN})().filter((drawn) => drawn > 20).length === 3", timeout=30_000)
    captions = page.locator(".naiad figcaption").all_inner_texts()
    header = page.locator(".naiad header").inner_text()
    page.evaluate("() => window.end()")
    left = page.locator(".naiad canvas").count()
    context.close()

    assert [] == troubles
    assert [] == [url for url in requests if not url.startswith("blob:")]
    assert ["bad", "train/loss", "val/acc"] == [each.split("\n")[0].strip("\u200e") for each in captions]
    assert captions[1].split("\n")[1].strip() == grown["series"][1]["last"]
    assert ["P-1", "live"] == header.split("\n")[:2]
    assert 0 == left


@pytest.mark.filterwarnings("ignore")  # of the packages of the notebook
def test_static_form_is_kept_where_nothing_can_be_live(kernel: Kernel, tmp_path: Path) -> None:
    kernel.run(BEGIN.format(store=str(tmp_path / "store")))
    kernel.run("run['params/lr']")  # no curve
    kernel.run("import os; os.environ['NAIAD_NOTEBOOK'] = 'static'")
    kernel.run("run")
    kernel.run("del os.environ['NAIAD_NOTEBOOK']; run.stop()")
    kernel.run(f"naiad.init_run(with_id='P-1', mode='read-only', store={str(tmp_path / 'store')!r})")  # has ended

    assert 3 == len(kernel.outputs)
    assert {"execute_result"} == {kind for kind, _data in kernel.outputs}
    assert all({"text/plain", "text/html"} == data.keys() for _kind, data in kernel.outputs)
    assert [] == kernel.states


def test_program_outside_a_notebook_shows_nothing_live(run: naiad.Run) -> None:
    run["loss"].append(1.0)

    with pytest.raises(NotImplementedError):
        run._ipython_display_()
    assert "loss" in run._repr_html_()
