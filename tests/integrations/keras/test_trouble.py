"""Mistakes raise where they are made; whatever else goes wrong never reaches the training."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import pytest

import naiad
from naiad import Run
from naiad.errors import InvalidArgument, MissingPackage, NaiadTypeError, PluginWarning
from naiad_keras import NaiadCallback

Fit = Callable[..., Any]

MISTAKES: list[tuple[Mapping[str, Any], type[Exception], str]] = [
    ({"run": "RUN-1"}, NaiadTypeError, "cannot log to 'RUN-1'"),
    ({"log_on_batch": -1}, InvalidArgument, "not -1"),
    ({"log_on_batch": "epoch"}, InvalidArgument, "not 'epoch'"),
    ({"log_checkpoints": "first"}, InvalidArgument, "not 'first'"),
    ({"log_checkpoints": "best", "mode": "lowest"}, InvalidArgument, "not 'lowest'"),
    ({"log_predictions": 5}, NaiadTypeError, "not 5"),
]


class Stop(keras.callbacks.Callback):
    """Ends a fit at the end of its second epoch, by doing something."""

    def __init__(self, do: Callable[[], None]) -> None:
        super().__init__()
        self.do = do

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            self.do()


def ours(given: Iterable[warnings.WarningMessage]) -> list[str]:
    return [str(each.message) for each in given if each.category is PluginWarning]


def crash() -> None:
    raise RuntimeError("the loss exploded")


@pytest.mark.parametrize(("options", "error", "words"), MISTAKES)
def test_mistake_in_the_arguments_raises_at_once(
    run: Run, options: Mapping[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        NaiadCallback(**{"run": run, **options})

    assert not run.exists("source_code")


def test_what_cannot_be_logged_costs_one_warning_and_a_note(run: Run, model: Any, fit: Fit) -> None:
    run["training/train/epoch/mae"] = "taken"

    with pytest.warns(PluginWarning, match="could not log train/epoch/mae") as given:
        fit(model, NaiadCallback(run), epochs=3)

    notes = run["training/integration/errors"].fetch_values()["value"].tolist()
    assert 1 == len(ours(given)) == len(notes)
    assert "train/epoch/mae" in notes[0]
    assert 3 == len(run["training/train/epoch/loss"].fetch_values())
    assert [0, 1, 2] == run["training/validation/epoch/loss"].fetch_values()["step"].tolist()
    assert "done" == run["training/status"].fetch()


def test_losses_that_keras_cannot_name_cost_nothing_else(run: Run, another_model: Any, fit: Fit, data: Any) -> None:
    model = another_model("sgd")
    model.compile("sgd", lambda y, predicted: keras.ops.mean(keras.ops.square(y - predicted)))

    fit(model, NaiadCallback(run), epochs=1)

    assert run.exists("training/train/epoch/loss")
    assert run.exists("training/model/optimizer_config/name")


def test_stopped_run_does_not_stop_the_training(store: Path, model: Any, fit: Fit) -> None:
    run = naiad.init_run()
    callback = NaiadCallback(run, log_on_batch=True)
    run.stop()

    with pytest.warns(PluginWarning, match="was stopped") as given:
        history = fit(model, callback, epochs=2)

    assert 2 == len(history.epoch)
    assert 1 == len(ours(given))


def test_exception_leaves_a_failed_run_with_its_data(store: Path, model: Any, fit: Fit, data: Any) -> None:
    with pytest.raises(RuntimeError, match="exploded"), naiad.init_run() as run:  # noqa: PT012 (the run's end is shown)
        run_id = run["sys/id"].fetch()
        fit(model, NaiadCallback(run), Stop(crash), epochs=3)

    with naiad.init_run(with_id=run_id, mode="read-only") as kept:
        assert "failed" == kept["sys/state"].fetch()
        assert "running" == kept["training/status"].fetch()
        assert [0, 1] == kept["training/train/epoch/loss"].fetch_values()["step"].tolist()


def test_interrupt_leaves_a_terminated_run_with_its_data(store: Path, model: Any, fit: Fit) -> None:
    with pytest.raises(KeyboardInterrupt), naiad.init_run() as run:  # noqa: PT012 (the run's end is shown)
        run_id = run["sys/id"].fetch()
        fit(model, NaiadCallback(run), Stop(lambda: signal.raise_signal(signal.SIGINT)), epochs=3)

    with naiad.init_run(with_id=run_id, mode="read-only") as kept:
        assert "terminated" == kept["sys/state"].fetch()
        assert [0, 1] == kept["training/train/epoch/loss"].fetch_values()["step"].tolist()


def test_evaluation_after_a_failed_fit_is_no_part_of_it(run: Run, model: Any, fit: Fit, data: Any) -> None:
    callback = NaiadCallback(run, separate_evaluate=True)
    fail = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: crash())
    with pytest.raises(RuntimeError):
        fit(model, callback, fail, epochs=1)

    model.evaluate(*data, verbose=0, callbacks=[callback])

    assert run.exists("training/evaluation/0/loss")
    assert not run.exists("training/validation")


CHILD = """
    import os, pickle, signal, sys
    sys.modules.update(dict.fromkeys(["tensorflow", "torch", "lightning", "pytorch_lightning", "kedro", "sklearn"]))
    import keras, numpy
    import naiad
    from naiad_keras import NaiadCallback

    x = numpy.random.default_rng(7).normal(size=(32, 3)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)  # or the parent compiles as well

    callback = pickle.loads(sys.stdin.buffer.read())
    model.evaluate(x, y, verbose=0, callbacks=[callback])

    run = naiad.init_run()
    print(run["sys/id"].fetch(), flush=True)

    class Killer(keras.callbacks.Callback):
        batches = 0

        def on_train_batch_end(self, batch, logs=None):
            self.batches += 1
            if self.batches == 11:
                os.kill(os.getpid(), signal.SIGKILL)

    model.fit(x, y, batch_size=8, epochs=5, verbose=0,
              callbacks=[NaiadCallback(run, log_on_batch=True, log_checkpoints="last"), Killer()])
