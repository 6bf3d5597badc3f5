"""A small client of the server's protocol, written from core/docs/server-protocol.md, and a server in a process."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec
import psutil

T = TypeVar("T")
RECORD = 32
HEADER = {"seg": 64, "ops": 16}
PROXY = "127.0.0.2"
"""The address of the proxy that servers trust: another one of this machine than that of all other clients."""
COMMAND = [sys.executable, "-c", "from naiad.cli import main; main()"]
QUIET = {
    "capture_hardware_metrics": False, "capture_stdout": False, "capture_stderr": False, "capture_traceback": False,
    "git_ref": False, "source_files": [],
}  # fmt: skip
"""Options of runs of which a test looks at everything."""


@dataclass
class Reply:
    """An answer: its status, headers and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        is_packed = self.headers.get("content-type", "").startswith("application/msgpack")
        return msgspec.msgpack.decode(self.body) if is_packed else json.loads(self.body)


class AnyServer:
    """A server over a folder or a database, as its clients and its operator see it."""

    port: int
    token: str

    def place(self) -> tuple[list[str], dict[str, str]]:
        """The options and variables that name it to `naiad server`."""
        raise NotImplementedError

    def texts(self) -> Iterator[tuple[str, bytes]]:
        """Everything that it has stored and written, with the name of each."""
        raise NotImplementedError

    def processes(self) -> list[int]:
        """The processes that it consists of."""
        raise NotImplementedError

    def is_settled(self, uid: str) -> bool:
        """Whether everything that it has received of a run that is over is folded and in its place."""
        raise NotImplementedError

    def has(self, uid: str) -> bool:
        """Whether it stores anything of a run."""
        raise NotImplementedError

    def has_folded(self, uid: str) -> bool:
        """Whether there was a fold of a run."""
        raise NotImplementedError

    def command(self, *arguments: str, code: int = 0) -> str:
        """The output of a command of `naiad server`, which has to end with a code."""
        done = self._done(*arguments)
        assert code == done.returncode, done.stdout + done.stderr
        return done.stdout

    def damages(self, run: Reply) -> list[str]:
        """The damages that `naiad server verify` finds in a registered run; other tests have damaged others."""
        lines = [line.split("\t") for line in self._done("verify").stdout.splitlines()]
        return [what[-1] for name, *what in lines if name in (run.data["uid"], run.data["id"])]

    def _done(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        options, variables = self.place()
        return subprocess.run(
            [*COMMAND, "server", *options, *arguments],
            check=False, capture_output=True, text=True, env={**os.environ, **variables},
        )  # fmt: skip

    def add_token(self, role: str, project: str | None = None) -> str:
        """Make a token by the command."""
        more = ["--project", project] if project else []
        return self.command("token", "add", role, "--role", role, *more).strip()

    def send(
        self, method: str, target: str, body: Any = None, *, token: str | None = "", sender: str = "", **headers: str
    ) -> Reply:
        """Send a request; `token` None: without one, "": with the first one. `sender`: an address of this machine."""
        source = (sender, 0) if sender else None
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60, source_address=source)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token or self.token}")
        data = body
        if body is not None and not isinstance(body, bytes):
            data = msgspec.msgpack.encode(body)
            sent.setdefault("Content-Type", "application/msgpack")
        try:
            connection.request(method, target, data, sent)
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def register(self, uid: str, project: str = "p", *, token: str = "", **more: Any) -> Reply:
        """Register a run."""
        body = {"uid": uid, "kind": "run", "project": project, "created": time.time(), "format": 1, **more}
        return self.send("POST", "/api/v1/runs", body, token=token, Accept="application/msgpack")

    def journal(self, *, token: str = "", **body: Any) -> Reply:
        """Send parts, signs of life and sealed files."""
        body.setdefault("sent", time.time())
        return self.send("POST", "/api/v1/journal", body, token=token, Accept="application/msgpack")


