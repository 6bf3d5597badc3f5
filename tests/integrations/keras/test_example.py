"""The example for Keras runs, fills its mapping, and differs from the script without naiad by one line and imports."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import naiad
from naiad.testing.mapping import check_mapping
from naiad_keras.plugin import INTEGRATION

EXAMPLES = Path(__file__).parents[3] / "examples"


def code(name: str) -> list[str]:
    """The lines of an example below its docstring."""
    return (EXAMPLES / name).read_text(encoding="utf-8").partition('\n"""\n')[2].splitlines()


def test_one_line_differs_beside_the_imports() -> None:
    differences = difflib.ndiff(code("keras_plain.py"), code("keras_fit.py"))
    changed = [line for line in differences if line[0] in "+-" and line[1:].strip()]

    assert ["- callbacks=[],"] == [f"- {line[1:].strip()}" for line in changed if line[0] == "-"]
    added = [line[1:].strip() for line in changed if line[0] == "+"]
    assert ["import naiad", "from naiad_keras import NaiadCallback"] == added[:2]
    assert 3 == len(added)
    assert added[2].startswith('callbacks=[NaiadCallback(naiad.init_run(project="digits")')


def test_example_trains_and_its_run_holds_what_the_mapping_says(store: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the example reads its digits from scikit-learn, which is not installed")

    done = subprocess.run(
        [sys.executable, EXAMPLES / "keras_fit.py"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert 90 < float(done.stdout.partition("%")[0])
    options = {"log_model_summary", "log_on_batch", "validation_data", "log_checkpoints", "log_checkpoints=best"}
    with naiad.init_run(with_id="DIGITS-1", mode="read-only") as run:
        check_mapping(INTEGRATION, run, when=options)
        assert "finished" == run["sys/state"].fetch()
        assert list(range(10)) == run["training/train/epoch/accuracy"].fetch_values()["step"].tolist()
