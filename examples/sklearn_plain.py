"""Search for a good classifier of wines by their chemistry; the same as examples/sklearn_report.py, without naiad."""

from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    x, y = load_wine(return_X_y=True, as_frame=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.4, stratify=y, random_state=7)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    model = GridSearchCV(pipeline, {"logisticregression__C": [0.001, 0.01, 0.1, 1, 10]}, cv=3)
    model.fit(x_train, y_train)
    print(f"{model.best_params_}: {model.score(x_test, y_test):.1%} right")


if __name__ == "__main__":
    main()
