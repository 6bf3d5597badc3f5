"""Store paths and tickets that make no sense: naiad's own errors, which name the path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad.errors import DamagedData, NaiadError, NaiadTypeError, ProjectNotFound, StorageError
from naiad.storage.local.integrity.verify import verify_store
from naiad.storage.local.store import Store


def odd(folder: Path, what: str) -> str:
    place = folder / "place"
    if what == "file":
        place.touch()
    elif what == "circle":
        place.symlink_to(place)
    return {
        "below a file": f"{__file__}/x",
        "below a circle": f"{place}/x",
        "nul": "a\0b",
        "surrogate": "\ud800",
        "long name": str(folder / ("x" * 300)),
        "long path": str(folder) + "/x" * 3000,
        "no such user": "~nobody-here/x",
    }.get(what, str(place))


@pytest.mark.parametrize(
    "what",
    ["file", "circle", "below a file", "nul", "surrogate", "long name", "long path", "no such user"],
)
def test_place_that_cannot_be_a_store_is_refused_by_name(store: Path, tmp_path: Path, what: str) -> None:
    place = odd(tmp_path, what)
    for begin in (naiad.init_run, naiad.init_project):
        with pytest.raises(NaiadError) as refused:
            begin(project="e", store=place)["a"] = 1  # type: ignore[operator]  # two functions with one call
        assert isinstance(refused.value, (StorageError, ProjectNotFound))
        assert repr(place)[1:10] in str(refused.value)
    with pytest.raises(NaiadError):
        naiad.init_run(project="e", store=place, mode="read-only", with_id="E-1")


@pytest.mark.parametrize("place", [5, b"bytes", ["list"]])
def test_store_that_is_no_path_is_a_type_error(store: Path, place: Any) -> None:
    with pytest.raises(NaiadTypeError):
        naiad.init_run(store=place)


@pytest.mark.parametrize("name", [" a b ", "a\nb", os.fsdecode(b"\xff\xfe"), "a?b#c%20", "é"])
def test_odd_names_of_folders_are_good_names_of_stores(store: Path, tmp_path: Path, name: str) -> None:
    place = str(tmp_path / name)
    with naiad.init_run(project="e", store=place) as run:
        run["n"] = 1
    with naiad.init_project("e", store=place, mode="read-only") as project:
        assert 1 == len(project.fetch_runs_table().to_rows())
    program = [str(Path(sys.executable).with_name("naiad")), "--store", place]
    for command in (["show", "E-1"], ["trash", "E-1"], ["verify"], ["ls", "--trashed"]):
        done = subprocess.run([*program, *command], capture_output=True, text=True, check=False)
        assert 0 == done.returncode, done.stderr


TICKETS = [
    b"",
    b"\xff\xfe",
    b"[1]",
    b'{"uid": 5, "id": "E-1"}',
    b'{"uid": "../../x", "id": "E-1"}',
    b"[" * 50_000,
    b"null",
]


@pytest.mark.parametrize("text", TICKETS)
def test_damaged_custom_id_is_named_and_harms_no_other(store: Path, text: bytes) -> None:
    with naiad.init_run(project="e", custom_run_id="mine"):
        pass
    with naiad.init_run(project="e", custom_run_id="other") as run:
        run["n"] = 1
    place = Store.locate(store)
    [ticket] = [each for each in (store / "custom").iterdir() if json.loads(each.read_bytes())["id"] == "E-1"]
    ticket.write_bytes(text)

    with pytest.raises(DamagedData, match="'mine'"):
        naiad.init_run(project="e", custom_run_id="mine")
    with naiad.init_run(project="e", custom_run_id="other") as run:
        assert 1 == run["n"].fetch()
    assert [f"custom/{ticket.name}"] == [each.file for found in verify_store(place).values() for each in found]
    place.register.release_custom(place.find("E-2").uid)
    assert 1 == len(list((store / "custom").iterdir()))


@pytest.mark.parametrize("text", [b"", b"\xff\xfe\x00", b"../../../etc", bytes(32)])
@pytest.mark.parametrize("name", ["ids/E/1", "keys/E"])
def test_damaged_id_or_key_gives_errors_of_naiad(store: Path, name: str, text: bytes) -> None:
    with naiad.init_run(project="e") as run:
        run["n"] = 1
    (store / name).write_bytes(text)

    try:
        with naiad.init_run(project="e", with_id="E-1", mode="read-only") as run:
            assert 1 == run["n"].fetch()
    except NaiadError:
        pass
    with naiad.init_project("e", mode="read-only") as project:
        project.fetch_runs_table()
    with naiad.init_run(project="e") as run:
        run["n"] = 2
    if text not in (b"../../../etc", bytes(32)) or name.startswith("ids"):
        assert name in [each.file for found in verify_store(Store.locate(store)).values() for each in found]
