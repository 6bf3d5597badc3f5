"""One flipped bit in every kind of file of runs that real frameworks made: verify names it, repair saves the rest."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from naiad.errors import DamageWarning
from naiad.kinds import DERIVED
from naiad.storage.local.blobs import Blobs
from naiad.storage.local.files import stored_files
from naiad.storage.local.integrity.repair import Repair, repair
from naiad.storage.local.integrity.verify import examine, verify
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store
from naiad.storage.local.writer import Writer

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMANDS = {
    "lightning": [sys.executable, "-W", "ignore", str(EXAMPLES / "lightning_fit.py")],
    "keras": [sys.executable, "-W", "ignore", str(EXAMPLES / "keras_fit.py")],
    "sklearn": [sys.executable, "-W", "ignore", str(EXAMPLES / "sklearn_report.py")],
    "kedro": [sys.executable, "-W", "ignore", "-m", "kedro", "run"],
}
FAST = {"OMP_NUM_THREADS": "1", "KERAS_BACKEND": "torch", "DO_NOT_TRACK": "1", "NAIAD_FOLD_RECORDS": "1"}


@pytest.fixture(scope="module", params=sorted(COMMANDS))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with what one framework logged in a tiny fit."""
    place = tmp_path_factory.mktemp(request.param)
    if request.param == "kedro":
        place = place / "kedro_project"
        ignored = shutil.ignore_patterns("data", ".naiad", "__pycache__")
        shutil.copytree(EXAMPLES / "kedro_project", place, ignore=ignored)
    environment = {**os.environ, **FAST, "NAIAD_STORE": str(place / "store")}
    command = COMMANDS[request.param]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    return place / "store"


@pytest.fixture(params=["stopped", "killed"])
def run(request: pytest.FixtureRequest, made: Path, tmp_path: Path) -> RunDirectory:
    """A run of it, as it was stopped, or gone on with by a process that was killed a second later."""
    shutil.copytree(made, tmp_path / "store", symlinks=True)
    folder = max(Store.locate(tmp_path / "store").folders(), key=lambda folder: len(Reader(folder).kinds()))
    if request.param == "killed":
        child = os.fork()
        if not child:
            try:
                Writer.open(folder).wait()
                time.sleep(1.5)
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert [] == verify(folder)
    return folder


Rows = list[str]


def answers(folder: RunDirectory) -> dict[str, Rows]:
    """The rows that a run holds at each path, as text, in which a NaN equals itself."""
    reader = Reader(folder)
    found: dict[str, Rows] = {}
    for path, kind in reader.kinds().items():
        if kind == "float_series":
            points = reader.points(path)
            found[path] = [*map(repr, zip(*(np.asarray(column).tolist() for column in points), strict=True))]
        elif kind in ("string_series", "file_series"):
            found[path] = [*map(repr, zip(*map(list, reader.texts(path)), strict=True))]
        elif kind == "file_set":
            state = reader.projection().alive(path, kind)
            assert state is not None
            found[path] = [*map(repr, state.members.items())]
        elif path not in DERIVED:
            found[path] = [repr(reader.atom(path)[1])]
    return found


def kinds_of_files(folder: RunDirectory) -> Iterator[Path]:
    """The largest file of each kind of the run, and of the content that its fields keep."""
    files = [path for path in folder.path.rglob("*") if path.is_file() and path.stat().st_size > 1]
    reader = Reader(folder)
    names = {reader.resolve(file.blob) for _path, file in stored_files(reader) if file.content is None}
    blobs = [Blobs(folder.blobs).path(name) for name in names]
    largest: dict[str, Path] = {}
    for path in sorted([*files, *blobs], key=lambda path: path.stat().st_size):
        if path.suffix not in (".lease", ".db-shm") and not path.name.startswith("."):
            largest[path.suffix] = path
    yield from largest.values()


def assert_accounted_for(true: dict[str, Rows], after: dict[str, Rows], done: Repair) -> None:
    """Every row that is missing is of a field or a file that the repair says is gone, and no row is new."""
    assert set(after) <= set(true)
    assert set(true) - set(after) <= {*done.lost_fields, *done.lost_files}
    named = {damage.path for damage in done.damages}
    for path in set(after) & set(true):
        assert not Counter(after[path]) - Counter(true[path])
        files = [name for name in done.lost_files if name.startswith((f"{path}/", f"{path} at step "))]
        gone = len(true[path]) - len(after[path])
        assert gone == len(files) or path in named, path
        assert after[path] or not gone or path in done.lost_fields or files, path


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.timeout(600)
def test_one_flipped_bit_is_named_and_the_rest_is_saved(run: RunDirectory) -> None:
    true = answers(run)
    for path in list(kinds_of_files(run)):
        original, before = path.read_bytes(), {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
        flip(path)

        found = examine(run)
        named = [*found.damages, *found.torn]
        if not any(path.name in damage.file for damage in named):  # a place in the index that nothing uses
            assert path.name.startswith("run.db")
            assert true == answers(run)
            path.write_bytes(original)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamageWarning)
            done = repair(run)
        assert [] == verify(run)
        assert_accounted_for(true, answers(run), done)
        if done.kept is not None and run.path in path.parents:
            assert (done.kept / path.relative_to(run.path)).read_bytes() != original

        shutil.rmtree(run.path)
        for place, data in before.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        path.write_bytes(original)
    assert {} == {p: v for p, v in answers(run).items() if v != true[p]}
