"""Train a classifier of handwritten digits, configured by Hydra, and log all of it.

    python examples/hydra_train.py alpha=0.01
    python examples/hydra_train.py --multirun alpha=0.001,0.01

hydra_plain.py is the same without naiad.
"""

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

from naiad_hydra import current_run

NAIAD = {"_target_": "naiad_hydra.NaiadCallback", "project": "digits"}
CONFIG = {"alpha": 0.001, "epochs": 5, "hydra": {"callbacks": {"naiad": NAIAD}}}
ConfigStore.instance().store(name="config", node=CONFIG)  # most programs have a file config.yaml instead


@hydra.main(version_base=None, config_name="config")
def main(config: DictConfig) -> float:
    x, y = load_digits(return_X_y=True)
    model = SGDClassifier(alpha=config.alpha, random_state=7)
    for _ in range(config.epochs):
        accuracy = float(model.partial_fit(x, y, classes=range(10)).score(x, y))
        current_run()["train/accuracy"].append(accuracy)
    print(f"{accuracy:.1%} of the digits are recognised")
    return accuracy


if __name__ == "__main__":
    main()
