import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import NeptuneLogger
from torch.utils.data import DataLoader, TensorDataset


class Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.save_hyperparameters({"lr": 0.1})
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, _index):
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.layer(x), y)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, _index):
        x, y = batch
        self.log("val/loss", torch.nn.functional.mse_loss(self.layer(x), y))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


x = torch.linspace(0, 1, 32).reshape(-1, 1)
loader = DataLoader(TensorDataset(x, 2 * x), batch_size=8)
model = Line()
logger = NeptuneLogger(project="packages", name="lightning", tags=["tagged"], log_model_checkpoints=True)
logger.log_hyperparams({"extra": 1})
checkpoints = ModelCheckpoint(monitor="val/loss", dirpath="checkpoints", save_top_k=1)
trainer = pl.Trainer(
    max_epochs=2,
    logger=logger,
    callbacks=[checkpoints],
    log_every_n_steps=1,
    enable_progress_bar=False,
    accelerator="cpu",
    enable_model_summary=False,
)
trainer.fit(model, loader, loader)
logger.log_model_summary(model=model, max_depth=-1)
logger.experiment["metadata/note"] = "written by hand"
logger.run.stop()
