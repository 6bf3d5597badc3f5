"""The ledger of a run: its imported fields, by which the next import finds new data."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from naiad.errors import DamagedData, MissingField
from naiad.fields.file import kept
from naiad.storage.base import RunReader

HOME = "sys/import"
LEDGER = f"{HOME}/ledger"
STATE = f"{HOME}/state"
IMPORTING, COMPLETE = "importing", "complete"
VERSION = 1
GZIP = 31
"""The window of zlib that makes it read and write gzip, which every machine has a tool for."""
LARGEST = 1 << 28
"""Bytes of a ledger of millions of fields; more in a small file is an attack."""


@dataclass
class Entry:
    """The share of one part of a source in one field."""

    kind: str
    count: int
    source: int
    """Fingerprint at the source, where points without a step have none."""
    store: int
    """Fingerprint of what was written."""
    detail: Any = None
    """Of sets: the texts, or the fingerprints of files by their names."""


@dataclass
class Ledger:
    """The entries of a run by part of a source and path; values that are no series have the part ""."""

    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    """Paths of the source that could not be kept, and the paths that they have instead."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Of each source, by its identity: what its importer wants to know the next time."""

    def is_imported(self, path: str) -> bool:
        """Whether some part of some source has given a field at this path."""
        return path in self._paths()

    def _paths(self) -> set[str]:
        # Built again when entries were added: a run of 10,000 fields asks for every one of them.
        if getattr(self, "_known_for", -1) != len(self.entries):
            self._known: set[str] = {path for _part, path in self.entries}
            self._known_for = len(self.entries)
        return self._known

    def to_bytes(self) -> bytes:
        """Return it as JSON in gzip.

        Of a run with some 200 fields it is so short that it needs no file of its own, whose syncs took longer than
        writing the points of the run. Half of it are fingerprints that repeat: source and store mostly agree.
        """
        parts: dict[str, dict[str, list[Any]]] = {}
        for (part, path), each in self.entries.items():
            # Fingerprints are hexadecimal because JSON readers take numbers above 2**53 for floats.
            numbers = [each.kind, each.count, f"{each.source:016x}", f"{each.store:016x}"]
            parts.setdefault(part, {})[path] = [*numbers, *([] if each.detail is None else [each.detail])]
        text = json.dumps(
            {"version": VERSION, "parts": parts, "renamed": self.renamed, "facts": self.facts}, sort_keys=True
        )
        packing = zlib.compressobj(wbits=GZIP)
        return packing.compress(text.encode()) + packing.flush()

    @classmethod
    def read(cls, reader: RunReader) -> Ledger:
        """Return the ledger of a run; an empty one if nothing was imported into it.

        Raises:
            DamagedData: it is damaged.
        """
        try:
            text = reader.value(LEDGER)
        except MissingField:
            return cls()
        return cls._parsed(reader.read_file(kept(text)))

    @classmethod
    def _parsed(cls, data: bytes) -> Ledger:
        try:
            found: Mapping[str, Any] = json.loads(_unpacked(data))
            entries = {
                (part, path): _entry(numbers)
                for part, paths in found["parts"].items()
                for path, numbers in paths.items()
            }
            return cls(entries, dict(found["renamed"]), dict(found["facts"]))
        except (zlib.error, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            what = f"it is not a ledger of imports ({error})"
            raise DamagedData(f'"{LEDGER}" is damaged: {what}.', file=LEDGER, offset=0, what=what) from error


def _unpacked(data: bytes) -> bytes:
    """Return the JSON of a ledger."""
    if data.startswith(b"{"):  # of an import that was made before ledgers were compressed
        return data
    unpacking = zlib.decompressobj(GZIP)
    text = unpacking.decompress(data, LARGEST)
    if not unpacking.eof:
        raise ValueError("it is cut off or too long")
    return text


def _entry(numbers: Sequence[Any]) -> Entry:
    kind, count, source, store, *rest = numbers
    return Entry(str(kind), int(count), int(source, 16), int(store, 16), rest[0] if rest else None)
