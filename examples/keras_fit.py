"""Train a small network on handwritten digits with Keras, and log all of it.

    python examples/keras_fit.py

keras_plain.py is the same without naiad: there, `callbacks=[]`, and no import for it.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import naiad
from naiad_keras import NaiadCallback


def main() -> None:
    digits = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(digits.images / 16, digits.target, random_state=7)

    model = keras.Sequential(
        [
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy", metrics=["accuracy"])

    model.fit(
        x_train,
        y_train,
        batch_size=64,
        epochs=10,
        verbose=0,
        validation_data=(x_test, y_test),
        callbacks=[NaiadCallback(naiad.init_run(project="digits"), log_on_batch=True, log_checkpoints="best")],
    )
    print(f"{model.evaluate(x_test, y_test, verbose=0)[1]:.1%} of the digits are read right")


if __name__ == "__main__":
    main()
