"""Two replicas over PostgreSQL and S3 under simulated writers: latency of a flush, cores, bytes a point, reads.

Writers keep their connection, as the shipper does; half of them ask each replica. CPU time is that of all replicas,
their workers and PostgreSQL. PostgreSQL syncs its log here: an answer means that the bytes are on the disk. The servers
of NAIAD_BENCH_PEERS (see bench_server.py) get the same load over databases of the same PostgreSQL.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path

import psutil
import psycopg
import pytest
from figures import Figure, folder, main

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))
from bench_server import floor_latencies
from loads import METRICS, cpu, p99, ship, shipment, together, write
from other_servers import others
from postgres_server import Cluster, Moto, SeaweedFS, wait_for

from naiad.container_kinds import RUN
from naiad.storage.local.store import Store
from naiad.storage.remote.store import RemoteStore

LOADS = ((100, 20.0, 1.0, "<= 50", "<= 0.25"), (1_000, 20.0, 2.0, "<= 100", "<= 0.6"))


def objects(place: Path) -> Moto:
    """SeaweedFS, which is made for load, where it is installed; else the server of moto."""
    try:
        return SeaweedFS(place)
    except pytest.skip.Exception:
        return Moto()


def spent(cluster: Cluster) -> float:
    """CPU seconds so far of the replicas, with their workers, and of the database."""
    started = (each.process for each in (*cluster.replicas, cluster.postgres))
    return cpu(*(psutil.Process(each.pid) for each in started if each is not None))


def under(cluster: Cluster, writers: int, seconds: float, flush: float | None) -> tuple[list[float], float]:
    """The latencies of so many writers, and the cores that they cost once all are registered."""
    since: list[tuple[float, float]] = []
    ports = [each.port for each in cluster.replicas]
    took = asyncio.run(
        write(ports, cluster.token, writers, seconds, flush, lambda: since.append((spent(cluster), time.monotonic())))
    )
    [(before, began)] = since
    return took, (spent(cluster) - before) / (time.monotonic() - began)


def shipped_in_bulk(cluster: Cluster, pieces: int, points: int) -> list[Figure]:
    """Two clients ship long runs at once; then all of it is folded and read."""
    cluster.empty()
    bodies = [[*shipment(f"bulk-{number}", pieces, points)] for number in range(2)]
    ports = [each.port for each in cluster.replicas]
    before, began = spent(cluster), time.monotonic()
    asyncio.run(together(lambda number: ship(ports[number], cluster.token, f"bulk-{number}", bodies[number]), 2))
    wall = time.monotonic() - began
    wait_for(lambda: cluster.ask("select count(*) from naiad.inbox") == [(0,)], "the folds", 300)
    used = spent(cluster) - before
    total = 2 * pieces * points
    [(stored,)] = cluster.ask(
        "select (select coalesce(sum(octet_length(data) + coalesce(octet_length(pyramid), 0)), 0) from naiad.run_chunk)"
        " + (select coalesce(sum(octet_length(data)), 0) from naiad.run_pack)"
    )
    return [
        Figure("accepted in bulk by 2 clients, folded meanwhile", "M/s", [total / wall / 1e6], ">= 1.5", is_rate=True),
        Figure("accepted and folded, a core-second of everything", "M/s", [total / used / 1e6], is_rate=True),
        Figure("bytes a point (float32 origin) in the database, with pyramids", "B", [float(stored) / total], "<= 4.5"),
    ]


def visible(cluster: Cluster, writers: int, seconds: float) -> list[Figure]:
    """The time from an append to the moment at which others see it, while so many writers log."""
    import naiad

    os.environ.update(NAIAD_API_TOKEN=cluster.token, NAIAD_LOCAL_STORE=str(cluster.folder / "local"), NAIAD_QUIET="1")
    os.environ["NAIAD_CAPTURES"] = "off"
    store = RemoteStore(cluster.replicas[1].url, Store(cluster.folder / "empty"))
    others = threading.Thread(target=under, args=(cluster, writers, seconds, 1.0))
    others.start()
    seen: dict[str, list[float]] = {"chart": [], "sorted table": []}
    value, until = 0.0, time.monotonic() + seconds
    with naiad.init_run(store=cluster.replicas[0].url, project="visible") as run:
        run["loss"].append(value)
        run.sync(remote=True)
        reader = store.reader(store.find(run["sys/id"].fetch()))

        def in_chart() -> bool:
            last = reader.last("loss")
            return last is not None and last.value == value

        def in_table() -> bool:
            found = store.catalog().search(RUN, "visible", None, sort_by="loss", limit=50, columns=["loss"])
            return any(
                isinstance(cell, list) and cell[:1] == [value] for row in found.rows for cell in row.cells.values()
            )

        while time.monotonic() < until:
            for name, is_there in (("chart", in_chart), ("sorted table", in_table)):
                value += 1.0
                run["loss"].append(value)
                began = time.perf_counter()
                while not is_there():
                    time.sleep(0.02)
                seen[name].append(time.perf_counter() - began)
    others.join()
    goals = {"chart": "<= 2", "sorted table": "<= 15"}
    title = f"append to visible, {writers} writers"
    return [Figure(f"{title}: {name}", "s", took, goals[name]) for name, took in seen.items()]


def database_of(cluster: Cluster, name: str) -> str:
    """Make a database beside that of the replicas, and return its address."""
    with psycopg.connect(cluster.postgres.url, autocommit=True) as connection:
        connection.execute(f"create database {name}")  # type: ignore[arg-type]  # a name of this folder
    return cluster.postgres.url.rpartition("/")[0] + f"/{name}"


def loaded(
    cluster: Cluster, writers: int, seconds: float, flush: float, goal: str = "", most: str = ""
) -> list[Figure]:
    """So many writers at once; of a hundred also what other servers make of them."""
    took, used = under(cluster, writers, seconds, flush)
    beside = {"uvicorn that keeps nothing": [p99(floor_latencies(writers, min(seconds, 5.0), flush))]}
    if writers == 100:
        for other in others(lambda name: database_of(cluster, f"{name}_load")):
            beside[other.name] = [p99(other.latencies(writers, seconds / 2, flush))]
    title = f"{writers} writers x {METRICS} metrics/s, flush {flush:g} s"
    return [
        Figure(f"{title}: p99", "ms", [p99(took)], goal, beside),
        Figure(f"{title}: cores", "cores", [used], most),
        *as_shippers(cluster, writers, seconds),
    ]


def as_shippers(cluster: Cluster, writers: int, seconds: float) -> list[Figure]:
    """The same writers, each of which comes back when its last answer says: those answered together come together."""
    took, used = under(cluster, writers, seconds, None)
    title = f"{writers} writers x {METRICS} metrics/s, back when the answer says"
    return [
        Figure(f"{title}: p99", "ms", [p99(took)]),
        Figure(f"{title}: flushes/s", "", [len(took) / seconds], is_rate=True),
        Figure(f"{title}: cores", "cores", [used]),
    ]


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    figures: list[Figure] = []
    with folder() as place:
        cluster = Cluster.start(place, "fsync=on", objects=objects(place))
        try:
            for load in ((3, 1.0, 0.5),) if quick else LOADS:
                figures += loaded(cluster, *load)
            figures += visible(cluster, *((3, 1.0) if quick else (100, 20.0)))
            figures += shipped_in_bulk(cluster, *((2, 1_000) if quick else (20, 65_536)))
        finally:
            cluster.stop()
    return figures


if __name__ == "__main__":
    main(measure)
