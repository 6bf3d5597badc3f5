import torch
from ignite.engine import Engine, Events, create_supervised_evaluator
from ignite.handlers.neptune_logger import GradsScalarHandler, NeptuneLogger, NeptuneSaver, WeightsScalarHandler
from ignite.handlers import Checkpoint
from ignite.metrics import MeanSquaredError

model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
data = [(torch.full((4, 1), float(number)), torch.full((4, 1), 2.0 * number)) for number in range(4)]


def step(_engine, batch):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(batch[0]), batch[1])
    loss.backward()
    optimizer.step()
    return loss.item()


trainer = Engine(step)
evaluator = create_supervised_evaluator(model, metrics={"mse": MeanSquaredError()})
logger = NeptuneLogger(api_token="none", project="packages", name="ignite")
logger.attach_output_handler(
    trainer, event_name=Events.ITERATION_COMPLETED, tag="training", output_transform=lambda loss: {"loss": loss}
)
logger.attach_output_handler(
    evaluator,
    event_name=Events.EPOCH_COMPLETED,
    tag="validation",
    metric_names=["mse"],
    global_step_transform=lambda *_: trainer.state.iteration,
)
logger.attach_opt_params_handler(trainer, event_name=Events.ITERATION_STARTED, optimizer=optimizer)
logger.attach(
    trainer, event_name=Events.ITERATION_COMPLETED, log_handler=WeightsScalarHandler(model, reduction=torch.norm)
)
logger.attach(
    trainer, event_name=Events.ITERATION_COMPLETED, log_handler=GradsScalarHandler(model, reduction=torch.norm)
)
trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _engine: evaluator.run(data))
trainer.add_event_handler(
    Events.EPOCH_COMPLETED, Checkpoint({"model": model}, NeptuneSaver(logger), n_saved=1, filename_prefix="best")
)
trainer.run(data, max_epochs=2)
logger.close()
