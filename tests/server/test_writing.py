"""What the server takes, and what it does with it: core/docs/server-protocol.md, sentence by sentence."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from places import of_a_folder
from server_client import COMMAND, QUIET, RECORD, AnyServer, Server, content, journal_files, part, ship

import naiad
from naiad.ops import Assign, Configure, Delete, End, Members, Open, Tags, encode_ops
from naiad.refs import FileRef
from naiad.storage.local.journal.frames import encode_frame

Log = Callable[..., Path]


def wait_for(server: AnyServer, uid: str, state: str, seconds: float = 60) -> dict[str, Any]:
    """The facts of a container once it is in a state."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        reply = server.send("GET", f"/api/v1/containers/{uid}")
        if reply.status == 200 and reply.data["state"] == state:
            return reply.data
        time.sleep(0.1)
    raise AssertionError(f"{uid} did not become {state}: {reply.data}")


def wait_until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


def sealed(server: AnyServer, uid: str) -> None:
    """Wait until a run was finished and sealed on the server."""
    wait_until(lambda: server.is_settled(uid))


def values(server: AnyServer, uid: str, path: str = "loss") -> list[float]:
    reply = server.send("GET", f"/api/v1/series?run={uid}&path={path}")
    return reply.data["series"][0]["values"] if reply.data["series"] else []


def positions(server: AnyServer, uid: str) -> dict[str, int]:
    return server.send("GET", f"/api/v1/runs/{uid}/journal").data["upto"]


def test_shipped_run_is_on_the_server_as_it_was(server: AnyServer, logged: Log) -> None:
    folder = logged(lr=0.1, name="a")

    registered = server.register(folder.name).data
    reply = ship(server, folder)
    wait_for(server, folder.name, "finished")

    assert [] == reply.data["refused"]
    assert all(is_sealed for _uid, _file, _upto, is_sealed in reply.data["upto"])
    # The program said an id of its own, which the server replaces within seconds.
    wait_until(lambda: registered["id"] == server.send("GET", f"/api/v1/containers/{folder.name}").data["id"])
    assert [float(each) for each in range(100)] == values(server, folder.name)
    assert 0.1 == server.send("GET", f"/api/v1/containers/{folder.name}/value?path=lr").data["value"]


def test_registering_is_idempotent_and_keeps_id_and_project(server: AnyServer) -> None:
    first = server.register("again-1", "registered").data

    again = server.register("again-1", "second").data

    assert (True, "REGISTERED-1") == (first["is_new"], first["id"])
    assert {**first, "is_new": False} == again


def test_known_custom_id_means_the_first_run(server: AnyServer) -> None:
    first = server.register("custom-1", custom_run_id="mine").data

    second = server.register("custom-2", custom_run_id="mine").data
    elsewhere = server.register("custom-3", "another", custom_run_id="mine").data

    assert ("custom-1", False) == (second["uid"], second["is_new"])
    assert second["id"] == first["id"]
    assert "custom-3" == elsewhere["uid"]


def test_models_versions_and_projects_get_ids_of_the_server(server: AnyServer) -> None:
    model = server.register("model-1", "mp", kind="model", id="OTHER-CNN").data
    second = server.register("model-2", "mp", kind="model", id="OTHER-CNN").data
    exact = server.register("model-3", "mp", kind="model", id="OTHER-CNN", is_exact=True)
    version = server.register("version-1", "mp", kind="model_version", parent=model["id"]).data
    orphan = server.register("version-2", "mp", kind="model_version", parent="MP-NONE")
    foreign = server.register("version-3", "other", kind="model_version", parent=model["id"])
    project = server.register("project-1", "mp", kind="project").data
    same = server.register("project-2", "mp", kind="project").data

    assert ("MP-CNN", "MP-CNN_2", "MP-CNN-1") == (model["id"], second["id"], version["id"])
    assert (409, "ModelKeyTaken") == (exact.status, exact.data["type"])
    assert (404, 404) == (orphan.status, foreign.status)
    assert ("MP", "project-1", False) == (project["id"], same["uid"], same["is_new"])


