"""What an artifact knows of its files: the hash over six facts, and how two versions differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from naiad.files.tracked import ArtifactFileData, Change, Changes, TrackedFile, artifact_hash, diff

FILE = TrackedFile("data/a.csv", "0" * 64, 12, 1_700_000_000_123_456_789, "Local", "file:///data/a.csv")
OTHER = replace(FILE, path="data/b.csv", location="file:///data/b.csv")
CHANGED = {
    "path": "data/c.csv",
    "content": "1" * 64,
    "size": 13,
    "modified": FILE.modified + 1,
    "storage": "S3",
    "location": "file:///data/c.csv",
}


@pytest.mark.parametrize("fact", CHANGED)
def test_hash_changes_with_each_fact(fact: str) -> None:
    changed = replace(FILE, **{fact: CHANGED[fact]})

    assert artifact_hash([FILE, OTHER]) != artifact_hash([changed, OTHER])
    assert (fact,) == Change(FILE, changed).facts


def test_hash_is_that_of_the_documented_bytes() -> None:
    facts = b"".join(
        len(text.encode()).to_bytes(8, "big") + text.encode()
        for file in (FILE, OTHER)
        for text in map(str, astuple(file))
    )

    assert hashlib.sha256(b"naiad artifact 1" + facts).hexdigest() == artifact_hash([OTHER, FILE])


def test_hash_does_not_depend_on_the_order_of_files() -> None:
    assert artifact_hash([FILE, OTHER]) == artifact_hash(iter([OTHER, FILE]))


def test_hash_changes_with_a_file_added_or_removed() -> None:
    assert 3 == len({artifact_hash([]), artifact_hash([FILE]), artifact_hash([FILE, OTHER])})


TEXTS = st.text(st.sampled_from("a1/é\udce9"), max_size=3)
FILES = st.builds(TrackedFile, TEXTS, TEXTS, st.integers(0, 11), st.integers(-1, 11), TEXTS, TEXTS)
SETS = st.lists(FILES, max_size=3, unique_by=lambda file: file.path)


@given(SETS, SETS)
def test_no_two_versions_share_a_hash(one: list[TrackedFile], two: list[TrackedFile]) -> None:
    assert (
        (set(one) == set(two)) == (artifact_hash(one) == artifact_hash(two)) == (diff(one, two) == Changes([], [], []))
    )


def test_difference_is_what_was_added_removed_and_changed() -> None:
    new, touched = replace(FILE, path="data/new.csv"), replace(OTHER, modified=5)

    assert Changes([new], [FILE], [Change(OTHER, touched)]) == diff([FILE, OTHER], [touched, new])


@pytest.fixture
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_utc")
def test_file_is_shown_as_the_reference_says() -> None:
    metadata = {"file_path": "file:///data/a.csv", "last_modified": "2023-11-14 22:13:20"}

    assert ArtifactFileData("data/a.csv", "0" * 64, "Local", metadata, 12) == FILE.as_data()


def test_place_of_a_remote_file_has_the_name_neptune_had_for_it() -> None:
    assert "s3://x/a" == replace(FILE, storage="S3", location="s3://x/a").as_data().metadata["location"]


@pytest.mark.parametrize(("modified", "year"), [(10**21, "9999"), (-(10**21), "1")])
def test_time_that_no_datetime_holds_is_shown_as_the_nearest(modified: int, year: str) -> None:
    assert year == replace(FILE, modified=modified).as_data().metadata["last_modified"].partition("-")[0].lstrip("0")
