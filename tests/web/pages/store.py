"""A store for looking at the pages, made through the public API: `python tests/web/pages/store.py DIR`."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import random
import struct
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import naiad
from naiad.types import File, Histogram

HOSTILE = '<img src=x onerror="window.hacked=1">'
PROJECT = "digits"
RUNS = 50
LONG = 200_000
"""Points of the series with two spikes."""

OFF: dict[str, Any] = {
    "capture_stdout": False,
    "capture_stderr": False,
    "capture_hardware_metrics": False,
    "git_ref": False,
    "source_files": [],
}


def started(store: Path, **options: Any) -> Any:
    """Return a run that captures nothing by itself."""
    return naiad.init_run(store=str(store), project=PROJECT, **{**OFF, **options})


def curve(seed: int, steps: int) -> np.ndarray[Any, Any]:
    """Return a loss that falls, with noise."""
    noise = np.random.default_rng(seed)
    rate, floor = noise.uniform(2, 6), noise.uniform(0.1, 0.5)
    return floor + 2.0 * np.exp(-rate * np.arange(steps) / steps) + noise.normal(0, 0.03, steps)


def plain(store: Path, number: int) -> None:
    """Log one of many runs: parameters, eight metrics, tags."""
    choice = random.Random(number)
    model, optimizer = choice.choice(["resnet18", "convnext", "vit_s"]), choice.choice(["sgd", "adam", "lion"])
    name = HOSTILE if number == 7 else f"{model}-{optimizer}-{number:02d}"
    run = started(
        store, name=name, tags=[choice.choice(["baseline", "wide", "deep"])] + ([HOSTILE] if number == 7 else [])
    )
    run["params"] = {
        "lr": 10 ** -choice.uniform(1, 4),
        "optimizer": optimizer,
        "depth": choice.randint(2, 12),
        "augment": choice.random() < 0.5,
    }
    for index, metric in enumerate(
        ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/auc", "val/f1", "grad/norm", "lr")
    ):
        values = curve(number * 8 + index, 1000)
        run[metric].extend(list(values if "loss" in metric else 1 - values / 3), steps=list(range(1000)))
    run["score"] = choice.random()
    run["data/train"].track_files(str(store.parent / ("data" if number % 3 else "data2")))
    run.stop()


def spiky(store: Path) -> None:
    """Log a long series with two single points far outside, NaN and infinities."""
    run = started(store, name="long with spikes", tags=["long"])
    values = curve(1, LONG)
    values[123_456] = 9.0
    values[54_321] = -3.0
    run["long/loss"].extend(list(values), steps=list(range(LONG)))
    odd = [1.0, 0.8, math.nan, 0.6, math.inf, 0.5, -math.inf, 0.4]
    run["odd/values"].extend(odd, steps=list(range(len(odd))))
    run["odd/one"].append(0.25, step=3)
    run["params"] = {"lr": 0.01, "optimizer": "adam", "depth": 4, "augment": True}
    run.stop()


def rich(store: Path, folder: Path) -> None:
    """Log every kind of field, with hostile names and content."""
    run = started(
        store,
        name="every kind",
        description=f"All kinds of fields. {HOSTILE}",
        tags=["kinds", "\u202egnp"],
        source_files=[str(folder / "*.py")],
    )
    run["params"] = {
        "lr": 0.003,
        "optimizer": "adam",
        "depth": 8,
        "augment": False,
        "nested": {"deep": {"er": "value"}},
    }
    run["params/long"] = "word " * 600
    run[f"hostile/{HOSTILE.replace('/', '')}"] = HOSTILE
    run["params/=cmd"] = "=1+1"
    run["hostile/script"] = "</script><script>window.hacked=2</script><!--"
    noise = np.random.default_rng(5)
    for step in range(0, 60, 5):
        for name in ("samples/input", "samples/output"):
            picture = np.clip(noise.normal(0.5, 0.2, (28, 28)) * (1 if name.endswith("input") else step / 60), 0, 1)
            run[name].append(
                File.as_image(picture),
                step=step,
                name=f"digit {step}",
                description=f"predicted {step % 10} {HOSTILE if step == 5 else ''}",
            )
        run["weights"].append(Histogram.of(noise.normal(step / 30, 1 + step / 60, 2000)), step=step)
        run["train/loss"].append(2 / (1 + step), step=step)
    log = run["logs/train"]
    log.extend(
        [
            f"\x1b[32mINFO\x1b[0m epoch {i} loss {1 / (i + 1):.4f}" if i % 7 else f"ERROR {HOSTILE} {i}"
            for i in range(5000)
        ]
    )
    html = (
        "<h1>Report</h1><script>document.body.dataset.ran='yes';"
        "try{parent.document.title='hacked'}catch(e){document.body.dataset.denied=e.name}</script>"
    )
    run["files/report"].upload(File.from_content(html, extension="html"))
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"><script>parent.hacked=1</script>'
        '<circle r="15" cx="20" cy="20" fill="teal"/></svg>'
    )
    run["files/drawing"].upload(File.from_content(drawing, extension="svg"))
    run["files/notes"].upload(
        File.from_content(
            f"# Notes\n\nA **list** of {HOSTILE}:\n\n- one\n- [two](javascript:alert(1))\n", extension="md"
        )
    )
    run["files/config"].upload(File.from_content('{"lr": 0.1, "layers": [64, 32]}', extension="json"))
    run["files/table"].upload(
        File.from_content(pd.DataFrame({"a": range(300), "b": ["=1+1"] * 300}).to_csv(index=False), extension="csv")
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a/one.txt", "one")
        archive.writestr("../evil.txt", "evil")
    run["files/archive"].upload(File.from_content(packed.getvalue(), extension="zip"))
    run["files/picture"].upload(File.as_image(noise.random((48, 64))))
    run["files/set"].upload_files([str(folder / "*.py"), str(folder / "*.txt")])
    run["data/train"].track_files(str(store.parent / "data"))
    run.stop()


def deep(store: Path) -> None:
    """Log thousands of fields."""
    run = started(store, name="many fields", tags=["deep"])
    run["layers"] = {
        f"block{i:02d}": {f"w{j}": {"norm": i * 1.5, "mean": j * 0.1} for j in range(50)} for i in range(50)
    }
    run.stop()


def failing(store: Path) -> None:
    """Log a run that ends with an exception."""
    with (
        contextlib.suppress(ZeroDivisionError),
        started(store, name="fails", tags=["bug"], capture_traceback=True) as run,
    ):
        run["params/lr"] = 100.0
        run["train/loss"].extend([1.0, 4.0, 90.0], steps=[0, 1, 2])
        print(1 / 0)


def models(store: Path) -> None:
    """Make a model with three versions in different stages."""
    model = naiad.init_model(store=str(store), project=PROJECT, key="CNN", name="digits classifier")
    model["signature"] = "28x28 -> 10"
    key = model["sys/id"].fetch()
    model.stop()
    for number, stage in enumerate(("archived", "production", "staging")):
        version = naiad.init_model_version(store=str(store), project=PROJECT, model=key, name=f"v{number}")
        version["accuracy"] = 0.9 + number / 50
        version["weights"].upload(File.from_content(b"weights", extension="bin"))
        version.change_stage(stage)
        version.stop()


def sweep(store: Path) -> None:
    """Log a search over a parameter: a run with two children, one of which has a child of its own and a file."""
    options = {**OFF, "store": str(store), "project": "sweep"}
    with naiad.init_run(name="search", **options) as search:
        search["best"] = 0.02
        for number, rate in enumerate((0.02, 0.1)):
            with naiad.init_run(name=f"trial {number}", parent=search, **options) as trial:
                trial["lr"] = rate
                trial["loss"].extend([1.0, rate], steps=[0, 1])
                if number:
                    continue
                trial["weights"].upload(File.from_content(b"weights", extension="bin"))
                with naiad.init_run(name="evaluation", parent=trial, **options) as evaluation:
                    evaluation["loss"].append(0.5, step=0)


def media(store: Path) -> None:
    """Log files of the forms that a browser plays or that a preview lays out."""
    wave = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + 800, b"WAVE", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8, b"data", 800
    )
    notebook = {
        "cells": [{"cell_type": "markdown", "source": [f"# Title {HOSTILE}"]}, {"cell_type": "code", "source": "1 + 1"}]
    }
    packed = io.BytesIO()
    pd.DataFrame({"a": range(50), "b": ["x"] * 50}).to_parquet(packed)
    with naiad.init_run(store=str(store), project="media", name="media", **OFF) as run:
        for name, content in (
            ("sound.wav", wave + bytes([128]) * 800),
            ("book.ipynb", json.dumps(notebook)),
            ("table.parquet", packed.getvalue()),
            ("plain.txt", "one\ntwo\n"),
            ("chart.html", "<script>document.write(new Function('return `<b id=drawn>${6 * 7}</b>`')())</script>"),
            ("long.log", "".join(f"line {number}\n" for number in range(250_000))),
            ("wide.csv", f"number,text\n1,{'several words ' * 20}\n"),
            ("model.pt", b"weights"),
        ):
            path, _, extension = name.partition(".")
            run[f"files/{path}"].upload(File.from_content(content, extension=extension))


def build(root: Path, runs: int = RUNS) -> Path:
    """Make the store below a folder, and return it."""
    store = root / ".naiad"
    for name, text in (("data", "a,b\n1,2\n"), ("data2", "a,b\n1,3\n")):
        (root / name).mkdir(exist_ok=True)
        (root / name / "train.csv").write_text(text)
        (root / name / "labels.txt").write_text("0 1 2")
    code = root / "code"
    code.mkdir(exist_ok=True)
    (code / "train.py").write_text(
        f"import naiad\n\n\ndef train(lr=0.01):\n    '''Fit {HOSTILE}.'''\n    return lr * 2\n"
    )
    (code / "notes.txt").write_text("a note\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(runs):
            plain(store, number)
        spiky(store)
        rich(store, code)
        deep(store)
        models(store)
        failing(store)
        sweep(store)
        media(store)
    return store


if __name__ == "__main__":
    logging.disable(logging.INFO)
    print(build(Path(sys.argv[1])))
