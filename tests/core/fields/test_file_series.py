"""Files over steps, each with a time and perhaps a name and a description."""

from __future__ import annotations

import hashlib
import io
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import naiad
from naiad.errors import (
    EmptySeries,
    FileNotFound,
    InvalidArgument,
    LimitWarning,
    NaiadTypeError,
    NaiadValueError,
    StepOrderError,
    WrongVerb,
    forget_warnings,
)
from naiad.types import File, FileSeries

MANY = bytes(range(256)) * 1000


def contents(run: naiad.Run, path: str = "s") -> list[bytes]:
    return [file.content for file in run[path].fetch_files()]


def steps(run: naiad.Run, path: str = "s") -> list[float]:
    return run[path].fetch_values()["step"].tolist()


def incoming(store: Path) -> list[str]:
    folder = store / "blobs" / "incoming"
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_files_of_any_kind_and_size_are_kept_over_steps(run: naiad.Run, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(MANY)
    image = np.zeros((2, 2), dtype=np.uint8)

    run["s"].append(File(tmp_path / "model.pt"), step=5, timestamp=1.5, name="model", description="the first\nof all")
    run["s"].append(File.from_content("", extension="log"), step=2)
    run["s"].append(image)
    frame = run["s"].fetch_values()

    columns = ["step", "timestamp", "name", "description", "extension", "size", "sha256"]
    assert columns == list(frame.columns)
    assert [2, 3, 5] == frame["step"].tolist()
    assert [None, None, "model"] == frame["name"].tolist()
    assert [None, None, "the first\nof all"] == frame["description"].tolist()
    assert ["log", "png", "pt"] == frame["extension"].tolist()
    assert [0, len(MANY)] == frame["size"].tolist()[::2]
    assert datetime.fromtimestamp(1.5) == frame["timestamp"][2]
    run.wait()
    digests = run["s"].fetch_values(include_timestamp=False)["sha256"].tolist()
    assert [hashlib.sha256(content).hexdigest() for content in (b"", MANY)] == digests[::2]


def test_first_value_decides_that_it_is_a_series_of_files(run: naiad.Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a")
    values = {
        "file": File.from_content("x"),
        "path": tmp_path / "a.csv",
        "bytes": b"x",
        "stream": io.BytesIO(b"x"),
        "array": np.zeros((3, 3)),
        "image": Image.new("L", (2, 2)),
    }
    for name, value in values.items():
        run[name].append(value)

    assert {"FileSeries"} == {type(run.get_attribute(name)).__name__ for name in values}


def test_extend_takes_steps_and_times_for_each(run: naiad.Run) -> None:
    files = [File.from_content(text) for text in ("a", "b", "c")]

    run["s"].extend(files, steps=[3, 1, 1], timestamps=[1, 2, 3])
    run["s"].extend(iter(files[:1]))

    assert [1, 1, 2, 3] == steps(run)
    assert [b"b", b"c", b"a", b"a"] == contents(run)


def test_extend_of_a_dict_fills_each_series(run: naiad.Run) -> None:
    run["x"].extend({"a": [File.from_content("1"), File.from_content("2")], "b": [File.from_content("3")]})

    assert ([b"1", b"2"], [b"3"]) == (contents(run, "x/a"), contents(run, "x/b"))


def test_append_of_a_dict_fills_each_series_at_one_step(run: naiad.Run) -> None:
    run["x"].append({"image": File.from_content("1"), "loss": 0.5}, step=7)

    assert ([b"1"], [7], 0.5) == (contents(run, "x/image"), steps(run, "x/image"), run["x/loss"].fetch_last())


def test_log_takes_one_file_or_several(run: naiad.Run) -> None:
    run["s"].log(File.from_content("a"), name="first", step=3)
    run["s"].log([File.from_content("b"), File.from_content("c")])

    assert [b"a", b"b", b"c"] == contents(run)
    assert ["first", None, None] == run["s"].fetch_values()["name"].tolist()


def test_log_of_bytes_or_of_a_path_is_one_file(run: naiad.Run) -> None:
    run["bytes"].log(b"abc")
    run["path"].log(Path(__file__))

    assert [1, 1] == [len(contents(run, name)) for name in ("bytes", "path")]
    assert [b"abc"] == contents(run, "bytes")


def test_refused_extend_leaves_no_files(run: naiad.Run, store: Path, tmp_path: Path) -> None:
    run["s"].append(File.from_content("kept"))
    for values, kind in (
        ([File.from_content(MANY), File(tmp_path / "none")], FileNotFound),
        ([File.from_content(MANY), "text"], NaiadTypeError),
        ([File.from_content(MANY), 0.5], NaiadTypeError),
    ):
        with pytest.raises(kind):
            run["s"].extend(values)
    with pytest.raises(InvalidArgument):
        run["s"].extend([File.from_content(MANY)], steps=[1, 2])
    with pytest.raises(NaiadValueError):
        run["s"].extend([File.from_content(MANY)], steps=[float("nan")])
    with pytest.raises(NaiadTypeError, match="name="):
        run["s"].append(File.from_content(MANY), name=5)

    assert [b"kept"] == contents(run)
    assert [] == incoming(store)


def test_text_is_no_file_to_append_and_the_remedy_is_named(run: naiad.Run) -> None:
    run["s"].append(b"kept")

    with pytest.raises(NaiadTypeError, match="pathlib.Path"):
        run["s"].append("data.csv")


def test_assigning_replaces_all_files(run: naiad.Run) -> None:
    run["s"].append(b"old", step=9)

    run["s"] = FileSeries(
        [File.from_content("a"), File.from_content("b")], steps=[4, 2], timestamps=[1, 2], name="n", description="d"
    )

    assert ([2, 4], [b"b", b"a"]) == (steps(run), contents(run))
    assert [("n", "d")] * 2 == list(run["s"].fetch_values()[["name", "description"]].itertuples(index=False, name=None))
    run["s"] = [b"x", b"y"]
    assert ([0, 1], [b"x", b"y"]) == (steps(run), contents(run))


def test_single_file_cannot_be_assigned_to_a_series(run: naiad.Run) -> None:
    run["s"].append(b"kept")

    with pytest.raises(NaiadTypeError, match="append"):
        run["s"] = File.from_content("x")

    assert [b"kept"] == contents(run)


def test_value_class_makes_the_field(run: naiad.Run) -> None:
    run["s"] = FileSeries([File.from_content("a")])
    run["empty"] = FileSeries([])

    assert [b"a"] == contents(run)
    assert "FileSeries" == type(run.get_attribute("empty")).__name__
    assert [] == contents(run, "empty")
    with pytest.raises(InvalidArgument, match="steps"):
        FileSeries([File.from_content("a")], steps=[1, 2])


def test_clear_removes_all_files_and_pop_the_series(run: naiad.Run) -> None:
    run["s"].append(b"old", step=9)
    run["s"].clear()
    assert [] == contents(run)
    run["s"].append(b"new")
    assert [0] == steps(run)
    run["s"].pop()
    assert not run.exists("s")
    run["s"].append(0.5)

    assert 0.5 == run["s"].fetch_last()


def test_copy_has_everything_the_original_has(run: naiad.Run, tmp_path: Path) -> None:
    run["s"].append(MANY, step=5, timestamp=1.25, name="n", description="d")
    run["s"].append(File.from_content("a", extension="csv"), step=7)
    with naiad.init_run(store=tmp_path / "other-store") as other:
        run["t"] = run["s"]
        other["u"] = run["s"]
        run.wait()
        other.wait()

        expected = run["s"].fetch_values().to_dict()
        assert [expected, expected] == [each.fetch_values().to_dict() for each in (run["t"], other["u"])]
        assert [MANY, b"a"] == contents(other, "u")


def test_files_are_read_one_by_one(run: naiad.Run) -> None:
    run["s"].append(MANY, name="n", description="d")

    (file,) = run["s"].fetch_files()

    assert (len(MANY), "bin", "n", "d") == (file.size, file.extension, file.name, file.description)
    with file.open() as stream:
        assert MANY[:300] == stream.read(300)
    run["copy"].upload(file)
    assert MANY == run["copy"].fetch_content()


def test_download_numbers_files_by_step(run: naiad.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for step, (text, extension) in {9: ("c", ""), 1: ("a", "png"), 5: ("b", ".csv")}.items():
        run["train/s"].append(File.from_content(text, extension=extension), step=step, name="../../escape")

    run["train/s"].download()
    run["train/s"].download("made/here")
    run["train/s"].download_last(Path("last"))

    expected = {"0.png": "a", "1.csv": "b", "2": "c"}
    for folder in ("neptune/s", "made/here"):
        assert expected == {path.name: path.read_text() for path in Path(folder).iterdir()}
    assert ["2"] == os.listdir("last")


def test_empty_series_has_nothing_to_download(run: naiad.Run, tmp_path: Path) -> None:
    run["s"] = FileSeries([])

    with pytest.raises(EmptySeries, match="no files"):
        run["s"].download(tmp_path / "x")
    with pytest.raises(ValueError, match="no files"):
        run["s"].download_last()

    assert 0 == len(run["s"].fetch_values())
    assert not (tmp_path / "x").exists()


def test_destination_that_is_a_file_is_refused_and_left_alone(run: naiad.Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    run["s"].append(b"x")

    with pytest.raises(FileExistsError):
        run["s"].download(tmp_path / "file")

    assert "mine" == (tmp_path / "file").read_text()


@pytest.mark.parametrize("verb", ["fetch", "fetch_last", "fetch_extension", "fetch_hash", "fetch_files_list"])
def test_verb_of_another_kind_is_refused(run: naiad.Run, verb: str) -> None:
    run["s"].append(b"x")

    with pytest.raises(WrongVerb, match="FileSeries"):
        getattr(run["s"], verb)()


def test_steps_go_on_in_a_run_that_is_resumed(run: naiad.Run) -> None:
    run["s"].extend([b"a", b"b"], steps=[3, 8])
    run.stop()
    with naiad.init_run(with_id=run._id) as again:
        again["s"].append(b"c")

        assert ([3, 8, 9], [b"a", b"b", b"c"]) == (steps(again), contents(again))


def test_neptunes_rule_of_steps_leaves_files_out_with_one_warning(store: Path) -> None:
    forget_warnings()
    run = naiad.init_run(limits="neptune")
    with pytest.warns(LimitWarning) as given:  # noqa: PT031 (all that is said to the end)
        for step in (1, 2, 2, 0, 3):
            run["s"].append(str(step).encode() * 5000, step=step)
        found = steps(run)
        run.stop()

    assert [1, 2, 3] == found
    assert 2 == len(given)
    assert [] == incoming(store)


def test_neptunes_rule_of_steps_raises_in_sync_mode(store: Path) -> None:
    with naiad.init_run(limits="neptune", mode="sync") as run:
        run["s"].append(b"1", step=1)
        with pytest.raises(StepOrderError, match='"s"'):
            run["s"].append(MANY, step=1)

        assert [1] == steps(run)


def test_ten_thousand_small_files_are_one_extend(run: naiad.Run) -> None:
    run["s"].extend([f"{number:04}".encode() * 500 for number in range(2_000)], wait=True)

    assert 2_000 == len(run["s"].fetch_values())


def test_download_sees_the_field_that_replaced_it_in_another_process(run: naiad.Run, tmp_path: Path) -> None:
    run["s"].append(MANY)
    field = run.get_attribute("s")
    with naiad.init_run(with_id=run["sys/id"].fetch()) as other:
        other["s"].pop()
        other["s"].upload(File.from_content("new"))

    field.download(tmp_path)

    assert "new" == (tmp_path / "s.txt").read_text()


def test_kept_captions_of_odd_characters_come_back(run: naiad.Run) -> None:
    odd: list[Any] = ["\0", "\ud800", "a\nb", "\u202e", "x" * 5000]
    for each in odd:
        run["s"].append(b"x", name=each, description=each)

    assert odd == run["s"].fetch_values()["name"].tolist()
    assert odd == [file.description for file in run["s"].fetch_files()]
