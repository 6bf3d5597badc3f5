"""`kedro naiad init`, and what is said where Kedro is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from kedro.framework.startup import ProjectMetadata

from naiad_kedro.commands import commands


def init(project: Any, *options: str) -> str:
    """What `kedro naiad init` prints, given what Kedro gives to commands of plugins."""
    metadata = ProjectMetadata(
        config_file=project.path / "pyproject.toml",
        package_name="tiny",
        project_name="Tiny",
        project_path=project.path,
        source_dir=project.path / "src",
        kedro_init_version="1.0.0",
        tools=[],
        example_pipeline="",
    )
    done = CliRunner().invoke(commands, ["naiad", "init", *options], obj=metadata, catch_exceptions=False)
    assert 0 == done.exit_code, done.output
    return done.output


def test_init_makes_the_next_run_logged(bare: Any) -> None:
    (bare.path / "src").mkdir()
    (bare.path / "src" / "nodes.py").touch()
    assert "Created" in init(bare)

    bare.run("twins")

    assert "done" == bare.read().value("kedro/status")
    assert "tiny" == bare.read().value("sys/project")
    with bare.opened() as run:
        files = run["source_code/files"]
        assert ["nodes.py"] == [entry.name for entry in files.list_fileset_files("src")]
        assert ["catalog.yml", "naiad.yml", "parameters.yml"] == [
            entry.name for entry in files.list_fileset_files("conf/base")
        ]


def test_init_keeps_what_it_is_told(bare: Any) -> None:
    init(bare, "--project", "it's", "--base-namespace", "a/b", "--config", "local")
    found = yaml.safe_load((bare.path / "conf/local/naiad.yml").read_text())["naiad"]

    assert ("it's", "a/b", True) == (found["project"], found["base_namespace"], found["enabled"])


@pytest.mark.parametrize("name", ["naiad.yml", "neptune.yml", "neptune.yaml"])
def test_init_changes_no_file_that_is_there(name: str, bare: Any) -> None:
    bare.configure(name, "mine")

    assert "already exists" in init(bare)
    assert ["catalog.yml", name, "parameters.yml"] == sorted(path.name for path in (bare.path / "conf/base").iterdir())
    assert "mine" == (bare.path / "conf/base" / name).read_text()


HIDDEN = """
import importlib.abc, sys

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in HIDDEN_NAMES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
import naiad_kedro
assert "kedro" not in sys.modules
try:
    naiad_kedro.NaiadFileDataset
    print("there")
except ImportError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("hidden", "words"),
    [
        ("{'kedro'}", "MissingPackage NaiadFileDataset needs Kedro 1, and importing kedro failed"),
        ("{'keras', 'lightning', 'pytorch_lightning', 'sklearn'}", "there"),
    ],
)
def test_absent_framework_is_named_with_its_extra(hidden: str, words: str, tmp_path: Path) -> None:
    program = HIDDEN.replace("HIDDEN_NAMES", hidden)
    done = subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, capture_output=True, text=True)

    assert words in done.stdout
    assert ('pip install "naiad[kedro]"' in done.stdout) == (words != "there")
