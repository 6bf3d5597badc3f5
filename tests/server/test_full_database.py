"""The disk of PostgreSQL is full while runs are shipped: nothing acknowledged is lost, and all of it arrives later."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from disks import fill, mounted, remount
from postgres_server import Cluster, Moto, Nginx, Postgres, Replica, wait_for
from programs import GOES_ON, LOGS, PRELUDE, STOPS_WHEN_STORED, go_on, heard

from naiad.container_kinds import RUN
from naiad.ids import new_uid
from naiad.storage.local.store import Store as Folder
from naiad.storage.remote.store import RemoteStore

PROGRAM = PRELUDE + LOGS + GOES_ON + STOPS_WHEN_STORED
SIZES = {"base": "96m", "pg_wal": "64m"}
PIECE = 512 * 1024


def on_disk(postgres: Postgres, folder: str, disk: Path) -> None:
    """Move a folder of a database to another disk; it is stopped."""
    shutil.chown(disk, postgres.user)
    place = disk / folder
    shutil.move(postgres.data / folder, place)
    for path in [place, *place.rglob("*")]:
        shutil.chown(path, postgres.user)
    (postgres.data / folder).symlink_to(place)


@pytest.fixture(params=SIZES)
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Cluster, str, Path]]:
    """A server whose tables, or whose WAL, lie on a small disk."""
    with ExitStack() as stack:
        postgres, objects = Postgres(tmp_path / "postgres"), Moto()
        stack.callback(postgres.remove)  # once more after the disk, which no folder above it is removed before
        disk = stack.enter_context(mounted(postgres.data.parent / "disk", SIZES[request.param]))
        on_disk(postgres, request.param, disk)
        replicas = [Replica(postgres.url, objects.url, objects.environment, tmp_path) for _ in range(2)]
        proxy = Nginx([each.port for each in replicas], tmp_path)
        cluster = Cluster(tmp_path, postgres, objects, replicas, proxy, "")
        stack.callback(cluster.stop)
        cluster.begin(["max_wal_size=64MB", "autovacuum=off"], [])
        yield cluster, request.param, disk


def readiness(replica: Replica) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"{replica.url}/readyz", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class Sender:
    """A client that sends pieces of a file that cannot be compressed, and counts what was acknowledged."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.uid, self.data, self.acknowledged = new_uid(), b"", 0
        self.file = f"{new_uid()}.0.seg"
        assert cluster.register(self.uid, "full").status == 200

    def send(self) -> int:
        """Send the next piece; return the status."""
        if len(self.data) == self.acknowledged:
            self.data += os.urandom(PIECE)
        piece = self.data[self.acknowledged :]
        part = [self.uid, self.file, 64 + self.acknowledged, 0, zlib.crc32(piece), piece]
        answer = self.cluster.journal(parts=[part])
        if answer.status == 200:
            [[_uid, _file, upto, _is_sealed]] = answer.data["upto"]
            self.acknowledged = upto - 64
        return answer.status

    def stored(self) -> bytes:
        """What the database has of the file."""
        rows = self.cluster.ask(
            "select data from naiad.inbox i join naiad.run on number = run where uid = %s and file = %s order by start",
            self.uid, self.file,
        )  # fmt: skip
        return b"".join(data for (data,) in rows)


def test_run_goes_on_while_the_disk_of_the_database_is_full_and_arrives_whole(
    full: tuple[Cluster, str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, folder, disk = full
    sender = Sender(cluster)
    own = {"NAIAD_API_TOKEN": cluster.token, "NAIAD_LOCAL_STORE": str(tmp_path / "here"), "NAIAD_CAPTURES": "off"}
    command = [sys.executable, "-c", PROGRAM, cluster.url, "60"]
    with subprocess.Popen(command, env={**os.environ, **own}, stdin=-1, stdout=-1, stderr=-1, text=True) as child:
        try:
            heard(child)
            assert 200 == sender.send()
            filler = fill(disk)
            statuses: list[int] = []
            wait_for(lambda: statuses.append(sender.send()) or statuses[-4:] == [503] * 4, "the refusal")
            go_on(child)
            assert 61_000 == heard(child)["done"]
            wait_for(lambda: not any(each.is_ready() for each in cluster.replicas), "the end of the readiness")
            not_ready = [readiness(each) for each in cluster.replicas]
            filler.unlink()
            remount(disk, "size=256m")
            if folder == "pg_wal":
                wait_for(lambda: cluster.postgres.process.poll() is not None, "the end of PostgreSQL", 5)
                cluster.postgres.start()
            for each in cluster.replicas:
                wait_for(each.is_ready, "readiness")
            wait_for(lambda: sender.send() == 200, "the next piece")
            go_on(child)
            end = heard(child)
        finally:
            child.kill()
    stored = sender.stored()
    monkeypatch.setenv("NAIAD_API_TOKEN", cluster.token)
    store = RemoteStore(cluster.url, Folder(tmp_path / "empty"))
    [row] = store.catalog().summaries("disk")
    wait_for(lambda: cluster.is_settled(row.run.uid), "the fold")
    reader = store.reader(row.run)
    points, texts = reader.points("loss"), reader.texts("text")
    logs = "".join(each.log.read_text() for each in cluster.replicas)

    assert {200, 503} >= set(statuses)
    assert sender.data == stored
    assert [503, 503] == [status for status, _text in not_ready]
    assert folder == "pg_wal" or {"The disk of the database is full.\n"} == {text for _status, text in not_ready}
    assert ([*range(62_000)], [each / 3 for each in range(62_000)]) == (points.steps.tolist(), points.values.tolist())
    assert [f"line {each}" for each in range(0, 62_000, 10)] == list(texts.texts)
    assert (RUN, "finished") == (row.run.kind, row.state)
    # None if the client has sent nothing while the disk was full.
    assert 1 >= len(end["said"]), end["said"]
    assert "Traceback" not in logs
