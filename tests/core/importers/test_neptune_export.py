"""Dumps of Neptune's exporter: each trap of its format, on dumps that it wrote and on dumps in its schema."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import naiad
from naiad.errors import ImportRefused, InvalidArgument
from naiad.importers import Report, RunReport, import_runs
from naiad.importers.zips import is_hostile
from naiad.storage.local.integrity.verify import verify_store
from naiad.storage.local.layout import Layout
from naiad.types import Histogram

SAMPLE = Path(__file__).parent / "samples" / "neptune-export"
START = datetime(2025, 1, 1, tzinfo=timezone.utc)
SCHEMA = pa.schema(
    [
        ("project_id", pa.string()),
        ("run_id", pa.string()),
        ("attribute_path", pa.string()),
        ("attribute_type", pa.string()),
        ("step", pa.decimal128(18, 6)),
        ("timestamp", pa.timestamp("ms", "UTC")),
        ("int_value", pa.int64()),
        ("float_value", pa.float64()),
        ("string_value", pa.string()),
        ("bool_value", pa.bool_()),
        ("datetime_value", pa.timestamp("ms", "UTC")),
        ("string_set_value", pa.list_(pa.string())),
        ("file_value", pa.struct([("path", pa.string())])),
        (
            "histogram_value",
            pa.struct([("type", pa.string()), ("edges", pa.list_(pa.float64())), ("values", pa.list_(pa.float64()))]),
        ),
    ]
)
Row = Mapping[str, Any]


def san(text: str) -> str:
    plain = "".join(each if each.isalnum() or each in "_-" else "_" for each in text)
    return f"{plain}-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def row(path: str, kind: str, **values: Any) -> dict[str, Any]:
    return {"attribute_path": path, "attribute_type": kind, **values}


def point(path: str, step: float | str, value: float, at: float = 0.0, kind: str = "float_series") -> dict[str, Any]:
    return row(path, kind, step=Decimal(str(step)), timestamp=START + timedelta(seconds=at), float_value=value)


FACTS = [
    row("sys/id", "string", string_value="SAN-1"),
    row("sys/creation_time", "datetime", datetime_value=START),
]


class Dump:
    """A dump in the exporter's schema."""

    def __init__(self, root: Path, project: str = "ws/digits") -> None:
        self.root, self.project = root, project
        self.folder = root / "data" / san(project)
        self.files = root / "files" / san(project)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.files.mkdir(parents=True, exist_ok=True)

    def write(self, *batches: list[Row], run: str = "SAN-1", part: int = 0, name: str | None = None) -> Path:
        place = self.folder / (name or f"{san(run)}_part_{part}.parquet")
        with pq.ParquetWriter(place, SCHEMA, compression="snappy") as writer:
            for rows in batches:
                full = [{"project_id": self.project, "run_id": run, **each} for each in rows]
                writer.write_table(pa.Table.from_pylist(full, SCHEMA))
        return place


@pytest.fixture
def dump(tmp_path: Path) -> Dump:
    return Dump(tmp_path / "exports")


def imported(path: Path, store: Path, **options: Any) -> Report:
    return import_runs("neptune-export", path, store=store, **options)


def only(report: Report) -> RunReport:
    [run] = report.runs
    return run


def opened(store: Path, name: str) -> naiad.Run:
    return naiad.init_run(with_id=name, store=store, mode="read-only")


def seconds(run: naiad.Run, path: str) -> list[float]:
    return run[path].fetch_values()["timestamp"].map(lambda at: at.timestamp()).tolist()


# The dump that the exporter wrote


def test_everything_of_the_sample_arrives(store: Path) -> None:
    report = imported(SAMPLE, store)

    assert report.is_whole
    assert ["SAN-1", "SAN-2", "SAN-MOD", "SAN-MOD-1"] == sorted(each.id for each in report.runs)
    with opened(store, "SAN-1") as run:
        assert "ana" == run["sys/owner"].fetch()
        assert "custom-1" == run["sys/custom_run_id"].fetch()
        assert "my-org/My Project" == run["sys/project"].fetch()
        assert "2025-01-01T00:00:01.123000+00:00" == run["sys/creation_time"].fetch().isoformat()
        assert {"t1", "best"} == run["sys/tags"].fetch()
        assert 1234.0 == run["sys/import/neptune-export/sys/size"].fetch()
        assert "café 世界" == run["parameters/name"].fetch()
        assert [0.5, 0.75, 1.0] == run["metrics/val/acc"].fetch_values()["step"].tolist()
        assert ["epoch 1", "epoch 2\nx", ""] == run["monitoring/1/stdout"].fetch_values()["value"].tolist()
        assert ("png", "pt") == (run["plots/roc"].fetch_extension(), run["model/weights.pt"].fetch_extension())
        assert [0, 1, 2] == run["preds/img"].fetch_values()["step"].tolist()
        assert [75, 76, 77] == run["preds/img"].fetch_values()["size"].tolist()
        files = run["source_code/files"].list_fileset_files()
        assert ["pkg", "train.py"] == [each.name for each in files]
        assert ["a.csv", "b/c.csv"] == [each.file_path for each in run["datasets/train"].fetch_files_list()]
    with naiad.init_model_version(with_id="SAN-MOD-1", store=store, mode="read-only") as version:
        assert ("production", "SAN-MOD") == (version["sys/stage"].fetch(), version["sys/model_id"].fetch())
        assert b"bin" == version["model/binary"].fetch_content()


