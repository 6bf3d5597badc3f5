"""The examples of the field types reference on Artifact, File, FileSeries and FileSet, as ported programs have them.

And what neptune-client.md says of them (1.4, 1.5, 2.6 to 2.10), where naiad does the same.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from datetime import timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import naiad as neptune
from naiad import attributes, types
from naiad.exceptions import (
    ArtifactNotFoundException,
    FileNotFound,
    FileSetNotFound,
    NeptuneEmptyLocationException,
    NeptuneLocalStorageAccessException,
    NeptuneUnhandledArtifactSchemeException,
    NeptuneUnsupportedArtifactFunctionalityException,
    StreamAlreadyUsedException,
    TypeDoesNotSupportAttributeException,
)
from naiad.types import File
from naiad.typing import ProgressBarCallback
from naiad.utils import NullProgressBar, TqdmProgressBar

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def here(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the examples, with their files in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = tmp_path / "here"
    contents = {
        "sample_data.csv": "a,b\n1,2\n",
        "data/sample.csv": "a\n",
        "data/datasets/dataset_v2.csv": "2\n",
        "data/datasets/dataset_v3.csv": "3\n",
        "data/test/sample": "text",
        "model.pt": "weights",
        "train.py": "import neptune",
        "helpers.py": "pass",
        "images/1.png": "one",
        "images/more/2.png": "two",
    }
    for name, content in contents.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)
    monkeypatch.chdir(place)
    return place


def reopened(run: neptune.Run) -> neptune.Run:
    name = run["sys/id"].fetch()
    run.stop()
    return neptune.init_run(with_id=name, mode="read-only")


# Artifact


def test_artifact_assignment_of_a_fetched_artifact() -> None:
    run = neptune.init_run()
    run["datasets/images"].track_files("images")
    run["datasets/images-copy"] = run["datasets/images"].fetch()

    assert run["datasets/images"].fetch_hash() == run["datasets/images-copy"].fetch_hash()
    run.stop()


def test_artifact_download() -> None:
    run = neptune.init_run()
    run["artifacts/images"].track_files("images")
    run = reopened(run)
    run["artifacts/images"].download(destination="here")
    run["artifacts/images"].download()

    assert ["one", "two"] == [Path("here", name).read_text() for name in ("1.png", "more/2.png")]
    assert "one" == Path("1.png").read_text()
    run.stop()


def test_artifact_fetch_and_copy_to_a_new_run() -> None:
    run = neptune.init_run()
    run["datasets/images"].track_files("images")
    run.stop()
    old_run = neptune.init_run(with_id=run._id)
    new_run = neptune.init_run()
    new_run["datasets/images-copy"] = old_run["datasets/images"].fetch()

    assert isinstance(old_run["datasets/images"].fetch(), types.Artifact)
    assert old_run["datasets/images"].fetch_hash() == new_run["datasets/images-copy"].fetch_hash()
    old_run.stop()
    new_run.stop()


def test_artifact_files_list() -> None:
    run = neptune.init_run()
    run["artifacts/images"].track_files("images")
    run = reopened(run)
    artifact_list = run["artifacts/images"].fetch_files_list()

    assert "1.png" == artifact_list[0].file_path
    assert 64 == len(artifact_list[0].file_hash)
    assert 3 == artifact_list[0].size
    assert 19 == len(artifact_list[0].metadata["last_modified"])
    assert f"file://{Path('images/1.png').resolve()}" == artifact_list[0].metadata["file_path"]
    run.stop()


def test_artifact_tracks_a_file_and_a_folder() -> None:
    run = neptune.init_run()
    run["train/dataset"].track_files("data/sample.csv")
    run["train/images"].track_files("images", destination="train")
    run["train/images"].track_files(path="data/datasets", destination="other", wait=True)

    assert ["sample.csv"] == [file.file_path for file in run["train/dataset"].fetch_files_list()]
    assert ["other/dataset_v2.csv", "other/dataset_v3.csv", "train/1.png", "train/more/2.png"] == [
        file.file_path for file in run["train/images"].fetch_files_list()
    ]
    run.stop()


def test_artifact_errors_are_raised_at_the_call() -> None:
    run = neptune.init_run()
    for place, kind in {
        "none": NeptuneEmptyLocationException,
        "images/*.png": NeptuneUnsupportedArtifactFunctionalityException,
        "gopher://a/b": NeptuneUnhandledArtifactSchemeException,
    }.items():
        with pytest.raises(kind):
            run["a"].track_files(place)
    run["a"].track_files("model.pt")
    Path("model.pt").unlink()
    with pytest.raises(NeptuneLocalStorageAccessException):
        run["a"].download("out")
    with pytest.raises(ArtifactNotFoundException):
        run["a"] = types.Artifact("0" * 64)
    run.stop()


# File


def test_file_upload_and_download() -> None:
    run = neptune.init_run()
    run["dataset/data_sample"].upload("sample_data.csv")
    run = reopened(run)
    run["dataset/data_sample"].download()

    assert Path("sample_data.csv").read_text() == Path("data_sample.csv").read_text()
    run.stop()


def test_file_upload_of_a_figure() -> None:
    plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    plt.plot([1, 2, 3])
    run = neptune.init_run()
    run["dataset/distribution"].upload(plt.gcf())
    plt.close("all")

    assert "png" == run["dataset/distribution"].fetch_extension()
    assert run["dataset/distribution"].fetch_content().startswith(b"\x89PNG")
    run.stop()


def test_file_assignment() -> None:
    run = neptune.init_run()
    run["dataset/data_sample"] = File("sample_data.csv")
    run["dataset/other"].assign(File("sample_data.csv"), wait=True)

    assert ["csv", "csv"] == [run[path].fetch_extension() for path in ("dataset/data_sample", "dataset/other")]
    run.stop()


@pytest.mark.parametrize("bar", [None, True, False, NullProgressBar])
def test_file_download_to_a_folder_and_under_a_name(bar: Any) -> None:
    run = neptune.init_run()
    run["train/model"].upload("model.pt")
    run = reopened(run)
    Path("folder").mkdir()
    run["train/model"].download(destination="folder", progress_bar=bar)
    run["train/model"].download("folder/other.name", progress_bar=bar)

    assert {"model.pt": "weights", "other.name": "weights"} == {
        path.name: path.read_text() for path in Path("folder").iterdir()
    }
    run.stop()


def test_file_download_with_a_bar_of_ones_own() -> None:
    class Bar(ProgressBarCallback):
        told = 0

        def update(self, *, by: int, total: int | None = None) -> None:
            type(self).told += by

    run = neptune.init_run()
    run["train/model"].upload("model.pt")
    run["train/model"].download("x", progress_bar=Bar)

    assert len("weights") == Bar.told
    assert issubclass(TqdmProgressBar, ProgressBarCallback)
    run.stop()


def test_file_extension() -> None:
    run = neptune.init_run()
    run["model/last"].upload("model.pt")
    ext = run["model/last"].fetch_extension()

    assert ext == "pt"
    run.stop()


def test_file_as_image() -> None:
    run = neptune.init_run()
    data = np.random.default_rng(0).random((28, 28))
    run["array"].upload(File.as_image(data))
    pil_image = Image.new("RGB", (4, 4), (1, 2, 3))
    pil_file = File.as_image(pil_image)
    run["pil"].upload(pil_file)
    run["direct"].upload(pil_image)

    for path, expected in (("array", (data * 255).astype("uint8")), ("pil", pil_image), ("direct", pil_image)):
        found = np.asarray(Image.open(io.BytesIO(run[path].fetch_content())))
        np.testing.assert_array_equal(np.asarray(expected), found)
    run.stop()


def test_file_as_html_of_a_frame() -> None:
    import pandas as pd

    run = neptune.init_run()
    run["frame"].upload(File.as_html(pd.DataFrame({"a": [1, 2]})))

    assert "html" == run["frame"].fetch_extension()
    assert b"<table" in run["frame"].fetch_content()
    run.stop()


def test_file_as_pickle() -> None:
    run = neptune.init_run()
    run["model"].upload(File.as_pickle({"weights": [1, 2]}))

    assert "pkl" == run["model"].fetch_extension()
    assert {"weights": [1, 2]} == pickle.loads(run["model"].fetch_content())
    run.stop()


def test_file_from_content() -> None:
    html_str = "<button type='button'>ä</button>"
    with open("sample.html", "w") as f:
        f.write(html_str)
    run = neptune.init_run()
    html_obj = File.from_content(html_str, extension="html")
    run["page"].upload(html_obj)
    run["same"].upload("sample.html")
    run["text"].upload(File.from_content("text"))
    run["bytes"].upload(File.from_content(b"bytes"))

    assert html_str.encode() == run["page"].fetch_content() == run["same"].fetch_content()
    assert ["html", "html", "txt", "bin"] == [run[path].fetch_extension() for path in ("page", "same", "text", "bytes")]
    run.stop()


def test_file_from_path() -> None:
    run = neptune.init_run()
    run["sample_text"].upload(File.from_path(path="data/test/sample", extension="txt"))

    assert ("txt", b"text") == (run["sample_text"].fetch_extension(), run["sample_text"].fetch_content())
    run.stop()


def test_file_from_stream() -> None:
    Path("image.jpg").write_bytes(b"jpeg")
    run = neptune.init_run()
    with open("image.jpg", "rb") as f:
        image = File.from_stream(f, extension="jpg")
    run["image"].upload(image)
    run["again"].upload(image)

    assert b"jpeg" == run["image"].fetch_content() == run["again"].fetch_content()
    with pytest.raises(StreamAlreadyUsedException, match="closed"):
        File.from_stream(f)
    run.stop()


def test_missing_file_is_an_error_at_the_call() -> None:
    """Neptune's client said so later, in the log; see DESIGN.md, section 4."""
    run = neptune.init_run()
    with pytest.raises(FileNotFound):
        run["a"].upload("none.csv")

    assert not run.exists("a")
    run.stop()


