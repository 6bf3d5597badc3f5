import lightgbm as lgb
import neptune
import numpy as np
from neptune.integrations.lightgbm import NeptuneCallback, create_booster_summary

generator = np.random.default_rng(0)
features = generator.normal(size=(200, 4))
target = (features[:, 0] > 0).astype(int)

run = neptune.init_run(project="packages", name="lightgbm")
booster = lgb.train(
    {"objective": "binary", "metric": "binary_logloss", "verbosity": -1, "num_leaves": 4},
    lgb.Dataset(features[:150], target[:150]),
    num_boost_round=5,
    valid_sets=[lgb.Dataset(features[150:], target[150:])],
    valid_names=["valid"],
    callbacks=[NeptuneCallback(run=run)],
)
predicted = (booster.predict(features[150:]) > 0.5).astype(int)
run["lgbm_summary"] = create_booster_summary(
    booster=booster,
    log_trees=False,
    log_trees_as_dataframe=True,
    log_confusion_matrix=True,
    y_true=target[150:],
    y_pred=predicted,
)
run.stop()
