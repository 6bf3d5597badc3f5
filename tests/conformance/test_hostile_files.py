"""Hostile files: names, archives and contents that want to be more than data, and what is no file.

The rows on files of reliability.md, sections 6 and 7: a test a row, through runs. Whatever a foreign store says,
nothing is written outside the destination (the rest of the canary tree stays as it was), and nothing is ever unpickled.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import pickle
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from disks import mounted

import naiad
from naiad.errors import (
    EmptyLocation,
    FileError,
    FileNotFound,
    FileWarning,
    NaiadError,
    NaiadTypeError,
    UnsafeName,
    UnsupportedFile,
    forget_warnings,
)
from naiad.ops import Assign, Members, Strings
from naiad.refs import ArtifactRef, FileRef
from naiad.storage.local.integrity.verify import verify
from naiad.types import File

SMALL = b"small"
LARGE = bytes(range(256)) * 100
HOSTILE = [
    "../escape",
    "../../../../../../escape",
    "a/../../escape",
    "/escape",
    "//escape",
    "{root}/canary/escape",
    "C:\\escape",
    "C:escape",
    "..\\..\\escape",
    "\\\\host\\share\\escape",
    "nul\0escape",
    "line\nescape",
    "\x1b[2Jescape",
    "..",
    ".",
    "",
    "/",
    "...",
    "a/./b//c/",
    "~/escape",
    "$HOME/escape",
    "CON",
    "file:///escape",
    "%2e%2e%2fescape",
    "\u202egpj.exe",
    "\ud800",
    "x" * 300,
    "ä" * 200,
    "/".join(["d" * 200] * 30),
    ".naiad/catalog.db",
]


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_warnings()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def canary(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder deep in a tree, for everything that is downloaded. The rest of the tree must not change."""
    place = tmp_path / "root" / "canary" / "out"
    place.mkdir(parents=True)
    (tmp_path / "root" / "canary" / "file").write_text("canary")
    (tmp_path / "root" / "file").write_text("canary")
    monkeypatch.setenv("HOME", str(tmp_path / "root" / "canary"))
    before = tree(tmp_path, place, store)
    yield place
    assert before == tree(tmp_path, place, store)


def tree(root: Path, *without: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not any(path.is_relative_to(each) for each in (*without, root / "cache", root / "given"))
    }


def downloaded(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if not path.is_dir())


def log(run: naiad.Run, *ops: Any) -> None:
    """Write what no verb of ours would: as a foreign store could have it."""
    run._session.writer.log(ops)
    run._session.refresh()


def at(run: naiad.Run) -> float:
    return run._session.writer.now()


def hostile(place: Path) -> list[str]:
    return [name.replace("{root}", str(place.parents[1])) for name in HOSTILE]


# Section 7, traversal: names on the way out.


def test_extension_of_a_file_cannot_lead_out_of_the_destination(run: naiad.Run, canary: Path) -> None:
    for number, extension in enumerate(hostile(canary)):
        folder = canary / str(number)
        folder.mkdir()
        log(run, Assign("a/b", "file", FileRef.of_bytes(SMALL, extension).to_text(), at(run)))

        run["a/b"].download(folder)

        (name,) = downloaded(folder)
        assert "/" not in name
        assert SMALL == (folder / name).read_bytes()


@pytest.mark.filterwarnings("ignore::naiad.errors.DamageWarning")  # an op with a path like `..` reads as damage
def test_path_of_a_field_cannot_lead_out_of_the_destination(run: naiad.Run, canary: Path) -> None:
    for number, path in enumerate(each for each in hostile(canary) if each and "\ud800" not in each):
        folder = canary / str(number)
        folder.mkdir()
        log(run, Assign(f"f{number}/{path}", "file", FileRef.of_bytes(SMALL).to_text(), at(run)))
        field = run._session.tree.get(f"f{number}/{path}")
        if field is None:
            continue

        field.download(folder)

        assert 1 == len(downloaded(folder))


def test_names_and_extensions_of_a_series_cannot_lead_out_of_the_destination(run: naiad.Run, canary: Path) -> None:
    names = hostile(canary)
    texts = [FileRef(5, name, SMALL, name=name, description=name).to_text() for name in names]
    log(run, Strings("s", texts, list(range(len(texts))), [0.0] * len(texts), False, at(run), "file_series"))

    run["s"].download(canary)
    run["s"].download_last(canary / "last")

    assert len(names) + 1 == len(downloaded(canary))
    assert all("/" not in name or name.startswith("last/") for name in downloaded(canary))


