"""The disk of a client is full while its run is shipped: one warning, training goes on, and all of it arrives later."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_client import COMMAND, Server

from naiad.container_kinds import RUN
from naiad.storage.local.store import Store as Folder
from naiad.storage.remote.store import RemoteStore

PROGRAM = """
import json, sys, time, warnings

said = []
warnings.simplefilter("always")
warnings.showwarning = lambda message, category, *_: said.append(str(message))

def tell(**facts):
    print(json.dumps(facts), flush=True)
    sys.stdin.readline()

import naiad

run = naiad.init_run(
    store=sys.argv[1], project="disk", capture_hardware_metrics=False, capture_stdout=False, capture_stderr=False,
    capture_traceback=False, git_ref=False, source_files=[],
)
done = 0

def log(count):
    global done
    for _ in range(count):
        run["loss"].append(done / 4, step=done)
        if done % 100 == 0:
            run["text"].append(f"line {done}", step=done)
        done += 1

log(1000)
run.wait()
tell()
log(60_000)
tell(done=done)  # the disk has room again after this
until = time.monotonic() + 60
while True:
    try:
        run.wait()
        break
    except naiad.errors.SyncFailed:
        if time.monotonic() > until: raise
        time.sleep(0.1)
log(1000)
run.stop(seconds=float(sys.argv[2]))
tell(done=done, said=said)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "naiad-test", str(place)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting tmpfs is not possible here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def fill(disk: Path) -> Path:
    """Leave no free byte."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return filler


@pytest.mark.parametrize("is_away", [False, True], ids=["server there", "server away"])
def test_run_goes_on_while_the_disk_of_its_client_is_full_and_arrives_whole(
    is_away: bool, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path / "store").start("--init")
    url, own = f"http://127.0.0.1:{server.port}", {"NAIAD_API_TOKEN": server.token}
    environment = {**os.environ, **own, "NAIAD_LOCAL_STORE": str(disk / "here"), "NAIAD_SEGMENT_BYTES": "65536"}
    command = [sys.executable, "-c", PROGRAM, url, "1" if is_away else "60"]
    with subprocess.Popen(command, env=environment, stdin=-1, stdout=-1, stderr=-1, text=True) as child:
        try:
            heard(child)
            if is_away:
                server.stop()
            filler = fill(disk)
            go_on(child)
            assert 61_000 == heard(child)["done"]
            filler.unlink()
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            go_on(child)
            end = heard(child)
            go_on(child)
        finally:
            child.kill()
    if is_away:
        server.start()
    sync = [*COMMAND, "sync", str(disk / "here"), "--to", url]
    done = subprocess.run(sync, env=environment, check=False, capture_output=True, text=True, timeout=120)
    assert 0 == done.returncode, done.stderr
    monkeypatch.setenv("NAIAD_API_TOKEN", server.token)
    store = RemoteStore(url, Folder(tmp_path / "empty"))
    [row] = store.catalog().summaries("disk")
    reader = store.reader(row.run)
    points, texts = reader.points("loss"), reader.texts("text")
    server.stop()

    assert 1 == len([text for text in end["said"] if "cannot be written" in text]), end["said"]
    assert ([*range(62_000)], [each / 4 for each in range(62_000)]) == (points.steps.tolist(), points.values.tolist())
    assert [f"line {each}" for each in range(0, 62_000, 100)] == list(texts.texts)
    assert (RUN, "finished") == (row.run.kind, row.state)


def heard(child: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of the child."""
    assert child.stdout is not None
    assert child.stderr is not None
    line = child.stdout.readline()
    if not line:
        raise AssertionError(child.stderr.read())
    found: dict[str, Any] = json.loads(line)
    return found


def go_on(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()
