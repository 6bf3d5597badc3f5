"""A server that is killed at any moment while runs arrive loses nothing and doubles nothing.

python -m pytest tests/server/test_crashes.py -m slow -n 0        50 kills
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_client import COMMAND, RECORD, Reply, Server, environment, journal_files, part

from naiad.container_kinds import MODEL, RUN, ContainerKind, RunId
from naiad.errors import StorageError
from naiad.kinds import ATOM_OF
from naiad.ops import Assign
from naiad.scalars import pack_text, unpack_text
from naiad.storage.base import Change
from naiad.storage.local import maintenance, received_files, registrar
from naiad.storage.local.gc import purge
from naiad.storage.local.integrity.repair import repair
from naiad.storage.local.integrity.seal import write_seal
from naiad.storage.local.integrity.verify import verify
from naiad.storage.local.journal.segment import SEAL_AT
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.receiver import Receiver
from naiad.storage.local.store import Store
from naiad.storage.opening import locate
from naiad.storage.receiving import Sealing

TEXT = ATOM_OF[str]
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
        # Ops first: the number of a series has to be defined when its points arrive, as a fold may come in between.
        files = sorted(journal_files(self._folder), key=lambda file: (not file[0].endswith(".ops"), file[0]))
        writers = sorted({name.partition(".")[0] for name, _start, _data in files})
        while not all(upto[name] == start + len(data) for name, start, data in files):
            parts, are_defined = [], True
            for name, start, data in files:
                if name.endswith(".seg") and not are_defined:
                    break
                piece = self._piece(name, data[upto[name] - start :])
                if name.endswith(".ops"):
                    are_defined = are_defined and upto[name] + len(piece) == start + len(data)
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


# The process that folds, which outlives its server


class Journal:
    """The journal of a stopped run of 100 points, as a client would send it."""

    def __init__(self, folder: Path, uid: str) -> None:
        self.run = RunId(uid, RUN)
        self.files = [*journal_files(folder)]
        (self.segment,) = [name for name, _start, _data in self.files if name.endswith(".seg")]
        self.writer = (self.run, self.segment.partition(".")[0])

    def sealings(self) -> list[Sealing]:
        return [Sealing(self.run, name, start + len(data), zlib.crc32(data)) for name, start, data in self.files]

    def send(self, receiver: Receiver, *, is_over: bool = True, most: int = 1 << 40) -> None:
        """Send at once all that the server does not have, of the segment up to some place."""
        known = receiver.received(self.run)
        pieces = []
        for name, start, data in self.files:
            upto = known[name].upto if name in known else start
            until = most if name == self.segment else 1 << 40
            if rest := data[upto - start : max(0, until - start)]:
                pieces.append(receiver.checked(self.run, name, upto, rest))
        receiver.accept(pieces, self.sealings() if is_over else (), {self.writer: not is_over})


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stopped run of 100 points."""
    store = tmp_path_factory.mktemp("logged")
    subprocess.run(
        [sys.executable, "-c", LOG.format(runs=1, store=str(store), points=100)], check=True, env=environment()
    )
    (folder,) = (store / "runs").iterdir()
    return folder


@contextlib.contextmanager
def opened(store: Path, *, is_writing: bool = True) -> Iterator[Receiver]:
    """A receiver that ends like a killed server: without a checkpoint."""
    receiver = Receiver(Store(store), is_writing=is_writing)
    try:
        yield receiver
    finally:
        receiver.close()


def content_of(folder: RunDirectory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.journal.iterdir() if path.suffix in (".seg", ".ops")}


def assert_whole(store: Path, folder: RunDirectory) -> None:
    """The run is sealed, sound, and has what was logged."""
    assert folder.seal.exists()
    assert [] == verify(folder)
    reader = locate(store).reader(RunId(folder.uid, RUN))
    assert [float(each) for each in range(100)] == reader.points("loss").values.tolist()
    assert [f"line {step}" for step in range(200)] == reader.texts("text").texts
    assert "finished" == reader.state()


def wait_until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_open_elsewhere(path: Path) -> bool:
    """Whether another process has a file open."""
    for process in os.listdir("/proc"):
        with contextlib.suppress(OSError):  # it is none, or has ended meanwhile
            held = [os.readlink(f"/proc/{process}/fd/{each}") for each in os.listdir(f"/proc/{process}/fd")]
            if str(path) in held and process not in ("self", "thread-self", str(os.getpid())):
                return True
    return False


