"""Files behind URLs: a real S3 protocol server, and fsspec's memory for every other scheme."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest
from moto.server import ThreadedMotoServer

from naiad.errors import EmptyLocation, MissingPackage, OriginalChanged, OriginalMissing, RemoteError
from naiad.files import remote
from naiad.files.tracked import TrackedFile, artifact_hash
from naiad.files.tracking import download, track

KEY, SECRET = "key", "secret"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket `models`, reached as users reach theirs: by the environment."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "S3_ENDPOINT_URL": server,
    }.items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3", endpoint_url=server).Bucket("models")
    bucket.create()
    yield bucket
    bucket.objects.delete()
    bucket.delete()


def put(bucket: Any, **objects: bytes) -> None:
    for name, content in objects.items():
        bucket.put_object(Key=name.replace("__", "/"), Body=content)


def test_object_is_tracked_with_all_facts(bucket: Any) -> None:
    put(bucket, data__a=b"content")

    (file,) = track("s3://models/data/a")

    assert TrackedFile("a", hashlib.md5(b"content").hexdigest(), 7, file.modified, "S3", "s3://models/data/a") == file
    assert abs(file.modified - time.time_ns()) < 60e9
    assert "s3://models/data/a" == file.as_data().metadata["file_path"]


@pytest.mark.parametrize("location", ["s3://models/data", "s3://models/data/"])
def test_prefix_is_a_folder(bucket: Any, location: str) -> None:
    """Objects of zero bytes count. The marks some tools leave for folders do not, nor names that only begin alike."""
    put(bucket, data__a=b"a", data__sub__b=b"b", data__empty=b"", database=b"no", data2__c=b"no")
    bucket.put_object(Key="data/sub/", Body=b"")

    assert ["a", "empty", "sub/b"] == [file.path for file in track(location)]
    assert ["in/a", "in/empty", "in/sub/b"] == [file.path for file in track(location, "in")]


def test_whole_bucket_is_tracked(bucket: Any) -> None:
    put(bucket, a=b"a", sub__b=b"b")

    assert ["a", "sub/b"] == [file.path for file in track("s3://models")]


@pytest.mark.parametrize("change", ["content", "modified", "size", "storage", "path", "location"])
def test_hash_changes_with_each_fact(bucket: Any, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(bucket, data__a=b"content")
    before = track("s3://models/data/a")
    location, destination = "s3://models/data/a", None
    if change == "content":
        put(bucket, data__a=b"CONTENT")
    elif change == "size":
        put(bucket, data__a=b"longer content")
    elif change == "modified":
        time.sleep(1.1)  # S3 tells whole seconds
        put(bucket, data__a=b"content")
    elif change == "path":
        destination = "elsewhere"
    elif change == "location":
        put(bucket, moved__a=b"content")
        location = "s3://models/moved/a"
    else:
        monkeypatch.setitem(remote.STORAGES, "s3fs", "GCS")
        monkeypatch.setitem(remote.CONTENT_HASHES, "GCS", ("ETag",))
        monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.meta.client.meta.endpoint_url)

    after = track(location, destination)

    assert getattr(before[0], change) != getattr(after[0], change)
    assert artifact_hash(before) != artifact_hash(after)


def test_tracking_again_sees_what_came_and_went(bucket: Any) -> None:
    put(bucket, data__a=b"a")
    before = track("s3://models/data")
    put(bucket, data__b=b"b")
    bucket.Object("data/a").delete()

    assert (["a"], ["b"]) == ([file.path for file in before], [file.path for file in track("s3://models/data")])


@pytest.mark.parametrize("location", ["s3://models/absent", "s3://models", "s3://nowhere/a"])
def test_place_without_objects_is_refused(bucket: Any, location: str) -> None:
    with pytest.raises(EmptyLocation, match="no file to track"):
        track(location)


def test_server_that_does_not_answer_is_named(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)

    with pytest.raises(RemoteError, match=r"'s3://models/a' cannot be read"):
        track("s3://models/a")


def test_objects_come_back(bucket: Any, tmp_path: Path) -> None:
    large = bytes(range(256)) * 80_000
    put(bucket, data__a=b"a", data__sub__large=large)
    told: list[int] = []

    download(track("s3://models/data", "in"), tmp_path / "goal", lambda by, _total: told.append(by))

    assert b"a" == (tmp_path / "goal/in/a").read_bytes()
    assert large == (tmp_path / "goal/in/sub/large").read_bytes()
    assert len(large) + 1 == sum(told)


def test_missing_object_is_named(bucket: Any, tmp_path: Path) -> None:
    put(bucket, a=b"a")
    files = track("s3://models/a")
    bucket.Object("a").delete()

    with pytest.raises(OriginalMissing, match="'s3://models/a' no longer exists"):
        download(files, tmp_path / "goal")


def test_changed_object_is_never_copied(bucket: Any, tmp_path: Path) -> None:
    put(bucket, a=b"a")
    files = track("s3://models/a")
    put(bucket, a=b"b")

    with pytest.raises(OriginalChanged, match="has changed since"):
        download(files, tmp_path / "goal")

    assert not list((tmp_path / "goal").iterdir())


def test_object_that_changes_while_it_is_read_is_not_kept(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket, a=b"a")
    files = track("s3://models/a")
    real = remote._read

    def read(*given: Any) -> tuple[str, int]:
        put(bucket, a=b"b")
        return real(*given)

    monkeypatch.setattr(remote, "_read", read)

    with pytest.raises(OriginalChanged):
        download(files, tmp_path / "goal")

    assert not list((tmp_path / "goal").iterdir())


@pytest.fixture
def memory() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    files.pipe({"/data/a": b"a", "/data/sub/b": b"bb"})
    yield files
    files.rm("/data", recursive=True)


def test_storage_that_tells_no_hash_is_read(memory: Any, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    files = track("memory://data", progress=lambda by, total: told.append((by, total)))

    assert [("a", 1, "memory"), ("sub/b", 2, "memory")] == [(file.path, file.size, file.storage) for file in files]
    assert hashlib.sha256(b"bb").hexdigest() == files[1].content
    assert [(1, 3), (2, 3)] == sorted(told)
    assert [b"a", b"bb"] == [path.read_bytes() for path in download(files, tmp_path / "goal")]


def test_changed_content_of_such_a_storage_is_noticed(memory: Any, tmp_path: Path) -> None:
    files = track("memory://data/a")
    memory.pipe("/data/a", b"A")

    with pytest.raises(OriginalChanged):
        download(files, tmp_path / "goal")

    assert not list((tmp_path / "goal").iterdir())


def test_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_is_installed", lambda package: False)

    with pytest.raises(MissingPackage, match=r'pip install "naiad\[gcs\]"') as caught:
        track("gs://bucket/a")

    assert "gcsfs" == caught.value.package


GCS_INFO = {"md5Hash": "XrY7u+Ae7tCTyyK7j1rNww==", "mtime": None, "updated": "2024-05-06T07:08:09.123Z", "size": 11}


def test_facts_of_google_are_read_from_its_own_words() -> None:
    driver = remote.RemoteDriver("gs")

    assert GCS_INFO["md5Hash"] == driver._reported_hash(GCS_INFO)
    assert 1_714_979_289_123_000_000 == remote._modified(GCS_INFO)
    assert 1_500_000_000 == remote._modified({"mtime": 1.5})
    assert 0 == remote._modified({})
