"""The value of a file: what it takes, when it reads, and which extension it has."""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad.errors import InvalidArgument, NaiadError, NaiadTypeError
from naiad.file import FileType
from naiad.types import File


@pytest.mark.parametrize(
    ("path", "extension"),
    [
        ("data.csv", "csv"),
        ("a.tar.gz", "gz"),
        (".bashrc", ""),
        ("dir.d/weights", ""),
        ("dir.d/.hidden.txt", "txt"),
        ("README", ""),
        ("ends.", ""),
        ("Photo.JPG", "JPG"),
        (b"raw.bin", "bin"),
        (Path("data/a.csv"), "csv"),
    ],
)
def test_extension_follows_the_last_dot_of_the_name(path: object, extension: str) -> None:
    assert extension == File(path).extension
    assert extension == File.from_path(path).extension


@pytest.mark.parametrize("extension", [5, b"csv", ["csv"]], ids=repr)
def test_extension_that_is_no_text_is_refused(extension: Any) -> None:
    with pytest.raises(NaiadTypeError, match="extension= of a file must be text"):
        File.from_path("a.txt", extension=extension)
    with pytest.raises(NaiadTypeError, match="extension= of a file must be text"):
        File.from_content("a", extension=extension)


@pytest.mark.parametrize("extension", ["csv", ".csv", "", "tar.gz"])
def test_extension_that_is_given_is_kept_as_it_is(extension: str) -> None:
    assert extension == File.from_path("a.txt", extension=extension).extension
    assert extension == File.from_content("a", extension=extension).extension
    assert extension == File.from_stream(io.BytesIO(b"a"), extension=extension).extension


def test_file_at_a_path_is_read_when_it_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "later.txt"

    file = File(path)
    path.write_text("first", encoding="utf-8")
    assert b"first" == file.content
    path.write_text("second", encoding="utf-8")

    assert b"second" == file.content
    assert (str(path), FileType.LOCAL_FILE) == (file.path, file.file_type)


def test_path_is_kept_as_it_was_given() -> None:
    assert ["~/a.csv", "b.csv", "c.csv"] == [File(path).path for path in ("~/a.csv", b"b.csv", Path("c.csv"))]
    assert "\udcff.csv" == File(os.fsencode("\udcff.csv")).path


@pytest.mark.parametrize("path", [5, 1.5, ["a.csv"], object(), File("a")])
def test_path_of_another_type_is_refused(path: object) -> None:
    with pytest.raises(NaiadTypeError, match="A path is a str or a Path, and "):
        File(path)


