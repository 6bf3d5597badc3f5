"""What runs refer to below `blobs/`, as `verify` and `gc` see it."""

from __future__ import annotations

from pathlib import Path

import naiad
from naiad.ops import Assign, Members
from naiad.storage.local.gc import stored_files
from naiad.storage.local.integrity.verify import verify
from naiad.storage.local.reader import Reader

LARGE = bytes(range(256)) * 100


def test_every_stored_file_is_found(run: naiad.Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(LARGE)
    run["file"].upload(LARGE)
    run["series"].extend([LARGE, b"few"])
    run["set"].upload_files(tmp_path / "a")
    run["artifact"].track_files(tmp_path / "a")
    run["lr"] = 0.5

    found = [path for path, _file in stored_files(Reader(run._store.directory(run._run)))]

    assert ["artifact", "file", "series", "series", "set"] == sorted(found)


def test_entry_that_tells_of_no_file_hides_no_other_damage(run: naiad.Run, store: Path) -> None:
    run["a"].upload(b"few")
    run["b"].upload_files(__file__)
    run["c"].upload(LARGE, wait=True)
    now = run._session.writer.now
    run._session.writer.log([Assign("a", "file", "[]", now()), Members("b", {"x": "{}"}, [], False, now())])
    run.stop()
    for blob in (store / "blobs").glob("??/*"):
        blob.unlink()

    damages = {damage.path: damage.what for damage in verify(run._store.directory(run._run))}

    assert {"a", "b", "c"} == set(damages)
    assert "it is not a FileRef" in damages["a"]
    assert "it is missing" == damages["c"]
