"""`naiad copy`, `naiad du` and `naiad gc`: runs with their files in another store, and the disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import naiad
from naiad.types import File

Cli = Callable[..., Result]
LARGE = bytes(range(256)) * 4_000


def begin(number: int, project: str = "p", **options: object) -> str:
    with naiad.init_run(project=project, **options) as run:
        run["n"] = number
        run["loss"].extend([1.0, 0.5])
        run["model"].upload(File.from_content(LARGE + bytes([number]), extension="bin"))
        run["shared"].upload(File.from_content(LARGE))
        run["note"].upload(File.from_content(b"few"))
        return run.id


def facts(store: Path, run: str) -> tuple[object, ...]:
    with naiad.init_run(with_id=run, mode="read-only", store=store) as found:
        content = found["model"].fetch_content() if hasattr(found["model"], "fetch_content") else b""
        return found.id, found["n"].fetch(), found["sys/state"].fetch(), len(content)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "there"


def test_run_is_copied_with_its_files_under_its_id(cli: Cli, store: Path, there: Path, tmp_path: Path) -> None:
    begin(1), begin(2)
    result = cli("copy", "P-2", "--to", str(there))

    assert 0 == result.exit_code, result.stderr
    assert ["P-2", "P-2", "2"] == result.stdout.split("\t")[:3]
    assert ("P-2", 2, "finished") == facts(there, "P-2")[:3]
    assert 0 == cli("download", "P-2", "model", str(tmp_path / "model"), "--store", str(there)).exit_code
    assert LARGE + bytes([2]) == (tmp_path / "model").read_bytes()
    assert "no damage found" in cli("verify", "--store", str(there)).stderr
    assert ["P-2"] == [line.split("\t")[0] for line in cli("ls", "--store", str(there)).stdout.splitlines()]
    assert "P-3" == begin(3)
    with naiad.init_run(project="p", store=there) as run:
        assert "P-1" == run.id or "P-3" == run.id


def test_index_that_was_never_finished_is_not_copied(cli: Cli, store: Path, there: Path) -> None:
    """A process that was killed in the first fold of the run has left it."""
    begin(1)
    (run,) = (store / "runs").iterdir()
    (run / ".run.db.1234-abcd").write_bytes(b"half")
    result = cli("copy", "P-1", "--to", str(there))

    assert 0 == result.exit_code, result.stderr
    assert [] == [path.name for path in (there / "runs" / run.name).iterdir() if path.name.startswith(".")]


def test_copying_again_changes_nothing(cli: Cli, store: Path, there: Path) -> None:
    begin(1)
    cli("copy", "P-1", "--to", str(there))
    [again] = json.loads(cli("copy", "P-1", "--to", str(there), "--json").stdout)

    assert {"id": "P-1", "new_id": "P-1", "copied": False, "files": 0, "bytes": 0} == again


def test_taken_ids_are_refused_or_renumbered(cli: Cli, store: Path, there: Path) -> None:
    begin(1), begin(2)
    begin(7, store=there)
    refused = cli("copy", "--all", "--to", str(there))
    rows = json.loads(cli("copy", "--all", "--to", str(there), "--renumber", "--json").stdout)

    assert (1, True) == (refused.exit_code, "--renumber" in refused.stderr)
    assert [("P-1", "P-2"), ("P-2", "P-3")] == [(row["id"], row["new_id"]) for row in rows]
    assert [("P-1", 7), ("P-2", 1), ("P-3", 2)] == [facts(there, f"P-{n}")[:2] for n in (1, 2, 3)]
    assert {"finished"} == {facts(there, f"P-{n}")[2] for n in (1, 2, 3)}
    found = json.loads(cli("query", "n > 0", "--columns", "n", "--sort", "n", "--json", "--store", str(there)).stdout)
    assert ["P-1", "P-3", "P-2"] == [row["sys/id"] for row in found]


def test_run_that_is_written_is_not_copied(cli: Cli, run: naiad.Run, there: Path) -> None:
    result = cli("copy", run.id, "--to", str(there))

    assert (1, True) == (result.exit_code, "is being written" in result.stderr)
    assert 2 == cli("copy", "--to", str(there)).exit_code


def test_custom_id_and_models_are_copied(cli: Cli, store: Path, there: Path) -> None:
    begin(1, custom_run_id="mine")
    with naiad.init_model(key="CNN", project="p") as model:
        model["size"] = 3
    with naiad.init_model_version(model="P-CNN") as version:
        version["accuracy"] = 0.5
    assert 0 == cli("copy", "--all", "--to", str(there)).exit_code

    with naiad.init_run(project="p", custom_run_id="mine", mode="read-only", store=there) as run:
        assert "P-1" == run.id
    with naiad.init_model_version(with_id="P-CNN-1", mode="read-only", store=there) as version:
        assert 0.5 == version["accuracy"].fetch()


def test_disk_is_shown_by_run(cli: Cli, store: Path) -> None:
    begin(1), begin(2)
    document = json.loads(cli("du", "--json").stdout)
    rows = [line.split("\t") for line in cli("du").stdout.splitlines()]

    for run in document["runs"]:
        assert run["total"] == run["files"] + run["folder"]
        assert 2 * len(LARGE) < run["files"] < 2 * len(LARGE) + 10_000
        assert len(LARGE) < run["freed"] < len(LARGE) + run["folder"] + 10_000
    assert 3 * len(LARGE) < document["store"]["content"] < 3 * len(LARGE) + 10_000
    assert {"P-1", "P-2"} == {row[0] for row in rows}
    assert ["P-1"] == [line.split("\t")[0] for line in cli("du", "P-1").stdout.splitlines()]
    assert "The store " in cli("du").stderr


def test_gc_says_what_waits_and_frees_it_now(cli: Cli, store: Path) -> None:
    run = begin(1)
    with naiad.init_run(with_id=run) as found:
        found["model"].upload(File.from_content(b"other" * 10_000))
    waits = cli("gc")
    dry = cli("gc", "--now", "--dry-run")
    freed = cli("gc", "--now")

    assert "Nothing to free." in waits.stderr
    assert "wait until" in waits.stderr
    assert f"({len(LARGE) + 1:,} bytes)" in waits.stderr
    assert "1 file" in dry.stderr
    assert f"1 file, 1.0 MB ({len(LARGE) + 1:,} bytes) were freed." in freed.stderr
    assert "wait" not in cli("gc").stderr
    assert "no damage found" in cli("verify").stderr


def test_gc_now_is_refused_while_a_run_is_written(cli: Cli, run: naiad.Run) -> None:
    result = cli("gc", "--now")

    assert (1, True) == (result.exit_code, "is being written" in result.stderr)
