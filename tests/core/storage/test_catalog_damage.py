"""Damage of the catalog: noticed, and never shown as a table."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import naiad
from naiad.cli import main
from naiad.storage.local import catalog_file
from naiad.storage.local.catalog_file import CatalogFile
from naiad.storage.sql import rows, values

SHOWN = ["sys/id", "sys/name", "sys/tags", "n", "text", "loss:min"]
RUNS = 12


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a catalog."""
    folder = tmp_path_factory.mktemp("original") / "st"
    make(folder, RUNS)
    table(folder)
    return folder


@pytest.fixture
def damaged(original: Path, store: Path) -> Path:
    """A copy of it, to be damaged."""
    shutil.copytree(original, store)
    return store


def make(folder: Path, runs: int, text: str = "text") -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAIAD_CAPTURES", "off")
        for i in range(runs):
            with naiad.init_run(store=folder, project="e", name=f"run{i}", tags=[f"t{i}"]) as run:
                run["n"] = 1000 + i
                run["text"] = f"{text}{i}" * 60
                run["loss"].extend([0.5 + i, 0.25 + i])


def table(folder: Path) -> list[tuple[str, ...]]:
    with naiad.init_project("e", store=folder, mode="read-only") as project:
        rows = project.fetch_runs_table(columns=SHOWN).to_rows()
        return sorted(tuple(repr(row.get_attribute_value(column)) for column in SHOWN) for row in rows)


def flip(path: Path, random_one: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[random_one.randrange(len(content))] ^= 1 << random_one.randrange(8)
    path.write_bytes(content)


def again(original: Path, folder: Path) -> Path:
    for name in ("catalog.db", "catalog.sum"):
        shutil.copy(original / name, folder / name)
    return folder / "catalog.db"


@pytest.mark.parametrize("name", ["catalog.db", "catalog.sum"])
def test_flipped_bit_never_shows_in_a_table(original: Path, damaged: Path, name: str) -> None:
    good, chance = table(original), random.Random(1)
    for _ in range(60):
        again(original, damaged)
        flip(damaged / name, chance)
        assert good == table(damaged)
    assert [] == CatalogFile(damaged / "catalog.db").damages()


def _whole_page(content: bytes, value: int) -> bytes:
    return content[:8192] + bytes([value]) * 4096 + content[12288:]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut in a page": lambda content: content[:-100],
    "cut between pages": lambda content: content[:-4096],
    "cut to the header": lambda content: content[:100],
    "empty": lambda _content: b"",
    "a page of zeros": lambda content: _whole_page(content, 0),
    "a page of ones": lambda content: _whole_page(content, 255),
    "pages exchanged": lambda content: content[:8192] + content[12288:16384] + content[8192:12288] + content[16384:],
    "garbage at the end": lambda content: content + os.urandom(5000),
    "zeros at the end": lambda content: content + bytes(4096),
    "garbage": lambda _content: os.urandom(40_000),
}


