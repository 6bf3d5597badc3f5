"""Freeing objects beside a database: a restore of its last backup finds all content that its rows refer to."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
import textwrap
import time
import zlib
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import psycopg
import pytest
from postgres_server import Cluster, wait_for
from server_client import COMMAND, QUIET, part

import naiad
from naiad.container_kinds import RUN, RunId
from naiad.errors import DamagedData, StorageError
from naiad.ids import new_uid
from naiad.ops import Assign, Define, Delete, End, Open, encode_ops
from naiad.storage.base import Change
from naiad.storage.edits import edit
from naiad.storage.local.journal.frames import encode_frame
from naiad.storage.opening import database, database_upkeep
from naiad.storage.postgres import temporary
from naiad.storage.postgres import upkeep as upkeep_module
from naiad.storage.postgres.archive import Archive
from naiad.storage.postgres.connection import open_database
from naiad.storage.postgres.objects import Objects
from naiad.storage.postgres.receiver import Receiver
from naiad.storage.postgres.store import PostgresStore
from naiad.storage.receiving import Upkeep

pytestmark = pytest.mark.usefixtures("cluster_token")
Opened = list[tuple[PostgresStore, Receiver]]


@pytest.fixture
def upkeep(cluster: Cluster, opened: Opened) -> Iterator[Upkeep]:
    found = database_upkeep(cluster.postgres.url, cluster.objects.url)
    yield found
    found.close()
    cluster.ask("update naiad.about set backed_up_at = null")  # other tests free content without a backup


def make_run(cluster: Cluster, folder: Path, project: str) -> RunId:
    """Log a run with a file and many points; both lie in objects at the end."""
    (folder / "model.bin").write_bytes(new_uid().encode() * 10_000)
    run = naiad.init_run(store=cluster.url, project=project, **QUIET)
    run["model"].upload(str(folder / "model.bin"))
    run["loss"].extend([float(each) for each in range(30_000)])
    run.stop()
    uid = run._run.uid
    wait_for(lambda: cluster.is_settled(uid), "the fold")
    [(number,)] = cluster.ask("select number from naiad.run where uid = %s", uid)
    engine = open_database(cluster.postgres.url)
    while Archive(engine, Objects(cluster.objects.url)).move(number):
        pass
    engine.dispose()
    return RunId(uid, RUN)


def objects_of(cluster: Cluster, run: RunId) -> set[str]:
    """The names of the objects with points of a run."""
    return {name for name, _size, _made in Objects(cluster.objects.url).all(f"runs/{run.uid}")}


def age(cluster: Cluster, hours: int) -> None:
    """Let it be some hours later for all that gc has noted."""
    cluster.ask("update naiad.unreferenced set since = since - make_interval(hours => %s)", hours)


def test_restored_backup_has_all_content_whatever_was_freed_since(
    cluster: Cluster, opened: Opened, upkeep: Upkeep, tmp_path: Path
) -> None:
    run = make_run(cluster, tmp_path, "backed-up")
    began = datetime.now(timezone.utc).replace(microsecond=0).isoformat()
    postgres, dump = cluster.postgres, tmp_path / "dump"
    with dump.open("wb") as stream:
        subprocess.run([postgres.bin / "pg_dump", "-Fc", postgres.url], check=True, stdout=stream)
    cluster.command("backed-up", began)
    opened[0][0].delete([("", run)])
    names = objects_of(cluster, run)
    for _ in range(2):
        assert not names & {name for name, _size in upkeep.collect(0)}
    restored = f"restored_{new_uid().lower().replace('-', '_')}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"create database {restored}")  # type: ignore[call-overload]  # a test's own text
    url = postgres.url.rpartition("/")[0] + f"/{restored}"
    subprocess.run([postgres.bin / "pg_restore", "-d", url, dump], check=True)
    again = database_upkeep(url, cluster.objects.url)
    store, receiver = database(url, cluster.objects.url)
    try:
        assert [] == [what for name, what in again.verify() if name == store.id_of(run)]
        assert 30_000 == len(store.reader(run).points("loss").values)
    finally:
        again.close()
        store.close()
        receiver.close()
        cluster.ask(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{restored}'")
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"drop database {restored}")  # type: ignore[call-overload]  # a test's own text

    assert datetime.fromisoformat(began).timestamp() == upkeep.backup()
    age(cluster, 2)
    cluster.command("backed-up", datetime.now(timezone.utc).replace(microsecond=0).isoformat())
    freed = {name for name, _size in upkeep.collect(0)}
    assert names
    assert names <= freed
    assert "backup.note" in cluster.command("audit")
    assert not objects_of(cluster, run)


def test_content_stays_for_some_days_after_nothing_refers_to_it(
    cluster: Cluster, opened: Opened, upkeep: Upkeep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For 30 days, as no backup is noted, and for 7 with one; younger objects are not even noted."""
    run = make_run(cluster, tmp_path, "days")
    opened[0][0].delete([("", run)])
    names = objects_of(cluster, run)
    noted = "select count(*) from naiad.unreferenced where object = any(%s)"
    upkeep.collect()
    assert [(0,)] == cluster.ask(noted, [*names])
    monkeypatch.setattr("naiad.storage.postgres.upkeep.STORED_DAYS", 0.0)
    upkeep.collect(is_dry=True)
    assert [(0,)] == cluster.ask(noted, [*names])
    assert not names & {name for name, _size in upkeep.collect()}
    assert [(1,)] == cluster.ask(noted, [*names])
    age(cluster, 29 * 24)
    assert not names & {name for name, _size in upkeep.collect(is_dry=True)}
    upkeep.note_backup(datetime.now(timezone.utc).timestamp())
    assert names <= {name for name, _size in upkeep.collect(is_dry=True)}
    cluster.ask("update naiad.unreferenced set since = now() - interval '6 days'")
    assert not names & {name for name, _size in upkeep.collect()}
    cluster.ask("update naiad.about set backed_up_at = null")
    cluster.ask("update naiad.unreferenced set since = now() - interval '30 days 1 minute'")

    assert names <= {name for name, _size in upkeep.collect()}
    assert [(0,)] == cluster.ask(noted, [*names])


