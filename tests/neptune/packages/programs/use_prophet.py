import neptune
import neptune.integrations.prophet as npt_utils
import numpy as np
import pandas as pd
from prophet import Prophet

dataset = pd.DataFrame(
    {"ds": pd.date_range("2024-01-01", periods=60), "y": np.sin(np.arange(60) / 5) + np.arange(60) / 30}
)
run = neptune.init_run(project="packages", name="prophet")
model = Prophet().fit(dataset)
forecast = model.predict(dataset)
run["prophet_summary"] = npt_utils.create_summary(model=model, df=dataset, fcst=forecast)
run["model_config"] = npt_utils.get_model_config(model)
run.stop()