@pytest.mark.parametrize("sum_is", ["there", "empty", "gone", "garbage"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_file_that_is_not_what_was_written_is_made_anew(
    original: Path, damaged: Path, damage: str, sum_is: str
) -> None:
    file = damaged / "catalog.db"
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    if sum_is == "gone":
        (damaged / "catalog.sum").unlink()
    elif sum_is != "there":
        (damaged / "catalog.sum").write_bytes(b"" if sum_is == "empty" else b"\xff\x00garbage")

    assert table(original) == table(damaged)
    assert [] == CatalogFile(file).damages()


COLUMNS = {
    "container": ("number", "uid", "kind", "id", "project", "state", "created", "losses", "stamp", "seal", "cells"),
    "field": ("number", "path", "kind"),
    "cell": ("num", "integer", "txt", "whole", "min"),
    "about": ("listed", "made", "revision"),
}
OWN_CRC = {
    "container": ("number", "uid", "kind", "id", "project", "state", "created", "losses"),
    "field": ("number", "path", "kind"),
}
ODD = [-(2**63), 2**53 + 1, "[" * 100_000, "\x1b[2J\0", b"\xff\xfe", b"\x91" * 100_000 + b"\xc0", float("inf")]


def put_odd(folder: Path, table: str, column: str, value: object, *, is_true: bool) -> bool:
    """Put a value into a row as no release would, below a sum that fits; `is_true`: with the crc that belongs to it."""
    path = folder / "catalog.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        row = dict(connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone())
        keys = [name for name in ("number", "field", "container", "format") if name in row]
        new = {**row, column: value}
        if is_true:
            cells = new.get("cells", b"")
            new["crc"] = values._crc(
                cells if isinstance(cells, bytes) else b"", *(new[each] for each in OWN_CRC[table])
            )
        names = ", ".join(f"{name} = :{name}" for name in new if new[name] is not row[name])
        where = " AND ".join(f"{name} IS :old_{name}" for name in keys)
        try:
            connection.execute(
                f"UPDATE {table} SET {names} WHERE {where}", new | {f"old_{name}": row[name] for name in keys}
            )
            connection.commit()
        except sqlite3.IntegrityError:  # such as a text for a number that is a key
            return False
    content = path.read_bytes()
    known = catalog_file.Sum(catalog_file.FORMAT, len(content), zlib.crc32(content), round(time.time()))
    (folder / "catalog.sum").write_text(" ".join(map(str, known)))
    catalog_file._proven.clear()
    return True


@pytest.mark.parametrize("table_name", COLUMNS)
def test_odd_values_below_a_sum_that_fits_end_no_listing(original: Path, damaged: Path, table_name: str) -> None:
    """A row that fails its own crc is shown as it was or not at all, and commands end as always."""

    def listed() -> list[dict[str, Any]]:
        done = CliRunner().invoke(main, ["--store", str(damaged), "ls", "--json"])
        assert 0 == done.exit_code, (column, value, done.exception)
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    column, value = "", object()
    good, turn = listed(), itertools.cycle(ODD)
    for column in COLUMNS[table_name]:
        for is_true in (False, True) if table_name in OWN_CRC else (False,):
            value = next(turn)
            again(original, damaged)
            if put_odd(damaged, table_name, column, value, is_true=is_true):
                done = CliRunner().invoke(main, ["--store", str(damaged), "verify"])
                assert isinstance(done.exception, SystemExit | None), (column, value, done.exception)
                found = listed()
                assert is_true or all(row in good for row in found), (column, value)


@pytest.mark.parametrize("with_sum", [True, False])
def test_catalog_of_another_store_is_not_believed(
    original: Path, damaged: Path, tmp_path: Path, with_sum: bool
) -> None:
    other = tmp_path / "other"
    make(other, 3, "other")
    table(other)
    shutil.copy(other / "catalog.db", damaged / "catalog.db")
    if with_sum:
        shutil.copy(other / "catalog.sum", damaged / "catalog.sum")

    assert table(original) == table(damaged)


@pytest.mark.parametrize(
    ("end", "content"), [("-journal", b""), ("-journal", bytes(32768)), ("-wal", b""), ("-shm", bytes(32768))]
)
@pytest.mark.parametrize("sum_is", ["there", "empty"])
def test_files_that_sqlite_would_take_for_a_part_of_it_are_not_believed(
    original: Path, damaged: Path, tmp_path: Path, end: str, content: bytes, sum_is: str
) -> None:
    """A log of another database, with changes that SQLite would carry out."""
    other = sqlite3.connect(tmp_path / "other.db")
    other.executescript("pragma journal_mode=wal; create table container (x); create table about (format)")
    log = (tmp_path / "other.db-wal").read_bytes()
    other.close()
    (damaged / f"catalog.db{end}").write_bytes(content or log)
    if sum_is == "empty":
        (damaged / "catalog.sum").write_bytes(b"")

    assert table(original) == table(damaged)
    assert not (damaged / f"catalog.db{end}").exists()


@pytest.mark.parametrize("place", ["catalog.db", "catalog.sum"])
@pytest.mark.parametrize("what", ["folder", "full folder", "link", "dangling link", "link to itself", "pipe"])
def test_what_is_no_file_in_its_place_is_no_trouble(
    original: Path, damaged: Path, tmp_path: Path, place: str, what: str
) -> None:
    target = tmp_path / "target"
    shutil.copy(original / place, target)
    before = target.read_bytes()
    (damaged / place).unlink()
    if "folder" in what:
        (damaged / place).mkdir()
        if what == "full folder":
            (damaged / place / "mine").touch()
    elif what == "pipe":
        os.mkfifo(damaged / place)
    else:
        (damaged / place).symlink_to({"link": target, "dangling link": tmp_path / "nothing"}.get(what, damaged / place))

    assert table(original) == table(damaged)
    assert table(original) == table(damaged)
    if place == "catalog.db":
        assert before == target.read_bytes()
        assert not (tmp_path / "nothing").exists()


def test_store_that_cannot_be_written_shows_no_damage_either(
    original: Path, damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere, so the refusal itself is imitated."""

    def refuse(_file: CatalogFile, _how: int) -> int:
        raise PermissionError

    monkeypatch.setattr(CatalogFile, "_lock", refuse)
    good, chance = table(original), random.Random(2)
    for i in range(20):
        again(original, damaged)
        if i % 2:
            (damaged / "catalog.sum").write_bytes(b"")
        flip(damaged / "catalog.db", chance)
        naiad.storage.local.catalog._own.engines.clear()
        assert good == table(damaged)


@pytest.mark.parametrize("remembered", [0, rows.SMALL_ROWS], ids=["many rows", "few rows"])
def test_large_catalog_shows_no_damaged_row_and_no_error(
    original: Path, damaged: Path, monkeypatch: pytest.MonkeyPatch, remembered: int
) -> None:
    """Of a large file each row is checked when it is shown; a row that is not found is noticed by the full check."""
    monkeypatch.setattr(catalog_file, "WHOLE_BYTES", 0)
    monkeypatch.setattr(rows, "SMALL_ROWS", remembered)
    again(original, damaged).unlink()
    good, chance = table(damaged), random.Random(3)
    large = damaged.with_name("large")
    shutil.copytree(damaged, large)
    found = 0
    for _ in range(60):
        flip(again(large, damaged), chance)
        damages = CatalogFile(damaged / "catalog.db").damages()
        shown = table(damaged)
        assert set(shown) <= set(good)
        assert shown == good or damages
        found += bool(damages)

    assert found > 8  # of 60; most flips lie in pages that hold no row


def test_large_catalog_is_checked_once_a_day(original: Path, damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_file, "WHOLE_BYTES", 0)
    file = again(original, damaged)
    file.unlink()
    good = table(damaged)
    with sqlite3.connect(file) as connection:
        connection.execute("update cell set variance = 17 where variance is not null")
    connection.close()
    known = (damaged / "catalog.sum").read_text().split()
    assert good == table(damaged)
    assert ["its tables for searching differ from what it shows"] == CatalogFile(file).damages()

    known[3] = "0"
    (damaged / "catalog.sum").write_text(" ".join(known))
    catalog_file._proven.clear()
    assert good == table(damaged)
    until = time.monotonic() + 60
    while CatalogFile(file).damages() and time.monotonic() < until:
        time.sleep(0.05)
    assert good == table(damaged)
    assert [] == CatalogFile(file).damages()


def test_comparison_of_another_process_counts_for_the_same_file_and_a_minute(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command after a command need not read all of the catalog to know that it is whole."""
    compared: list[Path] = []
    compare = catalog_file._crc

    def noted(path: Path) -> int:
        compared.append(path)
        return compare(path)

    def looks() -> int:
        catalog_file._proven.clear()  # as in another process
        compared.clear()
        assert good == table(damaged)
        return len(compared)

    monkeypatch.setattr(catalog_file, "_crc", noted)
    good = table(damaged)
    assert 1 == looks()  # what has just been written may be written once more within one tick of the clock
    monkeypatch.setattr(catalog_file, "SETTLED_SECONDS", 0.0)

    assert [1, 0, 0] == [looks() for _ in range(3)]
    os.utime(damaged / "catalog.db")
    assert [1, 0] == [looks() for _ in range(2)]
    flip(damaged / "catalog.db", random.Random(4))
    assert 1 < looks()
    with monkeypatch.context() as patch:
        patch.setattr(catalog_file, "PROVEN_SECONDS", 0.0)
        assert 0 < looks()


def test_verify_names_it_and_repair_makes_it_anew(original: Path, damaged: Path) -> None:
    program = [str(Path(sys.executable).with_name("naiad")), "--store", str(damaged)]
    content = bytearray((damaged / "catalog.db").read_bytes())
    content[9000] ^= 1
    (damaged / "catalog.db").write_bytes(content)

    found = subprocess.run([*program, "verify"], capture_output=True, text=True, check=False)
    assert 1 == found.returncode
    assert "catalog.db" in found.stdout
    assert "naiad repair --catalog" in found.stdout
    subprocess.run([*program, "repair", "--catalog"], check=True)
    subprocess.run([*program, "verify"], check=True)


WRITER = """
import random, sys, naiad
folder, runs, chance = sys.argv[1], int(sys.argv[2]), random.Random(int(sys.argv[3]))
print("begun", flush=True)
for i in range(10_000):
    with naiad.init_run(with_id=f"E-{1 + chance.randrange(runs)}", store=folder, project="e") as run:
        run["again"] = i
    with naiad.init_project("e", store=folder, mode="read-only") as project:
        rows = project.fetch_runs_table(columns=["sys/id", "n"]).to_rows()
        found = {row.get_attribute_value("sys/id"): row.get_attribute_value("n") for row in rows}
        assert found == {f"E-{i + 1}": 1000 + i for i in range(runs)}, found
"""


def test_killed_writers_leave_a_whole_catalog_and_make_nobody_start_anew(damaged: Path) -> None:
    chance = random.Random(4)
    file = damaged / "catalog.db"
    inode = file.stat().st_ino

    def start() -> subprocess.Popen[str]:
        program = [sys.executable, "-c", WRITER, str(damaged), str(RUNS), str(chance.randrange(1000))]
        process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    def stop(process: subprocess.Popen[str]) -> None:
        process.kill()
        errors = process.communicate()[1]
        assert -signal.SIGKILL == process.returncode, errors  # and not by an error of its own

    writers = [start() for _ in range(3)]
    try:
        for _ in range(6):
            time.sleep(chance.uniform(0.2, 1.0))
            stop(writers.pop(0))
            writers.append(start())
    finally:
        for writer in writers:
            writer.kill()
    for writer in writers:
        stop(writer)

    assert [] == CatalogFile(file).damages()
    assert [f"'E-{i + 1}'" for i in range(RUNS)] == sorted(
        (row[0] for row in table(damaged)), key=lambda i: int(i[3:-1])
    )
    assert inode == file.stat().st_ino


def test_catalog_that_is_made_anew_between_two_transactions_is_filled_before_it_is_read(
    original: Path, damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may find damage, and throw the file away, at any moment."""
    good, reading, calls = table(original), CatalogFile.reading, iter(range(100))

    def discarding(file: CatalogFile) -> Any:
        if next(calls) in (1, 3):  # the first transaction of each round looks at what has changed, the second answers
            file.discard()
        return reading(file)

    monkeypatch.setattr(CatalogFile, "reading", discarding)
    assert good == table(damaged)
    assert next(calls) > 4


def test_run_is_opened_by_its_id_although_the_catalog_gives_it_to_another(damaged: Path) -> None:
    with sqlite3.connect(damaged / "catalog.db") as connection:
        connection.execute("update container set id = 'E-2' where id = 'E-3'")
    connection.close()

    with naiad.init_run(with_id="E-2", mode="read-only") as run:
        assert "run1" == run["sys/name"].fetch()