def test_uid_of_another_kind_is_a_conflict(server: AnyServer) -> None:
    server.register("kind-1")

    reply = server.register("kind-1", kind="model", id="P-X")

    assert (409, "Conflict") == (reply.status, reply.data["type"])


@of_a_folder
def test_answer_is_how_far_the_server_has_the_file(server: Server, logged: Log) -> None:
    """A repeat and a gap store nothing and are no errors."""
    folder = logged()
    uid = folder.name
    server.register(uid)
    name, start, data = next(journal_files(folder))
    middle = start + 50 * RECORD

    gap = server.journal(parts=[part(uid, name, middle, data[50 * RECORD :])]).data
    first = server.journal(parts=[part(uid, name, start, data[: 50 * RECORD], codec=1)]).data
    repeat = server.journal(parts=[part(uid, name, start, data)]).data
    rest = server.journal(parts=[part(uid, name, middle, data[50 * RECORD :])]).data

    assert [[uid, name, start, False]] == gap["upto"]
    assert [[uid, name, middle, False]] == first["upto"] == repeat["upto"]
    assert [[uid, name, start + len(data), False]] == rest["upto"]
    assert [] == gap["refused"] + repeat["refused"]
    assert data == content(server.store / "runs" / uid / "journal" / name)


def test_growing_run_is_read_as_it_grows(server: AnyServer, tmp_path: Path) -> None:
    """Each point is there once its part was answered; the writer's end ends the run."""
    run = naiad.init_run(store=tmp_path / "growing", project="p", **QUIET)
    (folder,) = (tmp_path / "growing/runs").iterdir()
    uid = folder.name
    server.register(uid)
    upto: dict[str, int] = {}
    for total in (10, 20, 30):
        run["loss"].extend([float(each) for each in range(total - 10, total)])
        files = [*journal_files(folder)]
        writers = {name.partition(".")[0] for name, _start, _data in files}
        reply = server.journal(
            writers=[[uid, writer, True] for writer in writers],
            parts=[
                part(uid, name, upto.get(name, start), data[upto.get(name, start) - start :])
                for name, start, data in files
                if start + len(data) > upto.get(name, start)
            ],
        ).data
        upto.update({file: n for _uid, file, n, _is_sealed in reply["upto"]})

        assert [] == reply["refused"]
        assert [float(each) for each in range(total)] == values(server, uid)
        assert "running" == wait_for(server, uid, "running")["state"]
    run.stop()
    ship_rest(server, folder, upto)
    wait_for(server, uid, "finished")


def ship_rest(server: AnyServer, folder: Path, upto: dict[str, int]) -> None:
    """Send what the server has not, and seal all files."""
    uid = folder.name
    files = [*journal_files(folder)]
    reply = server.journal(
        parts=[
            part(uid, name, upto.get(name, start), data[upto.get(name, start) - start :])
            for name, start, data in files
            if start + len(data) > upto.get(name, start)
        ],
        sealed=[[uid, name, start + len(data), zlib.crc32(data)] for name, start, data in files],
        writers=[[uid, writer, False] for writer in {name.partition(".")[0] for name, _start, _data in files}],
    )
    assert [] == reply.data["refused"]
    assert all(is_sealed for _uid, _file, _n, is_sealed in reply.data["upto"])


KILLED = """
import naiad, os
run = naiad.init_run(store={store!r}, project="p", capture_hardware_metrics=False)
run["loss"].extend([1.0, 2.0, 3.0])
os._exit(1)
"""


def test_run_of_a_killed_writer_is_killed(server: AnyServer, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED.format(store=str(tmp_path / "k"))], check=False)
    (folder,) = (tmp_path / "k/runs").iterdir()
    server.register(folder.name)

    ship(server, folder)

    wait_for(server, folder.name, "killed")
    assert [1.0, 2.0, 3.0] == values(server, folder.name)


def test_run_of_which_all_files_are_sealed_is_over_without_a_sign(server: AnyServer, logged: Log) -> None:
    """So arrives a run that was stopped long ago, also one of which a process told signs of life before."""
    folder = logged()
    uid, files = folder.name, [*journal_files(folder)]
    (writer,) = {name.partition(".")[0] for name, _start, _data in files}
    server.register(uid)
    server.journal(writers=[[uid, writer, True]], parts=[part(uid, *files[0])])
    wait_for(server, uid, "running")

    server.journal(
        parts=[part(uid, *each) for each in files[1:]],
        sealed=[[uid, name, start + len(data), zlib.crc32(data)] for name, start, data in files],
    )

    wait_for(server, uid, "finished")
    sealed(server, uid)


