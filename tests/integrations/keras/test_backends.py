"""What holds on torch holds on jax: tests are run once more, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

HERE = Path(__file__).parent
FILES = ("test_fit.py", "test_mapping.py", "test_diagram.py")


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="jax is the back end already")
def test_jax_passes_the_same_tests() -> None:
    pytest.importorskip("jax", reason="jax is not installed")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(str(HERE / name) for name in FILES)]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTEST_ADDOPTS": ""}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout
    assert " passed" in done.stdout
    assert "failed" not in done.stdout
