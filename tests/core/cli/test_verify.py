"""`naiad verify` and `naiad repair`: damage is named, and the original outlives its repair."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import naiad
from naiad.slots import RECORD, SEGMENT_HEADER
from naiad.storage.local.writer import Writer

Cli = Callable[..., Result]


@pytest.fixture
def folder(cli: Cli, digits: str) -> Path:
    """The folder of a run one of whose points is damaged, beside a whole run."""
    with naiad.init_run(project="digits"):
        pass
    folder = Path(cli("path", digits).stdout.strip())
    (points,) = folder.glob("journal/*.seg")
    content = bytearray(points.read_bytes())
    content[SEGMENT_HEADER + RECORD + 8] ^= 0b100  # one bit in the value of the second point
    points.write_bytes(content)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, apart from its lock."""
    found = (file for file in folder.rglob("*") if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def test_whole_runs_pass(cli: Cli, digits: str) -> None:
    for arguments in ([], [digits]):
        result = cli("verify", *arguments)

        assert 0 == result.exit_code, result.stdout
        assert "" == result.stdout
        assert "1 run checked, no damage found.\n" == result.stderr
    assert [] == json.loads(cli("verify", "--json").stdout)


def test_damage_is_named_with_its_file_and_field(cli: Cli, digits: str, folder: Path) -> None:
    for arguments in ([], [digits]):
        result = cli("verify", *arguments)
        items = json.loads(cli("verify", *arguments, "--json").stdout)

        rows = [line.split("\t") for line in result.stdout.splitlines()]
        assert 1 == result.exit_code
        assert {digits} == {run for run, *_ in rows} == {item["run"] for item in items}
        assert any(file.endswith(".seg") and field == "train/loss" for _, file, _, field, _ in rows)
        assert any(item["file"].endswith(".seg") and item["field"] == "train/loss" for item in items)
        assert f"{'1 run' if arguments else '2 runs'} checked, damage in {digits}.\n" in result.stderr


def test_damage_does_not_hide_the_rest(cli: Cli, digits: str, folder: Path) -> None:
    listed, shown = cli("ls"), cli("show", digits)

    assert 2 == len(listed.stdout.splitlines())
    assert "parameters/lr\tfloat\t0.1" in shown.stdout.splitlines()
    assert "train/loss\tfloat_series\tdamaged: " in shown.stdout
    assert 1 == cli("plot", digits, "train/loss").exit_code
    assert 1 == cli("tail", digits, "train/loss").exit_code
    assert 0 == cli("tail", digits, "train/notes").exit_code


def test_what_is_kept_but_not_shown_is_named_and_no_damage(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Writer, "peers_have_written", lambda _self: False)  # as if both wrote at one moment
    with naiad.init_run() as one, naiad.init_run(with_id=one["sys/id"].fetch()) as two:
        name = one["sys/id"].fetch()
        one["n"] = 1
        two["n/x"] = 2

    result = cli("verify", name)

    assert 0 == result.exit_code
    assert f'In {name} two processes defined "n" (int) and then "n/x" (int); the later one is stored' in result.stderr
    assert "no damage found" in result.stderr


def test_repair_keeps_the_original(cli: Cli, digits: str, folder: Path) -> None:
    before = files(folder)

    result = cli("repair", digits)

    *_, last = result.stdout.splitlines()
    original = Path(last.removeprefix("The originals are kept in "))
    assert 0 == result.exit_code, result.stderr
    assert "train/loss" in result.stdout
    assert "lost: 0 points." in result.stdout
    assert before == files(original)
    assert 0 == cli("verify", digits).exit_code
    assert ["0.9", "0.5", "0.25"] == [
        line.split("\t")[1] for line in cli("tail", digits, "train/loss").stdout.splitlines()
    ]


def test_repairing_what_is_whole_changes_nothing(cli: Cli, digits: str) -> None:
    before = cli("show", digits).stdout

    result = cli("repair", digits)
    document = json.loads(cli("repair", digits, "--json").stdout)

    assert (0, f"{digits} is intact; nothing was changed.\n") == (result.exit_code, result.stdout)
    assert (None, 0, []) == (document["original"], document["lost"], document["damages"])
    assert before == cli("show", digits).stdout