def test_run_that_is_sealed_after_the_kill_stays_as_it_was_sealed(tmp_path: Path, logged: Path) -> None:
    """The process that folds goes on after its server, and the next server finds the run sealed by it."""
    journal = Journal(logged, logged.name)
    server = Server(tmp_path / "store").start("--init")
    server.register(logged.name)
    server.journal(parts=[part(logged.name, *each) for each in journal.files])
    folder = RunDirectory(server.store / "runs" / logged.name)
    with folder.lock():  # for which the fold waits until the server is gone
        server.journal(
            sealed=[[each.run.uid, each.file, each.end, each.crc] for each in journal.sealings()],
            writers=[[logged.name, journal.writer[1], False]],
        )
        wait_until(lambda: is_open_elsewhere(folder.path / ".lock"))
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        assert not folder.seal.exists()
    wait_until(folder.seal.exists)
    before = content_of(folder)

    server.start()
    server.stop()

    assert before == content_of(folder)
    assert_whole(server.store, folder)


def test_bytes_that_were_lost_of_a_sealed_run_are_written_again_and_the_run_is_sealed_again(
    tmp_path: Path, logged: Path
) -> None:
    journal = Journal(logged, logged.name)
    folder = RunDirectory(tmp_path / "runs" / logged.name)
    with opened(tmp_path) as receiver:
        receiver.register(journal.run, "p")
        journal.send(receiver)
        receiver.fold(journal.run)
        assert folder.seal.exists()
    with (folder.journal / journal.segment).open("r+b") as stream:
        stream.truncate(64 + 50 * RECORD)  # as if the rest had not reached the disk

    with opened(tmp_path) as receiver:
        assert [journal.run] == receiver.waiting()
        receiver.fold(journal.run)

    assert_whole(tmp_path, folder)


