"""A server of two replicas over PostgreSQL and S3: programs log through nginx, and parts of the server are killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from postgres_server import Cluster, SeaweedFS, free_port, newest_postgres_folder, wait_for
from sqlalchemy.engine import Engine

import naiad
from naiad.container_kinds import RUN, RunId
from naiad.errors import forget_warnings
from naiad.ids import new_uid
from naiad.refs import FileRef
from naiad.ship import shipper
from naiad.storage.local.index import schema as run_tables
from naiad.storage.local.index.index import Index
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.store import Store as Folder
from naiad.storage.opening import database_upkeep
from naiad.storage.postgres import migrating
from naiad.storage.postgres.connection import RunDatabase, open_database
from naiad.storage.postgres.folding import Folder as RunFolder
from naiad.storage.postgres.objects import Objects, blob_name
from naiad.storage.receiving import Upkeep
from naiad.storage.remote.store import RemoteStore
from naiad.storage.sql import tables as catalog_tables

QUIET = {
    "capture_hardware_metrics": False, "capture_stdout": False, "capture_stderr": False, "capture_traceback": False,
    "git_ref": False, "source_files": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    found = Cluster.start(tmp_path_factory.mktemp("cluster"))
    yield found
    found.stop()


@pytest.fixture(autouse=True)
def token(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NAIAD_API_TOKEN", cluster.token)
    monkeypatch.setenv("NAIAD_LOCAL_STORE", str(tmp_path / "local"))
    forget_warnings()
    yield
    shipper.of_process.close()
    forget_warnings()


def ask(cluster: Cluster, path: str, body: object = None, replica: int | None = None) -> Any:
    """Ask one replica, or through the proxy; return the JSON of the answer."""
    place = cluster.url if replica is None else cluster.replicas[replica].url
    data = None if body is None else msgspec.msgpack.encode(body)
    headers = {"Authorization": f"Bearer {cluster.token}", "Content-Type": "application/msgpack"}
    asked = urllib.request.Request(f"{place}{path}", data, headers)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.loads(answer.read())


def status(url: str | urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()  # it has the connection
        return error.code


def test_run_is_logged_and_read_through_any_replica(cluster: Cluster, tmp_path: Path) -> None:
    """Points, values, tags and a file; while it is written and after; in tables, charts and the pages' routes."""
    content = bytes(range(256)) * 8_000
    (tmp_path / "model.bin").write_bytes(content)
    run = naiad.init_run(store=cluster.url, project="line", **QUIET)
    name = run["sys/id"].fetch()
    for step in range(2_000):
        run["train/loss"].append(1 / (step + 1), step=step)
    run["lr"] = 0.25
    run["sys/tags"].add("first")
    run["model"].upload(str(tmp_path / "model.bin"))
    run.sync(remote=True)
    readers = [RemoteStore(each.url, Folder(tmp_path / "empty")) for each in cluster.replicas]
    for store in readers:
        found = store.reader(store.find(name))
        assert (2_000, 0.25, "running") == (found.count("train/loss"), found.value("lr"), found.state())
    run.stop()
    for store in readers:
        again = store.reader(store.find(name))
        assert "finished" == again.state()
        assert [1 / (step + 1) for step in range(2_000)] == again.points("train/loss").values.tolist()
        [row] = store.catalog().search(RUN, "line", None, columns=["lr", "sys/tags"]).rows
        assert name == row.id
    there = naiad.init_run(store=cluster.url, project="line", with_id=name, mode="read-only", **QUIET)
    there["model"].download(str(tmp_path / "copy"))
    assert content == (tmp_path / "copy").read_bytes()
    assert 200 == status(f"{cluster.url}/p/line/runs/{name}")
    assert name == ask(cluster, f"/api/v1/containers/{name}")["id"]


def test_offline_folder_arrives_whole(cluster: Cluster, tmp_path: Path) -> None:
    run = naiad.init_run(store=tmp_path / "store", project="offline", mode="offline", **QUIET)
    run["loss"].extend([float(each) for each in range(50_000)])
    run.stop()
    command = [Path(sys.executable).with_name("naiad"), "sync", tmp_path / "store", "--to", cluster.url, "--verify"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)

    store = RemoteStore(cluster.url, Folder(tmp_path / "empty"))
    [row] = store.catalog().summaries("offline")

    assert (50_000, "finished") == (store.reader(row.run).count("loss"), row.state)


