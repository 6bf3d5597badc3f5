"""The example of scikit-learn runs, is one line longer than the same without naiad, and keeps what it says."""

from __future__ import annotations

import difflib
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import naiad

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE, PLAIN = EXAMPLES / "sklearn_report.py", EXAMPLES / "sklearn_plain.py"


def code(path: Path) -> list[str]:
    """The lines of a program below its docstring."""
    return path.read_text(encoding="utf-8").split('"""', 2)[2].splitlines()


def test_example_is_one_line_of_change() -> None:
    changes = [line for line in difflib.ndiff(code(PLAIN), code(EXAMPLE)) if line[0] in "+-" and line[2:].strip()]
    imports = [line for line in changes if "import" in line]

    assert ["+ import naiad", "+ from naiad_sklearn import create_classifier_summary"] == imports
    (change,) = (line for line in changes if line not in imports)
    assert change.startswith("+     naiad.init_run(")


def test_example_says_the_same_and_keeps_its_report(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run([sys.executable, "-W", "error", EXAMPLE], check=True, capture_output=True, encoding="utf-8")
    runpy.run_path(str(PLAIN), run_name="__main__")
    assert (capsys.readouterr().out, "") == (done.stdout, done.stderr)

    with naiad.init_run(with_id="WINES-1", mode="read-only") as run:
        found = run.fetch()
        kinds = [run[path].fetch_extension() for path in ("diagnostics_charts/ROC_AUC", "pickled_model")]
        params = run["search/best_params"].fetch()

    assert "finished" == found["sys"]["state"]
    assert f"{params}: {found['test']['metrics']['accuracy_score']:.1%} right\n" == done.stdout
    assert "alcohol" in json.loads(found["estimator"]["features"])
    assert ["png", "pkl"] == kinds
