"""`naiad files`, `naiad download`, `naiad artifact diff` and `naiad gc`."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import naiad
from naiad.ops import Assign, Members, Strings
from naiad.types import File

Cli = Callable[..., Result]
LARGE = bytes(range(256)) * 100


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name, content in {"a.csv": b"a", "sub/b.csv": LARGE}.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(content)
    return tmp_path / "data"


@pytest.fixture
def files(data: Path, store: Path) -> str:
    """The id of a stopped run with files of every kind."""
    with naiad.init_run(project="digits") as run:
        run["model/last"].upload(File.from_content(LARGE, extension="pt"))
        run["plots"].append(File.from_content("first", extension="txt"), step=5, name="sample")
        run["plots"].append(File.from_content("second", extension="txt"))
        run["set"].upload_files("data")
        run["data"].track_files("data")
        run["lr"] = 0.5
        return run["sys/id"].fetch()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def rows(result: Result) -> list[list[str]]:
    assert 0 == result.exit_code, result.stderr
    return [line.split("\t") for line in result.stdout.splitlines()]


SET = [
    ["set", "data/a.csv", "1", sha(b"a")],
    ["set", "data/sub/b.csv", str(len(LARGE)), sha(LARGE)],
]
SERIES = [["plots", "sample", "5", sha(b"first")], ["plots", "1.txt", "6", sha(b"second")]]


def test_every_file_of_a_run_is_a_line(cli: Cli, files: str) -> None:
    listed = rows(cli("files", files))

    assert [
        ["data", "a.csv", "1", sha(b"a")],
        ["data", "sub/b.csv", str(len(LARGE)), sha(LARGE)],
        ["model/last", "last.pt", str(len(LARGE)), sha(LARGE)],
        *SERIES,
        *SET,
    ] == listed


def test_run_without_files_is_a_sentence_on_stderr(cli: Cli, run: naiad.Run) -> None:
    assert ("", f"{run.id} has no files.\n") == ((result := cli("files", run.id)).stdout, result.stderr)


@pytest.mark.parametrize(("path", "expected"), [("set", SET), ("/plots/", SERIES), ("model", 1), ("model/last", 1)])
def test_files_below_a_path_only(cli: Cli, files: str, path: str, expected: object) -> None:
    listed = rows(cli("files", files, path))

    assert expected in (listed, len(listed))


def test_json_has_the_facts(cli: Cli, files: str, data: Path) -> None:
    listed = json.loads(cli("files", files, "data", "--json").stdout)

    first = {"path": "data", "name": "a.csv", "size": 1, "sha256": sha(b"a"), "location": f"file://{data}/a.csv"}
    assert first == listed[0]
    assert "location" not in json.loads(cli("files", files, "set", "--json").stdout)[0]


def test_terminal_shows_a_table(terminal: Callable[..., str], files: str) -> None:
    shown = terminal("files", files, "plots", columns=120)

    assert ["FIELD", "FILE", "BYTES", "SHA256"] == shown.splitlines()[0].replace("\x1b[1m", "").replace(
        "\x1b[0m", ""
    ).split()
    assert "sample" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["files", "DIG-99"], "DIG-99"),
        (["files", "{run}", "none"], 'no field "none"'),
        (["files", "{run}", "lr"], '"lr" is a Float, so it cannot be listed'),
        (["files", "{run}", "../x"], ".."),
        (["download", "{run}", "lr"], '"lr" is a Float, so it cannot be downloaded'),
        (["download", "{run}", "model"], 'no field "model"'),
        (["download", "{run}", "plots", "file"], "file"),
        (["download", "{run}", "model/last", "file/x"], "file"),
        (["artifact", "diff", "{run}", "set", "{run}", "data"], '"set" is a FileSet, so it cannot be compared'),
        (["artifact", "diff", "{run}", "data", "{run}", "dat"], 'no field "dat"'),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_plain_message(cli: Cli, files: str, tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "file").write_text("mine")

    result = cli(*(each.format(run=files) for each in arguments))

    assert 1 == result.exit_code
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert "" == result.stdout
    assert "mine" == (tmp_path / "file").read_text()


@pytest.mark.parametrize("command", ["files", "download", "gc"])
def test_store_that_is_not_there_is_named(cli: Cli, store: Path, command: str) -> None:
    arguments = {"files": ["A-1"], "download": ["A-1", "x"], "gc": []}[command]

    result = cli(command, *arguments)

    assert 1 == result.exit_code
    assert "There is no store" in result.stderr


def test_hostile_names_cannot_move_the_terminal(cli: Cli, run: naiad.Run) -> None:
    run["s"].append(b"x", name="\x1b[2J\nfake\tline\u202e\ud800")

    (line,) = rows(cli("files", run["sys/id"].fetch()))

    assert 4 == len(line)
    assert "\x1b" not in line[1]


def test_download_saves_each_kind(cli: Cli, files: str, tmp_path: Path) -> None:
    for arguments in (["model/last"], ["model/last", "out/x.pt"], ["plots"], ["set"], ["data", "copies"]):
        result = cli("download", files, *arguments)
        assert (0, "") == (result.exit_code, result.stdout), result.stderr

    assert LARGE == Path("last.pt").read_bytes() == Path("out/x.pt").read_bytes()
    assert "second" == Path("neptune/plots/1.txt").read_text()
    assert LARGE == zipfile.ZipFile("set.zip").read("data/sub/b.csv")
    assert LARGE == Path("copies/sub/b.csv").read_bytes()


def test_terminal_shows_how_far_a_download_is(terminal: Callable[..., str], files: str) -> None:
    assert "Downloading model/last" in terminal("download", files, "model/last")


def test_diff_shows_what_came_went_and_changed(cli: Cli, files: str, data: Path) -> None:
    (data / "a.csv").write_bytes(b"other")
    (data / "new").write_bytes(b"new")
    with naiad.init_run(project="digits") as run:
        run["data"].track_files(data / "a.csv")
        run["data"].track_files(data / "new")
        other = run["sys/id"].fetch()

    changes = rows(cli("artifact", "diff", files, "data", other, "data"))
    document = json.loads(cli("artifact", "diff", files, "data", other, "data", "--json").stdout)

    facts = ["content", "size", "modified"]
    assert [["added", "new", ""], ["removed", "sub/b.csv", ""], ["changed", "a.csv", ", ".join(facts)]] == changes
    assert not document.pop("same_content")
    assert 2 == len(set(document.pop("content_hash").values()))
    assert {"added": ["new"], "removed": ["sub/b.csv"], "changed": [{"path": "a.csv", "facts": facts}]} == document


def test_diff_of_the_same_says_so(cli: Cli, files: str) -> None:
    result = cli("artifact", "diff", files, "data", files, "data")

    assert (0, "") == (result.exit_code, result.stdout)
    assert "same version" in result.stderr


def test_terminal_shows_a_diff_in_colour(terminal: Callable[..., str], files: str) -> None:
    with naiad.init_run(project="digits") as run:
        run["data"].track_files("data/a.csv")
        other = run["sys/id"].fetch()

    assert "\x1b[31mremoved" in terminal("artifact", "diff", files, "data", other, "data")


@pytest.fixture
def aged(store: Path) -> Callable[[], None]:
    """Make all stored content old enough to be removed."""

    def age() -> None:
        long_ago = time.time() - 3600
        for path in (store / "blobs").rglob("*"):
            if path.is_file():
                os.utime(path, (long_ago, long_ago))

    return age


def test_gc_frees_what_nothing_refers_to_and_nothing_else(
    cli: Cli, files: str, store: Path, aged: Callable[[], None]
) -> None:
    garbage = LARGE[::-1]
    with naiad.init_run(with_id=files) as run:
        run["model/old"].upload(garbage, wait=True)
        run["model/old"].pop()
    aged()

    dry = cli("gc", "--dry-run")
    assert [[sha(garbage), str(len(garbage))]] == rows(dry)
    assert f"1 file, 25.6 kB ({len(garbage):,} bytes) would be freed." in dry.stderr
    document = json.loads(cli("gc", "--json").stdout)
    assert [{"name": sha(garbage), "bytes": len(garbage)}] == document
    again = cli("gc")
    assert [] == rows(again)
    assert "Nothing to free." in again.stderr
    with naiad.init_run(with_id=files, mode="read-only") as run:
        assert LARGE == run["model/last"].fetch_content()
        with run["set"].open_file("data/sub/b.csv") as stream:
            assert LARGE == stream.read()
        assert 2 == len(run["data"].fetch_files_list())


def test_gc_removes_nothing_while_a_run_tells_nonsense_of_its_files(
    cli: Cli, files: str, store: Path, aged: Callable[[], None]
) -> None:
    with naiad.init_run(with_id=files) as run:
        run["model/old"].upload(LARGE[::-1], wait=True)
        run["model/old"].pop()
        run["x"].upload(b"x")
        run._session.writer.log([Assign("x", "file", "nonsense", run._session.writer.now())])
    aged()

    result = cli("gc")

    assert 1 == result.exit_code
    assert "damaged" in result.stderr
    assert 2 == len(list((store / "blobs").glob("??/*")))


def test_show_says_of_files_what_they_are(cli: Cli, files: str) -> None:
    shown = {line[0]: line[1:] for line in rows(cli("show", files))}

    assert ["file", "pt, 25.6 kB"] == shown["model/last"]
    assert ["file_set", "2 files, 25.6 kB"] == shown["set"]
    assert ["file_series", "txt, 6 B", "2"] == shown["plots"]
    assert "  2 files, 25.6 kB  content " in shown["data"][1]
    assert 0 == cli("show", files, "--json").exit_code


@pytest.mark.parametrize("command", ["files", "show", "download"])
def test_nonsense_in_the_store_is_a_plain_message(cli: Cli, run: naiad.Run, tmp_path: Path, command: str) -> None:
    name, at = run["sys/id"].fetch(), run._session.writer.now
    run._session.writer.log([Assign("a", "file", "nonsense", at()), Members("b", {"x": "[]"}, [], False, at())])
    run._session.writer.log([Strings("c", ["{}"], [0], [0.0], False, at(), "file_series")])
    run._session.writer.log([Assign("d", "artifact", '{"hash": 5}', at()), Assign("e", "git_ref", "[]", at())])

    for path in "abcd":
        result = cli(command, name, *([path] if command != "show" else []))

        assert "Traceback" not in result.stderr
        assert 1 == result.exit_code if command != "show" else "damaged" in result.stdout
        assert not isinstance(result.exception, (KeyError, AttributeError, TypeError))
