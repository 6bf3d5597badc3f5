"""Train a classifier of breast tumours with XGBoost, and log all of it.

    python examples/xgboost_train.py

xgboost_plain.py is the same without naiad: there, `callbacks=[]`, and no import for it.
"""

import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import naiad
from naiad_xgboost import NaiadCallback


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
        callbacks=[NaiadCallback(naiad.init_run(project="cancer"))],
    )
    print(f"AUC {booster.best_score:.3f} in iteration {booster.best_iteration}")


if __name__ == "__main__":
    main()
