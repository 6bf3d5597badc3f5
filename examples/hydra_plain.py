"""Train a classifier of handwritten digits, configured by Hydra.

    python examples/hydra_plain.py alpha=0.01
    python examples/hydra_plain.py --multirun alpha=0.001,0.01

hydra_train.py is the same with naiad.
"""

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

CONFIG = {"alpha": 0.001, "epochs": 5}
ConfigStore.instance().store(name="config", node=CONFIG)  # most programs have a file config.yaml instead


@hydra.main(version_base=None, config_name="config")
def main(config: DictConfig) -> float:
    x, y = load_digits(return_X_y=True)
    model = SGDClassifier(alpha=config.alpha, random_state=7)
    for _ in range(config.epochs):
        accuracy = float(model.partial_fit(x, y, classes=range(10)).score(x, y))
    print(f"{accuracy:.1%} of the digits are recognised")
    return accuracy


if __name__ == "__main__":
    main()
