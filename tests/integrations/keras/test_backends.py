"""What holds on torch holds on jax: tests are run once more, in a process of their own."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import naiad

HERE = Path(__file__).parent
FILES = ("test_fit.py", "test_mapping.py", "test_diagram.py")
RANK = """
import sys
import jax
rank = int(sys.argv[2])
jax.distributed.initialize("127.0.0.1:" + sys.argv[1], 2, rank)
import keras, numpy as np, naiad
from naiad_keras import NaiadCallback
with naiad.init_run(project="p", custom_run_id="same") as run:
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 1)), epochs=2, verbose=0, callbacks=[NaiadCallback(run)])
    run[f"rank/{rank}"] = jax.process_index()
"""


@pytest.mark.timeout(600)  # 50 s alone, most of it imports and compiling
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="jax is the back end already")
def test_jax_passes_the_same_tests() -> None:
    pytest.importorskip("jax", reason="jax is not installed")
    options = ("-q", "-n", "0", "-p", "no:cacheprovider")  # each worker would import and compile all of it again
    command = [sys.executable, "-m", "pytest", *options, *(str(HERE / name) for name in FILES)]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTEST_ADDOPTS": ""}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


def test_first_of_two_processes_of_jax_logs(store: Path) -> None:
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}

    ranks = [subprocess.Popen([sys.executable, "-c", RANK, port, rank], env=environment) for rank in "01"]

    assert [0, 0] == [each.wait(100) for each in ranks]
    with naiad.init_run(with_id="P-1", mode="read-only") as run:
        assert {"0": 0, "1": 1} == run["rank"].fetch()
        assert [0, 1] == run["training/train/epoch/loss"].fetch_values()["step"].tolist()
