"""All that one run captures: begun when it is open, ended before it is stopped. Nothing here fails or delays a program.

The console is watched at once, so that the next line printed is kept; everything else that may take long happens in a
thread.
"""

from __future__ import annotations

import os
import shlex
import sys
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Protocol

from naiad import clock
from naiad.background import Loggable
from naiad.capture.console import console
from naiad.capture.hardware import Hardware, unit_of
from naiad.capture.printed import Printed
from naiad.capture.source_code import SECONDS, SourceCode
from naiad.capture.wanted import FD, Wanted
from naiad.errors import NaiadError, NaiadWarning, warn_once
from naiad.ids import host_name
from naiad.kinds import LINES
from naiad.ops import Strings
from naiad.periodic import PeriodicThread
from naiad.places import working_directory
from naiad.secrets import masked
from naiad.session import Session
from naiad.types import FloatSeries

FIRST_LOOK_SECONDS = 1.0
"""A run that ends before that says nothing of the hardware, and does not pay for looking."""
SOURCE_SECONDS = 3.0
"""How long the end of a run waits for what is not captured yet; for the console it does so while anything arrives."""
THREAD_SECONDS = 1.0
"""How long it then waits for its thread, which may be looking at the hardware."""
STREAMS = {1: "stdout", 2: "stderr"}


class Monitored(Loggable, Protocol):
    """A run with a namespace for its own monitoring."""

    _session: Session

    @property
    def monitoring_namespace(self) -> str:
        """Where that is."""


class Captures:
    """The captures of one run in the process that opened it."""

    def __init__(self, run: Monitored, wanted: Wanted) -> None:
        self._run = run
        self._wanted = wanted
        # Naming it takes a hash, which a run that logs nothing there does not need.
        self._place = run.monitoring_namespace if wanted.is_monitored or wanted.hardware else ""
        self._streams = {number: name for number, name in STREAMS.items() if getattr(wanted, name)}
        self._printed: dict[int, Printed] = {}
        self._interval = wanted.interval
        self._source = SourceCode(run, wanted)
        self._thread: threading.Thread | None = None
        self._watcher = PeriodicThread(min(FIRST_LOOK_SECONDS, wanted.interval), self._watch, lambda _is_late: None)
        self._is_captured: SimpleQueue[None] = SimpleQueue()
        self._has_source = threading.Event()  # the same, for any number of threads
        self._end: SimpleQueue[None] = SimpleQueue()

    def start(self) -> None:
        """Begin: the console at once, the rest in a thread."""
        # Looked up before the console is watched: the first line that is printed may define the series.
        new = {name for name in self._streams.values() if not self._has(f"{self._place}/{name}")}
        if self._wanted.is_monitored:
            self._name_process(new)
        try:
            if self._streams:
                self._listen(new)
            if self._wanted.is_slow and not self._source.is_quick():
                self._thread = threading.Thread(target=self._work, name="naiad-captures", daemon=True)
                self._thread.start()
            else:  # a thread takes longer
                self._work()
            if self._wanted.hardware:
                self._watcher.start()
        except (OSError, RuntimeError) as error:  # no more descriptors, or threads, to be had
            self._is_captured.put(None)
            warn_once("captures", f"Part of the requested capture of {self._run!r} failed: {error}")

    def stop(self, seconds: float) -> None:
        """Log the last of it, within so many seconds."""
        until = clock.monotonic() + seconds
        # A queue in C, as in PeriodicThread: an Event that Ctrl-C interrupts while it is set stays locked.
        self._end.put(None)
        self._watcher.end()
        try:
            self._is_captured.get(timeout=min(seconds, SOURCE_SECONDS))
        except Empty:
            self._abandon_source()
        finally:
            if self._streams:
                console().leave(self._take, max(0.0, until - clock.monotonic()))
            for thread in (self._thread, self._watcher):
                if thread is not None:
                    thread.join(max(0.0, min(THREAD_SECONDS, until - clock.monotonic())))

    def wait_for_source(self) -> None:
        """Return when the source code is captured, or its time is up."""
        if self._thread is not None and self._thread.is_alive():
            self._has_source.wait(SECONDS)

    def _abandon_source(self) -> None:
        self._source.abandon()
        message = f"{self._source.doing} of {self._run!r} was not captured: there was no time for it."
        warn_once((self._run.get_url(), self._source.doing), message)

    def _name_process(self, new: set[str]) -> None:
        facts: dict[str, object] = {
            "hostname": host_name(),
            "pid": str(os.getpid()),
            "tid": str(threading.get_native_id()),
            "argv": shlex.join(masked(sys.argv)),
            "python": sys.version.split()[0],
            "working_directory": os.fsencode(working_directory()).decode("utf-8", "replace"),
        }
        self._run[self._place] = facts
        empty = [f"{self._place}/{name}" for name in self._streams.values() if name in new]
        if empty:
            self._run._session.write(*(Strings(path, [], [], [], fresh=True) for path in empty))
            self._run._session.add_known(dict.fromkeys(empty, LINES), is_new=True)

    def _listen(self, new: set[str]) -> None:
        for number, name in self._streams.items():
            self._printed[number] = Printed(self._run._session, f"{self._place}/{name}", is_new=name in new)
        console().join(self._take, [n for n, name in self._streams.items() if getattr(self._wanted, name) == FD])

    def _has(self, path: str) -> bool:
        session = self._run._session
        # The run itself is read only if another process has written to it: most runs have none beside this one.
        session.refresh_before_define()
        return path in session.tree

    def _take(self, number: int, data: bytes) -> None:
        """Add printed bytes to the run, in the printing thread."""
        if number in self._printed:
            self._printed[number].write(data)

    # In the thread

    def _work(self) -> None:
        try:
            self._source.capture()
        finally:
            self._has_source.set()
            self._is_captured.put(None)

    def _watch(self) -> None:
        hardware = Hardware()
        wait = min(FIRST_LOOK_SECONDS, self._interval)
        while not self._is_ending(wait):
            wait = self._interval
            with suppress(NaiadError, NaiadWarning):  # as above
                self._log(hardware.read())

    def _log(self, figures: dict[str, float]) -> None:
        new = [name for name in figures if not self._has(f"{self._place}/{name}")]
        # Defined with unit and limits before the first point, which would make a series without them.
        if new:
            self._run[self._place] = {name: _empty_series(unit_of(name)) for name in new}
        self._run[self._place].append(figures)

    def _is_ending(self, seconds: float) -> bool:
        """Wait, unless the run ends before that."""
        try:
            self._end.get(timeout=seconds)
        except Empty:
            return False
        return True


def _empty_series(unit: str) -> FloatSeries:
    return FloatSeries([], min=0.0, max=100.0 if unit == "%" else None, unit=unit)
