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
    serve(program, lambda request: [_packed(_read(register, *each)) for each in request])


def _read(register: Register, folder: str, stamp: list[str] | None) -> Entry:
    return stamped_entry(register, folder, None if stamp is None else Stamp(*stamp))


def _packed(entry: Entry) -> list[object]:
    """Return an entry without the tuples among its keys, which MessagePack does not have."""
    return [*entry._replace(cells={}), [(*key, cell) for key, cell in entry.cells.items()]]
