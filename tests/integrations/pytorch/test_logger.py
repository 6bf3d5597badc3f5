"""The logger of a plain loop of PyTorch: real steps, continued training, compiled and distributed models, trouble."""

from __future__ import annotations

import gc
import io
import shutil
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad import Run
from naiad.errors import InvalidArgument, NaiadTypeError, PluginWarning
from naiad.testing.mapping import check_mapping
from naiad_pytorch.plugin import INTEGRATION

torch = pytest.importorskip("torch", reason='PyTorch is not installed: pip install "naiad[pytorch]"')
NaiadLogger = pytest.importorskip("naiad_pytorch").NaiadLogger


@pytest.fixture
def model() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))


def train(model: Any, steps: int = 4, optimizer: Any = None) -> None:
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz, which draws, is not installed")
def test_training_fills_the_rows_and_nothing_else(run: Run, model: Any) -> None:
    logger = NaiadLogger(
        run, model=model, log_model_diagram=True, log_gradients=True, log_parameters=True, log_freq=2, bins=8
    )

    train(model)
    logger.log_checkpoint()
    logger.log_model()

    when = {word for row in INTEGRATION.rows for word in row.when.split(" and ") if word}
    check_mapping(INTEGRATION, run, when=when - {"error", "taken names"})


def test_values_are_those_after_the_step(run: Run, model: Any) -> None:
    logger = NaiadLogger(run["a"], model=model, base_namespace="", log_gradients=True, log_parameters=True, log_freq=3)

    train(model, 4)

    points = run["a/plots/parameters/0.weight"].fetch_values()
    assert [0, 3] == points["step"].tolist()
    assert pytest.approx(float(model[0].weight.detach().norm())) == points["value"].tolist()[-1]
    assert pytest.approx(float(model[0].weight.grad.norm())) == run["a/plots/gradients/0.weight"].fetch_last()
    assert [0.1, 0.1] == run["a/learning_rate/SGD/0"].fetch_values()["value"].tolist()
    assert 11 == run["a/model/num_parameters"].fetch()
    assert "" == logger.base_namespace


def test_schedules_groups_and_several_optimizers_have_their_own_learning_rates(run: Run, model: Any) -> None:
    NaiadLogger(run, model=model, log_freq=1)
    groups = [{"params": model[0].parameters()}, {"params": [model[2].weight], "lr": 0.2, "name": "head"}]
    first, second = torch.optim.SGD(groups, lr=0.1), torch.optim.SGD([model[2].bias], lr=0.3)
    schedule = torch.optim.lr_scheduler.StepLR(first, 1, 0.5)

    for _ in range(2):
        train(model, 1, first)
        second.step()
        schedule.step()

    assert [0.1, 0.05] == run["training/learning_rate/SGD/0"].fetch_values()["value"].tolist()
    assert [0.2, 0.1] == run["training/learning_rate/SGD/head"].fetch_values()["value"].tolist()
    assert [0.3, 0.3] == run["training/learning_rate/SGD-1/0"].fetch_values()["value"].tolist()


def test_a_continued_training_continues_curves_and_numbers_of_checkpoints(store: Path, model: Any) -> None:
    for first in (0, 2):
        with naiad.init_run(custom_run_id="same") as run:
            logger = NaiadLogger(run, model=model, log_gradients=True, log_freq=1, initial_step=first)
            train(model, 2)
            logger.log_checkpoint()
            logger.remove()

    with naiad.init_run(custom_run_id="same", mode="read-only") as run:
        assert [0, 1, 2, 3] == run["training/plots/gradients/2.bias"].fetch_values()["step"].tolist()
        assert {"checkpoint_1.pt", "checkpoint_2.pt"} == run.get_structure()["training"]["model"]["checkpoints"].keys()


def test_a_checkpoint_holds_the_state_that_is_given(run: Run, model: Any) -> None:
    optimizer = torch.optim.Adam(model.parameters())
    train(model, 1, optimizer)

    NaiadLogger(run, model=model).log_checkpoint("full", {"model": model.state_dict(), "step": 7})

    loaded = torch.load(io.BytesIO(run["training/model/checkpoints/full.pt"].fetch_content()))
    assert 7 == loaded["step"]
    assert torch.equal(model[0].weight, loaded["model"]["0.weight"])


def test_names_of_a_wrapped_model_are_those_of_the_user(run: Run, model: Any) -> None:
    wrapped = torch.nn.DataParallel(torch.compile(model, backend="eager"))

    NaiadLogger(run, model=wrapped, log_gradients=True).log_model()
    train(model, 1)

    assert run.exists("training/plots/gradients/0.weight")
    assert "0.weight" in torch.load(io.BytesIO(run["training/model/model.pt"].fetch_content()))


def test_a_logger_ends_with_its_model(run: Run, model: Any) -> None:
    """A search builds many models, and none may cost the steps of the next ones anything."""
    from torch.optim import optimizer

    gc.collect()
    before = len(optimizer._global_optimizer_post_hooks)
    NaiadLogger(run, model=torch.nn.Linear(1, 1))
    gc.collect()

    assert before == len(optimizer._global_optimizer_post_hooks)


def test_the_diagram_waits_for_a_pass_with_gradients(run: Run, model: Any) -> None:
    from naiad_pytorch import graph

    model.eval()
    with torch.no_grad():
        assert not graph.is_differentiable({"logits": model(torch.ones(1, 3))})
    text = graph.dot((model(torch.ones(1, 3)),), dict(model.named_parameters()))

    assert 4 == text.count("shape=box")
    assert '"0.weight (2, 3)"' in text
    assert "AddmmBackward" in text


def test_a_diagram_too_large_to_look_at_is_not_drawn(run: Run, monkeypatch: pytest.MonkeyPatch, model: Any) -> None:
    monkeypatch.setattr("naiad_pytorch.graph.MOST_NODES", 3)
    NaiadLogger(run, model=model, log_model_diagram=True)

    with pytest.warns(PluginWarning, match="more than 3 nodes"):
        train(model, 1)


def test_a_failing_training_leaves_a_failed_run(store: Path, model: Any) -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"), naiad.init_run() as run:
        NaiadLogger(run, model=model).model(torch.ones(1, 7))

    with naiad.init_project(mode="read-only") as project:
        assert ["failed"] == project.fetch_runs_table(columns=["sys/state"]).to_pandas()["sys/state"].tolist()


def test_trouble_of_logging_does_not_reach_the_training(run: Run, model: Any) -> None:
    run["training/plots/gradients/0.weight"] = "taken"
    NaiadLogger(run, model=model, log_gradients=True)

    with pytest.warns(PluginWarning, match=r"could not log plots/gradients/0\.weight"):
        train(model, 2)

    assert 1 == len(run["training/plots/gradients/2.bias"].fetch_values())


def test_a_broken_run_warns_and_lets_the_training_go_on(run: Run, model: Any) -> None:
    logger = NaiadLogger(run, model=model)
    run.stop()

    with pytest.warns(PluginWarning, match="could not log"):
        train(model, 3)

    logger.log_model()  # the same trouble is not warned about again


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"run": "RUN-1"}, NaiadTypeError),
        ({"model": "net"}, NaiadTypeError),
        ({"log_freq": 0}, InvalidArgument),
        ({"bins": -1}, InvalidArgument),
    ],
)
def test_mistakes_raise_where_they_are_made(run: Run, model: Any, given: dict[str, Any], error: Any) -> None:
    with pytest.raises(error):
        NaiadLogger(**{"run": run, "model": model, **given})