# FileSeries


def test_file_series_append() -> None:
    plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    plt_histogram, ax = plt.subplots()
    ax.hist([1, 2, 2])
    run = neptune.init_run()
    for epoch in range(2):
        run["train/distribution"].append(plt_histogram, step=epoch)
    run["train/array"].append(File.as_image(np.zeros((2, 2))))
    plt.close("all")

    assert [0, 1] == run["train/distribution"].fetch_values()["step"].tolist()
    run.stop()


def test_file_series_names_and_descriptions() -> None:
    data_sample = [(Image.new("L", (2, 2), n), f"class {n}") for n in range(3)]
    run = neptune.init_run()
    for plt_image, class_name in data_sample:
        run["data/sample"].append(plt_image, name=class_name)
    for image, y_pred in [(image, [0.25, 0.75]) for image, _ in data_sample]:
        description = "\n".join([f"class {i}: {pred}" for i, pred in enumerate(y_pred)])
        run["train/predictions"].append(image, description=description)
    run = reopened(run)

    assert ["class 0", "class 1", "class 2"] == run["data/sample"].fetch_values()["name"].tolist()
    assert {"class 0: 0.25\nclass 1: 0.75"} == set(run["train/predictions"].fetch_values()["description"])
    run.stop()


def test_file_series_extend_and_log() -> None:
    run = neptune.init_run()
    files = [File.from_content(str(n), extension="txt") for n in range(3)]
    run["a"].extend(files, steps=[1, 2, 3], timestamps=[10, 20, 30])
    run["a"].log(files[0])
    run["b"].assign(types.FileSeries(values=files, steps=[4, 5, 6], timestamps=None, name="n", description="d"))

    assert [b"0", b"1", b"2", b"0"] == [file.content for file in run["a"].fetch_files()]
    assert [4, 5, 6] == run["b"].fetch_values()["step"].tolist()
    run.stop()


