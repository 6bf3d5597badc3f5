"""Memory of an import of half a million records.

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
