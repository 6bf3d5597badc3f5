"""Runs as files that other tools read, the way back, and series of many runs as one frame."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pyarrow
import pyarrow.parquet as pq
import pytest

import naiad
from naiad.errors import InvalidArgument, RunNotFound
from naiad.importers import import_runs
from naiad.importers.stored import total
from naiad.storage.opening import locate
from naiad.types import File, Float, GitRef, Histogram

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=timezone.utc)
QUIET: dict[str, Any] = {"git_ref": False, "source_files": [], "capture_hardware_metrics": False}
NEPTUNE = (
    *("project_id", "run_id", "attribute_path", "attribute_type", "step", "timestamp", "int_value", "float_value"),
    *("string_value", "bool_value", "datetime_value", "string_set_value", "file_value", "histogram_value"),
)


@pytest.fixture
def run(store: Path, tmp_path: Path) -> naiad.Run:
    """A run with a field of every kind, stopped."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "data.csv").write_text("a,b")
    (tmp_path / "in" / "top.txt").write_text("top")
    with naiad.init_run(store=store, project="ws/digits", name="é", tags=["good", "b"], **QUIET) as run:
        run["p"] = {"lr": 0.1, "n": 2**53 + 1, "deep": True, "at": MOMENT, "text": "x\ud800", "nan": float("nan")}
        run["loss"].extend([0.5, float("nan"), float("inf")], steps=[0, 1.2e-7, 10**12], timestamps=[1.5, 2.25, 3.0])
        run["large"].extend([1.0, 2.0], steps=[2**60 + 1, 3])
        run["loss"].configure(min=0, max=2, unit="nats")
        run["empty"].append(1.0)
        run["empty"].clear()
        run["log"].extend(["one", "two\ud800", ""])
        run["grads"].append(Histogram([0, 1, 2], counts=[5, 2**60]), step=3)
        run["grads"].append(Histogram([0, 0.5], densities=[2.0]), step=4)
        run["images"].append(
            File.from_content(b"\x89PNG" * 2000, extension="png"), name="first", description="d", step=2.5
        )
        run["images"].append(File.from_content("hello", extension="txt"), step=7)
        run["weights"].upload(File.from_content(b"m" * 5000, extension="pt"))
        run["a/b.txt"].upload(File.from_content("text"))
        run["files"].upload_files(str(tmp_path / "in"))
        run["data"].track_files(str(tmp_path / "in"))
        run["git"] = GitRef(repository_path=Path(__file__).parents[3])
    return run


def contents(store: Path, name: str) -> dict[str, Any]:
    """Return kind, number of values and fingerprint of all fields of a run but those about itself."""
    place = locate(store)
    reader = place.reader(place.find(name))
    own = {"sys/modification_time", "sys/ping_time", "sys/running_time", "sys/size"}
    return {
        path: (kind, *(total(reader, path, kind) if kind != "run_state" else [reader.state()]))
        for path, kind in reader.kinds().items()
        if path not in own and not path.startswith("sys/import/")
    }


def exported(store: Path, destination: Path, *names: str, format: str = "parquet") -> Path:
    with naiad.init_project("ws/digits", store=store, mode="read-only") as project:
        [path] = project.export(destination, format=format, runs=list(names))
    return path


def test_round_trip_is_equal(store: Path, tmp_path: Path, run: naiad.Run) -> None:
    exported(store, tmp_path / "out", run._id)

    report = import_runs("neptune-export", tmp_path / "out", store=tmp_path / "other")

    assert report.is_whole, report.runs[0].skipped
    assert run._id == report.runs[0].id
    assert contents(store, run._id) == contents(tmp_path / "other", run._id)
    with naiad.init_run(with_id=run._id, store=tmp_path / "other", mode="read-only") as copy:
        assert (0.0, 2.0, "nats") == copy.get_attribute("loss").fetch_config()
        assert MOMENT == copy["p/at"].fetch()
        assert [2**60 + 1, 3] == sorted(copy["large"].fetch_values()["step"].tolist(), reverse=True)
        assert run._id == copy["sys/import/neptune-export/sys/id"].fetch()


def test_second_round_trip_is_equal_too(store: Path, tmp_path: Path, run: naiad.Run) -> None:
    exported(store, tmp_path / "out", run._id)
    import_runs("neptune-export", tmp_path / "out", store=tmp_path / "other")
    exported(tmp_path / "other", tmp_path / "again", run._id)

    report = import_runs("neptune-export", tmp_path / "again", store=tmp_path / "third")

    assert report.is_whole
    assert contents(store, run._id) == contents(tmp_path / "third", run._id)


