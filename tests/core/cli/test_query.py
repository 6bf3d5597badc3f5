"""`naiad query`, `naiad compare` and `naiad repair --catalog`."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import naiad
from naiad.types import File

Cli = Callable[..., Result]


@pytest.fixture
def three(store: Path) -> None:
    for number in (1, 2, 3):
        with naiad.init_run(project="p", name=f"run, {number}\t\x1b[31m", tags=["all", f"t{number}"]) as run:
            run["lr"] = number / 10
            run["same"] = 1
            run["loss"].extend([1.0, 1 / number, 0.75])
            run["source_code/requirements"].upload(File.from_content(f"lark==1\nnumpy==2.{number}\n"))
            if number == 2:
                run["extra"] = True


@pytest.mark.usefixtures("three")
def test_query_shows_the_fields_it_names(cli: Cli) -> None:
    result = cli("query", "lr:float > 0.1 AND min(loss:floatSeries) < 1", "--sort", "loss:min", "--ascending")

    assert [["P-3", "0.3", str(1 / 3)], ["P-2", "0.2", "0.5"]] == [
        [cells[0], cells[3], cells[4]] for cells in (line.split("\t") for line in result.stdout.splitlines())
    ]


@pytest.mark.usefixtures("three")
def test_json_and_csv_are_whole(cli: Cli) -> None:
    options = ("query", "--columns", "sys/name,lr,extra,sys/tags", "--sort", "lr", "--limit", "2")
    rows = json.loads(cli(*options, "--json").stdout)
    lines = list(csv.DictReader(io.StringIO(cli(*options, "--csv").stdout)))

    name = "run, 3\t\x1b[31m"
    assert {"sys/id": "P-3", "sys/name": name, "lr": 0.3, "extra": None, "sys/tags": ["all", "t3"]} == rows[0]
    assert {"sys/id": "P-3", "sys/name": name, "lr": "0.3", "extra": "", "sys/tags": "all, t3"} == lines[0]
    assert ["P-3", "P-2"] == [row["sys/id"] for row in rows] == [line["sys/id"] for line in lines]
    assert "same" in json.loads(cli("query", "--columns", "*", "--json").stdout)[0]
    assert "P-3" == cli("query", "--columns", "*").stdout.split("\t")[0]


@pytest.mark.usefixtures("three")
def test_wrong_queries_end_with_1_and_say_where(cli: Cli) -> None:
    result = cli("query", "lr:float >")

    assert 1 == result.exit_code
    assert "Column 11 of the query: expected a value.\n  lr:float >\n            ^" in result.stderr
    assert "not both" in cli("query", "--json", "--csv").stderr


@pytest.mark.usefixtures("three")
def test_what_cannot_match_is_counted_on_stderr(cli: Cli) -> None:
    for query, stdout, stderr in (
        ("extra > 0", "", '1 run does not match, because "extra" is of another type there: bool in 1.\n'),
        ("los < 0.4", "", 'No run has the field "los". Nearby: "loss".\n'),
        ("lr > 0.25", "P-3", ""),
    ):
        result = cli("query", query, "--columns", "sys/id")
        assert (0, stdout, stderr) == (result.exit_code, result.stdout.strip(), result.stderr)
    for columns, absent in (("lr,lrr,sys/name", ["lrr"]), ("x*,lo*:min,loss:min,sys/owner", ["x*"]), ("extra,*", [])):
        result = cli("query", "lr < 0.15", "--columns", columns)
        assert (0, "".join(f'No run has the field "{each}".\n' for each in absent)) == (result.exit_code, result.stderr)
    elsewhere = cli("query", "lr > 0.1", "--project", "other")
    assert 'No run here has the field "lr"; others of the store have it.\n' == elsewhere.stderr
    assert "IN cannot be used with this type; use CONTAINS" in cli("query", "sys/tags IN (all)").stderr
    sorted_by = cli("query", "--sort", "los", "--columns", "sys/id")
    assert (["P-3", "P-2", "P-1"], 0) == (sorted_by.stdout.split(), sorted_by.exit_code)
    assert 'No run has the field "los".' in sorted_by.stderr


@pytest.mark.usefixtures("three")
def test_wildcards_choose_columns(cli: Cli) -> None:
    (row,) = json.loads(cli("query", "sys/id = P-1", "--columns", "l*:min,s*e", "--json").stdout)
    (header,) = csv.reader(cli("query", "lr > 9", "--columns", "l*:min,s*e,nothing", "--csv").stdout.splitlines())

    assert ["sys/id", "loss:min", "sys/name", "sys/size", "sys/state", "sys/stage", "same"][:2] == list(row)[:2]
    assert {"same", "sys/name"} <= set(row)
    assert {"sys/id", "loss:min", "same", "nothing"} <= set(header)


def test_columns_that_are_named_outlast_those_of_a_wildcard(store: Path, terminal: Callable[..., str]) -> None:
    with naiad.init_run(project="p") as run:
        run["params"] = {f"number{each}": each for each in range(20)}
        run["loss"] = 0.5
    lines = terminal("query", "--columns", "params/*,loss", columns=60, NO_COLOR="1").splitlines()

    assert ["id", "loss"] == [lines[0].split()[at] for at in (0, -1)]
    assert "params/number0" in lines[0]
    assert "params/number9" in lines[-1]


@pytest.mark.usefixtures("three")
def test_compare_shows_only_what_differs(cli: Cli) -> None:
    lines = [line.split("\t") for line in cli("compare", "P-2", "P-3").stdout.splitlines()]
    found = {line[0]: line[1:] for line in lines}

    assert {"lr", "extra", "sys/name", "sys/tags", "source_code/requirements: numpy"} == set(found)
    assert ["0.2", "0.3"] == found["lr"]
    assert ["True", ""] == found["extra"]
    assert ["2.2", "2.3"] == found["source_code/requirements: numpy"]
    assert {"P-2": 0.2, "P-3": 0.3} == json.loads(cli("compare", "P-2", "P-3", "--json").stdout)["lr"]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (["compare", "P-2", "P-2"], "No differences."),
        (["query", "lr > 1e9"], "No run matches."),
    ],
    ids=["compare", "query"],
)
def test_answer_without_a_row_is_a_sentence_on_stderr(cli: Cli, line: list[str], sentence: str) -> None:
    assert ("", f"{sentence}\n") == ((result := cli(*line)).stdout, result.stderr)


@pytest.mark.usefixtures("three")
def test_compare_of_unknown_or_single_runs_is_refused(cli: Cli) -> None:
    assert "has no run 'P-9'" in cli("compare", "P-1", "P-9").stderr
    assert (2, True) == ((result := cli("compare", "P-1")).exit_code, "at least two runs" in result.stderr)


@pytest.mark.usefixtures("three")
def test_repair_makes_the_catalog_anew(cli: Cli, store: Path) -> None:
    before = cli("query", "--columns", "*", "--json").stdout
    (store / "catalog.db").write_bytes(b"garbage")

    assert "The catalog was rebuilt from 3 folders.\n" == cli("repair", "--catalog").stdout
    assert before == cli("query", "--columns", "*", "--json").stdout
    assert 2 == cli("repair").exit_code == cli("repair", "P-1", "--catalog").exit_code


@pytest.mark.usefixtures("three")
def test_terminal_shows_nothing_that_steers_it(terminal: Callable[..., str]) -> None:
    shown = terminal("query", "lr:float > 0.2", columns=200, NO_COLOR="1")

    assert ["id", "state", "name", "lr"] == shown.splitlines()[0].split()
    assert "\x1b" not in shown


def test_content_of_data_that_was_touched_is_found_shown_and_not_different(
    cli: Cli, store: Path, tmp_path: Path
) -> None:
    """`dataset` is another version where the time of a file differs; `dataset:content` is the same."""
    data = tmp_path / "data"
    data.mkdir()
    for text, time in (("1,2", 1_000), ("1,2", 2_000), ("3,4", 2_000)):
        (data / "a.csv").write_text(text)
        os.utime(data / "a.csv", (time, time))
        with naiad.init_run(project="p") as run:
            run["dataset"].track_files(str(data))
    content = naiad.init_run(with_id="P-1", mode="read-only")["dataset"].fetch().content_hash
    found = cli("query", f"dataset:content = {content}", "--columns", "dataset:content")

    assert f"P-2\t{content}\nP-1\t{content}\n" == found.stdout
    assert {"dataset"} == _changed(cli("compare", "P-1", "P-2"))
    assert {"dataset", "dataset:content"} == _changed(cli("compare", "P-1", "P-3"))
    assert 'No run has the field "dataset:content".' not in found.stderr


def _changed(result: Result) -> set[str]:
    return {path for path in (line.split("\t")[0] for line in result.stdout.splitlines()) if path.startswith("dataset")}