def test_local_times_of_2x_are_put_right(store: Path) -> None:
    report = imported(SAMPLE, store)

    with opened(store, "SAN-1") as run:
        assert START.timestamp() == seconds(run, "metrics/train/loss")[0]
    assert any("-05:00" in note and "--source-timezone" in note for note in report.runs[0].notes)


def test_time_zone_that_is_named_overrides_the_inferred_one(store: Path) -> None:
    imported(SAMPLE, store, source_timezone="UTC")

    with opened(store, "SAN-1") as run:
        assert START.timestamp() - 5 * 3600 == seconds(run, "metrics/train/loss")[0]
    again = imported(SAMPLE, store, source_timezone="America/New_York")
    assert {"unchanged"} == {each.status for each in again.runs}
    with pytest.raises(InvalidArgument, match="no time zone"):
        imported(SAMPLE, store, source_timezone="Mars/Base")


def test_daylight_saving_time_of_a_named_zone_counts(store: Path, dump: Dump) -> None:
    summer = (datetime(2025, 7, 1, 12, tzinfo=timezone.utc) - START).total_seconds()
    dump.write(FACTS, [point("loss", 0, 1.0, at=12 * 3600), point("loss", 1, 1.0, at=summer)])

    imported(dump.root, store, source_timezone="Europe/Berlin")

    with opened(store, "SAN-1") as run:
        assert [11, 10] == [datetime.fromtimestamp(at, timezone.utc).hour for at in seconds(run, "loss")]


def test_second_import_changes_nothing(store: Path) -> None:
    imported(SAMPLE, store)
    before = {each: each.read_bytes() for each in sorted((store / "runs").rglob("*")) if each.is_file()}

    report = imported(SAMPLE, store)

    assert {"unchanged"} == {each.status for each in report.runs}
    assert before == {each: each.read_bytes() for each in sorted((store / "runs").rglob("*")) if each.is_file()}


@pytest.mark.parametrize("part", ["", "data", "data/my-org_My_Project-876989e761c8010b"])
def test_part_of_a_dump_may_be_named(store: Path, part: str) -> None:
    report = imported(SAMPLE / part, store)

    assert report.is_whole
    assert 2 == sum(each.container == "run" for each in report.runs)


def test_id_that_is_taken_is_renumbered(store: Path) -> None:
    imported(SAMPLE / "data", store)
    other = store.parent / "other"
    dump = Dump(other, "ws/elsewhere")
    dump.write([row("sys/id", "string", string_value="SAN-1"), row("lr", "float", float_value=0.5)])

    report = only(imported(other, store))

    assert report.is_renumbered
    assert "SAN-1" != report.id
    assert any("SAN-1 is taken" in note for note in report.notes)
    with opened(store, report.id) as run:
        assert "SAN-1" == run["sys/import/neptune-export/sys/id"].fetch()
    with opened(store, "SAN-1") as run:
        assert "my-org/My Project" == run["sys/project"].fetch()


def test_new_runs_of_the_project_go_on_with_its_numbers(store: Path) -> None:
    imported(SAMPLE / "data", store)

    with naiad.init_run(project="my-org/My Project", store=store, git_ref=False, source_files=[]) as run:
        assert "SAN-3" == run["sys/id"].fetch()


# Traps


def test_steps_are_decimals(store: Path, dump: Dump) -> None:
    steps = ["0.000001", "-2.5", "3", "123456789012.5"]
    dump.write(FACTS, [point("loss", step, float(number)) for number, step in enumerate(steps)])

    imported(dump.root, store)

    with opened(store, "SAN-1") as run:
        assert sorted(map(float, steps)) == run["loss"].fetch_values()["step"].tolist()


