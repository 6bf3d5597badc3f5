"""A server that is killed at any moment while runs arrive loses nothing and doubles nothing.

python -m pytest tests/server/test_crashes.py -m slow -n 0        50 kills
"""

from __future__ import annotations

import http.client
import random
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import pytest
from server_client import COMMAND, RECORD, Reply, Server, environment, journal_files, part

from naiad.storage.opening import locate

RUNS = 2
POINTS = 20_000
LOG = """
import naiad
for number in range({runs}):
    run = naiad.init_run(store={store!r}, project="p", capture_hardware_metrics=False, git_ref=False, source_files=[])
    for step in range(200):
        run["text"].append(f"line {{step}}")
    run["loss"].extend([float(each) for each in range({points})])
    run["lr"] = number
    run.stop()
"""


class Shipper(threading.Thread):
    """A client without memory: it asks where to go on, sends a little, and begins again after any failure."""

    def __init__(self, server: Server, folder: Path, seed: int) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._folder = folder
        self._random = random.Random(seed)
        self.is_done = False
        self.refused: list[object] = []

    def run(self) -> None:
        """Ship the run, however often the server goes away."""
        while not self.is_done:
            try:
                self._ship()
            except (OSError, http.client.HTTPException):  # the server was killed; its answer may have been on the way
                time.sleep(0.05)

    def _ship(self) -> None:
        uid = self._folder.name
        registered = self._server.register(uid)
        assert 200 == registered.status, registered.body
        known = self._server.send("GET", f"/api/v1/runs/{uid}/journal").data
        upto = {name: known["upto"].get(name, start) for name, start, _data in journal_files(self._folder)}
        files = [*journal_files(self._folder)]
        writers = sorted({name.partition(".")[0] for name, _start, _data in files})
        while not all(upto[name] == start + len(data) for name, start, data in files):
            parts = []
            for name, start, data in files:
                piece = self._piece(name, data[upto[name] - start :])
                if piece:
                    parts.append(part(uid, name, upto[name], piece, codec=int(name.endswith(".seg"))))
            reply = self._server.journal(parts=parts, writers=[[uid, writer, True] for writer in writers])
            self._follow(reply, upto)
        sealed = [[uid, name, start + len(data), zlib.crc32(data)] for name, start, data in files]
        reply = self._server.journal(sealed=sealed, writers=[[uid, writer, False] for writer in writers])
        self._follow(reply, upto)
        self.is_done = all(is_sealed for _uid, _file, _upto, is_sealed in reply.data["upto"])

    def _piece(self, name: str, rest: bytes) -> bytes:
        """A random part of what is left, sometimes more than was asked for."""
        if name.endswith(".seg"):
            return rest[: RECORD * self._random.randint(1, 4_000)]
        at, frames = 0, self._random.randint(1, 80)
        while at < len(rest) and frames:
            at += 16 + int.from_bytes(rest[at : at + 4], "little")
            frames -= 1
        return rest[:at]

    def _follow(self, reply: Reply, upto: dict[str, int]) -> None:
        assert 200 == reply.status, reply.body
        self.refused += reply.data["refused"]
        upto.update({file: n for _uid, file, n, _is_sealed in reply.data["upto"]})


def killed_while_runs_arrive(tmp_path: Path, kills: int, seed: int) -> None:
    logged = tmp_path / "logged"
    code = LOG.format(runs=RUNS, store=str(logged), points=POINTS)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())
    rng = random.Random(seed)
    server = Server(tmp_path / "store").start("--init")
    done = 0
    while done < kills:
        shippers = [Shipper(server, folder, rng.randrange(1 << 30)) for folder in sorted((logged / "runs").iterdir())]
        for each in shippers:
            each.start()
        while any(each.is_alive() for each in shippers) and done < kills:
            time.sleep(rng.uniform(0.0, 0.4))
            server.kill()
            server.start()
            done += 1
        for each in shippers:
            each.join(120)
        assert all(each.is_done for each in shippers)
        assert [] == [refused for each in shippers for refused in each.refused]
        if done < kills:  # once more, under other uids: copies of the folders are other runs
            for number, folder in enumerate(sorted((logged / "runs").iterdir())):
                folder.rename(folder.with_name(f"{folder.name[:20]}-{done}-{number}"))
    wait_for_seals(server)
    server.stop()
    compare(server, logged)


def wait_for_seals(server: Server) -> None:
    until = time.monotonic() + 60
    while not all((folder / "seal.json").exists() for folder in (server.store / "runs").iterdir()):
        assert time.monotonic() < until
        time.sleep(0.1)


def compare(server: Server, logged: Path) -> None:
    """Every run on the server has exactly what was logged."""
    store = locate(server.store)
    for folder in (server.store / "runs").iterdir():
        reader = store.reader(store.find(folder.name))
        assert [float(each) for each in range(POINTS)] == reader.points("loss").values.tolist()
        assert [f"line {step}" for step in range(200)] == reader.texts("text").texts
        assert "finished" == reader.state()
    command = [*COMMAND, "--store", str(server.store), "verify"]
    verified = subprocess.run(command, check=False, capture_output=True, text=True)
    assert 0 == verified.returncode, verified.stdout + verified.stderr


def test_killed_server_loses_and_doubles_nothing(tmp_path: Path) -> None:
    killed_while_runs_arrive(tmp_path, kills=3, seed=20261130)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_server_that_is_killed_fifty_times_loses_and_doubles_nothing(tmp_path: Path) -> None:
    killed_while_runs_arrive(tmp_path, kills=50, seed=1)


def test_answer_means_that_the_bytes_outlive_a_kill(tmp_path: Path) -> None:
    """The kill comes the moment after the answer, before the fold and before any checkpoint."""
    code = LOG.format(runs=1, store=str(tmp_path / "logged"), points=100)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())
    (folder,) = (tmp_path / "logged/runs").iterdir()
    server = Server(tmp_path / "store").start("--init")
    server.register(folder.name)
    files = [*journal_files(folder)]
    reply = server.journal(parts=[part(folder.name, *each) for each in files])
    server.kill()
    for each in (server.store / "runs" / folder.name / "journal").iterdir():
        each.unlink()  # as if nothing of the files had reached the disk

    server.start()

    known = server.send("GET", f"/api/v1/runs/{folder.name}/journal").data["upto"]
    values = server.send("GET", f"/api/v1/series?run={folder.name}&path=loss").data["series"][0]["values"]
    server.stop()
    assert {file: n for _uid, file, n, _sealed in reply.data["upto"]} == known
    assert [float(each) for each in range(100)] == values
