"""A server of two replicas over PostgreSQL and S3: programs log through nginx, and all is read through any replica."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import random
import re
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cluster_client import ask, points, sent, status
from postgres_server import Cluster, SeaweedFS, newest_postgres_folder, wait_for
from psycopg.sql import SQL
from server_client import QUIET

import naiad
from naiad.container_kinds import RUN
from naiad.errors import InvalidArgument, StorageError
from naiad.ids import new_uid
from naiad.refs import FileRef
from naiad.ship import shipper
from naiad.storage.local.index import schema as run_tables
from naiad.storage.local.store import Store as Folder
from naiad.storage.opening import database
from naiad.storage.postgres import folding, statistics
from naiad.storage.postgres.connection import (
    CATALOG,
    PostgresConnection,
    _bound,
    _translated,
    array,
    calls,
    contents,
    open_database,
    texts,
    transaction,
)
from naiad.storage.postgres.objects import Objects, blob_name
from naiad.storage.remote.store import RemoteStore
from naiad.storage.sql import grid
from naiad.storage.sql import tables as catalog_tables
from naiad.storage.sql.connection import Part, Statement, rendered
from naiad.storage.sql.values import Entry, Stamp, put

pytestmark = pytest.mark.usefixtures("cluster_token")


@pytest.fixture
def cluster(own_cluster: Cluster) -> Cluster:
    return own_cluster


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


def test_page_sorted_by_two_columns_is_the_same_where_most_are_equal_by_the_first(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The page comes along the index of the second column then; some lack a value in the first."""
    found = RemoteStore(cluster.url, Folder(tmp_path / "empty")).catalog()
    rates, names = {("rate", "float"): 0.1}, {("name", "string"): "adam"}
    entries = [
        Entry(
            f"tied-{number}", "runs", f"TIED-{number}", "tied", "finished", number, Stamp("", ""),
            {**(rates if number % 9 else {}), **(names if number % 8 else {}), ("loss", "float"): number * 7 % 300 / 7},
        )
        for number in range(300)
    ]  # fmt: skip
    engine = open_database(cluster.postgres.url)
    with transaction(engine) as raw:
        put(PostgresConnection(raw, CATALOG), entries)
    engine.dispose()
    sign = {True: 1, False: -1}
    for first, lack in (("rate", 9), ("name", 8)):
        for ascending in (True, False):
            wanted = sorted(range(300), key=lambda n: (n % lack == 0, sign[ascending] * (n * 7 % 300)))
            for offset in (0, 20, 250):
                page = found.grid(
                    RUN, "tied", None, sort=[(first, ascending), ("loss", ascending)], limit=20, offset=offset
                )
                assert [f"tied-{number}" for number in wanted[offset : offset + 20]] == page.uids


def walking_entry(number: int, chance: random.Random) -> Entry:
    """A run with few different values, some of them missing or of another kind."""
    values: dict[tuple[str, str], Any] = {("sys/creation_time", "datetime"): 10**15 + chance.randrange(30)}
    rate = chance.choice([None, ("float", 0.1), ("float", math.nan), ("float", -math.inf), ("float", 0.2)])
    wide = chance.choice([None, ("int", 2**60 + chance.randrange(3)), ("float", 2.0**60), ("string", "auto")])
    name = chance.choice([None, ("string", "a" * chance.choice([3, 199, 200, 201])), ("string", "é\0b")])
    for path, found in (("rate", rate), ("wide", wide), ("name", name)):
        if found is not None:
            values[path, found[0]] = found[1]
    if chance.random() < 0.8:
        values["loss", "float_series"] = [chance.random(), *(chance.choice([0.5, 1.5]) for _ in range(4))]
    return Entry(f"walk-{number}", "runs", f"WALK-{number}", "walk", "finished", 10**15 + number, Stamp("", ""), values)


