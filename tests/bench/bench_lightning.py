"""What a logger adds to a training step of Lightning: ours, TensorBoard's and CSV's, in real fits, in turns.

    python tests/bench/bench_lightning.py [--quick]

A step computes for 1 ms, and each step is logged. Of each logger is shown how long its hooks take, those of a step and
those of beginning and end, in CPU time of the training's own thread; and by how much fits with it are longer than fits
without any. The last holds what Lightning itself does for a logger, which the one that does nothing shows alone; on a
busy machine it says little.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from figures import WALL, Figure, folder, in_turns, main
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch.utils.data import DataLoader, TensorDataset

from naiad_lightning import NaiadLogger

STEP = 0.001  # seconds
OF_A_STEP = ("log_metrics", "save")
OF_A_FIT = ("log_hyperparams", "log_graph", "finalize")


class Model(LightningModule):
    """Computes for as long as a step shall take, and logs two metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.line = torch.nn.Linear(8, 1)

    def training_step(self, batch: Any, _index: int) -> Any:
        until = WALL() + STEP
        loss = self.line(batch[0]).square().mean()
        self.log("train/loss", loss)
        self.log("train/norm", self.line.weight.detach().norm())
        while WALL() < until:
            pass
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Nothing(Logger):
    """What Lightning's own work for a logger costs."""

    name = version = ""

    def log_metrics(self, metrics: Any, step: Any = None) -> None: ...

    def log_hyperparams(self, params: Any, *_: Any) -> None: ...


def clocked(logger: Any, hooks: tuple[str, ...]) -> list[float]:
    """A list of how long each call of these hooks takes from now on."""
    taken: list[float] = []

    def around(hook: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            began = time.thread_time()
            try:
                return hook(*args, **options)
            finally:
                taken.append(time.thread_time() - began)

        return timed

    for name in hooks:
        setattr(logger, name, around(getattr(logger, name)))
    return taken


def fit(logger: Any, steps: int) -> tuple[float, float, float]:
    """Seconds of a step in a fit, of them those in the logger, and seconds in the logger at beginning and end."""
    data = DataLoader(TensorDataset(torch.randn(steps, 8)))
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = Trainer(max_epochs=1, accelerator="cpu", log_every_n_steps=1, logger=logger or False, **quiet)
    of_steps, of_fit = (clocked(logger, hooks) if logger else [] for hooks in (OF_A_STEP, OF_A_FIT))
    began = WALL()
    trainer.fit(Model(), data)
    return (WALL() - began) / steps, sum(of_steps) / steps, sum(of_fit)


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    steps, repeats = (20, 1) if quick else (1_000, 4)
    with folder() as place:
        os.environ["NAIAD_STORE"] = str(place / "store")
        os.chdir(place)
        loggers: dict[str, Callable[[], Any]] = {
            "no logger": lambda: None,
            "a logger that does nothing": Nothing,
            "naiad": lambda: NaiadLogger(project="bench"),
            "TensorBoardLogger": lambda: TensorBoardLogger(place),
            "CSVLogger": lambda: CSVLogger(place),
        }
        fit(None, 10)
        found = in_turns(repeats, {name: lambda make=make: fit(make(), steps) for name, make in loggers.items()})
        written = sum(file.stat().st_size for file in Path(place).rglob("*") if file.is_file())
    assert written
    bare = [each[0] for each in found.pop("no logger")]
    steps_of = {name: [own / STEP * 100 for _, own, _ in taken] for name, taken in found.items()}
    ends_of = {name: [around * 1000 for _, _, around in taken] for name, taken in found.items()}
    more = {
        name: [(whole - without) / STEP * 100 for (whole, _, _), without in zip(taken, bare, strict=True)]
        for name, taken in found.items()
    }
    return [
        Figure("hooks of a step, of its 1 ms", "%", steps_of.pop("naiad"), "<= 1", steps_of),
        Figure("hooks of beginning and end of a fit", "ms", ends_of.pop("naiad"), "", ends_of),
        Figure("a step with a logger beyond one without, of its 1 ms", "%", more.pop("naiad"), "", more),
    ]


if __name__ == "__main__":
    main(measure)