def test_names_in_a_set_are_harmless_in_its_zip(run: naiad.Run, canary: Path) -> None:
    """Section 7, archive extraction: `..`, absolute, drives, NUL, newlines, long, duplicate and case-twin names."""
    names = [name for name in hostile(canary) if "\ud800" not in name]
    names += ["Twin", "twin", "a", "a/b", "x/../a", "./a", "A"]
    kept = {name: FileRef.of_bytes(str(number).encode()).to_text() for number, name in enumerate(names)}
    log(run, Members("set", kept, [], False, at(run)))

    run["set"].download(canary)

    with zipfile.ZipFile(canary / "set.zip") as archive:
        entries = archive.infolist()
        assert len({entry.filename for entry in entries}) == len(entries)
        files = [entry for entry in entries if not entry.is_dir()]
        assert sorted(str(number).encode() for number in range(len(names))) == sorted(map(archive.read, files))
        for entry in entries:
            assert stat.S_ISREG(entry.external_attr >> 16) or entry.is_dir()  # no link, no device
            assert not entry.filename.startswith("/")
            assert not {"..", "."} & set(entry.filename.split("/"))
            assert entry.filename.isprintable()
            assert all(len(part.encode()) <= 255 for part in entry.filename.split("/"))
        (canary / "extracted").mkdir()
        archive.extractall(canary / "extracted")
    assert len(names) == len(downloaded(canary / "extracted"))


def test_tracked_paths_cannot_lead_out_of_the_destination(run: naiad.Run, canary: Path, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    original = tmp_path / "given" / "original"
    original.write_bytes(SMALL)
    names = [*hostile(canary), "Twin", "twin", "a", "a/b"]
    digest = hashlib.sha256(SMALL).hexdigest()
    facts = [[name, digest, 5, 0, "Local", f"file://{original}"] for name in names]
    manifest = FileRef.of_bytes(json.dumps(facts).encode(), "json").to_text()
    log(run, Assign("art", "artifact", ArtifactRef("0" * 64, len(facts), 5, manifest).to_text(), at(run)))

    run["art"].download(canary)

    assert len(names) == len(downloaded(canary))
    assert {SMALL} == {(canary / name).read_bytes() for name in downloaded(canary)}
    assert SMALL == original.read_bytes()


@pytest.mark.parametrize(
    "location", ["file:///dev/zero", "file:///dev/stdin", "nowhere://x", "", "file://", "file:///"]
)
def test_tracked_location_that_is_no_file_is_refused(run: naiad.Run, canary: Path, location: str) -> None:
    manifest = FileRef.of_bytes(json.dumps([["a", "0" * 64, 5, 0, "Local", location]]).encode()).to_text()
    log(run, Assign("art", "artifact", ArtifactRef("0" * 64, 1, 5, manifest).to_text(), at(run)))

    with pytest.raises((FileError, NaiadError)):
        run["art"].download(canary)

    assert [] == downloaded(canary)


@pytest.mark.parametrize("blob", ["../../catalog.db", "/etc/passwd", "x" * 64, "a.b", "\0" * 64, "incoming/../../x"])
def test_name_of_content_cannot_be_a_path(run: naiad.Run, canary: Path, blob: str) -> None:
    text = json.dumps({"size": 5, "blob": blob})
    log(run, Assign("a", "file", text, at(run)), Members("set", {"a": text}, [], False, at(run)))

    for path in ("a", "set"):
        with pytest.raises(NaiadError, match="damaged"):
            run[path].download(canary)

    assert [] == downloaded(canary)


def test_link_in_the_destination_is_not_followed_out_of_it(run: naiad.Run, canary: Path, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "a").write_bytes(SMALL)
    (canary / "sub").symlink_to(canary.parent)
    (canary / "b.txt").symlink_to(canary.parent / "file")
    (canary / "0.txt").symlink_to(canary.parent / "file")
    (canary / "set.zip").symlink_to(canary.parent / "file")
    run["art"].track_files(tmp_path / "given" / "a", destination="sub")
    run["b"].upload(File.from_content("new"))
    run["s"].append(File.from_content("new"))
    run["set"].upload_files(tmp_path / "given" / "a")

    with pytest.raises(UnsafeName, match="leads out"):
        run["art"].download(canary)
    for path in ("b", "s", "set"):
        run[path].download(canary)

    assert not (canary / "b.txt").is_symlink()
    assert "new" == (canary / "b.txt").read_text() == (canary / "0.txt").read_text()


def test_hard_link_in_the_destination_is_replaced_and_not_written_through(run: naiad.Run, canary: Path) -> None:
    os.link(canary.parent / "file", canary / "b.txt")
    run["b"].upload(File.from_content("new"))

    run["b"].download(canary)

    assert "new" == (canary / "b.txt").read_text()


# Section 6: links and names on the way in.


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "given" / "inner").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "given" / "a").write_bytes(SMALL)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "given"


