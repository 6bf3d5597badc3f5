"""Train a classifier of handwritten digits, log everything about it, then look at what was logged.

    python examples/quickstart.py

The run is kept in a `.naiad` folder in the working directory, or where NAIAD_STORE says.
"""

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import naiad
import naiad.cli

EPOCHS = 20
PARAMETERS = {"loss": "log_loss", "alpha": 1e-4, "learning_rate": "constant", "eta0": 0.01, "random_state": 7}


def main() -> None:
    digits = load_digits()
    split = train_test_split(digits.data / 16, digits.target, test_size=0.3, random_state=7)
    x_train, x_test, y_train, y_test = split
    model = SGDClassifier(**PARAMETERS)

    with naiad.init_run(project="digits", name="linear baseline", tags=["quickstart", "sgd"]) as run:
        run["parameters"] = {**PARAMETERS, "epochs": EPOCHS}
        run["data"] = {"name": "scikit-learn digits", "train": len(x_train), "validation": len(x_test)}

        best = 0.0
        for epoch in range(EPOCHS):
            model.partial_fit(x_train, y_train, classes=digits.target_names)
            accuracy = model.score(x_test, y_test)
            run["train/loss"].append(log_loss(y_train, model.predict_proba(x_train)), step=epoch)
            run["validation"].append(
                {"loss": log_loss(y_test, model.predict_proba(x_test)), "accuracy": accuracy}, step=epoch
            )
            if accuracy > best:
                best = accuracy
                run["notes"].append(f"epoch {epoch}: {accuracy:.1%} right, the best so far", step=epoch)

        run["score"] = best
        run["sys/tags"].add("good" if best > 0.9 else "poor")

        run.print_structure()
        print(run["validation/accuracy"].fetch_values())
        run_id = run["sys/id"].fetch()

    naiad.cli.main(["plot", run_id, "train/loss", "validation/loss"], standalone_mode=False)
    print(f"\nLook at it again with: naiad show {run_id}")


if __name__ == "__main__":
    main()
