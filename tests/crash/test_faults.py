"""Every call that the journal makes to the disk fails once, and fails for good: the 1st, the 2nd, the 3rd ... of each.

The disk is faked here, because no real one can be told to fail at its seventh write.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from naiad.ops import Assign, End, Open, Strings
from naiad.settings import Tuning
from naiad.slots import RECORD, SEGMENT_HEADER
from naiad.storage.local.journal import log_file
from naiad.storage.local.journal.journal import Journal
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader

FAULTS = [
    ("open", errno.ENOSPC),
    ("open", errno.EROFS),
    ("open", errno.EMFILE),
    ("write", errno.ENOSPC),
    ("write", errno.EIO),
    ("write", 0),  # half of it is written
    ("posix_fallocate", errno.ENOSPC),
    ("rename", errno.ENOSPC),
    ("rename", errno.EIO),
    ("pwrite", errno.EIO),
    ("pwrite", errno.EROFS),
    ("ftruncate", errno.EIO),
    ("fdatasync", errno.EIO),
    ("fdatasync", errno.ENOSPC),
    ("fsync", errno.EIO),
    ("unlink", errno.EROFS),
    ("memfd_create", errno.EMFILE),
]


class Disk:
    """Lets the n-th call of one function of `os` fail, and all later ones too if it `stays`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, code: int, first: int, stays: bool) -> None:
        self.calls = 0
        self.is_healed = False
        place, name = (log_file, "put_on_disk") if name == "fdatasync" else (os, name)
        self._true: Callable[..., Any] = getattr(place, name)
        self._code, self._first, self._stays = code, first, stays
        monkeypatch.setattr(place, name, self.call)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        fails = self.calls == self._first or (self._stays and self.calls > self._first)
        if self.is_healed or not fails:
            return self._true(*args, **kwargs)
        if self._code:
            raise OSError(self._code, os.strerror(self._code))
        return self._true(args[0], bytes(args[1])[: len(args[1]) // 2])


class Scenario:
    """A writer that binds two series, fills a few segments, writes texts, syncs and ends; and what it wrote."""

    def __init__(self, path: Path, *, is_mapped: bool) -> None:
        self.folder = RunDirectory(path)
        self.folder.journal.mkdir(parents=True)
        tuning = Tuning(segment_bytes=SEGMENT_HEADER + 5 * RECORD)
        self.directory = os.open(self.folder.journal, os.O_RDONLY)
        self.journal = Journal(self.directory, "1-a", tuning, is_mapped=is_mapped)
        self.errors: list[OSError] = []
        self.journal.directory.on_trouble = self.errors.append
        self.at = 1.0
        self.steps: list[int] = []
        self.lines: list[str] = []

    def play(self) -> None:
        self.journal.write([Open("1-a", 1, "host", "boot", 1, "owner", self.now()), Assign("a", "int", 1, self.now())])
        for name in ("x", "y"):
            fid = self.journal.bind(name, self.now(), fresh=False)
            for _ in range(2):
                self.log(fid, 4)
                self.say()
                self.journal.point_log.prepare_spare()
                with contextlib.suppress(OSError):
                    self.journal.sync()
        self.log(fid, 12)

    def now(self) -> float:
        self.at += 1
        return self.at

    def log(self, fid: int, count: int) -> None:
        for _ in range(count):
            step = len(self.steps)
            self.journal.point_log.append(fid, [step / 3], [step], [1.0])
            self.steps.append(step)

    def say(self) -> None:
        text = f"line {len(self.lines)}"
        self.journal.write([Strings("text", [text], [len(self.lines)], [1.0], False, self.now())])
        self.lines.append(text)

    def end(self) -> None:
        self.journal.write([End("finished", self.now())])
        assert self.journal.recover()
        self.journal.sync()
        assert 0 == self.journal.unstored()
        self.journal.close()
        self.journal.release()

    def found(self) -> tuple[list[int], list[str], Reader]:
        reader = Reader(self.folder)
        kinds = reader.kinds()
        parts = [reader.points(name) for name in ("x", "y") if name in kinds]
        values = [value for part in parts for value in part.values.tolist()]
        steps = [step for part in parts for step in part.steps.tolist()]
        assert values == [step / 3 for step in steps]
        return steps, reader.texts("text").texts if "text" in kinds else [], reader


@pytest.fixture
def scenario(tmp_path: Path) -> Iterator[Callable[..., Scenario]]:
    made: list[Scenario] = []

    def make(*, is_mapped: bool) -> Scenario:
        made.append(Scenario(tmp_path / str(len(made)), is_mapped=is_mapped))
        return made[-1]

    yield make
    for each in made:
        each.journal.release()
        os.close(each.directory)


@pytest.mark.parametrize("is_mapped", [True, False], ids=["mmap", "write"])
@pytest.mark.parametrize("stays", [False, True], ids=["once", "for-good"])
@pytest.mark.parametrize(("name", "code"), FAULTS, ids=[f"{name}-{code}" for name, code in FAULTS])
def test_each_call_fails_in_turn_and_nothing_is_lost(
    name: str, code: int, stays: bool, is_mapped: bool, scenario: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logging goes on as if nothing were; what is on disk is right at any time; healed, all of it gets there."""
    if not hasattr(os, name):
        pytest.skip(f"this system has no {name}()")
    for first in range(1, 200):
        with monkeypatch.context() as patch:
            played = scenario(is_mapped=is_mapped)
            disk = Disk(patch, name, code, first, stays)
            played.play()
            calls = disk.calls
            disk.is_healed = True
            steps, lines, reader = played.found()
            assert set(steps) <= set(played.steps)
            assert sorted(set(steps)) == steps
            assert [line for line in played.lines if line in lines] == lines
            played.end()
        steps, lines, reader = played.found()
        assert played.steps == steps
        assert played.lines == lines
        assert 1 == reader.value("a")
        assert 0 == reader.is_incomplete()
        assert [] == reader.damages
        assert [] == [path for path in os.listdir(played.folder.journal) if path.endswith(".new")]
        if calls < first:
            return  # the scenario does not make that many calls
    pytest.fail("the scenario calls more often than was tried")


def test_a_failed_fdatasync_is_never_believed_when_it_is_repeated(
    scenario: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel gives up dirty pages with the error, so only writing them to another file makes them sure."""
    played = scenario(is_mapped=True)
    played.play()
    before = {name: os.stat(played.folder.journal / name).st_ino for name in os.listdir(played.folder.journal)}
    disk = Disk(monkeypatch, "fdatasync", errno.EIO, 1, False)
    with pytest.raises(OSError, match="Input/output"):
        played.journal.sync()
    played.journal.sync()
    after = {name: os.stat(played.folder.journal / name).st_ino for name in before}

    assert 1 < disk.calls
    assert 1 == sum(before[name] != after[name] for name in before)


def test_a_rewrite_that_fails_too_is_tried_again_before_a_sync_succeeds(
    scenario: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = scenario(is_mapped=True)
    played.play()
    before = {name: os.stat(played.folder.journal / name).st_ino for name in os.listdir(played.folder.journal)}
    Disk(monkeypatch, "fdatasync", errno.EIO, 1, False)
    rename = Disk(monkeypatch, "rename", errno.EIO, 1, True)
    for _ in range(3):
        with pytest.raises(OSError, match="Input/output"):
            played.journal.sync()
    rename.is_healed = True
    played.journal.recover()
    played.journal.sync()
    after = {name: os.stat(played.folder.journal / name).st_ino for name in before}
    played.end()

    assert 1 <= sum(before[name] != after[name] for name in before)
    assert played.steps == played.found()[0]


def test_an_exception_of_a_signal_handler_is_not_taken_for_trouble_of_the_disk(
    scenario: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TimeoutError is an OSError; the user's own one must reach the user, and not twice on disk what was written."""
    played = scenario(is_mapped=True)
    played.play()
    write = os.write

    def interrupted(fd: int, data: bytes) -> int:
        write(fd, data)
        raise TimeoutError("the user's alarm")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", interrupted)
        with pytest.raises(TimeoutError):
            played.say()
    played.lines.append(f"line {len(played.lines)}")
    played.say()
    played.end()

    assert played.lines == played.found()[1]
    assert [] == played.errors