def test_file_series_download() -> None:
    run = neptune.init_run()
    for n in range(5):
        run["train/images"].append(Image.new("L", (2, 2), n))
    run = reopened(run)
    run["train/images"].download()
    run["train/images"].download("out", progress_bar=False)
    run["train/images"].download_last("last")

    expected = [f"{n}.png" for n in range(5)]
    assert [expected, expected, ["4.png"]] == [sorted(os.listdir(at)) for at in ("neptune/images", "out", "last")]
    run.stop()


def test_file_series_that_is_empty_has_nothing_to_download() -> None:
    run = neptune.init_run()
    run["a"].assign(types.FileSeries([]))
    with pytest.raises(ValueError, match="no files"):
        run["a"].download()
    run.stop()


# FileSet


def test_file_set_of_scripts() -> None:
    run = neptune.init_run()
    run["scripts"].upload_files("*.py")
    entries = run["scripts"].list_fileset_files()

    assert [("helpers.py", 4, "file"), ("train.py", 14, "file")] == [(e.name, e.size, e.file_type) for e in entries]
    assert all(entry.mtime.utcoffset() == timezone.utc.utcoffset(None) for entry in entries)
    run.stop()


def test_file_set_of_a_folder() -> None:
    run = neptune.init_run()
    run["data"].upload_files("data")

    def listed(path: str | None = None) -> list[tuple[str, int | None, str]]:
        return [(e.name, e.size, e.file_type) for e in run["data"].list_fileset_files(path=path)]

    assert [("data", None, "directory")] == listed()
    assert [("datasets", None, "directory"), ("sample.csv", 2, "file"), ("test", None, "directory")] == listed("data")
    assert [("dataset_v2.csv", 2, "file"), ("dataset_v3.csv", 2, "file")] == listed("data/datasets")
    with pytest.raises(FileSetNotFound):
        listed("none")
    run.stop()


