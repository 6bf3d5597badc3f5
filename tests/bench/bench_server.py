"""The folder server under simulated writers, over real HTTP: latency of a flush, cores, points accepted a second.

Writers keep their connection, as the shipper does. CPU time is that of the server and of its process that folds. The
floor is a server of the same kind (uvicorn, h11) that answers the same requests with an empty body, and keeps nothing.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
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
    found["value"] = np.random.default_rng(start).normal(1.0, 0.1, count)
    found["time"] = time.time() + numbers * 0.001
    found["fid"] = numbers % METRICS + 1
    found["at"] = start + numbers * RECORD
    return found.tobytes()


def beginning(writer: str) -> bytes:
    """The first frame of a writer: it defines its series."""
    now = time.time()
    ops: list[Any] = [Open(writer, 1, "bench", "b", 1, "owner", now)]
    return encode_frame(0, encode_ops([*ops, *(Define(n + 1, f"metrics/m{n}", False, now) for n in range(METRICS))]))


class Connection:
    """A connection that stays open, with no more of HTTP than these requests need."""

    def __init__(self, port: int, token: str) -> None:
        self._port, self._token = port, token
        self._reader: asyncio.StreamReader | None = None

    async def post(self, path: str, body: bytes, encoding: str = "") -> bytes:
        """Send a request, and return the body of its answer, which has to be 200."""
        if self._reader is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        more = f"content-encoding: {encoding}\r\n" if encoding else ""
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {self._token}\r\n{more}"
            f"accept: application/msgpack\r\ncontent-type: application/msgpack\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        size = next(int(line[15:]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return await self._reader.readexactly(size)

    def close(self) -> None:
        """Give it back."""
        if self._reader is not None:
            self._writer.close()


async def write(port: int, token: str, number: int, seconds: float, flush: float, took: list[float]) -> None:
    """One writer: ten points a second, sent at each flush, until the time is over."""
    connection, uid, writer = Connection(port, token), f"bench-{number}", f"{number}-bench"
    body = {"uid": uid, "kind": "run", "project": "bench", "created": time.time()}
    await connection.post("/api/v1/runs", msgspec.msgpack.encode(body))
    ops = beginning(writer)
    await connection.post("/api/v1/journal", journal(uid, writer, [(f"{writer}.000001.ops", 16, ops)]))
    await asyncio.sleep(flush * (number % 97) / 97)
    at, until = 64, time.monotonic() + seconds
    while time.monotonic() < until:
        data = records(at, round(METRICS * flush))
        sent = journal(uid, writer, [(f"{writer}.000001.seg", at, data)])
        began = time.perf_counter()
        await connection.post("/api/v1/journal", sent)
        took.append(time.perf_counter() - began)
        at += len(data)
        await asyncio.sleep(max(0.0, flush - (time.perf_counter() - began)))
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


def floor_latencies(writers: int, seconds: float, flush: float) -> list[float]:
    """The same requests at a server that keeps nothing."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", FLOOR % port])
    try:
        took: list[float] = []
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.1)
        asyncio.run(together(lambda number: write(port, "x", number, seconds, flush, took), writers))
        return took
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
    goals = {100: ("<= 50", "<= 0.25"), 1000: ("<= 100", "<= 0.6")}
    figures: list[Figure] = []
    with folder() as place:
        for writers, seconds, flush in loads:
            server = Server(place / f"store-{writers}").start("--init")
            try:
                process = psutil.Process(server.process.pid) if server.process else psutil.Process()
                took: list[float] = []
                before, began = cpu(process), time.monotonic()
                port, token = server.port, server.token
                asyncio.run(
                    together(
                        lambda number, took=took, port=port, token=token, of=(seconds, flush): write(
                            port, token, number, *of, took
                        ),
                        writers,
                    )
                )
                cores = (cpu(process) - before) / (time.monotonic() - began)
            finally:
                server.stop()
            goal, most = goals.get(writers, ("", ""))
            title = f"{writers} writers x {METRICS} metrics/s, flush {flush:g} s"
            beside = {"uvicorn that keeps nothing": [p99(floor_latencies(writers, min(seconds, 5.0), flush))]}
            figures.append(Figure(f"{title}: p99", "ms", [p99(took)], goal, beside))
            figures.append(Figure(f"{title}: cores", "cores", [cores], most))
        figures += shipped_in_bulk(place / "bulk", *((2, 1_000) if quick else (20, 65_536)))
    return figures


def shipped_in_bulk(store: Path, pieces: int, points: int) -> list[Figure]:
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
    total = 2 * pieces * points / 1e6
    return [
        Figure("accepted in bulk by 2 clients, folded meanwhile", "M/s", [total / wall], ">= 1.5", is_rate=True),
        Figure("accepted in bulk, a core-second with that of the fold", "M/s", [total / spent], is_rate=True),
    ]


if __name__ == "__main__":
    main(measure)
