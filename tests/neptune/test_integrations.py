"""`neptune.integrations.<framework>`: what was published where it can be imported, else naiad's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import naiad
from naiad.cli.program import COMMANDS

EXAMPLE = Path(__file__).parents[2] / "examples" / "kedro_project"
START = "from naiad.cli import main; main()"


def answer(code: str, folder: Path) -> str:
    """What a program under the alias prints."""
    command = [sys.executable, "-W", "ignore", "-c", f"import naiad.as_neptune\n{code}"]
    settings = {**os.environ, "KERAS_BACKEND": "torch"}
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=100, check=False)
    assert 0 == done.returncode, done.stderr
    return done.stdout.splitlines()[-1]  # frameworks print lines of their own


@pytest.mark.parametrize(
    ("framework", "name", "ours"),
    [
        ("tensorflow_keras", "NeptuneCallback", "naiad_keras"),
        ("sklearn", "create_classifier_summary", "naiad_sklearn"),
        ("pytorch_lightning", "NeptuneLogger", "naiad_lightning"),
        ("kedro", "NeptuneFileDataset", "naiad_kedro"),
        ("lightgbm", "NeptuneCallback", "naiad_lightgbm"),
        ("optuna", "NeptuneCallback", "naiad_optuna"),
        ("pytorch", "NeptuneLogger", "naiad_pytorch"),
        ("xgboost", "NeptuneCallback", "naiad_xgboost"),
    ],
)
def test_ours_answers_where_nothing_was_published(
    framework: str, name: str, ours: str, store: Path, tmp_path: Path
) -> None:
    code = f"from neptune.integrations.{framework} import {name} as found\nprint(found.__module__.partition('.')[0])"

    assert ours == answer(code, tmp_path)


def test_published_package_goes_before_ours(store: Path, tmp_path: Path) -> None:
    (tmp_path / "neptune_sklearn" / "impl").mkdir(parents=True)
    (tmp_path / "neptune_sklearn" / "__init__.py").write_text("from neptune_sklearn.impl import marked\n")
    (tmp_path / "neptune_sklearn" / "impl" / "__init__.py").write_text(
        "from neptune.types import File\n__all__ = ['marked']\nmarked = 'theirs'\n"
    )

    assert "theirs" == answer("from neptune.integrations.sklearn import marked; print(marked)", tmp_path)


def test_framework_without_any_package_says_how_to_install_one(store: Path, tmp_path: Path) -> None:
    code = """
try:
    import neptune.integrations.fastai
except ImportError as error:
    print(type(error).__name__, "pip install neptune-fastai" in str(error))
"""

    assert "MissingPackage True" == answer(code, tmp_path)


def test_kedro_makes_one_run_though_the_entry_points_of_both_are_there(store: Path, tmp_path: Path) -> None:
    """kedro-neptune itself does not run on Kedro 1; what its entry points name is ours and adds nothing."""
    project, installed = tmp_path / "kedro_project", tmp_path / "installed"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("data", ".naiad", "__pycache__"))
    facts = installed / "kedro_neptune-0.6.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: kedro-neptune\nVersion: 0.6.0\n")
    (facts / "entry_points.txt").write_text(
        "[kedro.hooks]\nneptune_hooks = kedro_neptune:neptune_hooks\n\n"
        "[kedro.project_commands]\nneptune = kedro_neptune:commands\n"
    )
    (installed / "kedro_neptune.py").write_text("raise RuntimeError('the published one was imported')\n")
    of_kedro = "ignore:register_new_resolver() is deprecated"
    settings = {
        **os.environ,
        "NAIAD_STORE": str(project / ".naiad"),
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": str(installed),
        "PYTHONWARNINGS": of_kedro,
    }
    command = [sys.executable, "-c", START, "neptune", "-m", "kedro", "run"]

    done = subprocess.run(command, cwd=project, env=settings, capture_output=True, text=True, timeout=100, check=False)

    assert 0 == done.returncode, done.stdout + done.stderr
    with naiad.init_project("kedro_project", mode="read-only", store=project / ".naiad") as found:
        [run] = found.runs()
    with naiad.init_run(with_id=run.id, mode="read-only", store=project / ".naiad") as only:
        assert "done" == only["kedro/status"].fetch()


def test_command_is_listed() -> None:
    assert "neptune" in COMMANDS
