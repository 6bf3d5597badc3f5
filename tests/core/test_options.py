"""What init_run accepts, as pure functions."""

from __future__ import annotations

import pytest

from naiad import options
from naiad.errors import InvalidArgument, NaiadPathError, NaiadTypeError


def test_mode_comes_from_argument_then_naiad_then_neptune(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAIAD_MODE", raising=False)
    monkeypatch.delenv("NEPTUNE_MODE", raising=False)

    assert "async" == options.mode_of(None)
    monkeypatch.setenv("NEPTUNE_MODE", "offline")
    assert "offline" == options.mode_of(None)
    monkeypatch.setenv("NAIAD_MODE", "sync")
    assert "sync" == options.mode_of(None)
    assert "debug" == options.mode_of("debug")


@pytest.mark.parametrize(("text", "expected"), [("1", True), ("true", True), ("0", False), ("", False), ("no", False)])
def test_strictness_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, text: str, expected: bool) -> None:
    monkeypatch.setenv("NAIAD_STRICT", text)

    assert expected is options.is_strict(None)
    assert options.is_strict(True)
    assert not options.is_strict(False)


@pytest.mark.parametrize("name", ["a", "job-12_7", "with space", "ü", "x" * 128])
def test_custom_ids_that_are_fine(name: str) -> None:
    assert name == options.custom_id(name)


@pytest.mark.parametrize("name", ["", "/", ".", "..", "a/b", "\t", "x" * 129])
def test_custom_ids_that_are_not(name: str) -> None:
    with pytest.raises(NaiadPathError):
        options.custom_id(name)


def test_tags_are_one_or_many() -> None:
    assert [] == options.tags_of(None)
    assert ["a"] == options.tags_of("a")
    assert ["a", "b"] == options.tags_of(("a", "b"))
    with pytest.raises(NaiadTypeError, match="tags="):
        options.tags_of([1])


def test_errors_name_argument_and_choice() -> None:
    with pytest.raises(NaiadTypeError, match="name= takes str or None, not 5"):
        options.check(name=5)
    with pytest.raises(InvalidArgument, match="on_error= takes 'warn' or 'raise', not 'x'"):
        options.check(on_error="x")
