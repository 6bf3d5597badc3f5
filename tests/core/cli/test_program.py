"""What all commands share: options, errors, pipes, start-up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import naiad
from naiad.cli.program import COMMANDS

Cli = Callable[..., Result]
PIPE = [sys.executable, "-c", "from naiad.cli import main; main()"]
LISTINGS = (["ls"], ["show", "DIGITS-1"], ["tail", "DIGITS-1", "train/loss"], ["verify"])


def test_version(cli: Cli) -> None:
    assert f"naiad {naiad.__version__}\n" == cli("--version").stdout


def test_help_names_every_command(cli: Cli) -> None:
    text = cli("--help").stdout

    assert {"ls", "show", "plot", "tail", "verify", "repair", "path"} <= set(COMMANDS)
    assert all(f"\n  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(cli: Cli, command: str) -> None:
    text = cli(command, "--help").stdout

    assert "Example" in text
    assert f"naiad {command}" in text.partition("Example")[2]


def test_help_of_every_format_of_an_import_has_an_example(cli: Cli) -> None:
    for name in ("csv", "mlflow", "neptune-export", "neptune-offline", "parquet", "tensorboard", "wandb"):
        assert f"Example: naiad import {name} " in cli("import", name, "--help").stdout


def test_help_of_each_part_of_the_server_has_an_example(cli: Cli) -> None:
    parts = ["token", "member", "quota", "audit", "verify", "gc", "migrate", "restored"]
    lines = [[], *([part] for part in parts), ["token", "add"], ["member", "set"], ["quota", "set"]]

    for line in lines:
        text = cli("server", *line, "--help").stdout
        assert "Example" in text
        assert "naiad server" in text.partition("Example")[2]
        assert "\\b" not in text


def test_store_works_anywhere_in_the_line(cli: Cli, digits: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_STORE", str(store / "none"))
    place = ["--store", str(store)]

    for line in ([*place, "ls"], ["ls", *place], ["ls", "-n", "1", f"--store={store}"], ["show", digits, *place]):
        assert digits in cli(*line).stdout
    assert 0 == cli("artifact", "diff", *place, "--help").exit_code


@pytest.mark.parametrize(
    "arguments", [["gc"], ["verify"], ["repair", "--catalog"], ["path", "D-1"], ["du"], ["copy", "--all", "--to", "x"]]
)
def test_commands_on_files_refuse_the_address_of_a_server(cli: Cli, arguments: list[str]) -> None:
    """Nothing listens there: the server is not asked."""
    result = cli("--store", "https://127.0.0.1:9", *arguments)

    assert 1 == result.exit_code
    assert "The store https://127.0.0.1:9 is not a folder" in result.stderr


def test_copies_and_servers_need_a_folder(
    cli: Cli, digits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    address = "https://naiad.example.org"

    assert f"naiad sync --to {address}" in cli("copy", digits, "--to", address).stderr
    for line in (["server", "--store", address, "--init"], ["--store", address, "server", "token", "list"]):
        assert f"{address} is the address of a server" in cli(*line).stderr
    monkeypatch.setenv("NAIAD_STORE", address)
    assert f"NAIAD_STORE is the address of a server, {address}" in cli("server", "--init").stderr
    assert not (tmp_path / ".naiad/server").exists()


@pytest.mark.parametrize("arguments", [["lss"], ["ls", "--nothing"], ["show"], ["plot", "DIGITS-1"]], ids=" ".join)
def test_usage_errors_exit_with_2(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments)

    assert 2 == result.exit_code
    assert "" == result.stdout
    assert "Usage:" in result.stderr


def test_missing_store_is_named(cli: Cli, store: Path) -> None:
    result = cli("ls")

    assert 1 == result.exit_code
    assert "" == result.stdout
    assert f"There is no store at {str(store)!r}." == result.stderr.splitlines()[0]


def test_folder_of_other_things_is_no_store_and_stays_as_it_is(cli: Cli, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").touch()
    for command in (["ls"], ["query", "lr > 0"], ["du"], ["show", "X-1"]):
        result = cli(*command, "--store", str(project))
        assert (1, "") == (result.exit_code, result.stdout)
        assert f"There is no store at {str(project)!r}." == result.stderr.splitlines()[0]
    assert ["train.py"] == [entry.name for entry in project.iterdir()]


@pytest.mark.parametrize("command", ["show", "path", "verify", "repair"])
def test_unknown_run_lists_near_ids(cli: Cli, digits: str, command: str) -> None:
    result = cli(command, "DIGITS-11")

    assert 1 == result.exit_code
    assert "DIGITS-11" in result.stderr
    assert "Nearby: DIGITS-1" in result.stderr
    assert 3 >= len(result.stderr.splitlines())


@pytest.mark.parametrize("name", ["", "..", "../../etc", "/", "a\0b", "\x1b[2J", "x" * 10_000])
def test_odd_run_names_are_not_found(cli: Cli, digits: str, name: str) -> None:
    result = cli("show", name)

    assert 1 == result.exit_code
    assert isinstance(result.exception, SystemExit)
    assert "\x1b" not in result.stderr


def test_store_option_names_another_store(cli: Cli, digits: str, tmp_path: Path) -> None:
    with naiad.init_run(project="other", store=tmp_path / "elsewhere"):
        pass

    result = cli("--store", str(tmp_path / "elsewhere"), "ls")

    assert ["OTHER-1"] == [line.split("\t")[0] for line in result.stdout.splitlines()]


def test_uid_names_a_run_too(cli: Cli, digits: str) -> None:
    folder = Path(cli("path", digits).stdout.strip())

    assert folder == Path(cli("path", folder.name).stdout.strip())


@pytest.mark.parametrize("arguments", LISTINGS, ids=" ".join)
def test_pipes_get_plain_text(digits: str, arguments: list[str]) -> None:
    text = subprocess.run([*PIPE, *arguments], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout

    assert "\x1b" not in text
    assert text.isascii()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_characters_the_output_lacks_are_escaped(store: Path, encoding: str) -> None:
    with naiad.init_run(project="digits", name="漢字 \ud800") as run:
        run["naïve/漢字"] = "👍"
    environment = {"PYTHONIOENCODING": encoding, "NAIAD_STORE": str(store)}
    for arguments in (["ls"], ["show", "DIGITS-1"], ["ls", "--json"], ["show", "DIGITS-1", "--json"]):
        done = subprocess.run([*PIPE, *arguments], env=environment, capture_output=True, check=False)

        assert (0, b"") == (done.returncode, done.stderr)
        assert b"\\u6f22\\u5b57" in done.stdout


def test_closed_pipe_is_no_error(store: Path) -> None:
    """`naiad ls | head -1`, with more runs than a pipe holds."""
    for _ in range(3):
        with naiad.init_run(project="digits", name="x" * 100_000):
            pass
    first = subprocess.Popen([*PIPE, "ls"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert first.stdout
    assert first.stderr

    line = first.stdout.read(9)
    first.stdout.close()

    assert b"DIGITS-3\t" == line
    assert b"" == first.stderr.read()
    first.stderr.close()
    first.wait()


def test_full_disk_is_one_line(digits: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*PIPE, "ls"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert 0 != done.returncode
    assert ["No space left on device."] == done.stderr.splitlines()[:1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["ls", "show {run}", "compare {run} {run}", "query `lr`:float>0"])
def test_short_runs_are_shown_without_numpy(digits: str, command: str) -> None:
    """Importing it takes longer than all else that these commands do."""
    words = command.format(run=digits).split()
    code = f"import sys; from naiad.cli import main; main({words!r}, standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert set() == {"numpy", "sqlalchemy", "tempfile", "dataclasses"} & set(done.stdout.splitlines()[-1].split())


def test_start_loads_nothing_heavy() -> None:
    code = "import sys, naiad.cli; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    )

    assert set() == loaded & {"numpy", "pandas", "sqlalchemy", "sklearn", "rich", "torch"}
