"""Train a small network on handwritten digits with Lightning: the same as `lightning_fit.py`, logging nothing."""

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset, random_split


class Classifier(LightningModule):
    def __init__(self, width: int = 64, lr: float = 0.01):
        super().__init__()
        self.save_hyperparameters()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(64, width),
            torch.nn.ReLU(),
            torch.nn.Linear(width, 10),
        )

    def training_step(self, batch, _):
        images, digits = batch
        loss = cross_entropy(self.layers(images), digits)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, _):
        images, digits = batch
        found = self.layers(images)
        self.log("val/loss", cross_entropy(found, digits))
        self.log("val/accuracy", (found.argmax(1) == digits).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


def main() -> None:
    torch.manual_seed(7)
    digits = load_digits()
    images = torch.tensor(digits.data / 16, dtype=torch.float32)
    train, val = random_split(TensorDataset(images, torch.tensor(digits.target)), [0.7, 0.3])

    trainer = Trainer(
        max_epochs=10,
        log_every_n_steps=1,
        callbacks=[ModelCheckpoint(monitor="val/accuracy", mode="max", filename="best")],
        accelerator="cpu",
        logger=False,
    )
    trainer.fit(Classifier(), DataLoader(train, 64, shuffle=True), DataLoader(val, 512))
    print(f"{trainer.callback_metrics['val/accuracy']:.1%} of the digits are recognised.")


if __name__ == "__main__":
    main()
