"""Programs in the form of those that Neptune published as how-to guides (neptune-ai/examples), short and our own.

Each docstring names the scripts that it stands for: all 36 that were in `how-to-guides/*/scripts` at one time or
another, and the two that choose a model on Azure. Training is a few numbers here: the calls of the client are those of
the guides, in their order.
"""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import neptune
import numpy as np
import pandas as pd
import pytest
import torch
from neptune import management
from neptune.exceptions import ModelNotFound, NeptuneModelKeyAlreadyExistsError, ProjectNotFoundWithSuggestions
from neptune.integrations.sklearn import create_regressor_summary, get_estimator_params, get_pickled_model, get_scores
from neptune.types import File
from neptune.utils import stringify_unsupported
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression

PROJECT = "team/programs"
TABLE = "length,width,kind\n1.5,0.25,a\n2.5,0.75,b\n"


def test_hello(monkeypatch: pytest.MonkeyPatch) -> None:
    """hello_neptune, Neptune_hello_world, Neptune-hello-world, training (in Docker): the project of the environment."""
    monkeypatch.setenv("NEPTUNE_PROJECT", PROJECT)
    monkeypatch.setenv("NEPTUNE_API_TOKEN", neptune.ANONYMOUS_API_TOKEN)
    Path("image.png").write_bytes(b"\x89PNG...")
    run = neptune.init_run(tags=["quickstart", "script"], dependencies="infer")
    run["seed"] = 0.42
    for epoch in range(4):
        run["accuracy"].append(1 - 2**-epoch)
        run["loss"].append(2**-epoch)
    run["single_image"].upload("image.png")
    for digit in range(3):
        run["image_series"].append(File.as_image(np.full((4, 4), digit / 3)), name=f"{digit}")
    run_id = run["sys/id"].fetch()
    run.stop()

    run = neptune.init_run(with_id=run_id, mode="read-only")
    run["single_image"].download("downloaded.png")
    run["image_series"].download("downloaded_series")

    assert 0.42 == run["seed"].fetch()
    assert [0.0, 0.5, 0.75, 0.875] == run["accuracy"].fetch_values()["value"].tolist()
    assert b"\x89PNG..." == Path("downloaded.png").read_bytes()
    assert 3 == len(list(Path("downloaded_series").iterdir()))
    assert {"quickstart", "script"} == run["sys/tags"].fetch()
    assert run.exists("source_code/requirements")


def test_create_and_delete_projects() -> None:
    """create_delete_projects."""
    name, token = "team/short-lived", neptune.ANONYMOUS_API_TOKEN
    management.create_project(name=name, api_token=token, key="SHO", visibility="pub")

    assert name in management.get_project_list(api_token=token)

    management.delete_project(project=name, api_token=token)

    assert name not in management.get_project_list(api_token=token)


def test_version_and_compare_datasets() -> None:
    """Version_datasets_in_model_training_runs, Compare_model_training_runs_on_dataset_versions."""
    hashes = []
    for name, table in (("train.csv", TABLE), ("train_v2.csv", TABLE + "3.5,0.5,a\n")):
        Path(name).write_text(table)
        run = neptune.init_run(project=PROJECT)
        run["datasets/train"].track_files(name)
        run["parameters"] = {"n_estimators": 7, "max_depth": 2}
        run["metrics/test_score"] = 0.9
        run.wait()
        hashes.append(run["datasets/train"].fetch_hash())
        [file] = run["datasets/train"].fetch_files_list()
        run.stop()

        assert name == file.file_path

    assert hashes[0] != hashes[1]


def test_organize_and_share_dataset_versions() -> None:
    """Organize_and_share_dataset_versions: artifacts of a project, the last one again under another name."""
    project = neptune.init_project(project=PROJECT)
    for version in range(3):
        Path("sampled.csv").write_text(TABLE * (version + 1))
        project[f"datasets/sampled/v{version}"].track_files("sampled.csv", wait=True)
    versions = project.get_structure()["datasets"]["sampled"].keys()
    latest = max(int(name.replace("v", "")) for name in versions if name != "latest")
    project["datasets/sampled/latest"].assign(project[f"datasets/sampled/v{latest}"].fetch(), wait=True)
    run = neptune.init_run(project=PROJECT)
    run["datasets/train"].track_files("sampled.csv", wait=True)

    assert 2 == latest
    assert run["datasets/train"].fetch_hash() == project["datasets/sampled/latest"].fetch_hash()

    run.stop()
    project.stop()


def _rank(rank: int, name: str) -> None:
    space = "monitoring" if rank == 0 else f"monitoring/{rank}"
    run = neptune.init_run(project=PROJECT, monitoring_namespace=space, custom_run_id=name)
    if rank == 0:
        run["parameters"] = {"batch_size": 256, "lr": 0.001}
    for loss in (0.5, 0.25):
        run[f"metrics/{rank}/loss"].append(loss)
    run.stop()


