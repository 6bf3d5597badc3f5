"""The catalog: a cache of all runs that can be thrown away, is never ahead of them and never far behind."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad.container_kinds import RUN
from naiad.ops import Assign, Strings
from naiad.refs import FileRef
from naiad.settings import Tuning
from naiad.storage.catalog import Summary
from naiad.storage.local import catalog as catalog_module
from naiad.storage.local import catalog_file, entries, entry_processes, entry_program, processes
from naiad.storage.local.catalog import Catalog
from naiad.storage.local.catalog_file import CatalogFile
from naiad.storage.local.ids import Register
from naiad.storage.local.maintenance import Maintenance
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store
from naiad.storage.local.writer import Writer
from naiad.storage.sql import catalog as sql_catalog
from naiad.storage.sql.cells import INDEXED_TEXT
from naiad.storage.sql.connection import Connection
from naiad.storage.sql.values import FACTS, SIGNS_OF_LIFE, cells_in, facts_in


@pytest.fixture
def place(store: Path) -> Store:
    return Store.locate(store)


def make(project: str = "p", **given: Any) -> str:
    with naiad.init_run(project=project, **given) as run:
        run["lr"] = 0.1
        run["loss"].extend([0.5, 0.25])
        run["log"].append("begun")
        return run["sys/id"].fetch()


@pytest.mark.parametrize("is_killed", [False, True], ids=["", "one of them is killed"])
def test_catalog_made_by_several_processes_is_that_of_one(
    place: Store, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    for number in range(6):
        make(tags=["a"] if number else [], name=f"n{number}")
    place.catalog().rebuild()
    alone = tables(place)
    monkeypatch.setattr(catalog_module, "MANY", 2)
    monkeypatch.setattr(catalog_module, "BATCH", 1)
    monkeypatch.setattr(catalog_module, "LARGE_BATCH", 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2}, raising=False)
    if is_killed:
        monkeypatch.setattr(entry_processes, "start", start_and_end)
    else:
        monkeypatch.setattr(entries, "read_entry", refuse_to_read)
    place.catalog().rebuild()

    assert alone == tables(place)


@pytest.mark.filterwarnings("ignore")  # as in that process: threads that set and reset the filters may mix them up
def test_process_that_waits_for_the_disk_reads_the_same_entries(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        make(tags=["a"] if number % 3 else [], name=f"n{number}")
    request = [(f"{place.root}/runs/{name}", None) for name in sorted(os.listdir(place.root / "runs"))]
    (Path(request[4][0]) / "seal.json").write_text("damaged")  # read by a reader, which warns of it
    in_turn = [*entry_program.Reading(Register(place.root)).entries(request)]
    monkeypatch.setattr(entry_program, "PART", 2)
    monkeypatch.setattr(entry_program, "WAITING", 0.0)
    threads = set()
    read = entry_program.stamped_entry
    monkeypatch.setattr(
        entry_program, "stamped_entry", lambda *each: (threads.add(threading.current_thread().name), read(*each))[1]
    )

    assert in_turn == [*entry_program.Reading(Register(place.root)).entries(request)]
    assert len(threads) > 1


def refuse_to_read(*_arguments: object) -> None:
    raise AssertionError("this process has to read nothing itself")


def indexes(place: Store) -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(place.root / "catalog.db")) as connection:
        return connection.execute("select name, sql from sqlite_master where type = 'index' order by name").fetchall()


def drafts(place: Store) -> list[Path]:
    return [*place.root.glob("*.draft-*")]


def test_catalog_of_very_many_runs_has_the_same_indexes(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for _number in range(3):
        make()
    place.catalog().rebuild()
    expected = indexes(place)
    monkeypatch.setattr(catalog_module, "MANY", 2)
    place.catalog().rebuild()

    assert expected == indexes(place)
    assert ([], []) == (drafts(place), CatalogFile(place.root / "catalog.db").damages())


def test_draft_gives_way_to_a_catalog_that_another_process_wrote(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for _number in range(3):
        make()
    monkeypatch.setattr(catalog_module, "MANY", 2)
    entries_of, made = Catalog._entries, []

    def read_later(catalog: Catalog, *given: Any) -> Any:
        if not made:
            made.append("")
            monkeypatch.setattr(catalog_module, "MANY", 4)  # as for a process that found fewer runs, and makes no draft
            Catalog(place.layout, place.register).refresh()
            made[0] = first_value(place, "select made from about")
        return entries_of(catalog, *given)

    monkeypatch.setattr(Catalog, "_entries", read_later)
    place.catalog().rebuild()

    assert made == [first_value(place, "select made from about")]
    assert 3 == len(place.catalog().summaries())
    assert [] == drafts(place)


def test_killed_draft_leaves_a_catalog_that_is_made_and_goes_with_the_next(
    place: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _number in range(3):
        make()
    monkeypatch.setattr(catalog_module, "MANY", 2)
    place.catalog().rebuild()
    expected = tables(place)
    if (child := os.fork()) == 0:
        Connection.make_indexes = lambda *_given: os._exit(7)  # type: ignore[method-assign,assignment]  # the kill
        try:
            place.catalog().rebuild()
        finally:
            os._exit(1)
    _pid, status = os.waitpid(child, 0)
    assert 1 == len(drafts(place))
    place.catalog().refresh()

    assert (7, expected) == (os.waitstatus_to_exitcode(status), tables(place))
    assert [] == drafts(place)


def test_draft_of_another_process_is_waited_for(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for _number in range(3):
        make()
    monkeypatch.setattr(catalog_module, "MANY", 2)
    read_end, write_end = os.pipe()
    if (child := os.fork()) == 0:
        make_indexes = Connection.make_indexes

        def make_later(*given: Any) -> None:
            os.write(write_end, b"w")
            time.sleep(0.5)
            make_indexes(*given)

        Connection.make_indexes = make_later  # type: ignore[method-assign]  # so that the other one comes meanwhile
        try:
            place.catalog().rebuild()
        finally:
            os._exit(0)
    os.read(read_end, 1)
    begins: list[str] = []
    begin = catalog_file.begin
    monkeypatch.setattr(catalog_file, "begin", lambda *given, **more: (begins.append(""), begin(*given, **more)))
    rows = place.catalog().summaries()
    os.waitpid(child, 0)
    os.close(read_end)
    os.close(write_end)

    assert (3, [], []) == (len(rows), begins, drafts(place))


def test_catalog_whose_draft_fails_is_written_itself(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorting the rows of an index takes room for temporary files, which may be somewhere else than the store."""
    for _number in range(3):
        make()
    monkeypatch.setattr(catalog_module, "MANY", 2)

    def fail(*_given: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Connection, "make_indexes", fail)
    place.catalog().rebuild()

    assert 3 == first_value(place, "select count(*) from container where kind = 'runs'")
    assert [] == drafts(place)


