"""Train a small network to recognise handwritten digits in a plain loop of PyTorch, and log all of it.

    python examples/pytorch_train.py

pytorch_plain.py is the same without naiad.
"""

import torch
from sklearn.datasets import load_digits

import naiad
from naiad_pytorch import NaiadLogger


def main() -> None:
    torch.manual_seed(7)
    x, y = load_digits(return_X_y=True)
    images, labels = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    run = naiad.init_run(project="digits")
    logger = NaiadLogger(run, model=model, log_gradients=True, log_parameters=True, log_freq=10, bins=32)

    for epoch in range(10):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            run["training/loss"].append(loss.item())
        accuracy = (model(images).argmax(1) == labels).float().mean().item()
        run["training/accuracy"].append(accuracy, step=epoch)
        logger.log_checkpoint("last")
        print(f"epoch {epoch}: {accuracy:.1%} of the digits are recognised")


if __name__ == "__main__":
    main()
