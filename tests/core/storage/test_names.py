"""Names from data: whatever they say, what is written lies below the folder that the user named."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from naiad.disk import replacing
from naiad.errors import UnsafeName
from naiad.files.names import folders, is_case_blind, normal, safe_join, safe_name, safe_names

PARTS = st.one_of(
    st.sampled_from(["", ".", "..", "...", "a", "A", "b.csv", "a~2", " ", "~", ".git", "-rf", "$(x)", "é", "e\u0301"]),
    st.sampled_from(["C:", "c:\\x", "\\\\host\\share", "con", "NUL.txt", "aux ", "a.", "..\\..", "a:stream"]),
    st.sampled_from(["%2e%2e", "..%2f", "a\0b", "a\nb", "a\rb", "\x1b[2J", "\udce9", "\u202etxt.exe", "x" * 300]),
    st.text(max_size=12),
)
NAMES = st.builds("/".join, st.lists(PARTS, min_size=1, max_size=5))


def written(destination: Path, names: list[str]) -> dict[str, Path]:
    """Make a file of each name, holding its name, as downloads do."""
    found = {}
    for name, path in safe_names(names).items():
        found[name] = safe_join(destination, path)
        found[name].parent.mkdir(parents=True, exist_ok=True)
        with replacing(found[name]) as fd:
            os.write(fd, name.encode("utf-8", "surrogatepass"))
    return found


def tree(folder: Path) -> dict[str, bytes]:
    """Everything in a folder: links by what they lead to, files by content."""
    return {
        os.path.relpath(path, folder): os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@settings(deadline=None)
@given(st.lists(NAMES, max_size=12, unique=True))
@example(["..", "../..", "/etc/passwd", "a/../../b", "a\0", "a\n", "x" * 300, "x" * 301, "a", "a/b", "A", "a/B"])
@example(["a\nb", "a_b", "a_b~2", "a\rb"])
@example(["/".join(["d" * 200] * 30), "/".join(["d" * 200] * 30) + "x"])
def test_nothing_is_ever_written_outside_the_destination(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "canary").write_text("alive")
        destination = place / "deep" / "destination"
        destination.mkdir(parents=True)

        paths = written(destination, names)

        outside = {name: text for name, text in tree(place).items() if not name.startswith("deep/destination/")}
        assert {"canary": b"alive"} == outside
        assert sorted(names) == sorted(paths)
        for name, path in paths.items():
            assert name.encode("utf-8", "surrogatepass") == path.read_bytes(), "each has a file of its own"


@given(NAMES, st.booleans())
def test_safe_name_is_relative_short_and_stays_as_it_is(name: str, on_windows: bool) -> None:
    path = safe_name(name, on_windows=on_windows)

    assert path == safe_name(path, on_windows=on_windows)
    assert not PurePosixPath(path).is_absolute()
    assert not {"", ".", ".."} & set(path.split("/"))
    assert all(len(part.encode()) <= 255 for part in path.split("/"))
    assert not set("\0\n\r\x1b") & set(path)


@given(st.lists(NAMES, max_size=12, unique=True), st.booleans(), st.booleans())
def test_paths_of_a_set_never_meet(names: list[str], case_blind: bool, on_windows: bool) -> None:
    paths = safe_names(names, case_blind=case_blind, on_windows=on_windows)

    kept = list(paths.values())
    seen = {path.casefold() for path in kept} if case_blind else set(kept)
    assert len(names) == len(seen)
    assert not set(folders(kept)) & set(kept), "none is a folder of another"


@pytest.mark.parametrize(
    "name", ["a", "data/a.csv", ".hidden/x", "con.txt", "C:x", "a\\b", "ends.", "ü/ñ", "~/x", "a b", "..a", "$HOME"]
)
def test_harmless_name_stays_what_it_is(name: str) -> None:
    assert name == safe_name(name, on_windows=False)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("C:\\Windows\\x", "C_/Windows/x"),
        ("con", "_con"),
        ("a/NUL.tar.gz", "a/_NUL.tar.gz"),
        ("COM1", "_COM1"),
        ("contact", "contact"),
        ("a.", "a_"),
        ("a ", "a_"),
        ("..\\..\\x", "x"),
        ("\\\\host\\share\\x", "host/share/x"),
        ("a:stream", "a_stream"),
    ],
)
def test_rules_of_windows_are_minded_there(name: str, path: str) -> None:
    assert path == safe_name(name, on_windows=True)


def test_names_too_long_stay_apart_and_keep_their_extension() -> None:
    one, two = safe_name("x" * 300 + "1.csv"), safe_name("x" * 300 + "2.csv")

    assert one != two
    assert one.endswith(".csv")
    assert 255 == len(one)


def test_case_twins_are_parted_where_the_folder_would_not() -> None:
    names = ["Loss.csv", "loss.csv", "LOSS.csv"]

    assert {name: name for name in names} == safe_names(names)
    assert ["LOSS.csv", "Loss~2.csv", "loss~3.csv"] == sorted(safe_names(names, case_blind=True).values())


def test_file_gives_way_to_a_folder_of_its_name() -> None:
    assert {"a": "a~2", "a/b": "a/b"} == safe_names(["a", "a/b"])


def test_link_in_the_destination_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    destination = tmp_path / "destination"
    destination.mkdir()
    (destination / "link").symlink_to(tmp_path / "outside")
    (destination / "file").symlink_to(tmp_path / "outside" / "canary")
    (tmp_path / "outside" / "canary").write_text("alive")

    with pytest.raises(UnsafeName, match="leads out of it"):
        safe_join(destination, "link/x")
    with replacing(safe_join(destination, "file")) as fd:
        os.write(fd, b"new")

    assert {"canary": b"alive"} == tree(tmp_path / "outside")


def test_hard_link_in_the_destination_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "canary").write_text("alive")
    os.link(tmp_path / "canary", tmp_path / "hard")

    with replacing(safe_join(tmp_path, "hard")) as fd:
        os.write(fd, b"new")

    assert ("alive", "new") == ((tmp_path / "canary").read_text(), (tmp_path / "hard").read_text())


def test_destination_may_itself_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    assert tmp_path.resolve() / "real" / "a" / "b" == safe_join(tmp_path / "link", "a/b")


def test_case_is_told_apart_here_as_the_file_system_does(tmp_path: Path) -> None:
    (tmp_path / "x").touch()

    assert (tmp_path / "X").exists() == is_case_blind(tmp_path)
    assert ["x"] == os.listdir(tmp_path)


def test_names_in_a_set_lose_their_idle_parts() -> None:
    assert ["x", "a/b", "a/../b", ""] == [normal(name) for name in ("./x", "/a//b/", "a/../b", "./")]