def first_value(place: Store, query: str) -> Any:
    with contextlib.closing(sqlite3.connect(place.root / "catalog.db")) as connection:
        return connection.execute(query).fetchone()[0]


def start_and_end(module: str, call: str) -> tuple[int, int]:
    """Start a process that ends at its first request."""
    return processes.start(module, f"import os; os.read(3, 1); os._exit(1); {call}")


def refuse(_file: CatalogFile, _how: int) -> int:
    """What a store that cannot be written does. Root may write anywhere, so the refusal itself is imitated."""
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "catalog.sum")


def ids(rows: list[Summary]) -> list[str]:
    return [row.id for row in rows]


def tables(place: Store) -> dict[str, list[Any]]:
    """Everything in the catalog, without its own numbers."""
    queries = {
        "container": "select uid, kind, id, project, state, created, stamp from container order by uid",
        "cell": "select uid, path, field.kind, num, integer, txt, whole, min, max, average, variance "
        "from cell join container on container.number = cell.container join field on field.number = cell.field "
        "order by 1, 2",
        "tag": "select uid, path, tag from tag join container on container.number = tag.container "
        "join field on field.number = tag.field order by 1, 2, 3",
    }
    connection = sqlite3.connect(place.root / "catalog.db")
    try:
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}
    finally:
        connection.close()


