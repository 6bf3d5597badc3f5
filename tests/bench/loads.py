"""Simulated writers: what programs send to a server, over connections of asyncio that cost next to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import zstandard

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))
from server_client import planes

from naiad.ops import Define, Open, encode_ops
from naiad.storage.local.journal.frames import encode_frame

RECORD = 32
METRICS = 10


def records(start: int, count: int, series: int = METRICS) -> bytes:
    """Records of some series in turns, from an offset in their segment."""
    found = np.zeros(
        count, np.dtype([("step", "<i8"), ("value", "<f8"), ("time", "<f8"), ("fid", "<u4"), ("at", "<u4")])
    )
    numbers = np.arange(count)
    found["step"] = (start - 64) // RECORD // series + numbers // series
    # of float32 origin, as the loss of a training is; a float64 has three bytes more that nothing compresses
    found["value"] = np.random.default_rng(start).normal(1.0, 0.1, count).astype(np.float32)
    found["time"] = time.time() + numbers * 0.001
    found["fid"] = numbers % series + 1
    found["at"] = start + numbers * RECORD
    return found.tobytes()


def beginning(writer: str, series: int = METRICS) -> bytes:
    """The first frame of a writer: it defines its series."""
    now = time.time()
    ops: list[Any] = [Open(writer, 1, "bench", "b", 1, "owner", now)]
    return encode_frame(0, encode_ops([*ops, *(Define(n + 1, f"metrics/m{n}", False, now) for n in range(series))]))


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


def shipment(uid: str, pieces: int, points: int, series: int = METRICS) -> Iterator[bytes]:
    """The requests of a client that ships a long run in pieces of so many points."""
    writer = f"{uid.rpartition('-')[2]}-bulk"
    packer = zstandard.ZstdCompressor(level=1)
    yield packer.compress(journal(uid, writer, [(f"{writer}.000001.ops", 16, beginning(writer, series))]))
    for piece in range(pieces):
        at = 64 + piece * points * RECORD
        data = records(at, points, series)
        yield packer.compress(journal(uid, writer, [(f"{writer}.000001.seg", at, data)], 1))


async def ship(port: int, token: str, uid: str, requests: Iterable[bytes]) -> None:
    """One client that ships as fast as its requests are taken."""
    connection = Connection(port, token)
    body = {"uid": uid, "kind": "run", "project": "bench", "created": time.time()}
    await connection.post("/api/v1/runs", msgspec.msgpack.encode(body))
    for each in requests:
        await connection.post("/api/v1/journal", each, "zstd")
    connection.close()


async def together(start: Callable[[int], Any], count: int) -> None:
    """Run so many of them at once."""
    await asyncio.gather(*(start(number) for number in range(count)))


def p99(took: Sequence[float]) -> float:
    """In milliseconds."""
    return 1000 * (statistics.quantiles(took, n=100)[98] if len(took) > 1 else took[0])


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def cpu(*roots: psutil.Process) -> float:
    """CPU seconds so far of these processes and of all below them, also of those that have ended."""
    total = 0.0
    for root in roots:
        for each in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):  # ended just now: its parent has its seconds
                total += sum(each.cpu_times()[:4])
    return total
