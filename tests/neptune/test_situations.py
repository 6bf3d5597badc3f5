"""Situations of the end-to-end tests of Neptune's client and of its published programs, tried on naiad under its name.

Each test in `situations/` is named as that of the client whose situation it is, or names those that it stands for; its
code is ours. Left out are tests that need Neptune's server (its multipart protocol, invitations, members), its queue of
operations (`neptune sync`, `neptune clear`) or S3.

With their parameters they are 258; the client has 287 without S3, of which 24 need its server or its queue. Beside them
`programs.py` has the 36 scripts of Neptune's how-to guides as 15 tests. They take two minutes:
pytest -m slow tests/neptune/test_situations.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SITUATIONS = Path(__file__).parent / "situations"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["files.py", "programs.py", "runs.py", "values.py"])
def test_situations_of_the_client(name: str, store: Path, tmp_path: Path) -> None:
    """In a process of its own, where naiad answers `import neptune` for all tests."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    options = [
        "-q",
        "-c",
        str(tmp_path / "pytest.ini"),
        "-p",
        "naiad.as_neptune",
        "-p",
        "containers",
        "-p",
        "no:cacheprovider",
    ]
    command = [sys.executable, "-m", "pytest", *options, "--basetemp", str(tmp_path / "work"), str(SITUATIONS / name)]
    settings = {**os.environ, "NAIAD_STORE": str(store), "PYTEST_ADDOPTS": "", "PYTHONPATH": str(SITUATIONS)}
    done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout[-5000:]
