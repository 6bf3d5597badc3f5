"""Records of single values, sets and files, on their way into a run: new ones become ops."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec.structs import asdict, astuple

from naiad import scalars
from naiad.convert import LONGEST_TEXT
from naiad.errors import MissingField, shown
from naiad.fields.file import kept
from naiad.fields.file_set import stored_name
from naiad.file import File
from naiad.files.names import normal
from naiad.files.tracked import artifact_hash, content_hash
from naiad.gitref import GitRef
from naiad.importers import fingerprint, stored
from naiad.importers.ledger import Entry
from naiad.importers.report import Reason
from naiad.importers.target import Target
from naiad.kinds import ATOM_OF, KINDS, MEMBERS, POINTS, TAGS
from naiad.ops import Assign, Configure
from naiad.ops import Members as MembersOp
from naiad.ops import Tags as TagsOp
from naiad.records import (
    Artifact,
    Axis,
    Commit,
    Members,
    Record,
    Skipped,
    Tags,
    Upload,
    Value,
)
from naiad.refs import ArtifactRef, FileRef, incoming
from naiad.storage.base import Change
from naiad.types import Artifact as ArtifactValue

_HELD: dict[str, tuple[type, ...]] = {
    ATOM_OF[bool]: (bool,),
    ATOM_OF[int]: (int,),
    ATOM_OF[float]: (float, int),
    ATOM_OF[str]: (str, bytes),
    ATOM_OF[datetime]: (int,),
}
"""The types of values that an atom stores. An op with another one is a frame that no reader can decode."""


def _fits(kind: str, value: object) -> bool:
    held = _HELD.get(kind)
    if held is None:
        return True
    is_bool = isinstance(value, bool)  # an int to Python
    is_long = isinstance(value, int) and not -(1 << 63) <= value < 1 << 63
    return isinstance(value, held) and is_bool is (bool in held) and not is_long


class SingleRecords:
    """The single values of a source, each of which comes once."""

    def __init__(self, target: Target) -> None:
        self.end_state = ""
        """The state of the run at the source, if that has one."""
        self.is_failed = False
        self.entries: dict[str, Entry] = {}
        """Their entries in the ledger, by place."""
        self._target = target
        self._written: set[str] = set()  # places of values that this import has written

    def take(self, record: Record) -> None:
        """Take a record that is no part of a series."""
        if isinstance(record, Value):
            if record.path == "sys/state" and isinstance(record.value, str):
                self.end_state = record.value
            elif record.path == "sys/failed":
                self.is_failed = record.value is True
            self._assign(record.path, record.kind, record.value, record.is_newer)
        elif isinstance(record, Upload):
            self._upload(record)
        elif isinstance(record, Tags):
            self._take_tags(record)
        elif isinstance(record, Members):
            self._take_members(record)
        elif isinstance(record, Axis):
            self._configure(record)
        elif isinstance(record, Artifact):
            self._take_artifact(record)
        elif isinstance(record, Commit):
            text = git_text(record.git)
            self._assign(record.path, GitRef.kind, text)

    def _assign(self, path: str, kind: str, value: Any, is_newer: bool = True) -> None:
        if not _fits(kind, value):
            what = f"{shown(value)} cannot be the value of a field of kind {KINDS[kind].neptune}"
            self._target.skip(path, kind, what)
            return
        place = self._target.place(path, kind)
        if place is None:
            return
        if isinstance(value, str):
            value = scalars.pack_text(value)
            if (
                len(value) * 4 > LONGEST_TEXT
                and len(value if isinstance(value, bytes) else value.encode()) > LONGEST_TEXT
            ):
                self._target.skip(path, kind, "the text is longer than 16 MiB")
                return
        source = stored.of_value(kind, value)
        if self._is_wanted(path, place, kind, source, source, is_newer):
            self._target.write(Change(place, kind, (Assign(place, kind, value),)))

    def _is_wanted(
        self, path: str, place: str, kind: str, source: int, store: int, is_newer: bool = True, detail: Any = None
    ) -> bool:
        """Whether a single value is to be written; it is counted, and its entry noted."""
        counts = self._target.report.of(kind)
        counts.fields += 1
        counts.found += 1
        is_there = place in self._target.kinds
        entry = Entry(kind, 1, source, store, detail)
        if self._target.is_new and not is_there:
            wanted, reason = True, ""
        else:
            wanted, reason = self._compared(place, kind, entry, is_there, is_newer)
        if wanted:
            self.entries[place] = entry
            self._written.add(place)
            counts.imported += 1
        elif reason:
            self._target.report.skip(Reason(path, kind, reason, is_loss=False))
        else:
            self.entries[place] = entry
            counts.present += 1
        return wanted

    def _compared(self, place: str, kind: str, entry: Entry, is_there: bool, is_newer: bool) -> tuple[bool, str]:
        """Whether a value replaces that of the run, or the reason against it."""
        # The source is as it was: whatever the run has now was done in naiad.
        known = self._target.ledger.entries.get(("", place))
        if known is not None and known.source == entry.source:
            entry.store = known.store
            return False, "" if is_there else "it was removed in naiad"
        if not is_there:
            if known is not None or self._target.ledger.is_imported(place):
                return False, "it was removed in naiad"
            return True, ""
        now = self._stored(place, kind)
        if now == entry.store:
            return False, ""
        # The source has changed. If the run still has the earlier value nobody edited it, and it follows the source.
        if known is not None:
            return (True, "") if now == known.store else (False, "it was changed in naiad")
        # Values that the run has from its own begin, such as its name, give way to those of the source.
        if self._target.is_new or self._target.is_resumed or is_newer:
            return True, ""
        return False, "the run has a later value"

    def _stored(self, place: str, kind: str) -> int:
        # What waits to be written is not in the run yet, and would be compared with an earlier value.
        for change in self._target.waiting:
            if change.path == place:
                self._target.flush()
                break
        if self._target.has_writer:
            self._target.reader.refresh()
        try:
            return stored.total(self._target.reader, place, kind)[1]
        except MissingField:
            return 0

    def _take_artifact(self, record: Artifact) -> None:
        kind = ArtifactValue.kind
        place = self._target.place(record.path, kind)
        if place is None or self._is_marked(place, kind, record.mark):
            return
        self._target.skip_all(record.missing)
        if not record.hash:
            return
        import json

        manifest = json.dumps([astuple(file) for file in record.files]).encode()
        digest = hashlib.sha256(manifest).hexdigest()
        size = sum(file.size for file in record.files)
        # A mark stands for the record where its files may change or be gone by the next import.
        source = fingerprint.of_one(record.mark) if record.mark else fingerprint.of_one(record.hash, digest)
        if not self._is_wanted(record.path, place, kind, source, 0):
            return
        if self._target.is_dry:
            self._target.is_changed = True
            return
        ref = self._target.writer.ingest(File(content=manifest, extension="json"))
        # A hash alone says nothing of the contents, so that the hash of contents stays empty; of an artifact without
        # files it is known.
        is_known = bool(record.files) or record.hash == artifact_hash([])
        content = content_hash(record.files) if is_known else ""
        text = ArtifactRef(record.hash, len(record.files), size, ref.to_text(), content).to_text()
        self.entries[place].store = stored.of_value(kind, text)
        self._target.write(Change(place, kind, (Assign(place, kind, text),), content=tuple(incoming([ref]))))

    def _configure(self, record: Axis) -> None:
        place = self._target.place(record.path, POINTS)
        if place is None or (record.low, record.high, record.unit) == (None, None, None):
            return
        # A name that no path has, since the entry of the series itself is at its path.
        axis = f"{place}\0axis"
        known = self._target.ledger.entries.get(("", axis))
        source = fingerprint.of_one(record.low, record.high, record.unit)
        self.entries[axis] = Entry("", 1, source, source)
        if known is not None and known.source == source:
            return
        if known is not None and place in self._target.kinds and self._axis(place) != known.source:
            return  # it was changed in naiad
        if place in self._target.kinds and not self._target.is_new and self._axis(place) == source:
            return
        self._target.write(Change(place, POINTS, (Configure(place, record.low, record.high, record.unit),)))

    def _axis(self, place: str) -> int:
        low, high, unit = self._target.reader.config(place)
        return fingerprint.of_one(low, high, unit)

    def _take_tags(self, record: Tags) -> None:
        place = self._target.place(record.path, TAGS)
        if place is None:
            return
        # Each once: a set that names a tag twice would be counted as two, and one would be missing.
        texts = list(dict.fromkeys(record.texts))
        counts = self._target.report.of(TAGS)
        counts.fields += 1
        counts.found += len(texts)
        known = self._target.ledger.entries.get(("", place))
        is_there = place in self._target.kinds
        if known is not None and not is_there:  # the field itself was removed
            self._target.report.skip(Reason(record.path, TAGS, "it was removed in naiad", len(texts), False))
            return
        earlier = set(known.detail or ()) if known is not None else set()
        if is_there and not self._target.is_new:
            earlier |= self._target.reader.tags(place)
        new = [text for text in texts if text not in earlier]
        total = stored.of_tags(texts)
        self.entries[place] = Entry(TAGS, len(texts), total, total, texts)
        counts.imported += len(new)
        counts.present += len(texts) - len(new)
        if new or not is_there:
            self._written.add(place)
            self._target.write(
                Change(place, TAGS, (TagsOp(place, [scalars.pack_text(text) for text in new], [], False),))
            )

    def _upload(self, record: Upload) -> None:
        kind = FileRef.kind
        place = self._target.place(record.path, kind)
        if place is None or self._is_marked(place, kind, record.mark):
            return
        content = record.content
        if isinstance(content, Skipped):
            self._target.skip_all([content])
            return
        digest = self._target.digest(record.path, kind, content)
        if digest is None:
            return
        token = stored.token(digest, content.extension, content.name, content.description)
        number = fingerprint.of_one(kind, token)
        source = fingerprint.of_one(record.mark) if record.mark else number
        if not self._is_wanted(record.path, place, kind, source, number, record.is_newer):
            return
        ref = self._target.ingested(record.path, kind, content)
        if ref is not None:
            self._target.write(
                Change(place, kind, (Assign(place, kind, ref.to_text()),), content=tuple(incoming([ref])))
            )

    def _is_marked(self, place: str, kind: str, mark: str) -> bool:
        """Whether the same record was imported before, even if the files that it names have changed since."""
        known = self._target.ledger.entries.get(("", place))
        if not mark or known is None or known.source != fingerprint.of_one(mark):
            return False
        counts = self._target.report.of(kind)
        counts.fields += 1
        counts.found += known.count
        if place in self._target.kinds:
            counts.present += known.count
        else:
            self._target.report.skip(Reason(place, kind, "it was removed in naiad", known.count, is_loss=False))
        return True

    def _take_members(self, record: Members) -> None:
        place = self._target.place(record.path, MEMBERS)
        if place is None or self._is_marked(place, MEMBERS, record.mark):
            return
        self._target.skip_all(record.missing)
        counts = self._target.report.of(MEMBERS)
        counts.fields += 1
        known = self._target.ledger.entries.get(("", place))
        is_there = place in self._target.kinds
        earlier: Mapping[str, str] = (known.detail or {}) if known is not None else {}
        # All archives in the folder of a set belong to it.
        if place in self.entries:  # another archive of the same set
            earlier = self.entries[place].detail
        if known is not None and not is_there:
            counts.found += len(record.files)
            self._target.report.skip(Reason(record.path, MEMBERS, "it was removed in naiad", len(record.files), False))
            return
        there = self._members(place) if is_there and not self._target.is_new else {}
        add: dict[str, str] = {}
        content: list[str] = []
        # The earlier files stay in the ledger: a source that has lost one does not remove it here.
        tokens = dict(earlier)
        has_new = False
        for name, each in record.files.items():
            digest = self._target.digest(f"{record.path}: {name}", MEMBERS, each)
            if digest is None:
                continue
            counts.found += 1
            token = stored.token(digest, each.extension, each.name, each.description)
            key = stored_name(normal(name)) or "_"
            tokens[key] = token
            if earlier.get(key) == token or there.get(key) == token:
                counts.present += 1
                continue
            counts.imported += 1
            has_new = True
            ref = self._target.ingested(f"{record.path}: {name}", MEMBERS, each)
            if ref is not None:
                add[key] = ref.to_text()
                content += incoming([ref])
        total = stored.of_members(tokens)
        is_whole = record.mark and not record.missing
        source = fingerprint.of_one(record.mark) if is_whole else total
        self.entries[place] = Entry(MEMBERS, len(tokens), source, total, tokens)
        if has_new or not is_there:
            self._written.add(place)
        if has_new or not is_there:
            op = MembersOp(place, add, [], False)
            self._target.write(Change(place, MEMBERS, (op,), content=tuple(content)))

    def _members(self, place: str) -> dict[str, str]:
        found = self._target.reader.members(place)
        return {name: stored.file_token(self._target.reader, kept(text)) for name, text in found.items()}

    def note_entries(self) -> None:
        """Write their entries to the ledger."""
        for path, entry in self.entries.items():
            self._target.ledger.entries["", path] = entry

    def expected(self) -> Iterable[tuple[str, int, bool]]:
        """Yield each place, its fingerprint, and whether it can only differ by a fault: this import has written it."""
        for place, entry in self.entries.items():
            if entry.kind:
                yield place, entry.store, place in self._written


def git_text(git: GitRef) -> str:
    """Return a commit as the field stores it."""
    import json

    return json.dumps(asdict(git), default=lambda each: each.isoformat() if hasattr(each, "isoformat") else str(each))