@of_a_folder
def test_silent_writer_makes_the_run_unknown(server: Server, logged: Log) -> None:
    """A minute without a sign of life, by the server's clock."""
    folder = logged()
    uid = folder.name
    server.register(uid)
    files = [*journal_files(folder)]
    (writer,) = {name.partition(".")[0] for name, _start, _data in files}
    server.journal(
        writers=[[uid, writer, True]],
        parts=[part(uid, name, start, data) for name, start, data in files if name.endswith(".seg")],
    )
    wait_for(server, uid, "running")

    for each in (server.store / "runs" / uid / "journal").iterdir():
        os.utime(each, (time.time() - 70, time.time() - 70))

    wait_for(server, uid, "unknown")
    server.journal(writers=[[uid, writer, True]])
    wait_for(server, uid, "running")


def test_positions_outlive_the_fold_and_the_server(tmp_path: Path, logged: Log) -> None:
    """A repeat after fold and restart adds nothing."""
    server = Server(tmp_path / "own").start("--init")
    try:
        folder = logged(points=100_000)
        uid, files = folder.name, [*journal_files(folder)]
        (writer,) = {name.partition(".")[0] for name, _start, _data in files}
        server.register(uid)
        server.journal(writers=[[uid, writer, True]], parts=[part(uid, *file, codec=0) for file in files])
        wait_until((server.store / "runs" / uid / "run.db").exists)
        ship(server, folder)
        sealed(server, uid)
        before = positions(server, uid)
        server.kill()
        server.start()

        reply = ship(server, folder)

        assert [] == list((server.store / "runs" / uid / "journal").glob("*.seg"))
        assert before == positions(server, uid)
        assert [] == reply.data["refused"]
        points = server.send("GET", f"/api/v1/series?run={uid}&path=loss&limit=1").data["series"][0]
        assert 100_000 == points["total"]
    finally:
        server.stop()


@of_a_folder
def test_resumed_run_continues_on_the_server(server: Server, logged: Log) -> None:
    """A run that was sealed here is opened again by the bytes of its next writer."""
    folder = logged()
    server.register(folder.name)
    ship(server, folder)
    sealed(server, folder.name)
    store = folder.parent.parent
    (name,) = [each.name for each in (store / "ids/P").iterdir() if each.name.isdigit()]
    run = naiad.init_run(
        store=store, with_id=f"P-{name}", capture_hardware_metrics=False, git_ref=False, source_files=[]
    )
    run["loss"].extend([100.0, 101.0])
    run.stop()

    ship(server, folder)
    wait_for(server, folder.name, "finished")
    sealed(server, folder.name)

    assert [float(each) for each in range(102)] == values(server, folder.name)
    command = [*COMMAND, "--store", str(server.store), "verify", folder.name]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert 0 == done.returncode, done.stdout + done.stderr


def test_end_that_comes_too_early_loses_nothing(server: AnyServer, logged: Log) -> None:
    """A client says that the writer has ended while it still sends, in several requests."""
    folder = logged(points=30_000)
    uid, files = folder.name, [*journal_files(folder)]
    (writer,) = {name.partition(".")[0] for name, _start, _data in files}
    server.register(uid)
    ended = [[uid, writer, False]]
    (log, at, ops), *_rest = [each for each in files if each[0].endswith(".ops")]
    first = {"parts": [part(uid, log, at, ops)], "sealed": [[uid, log, at + len(ops), zlib.crc32(ops)]]}
    assert [] == server.journal(writers=ended, **first).data["refused"]
    sealed(server, uid)

    for name, start, data in files:
        if name.endswith(".seg"):
            half = len(data) // 64 * 32
            server.journal(writers=ended, parts=[part(uid, name, start, data[:half])])
            time.sleep(1.0)  # room for a fold that should not take the half for all
            server.journal(writers=ended, parts=[part(uid, name, start + half, data[half:])])
    ship(server, folder)
    wait_for(server, uid, "finished")
    sealed(server, uid)

    assert [float(each) for each in range(30_000)] == values(server, uid)


