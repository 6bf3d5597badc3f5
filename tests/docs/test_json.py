"""The documented JSON of the commands: each real output has the keys and types of the page, and no others."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import naiad
from naiad.cli import main
from naiad.types import File, Histogram

PAGE = Path(__file__).parents[2] / "core/docs/reference/json.md"
QUIET: dict[str, Any] = {
    "git_ref": False, "source_files": [], "capture_hardware_metrics": False, "capture_stdout": False,
    "capture_stderr": False,
}  # fmt: skip
NOT_FINITE = ("NaN", "Infinity", "-Infinity")
TYPES: dict[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: (isinstance(value, int | float) and not isinstance(value, bool)) or value in NOT_FINITE,
    "boolean": lambda value: isinstance(value, bool),
    "time": lambda value: isinstance(value, str) and bool(datetime.fromisoformat(value.replace("Z", "+00:00"))),
    "null": lambda value: value is None,
    "value": lambda value: not isinstance(value, dict),
    "list": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}

Table = dict[str, str]
"""The type of each key, by its place, such as `[].tags[]`."""


def tables() -> dict[str, Table]:
    """Return the tables of the page by the command they are about."""
    found: dict[str, Table] = {}
    for part in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name, _, body = part.partition("\n")
        rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", body, flags=re.MULTILINE)
        found[name.strip().strip("`")] = {place: kind.strip() for place, kind in rows}
    return found


def mistakes(value: Any, table: Table, place: str = "") -> Iterator[str]:
    """Yield how a document differs from its table."""
    below = _below(table, place)
    if isinstance(value, list) and "[]" in below:
        for item in value:
            yield from mistakes(item, table, f"{place}[]")
    elif isinstance(value, dict) and "*" in below:
        for item in value.values():
            yield from mistakes(item, table, f"{place}.*" if place else "*")
    elif isinstance(value, dict) and below:
        base = f"{place}." if place else ""
        must = {
            name for name in below if not all("optional" in table[each] for each in table if _is_in(each, base + name))
        }
        yield from (f"{base}{name} is not documented" for name in value.keys() - below)
        yield from (f"{base}{name} is missing" for name in must - value.keys())
        for name in value.keys() & below:
            yield from mistakes(value[name], table, f"{base}{name}")
    elif not (value is None and below and all("optional" in table[each] for each in table if _is_in(each, place))):
        kinds = table.get(place, "").replace(", optional", "").split(" or ")
        if not any(kind in TYPES and TYPES[kind](value) for kind in kinds):
            yield f"{place} is {value!r}, not {kinds}"


def _is_in(each: str, place: str) -> bool:
    return each == place or each.startswith((f"{place}.", f"{place}[]"))


def _below(table: Table, place: str) -> set[str]:
    """Return the next parts of the places below one: names, `*`, or `[]` for the items of a list."""
    found = set()
    for each in table:
        if place and not _is_in(each, place):
            continue
        rest = each[len(place) :].removeprefix(".")
        name = re.match(r"\[\]|[^.\[]+", rest)
        found |= {name.group()} if name else set()
    return found


def documented(command: click.Command, name: str = "naiad") -> Iterator[str]:
    """Yield the commands that take --json."""
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for each in command.list_commands(context):
                found = command.get_command(context, each)
                assert found is not None
                yield from documented(found, f"{name} {each}")
    elif any(param.name == "is_json" for param in command.params):
        yield name


KILLED = """
import os, sys, naiad
run = naiad.init_run(project="p", store=sys.argv[1], capture_hardware_metrics=False, git_ref=False, source_files=[])
run["loss"].append(0.5)
os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with fields of all kinds, children, a model, a killed run, one for the trash and a damaged one."""
    folder = tmp_path_factory.mktemp("json")
    store = folder / ".naiad"
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("NAIAD_", "NEPTUNE_")):
                patch.delenv(name)
        fill(folder, store)
        yield store


def fill(folder: Path, store: Path) -> None:
    """Log the runs."""
    for number in (1, 2):
        (folder / f"set{number}").mkdir()
        (folder / f"set{number}" / "a.txt").write_text(f"{number}")
        (folder / f"set{number}" / "b.txt").write_text("same")
        with naiad.init_run(project="p", store=store, name=f"run {number}", tags=["good"], **QUIET) as run:
            run["params"] = {"lr": 0.1 * number, "steps": number, "on": True, "name": "x", "nan": float("nan")}
            run["when"] = datetime.now().astimezone()
            run["loss"].extend([0.5, 0.25, float("inf")], steps=[0, 1, 2.5])
            run["notes"].extend(["one", "two\nlines"])
            run["weights"].append(Histogram([0.0, 1.0, 2.0], [1, 3]))
            run["picture"].upload(File.from_content(b"\x89PNG", extension="png"))
            run["images"].append(File.from_content(b"text", extension="txt"), description="d")
            run["folder"].upload_files(str(folder / f"set{number}"))
            run["data"].track_files(str(folder / f"set{number}"))
            run["monitoring/0/stdout"].extend(["hello"])
    with naiad.init_run(project="p", store=store, parent="P-1", **QUIET):
        pass
    with naiad.init_model(project="p", store=store, key="M"):
        pass
    with naiad.init_model_version(project="p", store=store, model="P-M"):
        pass
    subprocess.run([sys.executable, "-c", KILLED, str(store)], check=False)
    for name in ("gone", "broken"):
        with naiad.init_run(project="p", store=store, name=name, custom_run_id=name, **QUIET) as run:
            run["loss"].extend([0.5] * 100)
            run["file"].upload(File.from_content(name.encode() * 2000, extension="bin"))
    folder = Path(CliRunner().invoke(main, ["path", "P-6", "--store", str(store)]).stdout.strip())
    [segment] = [each for each in folder.rglob("*") if each.suffix == ".seg"][:1] or [folder / "run.db"]
    content = bytearray(segment.read_bytes())
    content[40] ^= 0xFF
    segment.write_bytes(content)


@pytest.fixture(scope="module")
def outputs(place: Path) -> dict[str, list[Any]]:
    """The documents that the commands really print, by command."""
    folder = place.parent
    (folder / "table.csv").write_text("step,loss\n0,0.5\n1,0.25\n")
    lines = {
        "naiad ls": ["ls", "ls --trashed", "ls models", "ls versions", "ls --all"],
        "naiad projects": ["projects"],
        "naiad query": ["query params/lr>0", "query --columns=*"],
        "naiad compare": ["compare P-1 P-2"],
        "naiad show": ["show P-1", "show P-2", "show P-M"],
        "naiad plot": ["plot P-1 loss", "plot P-1 weights"],
        "naiad tail": ["tail P-1 loss", "tail P-1 notes"],
        "naiad logs": ["logs P-1"],
        "naiad files": ["files P-1"],
        "naiad artifact diff": ["artifact diff P-1 data P-2 data", "artifact diff P-1 data P-1 data"],
        "naiad copy": [f"copy P-1 --to {folder}/other"],
        "naiad du": ["du"],
        "naiad move": ["move P-2 --to q"],
        "naiad export": [f"export P-1 --to {folder}/out"],
        "naiad plugins": ["plugins"],
        "naiad doctor": ["doctor"],
        "naiad verify": ["verify"],
        "naiad sync": ["sync P-1 --to http://127.0.0.1:9 --dry-run"],
        "naiad import": [f"import csv {folder}/table.csv --project c"],
    }
    found: dict[str, list[Any]] = {}
    for name, calls in lines.items():
        for call in calls:
            found.setdefault(name, []).append(printed(place, *call.split()))
    found["naiad repair"] = [
        printed(place, "repair", "P-6"),
        printed(place, "repair", "P-1"),
        printed(place, "repair", "--catalog"),
    ]
    CliRunner().invoke(main, ["trash", "P-5", "--store", str(place)])
    found["naiad ls"].append(printed(place, "ls", "--trashed"))
    CliRunner().invoke(main, ["purge", "P-5", "--yes", "--store", str(place)])
    (place / "blobs").mkdir(exist_ok=True)
    found["naiad gc"] = [printed(place, "gc", "--now", "--dry-run")]
    return found


def printed(place: Path, *words: str) -> Any:
    """Return the document that a command prints."""
    done = CliRunner().invoke(main, [*words, "--json", "--store", str(place)])
    assert done.exit_code in (0, 1), (words, done.output, done.exception)
    return json.loads(done.stdout)


def test_every_command_with_json_is_on_the_page() -> None:
    formats = {name if not name.startswith("naiad import ") else "naiad import" for name in documented(main)}

    assert formats == tables().keys()


@pytest.mark.parametrize("command", sorted(tables()))
def test_output_is_as_documented(command: str, outputs: dict[str, list[Any]]) -> None:
    table = tables()[command]
    found = [each for output in outputs[command] for each in mistakes(output, table)]

    assert [] == found[:10]
    assert any(outputs[command]), "the output that was looked at is empty"
