"""The folder server under simulated writers, over real HTTP: latency of a flush, cores, points accepted a second.

Writers keep their connection, as the shipper does. CPU time is that of the server and of its process that folds. The
floor is a server of the same kind (uvicorn, h11) that answers the same requests with an empty body, and keeps nothing.

The same load goes to the servers of others, if NAIAD_BENCH_PEERS is set: see other_servers.py.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from figures import Figure, folder, main
from loads import METRICS, cpu, free_port, p99, ship, shipment, together, write
from other_servers import others
from server_client import Server

FLOOR = """
import uvicorn
async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})
uvicorn.run(app, port=%d, http="h11", log_level="critical")
"""


def floor_latencies(writers: int, seconds: float, flush: float) -> list[float]:
    """The same requests at a server that keeps nothing."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", FLOOR % port])
    try:
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.1)
        return asyncio.run(write([port], "x", writers, seconds, flush))
    finally:
        process.terminate()
        process.wait()


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    loads = [(3, 1.0, 0.5)] if quick else [(100, 20.0, 1.0), (1000, 20.0, 2.0)]
    figures: list[Figure] = []
    costs: dict[str, float] = {}
    with folder() as place:
        for writers, seconds, flush in loads:
            figures += under_load(place, writers, seconds, flush, costs)
        figures += shipped_in_bulk(place / "bulk", *((2, 1_000) if quick else (20, 65_536)), costs)
        figures += appended(place, *((1, 200) if quick else (20, 50_000)))
    return [*figures, *modelled(costs)]


def under_load(place: Path, writers: int, seconds: float, flush: float, costs: dict[str, float]) -> list[Figure]:
    """So many writers at once."""
    goals = {100: ("<= 50", "<= 0.25"), 1000: ("<= 100", "<= 0.6")}
    server = Server(place / f"store-{writers}").start("--init")
    since: list[tuple[float, float]] = []
    try:
        process = psutil.Process(server.process.pid) if server.process else psutil.Process()

        def begun() -> None:
            since.append((cpu(process), time.monotonic()))

        took = asyncio.run(write([server.port], server.token, writers, seconds, flush, begun))
        [(before, began)] = since
        spent, wall = cpu(process) - before, time.monotonic() - began
    finally:
        server.stop()
    costs["request"] = spent / len(took)
    goal, most = goals.get(writers, ("", ""))
    title = f"{writers} writers x {METRICS} metrics/s, flush {flush:g} s"
    beside = {"uvicorn that keeps nothing": [p99(floor_latencies(writers, min(seconds, 5.0), flush))]}
    for other in others():
        beside[other.name] = [p99(other.latencies(writers, seconds, flush))]
    return [
        Figure(f"{title}: p99", "ms", [p99(took)], goal, beside),
        Figure(f"{title}: cores", "cores", [spent / wall], most),
        Figure(f"{title}: CPU a request", "us", [1e6 * costs["request"]]),
    ]


def shipped_in_bulk(store: Path, pieces: int, points: int, costs: dict[str, float]) -> list[Figure]:
    """Two clients ship long runs at once."""
    bodies = [[*shipment(f"bulk-{number}", pieces, points)] for number in range(2)]
    server = Server(store).start("--init")
    try:
        process = psutil.Process(server.process.pid) if server.process else psutil.Process()
        before, began = cpu(process), time.monotonic()
        asyncio.run(together(lambda number: ship(server.port, server.token, f"bulk-{number}", bodies[number]), 2))
        wall, spent = time.monotonic() - began, cpu(process) - before
    finally:
        server.stop()
    count = 2 * pieces * points
    costs["point"] = spent / count
    costs["wire"] = sum(len(body) for each in bodies for body in each) / count
    _definitions, *flushes = shipment("wire-0", 100, 100)
    small = sum(map(len, flushes)) / 10_000
    return [
        Figure("accepted in bulk by 2 clients, folded meanwhile", "M/s", [count / 1e6 / wall], ">= 1.5", is_rate=True),
        Figure("accepted in bulk, a core-second with that of the fold", "M/s", [count / 1e6 / spent], is_rate=True),
        Figure("accepted in bulk, on the wire", "B/point", [costs["wire"]], "<= 7"),
        Figure("in requests of 100 points, on the wire", "B/point", [small], "<= 9"),
    ]


def appended(place: Path, pairs: int, points: int) -> list[Figure]:
    """The latency of an append without a server, and with one to which the points are shipped meanwhile."""
    import naiad

    server = Server(place / "appended").start("--init")
    os.environ.update(NAIAD_API_TOKEN=server.token, NAIAD_LOCAL_STORE=str(place / "local"), NAIAD_QUIET="1")
    os.environ["NAIAD_CAPTURES"] = "off"

    def took(store: str) -> list[float]:
        found = np.zeros(points)
        with naiad.init_run(store=store, project="append") as run:
            series = run["loss"]
            for step in range(points):
                began = time.perf_counter()
                series.append(0.5, step=step)
                found[step] = time.perf_counter() - began
        return [1e6 * float(np.quantile(found, share)) for share in (0.5, 0.999)]

    try:
        places = (str(place / "alone"), f"http://127.0.0.1:{server.port}")
        rounds = [[took(each) for each in places] for _ in range(pairs)]
    finally:
        server.stop()
    titles = ("append, shipped meanwhile: p50", "append, shipped meanwhile: p99.9")
    return [
        Figure(title, "us", [shipped[at] for _alone, shipped in rounds], "<= 5 %",
               {"without a server": [alone[at] for alone, _shipped in rounds]})
        for at, title in enumerate(titles)
    ]  # fmt: skip


def modelled(costs: dict[str, float]) -> list[Figure]:
    """What loads that this machine cannot carry would take, by the costs of a request and of a point above."""
    rows = ((1_000, 10, 2.0), (1_000, 1_000, 2.0), (10_000, 100, 5.0))
    found = []
    for writers, metrics, flush in rows:
        cores = writers / flush * costs["request"] + writers * metrics * costs["point"]
        found.append(Figure(f"model: {writers:,} writers x {metrics:,} metrics/s, flush {flush:g} s", "cores", [cores]))
    return [*found, Figure("model: 10^12 points, on the wire", "TB", [1e12 * costs["wire"] / 1e12])]


if __name__ == "__main__":
    main(measure)
