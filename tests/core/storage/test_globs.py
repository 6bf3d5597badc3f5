"""Globs: which files `upload_files` means, and their names in the set, as Neptune's client gave them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from naiad.errors import FileWarning, forget_warnings
from naiad.files.globs import expand


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a few files."""
    forget_warnings()
    folder = tmp_path / "work"
    for name in ("note.txt", "b.py", "data/a.csv", "data/.hidden.csv", "data/sub/b.csv", "data/.cache/c.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    monkeypatch.chdir(folder)
    return folder


def names(*patterns: str | Path, excluding: Path | None = None) -> list[str]:
    found = expand(patterns, excluding=excluding)
    assert all(os.path.isabs(one.path) for one in found)
    return [one.name for one in found]


WHOLE = ["data/.cache/c.csv", "data/.hidden.csv", "data/a.csv", "data/sub/b.csv"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["note.txt"], ["note.txt"]),
        (["data"], WHOLE),
        (["data/"], WHOLE),
        (["data/sub/b.csv"], ["data/sub/b.csv"]),
        (["data/sub"], ["data/sub/b.csv"]),
        (["."], ["b.py", *WHOLE, "note.txt"]),
        (["*.txt", "./note.txt"], ["note.txt"]),
        (["data/*.csv"], ["data/a.csv"]),
        (["**/*.csv"], ["data/a.csv", "data/sub/b.csv"]),
        (["**/*"], ["b.py", *WHOLE, "note.txt"]),
        (["data/**"], WHOLE),
        (["data/**/b.csv"], ["data/sub/b.csv"]),
        (["d?ta/[ab].csv"], ["data/a.csv"]),
    ],
)
def test_names_below_the_working_directory_begin_there(here: Path, patterns: list[str], expected: list[str]) -> None:
    assert expected == names(*patterns)
    assert expected == names(*(here / pattern for pattern in patterns)), "absolute paths mean the same"


def test_names_elsewhere_begin_at_what_all_have_in_common(here: Path, tmp_path: Path) -> None:
    for name in ("far/images/1.png", "far/images/2.png", "far/labels/1.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert ["1.png", "2.png"] == names(tmp_path / "far/images")
    assert ["1.png"] == names(tmp_path / "far/images/1.png")
    assert ["images/1.png", "images/2.png", "labels/1.txt"] == names(tmp_path / "far/*")
    assert ["far/labels/1.txt", "work/note.txt"] == names("note.txt", tmp_path / "far/labels/1.txt")


def test_one_pattern_may_stand_alone(here: Path) -> None:
    assert ["note.txt"] == [one.name for one in expand("note.txt")] == [one.name for one in expand(Path("note.txt"))]


def test_home_is_expanded(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))

    assert ["data/a.csv"] == names("~/data/a.csv")
    assert ["data/a.csv"] == names("~/data/*.csv")


def test_name_with_brackets_is_taken_as_it_is_if_there_is_such_a_file(here: Path) -> None:
    (here / "run[1].csv").touch()

    assert ["run[1].csv"] == names("run[1].csv")


@pytest.mark.parametrize("pattern", ["absent", "*.absent", "absent/**/x"])
def test_what_matches_nothing_gives_nothing_and_a_warning(here: Path, pattern: str) -> None:
    with pytest.warns(FileWarning, match="left out"):
        assert [] == names(pattern)


def test_link_inside_is_followed_and_one_that_leads_out_is_not(here: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (here / "data/inner.csv").symlink_to("a.csv")
    (here / "data/outer.csv").symlink_to(tmp_path / "secret")

    for pattern in ("data", "data/*.csv", "data/**/*.csv"):
        forget_warnings()
        with pytest.warns(FileWarning, match="outer.csv' is left out: it leads out of"):
            found = names(pattern)
        assert "data/inner.csv" in found
        assert "data/outer.csv" not in found


def test_link_named_outright_is_followed_wherever_it_leads(here: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far/x").touch()
    (here / "latest").symlink_to(tmp_path / "far/x")
    (here / "folder").symlink_to(tmp_path / "far")

    assert ["latest"] == names("latest")
    assert ["folder/x"] == names("folder")


def test_circles_and_ladders_of_links_end(here: Path) -> None:
    """Forty links that all lead up and aside: followed each by each they would give more paths than there are atoms."""
    for number in range(20):
        (here / f"data/up{number}").symlink_to("..")
        (here / f"data/aside{number}").symlink_to("sub")

    for pattern in ("data", "data/**/*.csv"):
        forget_warnings()
        with pytest.warns(FileWarning):
            found = names(pattern)
        assert {"data/a.csv", "data/sub/b.csv", "data/aside0/b.csv"} <= set(found)
        assert len(found) < 10


def test_what_is_no_file_is_left_out_of_folders(here: Path) -> None:
    os.mkfifo(here / "data/pipe")
    (here / "data/broken").symlink_to("nothing")

    with pytest.warns(FileWarning) as given:
        assert WHOLE == names("data")

    assert ["it is a broken link.", "it is not a file."] == [
        str(one.message).partition("left out: ")[2] for one in given
    ]


def test_pipe_named_outright_is_left_to_the_one_who_opens_it(here: Path) -> None:
    os.mkfifo(here / "pipe")

    assert ["pipe"] == names("pipe")


def test_store_inside_what_is_uploaded_is_left_out(here: Path) -> None:
    (here / ".naiad/runs").mkdir(parents=True)
    (here / ".naiad/runs/x").touch()

    assert ["b.py", *WHOLE, "note.txt"] == names(".", excluding=here / ".naiad")


def test_names_are_data_whatever_they_hold(here: Path) -> None:
    odd = ["data/new\nline", "data/é", "data/-rf", "data/C:\\x", "data/" + "x" * 255, os.fsdecode(b"data/\xe9")]
    for name in odd:
        (here / name).touch()

    assert sorted([*WHOLE, *odd]) == names("data")
