"""`naiad ls`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from click.testing import Result

import naiad
from naiad.errors import DamageWarning
from naiad.ops import Dropped

Cli = Callable[..., Result]
NASTY = "\x1b[31mred\x07 \u202e\ttab\nline [bold]not markup[/bold] :smile:"


@pytest.fixture
def several(store: Path) -> None:
    """Three runs of two projects; the second failed, the third runs on."""
    with naiad.init_run(project="digits", name="first", tags=["a", "b"]):
        pass
    with pytest.raises(ZeroDivisionError), naiad.init_run(project="digits", tags=["b"]):
        1 / 0
    with naiad.init_run(project="my-second-project"):
        pass


def ids(result: Result) -> list[str]:
    assert 0 == result.exit_code, result.stderr
    return [line.split("\t")[0] for line in result.stdout.splitlines()]


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["MSP-1", "DIGITS-2", "DIGITS-1"]),
        (["--project", "digits"], ["DIGITS-2", "DIGITS-1"]),
        (["--project", "other"], []),
        (["--tag", "b"], ["DIGITS-2", "DIGITS-1"]),
        (["--tag", "b", "--tag", "a"], ["DIGITS-1"]),
        (["--state", "failed"], ["DIGITS-2"]),
        (["--state", "finished", "--project", "digits"], ["DIGITS-1"]),
        (["-n", "1"], ["MSP-1"]),
    ],
    ids=" ".join,
)
def test_runs_are_listed_newest_first(cli: Cli, options: list[str], expected: list[str]) -> None:
    assert expected == ids(cli("ls", *options))
    assert expected == [row["id"] for row in json.loads(cli("ls", "--json", *options).stdout)]


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--project", "other"], "No runs of project 'other'."),
        (["--tag", "x", "--state", "failed"], "No runs with the tag 'x' in the state \"failed\"."),
        (["--trashed"], "No runs in the trash."),
        (["--parent", "DIGITS-1"], "No runs below DIGITS-1."),
        (["models"], "No models."),
        ([], ""),
    ],
    ids=["project", "tag and state", "trash", "parent", "models", "some"],
)
def test_listing_without_a_row_names_its_filters_on_stderr(cli: Cli, options: list[str], sentence: str) -> None:
    assert sentence == cli("ls", *options).stderr.strip()


def test_columns_are_separated_by_tabs(cli: Cli, digits: str) -> None:
    (line,) = cli("ls").stdout.splitlines()

    run_id, state, created, project, name, tags, children = line.split("\t")
    assert (digits, "finished", "digits", "baseline", "good, sgd", "") == (
        run_id, state, project, name, tags, children
    )  # fmt: skip
    assert datetime.fromisoformat(created.replace("Z", "+00:00")).tzinfo


def test_json_has_the_facts_of_each_run(cli: Cli, digits: str) -> None:
    (row,) = json.loads(cli("ls", "--json").stdout)

    assert (digits, "digits", "baseline", "first try", "finished", False, ["good", "sgd"], []) == tuple(
        row[name] for name in ("id", "project", "name", "description", "state", "failed", "tags", "group_tags")
    )
    assert row["created"] < row["modified"] < datetime.now(timezone.utc).isoformat()


def test_running_runs_are_shown_as_such(cli: Cli, run: naiad.Run) -> None:
    assert ["running"] == [line.split("\t")[1] for line in cli("ls").stdout.splitlines()]


def test_empty_store_lists_nothing(cli: Cli, store: Path) -> None:
    store.mkdir()

    assert "" == cli("ls").stdout
    assert [] == json.loads(cli("ls", "--json").stdout)
    assert "No projects.\n" == cli("projects").stderr


def test_empty_folder_is_no_damaged_store(cli: Cli, store: Path) -> None:
    store.mkdir()
    cli("ls")

    assert (0, "") == ((result := cli("verify")).exit_code, result.stdout), result.stderr


def test_narrow_terminal_names_no_columns_of_an_empty_listing(store: Path, terminal: Callable[..., str]) -> None:
    store.mkdir()

    assert ["ID  STATE  CREATED (UTC)  NAME  TAGS", "No runs."] == terminal("ls", columns=40, NO_COLOR="1").splitlines()


def test_nothing_stored_steers_the_terminal(
    store: Path, cli: Cli, terminal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAIAD_PROJECT", f"p{NASTY}")  # project= would refuse it, a copied store would not
    with naiad.init_run(name=NASTY, tags=[NASTY]):
        pass

    (line,) = cli("ls").stdout.splitlines()
    shown = terminal("ls", columns=300, NO_COLOR="1")

    assert 7 == len(line.split("\t"))
    assert r"\x1b[31mred\x07 \u202e\ttab\nline [bold]not markup[/bold] :smile:" in line
    assert r"\x1b[31mred\x07 \u202e\ttab\nline [bold]not markup[/bold] :smile:" in shown
    assert not {"\x1b", "\x07", "\u202e"} & set(line + shown)
    assert NASTY == json.loads(cli("ls", "--json").stdout)[0]["name"]


def test_terminal_gets_an_aligned_table(digits: str, terminal: Callable[..., str]) -> None:
    header, row = terminal("ls", columns=100, NO_COLOR="1").splitlines()

    assert ["ID", "STATE", "CREATED", "(UTC)", "PROJECT", "NAME", "TAGS"] == header.split()
    assert header.index("STATE") == row.index("finished")
    assert "\x1b" not in header + row


def test_terminal_gets_colour_unless_it_is_dumb(digits: str, terminal: Callable[..., str]) -> None:
    assert "\x1b[" in terminal("ls")
    assert "\x1b[" not in terminal("ls", TERM="dumb")


def test_narrow_terminal_keeps_the_id_whole(digits: str, terminal: Callable[..., str]) -> None:
    lines = terminal("ls", columns=30, NO_COLOR="1").splitlines()

    assert lines[1].startswith(digits)
    assert 30 >= max(map(len, lines))


def test_run_with_damage_or_without_some_of_its_points_says_so_beside_its_state(cli: Cli, store: Path) -> None:
    """Each listing and table is told, also where a query looks for the damaged field."""
    with naiad.init_run(project="p") as run:
        run["n"] = 1
        run["loss"].extend([1.0] * 50)
    with naiad.init_run(project="p") as run:
        run["n"] = 2
        run["loss"].append(2.0)
        run._session.writer.log([Dropped(2, 1, 0.0)])  # as after a disk that stayed full
    [segment] = (each for each in store.glob("runs/*/journal/*.seg") if each.stat().st_size > 1000)
    content = bytearray(segment.read_bytes())
    content[200] ^= 4
    segment.write_bytes(content)

    lines = [line.split("\t")[:2] for line in cli("ls").stdout.splitlines()]
    assert [["P-2", "finished, incomplete"], ["P-1", "finished, damaged"]] == lines
    rows = json.loads(cli("ls", "--json").stdout)
    assert [([], 3), (["loss"], 0)] == [(row["damaged"], row["incomplete"]) for row in rows]
    damage = (
        '1 run is damaged and may be missing in this table, or lack values in it: P-1 ("loss").\n'
        "List the damage with: naiad verify P-1\n"
    )
    found = cli("query", "loss > 0")
    assert ["P-2"] == ids(found)
    assert damage == found.stderr
    assert not cli("query", "n = 2").stderr
    with naiad.init_project("p", mode="read-only") as project:
        with pytest.warns(DamageWarning) as said:
            frame = project.fetch_runs_table(columns=["n", "loss"]).to_pandas()
        project.fetch_runs_table(columns=["n", "loss"])  # a second time it is not said again
    assert [damage.strip()] == [str(each.message) for each in said]
    assert [2, 1] == frame["n"].tolist()
    assert [False, True] == frame["loss"].isna().tolist()
