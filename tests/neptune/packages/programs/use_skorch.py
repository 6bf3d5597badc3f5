import neptune
import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import NeptuneLogger

generator = np.random.default_rng(0)
features = generator.normal(size=(80, 4)).astype("float32")
target = (features[:, 0] > 0).astype("int64")
run = neptune.init_run(project="packages", name="skorch")
net = NeuralNetClassifier(
    torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Softmax(dim=-1)),
    max_epochs=3,
    lr=0.1,
    verbose=0,
    callbacks=[NeptuneLogger(run, close_after_train=False)],
)
net.fit(features, target)
run["checked"] = float(net.score(features, target))
run.stop()
