"""The Kedro example: a real pipeline, with naiad and with the lines about naiad taken out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import naiad

EXAMPLE = Path(__file__).parents[2] / "examples" / "kedro_project"
LINES = {"naiad.yml": ["naiad: {enabled: true}"]}
MARKS = ["  metadata: {naiad: artifact}", "  metadata: {naiad: file}", "  metadata: {naiad: metric}"]


@pytest.fixture
def project(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the example, under the name it is to have."""
    monkeypatch.delenv("NAIAD_STORE")
    place = tmp_path / "kedro_project"
    shutil.copytree(EXAMPLE, place, ignore=shutil.ignore_patterns("data", ".naiad", "__pycache__"))
    return place


def run(project: Path) -> None:
    of_kedro = "ignore:register_new_resolver() is deprecated"  # which calls what OmegaConf has renamed
    environment = {**os.environ, "DO_NOT_TRACK": "1", "PYTHONWARNINGS": of_kedro}
    command = [sys.executable, "-m", "kedro", "run"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "WARNING" not in done.stdout


def lines_about_naiad(project: Path) -> dict[str, list[str]]:
    files = [path for path in project.rglob("*") if path.is_file() and path.suffix in (".py", ".yml")]
    found = {path.name: [line for line in path.read_text().splitlines() if "naiad:" in line] for path in files}
    return {name: lines for name, lines in found.items() if lines}


def test_four_lines_are_about_naiad(project: Path) -> None:
    assert LINES | {"catalog.yml": MARKS} == lines_about_naiad(project)


def test_project_is_logged(project: Path) -> None:
    run(project)
    (project / "copy").mkdir()
    with naiad.init_run(with_id="KP-1", mode="read-only", store=project / ".naiad") as found:
        fetched = found.fetch()["kedro"]
        found["kedro/catalog/files/model"].download(str(project / "copy" / "model.pkl"))
        tracked = found["kedro/catalog/artifacts/wines"].fetch_files_list()
        state = found["sys/state"].fetch()

    assert ("finished", "done", "kedro run") == (state, fetched["status"], fetched["kedro_command"])
    assert ["fetch", "fit", "score", "split"] == sorted(fetched["nodes"])
    assert fetched["metrics"]["scores"]["accuracy"] > 0.9
    assert (178, 14) == tuple(fetched["catalog"]["datasets"]["wines"][name] for name in ("rows", "columns"))
    assert {"test_size": 0.3, "seed": 7} == fetched["parameters"]["split"]
    assert (project / "data/model.pkl").read_bytes() == (project / "copy/model.pkl").read_bytes()
    assert ["wines.csv"] == [Path(each.file_path).name for each in tracked]


def test_project_without_the_lines_runs_the_same(project: Path) -> None:
    (project / "conf/base/naiad.yml").unlink()
    catalog = project / "conf/base/catalog.yml"
    catalog.write_text(re.sub(r".*naiad:.*\n", "", catalog.read_text()))

    run(project)

    assert (project / "data/scores.json").is_file()
    assert not (project / ".naiad").exists()


def test_page_shows_the_lines_that_are_there() -> None:
    page = (EXAMPLE / "README.md").read_text()

    assert "\nnaiad: {enabled: true}\n" in page
    assert MARKS == [line[1:].partition("#")[0].rstrip() for line in re.findall(r"^\+.*", page, re.MULTILINE)]
