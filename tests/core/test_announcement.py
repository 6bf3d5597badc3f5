"""The lines on the terminal with which a run begins and stops, and the names by which it is known."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import naiad
from naiad.errors import RunNotFound
from naiad.types import File

PROGRAM = """
import sys, naiad
with naiad.init_run(project="p", capture_stderr=True, capture_stdout=True, git_ref=False, source_files=[]) as run:
    print("said", file=sys.stderr)
with naiad.init_run(with_id=run.id, mode="read-only") as run:
    lines = [run[f"{path}/stderr"].fetch_values(progress_bar=False)["value"].tolist() for path in
             [f"monitoring/{name}" for name in run.get_structure()["monitoring"]]]
assert lines == [["said"]], lines
"""


@pytest.fixture
def errors(store: Path) -> Callable[..., str]:
    """Run the program with a terminal for standard error, and return what appears there."""

    def call(**environment: str) -> str:
        ours, theirs = pty.openpty()
        settings = {name: value for name, value in os.environ.items() if name != "NAIAD_CAPTURES"} | environment
        process = subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=theirs, env=settings)
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # Linux's word for the end of a terminal
            pass
        os.close(ours)
        assert process.wait(timeout=60) == 0, shown
        return shown.decode().replace("\r\n", "\n")

    return call


def test_run_begins_and_stops_with_a_line_that_it_does_not_capture(errors: Callable[..., str], store: Path) -> None:
    begins, said, stops = errors(NAIAD_QUIET="").splitlines()

    assert begins.startswith(f"naiad: P-1 begins in {store}/runs/")
    assert begins.endswith("; look at it with: naiad show P-1")
    assert "said" == said
    assert stops.startswith("naiad: P-1 finished in ")


def test_quiet_runs_say_nothing(errors: Callable[..., str]) -> None:
    assert "said\n" == errors(NAIAD_QUIET="1")


def test_run_has_an_id_and_a_custom_id(store: Path) -> None:
    with naiad.init_run(project="p", custom_run_id="mine") as run:
        assert ("P-1", "mine") == (run.id, run.custom_run_id)
    with naiad.init_run(project="p") as run:
        assert run.custom_run_id is None


def test_run_is_read_by_its_custom_id(store: Path) -> None:
    with naiad.init_run(project="p", custom_run_id="mine") as run:
        run["x"] = 1
    with naiad.init_run(project="p", custom_run_id="mine", mode="read-only") as run:
        assert ("P-1", 1) == (run.id, run["x"].fetch())
    with pytest.raises(RunNotFound, match="no run with custom_run_id='yours' in project 'p'"):
        naiad.init_run(project="p", custom_run_id="yours", mode="read-only")


def test_size_counts_the_files_of_a_run(store: Path) -> None:
    with naiad.init_run(project="p") as run:
        run["model"].upload(File.from_content(b"x" * 1_000_000))
        run["again"].upload(File.from_content(b"x" * 1_000_000))
        run["small"].upload(File.from_content(b"few"))
        for step in range(2):
            run["images"].append(File.from_content(os.urandom(500_000)), step=step)
    with naiad.init_run(with_id="P-1", mode="read-only") as run:
        size = run["sys/size"].fetch()
    with naiad.init_project("p", mode="read-only") as project:
        found = project.fetch_runs_table(query="sys/size > 1.9MB").to_pandas()["sys/size"].tolist()

    assert 2_000_000 < size < 2_200_000
    assert [size] == found


def test_content_hash_of_an_artifact_stays_when_it_is_touched_or_copied(store: Path, tmp_path: Path) -> None:
    there, copy = tmp_path / "data", tmp_path / "copy"
    for folder in (there, copy):
        folder.mkdir()
        (folder / "a.csv").write_text("1,2")
    with naiad.init_run(project="p") as run:
        run["old"].track_files(str(there))
        os.utime(there / "a.csv", (1, 1))
        run["touched"].track_files(str(there))
        run["copied"].track_files(str(copy))
        (copy / "a.csv").write_text("1,3")
        run["changed"].track_files(str(copy))
        old, touched, copied, changed = (run[name].fetch() for name in ("old", "touched", "copied", "changed"))

        assert 4 == len({each.hash for each in (old, touched, copied, changed)})
        assert old.content_hash == touched.content_hash == copied.content_hash != changed.content_hash
        assert (True, True, False) == tuple(old.diff(each).is_content_same for each in (touched, copied, changed))
