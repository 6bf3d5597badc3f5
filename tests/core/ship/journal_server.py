"""A small server that takes journals as `core/docs/server-protocol.md` says, with faults on demand.

It is a real HTTP server in a thread. The bytes that it accepted can be read as a run; `naiad server` has its own tests.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from naiad.storage.local.journal.frames import file_header
from naiad.storage.local.journal.segment import with_header
from naiad.storage.local.layout import RunDirectory

TOKEN = "naiad_1_" + "x" * 43
HEADERS = {"seg": 64, "ops": 16}
PART = 400_000
"""Bytes of a part of content."""


class JournalServer:
    """What the server knows. `fault` is called before each answer, and may return a status or raise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[tuple[str, str], bytes] = {}
        self.sealed: dict[tuple[str, str], int] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.custom: dict[tuple[str, str], str] = {}
        self.blobs: dict[str, bytes] = {}
        self.presigned: int | None = None
        """The least size of content that may be sent in parts."""
        self.parts: dict[str, bytes] = {}
        """Parts by their address."""
        self.order: list[str] = []
        """Names of the parts as they came, and `blob`."""
        self.signs: dict[str, bool] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.epoch = "one"
        self.after = 0.05
        self.fault: Callable[[str, str], int | None] = lambda _method, _path: None
        self.cuts_answers = False
        self.connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._http: ThreadingHTTPServer | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen; on the port of before, if there was one."""
        handler = type("Bound", (Handler,), {"owner": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None
        for each in [*self.connections]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Return status and content of the answer to a request below `/api/v1/`."""
        with self._lock:
            if path == "runs":
                return 200, self._register(msgspec.msgpack.decode(body))
            if path == "journal":
                return 200, self._journal(msgspec.msgpack.decode(body))
            if path == "blobs":
                asked = msgspec.msgpack.decode(body)["blobs"]
                have = [name for name, _size in asked if name in self.blobs]
                return 200, {"have": have, "presigned": self.presigned}
            if path.endswith("/upload"):
                return 200, self._upload(path.split("/")[1], msgspec.msgpack.decode(body)["size"])
            if path.startswith("parts/"):
                self.parts[path] = body
                return 200, {}
            if method == "PUT" and path.startswith("blobs/"):
                name = hashlib.sha256(body).hexdigest()
                self.blobs[name] = body
                self.order.append("blob")
                return (200, {"sha256": name}) if path == f"blobs/{name}" else (422, {"type": "Mismatch"})
            if path.startswith("runs/") and path.endswith("/journal"):
                uid = path.split("/")[1]
                upto = {name: self._end(uid, name) for (run, name) in self.files if run == uid}
                return 200, {"uid": uid, "upto": upto, "sealed": [n for run, n in self.sealed if run == uid]}
        return 404, {"type": "NotFound", "detail": path}

    def _upload(self, name: str, size: int) -> dict[str, Any]:
        places = {f"parts/{name}/{start}": start for start in range(0, size, PART)}
        missing = [(start, place) for place, start in places.items() if place not in self.parts]
        if not missing and name not in self.blobs:
            self.blobs[name] = b"".join(self.parts[place] for place in places)
            return {"have": False, "parts": []}  # as while they are hashed
        sizes = [[start, min(PART, size - start), f"{self.url}/api/v1/{place}"] for start, place in missing]
        return {"have": name in self.blobs, "parts": sizes[:2]}

    def _register(self, asked: dict[str, Any]) -> dict[str, Any]:
        custom = asked.get("custom_run_id")
        uid = asked["uid"]
        if custom is not None:
            uid = self.custom.setdefault((asked["project"], custom), uid)
        is_new = uid not in self.runs
        if is_new:
            self.runs[uid] = {**asked, "id": f"SRV-{len(self.runs) + 1}"}
        return {**{name: self.runs[uid][name] for name in ("id", "kind", "project")}, "uid": uid, "is_new": is_new}

    def _end(self, uid: str, name: str) -> int:
        return HEADERS[name.rpartition(".")[2]] + len(self.files.get((uid, name), b""))

    def _journal(self, asked: dict[str, Any]) -> dict[str, Any]:
        refused = []
        self.signs.update({writer: alive for _uid, writer, alive in asked.get("writers", ())})
        touched = {}
        for uid, name, start, codec, crc, data in asked.get("parts", ()):
            if uid not in self.runs:
                refused.append([uid, "", "RunNotFound", "it is not registered"])
                continue
            if codec == 1:
                count = len(data) // 32
                data = b"".join(bytes(data[plane * count + i] for plane in range(32)) for i in range(count))
            if codec == 2:
                data = self.blobs[data.hex()]
            touched[uid, name] = True
            self.order.append(name)
            if zlib.crc32(data) != crc:
                refused.append([uid, name, "BadPart", "its crc is wrong"])
            elif start == self._end(uid, name):
                self.files[uid, name] = self.files.get((uid, name), b"") + data
        for uid, name, end, crc in asked.get("sealed", ()):
            touched[uid, name] = True
            if self._end(uid, name) == end:
                if zlib.crc32(self.files.get((uid, name), b"")) == crc:
                    self.sealed[uid, name] = end
                else:
                    refused.append([uid, name, "Mismatch", "its crc differs"])
        upto = [[uid, name, self._end(uid, name), (uid, name) in self.sealed] for uid, name in touched]
        return {"after": self.after, "now": time.time(), "upto": upto, "refused": refused}

    def run(self, uid: str) -> RunDirectory:
        """Write what was accepted of a run to a folder, as a run that can be read."""
        folder = RunDirectory(self.folder / "runs" / uid)
        folder.journal.mkdir(parents=True, exist_ok=True)
        with self._lock:
            for (run, name), data in self.files.items():
                if run == uid:
                    whole = with_header(data) if name.endswith(".seg") else file_header() + data
                    (folder.journal / name).write_bytes(whole)
            for name, data in self.blobs.items():
                place = folder.blobs / name[:2] / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
        return folder


class Handler(BaseHTTPRequestHandler):
    """One request."""

    owner: JournalServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        """Note the connection, which may be kept open for long."""
        super().setup()
        self.owner.connections.add(self.connection)

    def finish(self) -> None:
        """Forget the connection."""
        self.owner.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_args: object) -> None:
        """Print nothing."""

    def _serve(self) -> None:
        path = self.path.partition("?")[0].removeprefix("/api/v1/")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "zstd":
            body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
        self.owner.requests.append((self.command, path, dict(self.headers)))
        status = self.owner.fault(self.command, path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and not path.startswith("parts/"):
            status = 401
        content: Any = {"type": "Unauthorized" if status == 401 else "Busy", "detail": "on demand."}
        media = "application/problem+json"
        if status is None:
            status, content = self.owner.answer(self.command, path, body)
            media = "application/msgpack" if status == 200 else media
        if self.owner.cuts_answers:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        data = msgspec.msgpack.encode(content) if media == "application/msgpack" else msgspec.json.encode(content)
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("naiad-epoch", self.owner.epoch)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _serve
