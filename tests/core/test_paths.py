"""Paths: one normal form, and hostile ones refused at once."""

from __future__ import annotations

import enum
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad import paths
from naiad.errors import NaiadPathError

CHARACTERS = st.characters(min_codepoint=0x20, exclude_categories=("Cs",))
NAMES = st.text(CHARACTERS.filter(lambda c: c != "/"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and not name.isspace()
)
PARTS = st.lists(NAMES, min_size=1, max_size=6)


class Metric(str, enum.Enum):
    LOSS = "train/loss"


@given(PARTS)
def test_parts_joined_by_slashes_are_a_path(names: list[str]) -> None:
    path = paths.parse("/".join(names))

    assert names == paths.parts(path)


@given(PARTS, st.integers(0, 3), st.integers(1, 3), st.integers(0, 3))
def test_superfluous_slashes_mean_nothing(names: list[str], before: int, between: int, after: int) -> None:
    untidy = "/" * before + ("/" * between).join(names) + "/" * after

    assert "/".join(names) == paths.parse(untidy)


@given(st.text(st.characters(), max_size=50))
def test_any_text_is_either_parsed_for_good_or_refused(text: str) -> None:
    try:
        path = paths.parse(text)
    except NaiadPathError:
        return

    assert path == paths.parse(path)
    assert len(path.encode()) <= paths.LONGEST


@given(PARTS, PARTS)
def test_join_is_the_path_of_all_parts(base: list[str], rest: list[str]) -> None:
    assert [*base, *rest] == paths.parts(paths.join("/".join(base), "/".join(rest)))


def test_join_below_the_root() -> None:
    assert "a/b" == paths.join("", "/a/b/")


def test_join_of_nothing_is_the_base() -> None:
    assert "a/b" == paths.join("a/b", "")


@pytest.mark.parametrize("rest", ["..", "a/../b", "\0"])
def test_join_refuses_what_parse_refuses(rest: str) -> None:
    with pytest.raises(NaiadPathError):
        paths.join("a", rest)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(5, "5"), (1.5, "1.5"), (True, "True"), (Metric.LOSS, "train/loss")],
)
def test_what_is_no_str_becomes_one(given: object, expected: str) -> None:
    path = paths.parse(given)

    assert expected == path
    assert type(path) is str


@pytest.mark.parametrize(
    "path",
    [
        "<script>",
        "'; DROP TABLE x; --",
        "%2e%2e",
        "C:\\x",
        "épée",
        "e\u0301",
        "🚀/\u202e",
        "...",
        "a b/ c",
        ".hidden",
    ],
)
def test_characters_of_any_kind_are_kept(path: str) -> None:
    assert path == paths.parse(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//",
        " ",
        " / ",
        "\u3000",
        ".",
        "..",
        "a/.",
        "a/../b",
        "a\0b",
        "a\nb",
        "\x1f",
        "\ud800",
        "a/\udfff",
    ],
)
def test_bad_path_is_refused_with_a_remedy(path: str) -> None:
    with pytest.raises(NaiadPathError) as error:
        paths.parse(path)

    assert repr(path) in str(error.value)
    assert 2 == len(str(error.value).splitlines())
    assert path == error.value.path


@pytest.mark.parametrize("path", ["", "/", "///"])
def test_root_is_a_path_only_where_it_is_allowed(path: str) -> None:
    assert "" == paths.parse_or_root(path)


def test_root_has_no_parts() -> None:
    assert [] == paths.parts("")


@pytest.mark.parametrize("path", ["x" * 1024, "é" * 512, "a/" * 511 + "ab", "/" + "x" * 1024 + "/"])
def test_path_of_1024_bytes_is_accepted(path: str) -> None:
    assert 1024 == len(paths.parse(path).encode())


@pytest.mark.parametrize("path", ["x" * 1025, "é" * 513, "a/" * 512 + "ab"])
def test_longer_path_is_refused(path: str) -> None:
    with pytest.raises(NaiadPathError, match="longer than 1,024 bytes"):
        paths.parse(path)


@pytest.mark.parametrize(
    "path",
    ["x" * 10**7, "a/" * 10**7, "/" * 10**7, "\0" * 10**7, "\ud800" * 10**6, "../" * 10**6, 10**10_000],
    ids=["long", "deep", "slashes", "nul", "surrogates", "dots", "digits"],
)
def test_huge_path_is_refused_in_a_millisecond(path: object) -> None:
    took = []
    for _ in range(5):  # the best of five: a collection of garbage may have come in between
        start = time.thread_time()
        with pytest.raises(NaiadPathError):
            paths.parse(path)
        took.append(time.thread_time() - start)

    assert min(took) < 0.001
