import shutil

import neptune
import numpy as np
import xgboost as xgb
from neptune.integrations.xgboost import NeptuneCallback

generator = np.random.default_rng(0)
features = generator.normal(size=(120, 4))
target = features[:, 0] * 2 + generator.normal(size=120) * 0.1
train, valid = xgb.DMatrix(features[:80], target[:80]), xgb.DMatrix(features[80:], target[80:])

run = neptune.init_run(project="packages", name="xgboost")
xgb.train(
    {"eta": 0.3, "max_depth": 3, "objective": "reg:squarederror"},
    train,
    num_boost_round=5,
    evals=[(train, "train"), (valid, "valid")],
    callbacks=[NeptuneCallback(run=run, log_tree=[0, 1] if shutil.which("dot") else None)],
    verbose_eval=False,
)
run.stop()
