"""A store with every kind of field, many runs and hostile names, to develop the pages against and to test them.

python tests/web/demo_store.py FOLDER [RUNS]
"""

from __future__ import annotations

import base64
import io
import json
import math
import random
import sys
import zipfile
from pathlib import Path

import naiad
from naiad.types import File, Histogram

QUIET = {
    "capture_stdout": False,
    "capture_stderr": False,
    "capture_hardware_metrics": False,
    "git_ref": False,
    "source_files": [],
}
HOSTILE = "<img src=x onerror=alert(1)>"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PAGE = "<!doctype html><script>document.title='ran'; parent.document.title='escaped'</script><h1>Logged</h1>"
SVG = "<svg xmlns='http://www.w3.org/2000/svg' width='40' height='40'><script>alert(1)</script><circle r='20'/></svg>"
NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "source": ["# Title ", HOSTILE]},
        {"cell_type": "code", "source": "1 + 1", "outputs": [{"data": {"text/plain": "2"}}, {"text": ["a", "b"]}]},
    ]
}


def archive() -> bytes:
    """Return a ZIP with a harmless file and some that lead out of it."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as opened:
        for name in ("a/b.txt", "../../etc/passwd", "/etc/shadow", "C:\\boot.ini", "a/../../x"):
            opened.writestr(name, f"content of {name}")
    return sink.getvalue()


def small_run(store: Path, number: int, chance: random.Random) -> None:
    """Log a run as a search over parameters has many of them."""
    tags = [f"group-{number % 5}", *(["best"] if number % 7 == 0 else [])]
    with naiad.init_run(project="digits", store=store, name=f"trial {number}", tags=tags, **QUIET) as run:
        lr = chance.choice([0.1, 0.03, 0.01, 0.003])
        run["params"] = {
            "lr": lr,
            "batch_size": chance.choice([32, 64, 128]),
            "optimizer": chance.choice(["adam", "sgd"]),
        }
        for metric in range(8):
            run[f"train/metric_{metric}"].extend(
                [math.exp(-step * lr / 30) + chance.random() / 10 for step in range(200)], steps=range(200)
            )


def full_run(store: Path, folder: Path) -> str:
    """Log a run with every kind of field, and return its id."""
    code = folder / "code"
    code.mkdir(exist_ok=True)
    (code / "train.py").write_text("import naiad\n\nprint('hello')\n")
    (code / "data.csv").write_text("a,b\n1,2\n=cmd(),3\n")
    run = naiad.init_run(project="digits", store=store, name=f"full {HOSTILE}", tags=["full", HOSTILE], **QUIET)
    with run:
        run["params"] = {"lr": 0.1, "large": 2**60, "flag": True, "text": "x" * 5_000, HOSTILE: HOSTILE}
        run["when"] = __import__("datetime").datetime(2026, 1, 2, 3, 4, 5, 678, __import__("datetime").timezone.utc)
        loss = [2.6 * math.exp(-step / 60_000) for step in range(200_000)]
        loss[77_777], loss[150_001] = 9.0, -3.0
        run["train/loss"].extend(loss, steps=range(200_000))
        run["train/odd"].extend([1.0, float("nan"), float("inf"), float("-inf"), 2.0], steps=[0, 1, 2, 3, 4])
        run["logs/console"].extend([f"\x1b[3{n % 8}mline {n}\x1b[0m {HOSTILE}" for n in range(5_000)])
        for step in range(20):
            run["grads/w"].append(Histogram.of([math.sin(n * step) for n in range(200)], bins=16), step=step)
            run["images/samples"].append(File.from_content(PIXEL, extension="png"), name=f"{step}", description=HOSTILE)
        for name, extension, content in (
            ("page", "html", PAGE),
            ("drawing", "svg", SVG),
            ("notes", "md", f"# Notes\n\n{HOSTILE}\n"),
            ("table", "csv", "a,b\n" + "".join(f"{n},{n * n}\n" for n in range(500))),
            ("book", "ipynb", json.dumps(NOTEBOOK)),
            ("facts", "json", json.dumps({"a": [1, 2, {"b": HOSTILE}]})),
            ("archive", "zip", archive()),
            ("model", "bin", bytes(range(256)) * 4_000),
        ):
            run[f"files/{name}"].upload(File.from_content(content, extension=extension))
        run["source_code/files"].upload_files([str(code)])
        run["data/train"].track_files(str(code))
        run["monitoring/demo/traceback"].extend(["Traceback (most recent call last):", f"ValueError: {HOSTILE}"])
        run["monitoring/demo/cpu"].extend([10.0, 20.0])
        return str(run["sys/id"].fetch())


def make(store: Path, runs: int = 60) -> str:
    """Fill a store, and return the id of the run with everything."""
    store.parent.mkdir(parents=True, exist_ok=True)
    chance = random.Random(1)
    for number in range(runs):
        small_run(store, number, chance)
    full = full_run(store, store.parent)
    with naiad.init_model(key="CNN", project="digits", store=store, name="small and fast"):
        pass
    for stage in ("production", "none"):
        version = naiad.init_model_version(model=model_id(store), project="digits", store=store)
        with version:
            version["accuracy"] = 0.9
            version.change_stage(stage)
    return full


def model_id(store: Path) -> str:
    """Return the id of the model."""
    project = naiad.init_project(project="digits", store=store, mode="read-only")
    found = str(project.fetch_models_table().to_pandas()["sys/id"][0])
    project.stop()
    return found


if __name__ == "__main__":
    print(make(Path(sys.argv[1]).absolute(), int(sys.argv[2]) if len(sys.argv) > 2 else 60))
