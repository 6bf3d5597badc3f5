"""Train a small network to recognise handwritten digits with Lightning Fabric, and log all of it.

    python examples/fabric_train.py

fabric_plain.py is the same without naiad.
"""

import torch
from lightning.fabric import Fabric
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

from naiad_lightning import NaiadLogger


def main() -> None:
    fabric = Fabric(accelerator="cpu", devices=1, loggers=NaiadLogger(project="digits"))
    fabric.seed_everything(7, verbose=False)
    x, y = load_digits(return_X_y=True)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    model, optimizer = fabric.setup(model, torch.optim.Adam(model.parameters(), lr=0.01))
    images = DataLoader(TensorDataset(torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)), batch_size=64)
    data = fabric.setup_dataloaders(images)
    fabric.logger.log_hyperparams({"lr": 0.01})

    for epoch in range(10):
        for batch, labels in data:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(batch), labels)
            fabric.backward(loss)
            optimizer.step()
        fabric.log("train/loss", loss.item(), step=epoch)
    print(f"the last loss is {loss.item():.3f}")


if __name__ == "__main__":
    main()
