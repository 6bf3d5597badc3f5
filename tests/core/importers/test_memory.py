"""Memory of imports of half a million records, and of a series of three million points on its way out and in.

Sweeps of a minute: pytest -m slow tests/core/importers/test_memory.py
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from neptune_queue import floats, op, queue

MEASURED = """
import resource, sys
from naiad.importers import import_runs
assert import_runs("neptune-offline", sys.argv[1], store=sys.argv[2], progress_bar=False).is_whole
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak(root: Path, kind: str, count: int) -> float:
    """Return the most MiB that an import of so many records has."""
    folder = queue(root, [])
    with (folder / "data-1.log").open("w") as log:
        for number in range(count):
            text = [{"value": f"line {number} {'x' * 80}", "step": number, "ts": 1.7e9 + number}]
            each = floats("loss", number / 3, step=number) if kind == "points" else op("LogStrings", "log", values=text)
            log.write(json.dumps({"obj": each, "version": number + 1, "at": 1.7e9 + number}) + "\n")
    (folder / "last_put_version").write_text(str(count))
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(root), str(root / "store")], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("kind", "most"), [("texts", 300), ("points", 130)])
def test_memory_of_a_long_log_is_bounded(tmp_path: Path, kind: str, most: float) -> None:
    """Measured: texts 199 MiB, 393 before pages of them were compared and 220 for three times as many; points 80."""
    assert peak(tmp_path, kind, 500_000) < most


LOGGED = """
import sys, naiad, numpy as np
with naiad.init_run(store=sys.argv[1], project="long", capture_hardware_metrics=False) as run:
    run["loss"].extend(np.random.default_rng(1).normal(size=3_000_000), steps=range(3_000_000))
"""
OUT = """
import resource, sys, naiad
with naiad.init_project(project="long", store=sys.argv[1], mode="read-only") as project:
    project.export(sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
IN = """
import resource, sys
from naiad.importers import import_runs
assert import_runs("neptune-export", sys.argv[2], store=sys.argv[1], workers=1, progress_bar=False).is_whole
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def printed(program: str, *arguments: object) -> str:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().rpartition("\n")[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_of_a_long_series_is_that_of_its_pages(tmp_path: Path) -> None:
    """Measured: 206 MiB out and 209 back, of which 134 and 140 are what a short run takes; 321 and 241 before."""
    printed(LOGGED, tmp_path / "store")
    out = float(printed(OUT, tmp_path / "store", tmp_path / "dump"))
    back = float(printed(IN, tmp_path / "again", tmp_path / "dump"))

    assert out < 250
    assert back < 250
