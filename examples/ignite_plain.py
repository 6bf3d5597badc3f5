"""Train a small network to recognise handwritten digits with PyTorch Ignite.

    python examples/ignite_plain.py

ignite_train.py is the same with naiad.
"""

import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    torch.manual_seed(7)
    x, y = load_digits(return_X_y=True)
    data = DataLoader(TensorDataset(torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)), batch_size=64)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.cross_entropy)
    evaluator = create_supervised_evaluator(model, metrics={"accuracy": Accuracy()})
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run(data))

    trainer.run(data, max_epochs=10)
    print(f"{evaluator.state.metrics['accuracy']:.1%} of the digits are recognised")


if __name__ == "__main__":
    main()
