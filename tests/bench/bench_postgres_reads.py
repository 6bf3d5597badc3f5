"""A server over PostgreSQL and S3 once the runs are there: folds, charts, an unfolded tail, archived runs, tables.

The replicas have no workers here: the tail of a live run is read before any fold, and one worker of our own does the
folding. CPU time of folds is that of the worker and of PostgreSQL. The servers of NAIAD_BENCH_PEERS (other_servers.py)
keep databases in the same PostgreSQL. Run it alone: it starts a cluster, and fills it for some minutes.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import psutil
import psycopg
from bench_postgres import database_of, objects
from figures import Figure, folder, main
from loads import METRICS, Connection, begin, cpu, journal, records, ship, shipment, together
from other_servers import others
from postgres_server import Cluster, wait_for

import naiad
from naiad.container_kinds import RUN
from naiad.query.parser import parse
from naiad.storage.local.store import Store
from naiad.storage.postgres.archive import Archive
from naiad.storage.postgres.connection import CATALOG, PostgresConnection, open_database, transaction
from naiad.storage.postgres.objects import Objects
from naiad.storage.remote.store import RemoteStore
from naiad.storage.sql.values import Cell, Entry, Stamp, put

PIECE = 65_536
NUMBERS = itertools.count()
SIZES = {"tail": 3_600, "small": 1_000, "long": 10_000_000, "chart": 100_000_000, "runs": 100_000, "folder": 1_000_000}
QUICK = {"tail": 20, "small": 3, "long": 10_000, "chart": 10_000, "runs": 100, "folder": 1_000}


class Asked:
    """The HTTP API of one replica, over a connection that stays open."""

    def __init__(self, cluster: Cluster) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", cluster.replicas[0].port, timeout=300)
        self._headers = {"Authorization": f"Bearer {cluster.token}"}

    def chart(self, runs: list[str], path: str, **more: object) -> Callable[[], object]:
        """Return a function that asks for a chart of one series of some runs, in a thousand buckets."""
        query = urlencode([*(("run", run) for run in runs), ("path", path), *more.items()])
        return lambda: self._get(f"/api/v1/chart?{query}")

    def _get(self, path: str) -> bytes:
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        return content


def milliseconds(call: Callable[[], object]) -> float:
    """The duration of a call."""
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def times(call: Callable[[], object]) -> list[float]:
    """Ten durations of a call, in milliseconds, after one that is not counted."""
    return [milliseconds(call) for _ in range(11)][1:]


def send(cluster: Cluster, uids: list[str], pieces: int, points: int, series: int = METRICS) -> None:
    """Two clients ship runs of so many points."""
    ports = [each.port for each in cluster.replicas]

    async def some(client: int) -> None:
        for uid in uids[client::2]:
            await ship(ports[client], cluster.token, uid, shipment(uid, pieces, points, series))

    asyncio.run(together(some, 2))


def tail(cluster: Cluster, parts: int) -> list[Figure]:
    """A chart of a live run of which so many parts, each of a second, wait for their fold, and another one comes."""
    number = 900_000
    uid, writer = f"bench-{number}", f"{number}-bench"
    at = 64

    async def flush(count: int) -> None:
        nonlocal at
        connection = Connection(cluster.replicas[0].port, cluster.token)
        if at == 64:
            await begin(connection, number)
        for _ in range(count):
            data = records(at, METRICS)
            await connection.post("/api/v1/journal", journal(uid, writer, [(f"{writer}.000001.seg", at, data)]))
            at += len(data)
        connection.close()

    asyncio.run(flush(parts))
    chart = Asked(cluster).chart([uid], "metrics/m0")
    first, took = milliseconds(chart), []
    for _ in range(10):
        asyncio.run(flush(1))
        took.append(milliseconds(chart))
    assert [(0,)] == cluster.ask("select count(*) from naiad.run_chunk")
    title = f"chart of a live run, {parts:,} unfolded parts"
    return [Figure(title, "ms", took, "<= 15"), Figure(f"{title}, first", "ms", [first])]


@contextmanager
def working(cluster: Cluster) -> Iterator[psutil.Process]:
    """A worker, as long as the block lasts."""
    environment = {**os.environ, **cluster.objects.environment, "NAIAD_SERVER_DATABASE": cluster.postgres.url}
    command = [Path(sys.executable).with_name("naiad"), "server", "--objects", cluster.objects.url, "--role", "worker"]
    with (cluster.folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def folded(cluster: Cluster) -> float:
    """Let one worker fold all that waits; return the CPU seconds that it and the database took once it has begun."""
    cluster.ask("update naiad.due set at = 'infinity'")
    assert cluster.postgres.process is not None
    with working(cluster) as worker:
        first = f"first-{next(NUMBERS)}"
        send(cluster, [first], 1, METRICS)
        cluster.ask("update naiad.due set at = now() where run = (select number from naiad.run where uid = %s)", first)
        wait_for(lambda: cluster.has_folded(first), "the first fold", 120)
        parts = (worker, psutil.Process(cluster.postgres.process.pid))
        before = cpu(*parts)
        cluster.ask("update naiad.due set at = now()")
        wait_for(lambda: cluster.ask("select count(*) from naiad.inbox") == [(0,)], "the folds", 600)
        return cpu(*parts) - before


def fold_rate(cluster: Cluster, title: str, points: int, goal: str) -> Figure:
    """Points that wait, over the seconds of their fold."""
    return Figure(f"folded a core-second, {title}", "M/s", [points / folded(cluster) / 1e6], goal, is_rate=True)


def folds(cluster: Cluster, small: int, long: int) -> list[Figure]:
    """Many short runs; one long run."""
    cluster.empty()
    send(cluster, [f"short-{number}" for number in range(small)], 1, 600)
    figures = [fold_rate(cluster, f"{small:,} runs of 600 points", small * 600, ">= 0.8")]
    cluster.empty()
    pieces = max(1, long // PIECE)
    send(cluster, ["long-1"], pieces, long // pieces)
    return [*figures, fold_rate(cluster, f"{long // METRICS:,} points x {METRICS} series", long, ">= 4")]


def charts(cluster: Cluster, points: int) -> list[Figure]:
    """One series of very many points."""
    cluster.empty()
    pieces = max(1, points // PIECE)
    send(cluster, ["huge-1"], pieces, points // pieces, 1)
    figure = fold_rate(cluster, f"{points:,} points x 1 series", points, ">= 4")
    asked = Asked(cluster)
    whole = asked.chart(["huge-1"], "metrics/m0")
    part = {"from": points // 2, "to": points // 2 + points // 10}
    first = milliseconds(whole)
    title = f"chart of {points:,.0f} points, HTTP"
    return [
        figure,
        Figure(title, "ms", times(whole), "<= 5"),
        Figure(f"{title}, first", "ms", [first]),
        Figure(f"{title}, a tenth of it", "ms", times(asked.chart(["huge-1"], "metrics/m0", **part))),
    ]


def archived(cluster: Cluster, runs: int, points: int) -> list[Figure]:
    """A chart of many runs whose points are in S3: each series for the first time, then again."""
    cluster.empty()
    uids = [f"old-{number}" for number in range(runs)]
    send(cluster, uids, 1, points * METRICS)
    folded(cluster)
    engine = open_database(cluster.postgres.url)
    try:
        archive = Archive(engine, Objects(cluster.objects.url))
        for (number,) in cluster.ask("select number from naiad.run"):
            while archive.move(number):
                pass
    finally:
        engine.dispose()
    [(left,)] = cluster.ask(
        "select (select count(*) from naiad.run_chunk where data is not null)"
        " + (select count(*) from naiad.run_pack where data is not null)"
    )
    assert left == 0
    asked = Asked(cluster)
    first = [milliseconds(asked.chart(uids, f"metrics/m{metric}")) for metric in range(METRICS)]
    title = f"chart of {runs} runs x {points:,} points from S3, HTTP"
    return [
        Figure(f"{title}, first", "ms", first, "<= 100"),
        Figure(f"{title}, again", "ms", times(asked.chart(uids, "metrics/m0"))),
    ]


def shipped_folder(cluster: Cluster, points: int) -> list[Figure]:
    """A folder that was logged offline, sent by `naiad sync`."""
    cluster.empty()
    place = cluster.folder / "offline"
    environment = {**os.environ, "NAIAD_API_TOKEN": cluster.token, "NAIAD_CAPTURES": "off", "NAIAD_QUIET": "1"}
    os.environ.update(environment)
    with naiad.init_run(store=place, project="offline", mode="offline") as run:
        for metric in range(METRICS):
            rng = random.Random(metric)
            run[f"metrics/m{metric}"].extend([float(rng.random()) for _ in range(points)])
    command = [Path(sys.executable).with_name("naiad"), "sync", str(place), "--to", cluster.replicas[0].url]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    took = time.perf_counter() - began
    rate = METRICS * points / took / 1e6
    return [Figure(f"offline folder of {METRICS * points:,} points, sync", "M/s", [rate], ">= 0.7", is_rate=True)]


def table(cluster: Cluster, runs: int, attributes: int) -> list[Figure]:
    """A table of so many runs with so many numbers and texts each, asked through a replica."""
    cluster.empty()
    rng = random.Random(runs)
    kinds = {f"params/p{each}": "float" if each % 2 else "string" for each in range(attributes)}
    with transaction(open_database(cluster.postgres.url)) as raw:
        for first in range(0, runs, 1000):
            entries = []
            for number in range(first, min(first + 1000, runs)):
                cells: dict[tuple[str, str], Cell] = {
                    (path, kind): rng.random() if kind == "float" else f"v{rng.randrange(100)}"
                    for path, kind in kinds.items()
                }
                name, at = f"TABLE-{number + 1}", number * 1_000_000
                entries.append(Entry(f"table-{number}", "runs", name, "table", "finished", at, Stamp("", ""), cells))
            put(PostgresConnection(raw, CATALOG), entries)
    with psycopg.connect(cluster.postgres.url, autocommit=True) as connection:
        connection.execute("vacuum analyze")
    os.environ["NAIAD_API_TOKEN"] = cluster.token
    catalog = RemoteStore(cluster.replicas[0].url, Store(cluster.folder / "empty")).catalog()
    columns, narrow = ["sys/id", "params/p1"], '`params/p1`:float > 0.5 AND `params/p0`:string = "v7"'
    asked: dict[str, Callable[[], object]] = {
        "sort + 50": lambda: catalog.search(RUN, "table", None, sort_by="params/p1", limit=50, columns=columns),
        "two filters + sort + 50": lambda: catalog.search(
            RUN, "table", parse(narrow), sort_by="params/p3", limit=50, columns=columns
        ),
        "two columns of all": lambda: catalog.search(RUN, "table", None, columns=["params/p1", "params/p3"]),
    }
    [(size,)] = cluster.ask(
        "select sum(pg_total_relation_size(oid)) from pg_class"
        " where relnamespace = 'naiad_catalog'::regnamespace and relkind = 'r'"
    )
    goals = ("<= 2", "<= 15", "<= 150") if runs == 100_000 else ("",) * 3
    return [
        *(
            Figure(f"{runs:,} runs x {attributes}: {name}, HTTP", "ms", times(call), goal)
            for (name, call), goal in zip(asked.items(), goals, strict=True)
        ),
        Figure(f"{runs:,} runs x {attributes}: a cell in the catalog", "B", [float(size) / runs / attributes]),
    ]


def beside(cluster: Cluster, runs: int, attributes: int, requests: int) -> list[Figure]:
    """The same runs and points here and at the servers of others: as many as they take in a minute or two."""
    found: dict[str, dict[str, list[float]]] = {}
    for other in others(lambda name: database_of(cluster, f"{name.replace(' ', '_')}_reads")):
        seconds, made = other.take(2, requests)
        points = 2 * requests * 1_000
        with psycopg.connect(other.database) as connection:
            [(size,)] = connection.execute("select pg_database_size(current_database())").fetchall()
        other.make_table(runs, attributes)
        narrow = "metrics.p1 > 0.5 and params.p0 = 'v7'"
        calls = {
            "sort + 50": other.search(order="metrics.p1 DESC"),
            "two filters + sort + 50": other.search(narrow, "metrics.p3 DESC"),
        }
        figures = {name: times(call) for name, call in calls.items()}
        figures["a series"] = times(other.history(made[0], "m0"))
        found[other.name] = {**figures, "accepted": [points / seconds / 1e6], "stored": [float(size) / points]}
    if not found:
        return []
    sort, filtered = table(cluster, runs, attributes)[:2]
    cluster.empty()
    uids = ["beside-0", "beside-1"]
    began = time.perf_counter()
    send(cluster, uids, requests, 1_000)
    accepted = 2 * requests * 1_000 / (time.perf_counter() - began) / 1e6
    folded(cluster)
    [(stored,)] = cluster.ask(
        "select sum(pg_total_relation_size(oid)) from pg_class"
        " where relnamespace = 'naiad'::regnamespace and relkind = 'r'"
    )
    store = RemoteStore(cluster.replicas[0].url, Store(cluster.folder / "empty"))
    reader = store.reader(store.find(uids[0]))
    figures = [
        sort,
        filtered,
        Figure(f"a series of {requests * 100:,} points read", "ms", times(lambda: reader.points("metrics/m0"))),
        Figure("accepted from 2 clients, 1,000 points a request", "M/s", [accepted], is_rate=True),
        Figure("tables of these points, with what two runs need beside", "B/point", [float(stored) / 2_000 / requests]),
    ]
    names = ("sort + 50", "two filters + sort + 50", "a series", "accepted", "stored")
    for figure, name in zip(figures, names, strict=True):
        figure.floors = {other: values[name] for other, values in found.items()}
    return figures


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    size = QUICK if quick else SIZES
    with folder() as place:
        cluster = Cluster.start(place, "fsync=on", objects=objects(place), options=("--role", "web"))
        os.environ.update(cluster.objects.environment, NAIAD_API_TOKEN=cluster.token)
        try:
            return [
                *tail(cluster, size["tail"]),
                *folds(cluster, size["small"], size["long"]),
                *charts(cluster, size["chart"]),
                *archived(cluster, 3 if quick else 50, 10_000),
                *shipped_folder(cluster, size["folder"]),
                *table(cluster, size["runs"], 4 if quick else 20),
                *beside(cluster, *((20, 4, 2) if quick else (2_000, 20, 100))),
            ]
        finally:
            cluster.stop()


if __name__ == "__main__":
    main(measure)