def test_run_that_a_command_deleted_is_received_anew(
    tmp_path: Path, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are new ones under the old names: no byte may go into those that were removed."""
    monkeypatch.setattr(registrar, "LOOK_SECONDS", 0)
    journal = Journal(logged, logged.name)
    folder = RunDirectory(tmp_path / "runs" / logged.name)
    with opened(tmp_path) as receiver:
        receiver.register(journal.run, "p")
        receiver.accept([receiver.checked(journal.run, *each) for each in journal.files])  # without an end
        for path in folder.journal.iterdir():
            os.utime(path, (0, 0))  # its machine is off, and was heard of long ago
        repair(folder, is_taken_over=True)
        purge(Store(tmp_path).layout, Store(tmp_path).register, folder, journal.run.uid)
        registrar.note_deleted(tmp_path, [journal.run])
        receiver.register(journal.run, "p")
        journal.send(receiver)
        receiver.checkpoint()
        receiver.fold(journal.run)

    assert_whole(tmp_path, folder)


def test_run_that_was_deleted_and_put_back_from_a_copy_is_received_from_where_the_copy_ends(
    tmp_path: Path, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is older than what the server remembers to have received."""
    monkeypatch.setattr(registrar, "LOOK_SECONDS", 0)
    journal = Journal(logged, logged.name)
    folder = RunDirectory(tmp_path / "runs" / logged.name)
    with opened(tmp_path) as receiver:
        receiver.register(journal.run, "p")
        journal.send(receiver, most=64 + 50 * RECORD)
        shutil.copytree(folder.path, tmp_path / "copy")
        journal.send(receiver, is_over=False)
        for path in folder.journal.iterdir():
            os.utime(path, (0, 0))  # its machine is off, and was heard of long ago
        repair(folder, is_taken_over=True)
        purge(Store(tmp_path).layout, Store(tmp_path).register, folder, journal.run.uid)
        registrar.note_deleted(tmp_path, [journal.run])
        shutil.copytree(tmp_path / "copy", folder.path)
        receiver.register(journal.run, "p")
        journal.send(receiver)
        receiver.checkpoint()
        receiver.fold(journal.run)

    assert_whole(tmp_path, folder)


@pytest.mark.parametrize("is_beside", [False, True])
def test_points_that_came_before_their_ops_wait_also_where_a_program_of_this_machine_folds(
    tmp_path: Path, logged: Path, monkeypatch: pytest.MonkeyPatch, is_beside: bool
) -> None:
    """As `naiad tag` may, in its own process or in the one that folds beside it."""
    monkeypatch.setattr(maintenance, "OPS_BYTES", 1)
    monkeypatch.setattr(maintenance, "LARGE_OPS_BYTES", 0 if is_beside else 1 << 30)
    journal = Journal(logged, logged.name)
    folder = RunDirectory(tmp_path / "runs" / logged.name)
    with opened(tmp_path) as receiver:
        receiver.register(journal.run, "p")
        points = [each for each in journal.files if each[0] == journal.segment]
        receiver.accept([receiver.checked(journal.run, *each) for each in points])
        guest = Store(tmp_path).writer(journal.run, role="guest", on_error="raise")
        guest.write([Change("note", TEXT, (Assign("note", TEXT, pack_text("seen")),))])
        wait_until(folder.index.exists)
        guest.stop()
        journal.send(receiver)
        receiver.fold(journal.run)

    assert_whole(tmp_path, folder)
    assert "seen" == unpack_text(str(locate(tmp_path).reader(journal.run).value("note")))


def test_file_of_which_the_last_bytes_are_still_to_be_copied_is_not_folded_to_its_end(
    tmp_path: Path, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that folds goes on after a kill between the commit and the copy."""
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "10")
    journal = Journal(logged, logged.name)
    folder = RunDirectory(tmp_path / "runs" / logged.name)
    with opened(tmp_path) as receiver:
        receiver.register(journal.run, "p")
        journal.send(receiver, is_over=False)
        receiver.accept([], journal.sealings(), {journal.writer: True})
    with (folder.journal / journal.segment).open("r+b") as stream:
        stream.truncate(64 + 50 * RECORD)
        stream.seek(SEAL_AT)
        stream.write(bytes(12))  # the seal of the segment comes with its last bytes

    with opened(tmp_path, is_writing=False) as orphan:
        orphan.fold(journal.run)
    with opened(tmp_path) as receiver:
        receiver.accept([], [], {journal.writer: False})
        receiver.fold(journal.run)

    assert_whole(tmp_path, folder)


def test_bytes_that_arrive_while_a_run_is_sealed_wait_for_the_seal(
    tmp_path: Path, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer joins a run of which another process has seen that all its writers have ended."""
    monkeypatch.setattr(received_files, "LOCK_SECONDS", 0.05)
    journal = Journal(logged, logged.name)
    folder = RunDirectory(tmp_path / "runs" / logged.name)
    with opened(tmp_path) as receiver:
        receiver.register(journal.run, "p")
        receiver._files.make(journal.run)
        with folder.lock():
            with pytest.raises(StorageError, match="has held the lock"):
                journal.send(receiver)
            assert {} == content_of(folder)
            write_seal(folder)
        journal.send(receiver)  # again, as the client does
        receiver.fold(journal.run)

    assert_whole(tmp_path, folder)


def test_server_starts_while_a_process_of_the_last_one_seals_a_run(
    tmp_path: Path, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received_files, "LOCK_SECONDS", 0.05)
    journal = Journal(logged, logged.name)
    folder = RunDirectory(tmp_path / "runs" / logged.name)
    with opened(tmp_path) as receiver:
        receiver.register(journal.run, "p")
        journal.send(receiver)
    with folder.lock():
        before = content_of(folder)
        with opened(tmp_path) as receiver:
            assert before == content_of(folder)
            write_seal(folder)

    with opened(tmp_path) as receiver:
        receiver.fold(journal.run)

    assert before == content_of(folder)
    assert_whole(tmp_path, folder)


class Killed(BaseException):
    """The end of a process at some line."""


@pytest.mark.parametrize("kind", [RUN, MODEL])
def test_container_whose_registration_was_killed_gets_one_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: ContainerKind
) -> None:
    """The kill comes when the id is taken, and nothing else is written; the client asks again."""
    container = RunId("a" * 20, kind)

    def kill(*_arguments: object) -> None:
        raise Killed

    with opened(tmp_path) as receiver:
        with monkeypatch.context() as patched:
            patched.setattr(registrar.received, "register", kill)
            with pytest.raises(Killed):
                receiver.register(container, "p", wish="P-NET", is_exact=True)
        assert receiver.find(container.uid) is None

    with opened(tmp_path) as receiver:
        receiver.register(RunId("b" * 20, RUN), "p")
        found, is_new = receiver.register(container, "p", wish="P-NET", is_exact=True)

    register = Store(tmp_path).register
    assert is_new
    assert [found.id] == [name for name in register.ids() if register.uid(name) == container.uid]
