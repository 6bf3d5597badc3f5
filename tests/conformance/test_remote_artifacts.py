"""Artifacts on a real S3 server, through runs: tracked, hashed over six facts, downloaded."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from msgspec.structs import replace

import naiad
from naiad.errors import EmptyLocation, OriginalChanged, OriginalMissing
from naiad.typing import ProgressBarCallback


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket `models`, reached as users reach theirs: by the environment."""
    settings = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "S3_ENDPOINT_URL": server,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3", endpoint_url=server).Bucket("models")
    bucket.create()
    put(bucket, {"data/a.csv": b"a", "data/sub/b.csv": b"bb", "data2/c.csv": b"no"})
    yield bucket
    bucket.objects.delete()
    bucket.delete()


def put(bucket: Any, objects: dict[str, bytes]) -> None:
    for name, content in objects.items():
        bucket.put_object(Key=name, Body=content)


def listed(run: naiad.Run, path: str = "data") -> list[str]:
    return [file.file_path for file in run[path].fetch_files_list()]


def test_folder_and_single_object_are_tracked_and_come_back(run: naiad.Run, bucket: Any, tmp_path: Path) -> None:
    run["data"].track_files("s3://models/data")
    run["one"].track_files("s3://models/data/sub/b.csv", wait=True)

    run["data"].download(tmp_path / "out")
    run["one"].download(tmp_path / "one")

    assert (["a.csv", "sub/b.csv"], ["b.csv"]) == (listed(run), listed(run, "one"))
    assert (b"a", b"bb") == tuple((tmp_path / "out" / name).read_bytes() for name in ("a.csv", "sub/b.csv"))
    assert b"bb" == (tmp_path / "one" / "b.csv").read_bytes()


def test_facts_are_those_of_the_object(run: naiad.Run, bucket: Any) -> None:
    run["data"].track_files("s3://models/data/a.csv")

    (file,) = run["data"].fetch_files_list()

    assert ("a.csv", hashlib.md5(b"a").hexdigest(), "S3", 1) == (file.file_path, file.file_hash, file.type, file.size)
    assert "s3://models/data/a.csv" == file.metadata["location"] == file.metadata["file_path"]
    assert abs(time.mktime(time.strptime(file.metadata["last_modified"], "%Y-%m-%d %H:%M:%S")) - time.time()) < 60


def test_destination_goes_before_the_paths_also_beside_local_files(run: naiad.Run, bucket: Any, tmp_path: Path) -> None:
    (tmp_path / "local.csv").write_bytes(b"local")

    run["data"].track_files("s3://models/data", destination="remote/in")
    run["data"].track_files(tmp_path / "local.csv", destination="local")
    run["data"].download(tmp_path / "out")

    assert ["local/local.csv", "remote/in/a.csv", "remote/in/sub/b.csv"] == listed(run)
    assert b"bb" == (tmp_path / "out/remote/in/sub/b.csv").read_bytes()
    assert b"local" == (tmp_path / "out/local/local.csv").read_bytes()


def test_tracking_again_takes_the_newer_and_keeps_the_rest(run: naiad.Run, bucket: Any) -> None:
    run["data"].track_files("s3://models/data")
    before = run["data"].fetch()
    put(bucket, {"data/a.csv": b"changed", "data/c.csv": b"new"})
    bucket.Object("data/sub/b.csv").delete()

    run["data"].track_files("s3://models/data")
    changes = before.diff(run["data"].fetch())

    assert ["a.csv", "c.csv", "sub/b.csv"] == listed(run)
    assert (["c.csv"], []) == ([file.path for file in changes.added], [file.path for file in changes.removed])
    (changed,) = changes.changed
    assert "a.csv" == changed.new.path
    assert {"content", "size"} <= set(changed.facts)


@pytest.mark.parametrize("change", ["content", "modified", "size", "storage", "path", "location"])
def test_hash_of_the_field_changes_with_each_of_the_six_facts(run: naiad.Run, bucket: Any, change: str) -> None:
    run["before"].track_files("s3://models/data/a.csv")
    run["same"].track_files("s3://models/data/a.csv")
    location, destination = "s3://models/data/a.csv", None
    if change == "content":
        put(bucket, {"data/a.csv": b"A"})
    elif change == "size":
        put(bucket, {"data/a.csv": b"longer"})
    elif change == "modified":
        time.sleep(1.1)  # S3 tells whole seconds
        put(bucket, {"data/a.csv": b"a"})
    elif change == "path":
        destination = "elsewhere"
    elif change == "location":
        put(bucket, {"moved/a.csv": b"a"})
        location = "s3://models/moved/a.csv"
    run["after"].track_files(location, destination=destination)
    if change == "storage":  # the same object, said to lie at another provider's
        version = run["after"].fetch()
        run["after"] = replace(version, files=tuple(replace(file, storage="GCS") for file in version.files))

    (old,), (new,) = run["before"].fetch().files, run["after"].fetch().files
    assert getattr(old, change) != getattr(new, change)
    assert run["before"].fetch_hash() == run["same"].fetch_hash()
    assert run["before"].fetch_hash() != run["after"].fetch_hash()


def test_copy_in_another_run_downloads_the_same(run: naiad.Run, bucket: Any, tmp_path: Path) -> None:
    run["data"].track_files("s3://models/data")
    with naiad.init_run(store=tmp_path / "other") as other:
        other["copy"] = run["data"].fetch()

        other["copy"].download(tmp_path / "out")

        assert run["data"].fetch_hash() == other["copy"].fetch_hash()
    assert b"a" == (tmp_path / "out/a.csv").read_bytes()


def test_object_that_is_gone_or_changed_is_named_and_not_copied(run: naiad.Run, bucket: Any, tmp_path: Path) -> None:
    run["data"].track_files("s3://models/data/a.csv")
    put(bucket, {"data/a.csv": b"b"})
    with pytest.raises(OriginalChanged, match="s3://models/data/a.csv"):
        run["data"].download(tmp_path / "out")
    bucket.Object("data/a.csv").delete()
    with pytest.raises(OriginalMissing, match="s3://models/data/a.csv"):
        run["data"].download(tmp_path / "out")

    assert [] == list((tmp_path / "out").iterdir())


def test_place_without_objects_leaves_no_trace(run: naiad.Run, bucket: Any) -> None:
    with pytest.raises(EmptyLocation):
        run["data"].track_files("s3://models/none")

    assert not run.exists("data")


def test_bar_is_told_the_bytes_of_a_download(run: naiad.Run, bucket: Any, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []

    class Bar(ProgressBarCallback):
        def update(self, *, by: int, total: int | None = None) -> None:
            told.append((by, total))

    put(bucket, {"data/large": bytes(2**20)})
    run["data"].track_files("s3://models/data", progress_bar=Bar)
    told.clear()

    run["data"].download(tmp_path / "out", progress_bar=Bar)

    assert {2**20 + 3} == {total for _by, total in told}
    assert 2**20 + 3 == sum(by for by, _total in told)
