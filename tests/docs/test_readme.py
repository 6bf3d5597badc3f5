"""What the README shows is run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from naiad.cli import main

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_python_blocks_of_the_readme_run_one_after_the_other(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("NAIAD_", "NEPTUNE_"))}

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert "{'lr': 0.01, 'optimizer': 'sgd'} 0.05" in done.stdout
    assert (tmp_path / ".naiad").is_dir()


def test_the_commands_that_pages_name_are_those_of_the_program() -> None:
    page = (Path(__file__).parents[2] / "core/docs/commands.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\| `naiad (\w+)", page, re.MULTILINE))
    named = set(re.findall(r"`naiad (\w+)", README))
    commands = set(main.list_commands(main.make_context("naiad", [], resilient_parsing=True)))

    assert shown == commands
    assert named <= commands


def test_the_readme_fits_a_screen_that_is_scrolled_twice() -> None:
    assert 150 >= len(README.splitlines())
