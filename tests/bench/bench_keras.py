"""What the callback for Keras costs a step of a real fit, beside other loggers.

    python tests/bench/bench_keras.py [--quick] [--json]

One small network on one back end (torch, unless KERAS_BACKEND says otherwise); how long its step takes is printed on
stderr. Two ways of looking:

- the hook alone: within one fit, each step calls the hooks of all loggers one after the other, with the same logs, and
  times each. Goal: 10 us, which is 1 % of a step of 1 ms;
- whole fits: each logger has a fit of its own, in turns, in CPU time of all threads, divided by the steps. The floor is
  a callback whose batch hook does nothing: Keras makes the logs for it as it does for any.

Keras' own TensorBoard callback needs TensorFlow, which is not used here; the `SummaryWriter` of torch stands for it,
where tensorboard is installed. CSVLogger writes a row an epoch; within the hook it is made to write one a batch.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from figures import CPU, Figure, folder, in_turns, main, seconds

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("OMP_NUM_THREADS", "1")
import keras
import numpy as np

import naiad
from naiad_keras import NaiadCallback

BATCH = 32
Hook = Callable[[int, dict[str, float]], object]


class Idle(keras.callbacks.Callback):
    """Has a batch hook, so that Keras waits for each step and makes its logs."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Do nothing."""


class Timed(keras.callbacks.Callback):
    """Calls the batch hooks of several loggers in turns and times each, in microseconds."""

    def __init__(self, hooks: dict[str, Hook]) -> None:
        super().__init__()
        self.hooks = hooks
        self.taken: dict[str, list[float]] = {name: [] for name in hooks}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Call each hook with the same logs."""
        clock = time.perf_counter_ns
        for name, hook in self.hooks.items():
            began = clock()
            hook(batch, logs)
            self.taken[name].append((clock() - began) / 1e3)


def network() -> Any:
    """A compiled network, of which a step on torch takes about a millisecond."""
    model = keras.Sequential([keras.layers.Input((64,)), keras.layers.Dense(128, "relu"), keras.layers.Dense(10)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def data(steps: int) -> tuple[Any, Any]:
    """Enough for so many steps."""
    random = np.random.default_rng(7)
    return random.normal(size=(BATCH * steps, 64)).astype("float32"), np.zeros((BATCH * steps, 10), "float32")


def train(model: Any, steps: int, *callbacks: Any, epochs: int = 1) -> None:
    """Fit without any callback but these."""
    model.fit(*data(steps), batch_size=BATCH, epochs=epochs, verbose=0, callbacks=list(callbacks))


def hook_alone(place: Path, run: naiad.Run, steps: int, epochs: int) -> Figure:
    """Microseconds of one batch hook, with two metrics."""
    model = network()
    ours = NaiadCallback(run, "hook", log_on_batch=True)
    rows = keras.callbacks.CSVLogger(str(place / "rows.csv"))
    rows.on_train_begin()
    rows.set_model(model)
    hooks: dict[str, Hook] = {
        "one that does nothing": Idle().on_train_batch_end,
        "ours": ours.on_train_batch_end,
        "CSVLogger, a row a batch": rows.on_epoch_end,
    }
    if find_spec("tensorboard") is not None:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(place / "board"))
        hooks["SummaryWriter, two scalars"] = lambda batch, logs: [
            writer.add_scalar(name, value, batch) for name, value in logs.items()
        ]
    timed = Timed(hooks)
    ours.set_model(model)
    ours.set_params({"steps": steps})
    train(model, steps, timed, epochs=epochs)
    rows.on_train_end()
    warm = len(timed.taken["ours"]) // 10  # first calls make series and files
    taken = {name: values[warm:] for name, values in timed.taken.items()}
    return Figure("Keras: the hook of a batch with two metrics", "us", taken.pop("ours"), "<= 10", taken)


def whole_fits(place: Path, run: naiad.Run, steps: int, repeats: int) -> Figure:
    """Milliseconds a step of whole fits."""
    model = network()

    def fit(callback: Callable[[], Any]) -> Callable[[], float]:
        return lambda: seconds(lambda: train(model, steps, callback()), CPU) / steps * 1e3

    train(model, steps, Idle())
    found = in_turns(
        repeats,
        {
            "one that does nothing": fit(Idle),
            "ours": fit(lambda: NaiadCallback(run, "fits", log_on_batch=True)),
            "CSVLogger, a row an epoch": fit(lambda: keras.callbacks.CSVLogger(str(place / "fits.csv"))),
        },
    )
    step = statistics.median(found["one that does nothing"])
    print(f"a step takes {step:.2f} ms of CPU on {keras.backend.backend()}", file=sys.stderr)
    return Figure("Keras: a step of a fit, log_on_batch=True", "ms", found.pop("ours"), "<= 1.01 x", found)


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # of Keras on torch with NumPy 2
    steps, epochs, repeats = (4, 2, 1) if quick else (500, 10, 9)
    with folder() as place, naiad.init_run(store=place / "store", project="bench") as run:
        return [hook_alone(place, run, steps, epochs), whole_fits(place, run, steps, repeats)]


if __name__ == "__main__":
    main(measure)