def test_file_set_delete_files() -> None:
    run = neptune.init_run()
    run["datasets_folder"].upload_files("data")
    run.stop()
    run = neptune.init_run(
        with_id=run._id,
        capture_hardware_metrics=False,
        capture_stderr=False,
        capture_stdout=False,
        capture_traceback=False,
        git_ref=False,
    )
    run["datasets_folder"].delete_files("data/datasets/dataset_v2.csv")
    run["datasets_folder"].delete_files(["data/test"], wait=True)

    names = [entry.name for entry in run["datasets_folder"].list_fileset_files("data/datasets")]
    assert ["dataset_v3.csv"] == names
    assert ["datasets", "sample.csv"] == [entry.name for entry in run["datasets_folder"].list_fileset_files("data")]
    run.stop()


def test_file_set_download() -> None:
    run = neptune.init_run()
    run["data"].upload_files(["data", "model.pt"])
    run = reopened(run)
    run["data"].download()
    run["data"].download(destination="other.zip", progress_bar=False)

    with zipfile.ZipFile("data.zip") as archive:
        assert b"weights" == archive.read("model.pt")
        assert {"data/", "data/datasets/", "data/datasets/dataset_v3.csv"} <= set(archive.namelist())
    assert Path("data.zip").read_bytes() == Path("other.zip").read_bytes()
    run.stop()


def test_file_set_assignment_begins_anew() -> None:
    run = neptune.init_run()
    run["set"].upload_files("data")
    run["set"].assign(types.FileSet("model.pt"))

    assert ["model.pt"] == [entry.name for entry in run["set"].list_fileset_files()]
    run.stop()


# Classes


def test_fields_are_of_neptunes_classes_and_refuse_verbs_of_others() -> None:
    run = neptune.init_run()
    run["ns/file"].upload("model.pt")
    run["ns/series"].append(File("model.pt"))
    run["ns/set"].upload_files("model.pt")
    run["ns/artifact"].track_files("model.pt")
    run["ns/git"] = types.GitRef(".")
    made_of = {"file": "File", "series": "FileSeries", "set": "FileSet", "artifact": "Artifact", "git": "GitRef"}
    verbs = {
        "file": {"assign", "upload", "download", "fetch_extension"},
        "series": {"assign", "log", "append", "extend", "clear", "download", "download_last"},
        "set": {"assign", "upload_files", "delete_files", "list_fileset_files", "download"},
        "artifact": {"assign", "fetch", "fetch_hash", "fetch_files_list", "download", "track_files"},
        "git": set(),
    }
    every = set().union(*verbs.values())

    for name, field in run.get_structure()["ns"].items():
        assert isinstance(field, getattr(attributes, made_of[name]))
        assert all(hasattr(field, verb) for verb in verbs[name])
        for verb in every - verbs[name] - {"assign", "append", "clear", "fetch"}:
            with pytest.raises(TypeDoesNotSupportAttributeException):
                getattr(field, verb)
    run.stop()


def test_values_take_neptunes_arguments() -> None:
    file = File(path="model.pt")

    assert (("pt", "LOCAL_FILE"), "model.pt") == ((file.extension, file.file_type.name), file.path)
    assert ["FileSeries", "FileSet", "Artifact", "GitRef"] == [
        type(value).__name__
        for value in (types.FileSeries([]), types.FileSet(file_globs="*"), types.Artifact("0" * 64), types.GitRef("."))
    ]
    assert types.GitRef.DISABLED
