import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import neptune
import numpy as np
from neptune.integrations.tensorflow_keras import NeptuneCallback

generator = np.random.default_rng(0)
features = generator.normal(size=(64, 4)).astype("float32")
target = (features[:, :1] > 0).astype("float32")
run = neptune.init_run(project="packages", name="keras")
model = keras.Sequential(
    [keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1, activation="sigmoid")]
)
model.compile(optimizer=keras.optimizers.Adam(0.01), loss="binary_crossentropy", metrics=["accuracy"])
callback = NeptuneCallback(run=run, base_namespace="metrics", log_on_batch=True, log_model_diagram=False)
model.fit(features, target, epochs=2, batch_size=32, callbacks=[callback], verbose=0)
run.stop()
