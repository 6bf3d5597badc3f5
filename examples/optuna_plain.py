"""Search for the best settings of a classifier of breast tumours with Optuna.

    python examples/optuna_plain.py

optuna_train.py is the same with naiad.
"""

import optuna
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    x, y = load_breast_cancer(return_X_y=True)

    def objective(trial: optuna.Trial) -> float:
        c = trial.suggest_float("C", 1e-4, 1e2, log=True)
        weight = trial.suggest_categorical("class_weight", ["balanced", None])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=c, class_weight=weight))
        return float(cross_val_score(model, x, y, cv=3).mean())

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=7))
    study.optimize(objective, n_trials=10)
    print(f"{study.best_value:.1%} of the tumours are recognised with {study.best_params}")


if __name__ == "__main__":
    main()