def test_walk_over_pages_is_the_whole_list_and_holds_all_that_stay(cluster: Cluster, tmp_path: Path) -> None:
    """In any order; runs that appear, change and go between two pages take no place of another one."""
    found, chance = RemoteStore(cluster.url, Folder(tmp_path / "empty")).catalog(), random.Random(7)
    engine = open_database(cluster.postgres.url)

    def store(numbers: Iterable[int]) -> None:
        with transaction(engine) as raw:
            put(PostgresConnection(raw, CATALOG), [walking_entry(number, chance) for number in numbers])

    def walk(sort: list[tuple[str, bool]], between: Callable[[], object] = lambda: None) -> list[str]:
        uids, end = list[str](), ""
        while True:
            part, end = found.page(RUN, "walk", None, sort=sort, limit=37, after=end)
            uids += part.uids
            if not end:
                return uids
            between()

    store(range(300))
    columns = ["rate", "wide", "name", "loss", "loss:min", "sys/creation_time", "nothing"]
    sorts = [[(column, ascending)] for column in columns for ascending in (False, True)]
    sorts += [[(chance.choice(columns), chance.random() < 0.5) for _ in range(2)] for _ in range(12)]
    for sort in [[], *sorts]:
        assert found.grid(RUN, "walk", None, sort=sort).uids == walk(sort), sort
    stay = {f"walk-{number}" for number in range(300) if number % 10}
    new = itertools.count(300)
    for sort in ([], [("rate", True)], [("name", False), ("wide", True)]):
        uids = walk(sort, lambda: store([*range(0, 300, 10), next(new)]))
        assert stay <= {*uids}, sort
        assert len(stay) == len([uid for uid in uids if uid in stay])
    with transaction(engine) as raw:
        raw.execute("delete from naiad_catalog.cell where container in "
                    "(select number from naiad_catalog.container where project = 'walk')")  # fmt: skip
        raw.execute("delete from naiad_catalog.container where project = 'walk'")
    engine.dispose()
    with pytest.raises(InvalidArgument, match="not the end of a page"):
        found.page(RUN, "walk", None, limit=3, after="x" * 5)


def test_arrays_arrive_in_the_database_as_they_are(cluster: Cluster) -> None:
    names = ["", "a,b", '"{}\\', "null", "\N{SNOWMAN}", "9-x.000001.seg"]
    data = [bytes(range(256)), b"", b"\\x00", bytes(100_000)]
    given = [0, None, -(2**63), 2**63 - 1]
    engine = open_database(cluster.postgres.url)
    with calls(engine) as server:
        found = [
            [row[0] for row in server.rows(b"select unnest($1::%s[])" % kind, value)]
            for kind, value in (
                (b"text", texts(names)),
                (b"bigint", array(given)),
                (b"boolean", array([True, False])),
                (b"float8", array([0.0, 60.5])),
                (b"bytea", contents([])),
                (b"text", texts([])),
                (b"bigint", array([])),
            )
        ]
        hexed = server.rows(b"select encode(each, 'hex') from unnest($1::bytea[]) as each", contents(data))
    engine.dispose()

    assert [each.encode() for each in names] == found[0]
    assert [None if each is None else str(each).encode() for each in given] == found[1]
    assert [[b"t", b"f"], [b"0", b"60.5"], [], [], []] == found[2:]
    assert [(each.hex().encode(),) for each in data] == hexed


def test_call_that_fails_says_why_and_its_connection_is_used_again(cluster: Cluster) -> None:
    engine = open_database(cluster.postgres.url)
    with pytest.raises(StorageError, match="division by zero"), calls(engine) as server:
        server.rows(b"select 1 / 0")
    with pytest.raises(StorageError, match="closed the connection"), calls(engine) as server:
        server.rows(b"select pg_terminate_backend(pg_backend_pid())")
    with calls(engine) as server:
        assert [(b"1",)] == server.rows(b"select 1")
    engine.dispose()


def test_transaction_that_was_left_open_is_over_when_its_connection_is_used_again(cluster: Cluster) -> None:
    engine = open_database(cluster.postgres.url)
    with contextlib.closing(engine.raw_connection()) as connection:
        raw: Any = connection.driver_connection
        raw.execute("insert into naiad.unreferenced values ('left-open', now())")
        process = raw.info.backend_pid
    with transaction(engine) as raw:
        rows = raw.execute("select pg_backend_pid(), count(object) from naiad.unreferenced where object = 'left-open'")
        found = rows.fetchall()
    engine.dispose()

    assert [(process, 0)] == found


