"""Reading entries in several processes, for a catalog of many containers that is made anew.

catalog                                   a process for each core
-------                                   -----------------------
send some containers to each------------>  read_entry of each
more to the first one that answers <-  their entries
put entries in the order of containers
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from naiad.cycles import search_paused
from naiad.forks import holding_forks
from naiad.storage.catalog import Cell, Losses
from naiad.storage.local.ids import Register
from naiad.storage.local.processes import can_start, receive, send, start
from naiad.storage.sql.values import Entry, Stamp

Stale = tuple[str, Stamp | None]
"""The folder of a container that is to be read, and its stamp if it was looked at already."""
Read = Callable[[Register, str, Stamp | None], Entry]
MOST = 8
LONGEST_READ, FOR_EACH = 60.0, 0.05
"""Seconds without an answer, and for each container of a request, before this process reads the containers itself."""


def read_entries(register: Register, stale: Sequence[Stale], size: int, read: Read) -> Iterator[list[Entry]]:
    """Yield the entries of containers, in their order and in pieces of a size."""
    pieces = [stale[start : start + size] for start in range(0, len(stale), size)]
    count = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, MOST)
    if count > 1 and can_start():
        yield from _Processes(register, pieces, count, read).entries()
        return
    for piece in pieces:
        yield [read(register, *each) for each in piece]


class _Processes:
    """The processes of one reading, and the pieces that they are at."""

    def __init__(self, register: Register, pieces: list[Sequence[Stale]], count: int, read: Read) -> None:
        self._register = register
        self._read = read
        self._pieces = pieces
        self._waiting = list(reversed(range(len(pieces))))
        self._at: dict[int, tuple[int, int]] = {}  # by the descriptor for replies: that for requests, and the piece
        self._found: dict[int, list[Entry]] = {}
        self._poll = select.poll()
        call = f"main({os.fspath(register.root.absolute())!r}, {os.getpid()})"
        with holding_forks():  # a child that inherits half of a pipe would keep it open
            for _number in range(count):
                try:
                    requests, replies = start("naiad.storage.local.entry_program", call)
                except OSError:
                    break
                self._poll.register(replies, select.POLLIN)
                self._at[replies] = requests, -1

    def entries(self) -> Iterator[list[Entry]]:
        """Yield the entries of each piece; this process reads those that a process fails to read."""
        try:
            for replies in list(self._at):
                self._ask(replies)
            for number, piece in enumerate(self._pieces):
                while number not in self._found and any(at == number for _requests, at in self._at.values()):
                    self._wait()
                found = self._found.pop(number, None)
                yield [self._read(self._register, *each) for each in piece] if found is None else found
                if number in self._waiting:
                    self._waiting.remove(number)
        finally:
            for replies in list(self._at):
                self._close(replies)

    def _ask(self, replies: int) -> None:
        """Send a process the next piece that waits."""
        requests, _at = self._at[replies]
        if not self._waiting:
            self._at[replies] = requests, -1
            return
        number = self._waiting.pop()
        try:
            send(requests, self._pieces[number])
        except OSError:
            self._close(replies)
        else:
            self._at[replies] = requests, number

    def _wait(self) -> None:
        """Take in the next answers, and keep the processes busy."""
        ready = self._poll.poll(1000 * (LONGEST_READ + FOR_EACH * len(self._pieces[0])))
        for replies, _event in ready:
            _requests, number = self._at[replies]
            try:
                answer = receive(replies, float("inf"))
            except OSError:
                answer = None
            if answer is None:
                self._close(replies)
                continue
            self._ask(replies)
            with search_paused():
                self._found[number] = _unpacked(*answer)
        if not ready:  # they stand still, as on a disk that does not answer
            for replies in list(self._at):
                self._close(replies)

    def _close(self, replies: int) -> None:
        requests, _at = self._at.pop(replies)
        self._poll.unregister(replies)
        os.close(requests)
        os.close(replies)


def _unpacked(keys: list[list[list[str]]], packed: list[list[Any]]) -> list[Entry]:
    """Return entries, of which those with the same fields share the keys of their cells."""
    lists = [[*map(tuple, each)] for each in keys]
    entries = []
    for *facts, stamp, _cells, (damaged, dropped), number, values in packed:
        cells: dict[Any, Cell] = dict(zip(lists[number], values, strict=True))
        entries.append(Entry._make((*facts, Stamp(*stamp), cells, Losses(tuple(damaged), dropped))))
    return entries
