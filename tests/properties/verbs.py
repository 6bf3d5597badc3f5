"""Verbs as data: what the machine does to a run, so that this process, a forked and a foreign one do it alike."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from typing import Any

import naiad
from naiad import clock, handler, packing

EPOCH = 1_800_000_000.0
"""Later than every timestamp that the machine gives, so that points without one are known by their times."""


@dataclass(frozen=True)
class Verb:
    """One call: its name, the path it is made on and what is given."""

    name: str
    path: str
    given: dict[str, Any] = field(default_factory=dict)


class Clock:
    """Replaces the clock: it goes on by a millisecond whenever it is read, and jumps when told."""

    def __init__(self, time: float = EPOCH) -> None:
        self.time = self.highest = time

    def __call__(self) -> float:
        self.time += 0.001
        self.highest = max(self.time, self.highest)
        return self.time

    def put_in_place(self) -> None:
        clock.now = handler.now = packing.now = self


@dataclass(frozen=True)
class Done:
    """Milliseconds between which the points of a verb without timestamps were logged."""

    low: int
    high: int


def perform(run: naiad.Run, verb: Verb, time: Clock) -> Done:
    """Make the call."""
    low = int(time() * 1000) - 1
    if verb.name == "sync":
        run.sync(wait=False)
    elif verb.name == "copy":
        run[verb.path] = run[verb.given["source"]]
    else:
        getattr(run[verb.path], verb.name)(**verb.given)
    return Done(low, int(time() * 1000) + 1)


def end(how: str, run: naiad.Run) -> None:
    """End this process: `stop` in order, `exit` without a word, `kill` by a signal that nobody can catch."""
    if how == "stop":
        run.stop()
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
