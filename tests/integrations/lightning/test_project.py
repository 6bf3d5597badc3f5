"""An untidy project, shaped like a public template: as a whole, after it failed, was rewound and went on."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad_lightning import NaiadLogger


class Precision(Enum):
    """As structured configs have it."""

    FULL = "32-true"


CONFIG = {
    "task_name": "train",
    "tags": ["dev", "mnist"],
    "ckpt_path": None,
    "data": {"_target_": "src.data.MNISTDataModule", "batch_size": 64, "train_val_test_split": [55_000, 5_000, 10_000]},
    "model": {"optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.1}, "scheduler": None},
    "trainer": {"precision": Precision.FULL, "callbacks": {"early_stopping": {"monitor": "val/acc"}}},
    "model/params/total": 68_048,
    "loss": "mse",
    "loss/weights": (0.5, 0.5),
}
HYPERPARAMETERS = {
    "hyperparams/task_name": "train",
    "hyperparams/tags": "['dev', 'mnist']",
    "hyperparams/ckpt_path": "None",
    "hyperparams/data/_target_": "src.data.MNISTDataModule",
    "hyperparams/data/batch_size": 64,
    "hyperparams/data/train_val_test_split": "[55000, 5000, 10000]",
    "hyperparams/model/optimizer/_target_": "torch.optim.Adam",
    "hyperparams/model/optimizer/_partial_": True,
    "hyperparams/model/optimizer/lr": 0.1,
    "hyperparams/model/scheduler": "None",
    "hyperparams/model/params/total": 68_048,
    "hyperparams/trainer/precision": "32-true",
    "hyperparams/trainer/callbacks/early_stopping/monitor": "val/acc",
    "hyperparams/loss": "mse",
    "hyperparams/loss_weights": "(0.5, 0.5)",
    "hyperparams/lr": 0.1,
}


def leaves(structure: dict[str, Any], above: str = "") -> dict[str, str]:
    """The kind of each field, by its path."""
    found: dict[str, str] = {}
    for name, inner in structure.items():
        found |= leaves(inner, f"{above}{name}/") if isinstance(inner, dict) else {f"{above}{name}": inner.kind}
    return found


def model_of(lightning: Any) -> Any:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    class Model(lightning.LightningModule):
        def __init__(self, lr: float = 0.1, fails_at: int = -1) -> None:
            super().__init__()
            self.save_hyperparameters(ignore=["fails_at"])
            self.fails_at = fails_at
            self.line = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            if self.global_step == self.fails_at:
                raise RuntimeError("CUDA out of memory")
            loss = (self.line(batch[0]) ** 2).mean()
            self.log("loss", loss)
            self.log("status", 1.0)
            self.log("acc/top", 0.5)
            return loss

        def validation_step(self, batch: Any, index: int, dataloader_idx: int = 0) -> None:
            self.log("loss", (self.line(batch[0]) ** 2).mean())
            self.log("acc", 0.25, add_dataloader_idx=False) if dataloader_idx == 0 else None

        def train_dataloader(self) -> Any:
            return DataLoader(TensorDataset(torch.ones(8, 4)), batch_size=4)

        def val_dataloader(self) -> Any:
            return [DataLoader(TensorDataset(torch.ones(2, 4))) for _ in range(2)]

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)

    return Model


def fit(lightning: Any, logger: NaiadLogger, model: Any, folder: Path, **options: Any) -> None:
    logger.log_hyperparams(CONFIG)
    saving = lightning.callbacks.ModelCheckpoint(folder, "last", save_last=False, every_n_epochs=1)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "devices": 1}
    quiet |= {"log_every_n_steps": 1, "num_sanity_val_steps": 1, "max_epochs": 2, "callbacks": [saving]}
    trainer = lightning.Trainer(**quiet, logger=logger)
    trainer.fit(model, ckpt_path=options.get("ckpt_path"))


SERIES = ("loss", "status_", "acc/top", "acc_", "loss_dataloader_idx_0", "loss_dataloader_idx_1", "epoch")
RENAMED = {
    "status_": "status",
    "acc_": "acc",
    "loss_dataloader_idx_0": "loss/dataloader_idx_0",
    "loss_dataloader_idx_1": "loss/dataloader_idx_1",
    "hyperparams/loss_weights": "hyperparams/loss/weights",
}


def test_failing_run_that_is_rewound_and_gone_on_with_is_stored_as_a_whole(
    lightning: Any, workplace: Path, tmp_path: Path
) -> None:
    first = NaiadLogger(project="p", tags=CONFIG["tags"])
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        fit(lightning, first, model_of(lightning)(fails_at=3), tmp_path / "kept")
    assert "CUDA out of memory" == first.run["training/exception/message"].fetch()
    assert "failed" == first.run["training/status"].fetch()
    first.run.stop()

    second = NaiadLogger(with_id="P-1", rewind_to=1)
    fit(lightning, second, model_of(lightning)(), tmp_path / "kept", ckpt_path=str(tmp_path / "kept/last.ckpt"))
    second.run.stop()

    run = naiad.init_run(with_id="P-1", mode="read-only")
    found = {path: kind for path, kind in leaves(run.get_structure()).items() if path.startswith("training/")}
    expected = {f"training/{path}": "float_series" for path in SERIES}
    expected |= {f"training/{path}": None for path in HYPERPARAMETERS}
    expected |= {f"training/integration/renamed/{path}": "string" for path in RENAMED}
    expected |= {"training/status": "string", "training/model/summary": "file"}
    expected |= {"training/model/checkpoints/last": "file", "training/model/best_model_path": "string"}
    info = {"aliases": "string", "epoch": "int", "step": "int"}
    expected |= {f"training/model/checkpoints_info/last/{name}": kind for name, kind in info.items()}
    assert expected == {path: kind if expected.get(path, kind) else None for path, kind in found.items()}
    for path, value in HYPERPARAMETERS.items():
        assert value == run[f"training/{path}"].fetch(), path
    for path, name in RENAMED.items():
        assert name == run[f"training/integration/renamed/{path}"].fetch()
    steps = {path: list(run[f"training/{path}"].fetch_values()["step"]) for path in SERIES}
    assert {
        "loss": [0, 1, 2, 3],
        "status_": [0, 1, 2, 3],
        "acc/top": [0, 1, 2, 3],
        "acc_": [1, 3],
        "loss_dataloader_idx_0": [1, 3],
        "loss_dataloader_idx_1": [1, 3],
    } == {path: found for path, found in steps.items() if path != "epoch"}
    assert [0, 1, 2, 2, 3] == list(run["training/loss"].fetch_values(include_rewound=True)["step"])
    assert "success" == run["training/status"].fetch()
    assert {"dev", "mnist"} == run["sys/tags"].fetch()