def test_points_wait_for_the_ops_that_define_them(server: AnyServer, logged: Log) -> None:
    """A client that sends segments first breaks the protocol, and loses nothing by it, though they are folded."""
    folder = logged(points=40_000)
    uid = folder.name
    registered = server.register(uid)
    files = [*journal_files(folder)]
    for suffix in (".seg", ".ops"):
        some = [each for each in files if each[0].endswith(suffix)]
        reply = server.journal(
            parts=[part(uid, *each) for each in some],
            sealed=[[uid, name, start + len(data), zlib.crc32(data)] for name, start, data in some],
        )
        assert [] == reply.data["refused"]
        wait_until(lambda: server.has_folded(uid))
        if suffix == ".seg":
            assert not server.is_settled(uid)
            assert "points have the number 1, which no op defines" in server.damages(registered)[0]
    wait_for(server, uid, "finished")

    assert [] == server.damages(registered)
    assert [float(each) for each in range(40_000)] == values(server, uid)
    assert 40_000 == server.send("GET", f"/api/v1/containers/{uid}/value?path=loss").data["count"]


def test_writer_of_which_no_sign_was_sent_is_not_taken_for_ended(server: AnyServer, logged: Log) -> None:
    """Its ops have its end, and its points are still on the way."""
    folder = logged(points=40_000)
    uid, files = folder.name, [*journal_files(folder)]
    server.register(uid)
    server.journal(parts=[part(uid, *each) for each in files if each[0].endswith(".ops")])
    for name, start, data in files:
        if name.endswith(".seg"):
            half = len(data) // 64 * 32
            server.journal(parts=[part(uid, name, start, data[:half])])
            time.sleep(1.0)  # room for a fold
            server.journal(parts=[part(uid, name, start + half, data[half:])])

    assert [float(each) for each in range(40_000)] == values(server, uid)


def test_copy_of_a_folder_that_was_shipped_twice_is_one_run(server: AnyServer, logged: Log, tmp_path: Path) -> None:
    folder = logged()
    server.register(folder.name)
    copy = tmp_path / "copy" / folder.name
    shutil.copytree(folder, copy)

    ship(server, folder)
    reply = ship(server, copy)

    assert [] == reply.data["refused"]
    assert 100 == len(values(server, folder.name))


def test_id_and_project_are_those_of_the_server(server: AnyServer, logged: Log) -> None:
    """A client that writes others, with a clock a day ahead, changes neither."""
    folder = logged()
    uid = folder.name
    project = server.register(uid, "mine").data
    ops = encode_ops(
        [
            Open("77-claims", 1, "h", "b", 1, "owner", time.time() + 86_400),
            Assign("sys/id", "string", "FOREIGN-1", time.time() + 86_401),
            Assign("sys/project", "string", "foreign", time.time() + 86_401),
        ]
    )
    data = encode_frame(0, ops)

    reply = server.journal(parts=[part(uid, "77-claims.000001.ops", 16, data)])

    assert [] == reply.data["refused"]
    until = time.monotonic() + 60
    while True:
        facts = server.send("GET", f"/api/v1/containers/{uid}").data
        if (project["id"], "mine") == (facts["id"], facts["project"]):
            break
        assert time.monotonic() < until, facts
        time.sleep(0.1)


def send_ops(server: AnyServer, uid: str, writer: str, ops: list[Any]) -> None:
    """Send all that a writer has ever written, with its end."""
    opened = [Open(writer, 1, "h", "b", 1, "owner", ops[0].at), *ops, End("finished", ops[-1].at)]
    data, name = encode_frame(0, encode_ops(opened)), f"{writer}.000001.ops"
    reply = server.journal(
        parts=[part(uid, name, 16, data)],
        sealed=[[uid, name, 16 + len(data), zlib.crc32(data)]],
        writers=[[uid, writer, False]],
    )
    assert [] == reply.data["refused"]


