"""Tracked files: which there were, where, and what they held."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import naiad
from naiad import types
from naiad.errors import (
    ArtifactNotFound,
    EmptyLocation,
    InvalidArgument,
    MissingField,
    NaiadTypeError,
    NaiadValueError,
    OriginalChanged,
    OriginalMissing,
    UnsupportedLocation,
    WrongVerb,
)
from naiad.exceptions import (
    ArtifactNotFoundException,
    NeptuneEmptyLocationException,
    NeptuneLocalStorageAccessException,
    NeptuneUnhandledArtifactSchemeException,
    NeptuneUnsupportedArtifactFunctionalityException,
)

AT = 1_700_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of hashes is the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("a.csv", "sub/b.csv"):
        put(tmp_path / "data" / name, name)
    return tmp_path / "data"


def put(path: Path, text: str, at: float = AT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))


def listed(run: naiad.Run, path: str = "data") -> list[str]:
    return [file.file_path for file in run[path].fetch_files_list()]


def test_folder_is_tracked_with_all_that_is_known_of_its_files(run: naiad.Run, data: Path) -> None:
    run["data"].track_files(str(data))

    first, second = run["data"].fetch_files_list()

    assert ("a.csv", "sub/b.csv") == (first.file_path, second.file_path)
    assert hashlib.sha256(b"a.csv").hexdigest() == first.file_hash
    assert (5, "Local") == (first.size, first.type)
    assert f"file://{data}/a.csv" == first.metadata["file_path"]
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(AT)) == first.metadata["last_modified"]
    assert 64 == len(run["data"].fetch_hash())
    assert run["data"].fetch_hash() == run["data"].fetch().hash


def test_single_file_is_tracked_by_its_name(run: naiad.Run, data: Path) -> None:
    run["data"].track_files(data / "sub" / "b.csv", wait=True)
    run["url"].track_files(f"file://{data}/sub/b.csv")

    assert (["b.csv"], ["b.csv"]) == (listed(run), listed(run, "url"))
    assert run["data"].fetch_hash() == run["url"].fetch_hash()


def test_destination_is_put_before_the_paths(run: naiad.Run, data: Path) -> None:
    run["data"].track_files(str(data), destination="train/images")
    run["data"].track_files(str(data / "a.csv"), destination="valid")

    assert ["train/images/a.csv", "train/images/sub/b.csv", "valid/a.csv"] == listed(run)


def test_tracking_again_adds_and_replaces_and_keeps_what_is_gone(run: naiad.Run, data: Path) -> None:
    run["data"].track_files(str(data))
    before = run["data"].fetch()
    put(data / "a.csv", "changed")
    put(data / "c.csv", "new")
    shutil.rmtree(data / "sub")
    run["data"].track_files(str(data))

    changes = before.diff(run["data"].fetch())

    assert ["a.csv", "c.csv", "sub/b.csv"] == listed(run)
    assert ["c.csv"] == [file.path for file in changes.added]
    assert [("a.csv", ("content", "size"))] == [(change.new.path, change.facts) for change in changes.changed]
    assert [] == changes.removed


@pytest.mark.parametrize("change", ["content", "modified", "size", "storage", "path", "location", "another file"])
def test_hash_changes_with_each_of_the_six_facts_and_with_another_file(run: naiad.Run, data: Path, change: str) -> None:
    run["before"].track_files(str(data / "a.csv"))
    run["same"].track_files(str(data / "a.csv"))
    place, destination = data / "a.csv", None
    if change == "content":
        put(data / "a.csv", "A.CSV")
    elif change == "modified":
        put(data / "a.csv", "a.csv", AT + 0.5)
    elif change == "size":
        put(data / "a.csv", "a.csv and more")
    elif change == "path":
        destination = "folder"
    elif change == "location":
        put(data / "elsewhere" / "a.csv", "a.csv")
        place = data / "elsewhere" / "a.csv"
    run["after"].track_files(str(place), destination=destination)
    if change == "another file":
        run["after"].track_files(str(data / "sub"))
    elif change == "storage":
        (file,) = run["before"].fetch().files
        run["after"] = types.Artifact("0" * 64, (replace(file, storage="S3"),))

    (old,), (new, *_) = run["before"].fetch().files, run["after"].fetch().files
    if change != "another file":
        assert getattr(old, change) != getattr(new, change)
    assert run["before"].fetch_hash() == run["same"].fetch_hash()
    assert run["before"].fetch_hash() != run["after"].fetch_hash()


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("{data}/none", NeptuneEmptyLocationException),
        ("{data}/empty", EmptyLocation),
        ("{data}/*.csv", NeptuneUnsupportedArtifactFunctionalityException),
        ("nowhere://bucket/a", NeptuneUnhandledArtifactSchemeException),
        ("nowhere://bucket/a", UnsupportedLocation),
        ("x\0y", OSError),
    ],
)
def test_place_that_cannot_be_tracked_raises_at_the_call_and_leaves_no_trace(
    run: naiad.Run, data: Path, location: str, kind: type[Exception]
) -> None:
    (data / "empty").mkdir()

    with pytest.raises(kind):
        run["data"].track_files(location.format(data=data))

    assert not run.exists("data")


def test_destination_that_leads_out_of_the_artifact_is_refused(run: naiad.Run, data: Path) -> None:
    with pytest.raises(InvalidArgument, match="outside the artifact"):
        run["data"].track_files(data, destination="../x")

    assert not run.exists("data")


def test_version_is_copied_between_fields_runs_and_stores(run: naiad.Run, data: Path, tmp_path: Path) -> None:
    run["data"].track_files(data)
    with naiad.init_run(store=tmp_path / "other") as other:
        run["copy"] = run["data"].fetch()
        run["field"] = run["data"]
        other["copy"] = run["data"].fetch()
        other["field"] = run["data"]
        digest = run["data"].fetch_hash()
        run["data"].pop()

        for each, path in ((run, "copy"), (run, "field"), (other, "copy"), (other, "field")):
            assert (digest, ["a.csv", "sub/b.csv"]) == (each[path].fetch_hash(), listed(each, path))


def test_copy_is_a_version_of_its_own(run: naiad.Run, data: Path) -> None:
    run["data"].track_files(data)
    run["copy"] = run["data"].fetch()

    run["data"].track_files(data, destination="again")

    assert (2, 4) == (len(listed(run, "copy")), len(listed(run)))


def test_assigning_replaces_the_version(run: naiad.Run, data: Path) -> None:
    run["data"].track_files(data)
    run["other"].track_files(data / "a.csv")
    run["data"].assign(run["other"].fetch(), wait=True)

    assert ["a.csv"] == listed(run)


def test_hash_alone_names_a_version_that_the_run_has(run: naiad.Run, data: Path) -> None:
    run["data"].track_files(data)

    run["copy"] = types.Artifact(run["data"].fetch_hash())

    assert ["a.csv", "sub/b.csv"] == listed(run, "copy")
    with pytest.raises(ArtifactNotFound, match="no artifact of this run"):
        run["none"] = types.Artifact("0" * 64)
    with pytest.raises(ArtifactNotFoundException):
        run["copy"] = types.Artifact("0" * 64)
    assert not run.exists("none")


@pytest.mark.parametrize("value", ["a" * 63, "g" * 64, 5, "A" * 65], ids=repr)
def test_hash_has_64_hexadecimal_digits(value: Any) -> None:
    with pytest.raises(NaiadValueError, match="64"):
        types.Artifact(value)


def test_version_without_a_hash_tracks_no_file(run: naiad.Run) -> None:
    run["none"] = types.Artifact()

    assert [] == run["none"].fetch_files_list()
    assert 64 == len(run["none"].fetch_hash())


@pytest.mark.parametrize("value", ["0" * 64, 5, "data", b"x"], ids=repr)
def test_other_values_are_refused(run: naiad.Run, data: Path, value: Any) -> None:
    run["data"].track_files(data)

    with pytest.raises(NaiadTypeError, match="is an Artifact"):
        run["data"] = value

    assert 2 == len(listed(run))


def test_download_copies_originals_below_the_destination(
    run: naiad.Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run["data"].track_files(data, destination="in")

    run["data"].download()
    run["data"].download("new/place")
    run["data"].download(Path("new/place"))

    for folder in (Path(), Path("new/place")):
        assert "a.csv" == (folder / "in" / "a.csv").read_text()
        assert "sub/b.csv" == (folder / "in" / "sub" / "b.csv").read_text()
    assert not (Path("in") / "a.csv").is_symlink()


def test_original_that_is_gone_or_changed_is_named(run: naiad.Run, data: Path, tmp_path: Path) -> None:
    run["data"].track_files(data / "a.csv")
    put(data / "a.csv", "other")
    with pytest.raises(OriginalChanged, match="has changed since"):
        run["data"].download(tmp_path / "out")
    (data / "a.csv").unlink()
    with pytest.raises(OriginalMissing, match="no longer exists"):
        run["data"].download(tmp_path / "out")
    with pytest.raises(NeptuneLocalStorageAccessException):
        run["data"].download(tmp_path / "out")

    assert [] == os.listdir(tmp_path / "out")


@pytest.mark.parametrize("verb", ["append", "fetch_last", "fetch_values", "fetch_extension", "upload", "upload_files"])
def test_verb_of_another_kind_is_refused(run: naiad.Run, data: Path, verb: str) -> None:
    run["data"].track_files(data)

    with pytest.raises(WrongVerb, match="Artifact"):
        getattr(run["data"], verb)(*([] if verb.startswith("fetch") else [b"x"]))

    assert 2 == len(listed(run))


def test_file_name_that_is_no_unicode_is_tracked_and_comes_back(run: naiad.Run, data: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.csv")
    put(data / name, "odd")
    run["data"].track_files(data / name)

    run["data"].download(tmp_path / "out")

    assert [name] == listed(run)
    assert ["odd"] == [path.read_text() for path in (tmp_path / "out").iterdir()]


def test_artifact_goes_on_in_a_run_that_is_resumed(run: naiad.Run, data: Path) -> None:
    run["data"].track_files(data / "a.csv")
    run.stop()
    with naiad.init_run(with_id=run._id) as again:
        again["data"].track_files(data / "sub")

        assert ["a.csv", "b.csv"] == listed(again)


def test_artifact_after_pop_begins_anew(run: naiad.Run, data: Path) -> None:
    run["data"].track_files(data / "a.csv")
    run["data"].pop()
    assert not run.exists("data")
    run["data"].track_files(data / "sub")

    assert ["b.csv"] == listed(run)


def test_fetch_sees_the_field_that_replaced_it_in_another_process(run: naiad.Run, data: Path) -> None:
    run["data"].track_files(data)
    field = run.get_attribute("data")
    with naiad.init_run(with_id=run["sys/id"].fetch()) as other:
        other["data"].pop()
        other["data"] = 5

    assert 5 == field.fetch()
    with pytest.raises(WrongVerb):
        run["data"].fetch_hash()


def test_thousands_of_files_are_one_artifact(run: naiad.Run, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for number in range(3000):
        (tmp_path / "many" / f"{number:04}").touch()

    run["data"].track_files(tmp_path / "many", wait=True)

    assert 3000 == len(listed(run))
    assert "2999" == listed(run)[-1]


def test_tracking_goes_on_from_what_waits_for_the_disk(
    run: naiad.Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "more" / "z.csv", "z")

    def unknown(path: str) -> None:
        raise MissingField("It is not in the store yet.", path=path)

    run["data"].track_files(str(data))
    before = listed(run)
    with monkeypatch.context() as patch:
        patch.setattr(run._session.writer.journal.directory, "is_troubled", True)
        patch.setattr(run._session.reader, "atom", unknown)
        run["data"].track_files(str(tmp_path / "more"))

    assert sorted([*before, "z.csv"]) == listed(run)
