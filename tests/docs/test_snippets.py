"""What a page of the documentation shows is run: its Python, its programs and its commands, in their order.

A block of `python` runs in one interpreter with those before it; one with a title is written to a file of that
name. In a block of `console`, lines that begin with `$ ` are run by a shell in the same folder. `bash` is checked for
its syntax. Other languages are data.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "core/docs"
ELSEWHERE = {"from-neptune.md", "http-api.md", "neptune-names.md", "plugins.md", "questions.md"}  # tested elsewhere
PAGES = sorted(page for page in DOCS.rglob("*.md") if page.name not in ELSEWHERE)
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
BEGINNING = """
import subprocess, sys
def _run(command):
    done = subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    sys.stdout.write(done.stdout)
    assert done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
"""


def program(text: str, folder: Path) -> str:
    """Return the blocks of a page as one program, and write those with a title into the folder."""
    parts = [BEGINNING]
    for language, title, body in BLOCK.findall(text):
        if body.startswith("{{ file "):
            continue  # an example, which the tests of the examples run
        if language == "python" and title:
            (folder / title).write_text(body, encoding="utf-8")
        elif language == "python":
            parts.append(body)
        elif language == "console":
            parts += [f"_run({line[2:]!r})\n" for line in body.splitlines() if line.startswith("$ ")]
        elif language == "bash":
            parts.append(f"_run({'bash -n <<' + chr(39) + 'END' + chr(39) + chr(10) + body + 'END'!r})\n")
    return "\n".join(parts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_snippets_of_a_page_run(page: Path, tmp_path: Path) -> None:
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("NAIAD_", "NEPTUNE_"))}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NAIAD_QUIET": "1"}

    (tmp_path / "page").mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program(page.read_text(encoding="utf-8"), tmp_path / "page")],
        cwd=tmp_path / "page",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
