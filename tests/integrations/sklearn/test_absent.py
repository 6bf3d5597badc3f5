"""Without scikit-learn, or without other frameworks: what can be said is said, and nothing is loaded early."""

from __future__ import annotations

import subprocess
import sys

import pytest

import naiad_sklearn

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def run(program: str, *blocked: str) -> subprocess.CompletedProcess[str]:
    code = BLOCKED.format(names=set(blocked) or {""}) + program
    return subprocess.run([sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["NaiadCallback", "autolog", "create_classifier_summary", "get_scores"])
def test_name_without_the_framework_says_how_to_install_it(name: str) -> None:
    done = run(f"import naiad_sklearn.plugin; from naiad_sklearn import {name}", "sklearn")

    assert 1 == done.returncode
    expected = f"naiad.errors.MissingPackage: {name} needs scikit-learn, and importing sklearn failed: "
    assert expected + "No module named 'sklearn'" in done.stderr
    assert 'Install it with: pip install "naiad[sklearn]"' in done.stderr


def test_other_frameworks_are_not_needed() -> None:
    done = run(
        "from naiad_sklearn import NaiadCallback, autolog; from naiad.plugins import installed; installed()",
        "torch",
        "keras",
        "kedro",
        "lightning",
        "pytorch_lightning",
    )

    assert (0, "") == (done.returncode, done.stderr)


def test_import_loads_nothing() -> None:
    done = run("import naiad_sklearn, naiad_sklearn.plugin; print(*sys.modules)")

    assert set() == {"sklearn", "matplotlib", "pandas", "joblib"} & set(done.stdout.split())
    assert "numpy" not in done.stdout.split()


def test_all_names_are_there_and_are_listed() -> None:
    assert set(naiad_sklearn.__all__) == set(dir(naiad_sklearn)) & set(naiad_sklearn.__all__)
    assert all(callable(getattr(naiad_sklearn, name)) for name in naiad_sklearn.__all__)
    with pytest.raises(AttributeError, match="module 'naiad_sklearn' has no attribute 'create_chart'"):
        naiad_sklearn.create_chart
