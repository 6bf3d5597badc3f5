"""Files that the disk does not take: training goes on, nothing is half there, and what is missing is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import naiad
from naiad.errors import StorageError, StorageWarning
from naiad.types import File

MANY = bytes(range(256)) * 1000


@pytest.fixture
def full(run: naiad.Run, store: Path) -> naiad.Run:
    """A run whose store takes no content: where that comes in is no folder. Ops are still written."""
    run["file"].upload(MANY)
    run["series"].append(File.from_content(MANY))
    run.wait()
    incoming = store / "blobs" / "incoming"
    for each in incoming.iterdir():
        each.unlink()
    incoming.rmdir()
    incoming.write_text("")
    return run


Verb = Callable[..., None]
VERBS: dict[str, Verb] = {
    "upload": lambda run, **wait: run["new"].upload(MANY, **wait),
    "append": lambda run, **wait: run["new"].append(File.from_content(MANY), **wait),
    "extend": lambda run, **wait: run["new"].extend([File.from_content(MANY)] * 2, **wait),
    "extend of a known series": lambda run, **wait: run["series"].extend([File.from_content(MANY)] * 2, **wait),
    "assign": lambda run, **wait: run["new"].assign(File.from_content(MANY), **wait),
    "assign of a dict": lambda run, **wait: run["new"].assign({"a": File.from_content(MANY)}, **wait),
    "upload of the field": lambda run, **wait: run.get_attribute("file").upload(MANY, **wait),
    "assign of the field": lambda run, **wait: run.get_attribute("file").assign(File.from_content(MANY), **wait),
    "append of the field": lambda run, **wait: run.get_attribute("series").append(File.from_content(MANY), **wait),
    "extend of the field": lambda run, **wait: run.get_attribute("series").extend([MANY, MANY], **wait),
    "log of the field": lambda run, **wait: run.get_attribute("series").log([MANY, MANY], **wait),
}


@pytest.mark.parametrize("verb", VERBS)
def test_file_that_the_disk_does_not_take_is_a_warning_and_counts(full: naiad.Run, verb: str) -> None:
    with pytest.warns(StorageWarning, match="was not stored"):
        VERBS[verb](full)

    assert not full.exists("new")
    assert 1 == len(list(full["series"].fetch_files()))
    assert 1 == full._session.reader.is_incomplete()


@pytest.mark.parametrize("verb", VERBS)
def test_who_waits_for_a_file_is_told_that_it_was_not_stored(full: naiad.Run, verb: str) -> None:
    with pytest.raises(StorageError, match="cannot store the file"):
        VERBS[verb](full, wait=True)

    assert not full.exists("new")
    assert 1 == len(list(full["series"].fetch_files()))