class Explaining(PostgresConnection):
    """A connection that keeps the plan of each query."""

    def __init__(self, raw: Any, schema: str) -> None:
        super().__init__(raw, schema)
        self.plans: list[str] = []

    def run(self, statement: Statement, **parameters: object) -> Any:
        text, found = rendered(Part(statement, parameters))
        rows = self.own.execute(SQL("explain ") + _translated(text), _bound(found)).fetchall()
        self.plans.append("\n".join(line for (line,) in rows))
        return super().run(statement, **parameters)


def test_page_of_a_catalog_that_was_filled_at_once_is_read_along_an_index(cluster: Cluster, tmp_path: Path) -> None:
    """As after a restore; autovacuum may come much later."""
    with psycopg.connect(cluster.postgres.url, autocommit=True) as raw:
        raw.execute("drop database if exists filled")
        raw.execute("create database filled")
    url = urllib.parse.urlsplit(cluster.postgres.url)._replace(path="/filled").geturl()
    store, receiving = database(url, (tmp_path / "objects").as_uri())
    receiving.migrate()
    engine = open_database(url)

    def plan() -> str:
        """Return the plan of the query for the runs of a page."""
        with transaction(engine, is_read_only=True) as raw:
            found = Explaining(raw, CATALOG)
            assert 20 == len(grid.page(found, RUN, "filled", None, sort=[("rate", True)], limit=20).grid.uids)
        [own] = [each for each in found.plans if "Limit" in each and "cell" in each]
        return own

    with transaction(engine) as raw:
        for table in ("container", "cell", "field", "tag"):
            raw.execute(f"alter table naiad_catalog.{table} set (autovacuum_enabled = false)")
        put(PostgresConnection(raw, CATALOG), [
            Entry(f"f{n}", "runs", f"F-{n}", "filled", "finished", 10**15 + n, Stamp("", ""),
                  {("rate", "float"): n * 7 % 5_000 / 5_000, ("sys/creation_time", "datetime"): 10**15 + n})
            for n in range(5_000)
        ])  # fmt: skip
    before = plan()
    folding.Folder(engine, Objects((tmp_path / "objects").as_uri())).analyze()  # as a worker does
    after = plan()
    wait_for(lambda: not statistics.analyze(engine), "the end of the changes, which are counted a moment later")
    engine.dispose()
    receiving.close()
    store.close()

    assert "Sort" in before
    assert "Sort" not in after
    assert "cell_num" in after


def test_password_is_in_no_process_listing(cluster: Cluster) -> None:
    """The worker of a replica gets the address by its environment."""
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout

    assert "postgresql://" not in listing


def test_folds_of_a_worker_are_measured_by_its_replica(cluster: Cluster) -> None:
    uid = new_uid()
    ask(cluster, "/api/v1/runs", {"uid": uid, "kind": "run", "project": "measured", "created": 1.0})
    assert 200 == sent(cluster, points(uid, 1), 0)
    cluster.ask("update naiad.due set at = now() where run = (select number from naiad.run where uid = %s)", uid)
    counted = r"^(naiad_fold_seconds_count|naiad_folds_total\{outcome=\"\w+\"\}) (\d+)"

    def counts() -> tuple[int, int]:
        found = {"naiad_fold_seconds_count": 0, "naiad_folds_total": 0}
        for page in pages(cluster):
            for name, count in re.findall(counted, page, re.MULTILINE):
                found[name.partition("{")[0]] += int(count)
        return found["naiad_fold_seconds_count"], found["naiad_folds_total"]

    wait_for(lambda: (found := counts())[0] == found[1] > 0, "the fold")

    assert all(re.search(r"^naiad_database_connections_most [1-9]", page, re.MULTILINE) for page in pages(cluster))


def pages(cluster: Cluster) -> list[str]:
    """The metrics of each replica."""
    return [urllib.request.urlopen(f"{each.url}/metrics", timeout=30).read().decode() for each in cluster.replicas]


def content_requests(cluster: Cluster) -> int:
    """How many requests for content the replicas have answered."""
    counted = r'^naiad_requests_total\{route="/api/v1/storage/content",status="200"\} (\d+)'
    return sum(int(found[1]) for page in pages(cluster) if (found := re.search(counted, page, re.MULTILINE)))


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


@pytest.mark.slow  # another server of each kind: pytest -m slow tests/server/test_postgres.py -k newer
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