def test_row_says_what_the_run_says(place: Store) -> None:
    with naiad.init_run(project="team/p", name="é", description="text", tags=["b", "a"], custom_run_id="mine") as run:
        run["sys/group_tags"].add("g")
        run["sys/failed"] = True
    [row] = place.catalog().summaries()

    assert ("P-1", "team/p", "é", "finished", "text") == (row.id, row.project, row.name, row.state, row.description)
    assert (("a", "b"), ("g",), True, "mine") == (row.tags, row.group_tags, row.failed, row.custom_run_id)
    assert row.uid == place.find_directory("P-1").uid
    assert row.size > 0
    assert row.created is not None
    assert row.modified is not None
    assert row.created <= row.modified


def test_newest_runs_come_first_and_filters_combine(place: Store) -> None:
    for project, tags in (("p", ["x"]), ("q", ["x", "y"]), ("p", []), ("p", ["x", "y"])):
        make(project, tags=tags)
    catalog = place.catalog()

    assert ["P-3", "P-2", "Q-1", "P-1"] == ids(catalog.summaries())
    assert ["P-3", "P-2", "P-1"] == ids(catalog.summaries("p"))
    assert ["P-3", "Q-1"] == ids(catalog.summaries(tags=["x", "y"]))
    assert ["P-3"] == ids(catalog.summaries("p", tags=["y", "x"], state="finished"))
    assert [] == catalog.summaries(state="running")
    assert [] == catalog.summaries("nothing")


def test_atoms_and_last_values_are_kept(place: Store) -> None:
    with naiad.init_run(project="p") as run:
        run["values"] = {"float": 0.5, "nan": float("nan"), "int": 2**62 + 1, "bool": True, "text": "\ud800é"}
        run["values/long"] = "x" * 1000
        run["loss"].extend([0.5, 0.25], steps=[3, 1.5], timestamps=[1.0, 2.0])
        run["log"].extend(["a", "b"], timestamps=[1.0, 2.0])
        run["empty"].configure(unit="m")
    place.catalog().refresh()
    found = {row[1]: row[2:] for row in tables(place)["cell"] if not row[1].startswith("sys/")}

    nothing = (None,) * 4
    assert ("float", 0.5, None, None, None, *nothing) == found["values/float"]
    assert ("float", None, None, None, None, *nothing) == found["values/nan"]
    assert ("int", float(2**62), 2**62 + 1, None, None, *nothing) == found["values/int"]
    assert ("bool", 1.0, None, None, None, *nothing) == found["values/bool"]
    assert ("string", None, None, "?é", None, *nothing) == found["values/text"]
    assert ("string", None, None, "x" * INDEXED_TEXT, "x" * 1000, *nothing) == found["values/long"]
    assert ("float_series", 0.5, None, None, None, 0.25, 0.5, 0.375, 0.015625) == found["loss"]
    assert ("string_series", None, None, "b", None, *nothing) == found["log"]
    assert ("float_series", None, None, None, None, *nothing) == found["empty"]


def test_rebuilt_catalog_is_the_same(place: Store) -> None:
    for i in range(5):
        make(f"p{i % 2}", tags=[f"t{i}"])
    place.catalog().refresh()
    before = tables(place)

    place.catalog().rebuild()
    assert before == tables(place)
    (place.root / "catalog.db").unlink()
    place.catalog().refresh()
    assert before == tables(place)