@pytest.mark.parametrize("is_older_first", [True, False])
def test_ops_that_arrive_late_do_not_undo_what_was_done_after_them(server: AnyServer, is_older_first: bool) -> None:
    """A folder that is shipped days later has older ops than what was folded meanwhile, in whatever order they came."""
    uid = f"late-{is_older_first}".lower()
    server.register(uid, "late")
    at = time.time()
    file = FileRef(1, "txt", content=b"x").to_text()
    older = [
        *(Assign(path, "int", 1, at) for path in ("assigned", "deleted")),
        Configure("curve", 0.0, 1.0, "old", at), Tags("sys/tags", ["both", "older"], [], False, at),
        Tags("sys/group_tags", ["cleared"], [], False, at), Members("files", {"a": file, "b": file}, [], False, at),
    ]  # fmt: skip
    newer = [
        Assign("assigned", "int", 2, at + 1), Delete("deleted", at + 1), Configure("curve", 0.0, 2.0, "new", at + 1),
        Tags("sys/tags", ["newer"], ["both"], False, at + 1), Tags("sys/group_tags", ["group"], [], True, at + 1),
        Members("files", {"c": file}, [], True, at + 1),
    ]  # fmt: skip
    writers = [("1-older", older), ("2-newer", newer)]
    for writer, ops in writers if is_older_first else reversed(writers):
        send_ops(server, uid, writer, ops)
        sealed(server, uid)
    place = f"/api/v1/containers/{uid}"

    assert 2 == server.send("GET", f"{place}/value?path=assigned").data["value"]
    assert 404 == server.send("GET", f"{place}/value?path=deleted").status
    assert ["newer", "older"] == sorted(server.send("GET", f"{place}/value?path=sys/tags").data["value"])
    assert ["group"] == server.send("GET", f"{place}/value?path=sys/group_tags").data["value"]
    assert "new" == server.send("GET", f"{place}/value?path=curve").data["unit"]
    found = server.send("GET", f"/api/v1/files?run={uid}&path=files").data["files"]
    assert ["c"] == [each["name"] for each in found]


@pytest.mark.parametrize("days", [-1, 1])
def test_clock_of_a_client_may_be_a_day_off(server: AnyServer, days: int) -> None:
    """The order within its run is that of its own clock, and its state is judged by that of the server."""
    uid = f"clock-{days + 1}"
    server.register(uid, "clocks")
    at = time.time() + days * 86_400
    ops = [Assign("x", "int", 1, at), Assign("x", "int", 2, at + 1)]
    opened = encode_frame(0, encode_ops([Open("1-off", 1, "h", "b", 1, "owner", at), ops[0]]))
    server.journal(sent=at, parts=[part(uid, "1-off.000001.ops", 16, opened)], writers=[[uid, "1-off", True]])
    wait_for(server, uid, "running")
    rest = encode_frame(1, encode_ops([ops[1], End("finished", at + 2)]))
    end = 16 + len(opened) + len(rest)
    server.journal(
        sent=at + 2,
        parts=[part(uid, "1-off.000001.ops", 16 + len(opened), rest)],
        sealed=[[uid, "1-off.000001.ops", end, zlib.crc32(opened + rest)]],
        writers=[[uid, "1-off", False]],
    )
    wait_for(server, uid, "finished")
    sealed(server, uid)

    assert 2 == server.send("GET", f"/api/v1/containers/{uid}/value?path=x").data["value"]


# Bad input: refused, counted, nothing stored


def refusal(server: AnyServer, uid: str, parts: list[Any]) -> str:
    """The type of the one refusal, with nothing stored."""
    before = positions(server, uid)
    reply = server.journal(parts=parts)
    assert 200 == reply.status
    assert before == positions(server, uid)
    ((_uid, _file, kind, _detail),) = reply.data["refused"]
    return kind


def test_bad_part_is_refused_and_its_neighbours_are_stored(server: AnyServer, logged: Log) -> None:
    folder = logged()
    uid = folder.name
    server.register(uid)
    files = [*journal_files(folder)]
    bad = part(uid, *files[0])
    bad[4] ^= 1

    reply = server.journal(parts=[bad, *(part(uid, *each) for each in files[1:])]).data

    assert [[uid, files[0][0], "BadPart"]] == [each[:3] for each in reply["refused"]]
    assert {name: start + len(data) for name, start, data in files[1:]} == positions(server, uid)


