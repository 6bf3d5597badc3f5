"""Two ranks train with each framework and log to one run each. Started by test_ranks.py; one process imports for both.

python ranks.py FOLDER PORT PORT PORT
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import accelerate
import keras
import lightgbm
import numpy as np
import torch
import torch.multiprocessing
import transformers
import xgboost
from ignite.engine import Engine, Events
from lightning.fabric import Fabric

import naiad
from naiad_accelerate import NaiadTracker
from naiad_ignite import NaiadLogger as IgniteLogger
from naiad_keras import NaiadCallback as KerasCallback
from naiad_lightgbm import NaiadCallback as LightGBMCallback
from naiad_lightning import NaiadLogger as LightningLogger
from naiad_pytorch import NaiadLogger as PyTorchLogger
from naiad_transformers import NaiadCallback
from naiad_xgboost import NaiadCallback as XGBoostCallback

ROWS = [{"input_ids": torch.arange(4) + number % 2, "labels": number % 2} for number in range(8)]
X = torch.ones(2, 3)


def of_pytorch() -> None:
    """A model that is distributed by hand."""
    with naiad.init_run(project="pytorch", custom_run_id="same") as run:
        model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 1))
        logger = PyTorchLogger(run, model=model, log_gradients=True, log_freq=1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            model(X).sum().backward()
            optimizer.step()
        logger.log_checkpoint()


def of_ignite() -> None:
    """An engine in each rank."""
    with IgniteLogger(project="ignite") as logger:
        engine = Engine(lambda _engine, batch: float(batch))
        logger.attach_output_handler(engine, Events.ITERATION_COMPLETED, tag="t", output_transform=lambda loss: loss)
        engine.run([1.0, 2.0])
        logger["seed"] = 7


def of_accelerate() -> None:
    """A tracker in each rank."""
    accelerator = accelerate.Accelerator(cpu=True, log_with=NaiadTracker("accelerate"))
    accelerator.init_trackers("accelerate", config={"lr": 0.1})
    accelerator.log({"loss": 0.5}, step=0)
    for tracker in accelerator.trackers:  # none on rank 1
        tracker.tracker["seed"] = 7
        tracker.finish()


def of_transformers() -> None:
    """A trainer in each rank."""
    config = transformers.BertConfig(
        vocab_size=8, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4
    )
    arguments = transformers.TrainingArguments(
        "out",
        max_steps=2,
        per_device_train_batch_size=2,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = transformers.Trainer(
        transformers.BertForSequenceClassification(config),
        arguments,
        train_dataset=ROWS,
        callbacks=[NaiadCallback(project="transformers")],
    )
    trainer.train()
    NaiadCallback.get_run(trainer)["seed"] = 7


def of_fabric() -> None:
    """A logger in each rank; Fabric finds the processes by the environment."""
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp", loggers=LightningLogger(project="fabric"))
    fabric.launch()
    fabric.log("loss", 0.5, step=0)
    fabric.logger.experiment["seed"] = 7


def of_keras() -> None:
    """A model in each rank, whose callback predicts in both."""
    predicted = []

    def predictions(model: Any, epoch: int) -> dict[str, float]:
        predicted.append(epoch)
        return {"first": float(model.predict(np.ones((1, 3)), verbose=0)[0, 0])}

    with naiad.init_run(project="keras", custom_run_id="keras") as run:
        model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        options = {"log_on_batch": True, "log_checkpoints": "last", "log_final_model": True, "log_predict_calls": True}
        callback = KerasCallback(run, log_predictions=predictions, separate_evaluate=True, **options)
        for _ in range(2):
            model.fit(np.ones((4, 3)), np.ones(4), batch_size=2, epochs=2, verbose=0, callbacks=[callback])
            model.evaluate(np.ones((4, 3)), np.ones(4), verbose=0, callbacks=[callback])
        model.predict(np.ones((4, 3)), verbose=0, callbacks=[callback])
        run[f"calls/{os.environ['RANK']}"] = len(predicted)


def of_lightgbm() -> None:
    """A training on two machines, which are this one."""
    machines = [f"127.0.0.1:{port}" for port in sys.argv[3:]]
    x = np.random.default_rng(int(os.environ["RANK"])).normal(size=(100, 2))
    data = lightgbm.Dataset(x, (x[:, 0] > 0).astype(int))
    params = {"objective": "binary", "metric": "auc", "num_threads": 1, "verbose": -1, "tree_learner": "data"}
    params |= {"machines": ",".join(machines), "local_listen_port": int(sys.argv[3 + int(os.environ["RANK"])])}
    with naiad.init_run(project="lightgbm", custom_run_id="lightgbm") as run:
        lightgbm.train(params, data, 3, valid_sets=[data], callbacks=[LightGBMCallback(run)])


def of_xgboost(workers: dict[str, Any]) -> None:
    """A training whose workers share their histograms."""
    with (
        xgboost.collective.CommunicatorContext(**workers),
        naiad.init_run(project="xgboost", custom_run_id="xgb") as run,
    ):
        x = np.random.default_rng(xgboost.collective.get_rank()).normal(size=(100, 2))
        data = xgboost.DMatrix(x, (x[:, 0] > 0).astype(int))
        params = {"objective": "binary:logistic", "eval_metric": "auc", "nthread": 1, "tree_method": "hist"}
        xgboost.train(params, data, 3, evals=[(data, "training")], callbacks=[XGBoostCallback(run)])


def train(rank: int, port: str, workers: dict[str, Any]) -> None:
    """Be one of two ranks."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port, NODE_RANK="0"
    )
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    for each in (of_pytorch, of_ignite, of_accelerate, of_transformers, of_fabric, of_keras, of_lightgbm):
        each()
        torch.distributed.barrier()
    of_xgboost(workers)
    for container in naiad.lifecycle.open_containers():
        container.stop()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    tracker = xgboost.tracker.RabitTracker(host_ip="127.0.0.1", n_workers=2)
    tracker.start()
    torch.multiprocessing.start_processes(train, (sys.argv[2], tracker.worker_args()), nprocs=2, start_method="fork")
