"""What is done. No function in here knows of naiad either."""

from __future__ import annotations

from typing import Any

import pandas as pd
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def fetch() -> pd.DataFrame:
    return load_wine(as_frame=True).frame


def split(wines: pd.DataFrame, options: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    train, test = train_test_split(wines, test_size=options["test_size"], random_state=options["seed"])
    return train, test


def fit(train: pd.DataFrame, strength: float, iterations: int) -> Pipeline:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=iterations))
    return model.fit(train.drop(columns="target"), train["target"])


def score(model: Pipeline, test: pd.DataFrame) -> dict[str, float]:
    measured, grower = test.drop(columns="target"), test["target"]
    return {
        "accuracy": float(accuracy_score(grower, model.predict(measured))),
        "log_loss": float(log_loss(grower, model.predict_proba(measured))),
    }
