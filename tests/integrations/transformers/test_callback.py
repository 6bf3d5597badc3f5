"""The callback of Transformers: real trainings, searches, checkpoints and trouble. Nothing is downloaded."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad import Run, lifecycle
from naiad.errors import InvalidArgument, NaiadTypeError, PluginWarning
from naiad.testing.mapping import check_mapping
from naiad_transformers.plugin import INTEGRATION

transformers = pytest.importorskip("transformers", reason='not installed: pip install "naiad[transformers]"')
import torch  # noqa: E402 (with Transformers)

from naiad_transformers import NaiadCallback  # noqa: E402 (the skip comes first)

ROWS = [{"input_ids": torch.arange(4) + number % 2, "labels": number % 2} for number in range(8)]
Fit = Callable[..., Any]


@pytest.fixture(autouse=True)
def _workplace(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trainers write below the working directory; their callbacks leave runs open for evaluations."""
    monkeypatch.chdir(tmp_path)
    yield
    for container in lifecycle.open_containers():
        container.stop()


def model_of(_trial: Any = None) -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=8, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4
    )
    return transformers.BertForSequenceClassification(config)


def trainer_of(*callbacks: Any, model: Any = None, model_init: Any = None, **options: Any) -> Any:
    arguments = {
        "output_dir": "out",
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        **options,
    }
    return transformers.Trainer(
        model if model_init else model or model_of(),
        transformers.TrainingArguments(**arguments),
        train_dataset=ROWS,
        eval_dataset=ROWS,
        callbacks=list(callbacks),
        model_init=model_init,
    )


def test_report_to_naiad_needs_the_import_alone(store: Path) -> None:
    trainer = trainer_of(report_to="naiad", eval_strategy="steps", eval_steps=1)

    trainer.train()
    trainer.predict(ROWS)

    run = NaiadCallback.get_run(trainer)
    check_mapping(INTEGRATION, run, when={"log_parameters", "config", "evaluation", "prediction"})
    history = [each["loss"] for each in trainer.state.log_history if "loss" in each]
    points = run["finetuning/train/loss"].fetch_values()
    assert pytest.approx(history) == points["value"].tolist()
    assert [1, 2] == points["step"].tolist()
    assert 8 == run["finetuning/model_parameters/vocab_size"].fetch()
    assert {"global_step": 2, "is_stopped_early": False} == run["finetuning/result"].fetch()
    assert "done" == run["finetuning/status"].fetch()


@pytest.mark.parametrize(("policy", "files"), [("same", 2), ("last", 1), ("best", 1)])
def test_checkpoints_are_kept(run: Run, policy: str, files: int) -> None:
    callback = NaiadCallback(run=run["a"], base_namespace="", log_checkpoints=policy)
    options = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    if policy == "best":
        options |= {"metric_for_best_model": "loss", "greater_is_better": False}

    trainer_of(callback, **options).train()

    when = {"log_parameters", "config", "evaluation", f"log_checkpoints={policy}"}
    check_mapping(
        INTEGRATION, run, base="a", when=when | ({"metric_for_best_model", "save"} if policy == "best" else set())
    )
    field = run["a/checkpoints" if policy == "same" else f"a/checkpoints/{policy}"]
    folders = field.list_fileset_files("out")
    assert files == len(folders)
    assert "out/checkpoint-2" == f"out/{folders[-1].name}"
    if policy == "best":
        assert 2 == run["a/result/best_step"].fetch()


def test_gradients_and_weights_are_watched(run: Run) -> None:
    model = model_of()
    model.bert.requires_grad_(False)

    trainer_of(NaiadCallback(run=run, watch="all", watch_freq=2, bins=4), model=model, max_steps=3).train()

    when = {"log_parameters", "config", "watch gradients", "watch parameters", "bins"}
    check_mapping(INTEGRATION, run, when=when)
    assert [1, 3] == run["finetuning/gradients/classifier.bias/norm"].fetch_values()["step"].tolist()
    assert {"classifier.bias", "classifier.weight"} == run.get_structure()["finetuning"]["gradients"].keys()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT asks for it
def test_adapters_of_peft_are_described(run: Run) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed: pip install peft")
    lora = peft.LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=4, target_modules=["query", "value"])
    model = peft.get_peft_model(model_of(), lora)

    callback = NaiadCallback(run=run, watch="gradients", watch_freq=1, log_checkpoints="last")
    trainer_of(callback, model=model, save_strategy="steps", save_steps=2).train()

    when = {"log_parameters", "config", "peft", "watch gradients", "log_checkpoints=last"}
    check_mapping(INTEGRATION, run, when=when)
    assert (2, 4, "LORA") == tuple(
        run[f"finetuning/peft_parameters/default/{name}"].fetch() for name in ("r", "lora_alpha", "peft_type")
    )
    assert 8 == run["finetuning/model_parameters/vocab_size"].fetch()  # of the model inside
    trained, _ = model.get_nb_trainable_parameters()
    assert trained == run["finetuning/model/num_trainable_parameters"].fetch()
    assert trained < run["finetuning/model/num_parameters"].fetch()
    files = {each.name for each in run["finetuning/checkpoints/last"].list_fileset_files("out/checkpoint-2")}
    assert "adapter_model.safetensors" in files


