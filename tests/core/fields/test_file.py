"""One file under one path: what goes in is what comes out."""

from __future__ import annotations

import io
import os
from pathlib import Path, PurePath
from typing import Any

import pytest

import naiad
from naiad.errors import (
    DamagedData,
    FieldConflict,
    FileNotFound,
    InvalidArgument,
    MissingField,
    NaiadTypeError,
    UnsupportedFile,
    UnsupportedValue,
    UnsupportedValueWarning,
    WrongVerb,
    forget_warnings,
)
from naiad.ops import Assign
from naiad.refs import FileRef
from naiad.types import File

FEW = b"a,b\n1,2\n"
MANY = bytes(range(256)) * 1000


def incoming(store: Path) -> list[str]:
    folder = store / "blobs" / "incoming"
    return sorted(os.listdir(folder)) if folder.exists() else []


@pytest.mark.filterwarnings("ignore:.*is empty at the moment:naiad.errors.FileWarning")  # it is meant to be
@pytest.mark.parametrize("content", [b"", FEW, b"x" * 4095, b"x" * 4096, MANY], ids=len)
def test_path_is_stored_with_content_and_extension(run: naiad.Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sample.tar.gz").write_bytes(content)

    run["data/sample"].upload(str(tmp_path / "sample.tar.gz"))

    assert content == run["data/sample"].fetch_content()
    assert "gz" == run["data/sample"].fetch_extension()


@pytest.mark.parametrize(
    ("value", "content", "extension"),
    [
        (FEW, FEW, "bin"),
        (bytearray(FEW), FEW, "bin"),
        (memoryview(FEW), FEW, "bin"),
        (io.BytesIO(FEW), FEW, "bin"),
        (io.StringIO("ä\ud800"), "ä\ud800".encode("utf-8", "surrogatepass"), "txt"),
        (File.from_content("text"), b"text", "txt"),
        (File.from_content(FEW, extension=".csv"), FEW, ".csv"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_in_memory_is_uploaded_and_assigned(run: naiad.Run, value: Any, content: bytes, extension: str) -> None:
    run["a"].upload(value)
    run["b"] = File.create_from(value)

    assert [(content, extension)] * 2 == [(run[at].fetch_content(), run[at].fetch_extension()) for at in "ab"]


def test_content_is_that_of_the_moment_of_the_call(run: naiad.Run, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(MANY)

    run["model"].upload(str(path))
    path.write_bytes(b"changed")
    run["later"].upload(path)
    path.unlink()

    assert MANY == run["model"].fetch_content()
    assert b"changed" == run["later"].fetch_content()


def test_second_upload_replaces_content_and_extension(run: naiad.Run) -> None:
    run["a"].upload(File.from_content(MANY, extension="csv"))
    run["a"].upload(File.from_content("now"))

    assert (b"now", "txt") == (run["a"].fetch_content(), run["a"].fetch_extension())


def test_home_is_known(run: naiad.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_bytes(FEW)

    run["a"].upload("~/a.txt")
    run["a"].download("~/b.txt")

    assert FEW == (tmp_path / "b.txt").read_bytes()


@pytest.mark.parametrize("destination", [None, "folder", Path("folder"), "folder/new/name.txt", b"folder"], ids=repr)
def test_download_goes_where_it_is_told(
    run: naiad.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, destination: Any
) -> None:
    (tmp_path / "here" / "folder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    run["data/sample"].upload(File.from_content(MANY, extension="csv"))

    run["data/sample"].download(destination)

    expected = {None: "sample.csv", "folder/new/name.txt": "folder/new/name.txt"}
    place = Path(expected.get(destination, "folder/sample.csv"))
    assert MANY == place.read_bytes()
    assert [place] == [path for path in Path().rglob("*") if path.is_file()]


def test_download_replaces_what_is_there(run: naiad.Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"something longer than the new content")
    (tmp_path / "link").symlink_to("a")
    run["x"].upload(b"new")

    run["x"].download(tmp_path / "a")
    run["x"].download(tmp_path / "link")

    assert [b"new", b"new"] == [(tmp_path / name).read_bytes() for name in ("a", "link")]


def test_field_without_extension_is_saved_under_its_name(run: naiad.Run, tmp_path: Path) -> None:
    run["a/b"].upload(File.from_content(FEW, extension=""))

    run["a/b"].download(tmp_path)

    assert "" == run["a/b"].fetch_extension()
    assert FEW == (tmp_path / "b").read_bytes()


def test_dot_of_an_extension_is_not_doubled(run: naiad.Run, tmp_path: Path) -> None:
    run["b"].upload(File.from_content(FEW, extension=".csv"))

    run["b"].download(tmp_path)

    assert FEW == (tmp_path / "b.csv").read_bytes()


def test_missing_file_raises_at_the_call_and_leaves_no_trace(run: naiad.Run, tmp_path: Path) -> None:
    for verb in (run["a"].upload, run["a"].append):
        with pytest.raises(FileNotFound, match="none"):
            verb(tmp_path / "none")
    with pytest.raises(FileNotFound, match="none"):
        run["a"] = File(str(tmp_path / "none"))

    assert not run.exists("a")


def test_path_with_a_nul_names_no_file(run: naiad.Run) -> None:
    with pytest.raises(FileNotFound, match="no file"):
        run["a"].upload("x\0y")

    assert not run.exists("a")


def test_folder_is_no_file(run: naiad.Run, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFile, match="is a folder"):
        run["a"].upload(tmp_path)


@pytest.mark.parametrize("value", [None, 5, 0.5, {"a": 1}, object(), [b"a"]])
def test_what_makes_no_file_is_refused_at_the_call(run: naiad.Run, value: Any) -> None:
    with pytest.raises(NaiadTypeError, match="a file"):
        run["a"].upload(value)

    assert not run.exists("a")


def test_text_is_no_file_to_assign_and_the_remedy_is_named(run: naiad.Run) -> None:
    run["a"].upload(FEW)

    with pytest.raises(NaiadTypeError, match=r"run\['a'\].upload"):
        run["a"] = "data.csv"

    assert FEW == run["a"].fetch_content()


def test_path_object_assigned_to_a_new_field_is_a_text_and_to_a_file_its_content(
    run: naiad.Run, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(FEW)
    run["file"].upload(b"old")

    run["text"] = tmp_path / "a"
    run["file"] = tmp_path / "a"

    assert str(tmp_path / "a") == run["text"].fetch()
    assert FEW == run["file"].fetch_content()


@pytest.mark.parametrize(
    "verb", ["append", "extend", "log", "add", "fetch", "fetch_last", "fetch_values", "fetch_hash"]
)
def test_verb_of_another_kind_is_refused_and_says_what_there_is(run: naiad.Run, verb: str) -> None:
    run["a"].upload(FEW)
    arguments = [] if verb.startswith("fetch") else [["x"]]

    with pytest.raises(WrongVerb, match='"a" is a File'):
        getattr(run["a"], verb)(*arguments)

    assert FEW == run["a"].fetch_content()


@pytest.mark.parametrize("path", ["a", "a/b", "sys/name", ""])
def test_upload_where_no_file_can_be_keeps_nothing(run: naiad.Run, store: Path, path: str) -> None:
    run["a"] = 1

    with pytest.raises((WrongVerb, FieldConflict, NaiadTypeError)):
        run[path].upload(MANY)

    assert [] == incoming(store)
    assert 1 == run["a"].fetch()


def test_upload_is_refused_after_stop(run: naiad.Run, store: Path) -> None:
    run.stop()

    with pytest.raises(naiad.errors.InactiveRun):
        run["a"].upload(MANY)

    assert [] == incoming(store)


def test_file_is_copied_between_fields_and_runs(run: naiad.Run, store: Path) -> None:
    run["a"].upload(File.from_content(MANY, extension="csv"), wait=True)
    with naiad.init_run() as other:
        run["b"] = run["a"]
        other["c"] = run["a"]
        other["ns"] = {"d": run.get_attribute("a")}

        found = [each.fetch_content() for each in (run["b"], other["c"], other["ns/d"])]
        assert [MANY] * 3 == found
        assert "csv" == other["ns/d"].fetch_extension()
    blobs = list((store / "blobs").glob("??/*"))
    assert 1 == len(blobs)


def test_file_is_copied_before_it_is_settled(run: naiad.Run) -> None:
    for _ in range(5):
        run["a"].upload(MANY + os.urandom(10))
        run["b"] = run["a"]

        assert run["a"].fetch_content() == run["b"].fetch_content()


def test_copy_stays_when_the_original_goes(run: naiad.Run) -> None:
    run["a"].upload(MANY)
    run["b"] = run["a"]
    run["a"].pop()

    assert MANY == run["b"].fetch_content()
    with pytest.raises(MissingField):
        run["a"].fetch_content()


def test_upload_after_pop_begins_anew(run: naiad.Run) -> None:
    run["a"].upload(MANY)
    run["a"].pop()
    run["a"].upload(File.from_content("new"))

    assert (b"new", "txt") == (run["a"].fetch_content(), run["a"].fetch_extension())


def test_namespace_leaves_files_out(run: naiad.Run) -> None:
    run["ns/file"].upload(FEW)
    run["ns/lr"] = 0.5

    assert {"lr": 0.5} == run["ns"].fetch()


def test_file_and_namespace_conflict(run: naiad.Run) -> None:
    run["a"].upload(FEW)

    with pytest.raises(FieldConflict):
        run["a/b"].upload(FEW)
    with pytest.raises(FieldConflict):
        run["a"] = {"b": 1}


def test_dict_of_files_is_assigned_or_nothing_is(run: naiad.Run, store: Path, tmp_path: Path) -> None:
    run["ok"] = {"a": File.from_content(FEW), "b": {"c": File.from_content("x")}}
    with pytest.raises(FileNotFound):
        run["bad"] = {"a": File.from_content(MANY), "b": File(tmp_path / "none")}

    assert (FEW, b"x") == (run["ok/a"].fetch_content(), run["ok/b/c"].fetch_content())
    assert not run.exists("bad/a")
    assert [] == incoming(store)


def test_bytes_assigned_are_left_out_with_a_word_and_upload_takes_them(run: naiad.Run) -> None:
    forget_warnings()
    with pytest.warns(UnsupportedValueWarning, match='"a"'):
        run["a"] = b"bytes"
    run["b"].upload(b"bytes")

    assert not run.exists("a")
    assert b"bytes" == run["b"].fetch_content()


def test_object_without_a_file_is_left_out_with_a_word_or_raises_when_strict(store: Path) -> None:
    forget_warnings()
    with naiad.init_run(strict=True) as run, pytest.raises(UnsupportedValue):
        run["a"] = b"bytes"


def test_stream_is_read_at_once_and_left_open(run: naiad.Run, tmp_path: Path) -> None:
    (tmp_path / "image.jpg").write_bytes(MANY)
    with (tmp_path / "image.jpg").open("rb") as stream:
        run["a"].upload(File.from_stream(stream, extension="jpg"))
        run["b"].upload(File.from_stream(stream, seek=256, extension="jpg"))
        assert not stream.closed

    assert (MANY, MANY[256:]) == (run["a"].fetch_content(), run["b"].fetch_content())


def test_another_process_reads_the_file_while_the_run_goes_on(run: naiad.Run) -> None:
    run["a"].upload(MANY)
    with naiad.init_run(with_id=run["sys/id"].fetch(), mode="read-only") as reader:
        assert MANY == reader["a"].fetch_content()

        run["a"].upload(b"new")

        assert b"new" == reader["a"].fetch_content()


def test_download_sees_the_field_that_replaced_it_in_another_process(run: naiad.Run, tmp_path: Path) -> None:
    run["a"].upload(MANY)
    field = run.get_attribute("a")
    with naiad.init_run(with_id=run["sys/id"].fetch()) as other:
        other["a"].pop()
        other["a"].upload_files(__file__)

    field.download(tmp_path)

    assert (tmp_path / "a.zip").exists()


def test_missing_content_is_damage_that_is_named(run: naiad.Run, store: Path) -> None:
    run["a"].upload(MANY, wait=True)
    run.wait()
    (blob,) = (store / "blobs").glob("??/*")
    blob.unlink()

    with pytest.raises(DamagedData, match="it is missing"):
        run["a"].fetch_content()


def test_changed_content_is_damage_that_is_never_handed_out(run: naiad.Run, store: Path, tmp_path: Path) -> None:
    run["a"].upload(MANY, wait=True)
    (blob,) = (store / "blobs").glob("??/*")
    blob.chmod(0o644)
    blob.write_bytes(MANY[::-1])

    with pytest.raises(DamagedData, match="not the content that was stored"):
        run["a"].download(tmp_path / "out")

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"size": "x"}', '{"size": 1, "blob": "../../etc/passwd"}', '{"size": -1}', "[" * 9999],
    ids=lambda text: text[:20],
)
def test_nonsense_in_the_store_is_damage(run: naiad.Run, tmp_path: Path, text: str) -> None:
    run["a"].upload(FEW)
    run._session.writer.log([Assign("a", "file", text, run._session.writer.now())])

    with pytest.raises(DamagedData):
        run["a"].download(tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_stored_file_is_shown_by_its_size(run: naiad.Run) -> None:
    run["a"].append(File.from_content(FEW, extension="csv"))

    (file,) = run["a"].fetch_files()

    assert "StoredFile(<8 bytes>, extension='csv')" == repr(file)
    assert '<File field at "b">' == repr((run["b"].upload(FEW), run.get_attribute("b"))[1])


def test_kept_file_can_be_assigned(run: naiad.Run) -> None:
    run["a"] = FileRef.of_bytes(FEW, "csv")

    assert (FEW, "csv") == (run["a"].fetch_content(), run["a"].fetch_extension())


def test_pure_path_is_uploaded(run: naiad.Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(FEW)

    run["a"].upload(PurePath(tmp_path / "a.csv"))

    assert FEW == run["a"].fetch_content()


@pytest.mark.parametrize(
    "value", [__file__, Path(__file__), FEW, File.from_content(FEW)], ids=lambda each: type(each).__name__
)
def test_option_that_means_nothing_for_a_file_is_refused(run: naiad.Run, value: Any) -> None:
    """A mistyped `wait` must not pass for an option of a chart."""
    with pytest.raises(InvalidArgument, match="wiat="):
        run["a"].upload(value, wiat=True)

    assert not run.exists("a")


def test_field_itself_has_the_verbs_with_all_their_arguments(run: naiad.Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(FEW)
    run["file"].upload(b"old")
    run["series"].append(b"old")
    run["set"].upload_files(__file__)
    run["artifact"].track_files(__file__)

    run.get_attribute("file").upload(tmp_path / "a.csv", wait=True)
    run.get_attribute("series").append(FEW, step=5, name="n", description="d", wait=True)
    run.get_attribute("set").upload_files(tmp_path / "a.csv", wait=True, progress_bar=False)
    run.get_attribute("artifact").track_files(tmp_path / "a.csv", destination="in", wait=True, progress_bar=False)

    assert FEW == run["file"].fetch_content()
    assert [None, "n"] == run["series"].fetch_values()["name"].tolist()
    assert 2 == len(run._session.reader.members("set"))
    assert "in/a.csv" == run["artifact"].fetch_files_list()[0].file_path