def test_symlink_in_upload_files_is_followed_only_inside_the_root_given(run: naiad.Run, given: Path) -> None:
    (given / "inner" / "good").symlink_to("../a")
    (given / "bad").symlink_to("../secret")
    (given / "worse").symlink_to("/etc")
    (given / "circle").symlink_to(".")
    (given / "nothing").symlink_to("gone")

    with pytest.warns(FileWarning) as said:
        run["set"].upload_files("given")

    names = sorted(run._session.reader.members("set"))
    assert ["given/a", "given/inner/good"] == names
    assert {"bad", "worse", "circle", "nothing"} == {Path(str(each.message).split("'")[1]).name for each in said}


def test_hard_link_is_a_file_like_any_other(run: naiad.Run, given: Path) -> None:
    os.link(given / "a", given / "b")

    run["set"].upload_files("given/b")
    (given / "a").write_bytes(b"changed through the other name")

    with run["set"].open_file("given/b") as stream:
        assert SMALL == stream.read()


def test_odd_names_are_stored_as_they_are(run: naiad.Run, given: Path, tmp_path: Path) -> None:
    names = [
        "line\nbreak",
        "tab\t",
        "C:\\x",
        "..hidden",
        "a;b",
        "-rf",
        "CON",
        "é",
        "e\u0301",
        "Twin",
        "twin",
        "n" * 255,
    ]
    names += [os.fsdecode(b"\xff")]
    for name in names:
        (given / name).write_bytes(os.fsencode(name))

    run["set"].upload_files(given)
    run["set"].download(tmp_path / "given" / "out.zip")

    listed = [entry.name for entry in run["set"].list_fileset_files("given")]
    assert sorted([*names, "a"]) == sorted(listed)
    with zipfile.ZipFile(given / "out.zip") as archive:
        assert len(names) + 2 == len(set(archive.namelist()))


# Section 6: what is no file.


@pytest.fixture
def nothing_to_read(given: Path) -> Iterator[dict[str, Path]]:
    os.mkfifo(given / "pipe")
    server = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(given)  # the address of a socket is short
    server.bind("socket")
    os.chdir(here)
    (given / "link").symlink_to("pipe")
    (given / "dangling").symlink_to("gone")
    yield {
        "a pipe": given / "pipe",
        "a socket": given / "socket",
        "a device": Path("/dev/null"),
        "a folder": given / "inner",
        "not a file": given / "link",
        "no file": given / "gone",
        "a link to": given / "dangling",
    }
    server.close()


