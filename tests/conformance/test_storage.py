"""Both back ends pass the suite of the storage interface, and runs work on either."""

from __future__ import annotations

import pickle
import zipfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from memory_store import MemoryStore

import naiad
from naiad import trash
from naiad.errors import NaiadTypeError
from naiad.histogram import Histogram
from naiad.kinds import KINDS
from naiad.storage.base import Store
from naiad.storage.opening import locate
from naiad.testing.storage import StoreTests
from naiad.types import File, GitRef

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


class TestLocalStore(StoreTests):
    """The folder."""

    def make_store(self, folder: Path) -> Store:
        return locate(folder / "store")


class TestMemoryStore(StoreTests):
    """The dict."""

    def make_store(self, folder: Path) -> Store:
        return MemoryStore(str(folder))


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, store: Path) -> Store:
    """A store of each back end."""
    return locate(store) if request.param == "folder" else MemoryStore(str(store))


def run_with_everything(place: Store, folder: Path) -> str:
    """Log a field of every kind, and return the id of the run."""
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "data.csv").write_text("a,b")
    with naiad.init_run(store=place, project="digits", name="all", tags=["good"]) as run:
        run["params"] = {"lr": 0.1, "layers": 3, "is_deep": True, "at": MOMENT, "text": "x"}
        run["loss"].extend([0.5, 0.25, 0.75], steps=[0, 2, 1])
        run["log"].extend(["one", "two"])
        run["weights"].append(Histogram([0, 1, 2], counts=[5, 3]))
        run["images"].append(File.from_content(b"\x89PNG" * 2000, extension="png"), name="first")
        run["model"].upload(File.from_content(b"m" * 5000, extension="bin"))
        run["files"].upload_files(str(folder))
        run["data"].track_files(str(folder))
        run["git"] = GitRef(repository_path=Path(__file__).parents[2])
        run["gone"] = 1
        run["gone"].pop()
        return str(run["sys/id"].fetch())


def test_every_kind_of_field_is_read_back(place: Store, tmp_path: Path) -> None:
    run_id = run_with_everything(place, tmp_path / "folder")
    with naiad.init_run(with_id=run_id, store=place, mode="read-only") as run:
        kinds = {leaf.kind for path in ("", "params", "sys") for leaf in leaves(run, path)}
        run["model"].download(str(tmp_path / "copy.bin"))
        run["files"].download(str(tmp_path / "files.zip"))

        assert KINDS.keys() == kinds
        assert {"lr": 0.1, "layers": 3, "is_deep": True, "at": MOMENT, "text": "x"} == run["params"].fetch()
        assert [0.5, 0.75, 0.25] == run["loss"].fetch_values()["value"].tolist()
        assert ["one", "two"] == run["log"].fetch_values()["value"].tolist()
        assert [b"\x89PNG" * 2000] == [file.content for file in run["images"].fetch_files()]
        assert b"m" * 5000 == (tmp_path / "copy.bin").read_bytes()
        with zipfile.ZipFile(tmp_path / "files.zip") as archive:
            assert "inner/data.csv" in archive.namelist()
        assert ["inner/data.csv"] == [file.file_path for file in run["data"].fetch_files_list()]
        assert {"good"} == run["sys/tags"].fetch()
        assert not run.exists("gone")
        assert place.url(place.find(run_id)) == run.get_url()


def test_run_is_resumed_and_changed_by_several_processes(place: Store) -> None:
    with naiad.init_run(store=place, project="digits", custom_run_id="job") as first:
        first["loss"].append(1.0)
        with naiad.init_run(store=place, project="digits", custom_run_id="job") as second:
            second["loss"].append(2.0)
            second["x"] = 1
            again = pickle.loads(pickle.dumps(second))

            assert again is second or again["x"].fetch() == 1
        assert first["x"].fetch() == 1
        assert [1.0, 2.0] == sorted(first["loss"].fetch_values()["value"].tolist())


def test_refused_dict_leaves_nothing(place: Store) -> None:
    with naiad.init_run(store=place, strict=True) as run:
        with pytest.raises(NaiadTypeError):
            run["p"] = {"a": 1, "b": object()}

        assert not run.exists("p/a")


def test_table_has_the_runs_that_a_query_finds(place: Store) -> None:
    for lr in (0.1, 0.3):
        with naiad.init_run(store=place, project="digits") as run:
            run["lr"] = lr
            run["loss"].extend([1.0, lr])
    project = naiad.init_project("digits", store=place, mode="read-only")
    frame = project.fetch_runs_table(query="`lr`:float > 0.2", columns=["lr", "loss:min"]).to_pandas()
    everything = project.fetch_runs_table(sort_by="lr", ascending=True)

    assert [{"sys/id": "DIGITS-2", "lr": 0.3, "loss:min": 0.3}] == frame[["sys/id", "lr", "loss:min"]].to_dict(
        "records"
    )
    assert ["DIGITS-1", "DIGITS-2"] == [row.get_attribute_value("sys/id") for row in everything]
    assert ["DIGITS-2", "DIGITS-1"] == [each.id for each in project.runs()]


def test_models_and_the_trash_work(place: Store) -> None:
    with naiad.init_model(key="CNN", project="digits", store=place) as model:
        model["signature"] = "28 x 28"
        with naiad.init_model_version(model="DIGITS-CNN", store=place) as version:
            version.change_stage("production")
        frame = model.fetch_model_versions_table().to_pandas()
    items = trash.find(place, ["DIGITS-CNN"])
    trash.move(place, items)
    gone = trash.delete(place, trash.in_trash(place))

    assert ["production"] == frame["sys/stage"].tolist()
    assert {"DIGITS-CNN", "DIGITS-CNN-1"} == {item.id for item in gone}


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*smaller than the logging interval", "ignore:.*LeafSpec"
)
def test_lightning_logs_a_fit(place: Store) -> None:
    torch, lightning = pytest.importorskip("torch"), pytest.importorskip("lightning.pytorch")
    from naiad_lightning import NaiadLogger

    class Model(lightning.LightningModule):  # type: ignore[misc, name-defined]  # the framework is imported by the test
        def __init__(self) -> None:
            super().__init__()
            self.line = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, _number: int) -> Any:
            loss = self.line(batch).pow(2).mean()
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    logger = NaiadLogger(store=place, project="digits")
    options = dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(max_epochs=2, logger=logger, log_every_n_steps=1, accelerator="cpu", **options)
    trainer.fit(Model(), torch.utils.data.DataLoader(torch.rand(8, 4), batch_size=4))
    logger.run.stop()
    [summary] = place.catalog().summaries("digits")

    assert "finished" == summary.state
    assert 4 == place.reader(summary.run).count("training/loss")


def leaves(run: naiad.Run, path: str) -> list[Any]:
    """Return the fields right below a path."""
    found = run.get_structure()
    for part in path.split("/") if path else ():
        found = found[part]
    return [leaf for leaf in found.values() if not isinstance(leaf, dict)]
