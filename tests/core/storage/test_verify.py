"""Verifying: what was damaged is named with its file and its field, and what a kill explains is no damage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import naiad
from naiad.errors import DamagedData, DamageWarning
from naiad.ops import Assign, Strings
from naiad.settings import Tuning
from naiad.slots import RECORD, SEGMENT_HEADER
from naiad.storage.local.integrity.verify import examine, verify, verify_store
from naiad.storage.local.journal.frames import FILE_HEADER, read_frames
from naiad.storage.local.layout import Layout, RunDirectory
from naiad.storage.local.maintenance import Maintenance
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store
from naiad.storage.local.writer import Writer


def begun(root: Path) -> Writer:
    """A run with a parameter, a text and two series, whose points lie in blocks of their own."""
    store = Store.locate(root)
    writer = Writer.open(store.directory(store.reserve_run("verify").run))
    at = writer.now()
    writer.log([Assign("lr", "float", 0.1, at), Strings("log", ["begun"], [0], [at], False, at)])
    for path in ("loss", "accuracy"):
        fid = writer.bind(path)
        writer.points(fid, [step / 3 for step in range(700)], range(700), [1e9] * 700)
    return writer


@pytest.fixture
def short(tmp_path: Path) -> RunDirectory:
    """A stopped run that is only a journal."""
    writer = begun(tmp_path / "store")
    writer.stop()
    return writer.folder


@pytest.fixture
def long(tmp_path: Path) -> RunDirectory:
    """A stopped run that is only an index."""
    writer = begun(tmp_path / "store")
    Maintenance(writer.folder, Tuning.from_environment()).fold(writer.journal)
    writer.stop()
    return writer.folder


def change(path: Path, at: int, new: bytes = b"") -> None:
    """Write other bytes at a place; without any, turn one bit there."""
    data = bytearray(path.read_bytes())
    data[at : at + max(1, len(new))] = new or bytes([data[at] ^ 1])
    path.write_bytes(data)


def only(folder: RunDirectory, suffix: str) -> Path:
    (path,) = folder.journal.glob(f"*.{suffix}")
    return path


def said(folder: RunDirectory) -> list[tuple[str, str | None]]:
    return [(damage.file, damage.path) for damage in verify(folder)]


def test_whole_runs_have_no_damage(short: RunDirectory, long: RunDirectory) -> None:
    for folder in (short, long):
        found = examine(folder)

        assert [] == found.damages
        assert [] == found.torn
        assert found.is_stopped


def test_a_run_that_is_being_written_has_no_damage(tmp_path: Path) -> None:
    writer = begun(tmp_path / "store")

    assert [] == verify(writer.folder)
    assert not examine(writer.folder).is_stopped
    writer.stop()


def test_damage_among_points_names_the_file_the_bytes_and_the_field(short: RunDirectory) -> None:
    segment = only(short, "seg")
    change(segment, SEGMENT_HEADER + 300 * RECORD + 8)

    damages = verify(short)

    place = f"journal/{segment.name}"
    assert [(place, None, 8192), (place, "loss", None)] == [(one.file, one.path, one.offset) for one in damages]
    assert f'{place}: 128 of its 700 points in this file are damaged (field "loss")' == str(damages[1])


def test_only_the_field_whose_points_are_damaged_is_refused(short: RunDirectory) -> None:
    change(only(short, "seg"), SEGMENT_HEADER + 300 * RECORD + 8)
    reader = Reader(short)

    with pytest.warns(DamageWarning, match=".seg at byte 8192"):
        reader.refresh()
    with pytest.raises(DamagedData, match='"loss" cannot be read whole(.|\n)*naiad repair'):
        reader.points("loss")
    assert 700 == len(reader.points("accuracy").values)
    assert 0.1 == reader.value("lr")


def test_damage_in_an_op_names_the_field_it_is_about(short: RunDirectory) -> None:
    ops = only(short, "ops")
    change(ops, ops.read_bytes().index(b"begun"))

    assert (f"journal/{ops.name}", "log") in said(short)
    assert (f"journal/{ops.name}", "lr") in said(short)


def test_a_value_whose_op_is_damaged_is_refused(short: RunDirectory) -> None:
    ops = only(short, "ops")
    change(ops, ops.read_bytes().index(b"begun"))
    reader = Reader(short)

    with pytest.warns(DamageWarning) as given:
        reader.refresh()
    assert any('(field "lr")' in str(one.message) for one in given)
    with pytest.raises(DamagedData, match='"lr" cannot be read whole'):
        reader.value("lr")
    assert 700 == len(reader.points("loss").values)


def test_a_cut_at_the_end_of_an_op_is_noticed(short: RunDirectory) -> None:
    """Nothing in the file tells that its last op is gone; the seal does."""
    ops = only(short, "ops")
    size = ops.stat().st_size
    data = ops.read_bytes()
    *_rest, before, _end = (item.end for item in read_frames(data, FILE_HEADER))
    ops.write_bytes(data[:before])

    damage = verify(short)[0]

    assert f"journal/{ops.name}" == damage.file
    assert f"where {size} were sealed" in damage.what


def test_a_damaged_chunk_is_named_with_its_field(long: RunDirectory) -> None:
    data = long.index.read_bytes()
    change(long.index, data.rindex(b"P\x01\x03\x00") + 200)

    found = said(long)

    assert ("run.db", None) in found  # the block, by the seal
    assert 1 == len({path for _file, path in found if path} & {"loss", "accuracy"})


def test_only_the_field_whose_chunk_is_damaged_is_refused(long: RunDirectory) -> None:
    change(long.index, long.index.read_bytes().rindex(b"P\x01\x03\x00") + 200)
    (damaged,) = {path for _file, path in said(long) if path}
    whole = "loss" if damaged == "accuracy" else "accuracy"
    reader = Reader(long)

    with pytest.raises(DamagedData, match=f'"{damaged}" cannot be read whole'):
        reader.points(damaged)
    assert 700 == len(reader.points(whole).values)
    assert 700 == reader.count(damaged)


def test_a_destroyed_index_is_refused_with_the_way_out(long: RunDirectory) -> None:
    change(long.index, 0, bytes(4096))

    with pytest.raises(DamagedData, match=f"run.db is damaged(.|\n)*naiad repair {long.uid}"):
        Reader(long).kinds()


def test_missing_and_added_files_are_damage(short: RunDirectory) -> None:
    segment = only(short, "seg")
    segment.rename(segment.with_name("9-abcdef.000001.seg"))

    found = [str(damage) for damage in verify(short)]

    assert f"journal/{segment.name}: it is missing" in found
    assert "journal/9-abcdef.000001.seg: it is not part of what was sealed" in found


def test_a_series_in_a_missing_file_is_refused(short: RunDirectory) -> None:
    only(short, "seg").unlink()
    reader = Reader(short)

    with pytest.warns(DamageWarning, match="it is missing"):
        reader.refresh()
    with pytest.raises(DamagedData, match="it is missing"):
        reader.points("loss")


def test_a_damaged_seal_is_damage(short: RunDirectory) -> None:
    seal = json.loads(short.seal.read_text())
    seal["files"] = {}
    short.seal.write_text(json.dumps(seal))

    assert ["seal.json: it is not the seal that was written"] == [str(damage) for damage in verify(short)]


def test_a_missing_seal_of_a_stopped_run_is_damage(short: RunDirectory, long: RunDirectory) -> None:
    for folder in (short, long):
        folder.seal.unlink()

        assert [("seal.json", None)] == said(folder)
        assert examine(folder).is_stopped


def test_the_torn_end_of_a_killed_run_is_no_damage(short: RunDirectory) -> None:
    """Without its seal and its last op, a run is as a kill leaves it."""
    short.seal.unlink()
    ops = only(short, "ops")
    ops.write_bytes(ops.read_bytes()[:-3])

    found = examine(short)

    assert [] == found.damages
    assert ["a write cut short"] == [note.what.partition("are ")[2] for note in found.torn]
    assert not found.is_stopped


def test_the_files_of_a_store_are_verified(short: RunDirectory) -> None:
    store = Store(short.path.parent.parent)
    own = RunDirectory(store.root)
    assert {own: [], short: []} == verify_store(store)

    (key,) = [path for path in (store.root / "keys").iterdir() if not path.name.startswith(".")]
    (store.root / "ids" / key.name / "1").write_bytes(b"\xff\x00")
    key.write_text("")
    (store.root / "format").write_text("one")

    files = [damage.file for damage in verify_store(store)[own]]
    assert ["format", f"keys/{key.name}", f"ids/{key.name}/1"] == files


def test_json_nested_too_deeply_ends_neither_a_table_nor_verify(tmp_path: Path) -> None:
    """One hostile record is one damaged run; the store's other runs are listed and checked."""
    store = tmp_path / "store"
    deep = "[" * 50_000
    for text in (deep, '{"hash": "1"}'):
        with naiad.init_run(store=store, project="p", source_files=[], git_ref=False) as run:
            run["x"] = 1
            run._session.write(Assign("files", "artifact", text), wait=True)
        damaged = RunDirectory(Path(run._store.directory(run._run).path))
    damaged.seal.write_text(deep)
    (store / "custom").mkdir(exist_ok=True)
    (store / "custom" / "0").write_text(deep)

    found = verify_store(Store(store))
    assert ["custom/0"] == [damage.file for damage in found[RunDirectory(store)]]
    assert damaged.seal.name in [damage.file for damage in found[damaged]]
    assert 3 == len(found), "the other run is looked at too"
    for part in store.glob("catalog.db*"):
        part.unlink()  # so that every record is read
    with naiad.init_project("p", store=store, mode="read-only") as project:
        with pytest.warns(DamageWarning, match="2 runs are damaged"):
            rows = project.fetch_runs_table().to_rows()
        assert {"P-1", "P-2"} == {row.get_attribute_value("sys/id") for row in rows}


@pytest.mark.parametrize("catalog", ["complete", "of the first", "missing"])
def test_an_id_that_names_another_run_is_damage_and_shows_no_wrong_run(catalog: str, store: Path) -> None:
    """The damaged file of an id holds a uid that there is; the run itself has another id."""
    for n in range(2):
        with naiad.init_run(project="twins") as run:
            run["n"] = n
        if catalog == "complete" or (n == 0 and catalog == "of the first"):
            naiad.init_project("twins", mode="read-only").fetch_runs_table(progress_bar=False).to_pandas()
    first, second = store / "ids" / "TWINS" / "1", store / "ids" / "TWINS" / "2"
    first.write_text(second.read_text())

    for mode in ("async", "read-only"):
        for n in range(2):
            with naiad.init_run(with_id=f"TWINS-{n + 1}", mode=mode) as run:
                assert n == run["n"].fetch()
    damages = verify_store(Layout(store))[RunDirectory(store)]
    assert ["ids/TWINS/1"] == [damage.file for damage in damages]
    assert "TWINS-2" in damages[0].what
