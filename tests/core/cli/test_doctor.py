"""`naiad doctor`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import naiad
from naiad import disk


def facts(done: Result) -> dict[str, dict[str, str]]:
    return {fact["subject"]: fact for fact in json.loads(done.stdout)}


def test_a_sound_store_has_no_problem(cli: Callable[..., Result], digits: str, store: Path) -> None:
    done = cli("doctor", "--json")

    found = facts(done)
    assert str(store) in found["store"]["found"]
    assert naiad.__version__ in found["naiad"]["found"]
    assert {"permission", "file system", "locks", "free space", "python"} <= set(found)
    # Other tests of this process may have made plugins fail, which doctor reports too.
    problems = [fact["problem"] for fact in found.values() if fact["problem"]]
    assert [] == [fact for name, fact in found.items() if fact["problem"] and not name.startswith("plugin ")]
    assert bool(problems) == done.exit_code


def test_a_file_in_the_place_of_a_store_is_a_problem(cli: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    done = cli("--store", str(tmp_path / "file"), "doctor", "--json")

    assert 1 == done.exit_code
    assert "no folder" in facts(done)["store"]["problem"]


def test_a_store_that_is_not_there_is_not_made(cli: Callable[..., Result], tmp_path: Path) -> None:
    done = cli("--store", str(tmp_path / "new"), "doctor", "--json")

    assert "the first run makes" in facts(done)["store"]["found"]
    assert not (tmp_path / "new").exists()


def test_tokens_are_not_shown(cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEPTUNE_API_TOKEN", "s3cret")

    done = cli("doctor")

    assert "s3cret" not in done.output
    assert "NEPTUNE_API_TOKEN" in done.output


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_may_only_be_read_is_a_problem(cli: Callable[..., Result], digits: str, store: Path) -> None:
    store.chmod(0o500)
    try:
        assert "No run can be written" in facts(cli("doctor", "--json"))["permission"]["problem"]
    finally:
        store.chmod(0o700)


def test_locks_of_a_local_folder_work(tmp_path: Path) -> None:
    assert disk.can_lock(tmp_path)
    assert [] == list(tmp_path.iterdir())