def test_parts_that_are_no_records_or_frames_are_refused(server: AnyServer, logged: Log) -> None:
    folder = logged()
    uid = folder.name
    server.register(uid)
    (segment, start, points), (log, at, ops) = [*journal_files(folder)][:2]

    assert "BadPart" == refusal(server, uid, [part(uid, segment, start, points[:33])])
    assert "BadPart" == refusal(server, uid, [part(uid, segment, start + 1, points)])
    assert "BadPart" == refusal(server, uid, [part(uid, segment, 0, points)])
    assert "BadPart" == refusal(server, uid, [part(uid, log, at, ops[:-1])])
    assert "BadPart" == refusal(server, uid, [part(uid, log, at, ops[1:])])
    assert "BadPart" == refusal(server, uid, [part(uid, log, at, b"\0" * 64)])
    assert "BadPart" == refusal(server, uid, [[uid, segment, start, 7, zlib.crc32(points), points]])
    assert "BadPart" == refusal(server, uid, [[uid, segment, start, 1, zlib.crc32(points), points + b"x"]])


@pytest.mark.parametrize(
    "file",
    ["../x.000001.seg", "a.lease", "a.1.seal", ".000001.ops", "a/b.000001.ops", "a.b.000001.seg", "x" * 65 + ".1.seg"],
)
def test_names_of_other_files_are_refused(server: AnyServer, file: str) -> None:
    server.register("names-1")

    assert "BadName" == refusal(server, "names-1", [part("names-1", file, 64, b"\0" * 32)])


def test_ops_of_a_later_release_are_refused_as_such(server: AnyServer) -> None:
    server.register("later-1")
    data = encode_frame(0, msgspec.msgpack.encode([["invented", "a/b", 1]]))

    assert "NewerFormat" == refusal(server, "later-1", [part("later-1", "9-x.000001.ops", 16, data)])
    assert (426, "NewerFormat") == kind_of(server.register("later-2", format=2))


def kind_of(reply: Any) -> tuple[int, str]:
    return reply.status, reply.data["type"]


def test_unregistered_run_is_refused_whole(server: AnyServer) -> None:
    reply = server.journal(parts=[part("nobody", "9-x.000001.seg", 64, b"\0" * 32)], writers=[["nobody", "9-x", True]])

    assert [["nobody", "", "RunNotFound"]] == [each[:3] for each in reply.data["refused"]]
    assert [] == reply.data["upto"]


