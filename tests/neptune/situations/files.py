"""Situations of files, file sets and artifacts."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from containers import begun
from neptune.internal.types.file_types import FileType
from neptune.types import File, FileSet

CONTENT = bytes(range(256)) * 400


def archive(container: Any, key: str) -> dict[str, bytes]:
    """Download a file set, and return its members; a folder is an entry that ends in /."""
    container.sync()
    container[key].download("set.zip")
    with ZipFile("set.zip") as opened:
        return {name: b"" if name.endswith("/") else opened.read(name) for name in opened.namelist()}


def written(**contents: bytes) -> list[str]:
    for name, content in contents.items():
        Path(f"{name}.txt").write_bytes(content)
    return [f"{name}.txt" for name in contents]


@pytest.mark.parametrize("type", list(FileType))
def test_single_upload(container: Any, key: str, type: FileType) -> None:
    Path("here.csv").write_bytes(CONTENT)
    file = {
        FileType.LOCAL_FILE: lambda: File.from_path("here.csv"),
        FileType.IN_MEMORY: lambda: File.from_content(CONTENT, extension="csv"),
        FileType.STREAM: lambda: File.from_stream(io.BytesIO(CONTENT), extension="csv"),
    }[type]()
    container[key].upload(file)
    container.sync()
    container[key].download("there.bin")

    assert "csv" == container[key].fetch_extension()
    assert CONTENT == Path("there.bin").read_bytes()


def test_multipart_upload(the_run: Any, key: str) -> None:
    the_run[key].upload(File.from_content(b"\0" * 10_000_000, extension="bin"))
    the_run.sync()
    the_run[key].download("there.bin")

    assert 10_000_000 == os.path.getsize("there.bin")


def test_replace_float_attribute_with_uploaded_file(the_run: Any, key: str) -> None:
    [name] = written(a=CONTENT)
    the_run[key] = 42.0
    the_run.sync()
    the_run[key].pop()
    the_run[key].upload(name)
    the_run.sync()
    the_run[key].download("there.bin")

    assert CONTENT == Path("there.bin").read_bytes()


def test_upload_with_changed_working_directory(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("other").mkdir()
    with monkeypatch.context() as inside:
        inside.chdir("other")
        run = begun("run")
        run[f"{key}/memory"].upload(File.from_content("abcd"))
        run[f"{key}/disk"].upload(*written(a=b"test"))
        run.sync()

    assert [True, True] == [run.exists(f"{key}/{name}") for name in ("memory", "disk")]
    run.stop()


def _check_fileset(container: Any, key: str, size: int, count: int) -> None:
    [large] = written(large=b"\0" * size)
    small = {f"small{number}": b"content %d" % number for number in range(count)}
    names = written(**small)
    contents = {f"{name}.txt": content for name, content in small.items()}
    container[key].upload_files([large])
    assert {"/": b"", large: b"\0" * size} == archive(container, key)
    container[key].upload_files(names)
    assert {"/": b"", large: b"\0" * size, **contents} == archive(container, key)
    container[key].delete_files([large])
    assert {"/": b"", **contents} == archive(container, key)


def test_fileset(container: Any, key: str) -> None:
    _check_fileset(container, key, 100_000, 10)


def test_fileset_with_multipart(the_run: Any, key: str) -> None:
    _check_fileset(the_run, key, 10_000_000, 100)


def test_fileset_nested_structure(the_run: Any, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = ["a/", "b/", "a/b/", "b/a/", "a/a/"]
    for each in folders:
        (Path("tree") / each).mkdir(parents=True, exist_ok=True)
        (Path("tree") / each / "file.dat").write_bytes(each.encode())
    monkeypatch.chdir("tree")
    the_run[key].upload_files(".")
    the_run.sync()
    monkeypatch.chdir("..")

    wanted = {"/": b"", **dict.fromkeys(folders, b""), **{f"{each}file.dat": each.encode() for each in folders}}
    assert wanted == archive(the_run, key)


def test_reset_fileset(the_run: Any, key: str) -> None:
    first, second = written(first=b"1", second=b"2")
    the_run[key].upload_files(first)
    the_run.sync()
    the_run[key] = FileSet([second])

    assert {"/": b"", second: b"2"} == archive(the_run, key)


@pytest.mark.parametrize("is_deleted", [True, False])
def test_single_file_override(the_run: Any, key: str, is_deleted: bool) -> None:
    first, second = written(first=b"1", second=b"2")
    the_run[key].upload(first)
    if is_deleted:
        del the_run[key]
        the_run.sync()
        with pytest.raises(AttributeError):
            the_run[key].download("there")
    the_run[key].upload(second)
    the_run.sync()
    the_run[key].download("there")

    assert b"2" == Path("there").read_bytes()


@pytest.mark.parametrize("is_deleted", [True, False])
def test_fileset_file_override(the_run: Any, key: str, is_deleted: bool) -> None:
    the_run[key].upload_files(written(one=b"1"))
    if is_deleted:
        del the_run[key]
        the_run.sync()
        with pytest.raises(AttributeError):
            the_run[key].download("there.zip")
    the_run[key].upload_files(written(one=b"2"))

    assert {"/": b"", "one.txt": b"2"} == archive(the_run, key)


def test_list_fileset_files(the_run: Any, key: str) -> None:
    the_run[key].upload_files(written(one=b"123"))
    the_run.sync()
    [found] = the_run[key].list_fileset_files()
    the_run[key].delete_files("one.txt")
    the_run.sync()

    assert ("one.txt", "file", 3) == (found.name, found.file_type, found.size)
    assert [] == the_run[key].list_fileset_files()


def test_pil_image(the_run: Any, key: str) -> None:
    from PIL import Image

    the_run[key] = Image.new("RGB", (8, 8))

    assert "png" == the_run[key].fetch_extension()


def test_matplotlib_figure(the_run: Any, key: str) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    the_run[key] = pyplot.figure()

    assert the_run[key].fetch_extension() in ("png", "html")


def test_altair_chart(the_run: Any, key: str) -> None:
    altair = pytest.importorskip("altair", reason="altair is not installed")
    the_run[key] = altair.Chart(altair.Data(values=[{"x": 1, "y": 2}])).mark_point().encode(x="x:Q", y="y:Q")

    assert "html" == the_run[key].fetch_extension()


def test_brokeh_figure(the_run: Any, key: str) -> None:
    plotting = pytest.importorskip("bokeh.plotting", reason="bokeh is not installed")
    figure = plotting.figure()
    figure.scatter([1, 2], [3, 4])
    the_run[key] = figure

    assert "html" == the_run[key].fetch_extension()


def test_plotly_figure(the_run: Any, key: str) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects", reason="plotly is not installed")
    the_run[key] = graph_objects.Figure(graph_objects.Scatter(x=[1, 2], y=[3, 4]))

    assert "html" == the_run[key].fetch_extension()


def test_seaborn_figure(the_run: Any, key: str) -> None:
    seaborn = pytest.importorskip("seaborn", reason="seaborn is not installed")
    the_run[key] = seaborn.histplot([1, 2, 2, 3]).get_figure()

    assert the_run[key].fetch_extension() in ("png", "html")


# Artifacts


def test_local_creation(container: Any, key: str) -> None:
    written(a=b"some text")
    first, second = container[f"{key}/1"], container[f"{key}/2"]
    first.track_files(".")
    second.track_files(f"file://{os.getcwd()}")
    container.sync()

    assert first.fetch_hash() == second.fetch_hash()
    assert first.fetch_files_list() == second.fetch_files_list()


def test_assignment(container: Any, key: str) -> None:
    [name] = written(a=b"some text")
    first, second = container[f"{key}/1"], container[f"{key}/2"]
    first.track_files(name)
    container.wait()
    container[f"{key}/2"] = first.fetch()
    container.sync()

    assert first.fetch_hash() == second.fetch_hash()
    assert first.fetch_files_list() == second.fetch_files_list()


def test_local_download(container: Any, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    [name] = written(a=b"some text")
    Path("x/y").mkdir(parents=True)
    Path("x/y/deep.txt").write_bytes(b"deep")
    container[f"{key}/1"].track_files(name)
    container[f"{key}/2"].track_files(f"file://{os.getcwd()}")
    container.sync()
    Path("away").mkdir()
    monkeypatch.chdir("away")
    container[f"{key}/1"].download("artifacts/")
    container[f"{key}/2"].download()

    assert b"some text" == Path("artifacts/a.txt").read_bytes()
    assert b"deep" == Path("x/y/deep.txt").read_bytes()


def test_local_existing(container: Any, key: str) -> None:
    [name] = written(a=b"some text")
    Path("x/y").mkdir(parents=True)
    Path("x/y/deep.txt").write_bytes(b"deep")
    first, second = container[f"{key}/1"], container[f"{key}/2"]
    first.track_files(".")
    second.track_files(f"file://{os.getcwd()}/{name}")
    container.sync()
    second.track_files("x/y/deep.txt", destination="x/y")
    container.sync()

    assert first.fetch_hash() == second.fetch_hash()
    assert first.fetch_files_list() == second.fetch_files_list()
