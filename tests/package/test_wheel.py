"""What is shipped: a source archive that builds, and a wheel with the whole library and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import naiad

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that pip builds from our source archive, in isolation, as it would for a user; it lies beside it."""
    folder = tmp_path_factory.mktemp("dist")
    python = [sys.executable, "-m"]
    subprocess.run([*python, "hatchling", "build", "-t", "sdist", "-d", folder], cwd=ROOT, check=True)
    (archive,) = folder.glob("*.tar.gz")
    subprocess.run([*python, "pip", "wheel", "--quiet", "--no-deps", "-w", folder, archive], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_the_library_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    roots = [ROOT / "core", ROOT / "integrations"]
    sources = {str(file.relative_to(root)) for root in roots for file in root.rglob("*.py")}
    sources |= {f"{folder.name}/py.typed" for folder in (ROOT / "integrations").glob("naiad_*")}

    info = f"naiad-{naiad.__version__}.dist-info"
    assert sources | {"naiad/py.typed"} <= set(names)
    assert [] == [name for name in names if not name.startswith(("naiad/", "naiad_", f"{info}/"))]
    assert f"{info}/licenses/LICENSE" in names


def test_wheel_names_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        entries = files.read(f"naiad-{naiad.__version__}.dist-info/entry_points.txt").decode()

    assert "naiad = naiad.cli:main" in entries


def test_wheel_and_source_archive_pass_the_checks_of_the_index(wheel: Path) -> None:
    """The page of the project renders, and no stray file or second copy is shipped."""
    python = [sys.executable, "-m"]
    (archive,) = wheel.parent.glob("*.tar.gz")
    told = subprocess.run(
        [*python, "twine", "check", "--strict", wheel, archive], check=False, capture_output=True, text=True
    )
    # W009: the core, its pages and each integration are packages of their own in this wheel.
    contents = [*python, "check_wheel_contents", "--ignore", "W009", wheel]
    found = subprocess.run(contents, check=False, capture_output=True, text=True)

    assert 0 == told.returncode, told.stdout + told.stderr
    assert 0 == found.returncode, found.stdout + found.stderr