def test_distributed_training() -> None:
    """train_ddp_* and train_dpp_*: processes that write one run, or runs of one group, by a custom id or tag."""
    ranks = [multiprocessing.get_context("fork").Process(target=_rank, args=(rank, "ddp-1")) for rank in range(2)]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join()
    with neptune.init_run(project=PROJECT, custom_run_id="ddp-1") as run:
        run["metrics/valid/acc"] = 75

        assert 256 == run["parameters/batch_size"].fetch()
        assert [[0.5, 0.25]] * 2 == [run[f"metrics/{n}/loss"].fetch_values()["value"].tolist() for n in range(2)]


def test_track_models_from_end_to_end() -> None:
    """e2e_tracking: trials with their model versions, the best of them promoted and loaded again."""
    name = "team/e2e"
    try:
        project = neptune.init_project(project=name)
    except ProjectNotFoundWithSuggestions:
        management.create_project(name=name)
        project = neptune.init_project(project=name)
    key = f"{project['sys/id'].fetch()}-RFR"
    model = neptune.init_model(project=name, key="RFR")
    with pytest.raises(NeptuneModelKeyAlreadyExistsError):
        neptune.init_model(project=name, key="RFR")
    data, target = make_regression(60, 4, random_state=0)
    for trial in range(2):
        run = neptune.init_run(project=name, tags=["script", "trial-level"], capture_stdout=True)
        run["trial-number"] = trial
        forest = RandomForestRegressor(n_estimators=2 + trial, random_state=0).fit(data, target)
        run["model_summary"] = create_regressor_summary(forest, data[:40], data[40:], target[:40], target[40:])
        run.wait()
        score = run["model_summary/test/scores/mean_absolute_error"].fetch()
        version = neptune.init_model_version(project=name, model=key)
        version["training/run/id"] = run["sys/id"].fetch()
        version["training/run/url"] = run.get_url()
        run["model_summary/id"] = version["sys/id"].fetch()
        version["training/score"] = score
        version["saved_model"].upload(get_pickled_model(forest))
        version.change_stage("staging")
        version.stop()
        run.stop()
    columns = {"columns": ["sys/stage", "training/score"], "sort_by": "training/score", "ascending": True}
    versions = model.fetch_model_versions_table(**columns, progress_bar=False).to_pandas()
    staged = versions[versions["sys/stage"] == "staging"]
    best = staged[staged["training/score"] == min(staged["training/score"])]["sys/id"].to_numpy()[0]
    with neptune.init_model_version(project=name, with_id=best) as challenger:
        challenger.change_stage("production")
    version = neptune.init_model_version(project=name, with_id=best)
    version["saved_model"].download()
    with Path("saved_model.pkl").open("rb") as stream:
        loaded = pickle.load(stream)
    version["production/metrics"] = stringify_unsupported({"current": {"mean_abs_error": 0.4}, "range": (1, 2)})
    version.wait()

    assert 2 == len(staged)
    assert "production" == version["sys/stage"].fetch()
    assert (60,) == loaded.predict(data).shape
    assert 0.4 == version["production/metrics/current/mean_abs_error"].fetch()

    for each in (project, model, version):
        each.stop()


def test_tour_of_logging_and_querying() -> None:
    """Neptune_API_Tour_basic_logging, _more_logging_options and _querying, Monitor_ML_runs_live, Organize_ML_runs."""
    from matplotlib import pyplot as plt

    Path("model.h5").write_bytes(b"weights")
    run = neptune.init_run(project=PROJECT, name="keras-metrics", tags=["tour"], source_files=[])
    run["parameters/batch_size"] = 32
    run["sys/tags"].add("advanced")
    run["sys/tags"].add(["organized", "live"])
    for name, value in {"loss": 0.5, "accuracy": np.float32(0.75)}.items():
        run[f"batch/{name}"].append(value)
        run["epoch"][name].append(value)
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    run["diagnostic_charts"].append(File.as_image(figure))
    plt.close(figure)
    run["test/f1"] = np.float64(0.5)
    run["model"].upload("model.h5")
    run_id = run["sys/id"].fetch()
    run.stop()

    project = neptune.init_project(project=PROJECT, mode="read-only")
    table = project.fetch_runs_table(tag=["advanced", "tour"], columns=["sys/name", "test/f1"]).to_pandas()
    run = neptune.init_run(project=PROJECT, with_id=run_id)
    run["model"].download("again.h5")

    assert [[run_id, "keras-metrics", 0.5]] == table[["sys/id", "sys/name", "test/f1"]].to_numpy().tolist()
    assert 32 == run["parameters/batch_size"].fetch()
    assert 0.75 == run["batch/accuracy"].fetch_last()
    assert b"weights" == Path("again.h5").read_bytes()

    run.stop()


