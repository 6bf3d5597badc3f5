"""Two replicas over PostgreSQL and S3 under simulated writers: latency of a flush, cores, bytes a point, reads.

Writers keep their connection, as the shipper does; half of them ask each replica. CPU time is that of all replicas,
their workers and PostgreSQL. PostgreSQL syncs its log here: an answer means that the bytes are on the disk.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from pathlib import Path

import psutil
from figures import Figure, folder, main

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))
from bench_server import METRICS, bulk, p99, prepared, together, write
from postgres_server import Cluster, wait_for

from naiad.storage.local.store import Store
from naiad.storage.remote.store import RemoteStore

LOADS = ((100, 20.0, 1.0, "<= 50", "<= 0.25"), (1_000, 20.0, 2.0, "<= 100", "<= 0.6"))


def spent(cluster: Cluster) -> dict[int, float]:
    """CPU seconds so far of each process of the replicas, with their workers, and of the database."""
    roots = [each.process for each in (*cluster.replicas, cluster.postgres) if each.process is not None]
    found: dict[int, float] = {}
    for root in roots:
        process = psutil.Process(root.pid)
        for each in (process, *process.children(recursive=True)):
            times = each.cpu_times()
            found[each.pid] = times.user + times.system
    return found


def cores(before: dict[int, float], after: dict[int, float], seconds: float) -> float:
    """Cores that were in use on average."""
    return sum(now - before.get(pid, 0.0) for pid, now in after.items()) / seconds


def under(cluster: Cluster, writers: int, seconds: float, flush: float) -> tuple[list[float], float]:
    """The latencies of so many writers, and the cores that they cost."""
    took: list[float] = []
    ports = [each.port for each in cluster.replicas]
    before, began = spent(cluster), time.monotonic()
    asyncio.run(together(lambda number: write(ports[number % 2], cluster.token, number, seconds, flush, took), writers))
    return took, cores(before, spent(cluster), time.monotonic() - began)


def shipped_in_bulk(cluster: Cluster, pieces: int, points: int) -> list[Figure]:
    """Two clients ship long runs at once; then all of it is folded and read."""
    cluster.empty()
    bodies = [prepared(number, pieces, points) for number in range(2)]
    ports = [each.port for each in cluster.replicas]
    before, began = spent(cluster), time.monotonic()
    asyncio.run(together(lambda number: bulk(ports[number], cluster.token, number, bodies[number]), 2))
    wall = time.monotonic() - began
    wait_for(lambda: cluster.ask("select count(*) from naiad.inbox") == [(0,)], "the folds", 300)
    used = sum(now - before.get(pid, 0.0) for pid, now in spent(cluster).items())
    total = 2 * pieces * points
    [(stored,)] = cluster.ask(
        "select (select coalesce(sum(octet_length(data) + coalesce(octet_length(pyramid), 0)), 0) from naiad.run_chunk)"
        " + (select coalesce(sum(octet_length(data)), 0) from naiad.run_pack)"
    )
    os.environ["NAIAD_API_TOKEN"] = cluster.token
    store = RemoteStore(cluster.replicas[0].url, Store(cluster.folder / "empty"))
    reader = store.reader(store.catalog().summaries()[0].run)
    charts = []
    for _ in range(10):
        began = time.perf_counter()
        reader.chart("metrics/m0")
        charts.append(1000 * (time.perf_counter() - began))
    return [
        Figure("accepted in bulk by 2 clients, folded meanwhile", "M/s", [total / wall / 1e6], ">= 1.5", is_rate=True),
        Figure("accepted and folded, a core-second of everything", "M/s", [total / used / 1e6], is_rate=True),
        Figure("bytes a point in the database, with pyramids", "B", [float(stored) / total], "<= 4.5"),
        Figure(f"chart of {pieces * points / METRICS:,.0f} points, HTTP", "ms", [statistics.median(charts)], "<= 5"),
    ]


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    figures: list[Figure] = []
    with folder() as place:
        cluster = Cluster.start(place, "fsync=on")
        try:
            for writers, seconds, flush, goal, most in ((3, 1.0, 0.5, "", ""),) if quick else LOADS:
                took, used = under(cluster, writers, seconds, flush)
                title = f"{writers} writers x {METRICS} metrics/s, flush {flush:g} s"
                figures.append(Figure(f"{title}: p99", "ms", [p99(took)], goal))
                figures.append(Figure(f"{title}: cores", "cores", [used], most))
            figures += shipped_in_bulk(cluster, *((2, 1_000) if quick else (20, 65_536)))
        finally:
            cluster.stop()
    return figures


if __name__ == "__main__":
    main(measure)