def test_bytes_that_come_to_two_replicas_at_once_are_stored_once(cluster: Cluster) -> None:
    uid = new_uid()
    ask(cluster, "/api/v1/runs", {"uid": uid, "kind": "run", "project": "twice", "created": 1.0})
    records = bytes(32 * 1_000)
    part = [uid, "writer.0.seg", 64, 0, zlib.crc32(records), records]
    body = {"sent": 0.0, "writers": [], "parts": [part], "sealed": []}
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda at=at: answers.append(ask(cluster, "/api/v1/journal", body, at % 2)))
        for at in range(8)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)

    assert [[[uid, "writer.0.seg", 64 + 32_000, False]]] * 8 == [each["upto"] for each in answers]
    query = "select count(*), sum(upto - start) from naiad.inbox join naiad.run on number = run where uid = %s"
    assert [(1, 32_000)] == cluster.ask(query, uid)


def test_large_group_goes_to_one_object_before_its_rows(cluster: Cluster, tmp_path: Path) -> None:
    """So that the write-ahead log stays small; the points lie there as planes, compressed, and are read from there."""
    cluster.ask("update naiad.due set at = now() + interval '1 hour'")
    run = naiad.init_run(store=cluster.url, project="large", **QUIET)
    run["loss"].extend([float(each) for each in range(200_000)])
    run.sync(remote=True)
    store = RemoteStore(cluster.replicas[1].url, Folder(tmp_path / "empty"))

    name = run["sys/id"].fetch()
    sizes = "select sum(upto - start), sum(length) from naiad.inbox join naiad.run on number = run where id = %s"
    [(received, stored)] = cluster.ask(f"{sizes} and object is not null", name)

    assert 200_000 == len(store.reader(store.find(name)).points("loss").values)
    assert stored < received / 4
    run.stop()


@pytest.mark.parametrize(("schema", "tables"), [("naiad_catalog", catalog_tables), ("naiad_run", run_tables)])
def test_migrations_make_the_columns_that_the_statements_use(cluster: Cluster, schema: str, tables: Any) -> None:
    """A column that a release adds to a folder needs a migration for databases."""
    asked = "select table_name, column_name from information_schema.columns where table_schema = %s"
    found = {(table, column) for table, column in cluster.ask(asked, schema)}

    assert {(name, column.name) for name, table in tables.metadata.tables.items() for column in table.columns} == found


def test_password_is_in_no_process_listing(cluster: Cluster) -> None:
    """The worker of a replica gets the address by its environment."""
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout

    assert "postgresql://" not in listing


PROGRAM = """
    import os, sys, time, naiad
    run = naiad.init_run(store=sys.argv[1], project="killed", custom_run_id=sys.argv[2], capture_stdout=False,
        capture_stderr=False, capture_hardware_metrics=False, capture_traceback=False, git_ref=False, source_files=[])
    step = 0
    while not os.path.exists(sys.argv[3]):
        for _ in range(50):
            run["loss"].append(float(step), step=step)
            step += 1
        time.sleep(0.01)
    run["steps"] = step
    run.stop()

    print(step)
"""


def test_killed_replica_worker_and_database_lose_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """Three programs log while each part is killed; every point is there, once, with the value that it had."""
    kill_parts(cluster, tmp_path, rounds=1)


@pytest.mark.slow  # ten minutes, 50 kills of each part and more: pytest -m slow tests/server/test_postgres.py -k many
@pytest.mark.timeout(1500)
def test_many_kills_lose_nothing(cluster: Cluster, tmp_path: Path) -> None:
    for each in range(10):
        kill_parts(cluster, tmp_path / str(each), rounds=5)


def kill_parts(cluster: Cluster, folder: Path, rounds: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "program.py").write_text(textwrap.dedent(PROGRAM))
    customs = [new_uid() for _ in range(3)]
    programs = [
        subprocess.Popen(
            [sys.executable, folder / "program.py", cluster.url, custom, folder / "over"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for custom in customs
    ]  # fmt: skip
    store = RemoteStore(cluster.url, Folder(folder / "empty"))
    wait_for(lambda: len(cluster.ask("select 1 from naiad.run where custom = any(%s)", customs)) == 3, "registering")
    for _ in range(rounds):
        for replica in cluster.replicas:
            wait_for(lambda: workers(cluster) != [], "the start of a worker")
            subprocess.run(["kill", "-9", workers(cluster)[0]], check=False)
            replica.kill()
            replica.start("--url", cluster.url)
        cluster.postgres.kill()
        cluster.postgres.start()
        for replica in cluster.replicas:
            wait_for(replica.is_ready, "a replica's recovery")
    (folder / "over").touch()
    steps = []
    for program in programs:
        out, err = program.communicate(timeout=120)
        assert program.returncode == 0, err
        steps.append(int(out.split()[-1]))
    sync = [Path(sys.executable).with_name("naiad"), "sync", os.environ["NAIAD_LOCAL_STORE"], "--verify"]
    done = subprocess.run(sync, check=False, capture_output=True, text=True, timeout=240)
    assert 0 == done.returncode, (done.stdout, done.stderr, [each.log.read_text() for each in cluster.replicas])
    for custom, step in zip(customs, steps, strict=True):
        run = store.find_custom("killed", custom)
        assert run is not None
        points = store.reader(run).points("loss")
        assert list(range(step)) == points.values.tolist() == points.steps.tolist()
        assert step == store.reader(run).value("steps")


def workers(cluster: Cluster) -> list[str]:
    """The processes that fold for the replicas."""
    found = []
    for replica in cluster.replicas:
        assert replica.process is not None
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(replica.process.pid)], capture_output=True, text=True, check=False
        )
        found += listed.stdout.split()
    return found