"""


def test_killed_process_keeps_its_points_and_the_fit_goes_on_from_its_checkpoint(
    run: Run, model: Any, fit: Fit, data: Any, tmp_path: Path
) -> None:
    """The child trains on jax, where no other framework is installed; its parent goes on, on torch.

    By a callback that came to it as a pickle, the child also logs to a run of its parent.
    """
    callback = NaiadCallback(run, "evaluated")
    fit(model, callback, epochs=1)

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD)],
        input=pickle.dumps(callback),
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        check=False,
    )

    assert (-signal.SIGKILL, b"") == (done.returncode, done.stderr)
    assert [0, 1] == run["evaluated/validation/epoch/loss"].fetch_values()["step"].tolist()
    run_id = done.stdout.decode().strip()
    with naiad.init_run(with_id=run_id, mode="read-only") as killed:
        assert "killed" == killed["sys/state"].fetch()
        assert list(range(1, 12)) == killed["training/train/batch/loss"].fetch_values()["step"].tolist()

    with naiad.init_run(with_id=run_id) as resumed:
        resumed["training/model/checkpoints/last"].download(str(tmp_path / "last.keras"))
        restored = keras.saving.load_model(tmp_path / "last.keras")

        fit(restored, NaiadCallback(resumed, log_on_batch=True), epochs=4, initial_epoch=2)

        assert [0, 1, 2, 3] == resumed["training/train/epoch/loss"].fetch_values()["step"].tolist()
        batches = resumed["training/train/batch/loss"].fetch_values()["step"].tolist()
        assert sorted([*range(1, 12), *range(9, 17)]) == batches


def test_pickled_callback_holds_no_model_even_after_a_failed_fit(run: Run, model: Any, fit: Fit) -> None:
    callback = NaiadCallback(run, log_on_batch=2, log_predict_calls=True, log_checkpoints="last")
    with pytest.raises(RuntimeError):
        fit(model, callback, Stop(crash), epochs=3)

    copy = pickle.loads(pickle.dumps(callback))

    assert copy.model is None
    assert 5_000 > len(pickle.dumps(callback))
    fit(model, copy, epochs=3, initial_epoch=2)
    assert [0, 1, 2] == run["training/train/epoch/loss"].fetch_values()["step"].tolist()
    assert [2, 4, 6, 8, 10, 12] == run["training/train/batch/loss"].fetch_values()["step"].tolist()


def test_namespace_of_a_run_holds_all_of_it_but_the_version(run: Run, model: Any, fit: Fit) -> None:
    fit(model, NaiadCallback(run["folds/0"], base_namespace=""), epochs=1)
    fit(model, NaiadCallback(run["folds/1"]), epochs=2, initial_epoch=1)

    assert {"folds", "source_code", "sys"} == set(run.get_structure())
    assert naiad.__version__ == run["source_code/integrations/neptune-tensorflow-keras"].fetch()
    assert [0] == run["folds/0/train/epoch/loss"].fetch_values()["step"].tolist()
    assert [1] == run["folds/1/training/train/epoch/loss"].fetch_values()["step"].tolist()


def test_two_runs_in_one_process_do_not_meet(store: Path, model: Any, fit: Fit) -> None:
    with naiad.init_run() as first, naiad.init_run() as second:
        fit(model, NaiadCallback(first), NaiadCallback(second, "other"), epochs=1)
        fit(model, NaiadCallback(second), epochs=2, validation=False)

        assert [0] == first["training/train/epoch/loss"].fetch_values()["step"].tolist()
        assert not first.exists("other")
        assert [0] == second["other/train/epoch/loss"].fetch_values()["step"].tolist()
        assert [0, 1] == second["training/train/epoch/loss"].fetch_values()["step"].tolist()
        assert not second.exists("training/validation")
        assert "started" == first.get_state() == second.get_state()


def test_absent_keras_is_named_with_the_extra_that_brings_it() -> None:
    code = "import sys; sys.modules['keras'] = None; import naiad_keras; naiad_keras.NaiadCallback"

    assert 'pip install "naiad[keras]"' in _error_of(code)


@pytest.mark.skipif(find_spec("tensorflow") is not None, reason="the back end that is to be missing is installed")
def test_absent_back_end_is_said_to_be_one() -> None:
    error = _error_of("import naiad_keras; naiad_keras.NaiadCallback", KERAS_BACKEND="tensorflow")

    assert 'os.environ["KERAS_BACKEND"] = "torch"' in error
    assert "No module named 'tensorflow'" in error


def test_package_and_its_plugin_load_no_framework() -> None:
    code = "import sys, naiad_keras.plugin; print({'keras', 'torch', 'jax', 'numpy'} & set(sys.modules))"

    assert "set()\n" == subprocess.check_output([sys.executable, "-c", code], text=True)


def _error_of(code: str, **environment: str) -> str:
    """The last error of a program that is to end with MissingPackage."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert 1 == done.returncode
    assert f"{MissingPackage.__module__}.{MissingPackage.__name__}: " in done.stderr
    return done.stderr.rpartition(MissingPackage.__name__)[2]
