"""The disk of a client is full while its run is shipped: one warning, training goes on, and all of it arrives later."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import fill, mounted, remount
from programs import GOES_ON, LOGS, PRELUDE, STOPS_WHEN_STORED, go_on, heard
from server_client import COMMAND, Server

from naiad.container_kinds import RUN
from naiad.storage.local.store import Store as Folder
from naiad.storage.remote.store import RemoteStore

PROGRAM = PRELUDE + LOGS + GOES_ON + STOPS_WHEN_STORED


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "2m") as place:
        yield place


@pytest.mark.parametrize("is_away", [False, True], ids=["server there", "server away"])
def test_run_goes_on_while_the_disk_of_its_client_is_full_and_arrives_whole(
    is_away: bool, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path / "store").start("--init")
    url, own = f"http://127.0.0.1:{server.port}", {"NAIAD_API_TOKEN": server.token}
    own |= {"NAIAD_LOCAL_STORE": str(disk / "here"), "NAIAD_SEGMENT_BYTES": "65536", "NAIAD_CAPTURES": "off"}
    environment = {**os.environ, **own}
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
            remount(disk, "size=64m")
            go_on(child)
            end = heard(child)
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
    assert ([*range(62_000)], [each / 3 for each in range(62_000)]) == (points.steps.tolist(), points.values.tolist())
    assert [f"line {each}" for each in range(0, 62_000, 10)] == list(texts.texts)
    assert (RUN, "finished") == (row.run.kind, row.state)
