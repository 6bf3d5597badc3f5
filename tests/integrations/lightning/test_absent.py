"""Without the framework: nothing breaks but its use, and that says what to do."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCK = """
import sys
for name in {names}:
    sys.modules[name] = None  # as if it were not installed
import naiad, naiad_lightning
"""


def run(names: list[str], program: str) -> str:
    code = BLOCK.format(names=names) + program
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_absent_framework_is_named_with_its_extra() -> None:
    program = """
try:
    naiad_lightning.NaiadLogger
except ImportError as error:
    print(type(error).__name__, error)
"""
    said = run(["lightning", "pytorch_lightning"], program)

    assert "MissingPackage naiad_lightning needs Lightning 2, and importing lightning failed" in said
    assert 'Install it with: pip install "naiad[lightning]"' in said


def test_mapping_and_names_are_there_without_it() -> None:
    program = """
from naiad_lightning.plugin import INTEGRATION
print(INTEGRATION.extra, dir(naiad_lightning), "torch" in sys.modules)
"""
    assert "lightning ['NaiadConfigCallback', 'NaiadLogger', 'NeptuneLogger'] False\n" == run(["lightning"], program)


@pytest.mark.slow
def test_other_frameworks_and_one_of_the_two_names_are_not_needed() -> None:
    program = """
from naiad_lightning import NaiadLogger
from pytorch_lightning.loggers import Logger
print(issubclass(NaiadLogger, Logger), {"keras", "kedro", "naiad_keras"} & {*filter(sys.modules.get, sys.modules)})
"""
    assert "True set()\n" == run(["lightning", "keras", "kedro"], program)
