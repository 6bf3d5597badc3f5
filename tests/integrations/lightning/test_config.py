"""LightningCLI: the logger comes from a configuration, and the configuration goes to the run."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad.testing.mapping import check_mapping
from naiad_lightning import NaiadConfigCallback
from naiad_lightning.plugin import INTEGRATION

pytest.importorskip("jsonargparse", reason="LightningCLI needs jsonargparse")

CONFIG = """
seed_everything: 1
model: {lr: 0.05}
trainer:
  accelerator: cpu
  max_epochs: 1
  enable_progress_bar: false
  enable_model_summary: false
  log_every_n_steps: 1
  logger:
    class_path: naiad_lightning.NaiadLogger
    init_args: {project: p, name: from a file, log_model_checkpoints: all, prefix: cli}
    dict_kwargs: {tags: [cli]}
"""


@pytest.mark.parametrize("namespace", ["lightning.pytorch", "pytorch_lightning"])
def test_cli_takes_the_logger_and_logs_its_configuration(
    namespace: str, batches: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workplace: Path
) -> None:
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # Lightning calls what has a newer name
    cli = importlib.import_module(f"{namespace}.cli")
    demos = importlib.import_module(namespace)

    class Model(demos.LightningModule):
        def __init__(self, lr: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.line = importlib.import_module("torch").nn.Linear(4, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            loss = (self.line(batch[0]) ** 2).mean()
            self.log("loss", loss)
            return loss

        def train_dataloader(self) -> Any:
            return batches

        def configure_optimizers(self) -> Any:
            return importlib.import_module("torch").optim.SGD(self.parameters(), lr=self.hparams.lr)

    (tmp_path / "config.yaml").write_text(CONFIG)
    for _ in range(2):  # the second one must not stumble over what the first has left
        monkeypatch.setattr(sys, "argv", ["train.py", "fit", "--config", "config.yaml"])
        cli.LightningCLI(Model, save_config_callback=NaiadConfigCallback)

    with naiad.init_run(with_id="P-2") as run:
        check_mapping(INTEGRATION, run, base="cli", when={"log_model_checkpoints", "log_model_summary", "config"})
        assert ("from a file", {"cli"}) == (run["sys/name"].fetch(), run["sys/tags"].fetch())
        assert 0.05 == run["cli/hyperparams/config/model/lr"].fetch() == run["cli/hyperparams/lr"].fetch()
        run["cli/config"].download(str(tmp_path / "again.yaml"))
    assert "name: from a file" in (tmp_path / "again.yaml").read_text()


def test_second_fit_keeps_the_configuration_that_the_first_has_left(
    batches: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workplace: Path
) -> None:
    """With Lightning's own callback, which refuses to overwrite; in a new run, and in the same one."""
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    cli = importlib.import_module("lightning.pytorch.cli")
    demos = importlib.import_module("lightning.pytorch.demos.boring_classes")
    words = "train.py fit --seed_everything=1 --trainer.max_steps=1 --trainer.accelerator=cpu"
    words += (
        " --trainer.enable_progress_bar=false --trainer.logger=naiad_lightning.NaiadLogger --trainer.logger.project=p"
    )
    words += " --trainer.log_every_n_steps=1 --trainer.enable_model_summary=false"
    for more in ([], [], ["--trainer.logger.dict_kwargs.with_id=P-1"]):
        monkeypatch.setattr(sys, "argv", [*words.split(), *more])
        made = cli.LightningCLI(demos.BoringModel, demos.BoringDataModule)

    folder = tmp_path / ".neptune/P-1"
    assert str(folder) == made.trainer.log_dir
    assert ["config-1.yaml", "config.yaml"] == sorted(each.name for each in folder.glob("*.yaml"))
    assert (tmp_path / ".neptune/P-2/config.yaml").exists()
