"""Folders of Neptune's client: each trap of its format, on a folder that it wrote and on folders written by hand."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neptune_queue import NAIAD, OTHER, START, UUID, floats, imported, lines, only, op, opened, queue

import naiad
from naiad.errors import ImportRefused, InvalidArgument

SAMPLES = Path(__file__).parent / "samples"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40


def contents(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in sorted(folder.rglob("*")) if each.is_file()}


# The folder that the client wrote


def test_every_operation_of_the_sample_arrives(store: Path) -> None:
    report = only(imported(SAMPLES / "dot-neptune", store))

    with opened(store, report) as run:
        assert "sample" == run["sys/name"].fetch()
        assert "desc" == run["sys/description"].fetch()
        assert {"t2", "t3"} == run["sys/tags"].fetch()
        assert {"g"} == run["sys/group_tags"].fetch()
        assert {"float": 0.5, "int": 3, "bool": True, "str": "héllo", "copy": 0.5} == {
            key: value for key, value in run["p"].fetch().items() if not key.startswith("dt")
        }
        assert 1_714_979_289.123 == run["p/dt"].fetch().timestamp()
        loss = run["m/loss"].fetch_values()
        assert [0, 3] == loss["step"].tolist()
        assert [1.0, 0.5] == loss["value"].tolist()
        assert [1, 2, 3] == run["m/acc"].fetch_values()["step"].tolist()
        assert ["line one", "two", "three"] == run["log"].fetch_values()["value"].tolist()
        assert "bin2" == run["file/stream"].fetch_extension()
        assert "png" == run["img/series"].fetch_values()["extension"].tolist()[0]
        assert "a" * 64 == run["art2"].fetch_hash()
        assert not run.exists("gone")
        assert set() == run["other/set"].fetch()
        assert 0 == len(run["monitoring/551ef6ee/cpu"].fetch_values())
    assert report.checks.are_equal
    assert report.checks.source == report.checks.store


def test_facts_of_the_client_stand_in_a_namespace_of_their_own(store: Path) -> None:
    report = only(imported(SAMPLES / "dot-neptune", store))

    with opened(store, report) as run:
        facts = run["sys/import/neptune-offline"].fetch()
    assert f"neptune:run:{UUID}" == facts["identity"]
    assert "1.14.0.post2" == facts["client"]["neptuneClientVersion"]


def test_files_that_were_never_copied_are_reported_as_lost(store: Path) -> None:
    report = imported(SAMPLES / "dot-neptune", store)

    assert not report.is_whole
    assert {"file/path", "source_code/files", "fileset", "fileset2", "art"} == {
        each.path for each in only(report).skipped if each.is_loss
    }


def test_the_source_is_not_changed(store: Path) -> None:
    before = contents(SAMPLES / "dot-neptune")

    imported(SAMPLES / "dot-neptune", store)

    assert before == contents(SAMPLES / "dot-neptune")


@pytest.mark.parametrize("part", ["", "offline", f"offline/run__{UUID}__732__hgbbd9n2"])
def test_any_part_of_the_folder_may_be_named(store: Path, part: str) -> None:
    assert f"neptune:run:{UUID}" == only(imported(SAMPLES / "dot-neptune" / part, store)).identity


# The log


def test_torn_last_record_is_left_out_and_no_loss(store: Path, tmp_path: Path) -> None:
    folder = queue(tmp_path, [floats("loss", 0.5)])
    with (folder / "data-1.log").open("a") as log:
        log.write('{"obj": {"type": "LogFloats", "path": ["lo')

    report = imported(tmp_path / ".neptune", store)

    assert report.is_whole
    assert any("torn" in note for note in only(report).notes)
    assert 1 == only(report).kinds["float_series"].imported


def test_damaged_record_in_the_middle_is_lost_and_the_others_arrive(store: Path, tmp_path: Path) -> None:
    folder = queue(tmp_path, [floats("loss", 0.5)])
    (folder / "data-1.log").write_text(
        lines([floats("loss", 0.5)]) + '{"obj": {"type": "LogFl\n' + lines([floats("loss", 0.25)], first=3)
    )

    report = imported(tmp_path, store)

    assert not report.is_whole
    assert 2 == only(report).kinds["float_series"].imported
    assert any("data-1.log at byte" in each.where for each in only(report).skipped)


def test_records_need_no_newlines(store: Path, tmp_path: Path) -> None:
    queue(tmp_path, [floats("loss", 0.5), op("AssignInt", "n", value=3), floats("loss", 0.25)], end="")

    report = only(imported(tmp_path, store))

    assert 2 == report.kinds["float_series"].imported
    assert 1 == report.kinds["int"].imported


def test_step_that_is_not_a_number_is_numbered(store: Path, tmp_path: Path) -> None:
    queue(tmp_path, [floats("loss", 0.5, step=float("nan")), floats("loss", 0.25, step=float("nan"))])

    report = only(imported(tmp_path, store))

    with opened(store, report) as run:
        assert [0, 1] == run["loss"].fetch_values()["step"].tolist()
    assert any("NaN" in note for note in report.notes)


def test_points_without_a_step_follow_the_one_before(store: Path, tmp_path: Path) -> None:
    queue(tmp_path, [floats("loss", 1.0, step=7), floats("loss", 2.0, 3.0), floats("loss", 4.0, step=2.5)])

    report = only(imported(tmp_path, store))

    with opened(store, report) as run:
        assert [2.5, 7, 8, 9] == run["loss"].fetch_values()["step"].tolist()


def test_acknowledged_records_are_imported_too(store: Path, tmp_path: Path) -> None:
    queue(tmp_path, [floats("loss", 0.5), floats("loss", 0.25)], mode="async", ack=1)

    assert 2 == only(imported(tmp_path, store)).kinds["float_series"].imported


@pytest.mark.parametrize("mode", ["offline", "async", "sync"])
def test_folder_of_each_mode_is_read(store: Path, tmp_path: Path, mode: str) -> None:
    queue(tmp_path, [floats("loss", 0.5)], mode=mode)

    assert 1 == only(imported(tmp_path, store)).kinds["float_series"].imported


def test_deleted_logs_are_a_gap(store: Path, tmp_path: Path) -> None:
    folder = queue(tmp_path, [floats("loss", 0.5)], mode="async", ack=40)
    (folder / "data-1.log").unlink()
    (folder / "data-41.log").write_text(lines([floats("loss", 0.25)], first=41))
    (folder / "last_put_version").write_text("41")

    report = imported(tmp_path, store)

    assert not report.is_whole
    [gap] = only(report).skipped
    assert (40, "operations 1 to 40 are missing") == (gap.count, gap.reason[:30])


def test_gap_between_files_and_at_the_end_is_seen(store: Path, tmp_path: Path) -> None:
    folder = queue(tmp_path, [floats("loss", 0.5)])
    (folder / "data-4.log").write_text(lines([floats("loss", 0.25)], first=4))
    (folder / "last_put_version").write_text("6")

    found = [(each.count, each.reason) for each in only(imported(tmp_path, store)).skipped]

    assert [2, 2] == [count for count, _reason in found]


def test_folders_of_one_run_are_one_run(store: Path, tmp_path: Path) -> None:
    queue(tmp_path, [floats("loss", 1.0, 2.0), op("AssignInt", "n", value=1)], name="1__aaaaaaaa")
    later = START + 100
    second = [floats("loss", 3.0, ts=later), op("AssignInt", "n", value=2)]
    queue(tmp_path, second, name="2__bbbbbbbb", created="2023-11-14T22:15:00+00:00", at=later)

    report = only(imported(tmp_path, store))

    with opened(store, report) as run:
        assert [0, 1, 2] == run["loss"].fetch_values()["step"].tolist()
        assert 2 == run["n"].fetch()


@pytest.mark.parametrize(
    "place",
    [
        f"async/{UUID}/exec-1700000000.1-2023-11-14",
        f"async/run__{UUID}/exec-1700000000.1-2023-11-14",
        f"async/run__{UUID}__732__hgbbd9n2__x",
        f"offline/{UUID}",
        f"offline/run__{UUID}",
    ],
)
def test_older_layouts_are_read(store: Path, tmp_path: Path, place: str) -> None:
    folder = tmp_path / ".neptune" / place
    folder.mkdir(parents=True)
    (folder / "data-1.log").write_text(
        "".join(json.dumps({"obj": floats("loss", 0.5), "version": n}) + "\n" for n in (1, 2))
    )

    report = only(imported(tmp_path, store))

    assert f"neptune:run:{UUID}" == report.identity
    assert 2 == report.kinds["float_series"].imported


def test_reset_of_a_file_set_is_a_text(store: Path, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    ops = [
        op("UploadFileSet", "set", file_globs=[str(tmp_path / "a.txt")], reset="False"),
        op("UploadFileSet", "set", file_globs=[str(tmp_path / "b.txt")], reset="True"),
        op("UploadFileSet", "both", file_globs=[str(tmp_path / "a.txt")], reset="False"),
        op("UploadFileSet", "both", file_globs=[str(tmp_path / "b.txt")], reset="False"),
        op("DeleteFiles", "both", file_paths=["a.txt"]),
    ]
    queue(tmp_path, ops)

    report = imported(tmp_path, store)

    with opened(store, only(report)) as run:
        assert ["b.txt"] == [each.name for each in run["set"].list_fileset_files()]
        assert ["b.txt"] == [each.name for each in run["both"].list_fileset_files()]
    assert report.is_whole


def test_what_was_cleared_and_deleted_is_not_there(store: Path, tmp_path: Path) -> None:
    ops = [
        floats("loss", 1.0),
        op("ClearFloatLog", "loss"),
        floats("loss", 2.0),
        op("AssignInt", "kind", value=1),
        op("DeleteAttribute", "kind"),
        floats("kind", 5.0),
        op("AddStrings", "sys/tags", values=["a", "b"]),
        op("RemoveStrings", "sys/tags", values=["a"]),
        op("ConfigFloatSeries", "loss", min=None, max=1.0, unit="%"),
    ]
    queue(tmp_path, ops)

    report = only(imported(tmp_path, store))

    with opened(store, report) as run:
        assert [2.0] == run["loss"].fetch_values()["value"].tolist()
        assert [5.0] == run["kind"].fetch_values()["value"].tolist()
        assert {"b"} == run["sys/tags"].fetch()


def test_uploads_keep_extension_and_content(store: Path, tmp_path: Path) -> None:
    folder = queue(tmp_path, [])
    (folder / "upload_path" / "f-1.bin").write_bytes(b"weights")
    (tmp_path / "here.csv").write_text("a,b")
    ops = [
        op("UploadFile", "f", ext="pt", file_path=None, tmp_file_name="f-1.bin", clean_after_upload=True),
        op("UploadFile", "here", ext="csv", file_path=str(tmp_path / "here.csv"), tmp_file_name=None),
        op("UploadFileContent", "old", ext="txt", file_content=base64.b64encode(b"old").decode()),
    ]
    (folder / "data-1.log").write_text(lines(ops))
    (folder / "last_put_version").write_text("3")

    report = imported(tmp_path, store)

    with opened(store, only(report)) as run:
        assert ("pt", b"weights") == (run["f"].fetch_extension(), run["f"].fetch_content())
        assert b"a,b" == run["here"].fetch_content()
        assert b"old" == run["old"].fetch_content()
    assert report.is_whole


def test_images_are_decoded_and_their_formats_recognised(store: Path, tmp_path: Path) -> None:
    data = base64.b64encode(PNG).decode()
    values = [
        {"value": {"data": data, "name": "first", "description": "d"}, "step": 3, "ts": START},
        {"value": data, "step": 4, "ts": START},  # as old clients wrote it
        {"value": {"data": "", "name": None, "description": None}, "step": 5, "ts": START},
    ]
    queue(tmp_path, [op("LogImages", "img", values=values)])

    report = imported(tmp_path, store)

    with opened(store, only(report)) as run:
        frame = run["img"].fetch_values()
    assert [3, 4] == frame["step"].tolist()
    assert ["png", "png"] == frame["extension"].tolist()
    assert "first" == frame["name"][0]
    assert not report.is_whole
    assert "32 MiB" in only(report).skipped[0].reason


@pytest.mark.parametrize("name", ["../../secret.txt", "..\\..\\secret.txt", "/etc/hostname", "link.txt"])
def test_copied_files_are_taken_from_their_folder_only(store: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    folder = queue(tmp_path, [op("UploadFile", "f", ext="txt", file_path=None, tmp_file_name=name)])
    (folder / "upload_path" / "link.txt").symlink_to(tmp_path / "secret.txt")

    report = imported(tmp_path, store)

    assert not report.is_whole
    with opened(store, only(report)) as run:
        assert not run.exists("f")


def test_values_are_copied_within_and_between_containers(store: Path, tmp_path: Path) -> None:
    def copy(path: str, uuid: str) -> dict[str, Any]:
        facts = {"container_id": uuid, "container_type": "run", "source_path": ["lr"], "source_attr_name": "Float"}
        return op("CopyAttribute", path, **facts)

    queue(tmp_path, [op("AssignFloat", "lr", value=0.5)], uuid=OTHER)
    ops = [op("AssignFloat", "lr", value=0.1), copy("own", UUID), copy("its", OTHER), copy("no", "x" * 36)]
    queue(tmp_path, ops)

    report = imported(tmp_path, store)

    run = next(each for each in report.runs if UUID in each.identity)
    with opened(store, run) as found:
        assert {"lr": 0.1, "own": 0.1, "its": 0.5} == {key: found[key].fetch() for key in ("lr", "own", "its")}
        assert not found.exists("no")
    assert 1 == run.lost


def test_tracked_files_are_looked_up_beside_the_folder(store: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("1")
    entries = [["data", None], ["data/a.csv", "dest"]]
    queue(tmp_path, [op("TrackFilesToArtifact", "art", entries=entries, project_id=OTHER)])

    report = imported(tmp_path, store)

    with opened(store, only(report)) as run:
        assert ["a.csv", "dest/a.csv"] == [each.file_path for each in run["art"].fetch_files_list()]
    assert report.is_whole


def test_operation_that_does_not_fit_is_reported(store: Path, tmp_path: Path) -> None:
    ops = [
        op("AssignInt", "n", value=1),
        floats("n", 0.5),
        op("AssignInt", "big", value=1 << 70),
        op("Frobnicate", "x"),
        {"type": "LogFloats", "path": ["loss"], "values": [{"value": "high", "step": 1, "ts": START}]},
        op("AssignDatetime", "at", value=START * 1000),
    ]
    queue(tmp_path, ops)

    report = only(imported(tmp_path, store))

    assert {"n", "big", "x", "loss"} == {each.path for each in report.skipped}
    with opened(store, report) as run:
        assert START == run["at"].fetch().timestamp()


def test_bytes_that_are_no_log_raise_nothing(store: Path, tmp_path: Path) -> None:
    folder = queue(tmp_path, [floats("loss", 0.5)])
    garbage = b"\xff\0garbage" * 100 + b"[" * 5000
    (folder / "data-1.log").write_bytes(garbage + b'\n{"obj": 3}\n{"version": 1}\n')

    report = imported(tmp_path, store)

    assert not report.is_whole
    assert [] != only(report).skipped


def test_containers_of_other_kinds_are_imported(store: Path, tmp_path: Path) -> None:
    for number, kind in enumerate(("model", "model_version", "project")):
        queue(tmp_path, [op("AssignFloat", "x", value=1.0)], kind=kind, uuid=f"{UUID[:-1]}{number}", mode="async")

    report = imported(tmp_path, store, project="ws/digits")

    assert ["model", "model_version", "project"] == sorted(each.container for each in report.runs)
    assert report.is_whole
    with naiad.init_project("ws/digits", store=store, mode="read-only") as project:
        assert 1.0 == project["x"].fetch()
    again = imported(tmp_path, store, project="ws/digits")
    assert {"unchanged"} == {each.status for each in again.runs}


def test_metadata_may_be_missing_or_damaged(store: Path, tmp_path: Path) -> None:
    folder = queue(tmp_path, [floats("loss", 0.5)])
    (folder / "metadata.json").write_text("{")

    assert f"neptune:run:{UUID}" == only(imported(tmp_path, store)).identity


def test_place_without_such_data_is_refused(store: Path, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(ImportRefused, match="no folder with a file data"):
        imported(tmp_path, store)
    with pytest.raises(ImportRefused, match="nothing at"):
        imported(tmp_path / "no", store)
    assert not store.exists()


# Once more


def test_second_import_changes_nothing(store: Path) -> None:
    first = only(imported(SAMPLES / "dot-neptune", store))
    before = contents(store / "runs")

    second = only(imported(SAMPLES / "dot-neptune", store))

    assert (first.id, "unchanged") == (second.id, second.status)
    assert before == contents(store / "runs")
    assert 0 == sum(each.imported for each in second.kinds.values())


def test_grown_source_adds_only_what_is_new(store: Path, tmp_path: Path) -> None:
    folder = queue(tmp_path, [floats("loss", 1.0, 2.0), op("AssignInt", "n", value=1)])
    imported(tmp_path, store)
    more = [
        floats("loss", 3.0),
        floats("acc", 0.5),
        op("AssignInt", "n", value=2),
        op("AddStrings", "sys/tags", values=["x"]),
    ]
    with (folder / "data-1.log").open("a") as log:
        log.write(lines(more, first=3))
    (folder / "last_put_version").write_text("6")

    report = only(imported(tmp_path, store))

    assert "updated" == report.status
    assert (3, 2, 2) == (report.kinds["float_series"].imported + 1, *[report.kinds["float_series"].imported] * 2)
    with opened(store, report) as run:
        frame = run["loss"].fetch_values()
        assert [1.0, 2.0, 3.0] == frame["value"].tolist()
        assert [0, 1, 2] == frame["step"].tolist()
        assert 2 == run["n"].fetch()
    assert report.checks.are_equal
    assert "unchanged" == only(imported(tmp_path, store)).status


def test_new_folder_of_a_known_run_is_added(store: Path, tmp_path: Path) -> None:
    queue(tmp_path, [floats("loss", 1.0, 2.0)], name="1__aaaaaaaa")
    first = only(imported(tmp_path, store))
    queue(tmp_path, [floats("loss", 3.0, ts=START + 100)], name="2__bbbbbbbb", at=START + 100)

    second = only(imported(tmp_path, store))

    assert first.id == second.id
    with opened(store, second) as run:
        assert [1.0, 2.0, 3.0] == run["loss"].fetch_values()["value"].tolist()


def test_edits_made_in_naiad_are_left_alone(store: Path, tmp_path: Path) -> None:
    folder = queue(tmp_path, [floats("loss", 1.0), op("AssignInt", "n", value=1), op("AssignInt", "m", value=1)])
    name = only(imported(tmp_path, store)).id
    with naiad.init_run(with_id=name, store=store, git_ref=False, capture_hardware_metrics=False) as run:
        run["n"] = 5
        run.pop("m")
        run["loss"].append(9.0)
        run["sys/tags"].add("mine")
    with (folder / "data-1.log").open("a") as log:
        log.write(lines([op("AssignInt", "n", value=2), op("AssignInt", "m", value=2), floats("loss", 2.0)], first=4))
    (folder / "last_put_version").write_text("6")

    report = only(imported(tmp_path, store))

    with opened(store, report) as run:
        assert 5 == run["n"].fetch()
        assert not run.exists("m")
        assert {"mine"} == run["sys/tags"].fetch()
        assert [1.0, 9.0, 2.0] == run["loss"].fetch_values()["value"].tolist()
    assert {"n", "m"} == {each.path for each in report.skipped}
    assert report.is_whole


def test_removed_series_stays_removed(store: Path, tmp_path: Path) -> None:
    queue(tmp_path, [floats("loss", 1.0), floats("acc", 1.0)])
    name = only(imported(tmp_path, store)).id
    with naiad.init_run(with_id=name, store=store, git_ref=False, capture_hardware_metrics=False) as run:
        run.pop("loss")

    report = only(imported(tmp_path, store))

    with opened(store, report) as run:
        assert not run.exists("loss")
    assert "unchanged" == report.status


def test_trashed_run_is_left_alone(store: Path, tmp_path: Path) -> None:
    folder = queue(tmp_path, [floats("loss", 1.0)])
    name = only(imported(tmp_path, store)).id
    _trash(store, name)
    with (folder / "data-1.log").open("a") as log:
        log.write(lines([floats("loss", 2.0)], first=2))

    report = imported(tmp_path, store)

    assert "left alone" == only(report).status
    assert report.is_whole


def _trash(store: Path, name: str) -> None:
    subprocess.run([*NAIAD, "--store", str(store), "trash", name], check=True)


def test_source_that_has_lost_points_and_has_them_again_doubles_none(store: Path, tmp_path: Path) -> None:
    folder = queue(tmp_path, [floats("loss", 1.0), floats("loss", 2.0)])
    whole = (folder / "data-1.log").read_text()
    imported(tmp_path, store)
    (folder / "data-1.log").write_text(whole.splitlines(keepends=True)[0])
    imported(tmp_path, store)
    (folder / "data-1.log").write_text(whole)

    report = only(imported(tmp_path, store))

    with opened(store, report) as run:
        assert [1.0, 2.0] == run["loss"].fetch_values()["value"].tolist()


def test_dry_run_writes_nothing(store: Path, tmp_path: Path) -> None:
    report = imported(SAMPLES / "dot-neptune", store, is_dry=True)

    assert not store.exists()
    assert "new" == only(report).status
    assert 11 == only(report).kinds["float_series"].imported


def test_file_that_changes_later_is_not_imported_again(store: Path, tmp_path: Path) -> None:
    here = tmp_path / "here.csv"
    here.write_text("one")
    ops = [
        op("UploadFile", "f", ext="csv", file_path=str(here), tmp_file_name=None),
        op("UploadFileSet", "set", file_globs=[str(here)], reset="False"),
    ]
    queue(tmp_path, ops)
    imported(tmp_path, store)
    here.write_text("two")
    changed = only(imported(tmp_path, store))
    here.unlink()

    gone = imported(tmp_path, store)

    assert ["unchanged", "unchanged"] == [changed.status, only(gone).status]
    assert gone.is_whole
    with opened(store, changed) as run:
        assert b"one" == run["f"].fetch_content()


def test_into_adds_a_folder_without_doubling_points(store: Path, tmp_path: Path) -> None:
    with naiad.init_run(store=store, git_ref=False, source_files=[], capture_hardware_metrics=False) as run:
        run["loss"].extend([1.0, 2.0], steps=[0, 1], timestamps=[START, START + 1])
        run["acc"].append(0.5, step=3, timestamp=START)
        run["lr"] = 0.1
    ops = [
        floats("loss", 1.0, 2.0),
        floats("acc", 0.5, step=3),
        op("AssignFloat", "lr", value=0.2),
        floats("loss", 3.0, ts=START + 5),
        op("AssignFloat", "late", value=1.0),
    ]
    queue(tmp_path, ops, mode="async", ack=3)

    report = only(imported(tmp_path, store, into=run._id))

    with opened(store, report) as found:
        assert [1.0, 2.0, 3.0] == found["loss"].fetch_values()["value"].tolist()
        assert [0, 1, 2] == found["loss"].fetch_values()["step"].tolist()
        assert [0.5] == found["acc"].fetch_values()["value"].tolist()
        assert 0.1 == found["lr"].fetch()  # Neptune had the folder's value, and the run has a later one
        assert 1.0 == found["late"].fetch()
    assert "unchanged" == only(imported(tmp_path, store)).status
    with naiad.init_run(store=store, git_ref=False, source_files=[]) as other:
        pass
    with pytest.raises(InvalidArgument, match="imported before"):
        imported(tmp_path, store, into=other._id)


# Several processes, and kills

PROGRAM = """
import sys
from naiad.importers import import_runs
report = import_runs("neptune-offline", sys.argv[1], store=sys.argv[2])
print(report.runs[0].id, report.runs[0].status)
"""


def start(source: Path, store: Path, **popen: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(source), str(store)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **popen)


def many(tmp_path: Path, points: int = 20_000) -> None:
    ops = [floats(f"loss/{number % 5}", float(number), step=number // 5) for number in range(points)]
    queue(tmp_path, [*ops, op("AssignInt", "n", value=1)])


def whole(store: Path, name: str, points: int = 20_000) -> bool:
    with naiad.init_run(with_id=name, store=store, mode="read-only") as run:
        frames = [run[f"loss/{number}"].fetch_values() for number in range(5)]
    return all(
        np.array_equal(frame["step"], np.arange(points // 5))
        and np.array_equal(frame["value"], np.arange(number, points, 5))
        for number, frame in enumerate(frames)
    )


def test_two_imports_at_once_make_one_run(store: Path, tmp_path: Path) -> None:
    many(tmp_path)
    processes = [start(tmp_path, store) for _number in range(2)]

    answers = [process.communicate(timeout=60)[0].split() for process in processes]

    assert {"new", "unchanged"} == {status for _name, status in answers}
    assert 1 == len({name for name, _status in answers})
    assert whole(store, answers[0][0])


@pytest.mark.parametrize("moment", [0.0, 0.03, 0.1, 0.2])
def test_killed_import_is_gone_on_with(store: Path, tmp_path: Path, moment: float) -> None:
    many(tmp_path)
    process = start(tmp_path, store)
    until = time.monotonic() + 30
    while time.monotonic() < until and not list(store.glob("runs/*/journal/*")):
        time.sleep(0.002)
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    report = only(imported(tmp_path, store))

    assert whole(store, report.id)
    assert report.checks.are_equal
    with opened(store, report) as run:
        assert "finished" == run["sys/state"].fetch()
    assert "unchanged" == only(imported(tmp_path, store)).status
    assert 1 == len(list((store / "runs").iterdir()))


def test_several_runs_are_read_by_several_processes(store: Path, tmp_path: Path) -> None:
    for number in range(6):
        queue(tmp_path, [floats("loss", float(number))], uuid=f"{UUID[:-1]}{number}")

    report = imported(tmp_path, store, workers=2)

    assert 6 == len(report.runs)
    assert report.is_whole
    assert {"unchanged"} == {each.status for each in imported(tmp_path, store, workers=2).runs}


def test_command_reports_and_exits_with_1_if_something_is_lost(store: Path, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    queue(tmp_path / "good", [floats("loss", 0.5)])

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*NAIAD, "--store", str(store), "import", "neptune-offline", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    dry = run(str(tmp_path / "good"), "--dry-run")
    good = run(str(tmp_path / "good"))
    lossy = run(str(SAMPLES / "dot-neptune"), "--json")

    assert 0 == dry.returncode, dry.stderr
    assert "Nothing was written" in dry.stderr
    assert 0 == good.returncode, good.stderr
    assert "float_series: 1 found, 1 imported" in good.stdout
    assert 1 == lossy.returncode
    assert not json.loads(lossy.stdout)["complete"]
