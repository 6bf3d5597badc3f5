"""All that verbs accept is within what readers take for whole: each is written, verified and read back."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import naiad
from naiad.errors import WrongVerb
from naiad.exceptions import MissingFieldException
from naiad.storage.local.integrity.verify import verify_store
from naiad.storage.local.layout import Layout
from naiad.types import File

HOUR = dt.timezone(dt.timedelta(hours=10))
UTC = dt.timezone.utc

VALUES: list[Any] = [
    None, True, 0, -1, 2**63 - 1, -(2**63), 2**63, 10**400, 1.5, -0.0, 5e-324, 1.7e308, math.nan, math.inf, -math.inf,
    "", "a\0b", "\ud800", "x" * 100_000, b"", b"\xff", [], [None], (), {}, {"": 1}, {"a": None}, {"a": {"b": []}},
    set(), dt.datetime.min, dt.datetime.max, dt.datetime.min.replace(tzinfo=HOUR), dt.datetime.max.replace(tzinfo=UTC),
    dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-10))),
    dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), dt.date.min, dt.date.max, dt.timedelta.max,
    np.float16("nan"), np.uint64(2**64 - 1), np.datetime64("NaT", "s"), np.datetime64(-(2**62), "us"),
    np.datetime64(2**62, "us"), pd.NaT, pd.Timestamp.min, pd.Timestamp.max, File.from_content(b""), Path("x"), 1 + 2j,
]  # fmt: skip
STEPS: list[Any] = [
    0, -1, 2**63 - 1, -(2**63), 2**63, 10**400, -2.5, -0.0, 5e-324, 2.0**63, 1e308, 1.7e308, -1.7e308, math.nan,
    math.inf, -math.inf, np.int64(-5), np.float32(0.5), True, "1", None,
]  # fmt: skip
TIMES: list[Any] = [
    0, -5.5, -62_135_596_800.0, -62_135_596_801.0, 253_402_300_799.0, 253_402_300_800.0, 253_402_300_801.0, 1e17, 1e300,
    -1e300, math.nan, math.inf, dt.datetime.min, dt.datetime.max, None,
]  # fmt: skip
ENTRIES: dict[str, Any] = {"number": 1.5, "text": "t", "file": File.from_content("f"), "empty": ""}
PATHS: list[Any] = [
    "a " * 500,
    "é" * 512,
    "d/" * 500 + "d",
    ".../..a/.b/c.",
    "\x7f\x85\u2028",
    "a//b/",
    " ",
    "",
    5,
    None,
]


def verbs(run: naiad.Run, folder: Path) -> Iterator[Callable[[], object]]:
    """Each verb with each value, step, time and path."""
    for i, value in enumerate(VALUES):
        for verb in ("assign", "append", "upload", "log"):
            yield lambda verb=verb, value=value, i=i: getattr(run[f"{verb}/{i}"], verb)(value)
        yield lambda value=value, i=i: run[f"changed/{i}"].assign(5) or run[f"changed/{i}"].assign(value)
        yield lambda value=value: run["sys/tags"].add([value])
        yield lambda value=value: run["sys/tags"].remove([value])
        yield lambda value=value: run["sys/name"].assign(value)
    for name, entry in ENTRIES.items():
        for i, step in enumerate(STEPS):
            yield lambda name=name, entry=entry, i=i, step=step: run[f"steps/{name}/{i}"].append(entry, step=step)
        for i, time in enumerate(TIMES):
            yield lambda name=name, entry=entry, i=i, time=time: run[f"times/{name}/{i}"].append(entry, timestamp=time)
    for step in STEPS:
        yield lambda step=step: run["steps"].truncate(step)
    for path in PATHS:
        yield lambda path=path: run[path].assign(5)
        yield lambda path=path: run["set"].delete_files(path)
    for source in (f"{folder}/*", str(folder)):
        yield lambda source=source: run["set"].upload_files(source)
        yield lambda source=source: run["artifact"].track_files(source)
    yield lambda: run.pop("changed/1")


def shown(run: naiad.Run) -> dict[str, str]:
    """The values and points that are there, by path, as text."""
    found = {}
    for name in (f"{verb}/{i}" for verb in ("assign", "changed") for i in range(len(VALUES))):
        with contextlib.suppress(WrongVerb, MissingFieldException):  # a file or artifact; nothing was accepted
            found[name] = repr(run[name].fetch())
    series = [f"append/{i}" for i in range(len(VALUES))]
    series += [f"steps/{entry}/{i}" for entry in ENTRIES for i in range(len(STEPS))]
    series += [f"times/{entry}/{i}" for entry in ENTRIES for i in range(len(TIMES))]
    for name in series:
        with contextlib.suppress(WrongVerb, MissingFieldException):
            found[name] = run[name].fetch_values(progress_bar=False).to_csv(escapechar="\\")
    return found


def test_accepted_values_are_whole_when_they_are_read_back(store: Path, tmp_path: Path) -> None:
    """What a verb refuses leaves no trace, and what it accepts neither reads as damage nor as something else."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in ("a b", "é\n", "x" * 250, "-", "surrogate \udcff"):
        (folder / name).write_text(name[:1])
    run = naiad.init_run(project="values")
    accepted = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that are left out
        for verb in verbs(run, folder):
            try:
                verb()
            except (TypeError, ValueError, KeyError, OSError):  # refused: each verb's own tests say which
                continue
            accepted += 1
        run.wait()
        before = shown(run)
    run.stop()

    with naiad.init_run(with_id="VALUES-1", project="values", mode="read-only") as read:
        after = shown(read)

    assert {} == {place.uid: found for place, found in verify_store(Layout(store)).items() if found}
    assert before == after
    assert accepted > 200
