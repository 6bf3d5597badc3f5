"""The destination: one run of the store, which takes the records of a source as ops.

Records go through the same writer as live logging. A run that was there before takes only new data: of a part of a
source that the ledger has, the points behind the last one; of any other, the points that the run does not have.
"""

from __future__ import annotations

from collections.abc import Iterable

from naiad.errors import MissingField
from naiad.file import File
from naiad.importers import fingerprint, stored
from naiad.importers.ledger import LEDGER
from naiad.importers.series_records import SeriesRecords
from naiad.importers.single_records import SingleRecords
from naiad.importers.target import Target
from naiad.kinds import ATOMS, POINTS
from naiad.ops import Assign
from naiad.records import (
    Files,
    Note,
    Points,
    Record,
    Skipped,
    Texts,
    Value,
)
from naiad.refs import FileRef, incoming
from naiad.storage.base import Change, RunReader


class Destination:
    """One run that takes records of every kind, and is compared with their source in the end."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._series = SeriesRecords(target)
        self._singles = SingleRecords(target)

    @property
    def end_state(self) -> str:
        """The state of the run at the source; empty if that has none."""
        return self._singles.end_state

    @property
    def is_failed(self) -> bool:
        """Whether the source has a value that marks the run as failed."""
        return self._singles.is_failed

    def take(self, record: Record) -> None:
        """Take one record."""
        if isinstance(record, Value):  # most records are
            if not self.target.is_second:
                self._singles.take(record)
        elif isinstance(record, Points):
            self._series.take_points(record)
        elif isinstance(record, Texts):
            self._series.take_texts(record)
        elif isinstance(record, Files):
            self._series.take_files(record)
        elif isinstance(record, Skipped):
            self.target.skip(record.path, record.kind, record.reason, record.count, record.is_loss, record.where)
        elif isinstance(record, Note):
            self.target.report.note(record.text)
        elif not self.target.is_second:
            self._singles.take(record)

    def begin_second_pass(self) -> bool:
        """Begin to take the diverged series once more, now point by point; False if there are none."""
        return self._series.begin_second_pass()

    def finish(self, more: Iterable[Assign] = ()) -> None:
        """Write the waiting changes, and then the ledger and other ops, together."""
        self._series.flush()
        self.target.flush()
        self._series.note_entries()
        self._singles.note_entries()
        renamed = {old: new for old, new in self.target.places.items() if old != new}
        self.target.ledger.renamed.update(renamed)
        ref = self.target.writer.ingest(File(content=self.target.ledger.to_bytes(), extension="json.gz"))
        ledger = Assign(LEDGER, FileRef.kind, ref.to_text())
        first = Change(LEDGER, FileRef.kind, (ledger,), content=tuple(incoming([ref])))
        self.target.writer.write([first, *(Change(op.path, op.kind, (op,)) for op in more)])

    def check(self, reader: RunReader) -> None:
        """Compare the fingerprints of imported fields with those of stored ones."""
        with reader.moment():
            self._check(reader)

    def _check(self, reader: RunReader) -> None:
        checks = self.target.report.checks
        sources, stores = [], []
        expected = [*self._series.expected(), *self._singles.expected()]
        # All at once, which is far faster than one after the other.
        atoms = reader.atoms()
        kinds = self.target.kinds
        series = dict(stored.point_totals(reader, (each[0] for each in expected if kinds.get(each[0]) == POINTS)))
        for place, wanted, is_ours in expected:
            kind = kinds.get(place) or self._singles.entries[place].kind
            found: int | None
            try:
                if place in series:
                    found = series[place]
                elif kind in ATOMS and place in atoms:
                    found = stored.of_value(*atoms[place])
                else:
                    found = stored.total(reader, place, kind)[1]
            except MissingField:
                found = None
            checks.fields += 1
            if found != wanted and not is_ours:
                checks.changed.append(place)
                continue
            sources.append(fingerprint.of_one(place, wanted))
            stores.append(sources[-1] if found == wanted else fingerprint.of_one(place, found))
            if found != wanted:
                checks.differing.append(place)
        checks.source = fingerprint.shown(fingerprint.summed(sources))
        checks.store = fingerprint.shown(fingerprint.summed(stores))