def test_each_training_has_its_run(store: Path) -> None:
    trainer = trainer_of(NaiadCallback(project="p"))
    for _ in range(2):
        trainer.train()
        trainer.evaluate()

    assert "P-2" == NaiadCallback.get_run(trainer)["sys/id"].fetch()
    with naiad.init_run(with_id="P-1", mode="read-only") as run:
        assert "finished" == run["sys/state"].fetch()
        assert 1 == len(run["finetuning/eval/loss"].fetch_values())


def test_trials_of_a_search_are_children_of_the_given_run(run: Run) -> None:
    pytest.importorskip("optuna", reason="optuna, which searches, is not installed")
    trainer = trainer_of(NaiadCallback(run=run, log_parameters=False), model_init=model_of, max_steps=1)

    trainer.hyperparameter_search(
        lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 0.01, 0.1)},
        n_trials=2,
        backend="optuna",
    )
    NaiadCallback.get_run(trainer).stop()

    with naiad.init_project(mode="read-only") as project:
        table = project.fetch_runs_table(query=f"sys/parent = '{run.id}'").to_pandas()
    assert ["finished", "finished"] == table["sys/state"].tolist()
    rates = sorted(table["finetuning/trial_params/learning_rate"])
    assert 0.01 < rates[0] < rates[1] < 0.1


def test_a_continued_training_continues_the_curves(store: Path) -> None:
    for steps in (2, 4):
        trainer = trainer_of(NaiadCallback(custom_run_id="same"), max_steps=steps, save_strategy="steps", save_steps=2)
        trainer.train(resume_from_checkpoint=steps > 2)
        NaiadCallback.get_run(trainer).stop()

    with naiad.init_run(custom_run_id="same", mode="read-only") as run:
        assert [1, 2, 3, 4] == run["finetuning/train/loss"].fetch_values()["step"].tolist()
        assert 4 == run["finetuning/result/global_step"].fetch()


def test_early_stopping_is_told(run: Run) -> None:
    class Stop(transformers.TrainerCallback):  # type: ignore[misc]  # the framework is not typed
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = True

    trainer_of(Stop(), NaiadCallback(run=run), max_steps=5).train()

    assert {"global_step": 1, "is_stopped_early": True} == run["finetuning/result"].fetch()


def test_a_failing_training_leaves_a_failed_run(store: Path) -> None:
    class Boom(transformers.TrainerCallback):  # type: ignore[misc]  # the framework is not typed
        def on_step_end(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"), naiad.init_run(project="p") as run:
        trainer_of(NaiadCallback(run=run), Boom()).train()

    with naiad.init_run(with_id="P-1", mode="read-only") as run:
        assert ("failed", "running") == (run["sys/state"].fetch(), run["finetuning/status"].fetch())


def test_trouble_of_logging_does_not_reach_the_training(run: Run) -> None:
    run["finetuning/train/loss"] = "taken"

    with pytest.warns(PluginWarning, match="could not log train/loss"):
        trainer_of(NaiadCallback(run=run)).train()

    assert 2 == len(run["finetuning/train/grad_norm"].fetch_values())


def test_a_broken_run_warns_and_lets_the_training_go_on(run: Run) -> None:
    trainer = trainer_of(NaiadCallback(run=run, watch="gradients", log_checkpoints="last"), save_strategy="epoch")
    run.stop()

    with pytest.warns(PluginWarning, match="could not log"):
        trainer.train()

    assert 2 == trainer.state.global_step


def test_a_callback_crosses_to_another_process(run: Run) -> None:
    assert isinstance(pickle.loads(pickle.dumps(NaiadCallback(run=run))), NaiadCallback)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"run": "RUN-1"}, NaiadTypeError),
        ({"log_checkpoints": "all"}, InvalidArgument),
        ({"watch": "losses"}, InvalidArgument),
        ({"tag": "a"}, TypeError),
    ],
)
def test_mistakes_raise_where_they_are_made(store: Path, given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        NaiadCallback(**given)


def test_best_checkpoints_need_a_metric(run: Run) -> None:
    with pytest.raises(InvalidArgument, match="metric_for_best_model"):
        trainer_of(NaiadCallback(run=run, log_checkpoints="best"))


def test_the_run_of_a_trainer_without_the_callback_is_an_error(store: Path) -> None:
    with pytest.raises(InvalidArgument, match="has no NaiadCallback"):
        NaiadCallback.get_run(trainer_of())
