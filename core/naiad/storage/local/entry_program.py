"""The program of the processes that read entries for a catalog; see `entry_processes`."""

from __future__ import annotations

from pathlib import Path

from naiad.storage.local.catalog import stamped_entry
from naiad.storage.local.ids import Register
from naiad.storage.local.processes import serve
from naiad.storage.sql.values import Entry, Stamp

Request = list[tuple[str, list[str] | None]]
"""Of each container its folder, and the two texts of its stamp if it has one."""


def main(root: str, program: int) -> None:
    """Read entries on request, until the program closes the pipe or is gone."""
    register = Register(Path(root))
    serve(program, lambda request: _packed([_read(register, *each) for each in request]))


def _read(register: Register, folder: str, stamp: list[str] | None) -> Entry:
    return stamped_entry(register, folder, None if stamp is None else Stamp(*stamp))


def _packed(entries: list[Entry]) -> tuple[list[object], list[object]]:
    """Return the keys of cells, each list of them once, and the entries with the number of theirs and their values.

    Most containers of a store have the same fields, so nearly half of the bytes and objects would be keys.
    """
    keys: dict[tuple[tuple[str, str], ...], int] = {}
    packed: list[object] = []
    for entry in entries:
        number = keys.setdefault(tuple(entry.cells), len(keys))
        packed.append((*entry._replace(cells={}), number, [*entry.cells.values()]))
    return [*keys], packed
