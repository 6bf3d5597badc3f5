"""The logger in real trainings of both namespaces."""

from __future__ import annotations

import copy
import pickle
import threading
import time
import wave
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad.errors import InvalidArgument, NaiadWarning
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store
from naiad.testing.mapping import check_mapping
from naiad_lightning import NaiadLogger, NeptuneLogger
from naiad_lightning.plugin import INTEGRATION


def readers(store: Path) -> list[Reader]:
    """All runs, the oldest first."""
    return [Reader(folder) for folder in Store(store).folders()]


def steps(run: Any, path: str) -> list[float]:
    return list(run[path].fetch_values()["step"])


def test_logger_is_one_of_the_namespace_in_use(either: Any) -> None:
    assert issubclass(NaiadLogger, either.loggers.Logger)
    assert isinstance(NeptuneLogger(), either.loggers.Logger)


def test_fit_writes_what_the_mapping_says_and_nothing_else(either: Any, fit: Any, tmp_path: Path) -> None:
    callbacks = [
        either.callbacks.ModelCheckpoint(monitor="val/loss", save_last=True),
        either.callbacks.ModelCheckpoint(dirpath=tmp_path / "others", monitor="val/loss", mode="max"),
        either.callbacks.EarlyStopping("val/loss", stopping_threshold=1e9),
    ]
    logger = NaiadLogger()
    logger.log_text("notes", columns=["text"], data=[["begun"]])

    fit(logger, either, max_epochs=4, callbacks=callbacks)

    when = {"log_model_checkpoints", "monitor", "log_model_summary", "several callbacks", "early stopping", "log_text"}
    check_mapping(INTEGRATION, logger.experiment, when=when)


def test_smallest_fit_writes_what_neptune_wrote(fit: Any) -> None:
    logger = NaiadLogger(log_model_checkpoints=False, log_model_summary=False)

    fit(logger)

    run = logger.experiment
    check_mapping(INTEGRATION, run)
    assert [0, 1, 2, 3] == steps(run, "training/train/loss_step")
    assert [0, 1, 2, 3] == steps(run, "training/epoch")
    assert ("success", 0.1) == (run["training/status"].fetch(), run["training/hyperparams/lr"].fetch())


def test_nothing_is_opened_before_it_is_needed(workplace: Path) -> None:
    NaiadLogger(name="never used")

    assert not workplace.exists()


def test_fast_dev_run_opens_nothing(fit: Any, workplace: Path) -> None:
    fit(NaiadLogger(), fast_dev_run=True)

    assert not workplace.exists()