@dataclass
class Server(AnyServer):
    """A server over a folder, in a process of its own."""

    store: Path
    process: subprocess.Popen[str] | None = None
    port: int = 0
    token: str = ""
    said: list[str] = field(default_factory=list)

    def start(self, *arguments: str) -> Server:
        """Start it, and return when it answers."""
        command = [*COMMAND, "server", "--store", str(self.store), "--port", str(self.port), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        is_ready = threading.Event()
        self._reading = threading.Thread(target=self._read, args=(is_ready,), daemon=True)
        self._reading.start()
        assert is_ready.wait(60), self.said
        return self

    def _read(self, is_ready: threading.Event) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self._look(lines, is_ready)
        is_ready.set()

    def _look(self, lines: IO[str], is_ready: threading.Event) -> None:
        assert self.process is not None
        for line in lines:
            self.said.append(line.rstrip("\n"))
            found = re.search(r"naiad server: .* at https?://.*:(\d+)", line)
            self.port = int(found[1]) if found else self.port
            token = re.search(r"shown this once: (naiad_\S+)", line)
            self.token = token[1] if token else self.token
            if found and not any("--init" in each for each in self.process.args):  # type: ignore[union-attr]
                is_ready.set()
            if "NAIAD_API_TOKEN" in line or "has tokens already" in line:
                is_ready.set()

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self._reading.join(10)

    def stop(self) -> int:
        """End it as an operator would, and return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self._reading.join(10)
        return code

    def place(self) -> tuple[list[str], dict[str, str]]:
        return ["--store", str(self.store)], {}

    def texts(self) -> Iterator[tuple[str, bytes]]:
        for path in self.store.rglob("*"):
            if path.is_file():
                yield str(path), path.read_bytes()
        yield "output", "\n".join(line for line in self.said if self.token not in line).encode()

    def is_settled(self, uid: str) -> bool:
        return (self.store / "runs" / uid / "seal.json").exists()

    def has_folded(self, uid: str) -> bool:
        return (self.store / "runs" / uid / "run.db").exists()

    def has(self, uid: str) -> bool:
        return (self.store / "runs" / uid).exists()

    def processes(self) -> list[int]:
        assert self.process is not None
        return [self.process.pid, *(each.pid for each in psutil.Process(self.process.pid).children(recursive=True))]


def content(path: Path) -> bytes:
    """The bytes of a journal file that may be sent, without its header."""
    suffix = path.suffix[1:]
    data = path.read_bytes()[HEADER[suffix] :]
    if suffix == "seg":
        at = 0
        while at + RECORD <= len(data) and int.from_bytes(data[at + 28 : at + 32], "little") == at + HEADER["seg"]:
            at += RECORD
        return data[:at]
    at = 0
    while at + 16 <= len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        if not size or at + 16 + size > len(data):
            break
        at += 16 + size
    return data[:at]


def planes(data: bytes) -> bytes:
    """Records, plane by plane."""
    return b"".join(data[at::RECORD] for at in range(RECORD))


def part(uid: str, file: str, start: int, data: bytes, codec: int = 0) -> list[Any]:
    """A part of a journal file."""
    return [uid, file, start, codec, zlib.crc32(data), planes(data) if codec else data]


def journal_files(folder: Path) -> Iterator[tuple[str, int, bytes]]:
    """Name, length of the header and content of each file of a run's journal, segments first."""
    files = [each for each in (folder / "journal").iterdir() if each.suffix in (".seg", ".ops")]
    for path in sorted(files, key=lambda each: (each.suffix != ".seg", each.name)):
        data = content(path)
        if data:
            yield path.name, HEADER[path.suffix[1:]], data


def ship(server: AnyServer, folder: Path, *, token: str = "", uid: str | None = None) -> Reply:
    """Send all of a stopped run at once."""
    files = [*journal_files(folder)]
    uid = uid or folder.name
    return server.journal(
        token=token,
        parts=[part(uid, name, start, data) for name, start, data in files],
        sealed=[[uid, name, start + len(data), zlib.crc32(data)] for name, start, data in files],
        writers=[[uid, writer, False] for writer in sorted({name.partition(".")[0] for name, _start, _data in files})],
    )


def environment() -> dict[str, str]:
    """The environment of programs that log."""
    return {**os.environ, "NAIAD_QUIET": "1", "DO_NOT_TRACK": "1"}


def run_apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread of its own: Playwright leaves a loop running in that of a worker's tests."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
