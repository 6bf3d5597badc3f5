"""Local files, tracked and brought back: through `track` and `download`, as the artifact field uses them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from naiad import disk
from naiad.errors import (
    EmptyLocation,
    FileWarning,
    InvalidArgument,
    OriginalChanged,
    OriginalMissing,
    UnsafeName,
    UnsupportedLocation,
    forget_warnings,
)
from naiad.exceptions import NeptuneLocalStorageAccessException
from naiad.files.tracked import TrackedFile, artifact_hash
from naiad.files.tracking import download, track

DAY = 86_400


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of files that were changed a while ago."""
    forget_warnings()
    for name in ("a.csv", "sub/b.csv", "sub/deep/.hidden"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return tmp_path / "data"


def paths(files: list[TrackedFile]) -> list[str]:
    return [file.path for file in files]


def test_single_file_has_its_own_name_and_all_facts(data: Path) -> None:
    sha256 = hashlib.sha256(b"a.csv").hexdigest()

    assert [TrackedFile("a.csv", sha256, 5, 1_700_000_000 * 10**9, "Local", f"file://{data}/a.csv")] == track(
        data / "a.csv"
    )


def test_folder_gives_paths_relative_to_it(data: Path) -> None:
    assert ["a.csv", "sub/b.csv", "sub/deep/.hidden"] == sorted(paths(track(data)))


@pytest.mark.parametrize("destination", ["images", "images/", "/images", "./images"])
def test_destination_is_put_before_the_paths(data: Path, destination: str) -> None:
    assert ["images/a.csv"] == paths(track(data / "a.csv", destination))
    assert "images/sub/b.csv" in paths(track(data, destination))


def test_destination_cannot_lead_out(data: Path) -> None:
    with pytest.raises(InvalidArgument, match="outside the artifact"):
        track(data, "../up")


def test_location_may_be_relative_a_url_or_below_home(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data.parent)
    monkeypatch.setenv("HOME", str(data.parent))
    expected = track(data)

    for location in ("data", "./data/", "~/data", f"file://{data}", f"file://localhost{data}", f"FILE://{data}"):
        assert expected == track(location), location


def test_url_may_be_percent_encoded_unless_there_is_such_a_file(data: Path) -> None:
    (data / "a b.csv").touch()
    (data / "100%25.csv").touch()

    assert ["a b.csv"] == paths(track(f"file://{data}/a%20b.csv"))
    assert ["100%25.csv"] == paths(track(f"file://{data}/100%25.csv"))


@pytest.mark.parametrize("change", ["content", "modified", "size", "path", "location"])
def test_hash_changes_with_the_file_on_disk(data: Path, change: str) -> None:
    """Each alone, as far as a disk lets it; the storage type is a matter of another driver."""
    before = artifact_hash(track(data / "a.csv"))
    path, destination = data / "a.csv", None
    if change == "content":
        path.write_text("A.csv")
    elif change == "size":
        path.write_text("longer")
    elif change == "modified":
        os.utime(path, ns=(0, 1_700_000_000 * 10**9 + 1))
    elif change == "path":
        destination = "elsewhere"
    else:
        path = path.rename(data / "sub" / "a.csv")
    if change in ("content", "size"):
        os.utime(path, (1_700_000_000, 1_700_000_000))

    assert before != artifact_hash(track(path, destination))


def test_hash_stays_when_nothing_changes(data: Path) -> None:
    assert artifact_hash(track(data)) == artifact_hash(track(data))


@pytest.mark.parametrize("location", ["absent", "empty", "file:///absent"])
def test_place_without_files_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(EmptyLocation, match="no file to track") as caught:
        track(location if "://" in location else tmp_path / location)

    assert isinstance(caught.value, FileNotFoundError)


def test_wildcard_is_refused_unless_it_is_a_name(data: Path) -> None:
    (data / "*.csv").touch()

    assert ["*.csv"] == paths(track(data / "*.csv"))
    with pytest.raises(UnsupportedLocation, match="wildcard"):
        track(data / "*.txt")


def test_unknown_scheme_is_refused(data: Path) -> None:
    with pytest.raises(UnsupportedLocation, match="no installed package supports nowhere://"):
        track("nowhere://bucket/a")


def test_links_are_tracked_for_what_they_lead_to(data: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far/x").write_text("far")
    (data / "folder").symlink_to(tmp_path / "far")
    (data / "file").symlink_to(tmp_path / "far/x")
    (data / "circle").symlink_to(data)

    with pytest.warns(FileWarning, match="circle"):
        found = {file.path: file.location for file in track(data)}

    assert (f"file://{data}/folder/x", f"file://{data}/file") == (found["folder/x"], found["file"])


def test_file_that_does_not_hold_still_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = disk.digest

    def grown_meanwhile(fd: int, *given: object) -> tuple[str, int]:
        with (data / "a.csv").open("a") as stream:
            stream.write("more")
        return real(fd)

    monkeypatch.setattr("naiad.files.hashes.digest", grown_meanwhile)

    with pytest.raises(OriginalChanged, match="changed while it was being read"):
        track(data / "a.csv")


def test_progress_counts_all_bytes(data: Path) -> None:
    told: list[tuple[int, int]] = []

    track(data, progress=lambda by, total: told.append((by, total)))

    assert {30} == {total for _by, total in told} == {sum(by for by, _total in told)}


def test_download_makes_copies_that_outlive_the_originals(data: Path, tmp_path: Path) -> None:
    told: list[int] = []

    found = download(track(data, "in"), tmp_path / "goal", lambda by, _total: told.append(by))
    (data / "a.csv").unlink()

    assert ["a.csv", "sub/b.csv", "sub/deep/.hidden"] == sorted(path.read_text() for path in found)
    assert "sub/b.csv" == (tmp_path / "goal/in/sub/b.csv").read_text()
    assert not any(path.is_symlink() for path in found)
    assert 30 == sum(told)


def test_missing_original_is_named(data: Path, tmp_path: Path) -> None:
    files = track(data)
    (data / "a.csv").unlink()

    with pytest.raises(OriginalMissing, match=r"a\.csv' no longer exists") as caught:
        download(files, tmp_path / "goal")

    assert isinstance(caught.value, NeptuneLocalStorageAccessException)
    assert str(data / "a.csv") == caught.value.path


def test_changed_original_is_never_copied_silently(data: Path, tmp_path: Path) -> None:
    """Not even with the size and times it had."""
    files = track(data / "a.csv")
    (data / "a.csv").write_text("A.csv")
    os.utime(data / "a.csv", (1_700_000_000, 1_700_000_000))

    with pytest.raises(OriginalChanged, match="has changed since"):
        download(files, tmp_path / "goal")

    assert [] == os.listdir(tmp_path / "goal")


def test_touched_original_with_the_same_content_is_copied(data: Path, tmp_path: Path) -> None:
    files = track(data / "a.csv")
    (data / "a.csv").touch()

    assert "a.csv" == download(files, tmp_path / "goal")[0].read_text()


def test_download_onto_the_originals_leaves_them(data: Path) -> None:
    files = track(data)
    inode = (data / "a.csv").stat().st_ino

    download(files, data)

    assert inode == (data / "a.csv").stat().st_ino


def test_existing_files_are_replaced_and_links_not_followed(data: Path, tmp_path: Path) -> None:
    goal = tmp_path / "goal"
    goal.mkdir()
    (tmp_path / "canary").write_text("alive")
    (goal / "a.csv").symlink_to(tmp_path / "canary")

    download(track(data), goal)

    assert ("alive", "a.csv") == ((tmp_path / "canary").read_text(), (goal / "a.csv").read_text())


def test_hostile_paths_stay_below_the_destination(data: Path, tmp_path: Path) -> None:
    (file,) = track(data / "a.csv")
    hostile = ["../up", "/abs", "..", "a\0b", "x" * 300, "deep/../../../up", "\udce9"]
    files = [TrackedFile(name, file.content, 5, 0, "Local", file.location) for name in hostile]
    goal = tmp_path / "goal"

    found = download(files, goal)

    assert len(hostile) == len({path for path in found if path.is_relative_to(goal.resolve())})
    assert {"data", "goal"} == set(os.listdir(tmp_path)) - {"cache"}


def test_link_out_of_the_destination_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "goal").mkdir()
    (tmp_path / "goal/sub").symlink_to(data)

    with pytest.raises(UnsafeName):
        download(track(data / "sub", "sub"), tmp_path / "goal")
