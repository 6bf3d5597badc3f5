"""What `import naiad` costs: every script pays for it, so it loads nothing that it does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FRAMEWORKS = {"torch", "keras", "sklearn", "lightning", "kedro"}
HEAVY = {"numpy", "pandas", "re2", "sqlalchemy", "sqlite3", "click", "rich", "tqdm"} | FRAMEWORKS


def modules_after(code: str) -> set[str]:
    """Run the code in a fresh interpreter and return the names of the modules it has loaded."""
    script = f"import sys\n{code}\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, text=True)
    return set(done.stdout.split())


def test_import_loads_no_other_module_of_naiad() -> None:
    assert {"naiad"} == {name for name in modules_after("import naiad") if name.split(".")[0] == "naiad"}


def test_run_of_numbers_loads_no_module_of_files_queries_and_reading(store: Path) -> None:
    """Each of them would cost the start of every script some of its 40 ms, and `dataclasses` more than all of them."""
    code = "import naiad; run = naiad.init_run(); run['loss'].append(0.5); run['lr'] = 0.1; run.stop()"
    parts = ("alerts.watch", "capture.captures", "fields.file", "query", "storage.local.blobs", "storage.local.reader")

    loaded = modules_after(f"import os; os.environ['NAIAD_CAPTURES'] = 'off'; {code}")

    assert [] == [name for name in loaded if name.startswith(tuple(f"naiad.{part}" for part in parts))]
    assert set() == {"dataclasses", "logging", "numpy", "pluggy", "sqlite3", "html.entities"} & loaded
    assert 96 >= len([name for name in loaded if name.startswith("naiad")])


@pytest.mark.parametrize(
    "code",
    [
        "import naiad",
        "import naiad; naiad.Run, naiad.Project",
        "import naiad; run = naiad.init_run(); run['loss'].append(0.5); run['lr'] = 0.1; run.stop()",
    ],
    ids=["import", "classes", "a run of one point"],
)
def test_heavy_packages_stay_unloaded(store: Path, code: str) -> None:
    assert set() == HEAVY & modules_after(code)


def test_cpu_time_of_import_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Printed, not asserted: a busy machine must not fail the suite."""
    script = "import time; start = time.process_time(); import naiad; print(time.process_time() - start)"
    times = [float(subprocess.check_output([sys.executable, "-c", script])) for _ in range(5)]

    with capsys.disabled():
        print(f"\nimport naiad: {min(times) * 1000:.1f} ms of CPU time (goal: 40)")
