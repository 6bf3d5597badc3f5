"""Tracking servers of others, which get the same load: MLflow's and FastTrackML's, by the calls that both have.

NAIAD_BENCH_PEERS names an environment with them, which these commands make; without it nothing of others is measured:

    python -m venv PEERS && PEERS/bin/pip install "mlflow>=3" psycopg2-binary
    PEERS/bin/pip install --no-deps fasttrackml      (it is one program; its list of packages asks for MLflow 2)
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import random
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures import folder
from loads import METRICS, Connection, free_port, together

API, MEDIA = "/api/2.0/mlflow", "application/json"
AT_ONCE = 1000
"""Metrics of a request: the most that both take."""
PROGRAMS = {
    "mlflow server": (
        ["mlflow", "server", "--workers", "2", "--port", "{port}", "--backend-store-uri"],
        "sqlite:///{folder}/mlflow.db",
    ),
    "fasttrackml": (["fml", "server", "--listen-address", "127.0.0.1:{port}", "--database-uri"], "sqlite://{folder}/f"),
}


@dataclass(frozen=True)
class OtherServer:
    """A running server of another tracker."""

    name: str
    port: int
    database: str

    def latencies(self, writers: int, seconds: float, flush: float) -> list[float]:
        """Durations of a flush of writers that log ten metrics a second; one that fails took a minute."""
        took: list[float] = []

        async def write(number: int) -> None:
            connection = Connection(self.port, "")
            run = await self._run(connection)
            step, until = 0, time.monotonic() + seconds
            await asyncio.sleep(flush * (number % 97) / 97)
            while time.monotonic() < until:
                count = round(flush)
                began = time.perf_counter()
                try:
                    await asyncio.wait_for(self._log(connection, run, step, count), 60)
                    took.append(time.perf_counter() - began)
                except (AssertionError, OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
                    took.append(60.0)
                    connection.close()
                    connection = Connection(self.port, "")
                step += count
                await asyncio.sleep(max(0.0, flush - (time.perf_counter() - began)))
            connection.close()

        asyncio.run(together(write, writers))
        return took

    def take(self, clients: int, requests: int) -> tuple[float, list[str]]:
        """Send runs of ten series, as fast as their requests are answered; return the seconds, and the runs."""
        runs: list[str] = []

        async def send(_number: int) -> None:
            connection = Connection(self.port, "")
            run = await self._run(connection)
            runs.append(run)
            for request in range(requests):
                await self._log(connection, run, request * AT_ONCE // METRICS, AT_ONCE // METRICS, tries=3)
            connection.close()

        began = time.perf_counter()
        asyncio.run(together(send, clients))
        return time.perf_counter() - began, runs

    def make_table(self, runs: int, attributes: int) -> None:
        """Make runs with so many values each, half of them numbers (`p1`) and half of them texts (`p0`)."""
        rng = random.Random(runs)

        async def make(first: int) -> None:
            connection = Connection(self.port, "")
            for _ in range(first, runs, 8):
                run, now = await self._run(connection), round(time.time() * 1000)
                numbers = [
                    {"key": f"p{each}", "value": rng.random(), "timestamp": now, "step": 0}
                    for each in range(1, attributes, 2)
                ]
                texts = [{"key": f"p{each}", "value": f"v{rng.randrange(100)}"} for each in range(0, attributes, 2)]
                await self._post(connection, 3, run_id=run, metrics=numbers, params=texts)
            connection.close()

        asyncio.run(together(make, 8))

    def search(self, found: str = "", order: str = "", limit: int = 50) -> Callable[[], object]:
        """Return a function that asks for a page of runs."""
        wanted = {"experiment_ids": ["0"], "filter": found, "order_by": [order] * bool(order), "max_results": limit}
        return lambda: self._ask("POST", f"{API}/runs/search", json.dumps(wanted))

    def history(self, run: str, name: str) -> Callable[[], object]:
        """Return a function that reads all points of a series."""
        return lambda: self._ask("GET", f"{API}/metrics/get-history?run_id={run}&metric_key={name}&max_results=25000")

    def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body, {"content-type": MEDIA})
            answer = connection.getresponse()
            found = answer.read()
            assert answer.status == 200, found
            return json.loads(found)
        finally:
            connection.close()

    async def _run(self, connection: Connection) -> str:
        body = json.dumps({"experiment_id": "0", "start_time": round(time.time() * 1000)}).encode()
        made = json.loads(await connection.post(f"{API}/runs/create", body, media=MEDIA))
        return str(made["run"]["info"]["run_id"])

    async def _log(self, connection: Connection, run: str, step: int, count: int, tries: int = 1) -> None:
        """Send so many steps of ten series."""
        now = round(time.time() * 1000)
        metrics = [
            {"key": f"m{each}", "value": random.gauss(1.0, 0.1), "timestamp": now, "step": step + at}
            for at in range(count)
            for each in range(METRICS)
        ]
        await self._post(connection, tries, run_id=run, metrics=metrics)

    async def _post(self, connection: Connection, tries: int, **body: Any) -> None:
        """Send a batch; again over a new connection, if the server has ended this one."""
        for left in range(tries - 1, -1, -1):
            try:
                await connection.post(f"{API}/runs/log-batch", json.dumps(body).encode(), media=MEDIA)
                return
            except (asyncio.IncompleteReadError, ConnectionError):
                connection.close()
                if not left:
                    raise


def others(database: Callable[[str], str] | None = None) -> Iterator[OtherServer]:
    """Start the servers one after the other: each ends when the next one is asked for.

    `database` makes a database for one of them and returns its address; without it they keep a file.
    """
    named = os.environ.get("NAIAD_BENCH_PEERS")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # which may have naiad's
    for name, ((program, *options), file) in PROGRAMS.items() if named else ():
        command, port = Path(named or "", "bin", program), free_port()
        if not command.exists():
            continue
        with folder() as place:
            uri = file.format(folder=place) if database is None else database(program)
            arguments = [each.format(port=port) for each in options]
            with (place / "log").open("wb") as log:
                process = subprocess.Popen([command, *arguments, uri], stdout=log, stderr=log, env=environment)
            try:
                until = time.monotonic() + 120
                while not _answers(port):
                    assert process.poll() is None, (place / "log").read_text()
                    assert time.monotonic() < until, name
                    time.sleep(0.5)
                yield OtherServer(name, port, uri)
            finally:
                process.terminate()
                process.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
        return True
    return False