def rows(place: Store) -> dict[str, tuple[Any, ...]]:
    """The row of each container with its shown cells by path and kind, but without those that change by themselves."""
    with contextlib.closing(sqlite3.connect(place.root / "catalog.db")) as connection:
        fields = {number: key for number, *key in connection.execute("select number, path, kind from field")}
        columns = "uid, kind, id, project, state, created, losses, stamp, seal, cells"
        found = connection.execute(f"select {columns} from container").fetchall()
    shown = {}
    for uid, *facts, packed in found:
        signs = [*SIGNS_OF_LIFE]
        if "running" in facts:  # its writer prepares the next segment soon after it has begun, a change of its files
            signs.append(("sys/modification_time", "datetime"))
        cells = {tuple(fields[number]): value for number, value in cells_in(packed).items()}
        # As texts, because a NaN differs from itself.
        kept = sorted((key, repr(value)) for key, value in cells.items() if key not in signs)
        listed = [*zip(FACTS, facts_in(packed) or [], strict=True)]
        shown[uid] = *facts, kept, [(key, value) for key, value in listed if key not in signs]
    return shown


def test_catalog_made_anew_by_several_processes_is_that_of_ordinary_updates(
    place: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def update() -> None:
        place.catalog().refresh()

    update()
    for number in range(4):
        make(f"p{number % 2}", tags=[f"t{number}"])
        update()
    with naiad.init_run(project="p0", with_id="P0-1") as run:  # not short any more: two writers, and a deletion
        del run["lr"]
        run["lr"] = 3
        run["tiny"].extend([float("nan")])
    update()
    for name, (file, damage) in {"P0-2": ("*.ops", b"x" * 40), "P1-1": ("*.seg", b"y")}.items():
        folder = place.find_directory(name)
        path = next(folder.journal.glob(file))
        content = path.read_bytes()
        path.write_bytes(content[:70] + damage + content[70 + len(damage) :])
        (place.root / "changed" / folder.uid).touch()
        update()
    shutil.copytree(place.find_directory("P1-2").path, place.root / "runs" / "broken")
    (place.root / "runs" / "broken" / "run.db").write_bytes(b"no database" * 1000)
    (place.root / "runs" / "broken" / "seal.json").unlink()
    update()
    with naiad.init_run(project="p0", name="lives") as run:
        run["loss"].append(1.0)
        run.wait()
        update()
        kept = rows(place)
        monkeypatch.setattr(catalog_module, "MANY", 2)
        monkeypatch.setattr(catalog_module, "BATCH", 1)
        monkeypatch.setattr(catalog_module, "LARGE_BATCH", 4)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1}, raising=False)
        place.catalog().rebuild()

        assert kept == rows(place)
    assert {"finished", "damaged", "running"} == {state for _kind, _id, _project, state, *_others in kept.values()}
    assert any(losses for *_facts, losses, _stamp, _seal, _cells, _shown in kept.values())


def test_running_run_is_shown_as_it_is_now(place: Store) -> None:
    catalog = place.catalog()
    run = naiad.init_run(project="p", name="one")
    assert [("running", "one")] == [(row.state, row.name) for row in catalog.summaries()]

    run["sys/name"] = "two"
    run["sys/tags"].add("late")
    assert [("running", "two", ("late",))] == [(row.state, row.name, row.tags) for row in catalog.summaries()]
    run.stop()
    assert [("finished", "two")] == [(row.state, row.name) for row in catalog.summaries()]