def test_options_of_init_run_are_passed_on() -> None:
    logger = NaiadLogger(api_key="none needed", project="digits", name="n", tags=["a"], description="d")

    assert ("DIGITS-1", "n", "n") == (logger.version, logger.name, logger.run["sys/name"].fetch())
    assert ({"a"}, "d") == (logger.run["sys/tags"].fetch(), logger.run["sys/description"].fetch())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"tag": "misspelled"}, TypeError),
        ({"log_model_checkpoints": "best"}, ValueError),
        ({"run": "DIGITS-1"}, ValueError),
        ({"mode": "on"}, ValueError),
    ],
)
def test_wrong_arguments_raise_at_once(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        NaiadLogger(**arguments)


def test_run_is_given_alone(run: naiad.Run) -> None:
    with pytest.raises(InvalidArgument, match="run= is already open, so it cannot be combined with name, tags"):
        NaiadLogger(run=run, name="n", tags=["t"])


@pytest.mark.parametrize("prefix", ["training", "other/place", "", None])
def test_prefix_is_where_everything_goes(prefix: Any, fit: Any) -> None:
    logger = NaiadLogger(prefix=prefix)

    fit(logger)

    check_mapping(INTEGRATION, logger.run, base=prefix or "", when={"log_model_checkpoints", "log_model_summary"})


def test_logger_writes_within_a_namespace_and_stops_nothing(fit: Any, run: naiad.Run) -> None:
    logger = NaiadLogger(run=run["fold1"])

    fit(logger)

    check_mapping(INTEGRATION, run, base="fold1/training", when={"log_model_checkpoints", "log_model_summary"})
    assert (run["sys/id"].fetch(), "started") == (logger.version, run.get_state())
    assert "fold1" == logger.experiment._path


def test_two_runs_in_one_process(fit: Any, workplace: Path) -> None:
    for _ in range(2):
        fit(NaiadLogger(project="p"))

    both = readers(workplace)
    assert ["P-1", "P-2"] == [reader.value("sys/id") for reader in both]
    assert [[0.0, 1.0, 2.0, 3.0]] * 2 == [list(reader.points("training/epoch").steps) for reader in both]


def test_two_loggers_of_one_trainer(fit: Any) -> None:
    first, second = NaiadLogger(), NaiadLogger()

    trainer = fit([first, second])

    assert {first.version, second.version} == {logger.version for logger in trainer.loggers}
    assert steps(first.run, "training/val/loss") == steps(second.run, "training/val/loss") == [3]


def test_validate_test_and_predict_go_on_with_the_run(fit: Any, batches: Any, workplace: Path) -> None:
    logger = NaiadLogger()
    trainer = fit(logger)
    trainer.validate(trainer.lightning_module, batches, verbose=False)
    trainer.test(trainer.lightning_module, batches, verbose=False)
    trainer.predict(trainer.lightning_module, batches)

    assert 1 == len(readers(workplace))
    assert [3, 4] == steps(logger.run, "training/val/loss")
    assert [4] == steps(logger.run, "training/test/loss")
    assert [0, 0, 1, 1, 2, 2, 3, 3] == steps(logger.run, "training/val/step")
    assert "success" == logger.run["training/status"].fetch()


def test_equal_and_backward_steps_are_kept() -> None:
    logger = NaiadLogger()
    for step in (5, 5, 2):
        logger.log_metrics({"loss": 0.5, "epoch": 1}, step=step)

    assert [2, 5, 5] == steps(logger.run, "training/loss")
    assert [2, 5] == steps(logger.run, "training/epoch")


def test_metrics_of_any_kind() -> None:
    import torch

    logger = NaiadLogger()
    logger.log_metrics(
        {"f": 0.5, "i": 2, "b": True, "t": torch.tensor(0.25), "s": "words", "nan": float("nan")}, step=1
    )

    assert [0.5, 2, 1, 0.25] == [logger.run[f"training/{key}"].fetch_last() for key in "fibt"]
    assert "words" == logger.run["training/s"].fetch_last()
    assert logger.run["training/nan"].fetch_last() != logger.run["training/nan"].fetch_last()


def test_metric_that_does_not_fit_costs_one_warning_and_no_other_metric() -> None:
    logger = NaiadLogger()
    logger.log_metrics({"loss": 0.5}, step=0)

    with pytest.warns(NaiadWarning, match="is a series of numbers, so 'broken'"):
        logger.log_metrics({"loss": "broken", "accuracy": 0.9}, step=1)
    logger.log_metrics({"loss": "broken", "accuracy": 0.9}, step=2)  # a second warning would be an error

    assert [0] == steps(logger.run, "training/loss")
    assert [1, 2] == steps(logger.run, "training/accuracy")
    assert 1 == len(logger.run["training/integration/errors"].fetch_values())


def test_metric_that_raises_when_looked_at_takes_no_other_with_it() -> None:
    class Broken:
        def __float__(self) -> float:
            raise RuntimeError("on purpose")

        shape = property(__float__)

    logger = NaiadLogger()
    with pytest.warns(NaiadWarning, match='"training/broken"'):
        logger.log_metrics({"broken": Broken(), "accuracy": 0.9}, step=1)

    assert [1] == steps(logger.run, "training/accuracy")


@pytest.mark.parametrize(
    ("metrics", "found"),
    [
        (["loss", "loss/dataloader_idx_0"], {"loss": "loss", "loss/dataloader_idx_0": "loss_dataloader_idx_0"}),
        (["acc/top", "acc"], {"acc/top": "acc/top", "acc": "acc_"}),
        (["acc", "acc/top/1", "acc_top/1"], {"acc/top/1": "acc_top/1", "acc_top/1": "acc_top/1_"}),
        (["acc/top", "acc", "acc_"], {"acc": "acc_", "acc_": "acc__"}),
        (["status", "model", "hyperparams", "exception/type"], {"status": "status_", "model": "model_"}),
    ],
)
def test_metrics_with_names_that_exclude_each_other_are_all_kept(metrics: list[str], found: dict[str, str]) -> None:
    """Also when they come one by one, and when the run is gone on with in another order."""
    logger = NaiadLogger(project="p")
    for step in range(2):
        logger.log_metrics({name: float(i) for i, name in enumerate(metrics)}, step=step)
    logger.finalize("success")
    run_id = logger.version
    logger.run.stop()
    again = NaiadLogger(project="p", with_id=run_id)
    for i, name in reversed(list(enumerate(metrics))):
        again.log_metrics({name: float(i)}, step=2)

    for name, path in found.items():
        values = again.run[f"training/{path}"].fetch_values()["value"]
        assert [float(metrics.index(name))] * 3 == list(values)
        if name != path:
            assert name == again.run[f"training/integration/renamed/{path}"].fetch()
    assert "success" == again.run["training/status"].fetch()


def test_stopped_run_is_let_alone(fit: Any, run: naiad.Run) -> None:
    logger = NaiadLogger(run=run)
    run.stop()

    fit(logger)

    assert run._id == logger.version


def test_hyperparameters_are_nested_and_written_as_text_where_no_field_takes_them(workplace: Path) -> None:
    from argparse import Namespace

    logger = NaiadLogger()
    logger.log_hyperparams(Namespace(lr=0.1, layers=[4, 2], opt={"name": "sgd"}, act=Namespace, none=None))
    logger.log_hyperparams({"lr": 0.2})

    found = logger.run["training/hyperparams"].fetch()
    assert {"lr": 0.2, "layers": "[4, 2]", "opt": {"name": "sgd"}, "act": "Namespace", "none": "None"} == found


def test_hyperparameters_of_a_run_that_is_gone_on_with_are_replaced_one_by_one() -> None:
    first = NaiadLogger(project="p")
    first.log_hyperparams({"lr": 1, "opt": "sgd", "layers": {"a": 1, "b": 2}, "kept": True, "loss": {"name": "mse"}})
    first.run.stop()

    second = NaiadLogger(project="p", with_id="P-1")
    with pytest.warns(NaiadWarning, match="hyperparameter"):
        second.log_hyperparams({"lr": 0.1, "a\nb": 1, "opt": {"name": "adam"}, "layers": {"a": "x"}, "loss/weight": 2})

    found = second.run["training/hyperparams"].fetch()
    assert {
        "lr": 0.1,
        "opt": {"name": "adam"},
        "layers": {"a": "x"},
        "kept": True,
        "loss": {"weight": 2},
    } == found


def test_hyperparameters_with_names_that_exclude_each_other_are_all_kept() -> None:
    logger = NaiadLogger()
    logger.log_hyperparams({"lr": 0.1, "lr/decay": 0.5, "opt/name": "sgd", "opt": "?"})

    assert {"lr": 0.1, "lr_decay": 0.5, "opt": {"name": "sgd"}, "opt_": "?"} == logger.run[
        "training/hyperparams"
    ].fetch()


def test_same_hyperparameters_are_written_once() -> None:
    logger = NaiadLogger()
    logger.log_hyperparams({"lr": 0.1, "layers": [1]})
    logger.run["training/hyperparams/lr"] = 0.7
    logger.log_hyperparams({"lr": 0.1, "layers": [1]})

    assert 0.7 == logger.run["training/hyperparams/lr"].fetch()


def test_nothing_is_logged_while_lightning_tries_the_validation_out(fit: Any, model: Any) -> None:
    logger = NaiadLogger()
    model.at["validation"] = lambda: logger.log_metrics({"own": 1.0})

    fit(logger, model=model, num_sanity_val_steps=2)

    assert [0, 1, 2, 3] == steps(logger.run, "training/own")
    assert 4 == len(steps(logger.run, "training/val/step"))


def test_resumed_training_appends_to_the_run_it_names(fit: Any, tmp_path: Path, workplace: Path) -> None:
    first = NaiadLogger(project="p")
    trainer = fit(first)
    checkpoint = trainer.checkpoint_callback.best_model_path
    first.run.stop()

    second = NaiadLogger(project="p", with_id="P-1")
    fit(second, max_epochs=2, ckpt_path=checkpoint)

    assert 1 == len(readers(workplace))
    assert ("P-1", "P-1") == (first.version, second.version)
    assert list(range(8)) == steps(second.run, "training/train/loss_step")
    assert checkpoint.startswith(str(tmp_path / ".neptune/P-1/Untitled/P-1/checkpoints/"))


def test_run_may_also_be_named_in_the_environment(fit: Any, workplace: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("NEPTUNE_CUSTOM_RUN_ID", "shared")
    fit(NaiadLogger())
    fit(NaiadLogger(prefix="again"))

    (reader,) = readers(workplace)
    assert "shared" == reader.value("sys/custom_run_id")
    assert reader.value("again/status") == reader.value("training/status")


def test_exception_is_kept_and_goes_on(fit: Any, model: Any) -> None:
    def fail() -> None:
        raise ValueError("on purpose")

    logger = NaiadLogger(log_model_checkpoints=False)
    model.at["validation"] = fail

    with pytest.raises(ValueError, match="on purpose"):
        fit(logger, model=model, num_sanity_val_steps=0)

    found = logger.run["training"].fetch()
    assert ("failed", "ValueError", "on purpose") == (
        found["status"],
        found["exception"]["type"],
        found["exception"]["message"],
    )
    assert 'raise ValueError("on purpose")' in found["exception"]["traceback"]
    check_mapping(INTEGRATION, logger.run, when={"log_model_summary", "exception"})


def test_exception_of_an_earlier_attempt_is_gone_when_the_run_succeeds(fit: Any, model: Any) -> None:
    def fail() -> None:
        raise ValueError("on purpose")

    first = NaiadLogger(project="p")
    model.at["training"] = fail
    with pytest.raises(ValueError, match="on purpose"):
        fit(first, model=model)
    assert "ValueError" == first.run["training/exception/type"].fetch()
    first.run.stop()

    second = NaiadLogger(project="p", with_id="P-1")
    fit(second)

    assert not second.run.exists("training/exception/type")
    assert "success" == second.run["training/status"].fetch()


def test_fabric_takes_the_logger(workplace: Path) -> None:
    import torch
    from lightning.fabric import Fabric

    logger = NaiadLogger()
    fabric = Fabric(loggers=[logger], accelerator="cpu", devices=1)
    fabric.launch()
    line = torch.nn.Linear(2, 1)
    module, optimizer = fabric.setup(line, torch.optim.SGD(line.parameters(), lr=0.1))
    for step in range(2):
        loss = module(torch.ones(1, 2)).sum()
        fabric.backward(loss)
        optimizer.step()
        fabric.log_dict({"loss": loss, "loss/raw": loss.detach()}, step=step)
    fabric.logger.log_hyperparams({"lr": 0.1})
    fabric.logger.log_graph(module)
    fabric.logger.log_html("pages", "<b>bold</b>", step=1)
    page = workplace.parent / "page.html"
    page.write_text("<p>")
    fabric.logger.log_html("pages", ["<i>x</i>", page])
    fabric.logger.finalize("success")

    run = logger.run
    assert [0, 1] == steps(run, "training/loss") == steps(run, "training/loss_raw")
    assert "3 trainable parameters, 0 others" in run["training/model/summary"].fetch_content().decode()
    assert [b"<b>bold</b>", b"<i>x</i>", b"<p>"] == [each.content for each in run["training/pages"].fetch_files()]
    assert ("success", {"lr": 0.1}) == (run["training/status"].fetch(), run["training/hyperparams"].fetch())
    assert not run.exists("training/integration/errors")


def test_early_stopping_is_explained(fit: Any, lightning: Any) -> None:
    logger = NaiadLogger()
    stopping = lightning.callbacks.EarlyStopping("val/loss", divergence_threshold=0.0, min_delta=0.0)

    fit(logger, max_epochs=5, min_epochs=2, callbacks=[stopping])

    assert {"epoch", "best_score"} == set(logger.run["training/early_stopping/val_loss"].fetch())


def test_pickled_logger_names_its_run(fit: Any) -> None:
    logger = NaiadLogger()
    unopened = pickle.loads(pickle.dumps(logger))
    fit(logger)
    opened = pickle.loads(pickle.dumps(logger))

    for other in (unopened, opened, copy.deepcopy(logger)):
        other.log_metrics({"after": 1.0})
        assert logger.version == other.version
    assert 3 == len(logger.run["training/after"].fetch_values())


def test_helpers_make_series_of_images_texts_and_tables() -> None:
    import numpy as np
    import torch

    logger = NaiadLogger()
    logger.log_image("images", [np.zeros((4, 4)), torch.zeros(3, 8, 8)], step=3, caption=["grey", "black"])
    logger.log_text("texts", columns=["in", "out"], data=[["a", "b"], ["c", "d"]])
    logger.log_table("tables", columns=["x"], data=[[1], [2]])

    run = logger.run
    assert ["in: a\nout: b", "in: c\nout: d"] == list(run["training/texts"].fetch_values()["value"])
    structure = run.get_structure()["training"]
    assert ["file_series", "file_series"] == [structure[key].kind for key in ("images", "tables")]


@pytest.mark.parametrize(
    "call",
    [
        lambda logger: logger.log_image("i", [[[0.0]]], caption=["a", "b"]),
        lambda logger: logger.log_image("i", [[[0.0]]], colour=["a"]),
        lambda logger: logger.log_audio("a", [[0.0]]),
        lambda logger: logger.log_video("v", [[0.0]], caption=["a", "b"]),
        lambda logger: logger.log_table("t"),
        lambda logger: logger.log_text("t", dataframe=[1]),
        lambda logger: logger.log_html("h", object()),
        lambda logger: logger.log_model_summary("no model"),
        lambda logger: logger.log_graph("no model"),
    ],
)
def test_mistakes_in_what_is_called_in_a_step_are_warned_of(call: Any) -> None:
    logger = NaiadLogger()
    with pytest.warns(NaiadWarning, match="NaiadLogger could not do all of"):
        call(logger)

    assert 1 == len(logger.run["training/integration/errors"].fetch_values())


@pytest.mark.parametrize(
    "call",
    [
        lambda logger: logger.watch("no model", log="weights"),
        lambda logger: logger.watch("no model", log_freq=0),
        lambda logger: logger.watch("no model", bins=-1),
    ],
)
def test_mistakes_in_watch_raise(call: Any) -> None:
    with pytest.raises(ValueError):
        call(NaiadLogger())


def test_user_who_makes_warnings_errors_hears_of_them() -> None:
    logger = NaiadLogger()
    logger.log_metrics({"a": 1.0})

    with pytest.raises(NaiadWarning):
        logger.log_metrics({"a": "broken"})


def test_stopped_run_of_a_logger_leaves_no_thread(lightning: Any, batches: Any, model: Any, fit: Any) -> None:
    before = set(threading.enumerate())
    logger = NaiadLogger()
    trainer = fit(logger, model=model, max_epochs=1)
    trainer.validate(model, batches, verbose=False)
    logger.experiment.stop()

    until = time.monotonic() + 60
    while set(threading.enumerate()) - before and time.monotonic() < until:  # one waits for a round of all
        time.sleep(0.01)
    assert set() == set(threading.enumerate()) - before


def test_sounds_and_films_are_kept_as_files(tmp_path: Path) -> None:
    import numpy as np
    import torch

    (tmp_path / "film.mp4").write_bytes(b"film")
    logger = NaiadLogger()
    tone = np.sin(np.arange(800) / 8)
    stereo = torch.stack([torch.ones(8), -2 * torch.ones(8)], dim=1)
    logger.log_audio("sounds", [tone, stereo], step=3, sample_rate=[8000, 16000], caption=["tone", "stereo"])
    logger.log_video("films", [tmp_path / "film.mp4", b"bytes"], step=4)
    logger.run["training/sounds"].download(str(tmp_path / "sounds"))
    logger.run["training/films"].download(str(tmp_path / "films"))

    sounds = sorted((tmp_path / "sounds").iterdir())
    assert {".wav"} == {each.suffix for each in sounds}
    with wave.open(str(sounds[0])) as first, wave.open(str(sounds[1])) as second:
        assert (1, 8000, 800) == (first.getnchannels(), first.getframerate(), first.getnframes())
        assert (2, 16000, 8) == (second.getnchannels(), second.getframerate(), second.getnframes())
        assert [32767, -32767] == np.frombuffer(second.readframes(1), "<i2").tolist()
    assert [b"film", b"bytes"] == [each.read_bytes() for each in sorted((tmp_path / "films").iterdir())]
