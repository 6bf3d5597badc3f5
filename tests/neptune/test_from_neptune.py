"""The page for those who come from Neptune: its programs and commands run, its tables are those of the code."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "core" / "docs" / "from-neptune.md"
EXPORTS = Path(__file__).parents[1] / "core" / "importers" / "samples" / "neptune-export"
TEXT = PAGE.read_text(encoding="utf-8")
COMMAND = [sys.executable, "-c", "from naiad.cli import main; main()"]
PROGRAM = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    settings = {name: text for name, text in os.environ.items() if not name.startswith(("NAIAD_", "NEPTUNE_"))}
    return subprocess.run(arguments, cwd=folder, env=settings, capture_output=True, text=True, timeout=100, check=False)


def test_programs_of_the_page_run_one_after_the_other(tmp_path: Path) -> None:
    done = run([sys.executable, "-W", "error", "-c", PROGRAM], tmp_path)

    assert 0 == done.returncode, done.stderr
    assert done.stdout.endswith("[1.0, 0.5, 0.3333333333333333]\n")


def test_commands_of_the_page_run(tmp_path: Path) -> None:
    code = PROGRAM.replace("import naiad.as_neptune", "pass")
    (tmp_path / "train.py").write_text(code)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "train.py").write_text(code)
    (tmp_path / "test_train.py").write_text("def test_train():\n    import neptune\n")
    lines = re.findall(r"^\$ (.*)$", TEXT, re.MULTILINE)
    folder = tmp_path / ".neptune" / "offline" / "run__07477900-8541-4b44-98f6-be6ff4fd871d__1__abcdefgh"
    folder.mkdir(parents=True)
    record = {"obj": {"type": "AssignFloat", "path": ["lr"], "value": 0.1}, "version": 1, "at": 1.7e9}
    (folder / "data-1.log").write_text(json.dumps(record))
    shutil.copytree(EXPORTS, tmp_path / "exports")

    for line in lines:
        words = line.split()
        start = COMMAND if words[0] == "naiad" else [sys.executable, "-m", words[0]]
        done = run([*start, *words[1:]], tmp_path)

        assert 0 == done.returncode, (line, done.stderr)
    assert 10 == len(lines)


def test_tables_of_the_page_are_those_of_the_code() -> None:
    code = """
import json, naiad.as_neptune
from naiad.as_neptune.envs import VARIABLES
from naiad.as_neptune.views import VIEWS
print(json.dumps([[each[:3] for each in VIEWS], [each[:3] for each in VARIABLES]]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    views, variables = json.loads(done.stdout)
    rows = [f"| {subject} | {naiad} | {neptune} |" for subject, naiad, neptune in views]
    settings = [f"| `{name}` | {'yes' if is_honoured else 'no'} | {why} |" for name, is_honoured, why in variables]

    assert "\n".join(["| what | naiad | under the alias |", "|---|---|---|", *rows]) in TEXT
    assert "\n".join(["| variable | honoured | effect, or why none |", "|---|---|---|", *settings]) in TEXT


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)", TEXT))))
def test_links_of_the_page_lead_somewhere(link: str) -> None:
    assert (PAGE.parent / link).exists()
