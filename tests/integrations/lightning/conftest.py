"""What the tests of the Lightning integration share: a model of five numbers, trained for some steps on the CPU."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

NOISE = [
    # Lightning advises on speed, GPUs and folders; these trainings are as small as can be on purpose.
    "ignore:.*does not have many workers",
    "ignore:.*You defined a `validation_step` but have no `val_dataloader`",
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:.*smaller than the logging interval",
    "ignore:The dirpath has changed from",
    # It runs ahead of what torch and it itself have renamed.
    "ignore:.*LeafSpec:FutureWarning",
    "ignore:.*LeafSpec:DeprecationWarning",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for noise in NOISE:
                item.add_marker(pytest.mark.filterwarnings(noise))


@pytest.fixture
def workplace(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory: Lightning writes its checkpoints below it."""
    monkeypatch.chdir(tmp_path)
    return store


@pytest.fixture
def lightning() -> ModuleType:
    """Lightning under its first name."""
    return importlib.import_module("lightning.pytorch")


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def either(request: pytest.FixtureRequest) -> ModuleType:
    """Lightning under each of its names."""
    return importlib.import_module(request.param)


def model_of(lightning: Any) -> Any:
    """A model class of a namespace: a linear function that learns to be zero."""
    import torch

    class Model(lightning.LightningModule):
        def __init__(self, lr: float = 0.1, **others: Any) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.line = torch.nn.Linear(4, 1)
            self.at: dict[str, Callable[[], None]] = {}  # what a test wants to happen in a step

        def loss(self, batch: Any) -> Any:
            return (self.line(batch[0]) ** 2).mean()

        def training_step(self, batch: Any, index: int) -> Any:
            self.at.get("training", lambda: None)()
            loss = self.loss(batch)
            self.log("train/loss", loss, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.at.get("validation", lambda: None)()
            self.log("val/loss", self.loss(batch))
            self.log("val/step", self.loss(batch), on_step=True, on_epoch=False)

        def test_step(self, batch: Any, index: int) -> None:
            self.log("test/loss", self.loss(batch))

        def predict_step(self, batch: Any, index: int) -> Any:
            return self.line(batch[0])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)

    return Model


@pytest.fixture
def batches() -> Any:
    """Four batches of four."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    torch.manual_seed(1)
    return DataLoader(TensorDataset(torch.randn(16, 4)), batch_size=4)


def trainer_of(lightning: Any, logger: Any, **options: Any) -> Any:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "devices": 1}
    return lightning.Trainer(**{**quiet, "log_every_n_steps": 1, "max_epochs": 1, **options}, logger=logger)


@pytest.fixture
def fit(lightning: Any, batches: Any) -> Callable[..., Any]:
    """Fit a new model with a logger; gives back the trainer."""

    def train(logger: Any, namespace: Any = None, *, model: Any = None, ckpt_path: Any = None, **options: Any) -> Any:
        of = namespace or lightning
        trainer = trainer_of(of, logger, **options)
        trainer.fit(model or model_of(of)(), batches, batches, ckpt_path=ckpt_path)
        return trainer

    return train


@pytest.fixture
def model(lightning: Any) -> Any:
    return model_of(lightning)()


@pytest.fixture(autouse=True)
def _no_runs_left(workplace: Path) -> Iterator[None]:
    """Stop what a test leaves open, as the end of its process would."""
    yield
    from naiad import lifecycle

    for container in lifecycle.open_containers():
        container.stop()
