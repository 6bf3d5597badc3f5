"""The main job: a real training logs live, is killed in the middle, is resumed, and is read back exactly.

The training is deterministic and can go on from its checkpoint, so what an undisturbed one yields is known to the bit.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss

import naiad

EPOCHS = 60
LISTED_AFTER, KILLED_AFTER = 17, 29
CLI = [sys.executable, "-c", "from naiad.cli import main; main()"]

TRAINING = f"""
import os, sys
import numpy as np
import naiad
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_main_job import EPOCHS, epoch_of, new_model, restore

with_id, checkpoint = sys.argv[1] or None, sys.argv[2]
run = naiad.init_run(with_id=with_id, project="digits", name=None if with_id else "main job")
model, start = new_model(), 0
if with_id:
    start = restore(model, checkpoint)
    run["resumed_at"] = start
    run["sys/tags"].add("resumed")
else:
    run["parameters"] = {{"epochs": EPOCHS, **model.get_params(deep=False)}}
print(run["sys/id"].fetch(), flush=True)
for epoch in range(start, EPOCHS):
    loss, accuracy = epoch_of(model)
    run["train"].append({{"loss": loss, "accuracy": accuracy}}, step=epoch)
    run["log"].append(f"epoch {{epoch}}: {{loss!r}}", step=epoch)
    run["epoch"] = epoch
    np.savez(checkpoint + ".new.npz", epoch=epoch, coef=model.coef_, intercept=model.intercept_)
    os.replace(checkpoint + ".new.npz", checkpoint)
    print(f"{{epoch:1000}}", flush=True)
run["score"] = accuracy
run.stop()
"""

DATA = load_digits()


def new_model() -> SGDClassifier:
    """A classifier whose whole state is its coefficients."""
    return SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.001, shuffle=False)


def epoch_of(model: SGDClassifier) -> tuple[float, float]:
    """Train for one epoch; return loss and accuracy."""
    values = DATA.data / 16
    model.partial_fit(values, DATA.target, classes=DATA.target_names)
    return float(log_loss(DATA.target, model.predict_proba(values))), float(model.score(values, DATA.target))


def restore(model: SGDClassifier, checkpoint: str) -> int:
    """Give a model its state after the last epoch that was finished; return the next one."""
    model.partial_fit(DATA.data[:1], DATA.target[:1], classes=DATA.target_names)
    with np.load(checkpoint) as saved:
        model.coef_[:], model.intercept_[:] = saved["coef"], saved["intercept"]
        return int(saved["epoch"]) + 1


@pytest.fixture(scope="module")
def undisturbed() -> list[tuple[float, float]]:
    """Loss and accuracy of each epoch of a training that nothing disturbs."""
    model = new_model()
    return [epoch_of(model) for _ in range(EPOCHS)]


def begin(with_id: str, checkpoint: Path) -> subprocess.Popen[str]:
    """Start a training. Its pipe takes few of its long lines, so that it cannot run far ahead of who reads them."""
    command = [sys.executable, "-c", TRAINING, with_id, checkpoint]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pipesize=4096)


def read_until(training: subprocess.Popen[str], epoch: int) -> None:
    assert training.stdout
    while int(training.stdout.readline()) < epoch:
        pass


def listed(state: str) -> list[str]:
    """The ids of the runs that `naiad ls` shows in a state."""
    done = subprocess.run([*CLI, "ls", "--json", "--state", state], check=True, stdout=subprocess.PIPE)
    return [row["id"] for row in json.loads(done.stdout)]


def bits(values: object) -> bytes:
    return np.asarray(values, np.float64).tobytes()


def test_killed_training_goes_on_and_is_read_back_exactly(
    store: Path, tmp_path: Path, undisturbed: list[tuple[float, float]]
) -> None:
    checkpoint = tmp_path / "checkpoint.npz"

    training = begin("", checkpoint)
    assert training.stdout
    run_id = training.stdout.readline().strip()
    read_until(training, LISTED_AFTER)
    assert [run_id] == listed("running")
    read_until(training, KILLED_AFTER)
    os.kill(training.pid, signal.SIGKILL)
    training.wait()
    acknowledged = [int(line) for line in training.stdout if line.endswith("\n")]
    training.stdout.close()

    assert [run_id] == listed("killed")
    last = max([KILLED_AFTER, *acknowledged])
    assert EPOCHS - 1 > last
    with naiad.init_run(with_id=run_id, mode="read-only") as run:
        kept = run["train/loss"].fetch_values()
        assert "killed" == run["sys/state"].fetch()
    assert len(kept) in (last + 1, last + 2)
    assert bits([loss for loss, _ in undisturbed[: len(kept)]]) == bits(kept["value"])

    resumed = begin(run_id, checkpoint)
    output, _ = resumed.communicate(timeout=100)

    assert 0 == resumed.returncode
    assert run_id == output.split()[0]
    assert [run_id] == listed("finished")
    with naiad.init_run(with_id=run_id, mode="read-only") as run:
        check_everything(run, undisturbed)
    assert 0 == subprocess.run([*CLI, "verify"], check=False, capture_output=True).returncode


def check_everything(run: naiad.Run, undisturbed: list[tuple[float, float]]) -> None:
    """Compare the whole run with what was logged; an epoch cut short by the kill was logged twice, the same."""
    fetched = run.fetch()
    resumed_at = fetched["resumed_at"]
    for place, name in enumerate(("loss", "accuracy")):
        points = run[f"train/{name}"].fetch_values()
        steps = points["step"].astype(int).tolist()
        assert steps in (list(range(EPOCHS)), sorted([*range(EPOCHS), resumed_at]))
        assert bits([undisturbed[step][place] for step in steps]) == bits(points["value"])
    log = run["log"].fetch_values()
    assert [f"epoch {step}: {undisturbed[step][0]!r}" for step in log["step"].astype(int)] == list(log["value"])
    assert set(range(EPOCHS)) == set(log["step"].astype(int))
    assert (EPOCHS - 1, undisturbed[-1][1]) == (fetched["epoch"], fetched["score"])
    assert ("main job", {"resumed"}) == (fetched["sys"]["name"], run["sys/tags"].fetch())
    assert {"epochs": EPOCHS, "eta0": 0.001, "shuffle": False}.items() <= fetched["parameters"].items()