def test_phantom_rows_make_no_fields(store: Path, dump: Dump) -> None:
    dump.write([*FACTS, row("p/lr", "float"), row("p/name", "string"), row("tags", "string_set"), row("f", "file")])

    report = imported(dump.root, store)

    assert report.is_whole
    assert {"p/lr", "p/name", "tags", "f"} == {each.path for each in only(report).skipped}
    with opened(store, "SAN-1") as run:
        assert not run.exists("p")


def test_nan_and_infinity_are_kept(store: Path, dump: Dump) -> None:
    values = [float("nan"), float("inf"), -float("inf"), -0.0]
    dump.write([*FACTS, row("x", "float", float_value=float("nan"))], [point("l", n, v) for n, v in enumerate(values)])

    report = imported(dump.root, store)

    with opened(store, "SAN-1") as run:
        assert np.array_equal(values, run["l"].fetch_values()["value"], equal_nan=True)
        assert np.isnan(run["x"].fetch())
    assert report.is_whole


def test_unfinished_part_is_not_read_and_said(store: Path, dump: Dump) -> None:
    dump.write(FACTS)
    dump.write([point("loss", 0, 1.0)], name=f"{san('SAN-1')}_part_1.parquet.tmp")
    dump.write(FACTS, run="SAN-2", name=f"{san('SAN-2')}_part_0.parquet.tmp")

    report = imported(dump.root, store)

    assert not report.is_whole
    assert 1 == len(report.runs)
    assert ".tmp" in only(report).skipped[0].reason
    assert "SAN-2" in report.problems[0].where


def test_missing_part_0_and_a_gap_are_losses(store: Path, dump: Dump) -> None:
    dump.write(FACTS, part=1)
    dump.write([point("loss", 0, 1.0)], part=3)

    report = only(imported(dump.root, store))

    assert ["part 0 is missing", "part 2 is missing"] == [each.reason[:17] for each in report.skipped]
    assert 1 == report.kinds["float_series"].imported


def test_part_with_a_long_number_takes_no_memory(store: Path, dump: Dump) -> None:
    dump.write(FACTS)
    dump.write([point("loss", 0, 1.0)], part=10**20)

    report = only(imported(dump.root, store))

    assert [f"part 1 to {10**20 - 1} is missing"] == [each.reason for each in report.skipped]


def test_parts_are_read_in_order(store: Path, dump: Dump) -> None:
    dump.write([*FACTS, point("loss", 0, 1.0)], part=0)
    for part in range(1, 12):
        dump.write([point("loss", part, 1.0)], part=part)

    report = imported(dump.root, store)

    with opened(store, "SAN-1") as run:
        assert list(range(12)) == run["loss"].fetch_values()["step"].tolist()
    assert report.is_whole


def test_failures_of_the_exporter_are_reported(store: Path, dump: Dump) -> None:
    dump.write(FACTS)
    failures = [
        {"project_id": "ws/digits", "run_id": "SAN-1", "attribute_path": "loss", "attribute_type": "float_series"},
        {"project_id": "ws/digits", "run_id": "SAN-9", "attribute_path": "x", "attribute_type": "float"},
    ]
    lines = [json.dumps({**each, "exception": "timed out"}) for each in failures]
    (dump.root / "neptune_exporter_errors.jsonl").write_text("\n".join([*lines, "{damaged"]))

    report = imported(dump.root, store)

    assert not report.is_whole
    assert ("loss", 1) == (only(report).skipped[0].path, only(report).kinds["float_series"].skipped)
    assert any("SAN-9 x" in each.reason for each in report.problems)