KINDS = ["a pipe", "a socket", "a device", "a folder", "not a file", "no file", "a link to"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_at_the_call_by_its_kind(
    run: naiad.Run, store: Path, nothing_to_read: dict[str, Path], kind: str
) -> None:
    place = nothing_to_read[kind]
    expected = FileNotFound if kind in ("no file", "a link to") else UnsupportedFile
    for act in (
        lambda: run["a"].upload(str(place)),
        lambda: run["a"].assign(File(place)),
        lambda: run["a"].append(File(place)),
        lambda: run["a"].extend([File.from_content(LARGE), File(place)]),
        lambda: run.assign({"b": File.from_content(LARGE), "a": File(place)}),
    ):
        with pytest.raises(expected, match=kind):
            act()
    if kind not in ("a folder", "no file"):
        with pytest.raises(FileError):
            run["a"].upload_files(["given/a", str(place)])
    if kind not in ("a folder",):
        with pytest.raises((FileError, EmptyLocation)):
            run["a"].track_files(place)

    assert not run.exists("a")
    assert not run.exists("b")
    assert [] == list((store / "blobs").glob("incoming/*"))


def test_pipes_and_devices_within_a_folder_are_left_out_with_a_word(
    run: naiad.Run, given: Path, nothing_to_read: dict[str, Path]
) -> None:
    with pytest.warns(FileWarning) as said:
        run["set"].upload_files("given")
    forget_warnings()
    with pytest.warns(FileWarning):
        run["art"].track_files("given")

    assert ["given/a"] == list(run._session.reader.members("set"))
    assert ["a"] == [file.file_path for file in run["art"].fetch_files_list()]
    assert {"pipe", "socket", "link", "dangling"} == {Path(str(each.message).split("'")[1]).name for each in said}


UNPRIVILEGED = """
import sys
import naiad
from naiad.errors import UnreadableFile
folder = sys.argv[1]
run = naiad.init_run(store=sys.argv[2])
for act in (
    lambda: run["a"].upload(f"{folder}/unreadable"),
    lambda: run["a"].append(naiad.types.File(f"{folder}/unreadable")),
    lambda: run["a"].upload_files([f"{folder}/a", f"{folder}/unreadable"]),
    lambda: run["a"].track_files(f"{folder}/unreadable"),
    lambda: run["a"].upload(f"{folder}/closed/file"),
):
    try:
        act()
    except UnreadableFile as error:
        print(type(error).__name__, isinstance(error, PermissionError), error.errno)
    assert not run.exists("a")
run.stop()
"""


def _give_up_reading_everything() -> None:
    """In a child of root, before the program: from then on the modes of files count for it too."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def test_file_that_may_not_be_read_is_refused_at_the_call(given: Path, tmp_path: Path) -> None:
    (given / "unreadable").write_bytes(LARGE)
    (given / "unreadable").chmod(0)
    (given / "closed").mkdir(mode=0)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", UNPRIVILEGED, str(given), str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=_give_up_reading_everything,
    )

    assert (["UnreadableFile True 13"] * 5, "") == (done.stdout.splitlines(), done.stderr)


def test_file_that_vanishes_while_a_set_is_taken_in_is_refused(run: naiad.Run, store: Path, given: Path) -> None:
    (given / "large").write_bytes(LARGE)
    (given / "z").write_bytes(LARGE)

    class Vanishing(naiad.typing.ProgressBarCallback):
        def update(self, *, by: int, total: int | None = None) -> None:
            (given / "z").unlink(missing_ok=True)

    with pytest.raises(FileNotFound, match="z"):
        run["set"].upload_files("given", progress_bar=Vanishing)

    assert not run.exists("set")
    assert [] == list((store / "blobs").glob("incoming/*"))


@pytest.mark.filterwarnings("ignore:.*is empty at the moment:naiad.errors.FileWarning")  # it is meant to be
def test_file_that_grows_while_it_is_read_is_some_snapshot_with_its_own_hash(run: naiad.Run, given: Path) -> None:
    done = threading.Event()
    path = given / "growing"
    path.write_bytes(b"")

    def grow() -> None:
        with path.open("ab") as stream:
            while not done.is_set() and stream.tell() < 16 * 2**20:
                stream.write(LARGE)
                stream.flush()

    thread = threading.Thread(target=grow)
    thread.start()
    for _ in range(8):
        run["s"].append(File(path))
    done.set()
    thread.join()
    run.wait()

    frame = run["s"].fetch_values()
    for file, size, sha256 in zip(run["s"].fetch_files(), frame["size"], frame["sha256"], strict=True):
        content = file.content
        assert size == len(content)
        assert hashlib.sha256(content).hexdigest() == sha256
        assert (LARGE * (size // len(LARGE) + 1)).startswith(content)


@pytest.mark.filterwarnings("ignore:.*is empty at the moment:naiad.errors.FileWarning")  # it is meant to be
@pytest.mark.parametrize("size", [0, 2**30], ids=["empty", "sparse"])
def test_file_of_any_size_is_taken_with_bounded_memory(run: naiad.Run, given: Path, size: int) -> None:
    if size:
        free = os.statvfs(given)
        if free.f_bavail * free.f_frsize < 2**30:
            pytest.skip("the disk is nearly full")
    with (given / "sized").open("wb") as stream:
        stream.truncate(size)

    before = peak()
    run["a"].upload("given/sized")

    assert peak() - before <= 32 * 1024  # KiB
    if not size:
        assert b"" == run["a"].fetch_content()
    run["a"].pop()


def peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    return 0


# Section 7: pickle.


class Canary:
    """Whoever unpickles this is found out."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, ("touch unpickled",)


def test_nothing_is_ever_unpickled(run: naiad.Run, given: Path, store: Path) -> None:
    bomb = pickle.dumps(Canary())
    (given / "bomb.pkl").write_bytes(bomb)

    run["a"].upload(File.as_pickle(Canary()))
    run["b"].upload("given/bomb.pkl")
    run["s"].append(File.from_content(bomb, extension="pkl"))
    run["set"].upload_files("given")
    run["art"].track_files("given")
    run["c"] = run["a"]
    name = run["sys/id"].fetch()
    run.stop()
    with naiad.init_run(with_id=name) as again:
        assert [bomb] * 4 == [
            *(again[path].fetch_content() for path in "abc"),
            *(file.content for file in again["s"].fetch_files()),
        ]
        for path in ("a", "b", "s", "set", "art"):
            again[path].download(given / "out" / path)
        again["s"].fetch_values()
        again["art"].fetch()
        again.fetch()
        again.print_structure()
    assert [] == verify(run._store.directory(run._run))

    assert not list(given.parent.rglob("unpickled"))


def test_object_that_cannot_be_pickled_is_refused_at_the_call(run: naiad.Run) -> None:
    """Section 6: `File.as_pickle` of a lambda."""
    for value in (lambda: None, open(os.devnull), (each for each in [])):  # noqa: SIM115 (closed below)
        with pytest.raises(NaiadTypeError, match="cannot be pickled"):
            run["a"].upload(File.as_pickle(value))
        getattr(value, "close", lambda: None)()

    assert not run.exists("a")


# A full disk.

FULL = """
import errno, json, sys, warnings
said = []
warnings.simplefilter("always")
warnings.showwarning = lambda message, category, *_: said.append(f"{category.__name__}: {message}")
import naiad
run = naiad.init_run(on_error=sys.argv[1])
run["kept"].upload(b"k" * 100_000, wait=True)
raised = []
for number in range(3):
    for act in (
        lambda: run["large"].upload(b"x" * 2**24),
        lambda: run["large"].upload(sys.argv[2]),
        lambda: run["series"].append(b"x" * 2**24),
        lambda: run["set"].upload_files(sys.argv[2]),
        lambda: run["dict"].assign({"a": 1, "b": naiad.types.File(sys.argv[2])}),
    ):
        try:
            act()
        except naiad.errors.StorageError as error:
            raised.append(error.errno == errno.ENOSPC)
    run["loss"].append(number / 2)
run["small"].upload(b"few")
kept, small = run["kept"].fetch_content(), run["small"].fetch_content()
found = [kept == b"k" * 100_000, small == b"few", len(run["loss"].fetch_values())]
exists = [run.exists(path) for path in ("large", "series", "set")]
run.stop()
print(json.dumps({"said": said, "raised": raised, "found": found, "exists": exists, "id": run._id}))
"""


@pytest.mark.parametrize("on_error", ["warn", "raise"])
def test_full_disk_costs_the_file_and_not_the_training(tmp_path: Path, on_error: str, store: Path) -> None:
    (tmp_path / "large").write_bytes(b"y" * 2**24)
    with mounted(tmp_path / "disk", "8m") as disk:
        done = subprocess.run(
            [sys.executable, "-c", FULL, on_error, str(tmp_path / "large")],
            env=os.environ | {"NAIAD_STORE": str(disk / "store")},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert 0 == done.returncode, done.stderr
        told = json.loads(done.stdout)
        assert [True, True, 3] == told["found"]
        assert [False] * 3 == told["exists"]
        if on_error == "raise":
            assert [True] * 15 == told["raised"]
        else:
            assert [] == told["raised"]
            paths = [text.split('"')[1] for text in told["said"]]
            assert ["dict/b", "large", "series", "set"] == sorted(paths)
            assert all(text.startswith("StorageWarning") and "No space left" in text for text in told["said"])
        with naiad.init_run(with_id=told["id"], store=disk / "store", mode="read-only") as run:
            assert b"few" == run["small"].fetch_content()
        assert [] == verify(run._store.directory(run._run))
        assert [] == list((disk / "store" / "blobs").glob("incoming/*"))
