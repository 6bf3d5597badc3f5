"""Programs of the sections "Resume", started twice, as a job that is pre-empted is: both starts write one run."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import naiad

DOCS = Path(__file__).parents[2] / "core/docs/frameworks"
PROGRAM = re.compile(r'^```python title="resume.py"\n(.*?)^```$', re.DOTALL | re.MULTILINE)
CURVES = {
    "accelerate": ("train/loss", range(1, 21)),
    "ignite": ("train/loss", range(1, 21)),
    "keras": ("training/train/epoch/loss", range(6)),
    "lightgbm": ("training/training/auc", range(10)),
    "optuna": ("trials/values", range(6)),
    "skorch": ("training/train/epoch/loss", range(6)),
    "transformers": ("finetuning/train/loss", range(1, 9)),
    "xgboost": ("training/training/auc", range(10)),
}
QUICK = ("lightgbm", "optuna", "xgboost")
"""Those that do not import PyTorch, which takes most of the time of a program this short."""


def test_every_program_of_a_page_is_started_here() -> None:
    assert {*CURVES} == {page.stem for page in DOCS.glob("*.md") if PROGRAM.search(page.read_text(encoding="utf-8"))}


@pytest.mark.timeout(300)  # a framework is imported twice, on a busy machine
@pytest.mark.parametrize(
    "framework", [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in CURVES]
)
def test_a_second_start_continues_the_curves(framework: str, store: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f'{framework} is not installed: pip install "naiad[{framework}]"')
    [text] = PROGRAM.findall((DOCS / f"{framework}.md").read_text(encoding="utf-8"))
    (tmp_path / "resume.py").write_text(text, encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NAIAD_QUIET": "1"}

    for _start in range(2):
        command = [sys.executable, "resume.py"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert 0 == done.returncode, done.stderr
        assert "Traceback" not in done.stderr

    project = "cancer" if framework in ("lightgbm", "optuna", "xgboost") else "digits"
    path, steps = CURVES[framework]
    with naiad.init_project(project, mode="read-only") as found:
        [run] = [row["sys/id"].get() for row in found.fetch_runs_table(query="NOT sys/parent EXISTS")]
    with naiad.init_run(with_id=run, mode="read-only") as read:
        assert [*steps] == read[path].fetch_values()["step"].tolist()
        assert "finished" == read["sys/state"].fetch()