def test_3x_runs_have_histograms_and_forks(store: Path, dump: Dump) -> None:
    facts = [
        row("sys/custom_run_id", "string", string_value="child"),
        row("sys/id", "string", string_value="SAN-7"),
        row("sys/creation_time", "datetime", datetime_value=START),
        row("sys/forking/parent", "string", string_value="root"),
        row("sys/forking/step", "int", int_value=3),
    ]
    bins = {"type": "COUNTING", "edges": [0.0, 1.0, 2.0], "values": [5.0, 3.0]}
    share = {"type": "DENSITY", "edges": [0.0, 0.5], "values": [2.0]}
    bad = {"type": "COUNTING", "edges": [1.0, 0.0], "values": [2.0]}
    series = [
        row("grad", "histogram_series", step=Decimal(n), timestamp=START, histogram_value=each)
        for n, each in enumerate((bins, share, bad))
    ]
    early = [point("loss", 4, 0.5, at=-5 * 3600)]  # 3.x writes UTC: this is what was logged
    image = {"path": "child/f/img/step_6_500000.png"}
    images = [
        row("f/img", "file_series", step=Decimal("6.5"), timestamp=START, file_value=image),
        row("f/cfg.yaml", "file", file_value={"path": "child/f/cfg_yaml"}),
    ]
    (dump.files / "child/f/img").mkdir(parents=True)
    (dump.files / "child/f/img/step_6_500000.png").write_bytes(b"png")
    (dump.files / "child/f/cfg_yaml").write_text("a: 1")
    dump.write(facts, series, early, images, run="child")

    report = only(imported(dump.root, store))

    assert ("SAN-7", 1) == (report.id, report.lost)
    with opened(store, "SAN-7") as run:
        assert ("root", 3) == (run["sys/forking/parent"].fetch(), run["sys/forking/step"].fetch())
        kept = run["grad"].fetch_values()["value"].tolist()
        assert [Histogram([0, 1, 2], counts=[5, 3]), Histogram([0, 0.5], densities=[2.0])] == kept
        assert [START.timestamp() - 5 * 3600] == seconds(run, "loss")
        assert [6.5] == run["f/img"].fetch_values()["step"].tolist()
        assert [START.timestamp()] == seconds(run, "f/img")
        assert "yaml" == run["f/cfg.yaml"].fetch_extension()


def test_grown_dump_adds_only_what_is_new(store: Path, dump: Dump) -> None:
    dump.write(FACTS, [point("loss", step, float(step)) for step in range(5)])
    imported(dump.root, store)
    rows = [point("loss", step, float(step)) for step in range(8)]
    dump.write([*FACTS, row("lr", "float", float_value=0.1)], rows)

    report = only(imported(dump.root, store))

    assert ("updated", 3) == (report.status, report.kinds["float_series"].imported)
    with opened(store, "SAN-1") as run:
        assert list(range(8)) == run["loss"].fetch_values()["step"].tolist()


def test_dump_in_another_order_doubles_nothing(store: Path, dump: Dump) -> None:
    dump.write(FACTS, [point("loss", step, float(step)) for step in range(5)])
    imported(dump.root, store)
    dump.write(FACTS, [point("loss", step, float(step)) for step in (7, 2, 4, 0, 1, 3, 6)])

    report = only(imported(dump.root, store))

    assert 2 == report.kinds["float_series"].imported
    with opened(store, "SAN-1") as run:
        assert [0, 1, 2, 3, 4, 6, 7] == run["loss"].fetch_values()["step"].tolist()
    assert "unchanged" == only(imported(dump.root, store)).status


