"""Train a classifier of breast tumours with LightGBM, and log all of it.

    python examples/lightgbm_train.py

lightgbm_plain.py is the same without naiad.
"""

import lightgbm
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import naiad
from naiad_lightgbm import NaiadCallback, create_booster_summary


def main() -> None:
    x, y = load_breast_cancer(return_X_y=True, as_frame=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=7)
    train = lightgbm.Dataset(x_train, y_train)
    test = lightgbm.Dataset(x_test, y_test, reference=train)
    run = naiad.init_run(project="cancer")

    booster = lightgbm.train(
        {"objective": "binary", "metric": ["binary_logloss", "auc"], "max_depth": 3, "verbose": -1},
        train,
        num_boost_round=100,
        valid_sets=[train, test],
        valid_names=["train", "test"],
        callbacks=[NaiadCallback(run), lightgbm.early_stopping(10, verbose=False)],
    )
    run["training/summary"] = create_booster_summary(booster)
    print(f"AUC {booster.best_score['test']['auc']:.3f} in iteration {booster.best_iteration}")


if __name__ == "__main__":
    main()