@pytest.mark.parametrize("is_one", [True, False])
def test_search_of_parameters(is_one: bool) -> None:
    """Neptune_hpo_single_run, neptune_hpo_single_run, Neptune_hpo_separate_runs, Multiple_integrations.

    Values that the client drops, such as a device, are left out with one warning or kept as text.
    """
    parameters = {"batch_size": 128, "input_size": (3, 32, 32), "device": torch.device("cpu")}
    sweep = neptune.init_run(project=PROJECT, tags=["sweep-level"])
    for trial, rate in enumerate([1e-4, 1e-3]):
        run = sweep if is_one else neptune.init_run(project=PROJECT, tags=["trial-level"])
        base = run[f"trials/{trial}"] if is_one else run
        run["sys/group_tags"].add("search")
        base["parms"] = stringify_unsupported(parameters)
        base["parms/lr"] = rate
        for loss in torch.tensor([0.5, 0.25]):
            base["training/batch/loss"].append(loss)
        run.wait()

        assert "cpu" == base["parms/device"].fetch()
        assert [0.5, 0.25] == base["training/batch/loss"].fetch_values()["value"].tolist()

        if not is_one:
            run.stop()
    sweep.stop()


def test_cross_validation() -> None:
    """neptune_cross_validation: a namespace for each fold, with a checkpoint."""
    run = neptune.init_run(project=PROJECT, tags="cross-validation")
    run["parameters"] = stringify_unsupported({"epochs": 2, "image_size": (3, 32, 32), "seed": 42})
    run["parameters/model/name"] = "BaseModel"
    run["dataset/transforms"] = stringify_unsupported({"train": [torch.nn.Flatten()]})
    for fold in range(2):
        for loss in torch.tensor([0.5, 0.25]):
            run[f"fold_{fold}/training/batch/loss"].append(loss)
        torch.save({"weight": torch.ones(2)}, "checkpoint.pth")
        run[f"fold_{fold}/checkpoint"].upload("checkpoint.pth")
        run.sync()
    run["results/metrics/train/mean_loss"] = 0.375
    run.wait()
    run["fold_1/checkpoint"].download("again.pth")

    assert {"cross-validation"} == run["sys/tags"].fetch()
    assert [1.0, 1.0] == torch.load("again.pth")["weight"].tolist()
    assert "fold_0" in run.get_structure()

    run.stop()


@pytest.mark.parametrize("is_failed", [True, False])
def test_run_made_again_from_an_earlier_one(is_failed: bool) -> None:
    """re_run_failed_training, old_run, reproduce_run: the last run with a tag gives its data set and parameters."""
    tag = f"made-again-{is_failed}"
    Path("data").mkdir()
    Path("data/train.csv").write_text(TABLE)
    old = neptune.init_run(project=PROJECT, tags=["showcase-run", tag])
    old["artifacts/dataset"].track_files("data")
    old["config/params"] = {"lr": 0.01, "bs": 64}
    old["config/dataset/path"] = "data"
    if is_failed:
        old["sys/failed"] = True
    old.stop()
    project = neptune.init_project(project=PROJECT, mode="read-only")
    table = project.fetch_runs_table(state="inactive", tag=["showcase-run", tag]).to_pandas()
    project.stop()
    old_id = table[table["sys/failed"] == is_failed]["sys/id"].to_numpy()[0]

    old = neptune.init_run(project=PROJECT, with_id=old_id, mode="read-only")
    new = neptune.init_run(project=PROJECT, tags=["reproduce", "new-run"])
    old["artifacts/dataset"].download(destination="fetched")
    new["artifacts/dataset"].assign(old["artifacts/dataset"].fetch())
    new["config/params"] = old["config/params"].fetch()
    new["config/dataset/path"] = old["config/dataset/path"].fetch()
    new.wait()

    assert TABLE == next(Path("fetched").rglob("train.csv")).read_text()
    assert old["artifacts/dataset"].fetch_hash() == new["artifacts/dataset"].fetch_hash()
    assert {"lr": 0.01, "bs": 64} == new["config/params"].fetch()

    old.stop()
    new.stop()


