"""Train a classifier of breast tumours with XGBoost.

    python examples/xgboost_plain.py

xgboost_train.py is the same with naiad.
"""

import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split


def main() -> None:
    x, y = load_breast_cancer(return_X_y=True, as_frame=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=7)
    train, test = xgboost.DMatrix(x_train, y_train), xgboost.DMatrix(x_test, y_test)

    booster = xgboost.train(
        {"objective": "binary:logistic", "eval_metric": ["logloss", "auc"], "max_depth": 3, "eta": 0.1},
        train,
        num_boost_round=100,
        evals=[(train, "train"), (test, "test")],
        early_stopping_rounds=10,
        verbose_eval=False,
        callbacks=[],
    )
    print(f"AUC {booster.best_score:.3f} in iteration {booster.best_iteration}")


if __name__ == "__main__":
    main()