NEWER = """
from alembic.config import Config
from naiad.storage.postgres import migrating

def config():
    found = Config()
    found.set_main_option("script_location", {place!r})
    return found

migrating.SERVED, migrating._config = ("0001", "0002"), config
from naiad.cli import main
main()
"""
"""The program of a next release, which has one migration more and serves the tables before it too."""
MIGRATION = """
from alembic import op
revision, down_revision = "0002", "0001"
def upgrade():
    op.execute("alter table naiad.run add column note text")
"""


def test_replicas_of_two_releases_lose_nothing_during_a_migration(cluster: Cluster, tmp_path: Path) -> None:
    """The new one starts with the old tables; then they are migrated, while a program logs through both."""
    place = tmp_path / "migrations"
    shutil.copytree(Path(migrating.__file__).with_name("migrations"), place)
    (place / "versions/note_0002.py").write_text(MIGRATION)
    newer = [sys.executable, "-c", NEWER.format(place=str(place))]
    new = cluster.replicas[1]
    before = new.program
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    custom = new_uid()
    command = [sys.executable, tmp_path / "program.py", cluster.url, custom, tmp_path / "over"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        wait_for(lambda: cluster.ask("select 1 from naiad.run where custom = %s", custom), "registering")
        new.stop()
        new.program = newer
        new.start("--url", cluster.url)
        ready = [each.is_ready() for each in cluster.replicas]
        _options, variables = cluster.place()
        subprocess.run([*newer, "server", "migrate"], check=True, env={**os.environ, **variables}, timeout=60)
        ready += [each.is_ready() for each in cluster.replicas]
        time.sleep(1)
        (tmp_path / "over").touch()
        out, _nothing = program.communicate(timeout=120)
    new.stop()
    cluster.ask("alter table naiad.run drop column note")
    cluster.ask("update naiad.alembic_version set version_num = '0001'")
    new.program = before
    new.start("--url", cluster.url)
    store = RemoteStore(cluster.url, Folder(tmp_path / "empty"))
    found = store.reader(store.find_custom("killed", custom))

    assert [True] * 4 == ready
    assert list(range(int(out.split()[-1]))) == found.points("loss").values.tolist()


def test_token_that_has_to_be_looked_up_keeps_no_other_request_waiting(cluster: Cluster) -> None:
    """Also by the routes of the pages: a database that does not answer must not stop `/healthz`."""
    [replica, _other] = cluster.replicas
    found: list[int] = []
    asked = urllib.request.Request(
        f"{replica.url}/api/v1/projects", headers={"Authorization": f"Bearer naiad_bbbbbbbb_{'b' * 43}"}
    )
    thread = threading.Thread(target=lambda: found.append(status(asked)))
    with psycopg.connect(cluster.postgres.url) as connection:
        connection.execute("lock table public.token in access exclusive mode")
        thread.start()
        waiting = "select count(*) from pg_locks where not granted"
        wait_for(lambda: cluster.ask(waiting) == [(1,)], "the question")
        assert 200 == status(f"{replica.url}/healthz")
        assert [] == found
    thread.join(60)

    assert [401] == found


def test_replica_without_its_database_lives_and_recovers(cluster: Cluster) -> None:
    """`/healthz` answers, `/readyz` does not, requests get 503; all without a restart."""
    cluster.postgres.stop()
    try:
        for replica in cluster.replicas:
            assert (200, 503) == (status(f"{replica.url}/healthz"), status(f"{replica.url}/readyz"))
            new = {"Authorization": f"Bearer naiad_cccccccc_{'c' * 43}"}
            assert 503 == status(urllib.request.Request(f"{replica.url}/api/v1/projects", headers=new))
            with pytest.raises(urllib.error.HTTPError, match="503") as caught:
                ask(cluster, "/api/v1/runs", {"uid": new_uid(), "kind": "run", "project": "p", "created": 1.0})
            caught.value.close()
    finally:
        cluster.postgres.start()
    for replica in cluster.replicas:
        wait_for(replica.is_ready, "recovery")


@pytest.fixture
def engine(cluster: Cluster) -> Iterator[Engine]:
    """The database, for this process."""
    found = open_database(cluster.postgres.url)
    yield found
    found.dispose()


@pytest.fixture
def folds(cluster: Cluster, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """The folds of the database in this process."""
    for name, value in cluster.objects.environment.items():
        monkeypatch.setenv(name, value)
    return RunFolder(engine, Objects(cluster.objects.url))


def test_rows_of_many_folds_are_merged_when_the_run_is_over(cluster: Cluster, folds: RunFolder, tmp_path: Path) -> None:
    """Each fold of a run that goes on adds rows, and a reader decodes all of them."""
    rows = "select count(*) from naiad.run_pack p join naiad.run on number = run where uid = %s"
    run = naiad.init_run(store=cluster.url, project="merged", **QUIET)
    uid, most = run._run.uid, 0
    for each in range(16):
        run["loss"].extend([float(step) for step in range(each * 50, each * 50 + 50)])
        run["acc"].append(each / 16)
        run.sync(remote=True)
        [(number,)] = cluster.ask("select number from naiad.run where uid = %s", uid)
        assert "" == folds.fold(number)
        [(most,)] = cluster.ask(rows, uid)
    run.stop()
    wait_for(lambda: cluster.is_settled(uid) and cluster.ask(rows, uid) == [(1,)], "the merge")
    store = RemoteStore(cluster.url, Folder(tmp_path / "empty"))
    found = store.reader(store.find(uid))

    assert most > 11
    assert list(range(800)) == found.points("loss").values.tolist()
    assert [each / 16 for each in range(16)] == found.points("acc").values.tolist()
    assert 800 == found.count("loss")


def folded(cluster: Cluster, folds: RunFolder, run: naiad.Run) -> int:
    """Fold what the run has logged; return its number."""
    run.sync(remote=True)
    [(number,)] = cluster.ask("select number from naiad.run where uid = %s", run._run.uid)
    assert "" == folds.fold(number)
    return int(number)


def test_series_in_many_pieces_are_merged_at_the_end_of_a_run_whose_rows_are_few(
    cluster: Cluster, folds: RunFolder
) -> None:
    """Each fold has put some points of every series into one row, and a reader of one series decodes all of these."""
    run = naiad.init_run(store=cluster.url, project="scattered", **QUIET)
    number = 0
    for each in range(16):
        for name in range(40):
            run[f"loss{name}"].extend([float(each)] * 45)
        number = folded(cluster, folds, run)
    rows = "select count(*) from naiad.{} where run = %s"
    [(packs,)] = cluster.ask(rows.format("run_pack"), number)
    assert packs > 11
    run.stop()

    wait_for(lambda: cluster.ask(rows.format("run_pack"), number) == [(0,)], "the merge")
    assert [(40,)] == cluster.ask(rows.format("run_chunk"), number)


def test_chart_of_very_many_points_reads_few_rows(cluster: Cluster, folds: RunFolder, tmp_path: Path) -> None:
    """64 chunks share a coarser pyramid, so that their own ones are not read."""
    run = naiad.init_run(store=cluster.url, project="coarse", **QUIET)
    coarse = "select pieces, count from naiad.run_coarse where run = %s"
    values: list[float] = []
    number = 0
    while not number or not cluster.ask(coarse, number):
        new = [float(step % 977) for step in range(len(values), len(values) + 600)]
        run["loss"].extend(new)
        values += new
        number = folded(cluster, folds, run)
    [(pieces, count)] = cluster.ask(coarse, number)
    assert 64 == pieces
    assert count >= 64 * 600
    covered = "naiad.run_chunk where run = %s and (key & 16777215) < 64"
    kept = cluster.ask(f"select key, pyramid from {covered}", number)
    cluster.ask(f"update {covered.replace(' where', ' set pyramid = null where')}", number)
    reader = RemoteStore(cluster.url, Folder(tmp_path / "empty")).reader(RunId(run._run.uid, RUN))
    found = reader.chart("loss", 2)
    for key, pyramid in kept:
        cluster.ask("update naiad.run_chunk set pyramid = %s where run = %s and key = %s", pyramid, number, key)
    run.stop()
    wait_for(lambda: cluster.is_settled(run._run.uid) and cluster.ask(coarse, number) == [], "the merge")

    assert (len(values), 0.0, 976.0) == (found.finite.sum(), found.minimum.min(), found.maximum.max())
    assert sum(values) == pytest.approx(float((found.mean * found.finite).sum()))


def test_damaged_rows_are_not_merged_and_stop_no_fold(cluster: Cluster, folds: RunFolder) -> None:
    """What comes after the damage is stored; the damage is in the result of verify, as before."""
    run = naiad.init_run(store=cluster.url, project="unmerged", **QUIET)
    uid = run._run.uid
    for each in range(12):
        run["loss"].extend([float(each)] * 50)
        run.sync(remote=True)
        [(number,)] = cluster.ask("select number from naiad.run where uid = %s", uid)
        assert "" == folds.fold(number)
    cluster.ask(
        "update naiad.run_pack set data = set_byte(data, length(data) / 2, 255 - get_byte(data, length(data) / 2))"
        " where run = %s and id = 1 returning id",
        number,
    )
    run["lr"] = 0.25
    run.stop()
    wait_for(lambda: cluster.is_settled(uid), "the fold")

    assert [(0, None)] == cluster.ask("select failures, problem from naiad.run where uid = %s", uid)
    assert "finished" == ask(cluster, f"/api/v1/containers/{run._id}")["state"]


def test_reader_sees_one_moment_while_a_fold_commits(cluster: Cluster, engine: Engine, folds: RunFolder) -> None:
    """Else the points of the fold would be in the rows and in the tail."""
    run = naiad.init_run(store=cluster.url, project="moment", **QUIET)
    run["loss"].extend([0.5] * 100)
    run.sync(remote=True)
    [(number,)] = cluster.ask("select number from naiad.run where uid = %s", run._run.uid)
    index = Index(RunDirectory(Path()), RunDatabase(engine, number))
    folds.fold(number)
    run["loss"].extend([0.5] * 100)
    run.sync(remote=True)
    with index.view() as connection:
        before = index.head(connection)
        assert "" == folds.fold(number)
        during = index.head(connection)
    with index.view() as connection:
        after = index.head(connection)
    run.stop()

    assert (100, before.folds) == (before.points, during.folds)
    assert (200, before.folds + 1) == (after.points, after.folds)


def test_requests_wait_for_a_locked_table_and_are_stored_once(cluster: Cluster) -> None:
    """As an operator's command may lock it; programs notice nothing but a slow answer."""
    uid = new_uid()
    ask(cluster, "/api/v1/runs", {"uid": uid, "kind": "run", "project": "locked", "created": 1.0})
    answers: list[Any] = []
    with psycopg.connect(cluster.postgres.url) as connection:
        connection.execute("lock table naiad.inbox, naiad.received in access exclusive mode")
        threads = [
            threading.Thread(
                target=lambda at=at: answers.append(ask(cluster, "/api/v1/journal", points(uid, at), at % 2))
            )
            for at in range(8)
        ]
        for each in threads:
            each.start()
        time.sleep(2)
        assert [] == answers
    for each in threads:
        each.join(60)

    assert 8 == len(answers)
    stored = "select count(*), sum(upto - start) from naiad.inbox join naiad.run on number = run where uid = %s"
    assert [(8, 8 * 3_200)] == cluster.ask(stored, uid)


def test_database_without_a_free_connection_refuses_for_a_while_and_loses_nothing(cluster: Cluster) -> None:
    uid = new_uid()
    ask(cluster, "/api/v1/runs", {"uid": uid, "kind": "run", "project": "crowded", "created": 1.0})

    def send(writer: int) -> None:
        while True:
            try:
                ask(cluster, "/api/v1/journal", points(uid, writer), writer % 2)
                return
            except urllib.error.HTTPError as error:
                error.close()  # it has the connection
                if error.code != 503:
                    raise
                time.sleep(0.2)

    threads = [threading.Thread(target=send, args=(writer,)) for writer in range(20)]
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                stack.enter_context(contextlib.closing(psycopg.connect(cluster.postgres.url)))
        for each in threads:
            each.start()
        time.sleep(1)
    for each in threads:
        each.join(60)

    stored = "select count(*), sum(upto - start) from naiad.inbox join naiad.run on number = run where uid = %s"
    assert [(20, 20 * 3_200)] == cluster.ask(stored, uid)


def sent(cluster: Cluster, body: dict[str, Any], replica: int) -> int:
    """Send a request with parts of journals; return the status of the answer."""
    try:
        ask(cluster, "/api/v1/journal", body, replica)
    except urllib.error.HTTPError as error:
        error.close()  # it has the connection
        return error.code
    return 200


def stored_bytes(cluster: Cluster, uid: str) -> dict[str, int]:
    """The bytes that each file of a container has in the database."""
    rows = cluster.ask("select file, upto - 64 from naiad.received join naiad.run on number = run where uid = %s", uid)
    return dict(rows)


@pytest.fixture
def small_disk(cluster: Cluster) -> Iterator[Path]:
    """A disk of 2 MiB, with the inbox of the database on it, which is empty at first."""
    place = Path(tempfile.mkdtemp(prefix="naiad-small-"))  # as of the database, not below the folder of the test
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "naiad-test", str(place)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting tmpfs is not possible here: {done.stderr.strip()}")
    if cluster.postgres.as_user:
        shutil.chown(place, cluster.postgres.user)
    try:
        with psycopg.connect(cluster.postgres.url, autocommit=True) as connection:
            connection.execute(f"create tablespace small location '{place}'")  # type: ignore[arg-type]  # a test's own
            cluster.empty()  # rows that other tests have left would fill it
            try:
                move_inbox(connection, "small")
                yield place
            finally:
                move_inbox(connection, "pg_default")
                connection.execute("drop tablespace small")
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)
        place.rmdir()


def move_inbox(connection: psycopg.Connection[Any], tablespace: str) -> None:
    for number in range(16):
        connection.execute(f"alter table naiad.inbox_{number} set tablespace {tablespace}")  # type: ignore[arg-type]


def test_full_disk_of_the_database_refuses_and_loses_nothing(cluster: Cluster, small_disk: Path) -> None:
    """What was confirmed is there, what was refused is not; runs are read meanwhile, and all of it is taken later."""
    uid = new_uid()
    ask(cluster, "/api/v1/runs", {"uid": uid, "kind": "run", "project": "full", "created": 1.0})
    codes = [sent(cluster, points(uid, writer, 10_000), writer % 2) for writer in range(12)]
    assert {200, 503} == set(codes)
    confirmed = {f"writer{writer}.0.seg" for writer, code in enumerate(codes) if code == 200}
    assert confirmed == set(stored_bytes(cluster, uid))
    assert uid == ask(cluster, f"/api/v1/containers/{uid}")["uid"]
    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    for writer in range(12):
        ask(cluster, "/api/v1/journal", points(uid, writer, 10_000), writer % 2)

    assert {f"writer{each}.0.seg": 320_000 for each in range(12)} == stored_bytes(cluster, uid)
    rows = "select sum(upto - start) from naiad.inbox join naiad.run on number = run where uid = %s"
    assert [(12 * 320_000,)] == cluster.ask(rows, uid)


def test_request_that_the_database_ends_as_a_deadlock_is_refused_and_stored_once_later(cluster: Cluster) -> None:
    """Two commands of an operator may lock in any order; the replica locks in that of the keys, and is the victim."""
    uid = new_uid()
    ask(cluster, "/api/v1/runs", {"uid": uid, "kind": "run", "project": "deadlock", "created": 1.0})
    for writer in (0, 1):
        ask(cluster, "/api/v1/journal", points(uid, writer))
    lock = """
        select 1 from naiad.received where file = %s and run = (select number from naiad.run where uid = %s) for update
    """
    body = points(uid, 0)
    body["parts"] = [points(uid, writer, at=64 + 3_200)["parts"][0] for writer in (0, 1)]
    codes: list[int] = []
    with psycopg.connect(cluster.postgres.url) as connection:
        connection.execute("set deadlock_timeout = '60s'")  # the other one looks first, and is ended
        connection.execute(lock, ["writer1.0.seg", uid])
        thread = threading.Thread(target=lambda: codes.append(sent(cluster, body, 0)))
        thread.start()
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        wait_for(lambda: cluster.ask(waiting) != [(0,)], "the replica's wait for a row")
        connection.execute(lock, ["writer0.0.seg", uid])
    thread.join(60)
    assert [503] == codes
    assert {f"writer{each}.0.seg": 3_200 for each in (0, 1)} == stored_bytes(cluster, uid)
    ask(cluster, "/api/v1/journal", body, 1)
    ask(cluster, "/api/v1/journal", body, 0)

    assert {f"writer{each}.0.seg": 6_400 for each in (0, 1)} == stored_bytes(cluster, uid)


def test_run_whose_writer_fell_silent_is_looked_at_once_more_and_then_left_alone(cluster: Cluster) -> None:
    """The program was killed, and nothing of it comes any more: it must not be folded for ever."""
    uid = new_uid()
    ask(cluster, "/api/v1/runs", {"uid": uid, "kind": "run", "project": "silent", "created": 1.0})
    ask(cluster, "/api/v1/journal", {**points(uid, 0), "writers": [[uid, "writer0", True]]})
    [(number,)] = cluster.ask("select number from naiad.run where uid = %s", uid)
    cluster.ask("update naiad.writer set seen_at = now() - interval '2 minutes' where run = %s", number)
    cluster.ask("update naiad.due set at = now() where run = %s", number)

    due = "select at = 'infinity', waiting from naiad.due where run = %s"
    wait_for(lambda: cluster.ask(due, number) == [(True, 0)], "the end of the looks at it")


def points(uid: str, writer: int, count: int = 100, at: int = 64) -> dict[str, Any]:
    """A request with points of a writer."""
    records = bytes(32 * count)
    part = [uid, f"writer{writer}.0.seg", at, 0, zlib.crc32(records), records]
    return {"sent": 0.0, "writers": [], "parts": [part], "sealed": []}


@pytest.fixture
def standby(cluster: Cluster) -> Iterator[Path]:
    """The folder of a standby that confirms each commit, with the standby running."""
    postgres = cluster.postgres
    home = Path(tempfile.mkdtemp(prefix="naiad-standby-"))
    if postgres.as_user:
        shutil.chown(home, postgres.user)
    postgres.run("pg_basebackup", "-D", str(home / "data"), "-d", postgres.url, "-R", "-c", "fast")
    command = [postgres.bin / "postgres", "-D", home / "data", "-p", str(free_port()), "-k", ""]
    settings = ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=60"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([*command, *settings], stdout=log, stderr=log, cwd="/", **postgres.as_user)
    try:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("alter system set synchronous_standby_names = '*'")
            connection.execute("select pg_reload_conf()")
        wait_for(lambda: cluster.ask("select sync_state from pg_stat_replication") == [("sync",)], "the standby")
        yield home / "data"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        shutil.rmtree(home)


@pytest.mark.slow  # another database server: pytest -m slow tests/server/test_postgres.py -k standby
def test_failover_to_a_standby_loses_nothing(cluster: Cluster, standby: Path, tmp_path: Path) -> None:
    """The standby takes the place of a killed server, under its address, while a program logs."""
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    custom, postgres = new_uid(), cluster.postgres
    command = [sys.executable, tmp_path / "program.py", cluster.url, custom, tmp_path / "over"]
    received = "select sum(upto) from naiad.received r join naiad.run on number = r.run where custom = %s"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        wait_for(lambda: (cluster.ask(received, custom)[0][0] or 0) > 10_000, "points of the program")
        confirmed = cluster.ask(received, custom)[0][0]
        postgres.kill()
        postgres.run("pg_ctl", "promote", "-w", "-D", str(standby))
        postgres.run("pg_ctl", "stop", "-w", "-D", str(standby), "-m", "fast")
        postgres.put_back(standby)
        postgres.start()
        before = cluster.ask(received, custom)[0][0]
        wait_for(lambda: cluster.ask(received, custom)[0][0] > before, "more points")
        (tmp_path / "over").touch()
        out, _nothing = program.communicate(timeout=120)
    store = RemoteStore(cluster.url, Folder(tmp_path / "empty"))
    found = store.reader(store.find_custom("killed", custom))

    assert list(range(int(out.split()[-1]))) == found.points("loss").values.tolist()
    assert confirmed <= before
    assert [(2,)] == cluster.ask("select timeline_id from pg_control_checkpoint()")


@pytest.fixture
def upkeep(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upkeep]:
    for name, value in cluster.objects.environment.items():
        monkeypatch.setenv(name, value)
    found = database_upkeep(cluster.postgres.url, cluster.objects.url)
    yield found
    found.close()


def test_everything_is_verified_and_content_without_a_run_is_freed(
    cluster: Cluster, upkeep: Upkeep, tmp_path: Path
) -> None:
    cluster.empty()
    upkeep.collect(0)  # of the tests before
    (tmp_path / "model.bin").write_bytes(bytes(100_000))
    run = naiad.init_run(store=cluster.url, project="kept", **QUIET)
    run["model"].upload(str(tmp_path / "model.bin"))
    run["loss"].extend([0.5] * 1_000)
    run.sync(remote=True)
    name = run["sys/id"].fetch()
    run.stop()
    wait_for(lambda: [(0,)] == cluster.ask("select count(*) from naiad.inbox"), "the fold")
    assert ([], []) == (list(upkeep.verify()), upkeep.collect(0))
    [content] = cluster.ask("select sha256 from naiad.content")
    for table in ("run_chunk", "run_pack"):
        cluster.ask(f"update naiad.{table} set data = data || '\\x00'::bytea")

    damages = list(upkeep.verify())
    assert damages
    assert {each for each, _what in damages} == {name}
    cluster.ask("delete from naiad.run where id = %s", name)
    assert [content[0]] == [place.rpartition("/")[2] for place, _size in upkeep.collect(0, is_dry=True)]
    assert [100_000] == [size for _place, size in upkeep.collect(0)]
    assert [] == upkeep.collect(0)


@pytest.mark.slow  # stops every part twice: pytest -m slow tests/server/test_postgres.py -k restored
def test_clients_send_again_what_a_restored_database_lost(cluster: Cluster, tmp_path: Path) -> None:
    """The run goes on meanwhile; another is stopped and sent again by `naiad sync`."""
    store = RemoteStore(cluster.url, Folder(tmp_path / "empty"))
    run = naiad.init_run(store=cluster.url, project="restored", **QUIET)
    run["loss"].extend([float(each) for each in range(100)])
    run.sync(remote=True)
    cluster.postgres.stop()
    shutil.copytree(cluster.postgres.data, tmp_path / "backup", symlinks=True)
    cluster.postgres.start()
    run["loss"].extend([float(each) for each in range(100, 5_000)])
    run.sync(remote=True)
    assert 5_000 == store.reader(store.find(run["sys/id"].fetch())).count("loss")
    cluster.postgres.stop()
    cluster.postgres.put_back(tmp_path / "backup")
    cluster.postgres.start()
    command = [Path(sys.executable).with_name("naiad"), "server", "restored"]
    told = {"NAIAD_SERVER_DATABASE": cluster.postgres.url, "NAIAD_SERVER_OBJECTS": cluster.objects.url}
    subprocess.run(command, check=True, env={**os.environ, **cluster.objects.environment, **told}, timeout=60)
    for replica in cluster.replicas:
        replica.stop()
        replica.start("--url", cluster.url)
    run["loss"].extend([float(each) for each in range(5_000, 5_100)])
    run.sync(remote=True)

    assert list(range(5_100)) == store.reader(store.find(run["sys/id"].fetch())).points("loss").values.tolist()
    run.stop()


def test_bytes_are_accepted_while_the_objects_are_away(cluster: Cluster, tmp_path: Path) -> None:
    """The database takes them in the meantime."""
    cluster.objects.stop()
    try:
        run = naiad.init_run(store=cluster.url, project="inline", **QUIET)
        run["loss"].extend([float(each) for each in range(200_000)])
        run.sync(remote=True)
        store = RemoteStore(cluster.url, Folder(tmp_path / "empty"))

        assert 200_000 == store.reader(store.find(run["sys/id"].fetch())).count("loss")
        run.stop()
    finally:  # it has forgotten its objects, which no other test reads again
        cluster.objects.begin()
        cluster.objects.make_bucket()


def content_requests(cluster: Cluster) -> int:
    """How many requests for content the replicas have answered."""
    counted = r'^naiad_requests_total\{route="/api/v1/storage/content",status="200"\} (\d+)'
    pages = [urllib.request.urlopen(f"{each.url}/metrics", timeout=30).read().decode() for each in cluster.replicas]
    return sum(int(found[1]) for page in pages if (found := re.search(counted, page, re.MULTILINE)))


def refuses_soon(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, link: str, sha256: str) -> None:
    """Look at an address: it gives the content to anyone for 300 s, and one that is made for 2 s no longer then."""
    assert ["300"] == urllib.parse.parse_qs(urllib.parse.urlsplit(link).query)["X-Amz-Expires"]
    for name, value in cluster.objects.environment.items():
        monkeypatch.setenv(name, value)
    with urllib.request.urlopen(link, timeout=30) as answer:
        assert sha256 == hashlib.sha256(answer.read()).hexdigest()
    short = Objects(cluster.objects.url).link(blob_name(sha256), seconds=2)
    assert 200 == status(short)
    wait_for(lambda: status(short) == 403, "its end")
    assert 200 == status(link)


def test_newer_database_and_another_s3_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL 18 and SeaweedFS: points through an object, a large file by its address, fold, verify, gc."""
    monkeypatch.setenv("NAIAD_SERVER_PRESIGNED", "1")
    other = Cluster.start(tmp_path, objects=SeaweedFS(tmp_path), programs=newest_postgres_folder())
    try:
        monkeypatch.setenv("NAIAD_API_TOKEN", other.token)
        content = bytes(range(256)) * 40_000
        with naiad.init_run(store=other.url, project="other", **QUIET) as run:
            run["loss"].extend([float(each) for each in range(200_000)])
            run["model"].upload(naiad.types.File.from_content(content))
            run["lr"] = 0.25
            run.sync(remote=True)
            uid, name = run._run.uid, run["sys/id"].fetch()
        store = RemoteStore(other.url, Folder(tmp_path / "empty"))
        wait_for(lambda: other.is_settled(uid), "the fold")
        found = store.reader(store.find(uid))
        [row] = store.catalog().search(RUN, "other", None, columns=["lr"]).rows

        assert list(range(200_000)) == found.points("loss").values.tolist()
        with naiad.init_run(store=other.url, with_id=uid, mode="read-only", **QUIET) as again:
            assert content == again["model"].fetch_content()
        assert 1 == content_requests(other)  # that for the address
        file = FileRef.from_text(str(found.atom("model")[1]))
        refuses_soon(other, monkeypatch, str(found._content(file, 0, "link")), hashlib.sha256(content).hexdigest())
        assert (name, "finished") == (row.id, found.state())
        assert other.ask("show server_version")[0][0].startswith("18")
        assert "is whole" in other.command("verify")
        assert "freed" not in other.command("gc")
    finally:
        shipper.of_process.close()
        other.stop()
