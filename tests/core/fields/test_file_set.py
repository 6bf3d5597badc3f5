"""Many files under one path, each with a name of its own."""

from __future__ import annotations

import os
import threading
import zipfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

import naiad
from naiad.errors import (
    FileNotFound,
    FileNotInSet,
    FileWarning,
    NaiadTypeError,
    UnsupportedFile,
    WrongVerb,
    forget_warnings,
)
from naiad.exceptions import FileSetNotFound
from naiad.fields.file_set import FileEntry
from naiad.refs import FileRef
from naiad.types import FileSet
from naiad.typing import ProgressBarCallback

LARGE = bytes(range(256)) * 1000
TREE = {
    "note.txt": b"note",
    "data/a.csv": b"a",
    "data/sub/b.csv": b"bb",
    "data/sub/.hidden": b"h",
    "data/large.bin": LARGE,
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with files in it."""
    forget_warnings()
    place = tmp_path / "here"
    for name, content in TREE.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
        os.utime(place / name, (1_700_000_000, 1_700_000_000))
    monkeypatch.chdir(place)
    return place


def contents(run: naiad.Run, path: str = "set", at: str = "") -> dict[str, bytes]:
    """Every file of a set by its name, as the verbs of users show them."""
    found = {}
    for entry in run[path].list_fileset_files(at or None):
        name = f"{at}/{entry.name}" if at else entry.name
        if entry.file_type == "directory":
            found |= contents(run, path, name)
        else:
            with run[path].open_file(name) as stream:
                found[name] = stream.read()
            assert len(found[name]) == entry.size
    return found


DATA = {name: content for name, content in TREE.items() if name.startswith("data")}


@pytest.mark.parametrize(
    ("globs", "names"),
    [
        ("note.txt", ["note.txt"]),
        ("data", DATA),
        ("data/", DATA),
        (Path("data"), DATA),
        (".", TREE),
        ("data/sub/b.csv", ["data/sub/b.csv"]),
        ("data/*.csv", ["data/a.csv"]),
        ("**/*.csv", ["data/a.csv", "data/sub/b.csv"]),
        ("data/**", DATA),
        (["data/*.csv", Path("note.txt"), "data/a.csv"], ["data/a.csv", "note.txt"]),
        ((each for each in ["note.txt"]), ["note.txt"]),
    ],
)
@pytest.mark.usefixtures("here")
def test_paths_and_patterns_name_files_relative_to_the_working_directory(
    run: naiad.Run, globs: Any, names: Any
) -> None:
    run["set"].upload_files(globs)

    assert {name: TREE[name] for name in names} == contents(run)


def test_names_are_relative_to_the_common_folder_elsewhere(
    run: naiad.Run, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    run["a"].upload_files([str(here / "data/a.csv"), str(here / "data/sub/b.csv")])
    run["b"].upload_files(str(here / "data/a.csv"))

    assert ["a.csv", "sub/b.csv"] == sorted(contents(run, "a"))
    assert ["a.csv"] == sorted(contents(run, "b"))


def test_home_is_known(run: naiad.Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here / "data"))

    run["set"].upload_files("~/*.csv")

    assert ["data/a.csv"] == list(contents(run))


def test_each_call_adds_and_replaces_by_name(run: naiad.Run, here: Path) -> None:
    run["set"].upload_files("note.txt")
    (here / "note.txt").write_bytes(b"changed")
    run["set"].upload_files(["note.txt", "data/a.csv"])
    (here / "note.txt").unlink()

    assert {"note.txt": b"changed", "data/a.csv": b"a"} == contents(run)


def test_assigning_replaces_all_files(run: naiad.Run, here: Path) -> None:
    run["set"].upload_files("data")
    run["set"] = FileSet("note.txt")
    assert ["note.txt"] == list(contents(run))
    run["set"] = "data/a.csv"
    assert ["data/a.csv"] == list(contents(run))
    run["set"].assign(["note.txt", here / "data/a.csv"])
    assert ["data/a.csv", "note.txt"] == sorted(contents(run))
    run["new"] = FileSet(["data/sub"])
    assert ["data/sub/.hidden", "data/sub/b.csv"] == sorted(contents(run, "new"))


def test_entries_have_size_time_and_kind(run: naiad.Run, here: Path) -> None:
    run["set"].upload_files(["note.txt", "data"])
    moment = datetime.fromtimestamp(1_700_000_000, timezone.utc)

    top = run["set"].list_fileset_files()

    assert [
        FileEntry("data", None, moment, "directory"),
        FileEntry("note.txt", 4, moment, "file"),
    ] == top
    assert ["a.csv", "large.bin", "sub"] == [entry.name for entry in run["set"].list_fileset_files("data")]
    assert [".hidden", "b.csv"] == [entry.name for entry in run["set"].list_fileset_files(path="/data//sub/")]
    assert [FileEntry("note.txt", 4, moment, "file")] == run["set"].list_fileset_files("note.txt")


@pytest.mark.usefixtures("here")
def test_folder_or_file_that_is_not_there_is_named(run: naiad.Run) -> None:
    run["set"].upload_files("data")

    for verb in (run["set"].list_fileset_files, run["set"].open_file):
        for name in ("none", "data/su", "../etc/passwd"):
            with pytest.raises(FileNotInSet, match="has no f"):
                verb(name)
    with pytest.raises(FileSetNotFound):
        run["set"].open_file("data")


@pytest.mark.usefixtures("here")
def test_files_and_folders_are_deleted(run: naiad.Run) -> None:
    run["set"].upload_files(".")

    run["set"].delete_files("data/sub")
    run["set"].delete_files(["./note.txt", "data/large.bin"])

    assert {"data/a.csv": b"a"} == contents(run)
    run["set"].delete_files("data")
    assert [] == run["set"].list_fileset_files()
    run["set"].upload_files("note.txt")
    assert {"note.txt": b"note"} == contents(run)


@pytest.mark.usefixtures("here")
def test_deleting_what_is_not_there_says_so_and_does_the_rest(run: naiad.Run) -> None:
    run["set"].upload_files(".")

    with pytest.warns(FileWarning, match="'dat'"):
        run["set"].delete_files(["dat", "note.txt"])

    assert sorted(DATA) == sorted(contents(run))


@pytest.mark.usefixtures("here")
def test_pattern_that_matches_nothing_says_so_and_changes_nothing(run: naiad.Run) -> None:
    with pytest.warns(FileWarning, match=r"matches no file"):
        run["set"].upload_files("*.none")
    assert not run.exists("set")

    run["set"].upload_files("note.txt")
    with pytest.warns(FileWarning, match=r"matches no file"):
        run["set"] = FileSet("nope*")
    assert ["note.txt"] == list(contents(run))


@pytest.mark.parametrize(
    "value", [None, 5, b"note.txt", [None], ["note.txt", 5], {"a": 1}, {"note.txt": "x"}], ids=repr
)
@pytest.mark.usefixtures("here")
def test_what_names_no_files_is_refused_and_leaves_no_trace(run: naiad.Run, value: Any) -> None:
    with pytest.raises(NaiadTypeError, match="set of files"):
        run["set"].upload_files(value)
    with pytest.raises(NaiadTypeError, match="set of files"):
        run["set"] = FileSet(value)

    assert not run.exists("set")


def test_one_bad_file_and_none_is_added(run: naiad.Run, here: Path, store: Path) -> None:
    os.mkfifo(here / "pipe")
    run["set"].upload_files("note.txt")

    with pytest.raises(UnsupportedFile, match="pipe"):
        run["set"].upload_files(["data", "pipe"])

    assert ["note.txt"] == list(contents(run))
    assert [] == list((store / "blobs").glob("incoming/*"))


@pytest.mark.usefixtures("here")
def test_download_is_a_zip_with_names_content_and_times(run: naiad.Run, tmp_path: Path) -> None:
    run["some/set"].upload_files(".")

    run["some/set"].download()
    run["some/set"].download(tmp_path)
    run["some/set"].download(tmp_path / "new" / "other.name")

    with zipfile.ZipFile("set.zip") as archive:
        assert TREE == {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
        assert ["data/", "data/sub/"] == [name for name in archive.namelist() if name.endswith("/")]
        assert (2023, 11, 14, 22, 13, 20) == archive.getinfo("note.txt").date_time
    first = Path("set.zip").read_bytes()
    assert [first, first] == [(tmp_path / name).read_bytes() for name in ("set.zip", "new/other.name")]


@pytest.mark.usefixtures("here")
def test_empty_set_is_an_empty_zip(run: naiad.Run, tmp_path: Path) -> None:
    run["set"] = FileSet([])

    run["set"].download(tmp_path)

    assert [] == zipfile.ZipFile(tmp_path / "set.zip").namelist()


@pytest.mark.usefixtures("here")
def test_set_is_copied_between_fields_runs_and_stores(run: naiad.Run, tmp_path: Path) -> None:
    run["set"].upload_files(".")
    with naiad.init_run(store=tmp_path / "other") as other:
        run["copy"] = run["set"]
        run.wait()
        run["settled"] = run["set"]
        other["copy"] = run["set"]
        run["set"].pop()

        assert [TREE] * 3 == [contents(each, name) for each, name in ((run, "copy"), (run, "settled"), (other, "copy"))]
        assert run["copy"].list_fileset_files("data") == other["copy"].list_fileset_files("data")


@pytest.mark.usefixtures("here")
def test_upload_after_pop_begins_anew(run: naiad.Run) -> None:
    run["set"].upload_files("data")
    run["set"].pop()
    assert not run.exists("set")
    run["set"].upload_files("note.txt")

    assert ["note.txt"] == list(contents(run))


@pytest.mark.usefixtures("here")
def test_one_file_of_a_set_becomes_a_file_of_its_own(run: naiad.Run) -> None:
    run["set"].upload_files(".")

    with run["set"].open_file("data/large.bin") as stream:
        run["file"].upload(stream)

    assert LARGE == run["file"].fetch_content()


@pytest.mark.parametrize("verb", ["append", "fetch", "fetch_last", "fetch_values", "fetch_extension", "upload"])
@pytest.mark.usefixtures("here")
def test_verb_of_another_kind_is_refused(run: naiad.Run, verb: str) -> None:
    run["set"].upload_files("data")

    with pytest.raises(WrongVerb, match="FileSet"):
        getattr(run["set"], verb)(*([] if verb.startswith("fetch") else [b"x"]))

    assert sorted(DATA) == sorted(contents(run))


def test_store_is_no_part_of_what_is_uploaded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAIAD_STORE", raising=False)
    monkeypatch.setenv("NAIAD_CAPTURES", "off")
    with naiad.init_run(store=here / ".naiad") as run:
        run["set"].upload_files(".")

        assert sorted(TREE) == sorted(contents(run))


def test_name_that_is_no_unicode_comes_back(run: naiad.Run, here: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.txt")
    (here / name).write_bytes(b"odd")

    run["set"].upload_files(".")
    run["set"].download(tmp_path)

    assert b"odd" == contents(run)[name]
    assert b"odd" == zipfile.ZipFile(tmp_path / "set.zip").read("__.txt")
    run["set"].delete_files(name)
    assert sorted(TREE) == sorted(contents(run))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("value", ["none.txt", ["note.txt", "none.txt"]], ids=repr)
def test_missing_path_named_outright_raises_and_leaves_no_trace(run: naiad.Run, value: Any) -> None:
    with pytest.raises(FileNotFound, match=r"'none\.txt'"):
        run["set"].upload_files(value)

    assert not run.exists("set")


def test_thousand_files_share_few_blobs(run: naiad.Run, here: Path, store: Path) -> None:
    (here / "many").mkdir()
    for number in range(1000):
        (here / "many" / f"{number}").write_bytes(f"{number:05}".encode() * 20)

    run["set"].upload_files("many", wait=True)

    assert 1000 == len(run["set"].list_fileset_files("many"))
    assert b"00999" * 20 == contents(run, at="many")["many/999"]
    assert 1 == len(list((store / "blobs").glob("??/*")))


def test_download_sees_the_field_that_replaced_it_in_another_process(
    run: naiad.Run, here: Path, tmp_path: Path
) -> None:
    run["set"].upload_files("data")
    field = run.get_attribute("set")
    with naiad.init_run(with_id=run["sys/id"].fetch()) as other:
        other["set"].pop()
        other["set"].upload("note.txt")

    field.download(tmp_path)

    assert b"note" == (tmp_path / "set.txt").read_bytes()


def test_names_that_differ_only_in_how_they_are_written_down_are_different(
    run: naiad.Run, here: Path, tmp_path: Path
) -> None:
    """A byte that is no UTF-8 is stored as an escape; a file that is called like the escape is another one."""
    names = [os.fsdecode(b"\xff"), r"\udcff", r"\\udcff", r"a\b", "\\" + os.fsdecode(b"\xff"), r"d\e/" + "\udcfe"]
    for number, name in enumerate(names):
        (here / "odd" / name).parent.mkdir(parents=True, exist_ok=True)
        (here / "odd" / name).write_text(str(number))

    run["set"].upload_files("odd")

    assert {f"odd/{name}": str(number).encode() for number, name in enumerate(names)} == contents(run)
    run["set"].delete_files(["odd/" + r"d\e", f"odd/{names[0]}"])
    assert sorted(f"odd/{name}" for name in names[1:5]) == sorted(contents(run))


@pytest.mark.usefixtures("here")
def test_other_threads_log_while_files_are_copied(run: naiad.Run) -> None:
    """A bar of the user's stands for files so large that copying them takes a while."""
    logged = threading.Event()
    thread = threading.Thread(target=lambda: (run["other"].assign(1), logged.set()))

    class Slow(ProgressBarCallback):
        def update(self, *, by: int, total: int | None = None) -> None:
            if thread.ident is None:
                thread.start()
                assert logged.wait(20)

    run["set"].upload_files("data", progress_bar=Slow)
    thread.join()

    assert 1 == run["other"].fetch()
    assert sorted(DATA) == sorted(contents(run))


@pytest.mark.usefixtures("here")
def test_files_are_deleted_by_path_objects_too(run: naiad.Run) -> None:
    run["set"].upload_files(["note.txt", "data/a.csv"])

    run["set"].delete_files(Path("note.txt"))

    assert ["data/a.csv"] == list(contents(run))
    with pytest.raises(NaiadTypeError, match="cannot be removed from it"):
        run["set"].delete_files(5)


@pytest.mark.parametrize(("seconds", "year"), [(2**38, 9999), (-(2**37), 1)])
def test_time_that_no_datetime_holds_is_shown_as_the_nearest(run: naiad.Run, seconds: int, year: int) -> None:
    odd = msgspec.structs.replace(FileRef.of_bytes(b"x"), modified=seconds * 10**9)
    run._session.transact(lambda tx: tx.upload_files("set", {"odd": odd}))

    assert [year] == [each.mtime.year for each in run["set"].list_fileset_files()]