def test_import_of_an_export_changes_nothing_the_second_time(store: Path, tmp_path: Path, run: naiad.Run) -> None:
    exported(store, tmp_path / "out", run._id)
    import_runs("neptune-export", tmp_path / "out", store=tmp_path / "other")

    again = import_runs("neptune-export", tmp_path / "out", store=tmp_path / "other")

    assert "unchanged" == again.runs[0].status


def test_parquet_is_the_form_of_the_exporter(store: Path, tmp_path: Path, run: naiad.Run) -> None:
    path = exported(store, tmp_path / "out", run._id)

    digest = hashlib.blake2b(b"ws/digits", digest_size=8).hexdigest()
    assert tmp_path / "out" / "data" / f"ws_digits-{digest}" == path.parent
    assert path.name.endswith("_part_0.parquet")
    table = pq.read_table(path)
    assert list(NEPTUNE) == table.schema.names[:14]
    assert all(name.startswith("naiad_") for name in table.schema.names[14:])
    assert (pyarrow.decimal128(18, 6), pyarrow.timestamp("ms", "UTC")) == (
        table.schema.field("step").type,
        table.schema.field("timestamp").type,
    )
    rows = [row for row in table.to_pylist() if row["attribute_path"] == "loss"]
    assert [0, None, None] == [row["step"] for row in rows]  # 1.2e-7 and 10**12 do not fit
    assert [0.0, 1.2e-7, 1e12] == [row["naiad_step"] for row in rows]
    assert [0, None, 10**12] == [row["naiad_whole_step"] for row in rows]
    known = {row["attribute_type"] for row in table.to_pylist()}
    assert known <= {
        *("float", "int", "string", "bool", "datetime", "string_set", "float_series", "string_series"),
        *("histogram_series", "file", "file_series", "file_set", "artifact"),
    }


@pytest.mark.parametrize("format", ["csv", "json"])
def test_text_forms_have_a_row_a_point(store: Path, tmp_path: Path, run: naiad.Run, format: str) -> None:
    path = exported(store, tmp_path / "out", run._id, format=format)

    text = path.read_text(encoding="utf-8")
    rows = (
        list(csv.DictReader(text.splitlines())) if format == "csv" else [json.loads(line) for line in text.splitlines()]
    )
    loss = [row for row in rows if row["attribute_path"] == "loss"]
    assert 3 == len(loss)
    assert ["0.5", "NaN", "Infinity"] == [str(row["value"]) for row in loss]
    assert "1970-01-01T00:00:01.500000Z" == loss[0]["timestamp"]
    weights = next(row for row in rows if row["attribute_path"] == "weights")
    assert b"m" * 5000 == (tmp_path / "out" / "files" / path.parent.name / weights["file_path"]).read_bytes()


@pytest.mark.parametrize("format", ["csv", "json"])
def test_numbers_of_text_forms_are_exact(store: Path, tmp_path: Path, format: str) -> None:
    """Long series take another way than short and odd ones, and in pieces; each number reads back as it was."""
    bits = np.random.default_rng(0).integers(0, 2**63, 120_000).view(np.float64)
    values = np.where(np.isfinite(bits), bits, 0.1)
    with naiad.init_run(store=store, project="ws/digits", **QUIET) as run:
        run['a,"b'].extend(values, steps=np.arange(len(values)) / 8, timestamps=1.7e9 + np.arange(len(values)) / 4)
        run["odd"].extend([1e22, float("nan"), 1e-7], steps=[2**60 + 1, 3, 1e13])
    with exported(store, tmp_path / "out", run._id, format=format).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream)) if format == "csv" else [json.loads(line) for line in stream]

    found = [row for row in rows if row["attribute_path"] == 'a,"b']
    assert values.tolist() == [float(row["value"]) for row in found]
    assert (np.arange(len(values)) / 8).tolist() == [float(row["step"]) for row in found]
    assert ["2023-11-14T22:13:20Z", "2023-11-14T22:13:20.250000Z"] == [row["timestamp"] for row in found[:2]]
    odd = [row for row in rows if row["attribute_path"] == "odd"]
    assert [("3", "NaN"), (str(10**13), "1e-07"), (str(2**60 + 1), "1e+22")] == [
        (str(row["step"]), str(row["value"])) for row in odd
    ]


def test_models_are_exported_too(store: Path, tmp_path: Path) -> None:
    with naiad.init_model(project="ws/digits", key="CNN", store=store) as model:
        model["size"] = 3
    with naiad.init_model_version(model=model._id, store=store) as version:
        version["accuracy"] = 0.5
        version.change_stage("staging")
    command = [sys.executable, "-c", "from naiad.cli import main; main()", "--store", str(store)]
    subprocess.run([*command, "export", model._id, version._id, "--to", str(tmp_path / "out")], check=True)

    report = import_runs("neptune-export", tmp_path / "out", store=tmp_path / "other")

    assert report.is_whole
    with naiad.init_model_version(with_id=version._id, store=tmp_path / "other", mode="read-only") as copy:
        assert ("staging", 0.5) == (copy["sys/stage"].fetch(), copy["accuracy"].fetch())


