"""What a logged step costs in frameworks, beside the TensorBoard logger that each of them brings.

    python tests/bench/bench_frameworks.py [--quick] [--json]

Each framework calls the hook of our adapter and that of its own TensorBoard logger, in turns, with the same two
metrics; the time of the calling thread is taken. Goal: 100 us, which is 1 % of a small step of 10 ms. XGBoost,
LightGBM, Optuna and skorch bring no TensorBoard logger with a hook of steps: there the floor is a row in a CSV file.
Keras, Kedro, Lightning and scikit-learn have benchmarks of their own, and Hydra has no steps.
"""

from __future__ import annotations

import csv
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import accelerate
import lightgbm
import numpy as np
import optuna
import torch
import xgboost
from accelerate.tracking import TensorBoardTracker
from figures import Figure, folder, main
from lightning.fabric import Fabric
from lightning.fabric.loggers import TensorBoardLogger
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback

import naiad
import naiad_accelerate
import naiad_lightgbm
import naiad_lightning
import naiad_optuna
import naiad_pytorch
import naiad_skorch
import naiad_transformers
import naiad_xgboost

Hook = Callable[[int], object]


def microseconds(steps: int, hooks: dict[str, Hook]) -> dict[str, list[float]]:
    """How long each hook takes, called in turns; the first calls make series and files and are left out."""
    taken: dict[str, list[float]] = {name: [] for name in hooks}
    for step in range(steps):
        for name, hook in hooks.items():
            began = time.thread_time_ns()
            hook(step)
            taken[name].append((time.thread_time_ns() - began) / 1e3)
    return {name: values[steps // 10 :] for name, values in taken.items()}


def rows_of(place: Path) -> Hook:
    """A hook that writes a row of CSV and flushes it, as who resumes from it needs."""
    stream = (place / "rows.csv").open("w")
    writer = csv.writer(stream)

    def write(step: int) -> None:
        writer.writerow([step, 0.5, 0.1])
        stream.flush()

    return write


def of_transformers(place: Path, run: naiad.Run) -> dict[str, Hook]:
    """`on_log` of the callbacks."""
    arguments = TrainingArguments(str(place), report_to="none", use_cpu=True)
    state, control = TrainerState(), TrainerControl()
    ours, board = naiad_transformers.NaiadCallback(run=run), TensorBoardCallback()
    model = torch.nn.Linear(2, 1)
    for callback in (ours, board):
        callback.on_train_begin(arguments, state, control, model=model)

    def hook(callback: Any) -> Hook:
        def log(step: int) -> None:
            state.global_step = step
            callback.on_log(arguments, state, control, logs={"loss": 0.5, "learning_rate": 0.1})

        return log

    return {"ours": hook(ours), "TensorBoardCallback": hook(board)}


def of_accelerate(place: Path, run: naiad.Run) -> dict[str, Hook]:
    """`log` of the trackers."""
    accelerate.PartialState(cpu=True)
    ours = naiad_accelerate.NaiadTracker(run=run, base_namespace="accelerate")
    board = TensorBoardTracker("bench", str(place))
    ours.start()
    board.start()
    values = {"loss": 0.5, "lr": 0.1}
    return {"ours": lambda step: ours.log(values, step), "TensorBoardTracker": lambda step: board.log(values, step)}


def of_fabric(place: Path, run: naiad.Run) -> dict[str, Hook]:
    """`log_dict` of Fabric."""

    def hook(logger: Any) -> Hook:
        fabric = Fabric(accelerator="cpu", devices=1, loggers=logger)
        return lambda step: fabric.log_dict({"loss": 0.5, "lr": 0.1}, step=step)

    ours = naiad_lightning.NaiadLogger(run=run["fabric"])
    return {"ours": hook(ours), "TensorBoardLogger": hook(TensorBoardLogger(place))}


def of_ignite(place: Path, run: naiad.Run) -> dict[str, Hook]:
    """The output handlers. Ignite uses parts of torch that are deprecated, so it is imported where warnings are off."""
    import ignite.handlers.tensorboard_logger as ignite_board
    from ignite.engine import Engine, Events

    import naiad_ignite

    engine = Engine(lambda *_: None)
    options = {"tag": "training", "output_transform": lambda _: {"loss": 0.5, "lr": 0.1}}

    def hook(logger: Any, handler: Any) -> Hook:
        def log(step: int) -> None:
            engine.state.iteration = step
            handler(engine, logger, Events.ITERATION_COMPLETED)

        return log

    ours = naiad_ignite.NaiadLogger(run=run, base_namespace="ignite")
    board = ignite_board.TensorboardLogger(log_dir=str(place / "ignite"))
    return {
        "ours": hook(ours, naiad_ignite.OutputHandler(**options)),
        "TensorboardLogger": hook(board, ignite_board.OutputHandler(**options)),
    }


def of_skorch(place: Path, run: naiad.Run) -> dict[str, Hook]:
    """`on_batch_end`, with a net that has the history of one batch."""

    class Net:
        history = [{"batches": [{"train_loss": 0.5, "train_batch_size": 16}]}]

    ours = naiad_skorch.NaiadCallback(run, base_namespace="skorch", log_on_batch_end=True).initialize()
    return {"ours": lambda _step: ours.on_batch_end(Net()), "a row of CSV, flushed": rows_of(place)}


def of_pytorch(place: Path, run: naiad.Run) -> dict[str, Hook]:
    """The learning rates of an optimizer with two groups.

    PyTorch calls hooks after the steps of every optimizer there is, so a step without ours cannot be timed beside one
    with it: the hook is called as PyTorch calls it.
    """
    from torch.utils.tensorboard import SummaryWriter

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD([{"params": [model.weight]}, {"params": [model.bias], "lr": 0.01}], lr=0.1)
    logger = naiad_pytorch.NaiadLogger(run, model=model, base_namespace="pytorch", log_freq=1)
    assert logger._watch is not None
    after_step = logger._watch._after_step
    writer = SummaryWriter(str(place / "pytorch"))

    def write(step: int) -> None:
        for number, group in enumerate(optimizer.param_groups):
            writer.add_scalar(f"lr/{number}", group["lr"], step)

    def log(_step: int, _model: torch.nn.Module = model) -> None:  # the hook would end with the model
        after_step(optimizer, (), {})

    return {"ours": log, "SummaryWriter": write}


def of_xgboost(place: Path, run: naiad.Run) -> dict[str, Hook]:
    """`after_iteration`, with the log of two metrics."""
    x = np.random.default_rng(7).normal(size=(50, 2))
    booster = xgboost.train({"max_depth": 1}, xgboost.DMatrix(x, x[:, 0]), 1)
    ours = naiad_xgboost.NaiadCallback(run, base_namespace="xgboost")
    log = {"valid": {"loss": [0.5], "auc": [0.9]}}
    return {"ours": lambda step: ours.after_iteration(booster, step, log), "a row of CSV, flushed": rows_of(place)}


def of_lightgbm(place: Path, run: naiad.Run) -> dict[str, Hook]:
    """The callback, with the results of two metrics."""
    x = np.random.default_rng(7).normal(size=(50, 2))
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(x, x[:, 0]), 1)
    ours = naiad_lightgbm.NaiadCallback(run, base_namespace="lightgbm")
    results = [("valid", "loss", 0.5, False), ("valid", "auc", 0.9, True)]

    def log(step: int) -> None:
        ours(lightgbm.callback.CallbackEnv(booster, {"learning_rate": 0.1}, step, 0, 100_000, results))

    return {"ours": log, "a row of CSV, flushed": rows_of(place)}


def of_optuna(place: Path, run: naiad.Run) -> dict[str, Hook]:
    """The callback for one trial, with its run."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    never = {"plots_update_freq": "never", "study_update_freq": "never"}
    runs = naiad_optuna.NaiadCallback(run, "runs", **never)
    curves = naiad_optuna.NaiadCallback(run, "curves", trials=None, **never)

    def hook(callback: Any) -> Hook:
        def log(step: int) -> None:
            trial = study.trials[0]
            trial.number = step
            callback(study, trial)

        return log

    return {"ours": hook(curves), "ours, with a run for each trial": hook(runs), "a row of CSV": rows_of(place)}


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    warnings.filterwarnings("ignore")
    steps = 20 if quick else 2_000
    found = []
    with folder() as place:
        os.chdir(place)
        run = naiad.init_run(store=place / "store", project="bench", capture_stdout=False, capture_stderr=False)
        for name, make in (
            ("Transformers", of_transformers),
            ("Accelerate", of_accelerate),
            ("Fabric", of_fabric),
            ("Ignite", of_ignite),
            ("PyTorch", of_pytorch),
            ("XGBoost", of_xgboost),
            ("LightGBM", of_lightgbm),
            ("skorch", of_skorch),
            ("Optuna, a trial", of_optuna),
        ):
            taken = microseconds(steps // 10 if make is of_optuna and not quick else steps, make(place, run))
            found.append(Figure(f"{name}: two metrics of a step", "us", taken.pop("ours"), "<= 100", taken))
        run.stop()
    print(f"medians: {[round(statistics.median(each.ours)) for each in found]}", file=sys.stderr)
    return found


if __name__ == "__main__":
    main(measure)
