"""The folder server under simulated writers, over real HTTP: latency of a flush, cores, points accepted a second.

Writers keep their connection, as the shipper does. CPU time is that of the server and of its process that folds. The
floor is a server of the same kind (uvicorn, h11) that answers the same requests with an empty body, and keeps nothing.

NAIAD_BENCH_PEERS names an environment that has MLflow or FastTrackML: the same load goes to their servers by their own
batch call, beside. `python -m venv PEERS && PEERS/bin/pip install mlflow fasttrackml` makes one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import zstandard
from figures import Figure, folder, main

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))
from server_client import Server, planes

from naiad.ops import Define, Open, encode_ops
from naiad.storage.local.journal.frames import encode_frame

RECORD = 32
RECORD_TYPE = np.dtype([("step", "<i8"), ("value", "<f8"), ("time", "<f8"), ("fid", "<u4"), ("at", "<u4")])
METRICS = 10
FLOOR = """
import uvicorn
async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})
uvicorn.run(app, port=%d, http="h11", log_level="critical")
"""


def records(start: int, count: int) -> bytes:
    """Records of ten series, from an offset in their segment."""
    found = np.zeros(
        count, np.dtype([("step", "<i8"), ("value", "<f8"), ("time", "<f8"), ("fid", "<u4"), ("at", "<u4")])
    )
    numbers = np.arange(count)
    found["step"] = (start - 64) // RECORD // METRICS + numbers // METRICS
    # of float32 origin, as the loss of a training is; a float64 has three bytes more that nothing compresses
    found["value"] = np.random.default_rng(start).normal(1.0, 0.1, count).astype(np.float32)
    found["time"] = time.time() + numbers * 0.001
    found["fid"] = numbers % METRICS + 1
    found["at"] = start + numbers * RECORD
    return found.tobytes()


def beginning(writer: str) -> bytes:
    """The first frame of a writer: it defines its series."""
    now = time.time()
    ops: list[Any] = [Open(writer, 1, "bench", "b", 1, "owner", now)]
    return encode_frame(0, encode_ops([*ops, *(Define(n + 1, f"metrics/m{n}", False, now) for n in range(METRICS))]))


_LOADS = itertools.count()


class Connection:
    """A connection that stays open, with no more of HTTP than these requests need."""

    def __init__(self, port: int, token: str) -> None:
        self._port, self._token = port, token
        self._reader: asyncio.StreamReader | None = None

    async def post(self, path: str, body: bytes, encoding: str = "", media: str = "application/msgpack") -> bytes:
        """Send a request, and return the body of its answer, which has to be 200."""
        if self._reader is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        more = f"content-encoding: {encoding}\r\n" if encoding else ""
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {self._token}\r\n{more}"
            f"accept: {media}\r\ncontent-type: {media}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        size = next(int(line[15:]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return await self._reader.readexactly(size)

    def close(self) -> None:
        """Give it back; the next request opens another one."""
        if self._reader is not None:
            self._writer.close()
            self._reader = None


async def write(
    ports: Sequence[int],
    token: str,
    writers: int,
    seconds: float,
    flush: float | None,
    begun: Callable[[], None] = int,
) -> list[float]:
    """Let so many writers send for some seconds; return the durations of their flushes.

    All are registered first, which is a load of its own: `begun` is called when the first flush is due. Without a
    `flush` in seconds, each comes back when the last answer says, as the shipper does.
    """
    connections = [Connection(ports[number % len(ports)], token) for number in range(writers)]
    first = 10_000 * next(_LOADS)  # runs of their own: bytes that a server has already cost it less
    await together(lambda number: begin(connections[number], first + number), writers)
    begun()
    took: list[float] = []
    await together(lambda number: flush_points(connections[number], first + number, seconds, flush, took), writers)
    return took


async def begin(connection: Connection, number: int) -> None:
    """Register the run of a writer, and define its series."""
    uid, writer = f"bench-{number}", f"{number}-bench"
    body = {"uid": uid, "kind": "run", "project": "bench", "created": time.time()}
    await connection.post("/api/v1/runs", msgspec.msgpack.encode(body))
    ops = beginning(writer)
    await connection.post("/api/v1/journal", journal(uid, writer, [(f"{writer}.000001.ops", 16, ops)]))
    connection.close()  # the server closes one that idles, as this would until all are registered


async def flush_points(
    connection: Connection, number: int, seconds: float, flush: float | None, took: list[float]
) -> None:
    """One writer: ten points a second, sent at each flush, until the time is over."""
    uid, writer = f"bench-{number}", f"{number}-bench"
    passed = flush or 1.0
    await asyncio.sleep(passed * (number % 97) / 97)
    at, until = 64, time.monotonic() + seconds
    while time.monotonic() < until:
        data = records(at, round(METRICS * passed))
        sent = journal(uid, writer, [(f"{writer}.000001.seg", at, data)])
        began = time.perf_counter()
        answer = await connection.post("/api/v1/journal", sent)
        took.append(time.perf_counter() - began)
        at += len(data)
        asked = float(msgspec.msgpack.decode(answer)["after"]) if flush is None else flush - took[-1]
        await asyncio.sleep(max(0.0, asked))
        passed = time.perf_counter() - began
    connection.close()


def journal(uid: str, writer: str, files: Sequence[tuple[str, int, bytes]], codec: int = 0) -> bytes:
    parts = [[uid, name, at, codec, zlib.crc32(data), planes(data) if codec else data] for name, at, data in files]
    return msgspec.msgpack.encode({"sent": time.time(), "writers": [[uid, writer, True]], "parts": parts})


def prepared(number: int, pieces: int, points: int) -> list[bytes]:
    """The requests of a client that ships a long run."""
    uid, writer = f"bulk-{number}", f"{number}-bulk"
    packer = zstandard.ZstdCompressor(level=1)
    found = [packer.compress(journal(uid, writer, [(f"{writer}.000001.ops", 16, beginning(writer))]))]
    for piece in range(pieces):
        at = 64 + piece * points * RECORD
        found.append(packer.compress(journal(uid, writer, [(f"{writer}.000001.seg", at, records(at, points))], 1)))
    return found


async def bulk(port: int, token: str, number: int, bodies: Sequence[bytes]) -> None:
    """One client that ships as fast as its requests are taken."""
    connection = Connection(port, token)
    body = {"uid": f"bulk-{number}", "kind": "run", "project": "bench", "created": time.time()}
    await connection.post("/api/v1/runs", msgspec.msgpack.encode(body))
    for each in bodies:
        await connection.post("/api/v1/journal", each, "zstd")
    connection.close()


def cpu(process: psutil.Process) -> float:
    """CPU seconds of a server so far, with the process that folds."""
    every = [process, *process.children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in every)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


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


async def together(start: Callable[[int], Any], count: int) -> None:
    """Run so many of them at once."""
    await asyncio.gather(*(start(number) for number in range(count)))


def p99(took: Sequence[float]) -> float:
    """In milliseconds."""
    return 1000 * (statistics.quantiles(took, n=100)[98] if len(took) > 1 else took[0])


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
    for name, latencies in peers(writers, seconds, flush).items():
        beside[name] = [p99(latencies)]
    return [
        Figure(f"{title}: p99", "ms", [p99(took)], goal, beside),
        Figure(f"{title}: cores", "cores", [spent / wall], most),
        Figure(f"{title}: CPU a request", "us", [1e6 * costs["request"]]),
    ]


def shipped_in_bulk(store: Path, pieces: int, points: int, costs: dict[str, float]) -> list[Figure]:
    """Two clients ship long runs at once."""
    bodies = [prepared(number, pieces, points) for number in range(2)]
    server = Server(store).start("--init")
    try:
        process = psutil.Process(server.process.pid) if server.process else psutil.Process()
        before, began = cpu(process), time.monotonic()
        asyncio.run(together(lambda number: bulk(server.port, server.token, number, bodies[number]), 2))
        wall, spent = time.monotonic() - began, cpu(process) - before
    finally:
        server.stop()
    count = 2 * pieces * points
    costs["point"] = spent / count
    costs["wire"] = sum(len(body) for each in bodies for body in each) / count
    return [
        Figure("accepted in bulk by 2 clients, folded meanwhile", "M/s", [count / 1e6 / wall], ">= 1.5", is_rate=True),
        Figure("accepted in bulk, a core-second with that of the fold", "M/s", [count / 1e6 / spent], is_rate=True),
        Figure("accepted in bulk, on the wire", "B/point", [costs["wire"]], "<= 7"),
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


# Others, by their own batch call


def peers(
    writers: int, seconds: float, flush: float, database: Callable[[str], str] | None = None
) -> dict[str, list[float]]:
    """Latencies of the same load at the servers of an environment that NAIAD_BENCH_PEERS names.

    `database` makes a database for one of them and returns its address; without it they keep a file.
    """
    named = os.environ.get("NAIAD_BENCH_PEERS")
    if not named:
        return {}
    found: dict[str, list[float]] = {}
    programs = {
        "mlflow server": (["mlflow", "server", "--workers", "2", "--backend-store-uri"], "sqlite:///{0}/mlflow.db"),
        "fasttrackml": (["fml", "server", "--database-uri"], "sqlite://{0}/fml.db"),
    }
    for name, ((program, *options), file) in programs.items():
        command = Path(named) / "bin" / program
        if command.exists():
            with folder() as place:
                port = free_port()
                where = ["--port", str(port)] if program == "mlflow" else ["--listen-address", f"127.0.0.1:{port}"]
                uri = file.format(place) if database is None else database(program)
                found[name] = batches([str(command), *options, uri, *where], port, writers, seconds, flush)
    return found


def batches(command: list[str], port: int, writers: int, seconds: float, flush: float) -> list[float]:
    """Latencies of `runs/log-batch` of writers that log ten metrics a second; one that fails took a minute."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    took: list[float] = []
    api, media = "/api/2.0/mlflow", "application/json"

    async def write_batches(number: int) -> None:
        connection = Connection(port, "")
        body = json.dumps({"experiment_id": "0", "start_time": round(time.time() * 1000)}).encode()
        made = json.loads(await connection.post(f"{api}/runs/create", body, media=media))
        run, step, until = made["run"]["info"]["run_id"], 0, time.monotonic() + seconds
        await asyncio.sleep(flush * (number % 97) / 97)
        while time.monotonic() < until:
            now = round(time.time() * 1000)
            count = round(flush)
            metrics = [
                {"key": f"m{each}", "value": 0.5, "timestamp": now, "step": step + at}
                for at in range(count) for each in range(METRICS)
            ]  # fmt: skip
            step += count
            began = time.perf_counter()
            body = json.dumps({"run_id": run, "metrics": metrics}).encode()
            try:
                await asyncio.wait_for(connection.post(f"{api}/runs/log-batch", body, media=media), 60)
                took.append(time.perf_counter() - began)
            except (AssertionError, OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
                took.append(60.0)
                connection.close()
                connection = Connection(port, "")
            await asyncio.sleep(max(0.0, flush - (time.perf_counter() - began)))
        connection.close()

    try:
        until = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            assert time.monotonic() < until
            time.sleep(0.5)
        asyncio.run(together(write_batches, writers))
    finally:
        process.terminate()
        process.wait()
    return took


if __name__ == "__main__":
    main(measure)