def test_state_of_a_failed_run_is_kept(store: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), naiad.init_run(store=store, project="ws/digits", **QUIET) as run:
        raise RuntimeError
    exported(store, tmp_path / "out", run._id)

    import_runs("neptune-export", tmp_path / "out", store=tmp_path / "other")

    assert contents(store, run._id) == contents(tmp_path / "other", run._id)


def test_export_replaces_an_earlier_one(store: Path, tmp_path: Path, run: naiad.Run) -> None:
    first = exported(store, tmp_path / "out", run._id)
    before = {each.relative_to(tmp_path) for each in (tmp_path / "out").rglob("*")}

    assert first == exported(store, tmp_path / "out", run._id)

    assert before == {each.relative_to(tmp_path) for each in (tmp_path / "out").rglob("*")}


def test_unknown_format_is_refused(store: Path, tmp_path: Path, run: naiad.Run) -> None:
    with pytest.raises(InvalidArgument, match="formats are parquet, csv, json"):
        exported(store, tmp_path / "out", run._id, format="xml")


# Series of many runs


@pytest.fixture
def several(store: Path) -> list[str]:
    names = []
    for number in range(3):
        with naiad.init_run(store=store, project="ws/digits", **QUIET) as run:
            run["lr"] = Float(number)
            run["train/loss"].extend([number + 0.5, number + 0.25], steps=[0, 1], timestamps=[1.0, 2.0])
            run["train/acc"].append(float(number), step=5)
            run["log"].append(f"text {number}", step=1)
            names.append(run._id)
    return names


def fetched(store: Path, *arguments: Any, **options: Any) -> Any:
    with naiad.init_project("ws/digits", store=store, mode="read-only") as project:
        return project.fetch_series(*arguments, **options)


def test_series_of_many_runs_are_one_frame(store: Path, several: list[str]) -> None:
    frame = fetched(store, "train/loss")

    assert ["run", "path", "step", "value", "timestamp"] == list(frame.columns)
    assert [name for name in several for _point in range(2)] == frame["run"].tolist()
    assert [0.5, 0.25, 1.5, 1.25, 2.5, 2.25] == frame["value"].tolist()
    assert 1.0 == frame["timestamp"][0].timestamp()


def test_series_are_chosen_by_patterns_and_runs_by_queries(store: Path, several: list[str]) -> None:
    frame = fetched(store, ["train/*"], runs="lr > 0.5", include_timestamp=False)

    assert several[1:] == list(dict.fromkeys(frame["run"]))
    assert ["train/acc", "train/loss"] == sorted(set(frame["path"]))
    assert several[:1] == list(dict.fromkeys(fetched(store, "train/loss", runs=[several[0]])["run"]))


def test_frames_are_of_arrow_and_polars(store: Path, several: list[str]) -> None:
    pandas, table, frame = (fetched(store, "train/loss", to=to) for to in ("pandas", "arrow", "polars"))

    assert isinstance(table, pyarrow.Table)
    assert isinstance(frame, polars.DataFrame)
    for values in (table["value"].to_pylist(), frame["value"].to_list()):
        assert pandas["value"].tolist() == values
    assert pandas["run"].tolist() == table["run"].to_pylist() == frame["run"].to_list()
    assert pandas["timestamp"].tolist() == table["timestamp"].to_pylist() == frame["timestamp"].to_list()


@pytest.mark.parametrize("to", ["pandas", "arrow", "polars"])
def test_frame_of_nothing_has_its_columns(store: Path, several: list[str], to: str) -> None:
    frame = fetched(store, "no/such", to=to)

    assert 0 == len(frame)


def test_texts_are_fetched_by_themselves(store: Path, several: list[str]) -> None:
    assert ["text 0", "text 1", "text 2"] == fetched(store, "log")["value"].tolist()
    with pytest.raises(InvalidArgument, match="texts, but the others are not"):
        fetched(store, ["train/loss", "log"])
    with pytest.raises(InvalidArgument, match="no library"):
        fetched(store, "log", to="excel")
    with pytest.raises(RunNotFound):
        fetched(store, "log", runs=["DIGITS-99"])


def test_values_are_exact(store: Path) -> None:
    values = np.random.default_rng(0).normal(size=1000)
    with naiad.init_run(store=store, project="ws/digits", **QUIET) as run:
        run["x"].extend(values)

    assert np.array_equal(values, fetched(store, "x", to="arrow")["value"].to_numpy())