@pytest.fixture
def child(place: Store) -> Iterator[int]:
    """A process with a run that it has begun, to be killed."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        naiad.init_run(project="p")["x"] = 1
        os.write(theirs, b".")
        signal.alarm(60)  # if an assert of the test fails, the kill is not reached
        signal.pause()
    os.read(ours, 1)
    yield child
    os.close(ours)
    os.close(theirs)


def test_killed_run_is_shown_as_killed_at_once(place: Store, child: int) -> None:
    catalog = place.catalog()
    assert ["running"] == [row.state for row in catalog.summaries()]

    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert ["killed"] == [row.state for row in catalog.summaries()]
    assert ["killed"] == [row.state for row in place.catalog().summaries()]
    with naiad.init_run(with_id="P-1"):
        assert ["running"] == [row.state for row in catalog.summaries()]
    assert ["finished"] == [row.state for row in catalog.summaries()]


def test_run_that_is_resumed_after_the_look_at_its_writers_is_running(
    place: Store, child: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look before the reading shows a dead writer alone; the run that is read has another, which lives."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    catalog = place.catalog()
    assert ["killed"] == [row.state for row in catalog.summaries()]
    [file] = place.root.glob("runs/*/journal/*.ops")
    os.utime(file, (1, 1))  # so that it is looked at and read again
    read_entry, resumed = entries.read_entry, []

    def resume(*arguments: Any) -> Any:
        resumed.append(naiad.init_run(with_id="P-1"))
        return read_entry(*arguments)

    monkeypatch.setattr(entries, "read_entry", resume)
    assert ["running"] == [row.state for row in catalog.summaries()]
    resumed[0].stop()


def test_run_that_ends_after_the_look_at_its_writers_is_finished(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while another process still writes it, so that it has no seal."""
    run = naiad.init_run(project="p")
    assert ["running"] == [row.state for row in place.catalog().summaries()]
    read_entry = entries.read_entry

    def end_first(*arguments: Any) -> Any:
        run.stop()
        for seal in place.root.glob("runs/*/seal.json"):
            seal.unlink()
        return read_entry(*arguments)

    monkeypatch.setattr(entries, "read_entry", end_first)
    assert ["finished"] == [row.state for row in place.catalog().summaries()]


def test_folders_that_are_copied_in_and_removed_are_noticed(place: Store, tmp_path: Path) -> None:
    make()
    naiad.init_run(project="digits", store=tmp_path / "other").stop()
    source = Store.locate(tmp_path / "other").find_directory("DIGITS-1")
    catalog = place.catalog()
    assert ["P-1"] == ids(catalog.summaries())

    shutil.copytree(source.path, place.root / "runs" / source.uid)
    assert ["DIGITS-1", "P-1"] == ids(catalog.summaries())
    shutil.rmtree(place.root / "runs" / source.uid)
    assert ["P-1"] == ids(catalog.summaries())
    shutil.rmtree(place.root / "runs")
    assert [] == catalog.summaries()


def _settled(place: Store) -> None:
    """As if the folders had been made long ago, so that only their inside can show a change."""
    for folder in place.root.glob("runs"):
        os.utime(folder, (1, 1))


def test_folder_that_is_copied_in_slowly_is_read_when_it_is_whole(place: Store, tmp_path: Path) -> None:
    make(store=tmp_path / "other")
    [source] = Store.locate(tmp_path / "other").folders()
    copy = place.root / "runs" / source.uid
    shutil.copytree(source.path, copy, ignore=shutil.ignore_patterns("*.ops", "*.seg", "*.db"))
    _settled(place)
    assert [("", "killed")] == [(row.project, row.state) for row in place.catalog().summaries()]
    shutil.copytree(source.path, copy, dirs_exist_ok=True)
    _settled(place)
    assert [("P-1", "finished")] == [(row.id, row.state) for row in place.catalog().summaries()]


