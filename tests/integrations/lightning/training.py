"""A training as users start them: a script of its own, told by its arguments how to run and how to end.

    python training.py '{"trainer": {"strategy": "ddp", "devices": 2}, "end": "error"}'

Each process says what it knows in a file of the working directory.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from naiad_lightning import NaiadLogger

QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "devices": 1}


class Model(pl.LightningModule):
    """Learns to be zero; ends as it is told in its sixth step."""

    def __init__(self, end: str) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.end = end
        self.line = torch.nn.Linear(4, 1)

    def training_step(self, batch: Any, index: int) -> Any:
        loss = (self.line(batch[0]) ** 2).mean()
        self.log("loss", loss)
        if self.global_step == 0:
            tell("knows", rank=self.global_rank, version=self.logger.version, name=self.logger.name)
            self.logger.experiment[f"seen/{self.global_rank}"] = True
        if self.global_step == 5 and self.global_rank == 0:
            if self.end == "error":
                raise ValueError("on purpose")
            if self.end == "wait":
                tell("waits", pid=os.getpid())
                while not self.trainer.received_sigterm:  # which Lightning only looks at between steps
                    time.sleep(0.02)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def tell(what: str, **facts: object) -> None:
    """Write facts where the test finds them, whole or not at all."""
    hidden = Path(f".{what}-{os.getpid()}")
    hidden.write_text(json.dumps(facts))
    hidden.rename(hidden.name[1:] + ".json")


if __name__ == "__main__":
    orders = json.loads(sys.argv[1])
    logger = NaiadLogger(name="n", **orders.get("logger", {}))
    batches = DataLoader(TensorDataset(torch.randn(64, 4)), batch_size=4)
    trainer = pl.Trainer(**{**QUIET, "max_epochs": 1, "log_every_n_steps": 1, **orders["trainer"]}, logger=logger)
    trainer.fit(Model(orders.get("end", "")), batches)
    if trainer.is_global_zero:
        tell("main", version=logger.version, rank=trainer.global_rank)
        logger.experiment["after"] = True