def test_run_goes_on_from_its_last_checkpoint() -> None:
    """neptune_save_checkpoints, neptune_restart_run_from_checkpoint."""
    run = neptune.init_run(project=PROJECT)
    run["parameters"] = stringify_unsupported({"lr": 0.1, "num_epochs": 3, "device": torch.device("cpu")})
    for epoch in range(3):
        run["metrics"]["batch/loss"].append(1 / (epoch + 1))
        name = f"checkpoint-{epoch}.pth"
        torch.save({"epoch": epoch}, name)
        run[f"checkpoints/epoch_{epoch}"].upload(name)
    run_id = run["sys/id"].fetch()
    run.stop()

    run = neptune.init_run(project=PROJECT, with_id=run_id)
    parameters = run["parameters"].fetch()
    parameters["num_epochs"] = 4
    run["parameters"] = stringify_unsupported(parameters)
    last = max(int(name.split("_")[-1]) for name in run.get_structure()["checkpoints"])
    extension = run["checkpoints"][f"epoch_{last}"].fetch_extension()
    run["checkpoints"][f"epoch_{last}"].download()
    run.wait()
    for epoch in range(torch.load(f"epoch_{last}.{extension}")["epoch"] + 1, parameters["num_epochs"]):
        run["metrics"]["batch/loss"].append(1 / (epoch + 1))
    run.wait()

    assert (2, "pth") == (last, extension)
    assert [0, 1, 2, 3] == run["metrics/batch/loss"].fetch_values()["step"].tolist()
    assert 4 == run["parameters/num_epochs"].fetch()

    run.stop()


def _stage(versions: Any, stage: str) -> str:
    return str(versions[versions["sys/stage"] == stage]["sys/id"].tolist()[0])


def test_pipeline_of_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """data_preprocessing, model_training, model_validation, model_evaluation, model_promotion, get_latest_model_prod.

    Each script is a process of its own in the guide, and all of them write one run by its custom id.
    """
    monkeypatch.setenv("NEPTUNE_PROJECT", "team/pipeline")
    monkeypatch.setenv("NEPTUNE_CUSTOM_RUN_ID", "pipeline-1")
    data, kinds = make_classification(60, random_state=0)
    run = neptune.init_run(monitoring_namespace="monitoring/preprocessing")
    np.savez("features.npz", data=data, kinds=kinds)
    run["preprocessing/dataset/features"].upload("features.npz")
    run.stop()

    run = neptune.init_run(monitoring_namespace="monitoring/training")
    run["preprocessing/dataset/features"].download("fetched.npz")
    training = run["training"]
    classifier = LogisticRegression().fit(np.load("fetched.npz")["data"], kinds)
    training["params"] = get_estimator_params(classifier)
    training["metrics/scores"] = get_scores(classifier, data, kinds)
    training["model"]["pickled_model"] = get_pickled_model(classifier)
    project_key = run["sys/id"].fetch().split("-")[0]
    neptune.init_model(key="PIPELINES").stop()
    run.wait()
    run["training/model/pickled_model"].download()
    for stage in ("production", "staging"):
        with neptune.init_model_version(model=f"{project_key}-PIPELINES") as version:
            version["run/id"] = run["sys/id"].fetch()
            version["run/url"] = run.get_url()
            version["metrics/training/scores"] = run["training/metrics/scores"].fetch()
            version["metrics/validation/scores"] = {"class_0": {"fbeta_score": 0.5 + (stage == "staging") / 4}}
            version["model/pickled_model"].upload("pickled_model.pkl")
            training["model/model_version/id"] = version["sys/id"].fetch()
            version.change_stage(stage)
    run.stop()

    with pytest.raises(ModelNotFound):
        neptune.init_model(with_id=f"{project_key}-NONE")
    model = neptune.init_model(with_id=f"{project_key}-PIPELINES")
    table = model.fetch_model_versions_table().to_pandas()
    challenger = neptune.init_model_version(with_id=_stage(table, "staging"))
    champion = neptune.init_model_version(with_id=_stage(table, "production"))
    challenger["model"]["pickled_model"].download("challenger.pkl")
    scores = [each["metrics/validation/scores/class_0"].fetch()["fbeta_score"] for each in (challenger, champion)]

    assert [0.75, 0.5] == scores
    assert 60 == len(pickle.loads(Path("challenger.pkl").read_bytes()).predict(data))

    challenger.change_stage("production")
    champion.change_stage("archived")
    challenger.wait()
    champion.wait()

    assert _stage(model.fetch_model_versions_table().to_pandas(), "production") == challenger["sys/id"].fetch()

    for each in (model, challenger, champion):
        each.stop()


def test_chart_over_times() -> None:
    """neptune_timeseries_chart: values with the times of a table."""
    table = pd.DataFrame({"VALUE": [1.5, 2.5], "DATE": ["2022-01-01", "2022-01-02"]})
    seconds = (pd.to_datetime(table["DATE"]) - pd.Timestamp("1970-01-01")) // pd.Timedelta("1s")
    run = neptune.init_run(project=PROJECT)
    for value, second in zip(table["VALUE"], seconds, strict=True):
        run["timeseries"].append(value=value, timestamp=int(second))
    run.wait()
    found = run["timeseries"].fetch_values()

    assert [1.5, 2.5] == found["value"].tolist()
    assert 86_400 == (found["timestamp"][1] - found["timestamp"][0]).total_seconds()

    run.stop()