def test_sealed_file_that_differs_takes_nothing_more(server: AnyServer, logged: Log) -> None:
    folder = logged()
    uid = folder.name
    server.register(uid)
    name, start, data = next(journal_files(folder))
    end = start + len(data)
    server.journal(parts=[part(uid, name, start, data)])

    differs = server.journal(sealed=[[uid, name, end, zlib.crc32(data) ^ 1]]).data
    shorter = server.journal(sealed=[[uid, name, end - RECORD, zlib.crc32(data[:-RECORD])]]).data
    early = server.journal(sealed=[[uid, name, end + RECORD, 0]]).data
    right = server.journal(sealed=[[uid, name, end, zlib.crc32(data)]]).data
    more = server.journal(parts=[part(uid, name, end, data[:RECORD])]).data

    assert ["Mismatch"] == [each[2] for each in differs["refused"]] == [each[2] for each in shorter["refused"]]
    assert ([], [[uid, name, end, False]]) == (early["refused"], early["upto"])
    assert [[uid, name, end, True]] == right["upto"]
    assert (["Mismatch"], [[uid, name, end, True]]) == ([each[2] for each in more["refused"]], more["upto"])


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A gigabyte of zeros in some kilobytes; to pack it takes longer than to refuse it."""
    return zstandard.ZstdCompressor(level=19).compress(b"\0" * (1 << 30))


def test_bomb_is_refused_before_it_is_unpacked(server: AnyServer, bomb: bytes) -> None:
    """A gigabyte of zeros in some kilobytes, and one whose frame lies about its size."""
    import gzip

    packed = gzip.compress(b"\0" * (80 << 20))
    stream = zstandard.ZstdCompressor().compressobj()  # without a size in its frame
    unsized = stream.compress(b"\0" * (80 << 20)) + stream.flush()
    headers = {"Content-Type": "application/msgpack"}

    replies = [
        server.send("POST", "/api/v1/journal", bomb, Content_Encoding="zstd", **headers),
        server.send("POST", "/api/v1/journal", packed, Content_Encoding="gzip", **headers),
        server.send("POST", "/api/v1/journal", unsized, Content_Encoding="zstd", **headers),
        server.send("POST", "/api/v1/journal", b"\0" * (17 << 20), **headers),
    ]

    assert [(413, "TooLarge")] * 4 == [kind_of(reply) for reply in replies]


LYING = b"\x82\xa4sent\xcb" + b"\0" * 8 + b"\xa5parts\x91\x96\xa1u\xa1f\x00\x00\x00\xc6\x7f\xff\xff\xff"
"""A part whose bytes claim a length of two gigabytes, and do not follow."""
BELOW_ZERO = msgspec.msgpack.encode({"sent": 0.0, "parts": [["u", "f", -1, 0, 0, b""]]})


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"\xff\xff", {"Content-Type": "application/msgpack"}, (400, "BadRequest")),
        (b"{}", {"Content-Type": "application/json"}, (415, "UnsupportedMediaType")),
        (b"x", {"Content-Type": "application/msgpack", "Content-Encoding": "zstd"}, (400, "BadRequest")),
        (b"x", {"Content-Type": "application/msgpack", "Content-Encoding": "br"}, (415, "UnsupportedMediaType")),
        (LYING, {"Content-Type": "application/msgpack"}, (400, "BadRequest")),
        (BELOW_ZERO, {"Content-Type": "application/msgpack"}, (400, "BadRequest")),
    ],
)  # fmt: skip
def test_bodies_that_cannot_be_read_are_bad_requests(
    server: AnyServer, body: bytes, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    sent = {name.replace("-", "_"): value for name, value in headers.items()}

    assert expected == kind_of(server.send("POST", "/api/v1/journal", body, **sent))


def test_versions_and_epoch_are_told(server: AnyServer) -> None:
    newer = server.send("GET", "/api/v1", naiad_protocol="2")
    about = server.send("GET", "/api/v1", naiad_protocol="1").data["server"]

    assert (426, [1]) == (newer.status, newer.data["protocols"])
    assert about["epoch"] == newer.headers["naiad-epoch"]
    assert ("admin", None, [1]) == (about["role"], about["project"], about["protocols"])


def test_refusals_are_counted(server: AnyServer) -> None:
    server.register("counted-1")

    def refused() -> float:
        text = server.send("GET", "/metrics", token=None).body.decode()
        lines = [line for line in text.splitlines() if line.startswith('naiad_parts_total{outcome="refused"}')]
        return float(lines[0].rpartition(" ")[2]) if lines else 0.0

    before = refused()
    refusal(server, "counted-1", [part("counted-1", "9-x.000001.seg", 64, b"short")])

    assert before + 1 == refused()


# Content of files


@of_a_folder
def test_content_is_kept_under_its_hash_by_project(server: Server) -> None:
    import hashlib

    data = os.urandom(3 << 20)
    name = hashlib.sha256(data).hexdigest()
    wrong = server.send("PUT", f"/api/v1/blobs/{'0' * 64}?project=p", data)
    ask = {"project": "p", "blobs": [[name, len(data)]]}
    before = server.send("POST", "/api/v1/blobs", ask).data["have"]
    sent = server.send("PUT", f"/api/v1/blobs/{name}?project=p", data)
    after = server.send("POST", "/api/v1/blobs", ask).data["have"]
    elsewhere = server.send("POST", "/api/v1/blobs", {**ask, "project": "other"}).data["have"]
    smaller = server.send("POST", "/api/v1/blobs", {"project": "p", "blobs": [[name, 1]]}).data["have"]

    assert (422, "Mismatch") == kind_of(wrong)
    assert ([], [name]) == (before, after)
    assert {"sha256": name, "size": len(data)} == sent.data
    assert ([], []) == (elsewhere, smaller)
    assert not (server.store / "blobs" / "00" / ("0" * 64)).exists()
    assert [] == [*(server.store / "blobs/incoming").iterdir()]


def test_file_of_a_shipped_run_is_served(server: AnyServer, logged: Log) -> None:
    folder = logged(model=naiad.types.File.from_content(b"w" * 100_000, extension="bin"))
    (blob,) = [path for path in folder.parent.parent.glob("blobs/*/*") if path.parent.name != "incoming"]
    server.register(folder.name)
    server.send("PUT", f"/api/v1/blobs/{blob.name}?project=p", blob.read_bytes())
    ship(server, folder)
    wait_for(server, folder.name, "finished")

    reply = server.send("GET", f"/api/v1/file?run={folder.name}&path=model")

    assert (200, b"w" * 100_000) == (reply.status, reply.body)


def test_deleted_run_takes_nothing_more(server: AnyServer, logged: Log) -> None:
    folder = logged()
    server.register(folder.name)
    ship(server, folder)
    wait_for(server, folder.name, "finished")
    sealed(server, folder.name)
    kept = server.send("DELETE", f"/api/v1/containers/{folder.name}")
    own = f"http://127.0.0.1:{server.port}"
    server.send(
        "POST",
        "/api/v1/trash",
        msgspec.json.encode({"ids": [folder.name]}),
        Content_Type="application/json",
        Origin=own,
    )

    deleted = server.send("DELETE", f"/api/v1/containers/{folder.name}")
    reply = ship(server, folder)

    assert (409, "NotInTrash") == kind_of(kept)
    assert 200 == deleted.status
    assert ["RunNotFound"] == [each[2] for each in reply.data["refused"]]


def test_part_that_was_sent_as_content_is_taken_like_any_other(server: AnyServer, logged: Log) -> None:
    """Only content of the run's own project, and with the CRC of its bytes."""
    folder = logged()
    uid = folder.name
    server.register(uid)
    name, start, data = next(each for each in journal_files(folder) if each[0].endswith(".ops"))
    digest = hashlib.sha256(data).digest()
    reference = [uid, name, start, 2, zlib.crc32(data), digest]
    unknown = server.journal(parts=[reference]).data
    server.send("PUT", f"/api/v1/blobs/{digest.hex()}?project=another", data)
    foreign = server.journal(parts=[reference]).data
    server.send("PUT", f"/api/v1/blobs/{digest.hex()}?project=p", data)
    broken = server.journal(parts=[[*reference[:4], 1, digest]]).data
    taken = server.journal(parts=[reference]).data

    assert ["BadPart"] * 3 == [each["refused"][0][2] for each in (unknown, foreign, broken)]
    assert ([], [[uid, name, start + len(data), False]]) == (taken["refused"], taken["upto"])