@pytest.mark.parametrize("was_sealed", [False, True])
def test_folder_that_is_copied_over_is_read_again(
    place: Store, tmp_path: Path, was_sealed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    run = naiad.init_run(project="p", name="first", store=other)
    run.sync()
    if was_sealed:
        run.stop()
    shutil.copytree(other / "runs", place.root / "runs")
    _settled(place)
    assert ["first"] == [row.name for row in place.catalog().summaries()]
    if was_sealed:
        run = naiad.init_run(with_id="P-1", store=other)
    run["sys/name"] = "second"
    run.stop()
    shutil.copytree(other / "runs", place.root / "runs", dirs_exist_ok=True)
    _settled(place)
    if was_sealed:
        monkeypatch.setattr(catalog_module, "_looked", {})  # a minute later, or in another process

    assert [("second", "finished")] == [(row.name, row.state) for row in place.catalog().summaries()]


def test_folders_of_a_large_store_are_looked_at_in_turns(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        make()
    _settled(place)
    assert 3 == len(place.catalog().summaries())
    looked: list[str] = []
    seal_stamp = catalog_module.seal_stamp
    monkeypatch.setattr(catalog_module, "LOOK_FOLDERS", 1)
    monkeypatch.setattr(catalog_module, "seal_stamp", lambda at: (looked.append(at), seal_stamp(at))[1])

    rounds = []
    for minute in range(3):
        monkeypatch.setattr(catalog_module, "_looked", {})  # a minute later, or in another process
        monkeypatch.setattr(catalog_module, "_next_numbers", lambda _last, turn=minute + 1: (turn, turn + 1))
        looked.clear()
        assert 3 == len(place.catalog().summaries())
        rounds.append(list(looked))

    assert [1, 1, 1] == [len(each) for each in rounds]
    assert 3 == len({uid for each in rounds for uid in each})


def test_look_of_another_process_that_finds_nothing_new_writes_nothing(
    place: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    _settled(place)
    assert 1 == len(place.catalog().summaries())
    files = [place.root / "catalog.db", place.root / "catalog.sum"]
    before = [file.stat().st_mtime_ns for file in files]
    monkeypatch.setattr(catalog_module, "_looked", {})  # as in another process

    assert 1 == len(place.catalog().summaries())
    assert before == [file.stat().st_mtime_ns for file in files]


def test_new_folder_of_a_large_store_is_found_without_a_look_at_the_others(
    place: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        make()
    _settled(place)
    assert 3 == len(place.catalog().summaries())
    naiad.init_run(project="p", name="other", store=tmp_path / "other").stop()
    shutil.copytree(tmp_path / "other" / "runs", place.root / "runs", dirs_exist_ok=True)
    looked: list[str] = []
    seal_stamp = catalog_module.seal_stamp
    monkeypatch.setattr(catalog_module, "LOOK_FOLDERS", 1)
    monkeypatch.setattr(catalog_module, "seal_stamp", lambda at: (looked.append(at), seal_stamp(at))[1])

    assert 4 == len(place.catalog().summaries())
    assert 2 == len(set(looked))  # the new one, and the one whose turn it is


def test_turns_go_round_with_the_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    for minute in range(3):
        monkeypatch.setattr(catalog_module.clock, "now", lambda at=1_700_000_000 + 60 * minute: at)
        seen.add(catalog_module._next_numbers(1_100))

    assert {(1, 501), (501, 1_001), (1_001, 1_501)} == seen
    assert catalog_module.ALL == catalog_module._next_numbers(500)


def test_resumed_run_is_read_again(place: Store) -> None:
    catalog = place.catalog()
    make()
    before = catalog.summaries()
    with naiad.init_run(with_id="P-1") as run:
        run["sys/name"] = "resumed"

    assert ["Untitled", "resumed"] == [row.name for row in before + catalog.summaries()]


def test_sealed_runs_are_not_opened_again(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        make()
    place.catalog().refresh()
    monkeypatch.setattr(entries, "Reader", None)

    assert 3 == len(place.catalog().summaries())


@pytest.mark.parametrize("damage", ["garbage", "cut", "zeros in the middle", "another format", "no tables", "a folder"])
def test_damaged_catalog_is_made_anew(place: Store, damage: str) -> None:
    for i in range(20):
        make(tags=[f"t{i}", "all"])
    expected = place.catalog().summaries()
    file = place.root / "catalog.db"
    _checkpoint(file)
    content = bytearray(file.read_bytes())
    if damage == "garbage":
        file.write_bytes(b"this is no database" * 1000)
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "zeros in the middle":
        content[8192:-4096] = bytes(len(content) - 12288)
        file.write_bytes(content)
    elif damage == "another format":
        connection = sqlite3.connect(file)
        connection.execute("update about set format = 99")
        connection.commit()
        connection.close()
    elif damage == "no tables":
        file.write_bytes(b"")
    else:
        file.unlink()
        file.mkdir()

    assert expected == place.catalog().summaries()
    assert ["P-8"] == ids(place.catalog().summaries(tags=["t7", "all"]))


def _checkpoint(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("pragma journal_mode=delete")
    connection.close()
    assert not file.with_name("catalog.db-wal").exists()


def test_fault_of_the_program_leaves_the_catalog_as_it_is(place: Store) -> None:
    """It is no damage of the file, and must not cost the reading of all runs anew."""
    make()
    catalog = place.catalog()
    catalog.summaries()
    before = catalog.changes().mark

    with contextlib.closing(sqlite3.connect(":memory:")) as other, pytest.raises(sqlite3.ProgrammingError):
        catalog.read(lambda _connection: other.execute("SELECT ?, ?", (1,)))
    assert before == catalog.changes().mark


def test_damage_found_while_listing_makes_it_anew(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    expected = place.catalog().summaries()
    summaries = sql_catalog._CALLS["summaries"]
    failures = iter([True])

    def fail_once(*given: Any, **named: Any) -> Any:
        if next(failures, False):
            raise catalog_module.DatabaseError("select", None, Exception("database disk image is malformed"))
        return summaries(*given, **named)

    monkeypatch.setitem(sql_catalog._CALLS, "summaries", fail_once)
    assert expected == place.catalog().summaries()


def test_store_that_cannot_be_written_is_listed_from_memory(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    place.catalog().refresh()
    expected = place.catalog().summaries()
    before = (place.root / "catalog.db").read_bytes()

    monkeypatch.setattr(CatalogFile, "_lock", refuse)
    catalog = place.catalog()
    assert expected == catalog.summaries()
    assert expected == catalog.summaries("p")
    assert before == (place.root / "catalog.db").read_bytes()


def test_store_that_cannot_be_written_is_not_read_anew_for_each_query(
    place: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    place.catalog().refresh()
    make()

    monkeypatch.setattr(CatalogFile, "_lock", refuse)
    read: list[str] = []
    read_entry = entries.read_entry

    def noted(register: Register, folder: Any, *look: Any) -> Any:
        read.append(register.id_of(folder.uid))
        return read_entry(register, folder, *look)

    monkeypatch.setattr(entries, "read_entry", noted)
    assert ["P-2", "P-1"] == ids(place.catalog().summaries())
    assert ["P-2"] == read  # the other one is known from the catalog on disk
    assert ["P-2", "P-1"] == ids(place.catalog().summaries())
    assert ["P-2"] == read

    with naiad.init_run(with_id="P-1") as run:
        run["sys/name"] = "resumed"
    (
        place.root / "changed" / run._store.directory(run._run).uid
    ).unlink()  # by a reader who may write the catalog on disk
    assert ["Untitled", "resumed"] == [row.name for row in place.catalog().summaries()]


def test_change_that_only_a_catalog_in_memory_has_read_stays_marked(
    place: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    place.catalog().refresh()
    with naiad.init_run(with_id="P-1") as run:
        run["sys/name"] = "resumed"
    monkeypatch.setattr("naiad.storage.sql.database.BUSY_SECONDS", 0.1)
    blocker = sqlite3.connect(place.root / "catalog.db", isolation_level=None)
    blocker.execute("begin immediate")
    assert ["resumed"] == [row.name for row in place.catalog().summaries()]
    blocker.close()

    assert ["resumed"] == [row.name for row in place.catalog().summaries()]


def test_run_that_cannot_be_read_is_listed_as_damaged_beside_the_others(place: Store) -> None:
    for _ in range(3):
        make()
    for name in os.listdir(place.find_directory("P-2").journal):
        file = place.find_directory("P-2").journal / name
        file.write_bytes(b"x" * file.stat().st_size)
    shutil.copytree(place.find_directory("P-1").path, place.root / "runs" / "broken")
    (place.root / "runs" / "broken" / "run.db").write_bytes(b"no database" * 1000)
    (place.root / "runs" / "broken" / "seal.json").unlink()

    found = {row.uid: row.state for row in place.catalog().summaries()}
    assert 4 == len(found)
    assert "damaged" == found["broken"]
    assert "finished" == found[place.find_directory("P-1").uid]
    assert "P-2" in ids(place.catalog().summaries())


def test_damaged_file_series_hides_nothing_else_of_its_run(place: Store) -> None:
    """Its files cannot be added up; the run, its other fields and its state are listed all the same."""
    writer = Writer.open(place.directory(place.reserve_run("p").run))
    at = writer.now()
    texts = [FileRef.of_bytes(bytes([step]) * 50, "png").to_text() for step in range(20)]
    series = Strings("images", texts, [*range(20)], [at] * 20, False, at, "file_series")
    writer.log([Assign("lr", "float", 0.1, at), Assign("sys/id", "string", "P-1", at), series])
    Maintenance(writer.folder, Tuning.from_environment()).fold(writer.journal)
    writer.stop()
    index = writer.folder.index
    data = bytearray(index.read_bytes())
    data[data.rindex(b"T\x01\x04\x00") + 60] ^= 1  # in the block of its texts
    index.write_bytes(data)
    writer.folder.seal.unlink()
    [found] = place.catalog().summaries()
    [row] = place.catalog().search(RUN, None, None).rows
    size = Reader(writer.folder).value("sys/size")

    assert ("P-1", "finished", ("images",)) == (found.id, found.state, found.losses.damaged)
    assert 0.1 in row.cells.values()
    assert found.size == size > 0


def test_run_of_a_later_release_is_listed_as_newer(place: Store) -> None:
    make()
    folder = place.find_directory("P-1")
    [file] = folder.journal.glob("*.ops")
    content = bytearray(file.read_bytes())
    content[8] = 2
    file.write_bytes(content)
    folder.seal.unlink()

    assert [("P-1", "newer")] == [(row.id, row.state) for row in place.catalog().summaries()]


def test_fields_removed_while_a_run_is_read_are_no_trouble(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = naiad.init_run(project="p")
    run["loss"].append(0.5)
    run["x"] = 1
    shown = entries.Reader.shown

    def change_after(reader: Any) -> Any:
        found = shown(reader)
        if run.exists("loss"):
            run.pop("loss")
            run["new"] = 2
        return found

    monkeypatch.setattr(entries.Reader, "shown", change_after)
    assert ["P-1"] == ids(place.catalog().summaries())
    run.stop()


def test_tags_that_a_database_cannot_tell_apart_are_one(place: Store) -> None:
    make(tags=["\ud800", "?", "\udfff"])

    assert [("?",)] == [row.tags for row in place.catalog().summaries()]
    assert ["P-1"] == ids(place.catalog().summaries(tags=["\ud800"]))


def test_missing_store_has_no_runs_and_is_not_made(place: Store) -> None:
    assert [] == Catalog(place.layout, place.register).summaries()
    assert not place.root.exists()


def test_300_runs_are_listed_and_found_quickly(place: Store) -> None:
    for i in range(300):
        with naiad.init_run(project="many", name=f"run {i}", tags=["odd"] if i % 2 else []) as run:
            run["lr"] = i / 300
    catalog = place.catalog()
    began = time.monotonic()
    rows = catalog.summaries()
    read = time.monotonic() - began
    began = time.monotonic()
    again = catalog.summaries(tags=["odd"])
    listed = time.monotonic() - began

    assert [f"run {i}" for i in reversed(range(300))] == [row.name for row in rows]
    assert [f"run {i}" for i in reversed(range(1, 300, 2))] == [row.name for row in again]
    assert read < 20
    assert listed < 2