@pytest.mark.parametrize("arguments", [{}, {"path": "a", "content": b"a"}])
def test_file_has_either_a_path_or_content(arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        File(**arguments)


@pytest.mark.parametrize(
    ("content", "stored", "extension"),
    [
        ("zażółć", "zażółć".encode(), "txt"),
        ("", b"", "txt"),
        ("\ud800", b"\xed\xa0\x80", "txt"),
        ("a\r\nb\0", b"a\r\nb\0", "txt"),
        (b"\x00\xff", b"\x00\xff", "bin"),
        (bytearray(b"abc"), b"abc", "bin"),
        (memoryview(b"abcdef")[::2], b"ace", "bin"),
    ],
)
def test_content_is_text_or_bytes(content: object, stored: bytes, extension: str) -> None:
    file = File.from_content(content)

    assert (stored, extension, FileType.IN_MEMORY, None) == (file.content, file.extension, file.file_type, file.path)


def test_content_is_that_of_the_moment_of_the_call() -> None:
    content = bytearray(b"before")

    file = File.from_content(content)
    content[:] = b"after"

    assert b"before" == file.content


@pytest.mark.parametrize("content", [None, 5, ["a"], io.BytesIO()])
def test_content_of_another_type_is_refused(content: object) -> None:
    with pytest.raises(NaiadTypeError, match="Content must be text or bytes, not "):
        File.from_content(content)


@pytest.mark.parametrize(
    ("seek", "expected"), [(0, b"0123456789"), (4, b"456789"), (None, b"23456789"), (99, b"")], ids=repr
)
def test_stream_is_read_from_where_seek_says(seek: int | None, expected: bytes) -> None:
    stream = io.BytesIO(b"0123456789")
    stream.read(2)

    file = File.from_stream(stream, seek=seek)

    assert (expected, "bin", FileType.STREAM) == (file.content, file.extension, file.file_type)


def test_stream_is_read_once_and_its_content_any_number_of_times() -> None:
    stream = io.StringIO("zażółć\n")

    file = File.from_stream(stream)
    stream.close()

    assert ["zażółć\n".encode()] * 2 == [file.content, file.content]
    assert "txt" == file.extension


def test_text_stream_of_another_encoding_becomes_utf_8(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("é\r\n".encode("latin-1"))

    with open(tmp_path / "latin.txt", encoding="latin-1", newline="") as stream:
        file = File.from_stream(stream)

    assert "é\r\n".encode() == file.content


def test_pipe_is_read_though_it_cannot_seek() -> None:
    ours, theirs = os.pipe()
    with open(ours, "rb") as stream:
        os.write(theirs, b"piped")
        os.close(theirs)

        assert b"piped" == File.from_stream(stream).content


@pytest.mark.parametrize("stream", ["text", b"bytes", None, 5])
def test_what_cannot_be_read_is_no_stream(stream: object) -> None:
    with pytest.raises(NaiadTypeError, match="A stream needs a read"):
        File.from_stream(stream)


def test_pickle_can_be_loaded_by_the_user() -> None:
    model = {"weights": [1.5, 2.5], "path": Path("a")}

    file = File.as_pickle(model)

    assert "pkl" == file.extension
    assert model == pickle.loads(file.content)
    assert pickle.dumps(model) == file.content, "the default protocol"


class Unwilling:
    def __reduce__(self) -> str:
        raise pickle.PicklingError("not me")


def deep() -> list[object]:
    found: list[object] = []
    for _ in range(100_000):
        found = [found]
    return found


UNPICKLABLE = {
    "lambda": lambda: lambda: 0,
    "unwilling": Unwilling,
    "stream": lambda: sys.stdout,
    "generator": lambda: (letter for letter in "ab"),
    "deep": deep,
}


@pytest.mark.parametrize("name", UNPICKLABLE)
def test_what_cannot_be_pickled_is_refused_at_the_call(name: str) -> None:
    value = UNPICKLABLE[name]()

    with pytest.raises(NaiadTypeError, match="cannot be pickled: "):
        File.as_pickle(value)


def test_user_error_while_pickling_is_the_users() -> None:
    class Broken:
        def __getstate__(self) -> object:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        File.as_pickle(Broken())


def test_create_from_takes_whatever_stands_for_a_file(tmp_path: Path) -> None:
    file = File.from_content("a")

    assert file is File.create_from(file)
    assert ["a.csv", "b.csv"] == [File.create_from(path).path for path in ("a.csv", Path("b.csv"))]
    assert [b"a", b"b", b"c"] == [File.create_from(each).content for each in (b"a", bytearray(b"b"), memoryview(b"c"))]
    assert [b"a", b"b"] == [File.create_from(each).content for each in (io.BytesIO(b"a"), io.StringIO("b"))]
    with tempfile.NamedTemporaryFile(dir=tmp_path) as stream:
        stream.write(b"written")
        assert b"written" == File.create_from(stream).content


@pytest.mark.parametrize("value", [None, 5, 1.5, {"a": 1}, [b"a"], object(), File, io.BytesIO, lambda: 0])
def test_create_from_refuses_what_is_no_file(value: object) -> None:
    with pytest.raises(NaiadTypeError, match="Nothing makes a file of a ") as caught:
        File.create_from(value)

    assert value is caught.value.value
    assert not File.is_convertable(value)


@pytest.mark.parametrize("name", ["as_image", "as_html"])
@pytest.mark.parametrize("value", [None, 5, "a.png", b"a", object(), File("a.png"), sys])
def test_nothing_is_drawn_of_other_objects(name: str, value: object) -> None:
    with pytest.raises(NaiadTypeError, match="Nothing makes "):
        getattr(File, name)(value)


def test_message_names_type_and_remedy() -> None:
    with pytest.raises(NaiadTypeError) as caught:
        File.as_image(io.StringIO("a"))

    first, second = str(caught.value).splitlines()
    assert first.startswith("Nothing makes an image of a _io.StringIO: <_io.StringIO")
    assert "Save it to a file and upload that, or keep it with File.as_pickle(...)." == second


@pytest.mark.parametrize(
    ("value", "is_convertable"),
    [(File("a"), True), (b"a", True), ("a.csv", False), (Path("a.csv"), False), (None, False), (0.5, False)],
    ids=repr,
)
def test_is_convertable(value: object, is_convertable: bool) -> None:
    assert is_convertable == File.is_convertable(value)
    assert not File.is_convertable_to_image(value)
    assert not File.is_convertable_to_html(value)


def test_asking_about_a_stream_does_not_read_it() -> None:
    stream = io.BytesIO(b"content")

    assert File.is_convertable(stream)
    assert b"content" == stream.read()


def test_representation_is_short() -> None:
    assert "File('data.csv', extension='csv')" == repr(File("data.csv"))
    assert "File(<1,000,000 bytes>, extension='bin')" == repr(File.from_content(b"a" * 1_000_000))


def test_file_can_be_copied_and_sent_to_another_process() -> None:
    file = File.from_content("a", extension="md")

    for other in (copy.deepcopy(file), pickle.loads(pickle.dumps(file))):
        assert (b"a", "md") == (other.content, other.extension)


def test_one_class_under_each_of_its_names() -> None:
    assert naiad.File is naiad.types.File is File
    assert "file" == File.kind


def test_refusals_are_errors_of_naiad_and_of_python() -> None:
    with pytest.raises(NaiadError):
        File.create_from(None)
    with pytest.raises(TypeError):
        File.create_from(None)


def test_making_files_of_paths_and_content_loads_nothing_heavy() -> None:
    code = "import sys; from naiad.types import File; File('a'); File.from_content('a'); print(*sys.modules)"
    modules = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())

    assert set() == modules & {"numpy", "pandas", "PIL", "pluggy", "naiad.hookspecs"}


class Shown:
    """Shows itself in notebooks; the text is HTML already."""

    def __init__(self, body: Any) -> None:
        self.body = body

    def _repr_html_(self) -> Any:
        if isinstance(self.body, Exception):
            raise self.body
        return self.body


def test_object_that_notebooks_can_show_is_a_page(run: naiad.Run) -> None:
    run["fragment"].upload(Shown("<b>ä</b>"))
    run["page"].upload(File.as_html(Shown("<html><body>b</body></html>")))
    run["series"].append(Shown("<i>c</i>"))

    assert '<meta charset="utf-8">' in run["fragment"].fetch_content().decode()
    assert "<b>ä</b>" in run["fragment"].fetch_content().decode()
    assert b"<html><body>b</body></html>" == run["page"].fetch_content()
    assert ["html"] == [each.extension for each in run["series"].fetch_files()]


@pytest.mark.parametrize("subject", [Shown(None), Shown(ValueError("no")), Shown])
def test_object_that_shows_nothing_is_no_page(subject: Any) -> None:
    assert not File.is_convertable_to_html(subject)
    with pytest.raises(NaiadTypeError):
        File.as_html(subject)


def test_excerpt_of_a_run_is_no_page(run: naiad.Run) -> None:
    assert not File.is_convertable_to_html(run)
    assert not File.is_convertable_to_html(run["a"])
