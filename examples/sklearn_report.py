"""Search for a good classifier of wines by their chemistry, and report all about it in one line.

    python examples/sklearn_report.py

Beside it, examples/sklearn_plain.py is the same without naiad. What was kept is shown by
`naiad show WINES-1`: parameters, the search, the model, predictions, scores and charts.
"""

from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import naiad
from naiad_sklearn import create_classifier_summary


def main() -> None:
    x, y = load_wine(return_X_y=True, as_frame=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.4, stratify=y, random_state=7)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    model = GridSearchCV(pipeline, {"logisticregression__C": [0.001, 0.01, 0.1, 1, 10]}, cv=3)
    model.fit(x_train, y_train)
    naiad.init_run(project="wines").assign(create_classifier_summary(model, x_train, x_test, y_train, y_test))
    print(f"{model.best_params_}: {model.score(x_test, y_test):.1%} right")


if __name__ == "__main__":
    main()
