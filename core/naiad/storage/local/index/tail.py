"""The tail of a run: records of the journal that the index does not hold yet, and the fields they belong to."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Mapping
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from naiad.slots import FLOAT_STEP, SEGMENT_HEADER
from naiad.storage.local.index.points import Columns, Part, from_records, is_after, split_exact
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.states import FieldState
from naiad.storage.local.journal.files import JournalFile
from naiad.storage.local.journal.records import NOBODY, Records, read_records
from naiad.storage.local.journal.sums import FileCover
from naiad.storage.results import Damage

Binding = tuple[str, int, float]
"""A writer, a number of its records, and the time from which on they belong to a field."""
_versions = itertools.count(1)
"""Of all tails: one that is read anew, after a fold or trouble, must not repeat a version of the one before."""


class Tail:
    """The records of all journal files, as far as they are not in the index; grows with the files.

    Of a sealed run, `bad` are the damaged blocks of each segment, and `sealed` its number of records by field number.
    """

    def __init__(
        self,
        folded: dict[str, tuple[int, bool]],
        bad: dict[str, list[int]] | None = None,
        sealed: dict[str, dict[int, int]] | None = None,
    ) -> None:
        self._folded = folded
        self._bad = bad or {}
        # A file that the index has wholly is not read, and may be there or not.
        self._sealed = dict(sealed or {})
        for place in sealed or ():
            if folded.get(place.rpartition("/")[2], (0, False))[1]:
                del self._sealed[place]
        self._upto: dict[str, int] = {}
        self._states: dict[str, tuple[int, ...]] = {}  # of the files of a sealed run when they were read
        self._whole: dict[str, list[Records]] = {}  # without a hole before them: never read again
        self._now: dict[str, Records] = {}  # everything there is
        self._damaged: dict[str, list[Damage]] = {}  # by place
        self._files: list[JournalFile] = []
        self._numbers: tuple[int, set[str], dict[int, list[Binding]]] = (-1, set(), {})
        self.version = next(_versions)
        """Another one with each new record, and with each damage that may have taken some."""

    def update(
        self, files: list[JournalFile], covers: Mapping[str, FileCover], missing: Mapping[str, Damage]
    ) -> list[Damage]:
        """Read the records appended since, and return the damage. `missing` are files that must exist.

        Raises:
            FileNotFoundError: one of them was folded meanwhile.
        """
        found = []
        self._files = files
        for file in reversed(files):  # the oldest last: what is added meanwhile then never leaves a gap before it
            stat = os.stat(file.path)
            state = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            if file.place in self._sealed and self._states.get(file.name) == state:
                continue  # its crc was compared when it was read, which takes as long as reading it
            self._states[file.name] = state
            start = self._upto.get(file.name, self._folded.get(file.name, (0, False))[0])
            records, upto, damages = read_records(file, start, self._bad.get(file.place, ()), covers.get(file.name))
            whole = self._whole.setdefault(file.name, [])
            count = (upto - max(start, SEGMENT_HEADER)) // records.itemsize
            if count:
                whole.append(records[:count])
            before = self._now.get(file.name)
            if before is None or len(records) or len(before) > sum(map(len, whole)):
                self.version = next(_versions)
                self._now[file.name] = (
                    np.concatenate([*whole, records[count:]]) if len(whole) != 1 or len(records) > count else whole[0]
                )
            self._upto[file.name] = upto
            if file.place not in self._bad:  # else the seal has said it before
                found += damages
            self._blame(damages)
        gone = self._sealed.keys() - {file.place for file in files}
        self._blame([Damage(place, "it is missing") for place in gone])
        self._blame([damage for name, damage in missing.items() if name.endswith(".seg")])
        return found

    def _blame(self, damages: Iterable[Damage]) -> None:
        for damage in damages:
            if damage.numbers != NOBODY:
                known = self._damaged.setdefault(damage.file, [])
                if damage not in known:
                    known.append(damage)
                    self.version = next(_versions)

    def damage_of(self, projection: Projection, state: FieldState) -> Damage | None:
        """Return the damage of a file that has lost, or may have lost, points of this field."""
        if not self._damaged:
            return None
        bindings = self._bindings(projection).get(id(state), [])
        damages = (damage for its_own in self._damaged.values() for damage in its_own)
        return next((damage for damage in damages if self._lost(damage, bindings)), None)

    def _lost(self, damage: Damage, bindings: list[Binding]) -> bool:
        place = damage.file
        name = place.rpartition("/")[2]
        numbers = [number for writer, number, _since in bindings if name.startswith(writer + ".")]
        records = self._now.get(name)
        if place not in self._sealed or (records is not None and place not in self._bad):
            low, high = damage.numbers or (0, FLOAT_STEP)  # the segment's own crc fails, which does not tell where
            return any(low <= number <= high for number in numbers)
        fids = np.empty(0, np.uint32) if records is None else records["fid"] & np.uint32(FLOAT_STEP - 1)
        return any(int((fids == number).sum()) != self._sealed[place].get(number, 0) for number in numbers)

    def of(self, projection: Projection, state: FieldState) -> list[Part]:
        """The points of one field, by writer and in the order in which each wrote them."""
        bindings: dict[str, list[Binding]] = {}
        for binding in self._bindings(projection).get(id(state), []):
            bindings.setdefault(binding[0], []).append(binding)
        parts: list[Part] = []
        for file in sorted(self._files):
            if file.writer in bindings:
                for part in self._select(file, bindings[file.writer]):
                    parts.append((file.writer, part))
        return parts

    def owners(self, projection: Projection) -> set[int]:
        """The field states that may have points here, or may have lost some, by their identity."""
        if self._damaged:
            return {id(state) for state in projection.states()}
        numbers: dict[str, set[int]] = {}
        for file in self._files:
            # Without the top bit, which says that the step is a float.
            fids = np.unique(self._now[file.name]["fid"] & np.uint32(FLOAT_STEP - 1))
            numbers.setdefault(file.writer, set()).update(fids.tolist())
        return {
            state
            for state, bindings in self._bindings(projection).items()
            if any(number in numbers.get(writer, ()) for writer, number, _since in bindings)
        }

    def has_since(self, writer: str, number: int, since: float) -> bool:
        """Whether a writer has appended with a number since then."""
        binding = (writer, number, since)
        return any(file.writer == writer and self._rows(file, [binding]).any() for file in self._files)

    def _select(self, file: JournalFile, bindings: list[Binding]) -> list[Columns]:
        rows = self._rows(file, bindings)
        if not rows.any():
            return []
        _numbers, is_float, raw = from_records(self._now[file.name], None if rows.all() else rows)
        return split_exact(raw, is_float)

    def _rows(self, file: JournalFile, bindings: list[Binding]) -> npt.NDArray[np.bool_]:
        records = self._now[file.name]
        fids = records["fid"] & np.uint32(FLOAT_STEP - 1)
        rows = np.zeros(len(fids), np.bool_)
        for _writer, number, since in bindings:
            rows |= fids == number if since == -math.inf else (fids == number) & is_after(records["time"], since)
        return rows

    def _bindings(self, projection: Projection) -> dict[int, list[Binding]]:
        """Which numbers of the writers with files here mean a field state, by its identity."""
        # Of a run that is resumed, most series were written by others, and are in the index as rows.
        names = {*map(attrgetter("writer"), self._files)}
        for place in self._damaged:
            names.add(place.rpartition("/")[2].partition(".")[0])
        if self._numbers[:2] != (projection.version, names):
            found: dict[int, list[Binding]] = {}
            for writer in projection.writers.values():
                for number, state in enumerate(writer.fields if writer.name in names else (), 1):
                    if isinstance(state, int):
                        state = projection.owner_of(writer.name, number)
                    since = -math.inf
                    if state is not None and state.path in projection.tombstones:
                        state, since = projection.meaning(writer.name, number)
                    if state is not None:
                        found.setdefault(id(state), []).append((writer.name, number, since))
            self._numbers = (projection.version, names, found)
        return self._numbers[2]
