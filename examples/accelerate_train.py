"""Train a small network to recognise handwritten digits with Accelerate, and log all of it.

    python examples/accelerate_train.py

accelerate_plain.py is the same without naiad.
"""

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import naiad_accelerate  # noqa: F401 (makes log_with="naiad" known)


def main() -> None:
    torch.manual_seed(7)
    x, y = load_digits(return_X_y=True)
    data = DataLoader(TensorDataset(torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)), batch_size=64)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    accelerator = Accelerator(cpu=True, log_with="naiad")
    accelerator.init_trackers("digits", config={"lr": 0.01, "epochs": 10})
    model, optimizer, data = accelerator.prepare(model, torch.optim.Adam(model.parameters(), lr=0.01), data)

    for epoch in range(10):
        for images, labels in data:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images), labels)
            accelerator.backward(loss)
            optimizer.step()
        accelerator.log({"train/loss": loss.item()}, step=epoch)
    accelerator.end_training()
    print(f"the last loss is {loss.item():.3f}")


if __name__ == "__main__":
    main()
