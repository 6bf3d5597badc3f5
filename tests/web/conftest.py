"""A real server in a process of its own, over a store made by the public functions, and a small client."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-c", "from naiad.cli import main; main()"]


@dataclass
class Reply:
    """An answer: its status, headers and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str:
        return self.headers.get(name.lower(), "")


@dataclass
class Server:
    """A server that runs, and the token that it printed."""

    port: int
    token: str
    process: subprocess.Popen[str]
    url: str
    said: list[str] = field(default_factory=list)
    reading: threading.Thread = field(default_factory=threading.Thread)

    def send(self, method: str, target: str, body: Any = None, *, token: str | None = "", **headers: str) -> Reply:
        """Send a request as it is written, without any header that is not named here."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token or self.token}")
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        host = sent.pop("Host", None)
        connection.putrequest(method, target, skip_host=host is not None, skip_accept_encoding=True)
        if host is not None:
            connection.putheader("Host", host)
        for name, value in sent.items():
            connection.putheader(name, value)
        if data is not None:
            connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data)
        answer = connection.getresponse()
        found = Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        connection.close()
        return found

    def get(self, route: str, **parameters: Any) -> Any:
        """Return the JSON of a route that answers."""
        reply = self.send("GET", target(route, **parameters))
        assert reply.status == 200, reply.body[:500]
        return reply.json

    def change(self, method: str, route: str, body: Any, **headers: str) -> Reply:
        """Send a change as the pages do."""
        return self.send(method, f"/api/v1{route}", body, Sec_Fetch_Site="same-origin", **headers)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        self.reading.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()


def target(route: str, **parameters: Any) -> str:
    """Path and query of a route."""
    pairs = [(name.rstrip("_"), value) for name, value in parameters.items() if value is not None]
    query = urlencode(pairs, doseq=True)
    return f"/api/v1{route}" + (f"?{query}" if query else "")


def start(store: Path, state: Path, *options: str, **environment: str) -> Server:
    """Start `naiad ui` on a free port, and wait for the address that it prints."""
    process = subprocess.Popen(
        [*COMMAND, "--store", str(store), "ui", "--no-browser", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(state), **environment},
    )
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert "#token=" in line, line + process.stdout.read()
    url, _, token = line.partition("/#token=")
    server = Server(int(url.rpartition(":")[2]), token, process, url)
    server.reading = threading.Thread(target=lambda: server.said.extend(process.stdout or ()), daemon=True)
    server.reading.start()
    return server


def load(name: str) -> Any:
    """Import a module of this folder by its file."""
    spec = importlib.util.spec_from_file_location(f"web_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with twelve runs, one of them with every kind of field: DIGITS-13."""
    store = tmp_path_factory.mktemp("web") / "store"
    subprocess.run([sys.executable, str(HERE / "demo_store.py"), str(store), "12"], check=True, capture_output=True)
    return store


@pytest.fixture(scope="session")
def server(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that changes nothing."""
    running = start(demo, tmp_path_factory.mktemp("state"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def editing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with `--edit` over a store of its own: runs DIGITS-1 to DIGITS-3 and DIGITS-4 with everything."""
    store = tmp_path_factory.mktemp("edit") / "store"
    subprocess.run([sys.executable, str(HERE / "demo_store.py"), str(store), "3"], check=True, capture_output=True)
    running = start(store, tmp_path_factory.mktemp("state"), "--edit")
    yield running
    running.stop()