def test_object_that_is_in_use_again_is_no_longer_noted(cluster: Cluster, opened: Opened, upkeep: Upkeep) -> None:
    """A later gc counts its days anew."""
    _store, receiver = opened[0]
    data = new_uid().encode()
    name = put(receiver, data)
    upkeep.collect(0, is_dry=True)
    cluster.ask("insert into naiad.unreferenced values (%s, now() - interval '90 days')", name)
    upkeep.collect()

    assert [] == cluster.ask("select from naiad.unreferenced where object = %s", name)


def put(receiver: Receiver, data: bytes) -> str:
    """Send content; return the name of its object."""
    sha256 = hashlib.sha256(data).hexdigest()
    with receiver.content("again", sha256) as content:
        content.write(data)
    return f"blobs/{sha256[:2]}/{sha256}"


def send_while_objects_are_listed(monkeypatch: pytest.MonkeyPatch, receiver: Receiver, data: bytes) -> None:
    """Let a replica take content between the moment at which gc lists its object and the next step of gc."""
    listed = Objects.all

    def sent(objects: Objects, folder: str) -> list[object]:
        found = [*listed(objects, folder)]
        if folder == "blobs":
            put(receiver, data)
        return found

    monkeypatch.setattr(Objects, "all", sent)


def test_content_that_is_sent_again_while_gc_frees_it_is_there_afterwards(
    cluster: Cluster, opened: Opened, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gc frees the object that a replica has stored just before its row; the replica stores it a second time."""
    _store, receiver = opened[0]
    data, store = new_uid().encode(), Objects.put
    name = put(receiver, data)
    cluster.ask("delete from naiad.content where sha256 = %s", name.rpartition("/")[2])
    freed: list[str] = []

    def stored(objects: Objects, name: str, content: bytes | Path) -> None:
        store(objects, name, content)
        monkeypatch.setattr(Objects, "put", store)
        freed.extend(each for each, _size in upkeep.collect(0))

    monkeypatch.setattr(Objects, "put", stored)
    put(receiver, data)

    assert name in freed
    assert data == Objects(cluster.objects.url).get(name)


def test_content_that_gc_frees_is_stored_again_while_no_transaction_is_open(
    cluster: Cluster, opened: Opened, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take minutes, in which gc would wait; and the database may end a transaction that idles."""
    data, store = new_uid().encode(), Objects.put
    tries, waiting = itertools.count(), list[tuple[object, ...]]()
    idle = "select count(*) from pg_stat_activity where state = 'idle in transaction' and query ~ 'pg_advisory_xact'"

    def stored(objects: Objects, name: str, content: bytes | Path) -> None:
        if next(tries):
            waiting.extend(cluster.ask(idle))
        store(objects, name, content)
        if not waiting:
            objects.delete([name])

    monkeypatch.setattr(Objects, "put", stored)
    name = put(opened[0][1], data)

    assert [(0,)] == waiting
    assert data == Objects(cluster.objects.url).get(name)


def test_content_that_is_sent_again_before_gc_frees_it_stays(
    cluster: Cluster, opened: Opened, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gc has listed it as unused already, and looks once more before it deletes."""
    _store, receiver = opened[0]
    data = new_uid().encode()
    name = put(receiver, data)
    cluster.ask("delete from naiad.content where sha256 = %s", name.rpartition("/")[2])

    send_while_objects_are_listed(monkeypatch, receiver, data)
    freed = [each for each, _size in upkeep.collect(0)]

    assert name not in freed
    assert data == Objects(cluster.objects.url).get(name)


def test_content_whose_second_try_fails_is_sent_again(
    cluster: Cluster, opened: Opened, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gc freed the object before it had its row, and the objects are away just then: no row says that it is there."""
    _store, receiver = opened[0]
    data, store = new_uid().encode(), Objects.put
    sha256 = hashlib.sha256(data).hexdigest()

    def failing(_objects: Objects, _name: str, _content: bytes | Path) -> None:
        raise StorageError("away")

    def stored(objects: Objects, name: str, content: bytes | Path) -> None:
        store(objects, name, content)
        monkeypatch.setattr(Objects, "put", failing)
        upkeep.collect(0)

    monkeypatch.setattr(Objects, "put", stored)
    with pytest.raises(StorageError, match="away"):
        put(receiver, data)

    assert [] == receiver.content_of("again", [(sha256, len(data))])


def test_content_that_is_sent_while_gc_lists_objects_is_not_noted(
    cluster: Cluster, opened: Opened, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note from now would count days in which rows refer to it: a later gc would free it too soon."""
    monkeypatch.setattr(upkeep_module, "STORED_DAYS", 0.0)
    _store, receiver = opened[0]
    data = new_uid().encode()
    name = put(receiver, data)
    cluster.ask("delete from naiad.content where sha256 = %s", name.rpartition("/")[2])

    send_while_objects_are_listed(monkeypatch, receiver, data)
    upkeep.collect(7)

    assert [] == cluster.ask("select from naiad.unreferenced where object = %s", name)


def test_content_that_a_replica_says_it_has_while_gc_lets_go_of_it_is_not_noted(
    cluster: Cluster, opened: Opened, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep_module, "STORED_DAYS", 0.0)
    _store, receiver = opened[0]
    data = new_uid().encode()
    name, sha256 = put(receiver, data), hashlib.sha256(data).hexdigest()
    cluster.ask("update naiad.content set made_at = now() - interval '8 days' where sha256 = %s", sha256)

    def asked_meanwhile(found: set[tuple[str, str]]) -> list[tuple[str, str]]:
        assert [sha256] == receiver.content_of("again", [(sha256, len(data))])
        return sorted(found)

    monkeypatch.setattr(upkeep_module, "sorted", asked_meanwhile, raising=False)
    upkeep.collect(7)

    assert [(1,)] == cluster.ask("select count(*) from naiad.content where sha256 = %s", sha256)
    assert [] == cluster.ask("select from naiad.unreferenced where object = %s", name)


@pytest.mark.parametrize("damage", ["copy", "row"])
def test_damage_is_not_packed_into_a_new_object(cluster: Cluster, opened: Opened, tmp_path: Path, damage: str) -> None:
    """The old object is freed once nothing refers to it. A damaged copy on this machine is not what is packed."""
    run = naiad.init_run(store=cluster.url, project="damage", **QUIET)
    run["loss"].extend([float(each) for each in range(30_000)])
    run["kept"].extend([float(each * 7 % 13) for each in range(3_000)])
    run.stop()
    me = RunId(run._run.uid, RUN)
    wait_for(lambda: cluster.is_settled(me.uid), "the fold")
    [(number,)] = cluster.ask("select number from naiad.run where uid = %s", me.uid)
    engine = open_database(cluster.postgres.url)
    archive = Archive(engine, Objects(cluster.objects.url))
    while archive.move(number):
        pass
    store, receiver = opened[0]
    edit(store, me, [Change("loss", "", (Delete("loss"),))])
    receiver.fold(me)
    [name] = objects_of(cluster, me)
    values = store.reader(me).points("kept").values.tolist()  # which leaves a copy of the bytes on this machine
    if damage == "copy":
        copies = [*(temporary.folder() / "stretches").glob(f"{name.replace('/', '-')}*")]
        for path in copies:
            path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))
        assert copies
        archive.repack(number, name)
    else:
        turn_row = "update naiad.run_chunk set crc = crc # 1 where run = %s and object = %s"
        cluster.ask(turn_row, number, name)
        with pytest.raises(DamagedData, match="other bytes"):
            archive.repack(number, name)
        assert {name} == objects_of(cluster, me)
        cluster.ask(turn_row, number, name)  # other tests free content, which a damaged run forbids
    is_used = name in {used for _number, used, _size in archive.used()}
    engine.dispose()
    found, receiver = database(cluster.postgres.url, cluster.objects.url)

    assert values == found.reader(me).points("kept").values.tolist()
    assert is_used == (damage == "row")
    found.close()
    receiver.close()


def test_killed_run_is_not_taken_for_a_running_one_by_a_new_process(cluster: Cluster, opened: Opened) -> None:
    """As the process of gc is: files that it makes only now are no sign of life."""
    program = (
        "import os, sys, naiad\n"
        f"run = naiad.init_run(store=sys.argv[1], project='killed', **{QUIET!r})\n"
        "run['loss'].append(1.0)\n"
        "run.sync(remote=True)\n"
        "print('uid', run._run.uid, flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", program, cluster.url]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=100, check=False)
    me = RunId(done.stdout.split()[-1], RUN)
    for table, column in (("writer", "seen_at"), ("inbox", "at")):
        cluster.ask(
            f"update naiad.{table} each set {column} = {column} - interval '2 days' from naiad.run"
            " where run.number = each.run and run.uid = %s",
            me.uid,
        )
    found, receiver = database(cluster.postgres.url, cluster.objects.url)

    assert "unknown" == found.reader(me).state()
    found.close()
    receiver.close()


def test_verify_goes_on_after_a_list_of_files_that_is_damaged(
    cluster: Cluster, opened: Opened, upkeep: Upkeep, tmp_path: Path
) -> None:
    run = naiad.init_run(store=cluster.url, project="pictures", **QUIET)
    for _ in range(3):
        run["pictures"].append(naiad.types.File.from_content(new_uid().encode(), extension="txt"))
    run.stop()
    me = RunId(run._run.uid, RUN)
    wait_for(lambda: cluster.is_settled(me.uid), "the fold")
    later = make_run(cluster, tmp_path, "pictures")
    damage = "update naiad.{} each set crc = crc # 1 from naiad.run where run.number = each.run and run.uid = any(%s)"
    tables = ("run_pack", "run_chunk")
    for table in tables:
        cluster.ask(damage.format(table), [me.uid, later.uid])
    damaged = {name for name, _what in upkeep.verify()}
    for table in tables:  # other tests free content, which a damaged run forbids
        cluster.ask(damage.format(table), [me.uid, later.uid])

    assert {opened[0][0].id_of(each) for each in (me, later)} <= damaged


@pytest.mark.parametrize("days", [-100, 100])
def test_age_of_a_run_is_counted_from_its_arrival(cluster: Cluster, days: int) -> None:
    """An offline run that is sent after months has arrived today; the clock of another client may be wrong."""
    at = time.time() + days * 86_400
    uids = {new_uid(): is_trashed for is_trashed in (False, True)}
    project = f"arrived{days}"
    for uid, is_trashed in uids.items():
        cluster.register(uid, project)
        ops = [Open("1-w", 1, "h", "b", 1, "owner", at), Define(1, "monitoring/x/cpu", False, at)]
        ops += [Assign("sys/trashed", "bool", True, at)] * is_trashed
        data = encode_frame(0, encode_ops([*ops, End("finished", at)]))
        end, name = 16 + len(data), "1-w.000001.ops"
        cluster.journal(
            parts=[part(uid, name, 16, data)],
            sealed=[[uid, name, end, zlib.crc32(data)]],
            writers=[[uid, "1-w", False]],
        )
        wait_for(lambda uid=uid: cluster.is_settled(uid), "the fold")
    asked = ("gc", "--monitoring-days", "1", "--trash-days", "1", "--project", project, "--dry-run")
    young = cluster.command(*asked)
    cluster.ask(
        "update naiad.writer w set seen_at = now() - interval '2 days' from naiad.run "
        "where number = w.run and project = %s", project,
    )  # fmt: skip
    old = cluster.command(*asked)

    assert "deleted" not in young
    assert 1 == old.count("monitoring/x/cpu")
    assert 2 == old.count("deleted")


def test_old_run_that_is_put_into_the_trash_today_stays(cluster: Cluster, opened: Opened, tmp_path: Path) -> None:
    """An edit on the server is no sign of a writer, by which the age of a run is counted else."""
    run = make_run(cluster, tmp_path, "trashed-today")
    cluster.ask(
        "update naiad.writer set seen_at = now() - interval '60 days' from naiad.run "
        "where number = writer.run and uid = %s",
        run.uid,
    )
    edit(opened[0][0], run, [Change("sys/trashed", "bool", (Assign("sys/trashed", "bool", True),))])
    wait_for(lambda: cluster.is_settled(run.uid), "the fold")
    options = ("--project", "trashed-today", "--dry-run")

    assert "deleted" not in cluster.command("gc", "--trash-days", "30", *options)
    assert "deleted" in cluster.command("gc", "--trash-days", "0", *options)


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_syncing_and_verifying_a_run_again_keeps_none_of_its_data_from_gc(
    cluster: Cluster, tmp_path: Path, is_killed: bool
) -> None:
    """As by a timer on the machine of the programs, years later."""
    project = f"verified-{is_killed}"
    program = """
        import os, sys, naiad
        run = naiad.init_run(store=sys.argv[1], project=sys.argv[2], capture_hardware_metrics=False, git_ref=False,
            source_files=[], capture_stdout=False, capture_stderr=False)
        run["loss"].extend([1.0] * 10)
        run.sync(remote=True)
        print(run._run.uid, flush=True)
        if sys.argv[3] == "True":
            os._exit(9)
        run.stop()
    """
    command = [sys.executable, "-c", textwrap.dedent(program), cluster.url, project, str(is_killed)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    uid = done.stdout.split()[0]
    sync = [*COMMAND, "sync", str(tmp_path / "local"), "--to", cluster.url]
    subprocess.run(sync, check=True, capture_output=True, timeout=60)
    wait_for(lambda: cluster.is_settled(uid), "the fold")
    own = "from naiad.run where number = run and uid = %s"
    cluster.ask(f"update naiad.writer set seen_at = now() - interval '2 days' {own}", uid)
    for more in ([], ["--verify"]):
        subprocess.run([*sync, *more], check=True, capture_output=True, timeout=60)

    seen = "select state, seen_at < now() - interval '1 day' from naiad.writer join naiad.run on number = run"
    assert {("dead", True)} == set(cluster.ask(f"{seen} where uid = %s", uid))