def test_fields_that_alternate_are_told_apart(store: Path, dump: Dump) -> None:
    rows = [point(f"loss/{n % 3}", n // 3, float(n)) for n in range(300)]
    dump.write(FACTS, rows)

    report = only(imported(dump.root, store))

    assert 300 == report.kinds["float_series"].imported
    with opened(store, "SAN-1") as run:
        assert list(range(1, 300, 3)) == run["loss/1"].fetch_values()["value"].tolist()


def test_field_above_a_field_has_another_path(store: Path, dump: Dump) -> None:
    dump.write(FACTS, [point("loss", 0, 1.0)], [point("loss/val", 0, 2.0)])

    report = imported(dump.root, store)

    with opened(store, "SAN-1") as run:
        assert [2.0] == run["loss_val"].fetch_values()["value"].tolist()
    assert any('"loss/val" is stored at "loss_val"' in note for note in only(report).notes)
    assert "unchanged" == only(imported(dump.root, store)).status


def test_folder_is_added_to_a_run_of_a_dump(store: Path, dump: Dump, tmp_path: Path) -> None:
    uuid = "07477900-8541-4b44-98f6-be6ff4fd871d"
    folder = tmp_path / ".neptune" / "async" / f"run__{uuid}__1__abcdefgh"
    folder.mkdir(parents=True)
    at = START.timestamp()
    ops = [
        {"type": "LogFloats", "path": ["loss"], "values": [{"value": float(n), "step": None, "ts": at + n}]}
        for n in range(6)
    ]
    text = "".join(json.dumps({"obj": each, "version": n, "at": at + n}) + "\n" for n, each in enumerate(ops, 1))
    (folder / "data-1.log").write_text(text)
    dump.write(FACTS, [point("loss", step, float(step), at=step) for step in range(4)])
    imported(dump.root, store)

    import_runs("neptune-offline", tmp_path, store=store, into="SAN-1")

    with opened(store, "SAN-1") as run:
        assert list(range(6)) == run["loss"].fetch_values()["step"].tolist()


# Bad input


@pytest.mark.parametrize(
    "name", ["../secret.txt", "..\\..\\secret.txt", "/etc/hostname", "C:\\x", "C:/x", "a/../../secret.txt", "link"]
)
def test_names_that_lead_out_are_refused(store: Path, dump: Dump, name: str) -> None:
    (dump.files.parent / "secret.txt").write_text("secret")
    (dump.files / "link").symlink_to(dump.files.parent / "secret.txt")
    rows = [row("f", "file", file_value={"path": name}), row("s", "file_set", file_value={"path": name})]
    dump.write([*FACTS, *rows, row("lr", "float", float_value=0.1)])

    report = only(imported(dump.root, store))

    assert 2 == report.lost
    assert all("parquet, row group 0" in each.where for each in report.skipped)
    with opened(store, "SAN-1") as run:
        assert not run.exists("f")
        assert 0.1 == run["lr"].fetch()


def test_archive_with_hostile_names_gives_its_other_files(store: Path, dump: Dump, tmp_path: Path) -> None:
    (dump.files / "s").mkdir()
    with zipfile.ZipFile(dump.files / "s" / "files.zip", "w") as archive:
        for name in ("good.txt", "../evil.txt", "/evil.txt", "..\\evil.txt", "C:\\evil.txt", "d/"):
            archive.writestr(name, name)
    dump.write([*FACTS, row("s", "file_set", file_value={"path": "s"})])

    report = only(imported(dump.root, store))

    assert 4 == report.lost
    with opened(store, "SAN-1") as run:
        assert ["good.txt"] == [each.name for each in run["s"].list_fileset_files()]
    assert [] == [*tmp_path.rglob("evil.txt")]


def test_links_and_pipes_of_a_dump_are_not_read(store: Path, dump: Dump, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "secret.zip", "w") as archive:
        archive.writestr("secret.txt", "mine")
    for name in ("link", "pipe", "list"):
        (dump.files / name).mkdir()
    (dump.files / "link" / "files.zip").symlink_to(tmp_path / "secret.zip")
    os.mkfifo(dump.files / "pipe" / "files.zip")
    os.mkfifo(dump.files / "list" / "files_list.json")
    kinds = {"link": ("file_set", "link"), "pipe": ("file_set", "pipe"), "list": ("artifact", "list/files_list.json")}
    dump.write([*FACTS, *(row(path, kind, file_value={"path": at}) for path, (kind, at) in kinds.items())])

    report = imported(dump.root, store)

    assert [*kinds] == [each.path for each in only(report).skipped]
    with opened(store, "SAN-1") as run:
        assert not any(run.exists(path) for path in kinds)


def test_bomb_is_not_unpacked(store: Path, dump: Dump) -> None:
    (dump.files / "s").mkdir()
    with zipfile.ZipFile(dump.files / "s" / "files.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(9):
            with archive.open(str(number), "w", force_zip64=True) as stream:
                for _piece in range(32):
                    stream.write(bytes(1 << 20))
    dump.write([*FACTS, row("s", "file_set", file_value={"path": "s"})])

    report = only(imported(dump.root, store))

    assert "more than is taken" in report.skipped[0].reason
    assert 9 == report.lost


def test_archive_that_lies_about_its_sizes_is_stopped(store: Path, dump: Dump) -> None:
    (dump.files / "s").mkdir()
    place = dump.files / "s" / "files.zip"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big", bytes(3 << 20))
    data = place.read_bytes()
    place.write_bytes(data.replace((3 << 20).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    dump.write([*FACTS, row("s", "file_set", file_value={"path": "s"})])

    assert 1 == only(imported(dump.root, store)).lost


def test_damaged_parquet_costs_only_its_run(store: Path, dump: Dump) -> None:
    dump.write(FACTS)
    (dump.folder / f"{san('SAN-2')}_part_0.parquet").write_bytes(b"PAR1 garbage PAR1")
    (dump.folder / f"{san('SAN-3')}_part_0.parquet").write_bytes(b"")

    report = imported(dump.root, store)

    assert ["new", "failed", "failed"] == sorted((each.status for each in report.runs), reverse=True)
    assert all("SAN-" in each.error and "damaged" in each.error for each in report.runs if each.status == "failed")


def test_damaged_row_group_costs_only_its_rows(store: Path, dump: Dump) -> None:
    place = dump.write(
        FACTS, [point("a", n, float(n)) for n in range(500)], [point("b", n, float(n)) for n in range(500)]
    )
    meta = pq.ParquetFile(place).metadata.row_group(1)
    column = meta.column(7)
    data = bytearray(place.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    place.write_bytes(data)

    report = only(imported(dump.root, store))

    assert any("row group 1" in each.where for each in report.skipped)
    with opened(store, "SAN-1") as run:
        assert 500 == len(run["b"].fetch_values())


def test_damaged_json_and_missing_files_are_reported(store: Path, dump: Dump) -> None:
    (dump.files / "a").mkdir()
    (dump.files / "a" / "files_list.json").write_text("[{")
    rows = [
        row("a", "artifact", file_value={"path": "a/files_list.json"}),
        row("b", "artifact", file_value={"path": "b/files_list.json"}),
        row("c", "file", file_value={"path": "c"}),
        row("d", "file_set", file_value={"path": "d"}),
        row("e", "frobnicate", string_value="x"),
    ]
    dump.write([*FACTS, *rows])

    report = only(imported(dump.root, store))

    assert {"a", "b", "c", "d", "e"} == {each.path for each in report.skipped}
    assert 5 == report.lost


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("attribute_path", pa.array([b"sys/id", b"a", b"b"])),
        ("float_value", pa.array([None, "0.5", "0.6"])),
        ("bool_value", pa.array([None, None, 1], pa.int8())),
        ("string_value", pa.array([1, 2, 3])),
        ("timestamp", pa.array(["now"] * 3)),
        ("file_value", pa.array(["a"] * 3)),
        ("string_set_value", pa.array(["a"] * 3)),
    ],
)
def test_column_of_another_type_costs_only_its_run(store: Path, dump: Dump, column: str, values: Any) -> None:
    place = dump.write([FACTS[0], row("a", "float", float_value=0.5), row("b", "bool", bool_value=True)])
    table = pq.read_table(place)
    pq.write_table(table.set_column(table.column_names.index(column), column, values), place)
    dump.write([row("a", "float", float_value=0.7)], run="SAN-2")

    report = imported(dump.root, store)

    assert {"failed", "new"} == {run.status for run in report.runs}
    assert f"the column {column} is of type" in next(run.error for run in report.runs if run.error)
    with opened(store, "SAN-2") as run:
        assert 0.7 == run["a"].fetch()


def test_columns_of_other_tools_are_read(store: Path, dump: Dump) -> None:
    place = dump.write([*FACTS, row("a", "float", float_value=0.5), point("m", "1.5", 2.0)])
    table = pq.read_table(place)
    columns = {name: table[name] for name in table.column_names}
    for name in ("attribute_path", "attribute_type", "string_value"):
        columns[name] = columns[name].cast(pa.large_string())
    columns |= {"step": columns["step"].cast(pa.float64()), "bool_value": pa.nulls(len(table)), "more": table["run_id"]}
    pq.write_table(pa.table(columns), place)

    assert imported(dump.root, store).is_whole
    with opened(store, "SAN-1") as run:
        assert (0.5, [1.5]) == (run["a"].fetch(), run["m"].fetch_values()["step"].tolist())


def test_fields_of_sys_that_are_none_of_naiads_are_kept_below_the_import(store: Path, dump: Dump) -> None:
    rows = [
        *FACTS,
        row("sys/name", "int", int_value=4),
        row("sys/failed", "string", string_value="no"),
        row("sys/custom_run_id", "float", float_value=0.5),
        row("sys/id/more", "int", int_value=5),
        *(point("sys/tags", step, step) for step in range(3)),
    ]
    dump.write(rows)

    report = imported(dump.root, store)

    assert report.is_whole
    with opened(store, "SAN-1") as run:
        assert {"name": 4, "failed": "no", "custom_run_id": 0.5} == {
            name: run[f"sys/import/neptune-export/sys/{name}"].fetch() for name in ("name", "failed", "custom_run_id")
        }
        assert (5, 3) == (run["sys/id_more"].fetch(), len(run["sys/import/neptune-export/sys/tags"].fetch_values()))
        assert (False, set()) == (run["sys/failed"].fetch(), run["sys/tags"].fetch())
    assert {"unchanged"} == {run.status for run in imported(dump.root, store).runs}


def test_ids_with_several_keys_in_one_project_are_no_damage(store: Path, dump: Dump) -> None:
    for name in ("SAN-1", "RESNET-7", "vit-3"):
        dump.write([row("sys/custom_run_id", "string", string_value=name), row("a", "int", int_value=1)], run=name)

    report = imported(dump.root, store)

    assert {"SAN-1", "RESNET-7", "vit-3"} == {run.id for run in report.runs}
    assert [] == [each for damages in verify_store(Layout(store)).values() for each in damages]
    (store / "keys" / "RESNET").unlink(missing_ok=True)
    (store / "keys" / "SAN").unlink(missing_ok=True)
    assert {"keys/RESNET", "keys/SAN", "keys/vit"} == {
        each.file for damages in verify_store(Layout(store)).values() for each in damages
    }


def test_artifact_with_impossible_sizes_costs_no_run(store: Path, dump: Dump) -> None:
    sizes = {"infinite": "1e400", "long": "1" + "0" * 40, "negative": "-1"}
    for name, size in sizes.items():
        (dump.files / name).mkdir()
        text = '[{"filePath": "a", "fileHash": "00", "type": "Local", "size": SIZE, "metadata": []}]'
        (dump.files / name / "files_list.json").write_text(text.replace("SIZE", size))
    dump.write([*FACTS, *(row(each, "artifact", file_value={"path": f"{each}/files_list.json"}) for each in sizes)])

    assert [*sizes] == [each.path for each in only(imported(dump.root, store)).skipped]


def test_paths_that_would_become_one_are_told_apart(store: Path, dump: Dump) -> None:
    paths = ("", "/", "a//b", "/a/b", "a/b", "..", "__")
    dump.write([*FACTS, *(row(path, "int", int_value=number) for number, path in enumerate(paths))])

    report = imported(dump.root, store)

    assert report.is_whole
    with opened(store, "SAN-1") as run:
        found = {path: run[path].fetch() for path in ("_", "__", "a/b", "a/b_", "a/b__", "___", "____")}
    assert [*range(len(paths))] == sorted(found.values())
    assert {"unchanged"} == {run.status for run in imported(dump.root, store).runs}


def test_rows_of_another_run_are_not_mixed_in(store: Path, dump: Dump) -> None:
    other = {"run_id": "SAN-2", **row("lr", "float", float_value=0.1)}
    dump.write([*FACTS, other])

    report = only(imported(dump.root, store))

    assert 1 == report.lost
    with opened(store, "SAN-1") as run:
        assert not run.exists("lr")


def test_rows_without_a_path_are_reported(store: Path, dump: Dump) -> None:
    """A row group of which no row has a path costs its own rows only."""
    nameless = [{**point("loss", step, 0.5), "attribute_path": None} for step in range(3)]
    dump.write([*FACTS, point("loss", 0, 0.25)], nameless)

    report = only(imported(dump.root, store))

    assert [("rows without a path or a type", 3)] == [(each.reason, each.count) for each in report.skipped]
    assert [0.25] == opened(store, "SAN-1")["loss"].fetch_values()["value"].tolist()


def test_part_whose_rows_have_no_run_gives_nothing(store: Path, dump: Dump) -> None:
    """Rows of no run are not taken for those of the run whose file they stand in."""
    dump.write([*FACTS, point("loss", 0, 0.25)])
    stray = [{**point("loss", step, 0.5), "run_id": None} for step in range(1, 4)]
    dump.write(stray, part=1)

    report = only(imported(dump.root, store))

    assert [3] == [each.count for each in report.skipped if "another run" in each.reason]
    assert [0.25] == opened(store, "SAN-1")["loss"].fetch_values()["value"].tolist()


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("text", [b"SAN-1", b"loss"])
def test_damaged_statistics_cost_no_rows(store: Path, dump: Dump, part: int, text: bytes) -> None:
    """Texts in a footer that cannot be decoded describe nothing; the rows are whole."""
    paths = [
        dump.write(FACTS, [point("loss", 0, 0.25)]),
        dump.write([point("loss", step, 0.5) for step in range(1, 4)], part=1),
    ]
    content = paths[part].read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    assert text in content[footer:]
    paths[part].write_bytes(content[:footer] + content[footer:].replace(text, b"\xff" * len(text)))

    report = only(imported(dump.root, store))

    assert report.is_whole, report
    assert [0.25, 0.5, 0.5, 0.5] == opened(store, "SAN-1")["loss"].fetch_values()["value"].tolist()


@pytest.mark.parametrize("moment", [-(2**52), 2**52])
def test_moment_of_no_calendar_fails_no_run(store: Path, dump: Dump, moment: int) -> None:
    """The earliest time, by which the zone is inferred, may be before the year 1 or after 9999."""
    dump.write([*FACTS, point("loss", 0, 0.25)], [{**point("wild", 0, 0.5), "timestamp": moment}])

    report = only(imported(dump.root, store))

    assert ("new", "") == (report.status, report.error)
    assert [0.25] == opened(store, "SAN-1")["loss"].fetch_values()["value"].tolist()


def test_dump_is_imported_without_pandas(store: Path, dump: Dump) -> None:
    """It takes each worker half a second and 40 MiB; neither times nor fields that alternate need it."""
    dump.write(FACTS, [point(path, step, 0.5) for step in range(20) for path in ("a", "b")])
    program = "import sys; from naiad.importers import import_runs; import_runs(*sys.argv[1:3], store=sys.argv[3])"
    program += "; assert 'pandas' not in sys.modules"

    for root, place in ((SAMPLE, dump.root / "store"), (dump.root, store)):
        subprocess.run([sys.executable, "-c", program, "neptune-export", root, place], check=True)

    assert [0.5] * 20 == opened(store, "SAN-1")["b"].fetch_values()["value"].tolist()


def test_place_without_a_dump_is_refused(store: Path, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"x")
    for place in (tmp_path, tmp_path / "x.parquet"):
        with pytest.raises(ImportRefused, match="dump"):
            imported(place, store)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b.txt", False),
        ("..", True),
        ("a/..\\b", True),
        ("\\\\host\\x", True),
        ("d:x", True),
        ("a:b/c", True),
        ("ab:c", False),
    ],
)
def test_hostile_names(name: str, expected: bool) -> None:
    assert expected is is_hostile(name)


def test_several_processes_read_a_dump(store: Path, dump: Dump) -> None:
    for number in range(1, 7):
        facts = [row("sys/id", "string", string_value=f"SAN-{number}"), FACTS[1]]
        dump.write(facts, [point("loss", step, float(step)) for step in range(100)], run=f"SAN-{number}")

    report = imported(dump.root, store, workers=2)

    assert report.is_whole
    assert [f"SAN-{number}" for number in range(1, 7)] == sorted(each.id for each in report.runs)


PROGRAM = """
import sys
from naiad.importers import import_runs
source, store, workers = sys.argv[1:]
report = import_runs("neptune-export", source, store=store, workers=int(workers), progress_bar=False)
print(*sorted(each.status for each in report.runs))
"""


def started(dump: Dump, store: Path, workers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(dump.root), str(store), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def write_runs(dump: Dump, count: int) -> None:
    for number in range(1, count + 1):
        facts = [row("sys/id", "string", string_value=f"SAN-{number}"), FACTS[1]]
        dump.write(facts, [point("loss", step, step / number) for step in range(2_000)], run=f"SAN-{number}")


def are_whole(store: Path, count: int) -> bool:
    found = []
    for number in range(1, count + 1):
        with opened(store, f"SAN-{number}") as run:
            values = run["loss"].fetch_values()
            found.append([*values["value"]] == [step / number for step in range(2_000)])
    return all(found) and count == len(list((store / "runs").iterdir()))


def test_two_imports_of_a_dump_at_once_make_each_run_once(store: Path, dump: Dump) -> None:
    write_runs(dump, 4)
    processes = [started(dump, store, 1) for _number in range(2)]

    answers = [process.communicate(timeout=100)[0].split() for process in processes]

    assert [*["new"] * 4, *["unchanged"] * 4] == sorted([*answers[0], *answers[1]])
    assert are_whole(store, 4)


def test_killed_import_of_a_dump_is_gone_on_with(store: Path, dump: Dump) -> None:
    write_runs(dump, 4)
    process = started(dump, store, 2)  # whose workers go on for a moment
    until = time.monotonic() + 60
    while time.monotonic() < until and not list(store.glob("runs/*/journal/*.seg")):
        time.sleep(0.002)
    process.kill()
    process.communicate()

    report = imported(dump.root, store)

    assert report.is_whole
    assert are_whole(store, 4)
    assert {"unchanged"} == {each.status for each in imported(dump.root, store).runs}


def test_source_is_not_changed(store: Path, tmp_path: Path) -> None:
    place = tmp_path / "copy"
    shutil.copytree(SAMPLE, place)
    before = {each: (each.stat().st_mtime_ns, each.read_bytes()) for each in place.rglob("*") if each.is_file()}
    for folder, _folders, _names in os.walk(place):
        os.chmod(folder, 0o555)

    imported(place, store)

    assert before == {each: (each.stat().st_mtime_ns, each.read_bytes()) for each in place.rglob("*") if each.is_file()}
    for folder, _folders, _names in os.walk(place):
        os.chmod(folder, 0o755)