@of_a_folder
def test_run_that_is_moved_stays_in_its_project(server: Server, logged: Log) -> None:
    """By `naiad move` on the server's machine: neither a fold nor what its client sends later undoes it."""
    folder = logged()
    uid = folder.name
    server.register(uid, "first")
    ship(server, folder)
    wait_for(server, uid, "finished")
    sealed(server, uid)
    done = subprocess.run(
        [*COMMAND, "--store", str(server.store), "move", uid, "--to", "second"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout + done.stderr
    ops = encode_ops([Open("88-late", 1, "h", "b", 1, "owner", time.time()), Assign("late", "int", 1, time.time())])
    data = encode_frame(0, ops)
    server.journal(
        parts=[part(uid, "88-late.000001.ops", 16, data)],
        sealed=[[uid, "88-late.000001.ops", 16 + len(data), zlib.crc32(data)]],
        writers=[[uid, "88-late", False]],
    )
    until = time.monotonic() + 60
    while True:
        facts = server.send("GET", f"/api/v1/containers/{uid}").data
        if (
            facts["project"] == "second"
            and server.send("GET", f"/api/v1/containers/{uid}/value?path=late").status == 200
        ):
            break
        assert time.monotonic() < until, facts
        time.sleep(0.1)
    sealed(server, uid)
    after = server.send("GET", f"/api/v1/containers/{uid}").data

    assert ("second", "SECOND-1") == (after["project"], after["id"])
    assert "second" == server.register(uid, "first").data["project"]
