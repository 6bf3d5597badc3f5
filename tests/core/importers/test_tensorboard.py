"""Event files that TensorBoard itself wrote."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.image import metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

import naiad
from naiad.errors import ImportRefused
from naiad.importers import import_runs

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


def write(folder: Path, *events: tuple[int, Summary]) -> Path:
    writer = EventFileWriter(str(folder))
    for step, summary in events:
        writer.add_event(Event(wall_time=1_700_000_000.0 + step, step=step, summary=summary))
    writer.close()
    [file] = folder.iterdir()
    return file


def scalar(tag: str, value: float) -> Summary:
    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


def test_each_kind_of_summary_arrives(store: Path, tmp_path: Path) -> None:
    old = HistogramProto(min=0.0, max=2.0, num=3, sum=3, bucket_limit=[0.5, 1.5, 2.5], bucket=[1, 1, 1])
    about = metadata.create_summary_metadata(display_name="", description="")
    image = Summary(value=[Summary.Value(tag="img", metadata=about, tensor=make_tensor_proto([b"4", b"4", PNG]))])
    write(
        tmp_path / "logs" / "train",
        *((step, scalar("loss", 1 / (step + 1))) for step in range(100)),
        (3, scalar_pb("acc", 0.5)),
        (4, text_pb("note", "hello")),
        (5, histogram_pb("weights", np.arange(100.0), buckets=10)),
        (6, Summary(value=[Summary.Value(tag="old", histo=old)])),
        (7, image),
        (8, Summary(value=[Summary.Value(tag="images/old", image=Summary.Image(encoded_image_string=PNG))])),
    )

    report = import_runs("tensorboard", tmp_path / "logs", store=store)

    assert report.is_whole, report.runs[0].skipped
    with naiad.init_run(with_id=report.runs[0].id, store=store, mode="read-only") as run:
        assert "train" == run["sys/name"].fetch()
        loss = run["loss"].fetch_values()
        assert np.array_equal(np.float32([1 / (step + 1) for step in range(100)]), loss["value"])
        assert 1_700_000_000.0 == loss["timestamp"][0].timestamp()
        assert 0.5 == run["acc"].fetch_last()
        assert "hello" == run["note"].fetch_last()
        assert 100 == sum(run["weights"].fetch_last().counts)
        assert 3 == sum(run["old"].fetch_last().counts)
        assert ["png", "png"] == [run[path].fetch_values()["extension"][0] for path in ("img", "images/old")]
    again = import_runs("tensorboard", tmp_path / "logs", store=store)
    assert ["unchanged"] == [each.status for each in again.runs]


def test_each_folder_is_a_run_and_grows(store: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "a", (0, scalar("loss", 1.0)), (1, scalar("loss", 0.5)))
    write(tmp_path / "b", (0, scalar("loss", 2.0)))
    data = file.read_bytes()
    file.write_bytes(data[:-10])  # as while it is written

    first = import_runs("tensorboard", tmp_path, store=store)
    file.write_bytes(data)
    second = import_runs("tensorboard", tmp_path, store=store)

    assert first.is_whole
    assert [["new", "new"], ["unchanged", "updated"]] == [
        sorted(r.status for r in each.runs) for each in (first, second)
    ]
    name = next(each.id for each in second.runs if each.status == "updated")
    with naiad.init_run(with_id=name, store=store, mode="read-only") as run:
        assert [1.0, 0.5] == run["loss"].fetch_values()["value"].tolist()


def test_damaged_record_is_lost_and_the_rest_arrives(store: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "a", *((step, scalar("loss", float(step))) for step in range(10)))
    data = bytearray(file.read_bytes())
    place = data.index(struct.pack("<f", 4.0))
    data[place] ^= 255
    file.write_bytes(data)

    report = import_runs("tensorboard", tmp_path, store=store)

    assert 1 == report.runs[0].lost
    assert 9 == report.runs[0].kinds["float_series"].imported


def test_folder_without_events_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="tfevents"):
        import_runs("tensorboard", tmp_path, store=store)
