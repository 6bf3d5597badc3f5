"""Train a small network to recognise handwritten digits with skorch, and log all of it.

    python examples/skorch_train.py

skorch_plain.py is the same without naiad.
"""

import torch
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier

import naiad
from naiad_skorch import NaiadCallback


def main() -> None:
    torch.manual_seed(7)
    x, y = load_digits(return_X_y=True)
    net = NeuralNetClassifier(
        torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        max_epochs=10,
        lr=0.01,
        verbose=0,
        callbacks=[NaiadCallback(naiad.init_run(project="digits"))],
    )
    net.fit(x.astype("float32") / 16, y)
    print(f"{net.history[-1, 'valid_acc']:.1%} of the digits are recognised")


if __name__ == "__main__":
    main()
