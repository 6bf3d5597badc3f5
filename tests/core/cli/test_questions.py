"""Ten questions of a team lead, each answered by one command of core/docs/how-to/questions.md."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import naiad
from naiad.types import File

PAGE = Path(__file__).parents[3] / "core" / "docs" / "how-to" / "questions.md"
COMMANDS = dict(
    re.findall(r"^## (\d+)\..*?```console\n\$ naiad ([^\n]+)", PAGE.read_text(encoding="utf-8"), re.S | re.M)
)
LARGE = bytes(range(256)) * 400


@pytest.fixture
def answers(
    store: Path, tmp_path: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Six runs, one of which failed, and a second store; ask the question of a number."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("1,2")
    for number in range(1, 7):
        try:
            with naiad.init_run(project="digits", name=f"try {number}", monitoring_namespace="monitoring/m") as run:
                run["parameters"] = {"lr": number / 10, "optimizer": ["adam", "sgd", "lion"][number % 3]}
                run["val/loss"].extend([1.0, 1.0 / number, 0.9])
                run["model"].upload(File.from_content(LARGE * number))
                run["monitoring/m/stdout"].extend([f"epoch {n}" for n in range(5)])
                if number % 2:
                    run["dataset"].track_files("data")
                if number == 6:
                    raise RuntimeError("loss is NaN")
        except RuntimeError:
            pass
    with naiad.init_run(project="digits", store=tmp_path / "other" / ".naiad"):
        pass

    def ask(number: int) -> Result:
        result = cli(*shlex.split(COMMANDS[str(number)]))
        assert 0 == result.exit_code, result.stderr
        return result

    return ask


def ids(result: Result) -> list[str]:
    return [line.split("\t")[0] for line in result.stdout.splitlines()]


def test_page_has_ten_questions() -> None:
    assert [str(number) for number in range(1, 11)] == list(COMMANDS)


def test_ten_questions(answers: Callable[[int], Result], tmp_path: Path, cli: Callable[..., Result]) -> None:
    assert ["DIGITS-6"] == ids(answers(1))
    assert {"DIGITS-1", "DIGITS-2", "DIGITS-4", "DIGITS-5"} == set(ids(answers(2)))
    [failed] = answers(3).stdout.splitlines()
    assert failed.startswith("DIGITS-6\tfailed\t")
    assert "RuntimeError: loss is NaN" in failed
    changed = {line.split("\t")[0] for line in answers(4).stdout.splitlines()}
    assert {"parameters/lr", "parameters/optimizer", "sys/name"} <= changed
    assert all(f"DIGITS-{number} val/loss" in answers(5).stdout for number in range(1, 6))
    assert "DIGITS-6" == ids(answers(6))[0]
    answers(7)
    shared = cli("ls", "--store", str(tmp_path / "share" / ".naiad"))
    assert ["DIGITS-3"] == ids(shared)
    answers(8)
    merged = json.loads(cli("ls", "--json", "--store", str(tmp_path / "other" / ".naiad")).stdout)
    assert 7 == len(merged)
    assert {"DIGITS-1", "DIGITS-3", "DIGITS-5"} == set(ids(answers(9)))
    assert ["epoch 3", "epoch 4"] == [line for line in answers(10).stdout.splitlines() if line.startswith("epoch")]
