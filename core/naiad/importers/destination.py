"""The destination: one run of the store, which takes the records of a source as ops.

Records go through the same writer as live logging. A run that was there before takes only new data: of a part of a
source that the ledger has, the points behind the last one; of any other, the points that the run does not have.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from naiad import paths, scalars
from naiad.convert import EARLIEST, LATEST, LONGEST_TEXT
from naiad.errors import FileError, MissingField, NaiadPathError, StorageError
from naiad.fields.file import kept
from naiad.fields.file_set import stored_name
from naiad.file import File
from naiad.files.names import normal
from naiad.files.tracked import artifact_hash, content_hash
from naiad.gitref import GitRef
from naiad.importers import fingerprint, stored
from naiad.importers.fingerprint import Numbers, Stock
from naiad.importers.ledger import HOME, LEDGER, Entry, Ledger
from naiad.importers.report import Reason, RunReport
from naiad.integers import LARGEST
from naiad.kinds import ATOMS, DERIVED, KINDS, MEMBERS, PARENT, PARENT_UID, POINTS, TAGS
from naiad.ops import Assign, Configure, Define, Strings
from naiad.ops import Members as MembersOp
from naiad.ops import Tags as TagsOp
from naiad.records import (
    Artifact,
    Axis,
    Commit,
    Content,
    Files,
    Members,
    Note,
    Points,
    Record,
    Skipped,
    Tags,
    Texts,
    Upload,
    Value,
)
from naiad.refs import ArtifactRef, FileRef, incoming
from naiad.storage.base import Change, PointColumns, RunReader, RunWriter
from naiad.tree import Tree
from naiad.types import Artifact as ArtifactValue
from naiad.types import FileSeries

MOST_WAITING = 500
"""Changes of single values that are written together."""
MOST_TEXTS, MOST_BYTES = 1_000, 1 << 20
"""Entries, and bytes of entries, of one op: a fold takes an op whole."""
MOST_POINTS = 100_000
"""Points that are written at once."""
CHUNK = 1 << 20
_odd = re.compile("[\x00-\x1f\ud800-\udfff]")

_KEPT_AS_SOURCE = {*DERIVED, "sys/id", "sys/project", PARENT, PARENT_UID}
"""Paths that naiad writes itself; the values of a source stand below `sys/import`."""


@dataclass
class _Series:
    """A series of the run while points are added to it."""

    kind: str
    exists: bool
    number: int = 0
    last: int | None = None
    """The step after which points without one go on; None if it is not known yet."""
    stocks: tuple[Stock, Stock] | None = None
    """The points that the run had before, for those of a source that the ledger does not have."""
    before: int = 0
    """Fingerprint of what the run had, once something is written behind it."""
    written: int = 0
    is_measured: bool = False


@dataclass
class _Part:
    """How far the points of one part of a source are for one field."""

    kind: str
    known: Entry | None
    count: int = 0
    source: int = 0
    store: int = 0
    is_removed: bool = False


class Destination:
    """One run that takes records. Nothing of it is opened for writing before the first one that is new."""

    def __init__(
        self,
        reader: RunReader,
        open_writer: Callable[[], RunWriter] | None,
        report: RunReport,
        ledger: Ledger,
        origin: str,
        *,
        is_new: bool,
        is_resumed: bool = False,
        default_time: float,
    ) -> None:
        """Take the reader of a run and a function that opens its writer, which is None for a dry run."""
        self.report = report
        self.ledger = ledger
        self.origin = origin  # the name of the format, for the namespace of what cannot stand at its own path
        self.diverged: set[tuple[str, str]] = set()
        """Parts and paths whose earlier points are others now; a second pass compares each of their points."""
        self.end_state = ""
        """The state of the run at the source, if that has one."""
        self._reader = reader
        self._open_writer = open_writer
        self._is_new = is_new
        self._is_resumed = is_resumed  # the run is an import that did not come to its end
        self._default_time = default_time
        self._kinds = {} if is_new else dict(reader.kinds())
        self._tree: Tree[str] = Tree()
        self._initial = frozenset(self._kinds)
        self._written: set[str] = set()  # places of single values that this import has written
        for path, kind in self._kinds.items():
            self._tree.put(path, kind)
        self._series: dict[str, _Series] = {}
        self._parts: dict[tuple[str, str], _Part] = {}
        self._values: dict[str, Entry] = {}
        self._places: dict[str, str] = {}  # paths of the run by those of the source
        self._waiting: list[Change] = []
        self._is_second = False
        self.is_changed = False

    # The end

    def finish(self, more: Iterable[Assign] = ()) -> None:
        """Write the waiting changes, and then the ledger and other ops, together."""
        self._flush()
        self._note_entries()
        ref = self.writer.ingest(File(content=self.ledger.to_json(), extension="json"))
        ledger = Assign(LEDGER, FileRef.kind, ref.to_text())
        first = Change(LEDGER, FileRef.kind, (ledger,), content=tuple(incoming([ref])))
        self.writer.write([first, *(Change(op.path, op.kind, (op,)) for op in more)])

    def _note_entries(self) -> None:
        for (part, place), state in self._parts.items():
            if state.is_removed or (state.known is not None and state.count < state.known.count):
                continue  # a source that has lost points: the next time it may have them again
            series = self._series[place]
            if series.stocks is not None:  # its points were matched one by one: it has what the others do not have
                others = [e.store for (p, at), e in self.ledger.entries.items() if at == place and p != part]
                state.store = (series.before + series.written - sum(others)) & fingerprint.MASK
            self.ledger.entries[part, place] = Entry(state.kind, state.count, state.source, state.store)
        for path, entry in self._values.items():
            self.ledger.entries["", path] = entry
        renamed = {old: new for old, new in self._places.items() if old != new}
        self.ledger.renamed.update(renamed)

    def begin_second_pass(self) -> bool:
        """Begin to take the diverged series once more, now point by point; False if there are none."""
        for (part, place), state in self._parts.items():
            if state.known is not None and state.count < state.known.count and not state.is_removed:
                self.diverged.add((part, place))
        for part, place in self.diverged:
            old = self._parts[part, place]
            counts = self.report.of(old.kind)
            counts.found -= old.count
            counts.present -= old.count
            old.count = old.source = 0
            series = self._series[place]
            if series.stocks is None:
                series.stocks, series.before = self._stocks(place, old.kind)
        self._is_second = bool(self.diverged)
        return self._is_second

    def _stocks(self, place: str, kind: str) -> tuple[tuple[Stock, Stock], int]:
        full, loose, total = stored.stocks(self._reader, place, kind)
        return (full, loose), total

    @cached_property
    def writer(self) -> RunWriter:
        """The writer of the run."""
        assert self._open_writer is not None
        return self._open_writer()

    def begin(self) -> None:
        """Open the run for writing, whether or not there is anything to be written."""
        assert self.writer is not None

    @property
    def has_writer(self) -> bool:
        """Whether the run was opened for writing."""
        return "writer" in vars(self)

    @property
    def is_dry(self) -> bool:
        """Whether nothing is written."""
        return self._open_writer is None

    # Records

    def take(self, record: Record) -> None:
        """Take one record."""
        if isinstance(record, Points):
            self._take_points(record)
        elif isinstance(record, Texts):
            self._take_texts(record)
        elif isinstance(record, Files):
            self._take_files(record)
        elif isinstance(record, Skipped):
            self._skip(record.path, record.kind, record.reason, record.count, record.is_loss, record.where)
        elif isinstance(record, Note):
            self.report.note(record.text)
        elif not self._is_second:
            self._take_single(record)

    def _take_single(self, record: Record) -> None:
        if isinstance(record, Value):
            if record.path == "sys/state" and isinstance(record.value, str):
                self.end_state = record.value
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

    def _skip(self, path: str, kind: str, reason: str, count: int = 1, is_loss: bool = True, where: str = "") -> None:
        if self._is_second:
            return
        if kind:
            self.report.of(kind).found += count
        self.report.skip(Reason(path, kind, reason, count, is_loss, where))

    # Places

    def _place(self, path: str, kind: str) -> str | None:
        """Return where a field of the source stands in the run; None if it cannot, which is then in the report."""
        known = self._places.get(path)
        if known is None:
            known = self._places[path] = self.ledger.renamed.get(path) or self._free(path)
            if known != path and not self._is_displaced(path):
                self.report.note(f'"{path}" stands at "{known}", because its own path cannot be used.')
        there = self._kinds.get(known)
        if there is not None and there != kind:
            reason = f"the run has a field of kind {KINDS[there].neptune} at this path"
            self._skip(path, kind, reason, is_loss=not self._was_replaced(known, there))
            return None
        return known

    def _was_replaced(self, path: str, kind: str) -> bool:
        """Whether a field that was imported has given way to another one since."""
        known = [each for (_part, each_path), each in self.ledger.entries.items() if each_path == path]
        return bool(known) and all(each.kind != kind for each in known)

    def _free(self, path: str) -> str:
        wish = self._legal(path)
        while True:
            if self._tree.is_namespace(wish):
                wish = f"{wish}_"
                continue
            above = next((each for each in _above(wish) if each in self._tree), None)
            if above is None:
                return wish
            wish = f"{above}_{wish[len(above) + 1 :]}"

    def _legal(self, path: str) -> str:
        try:
            found = paths.parse(path)
        except NaiadPathError:
            parts = [_odd.sub("_", part) for part in path.split("/") if part]
            parts = [part.replace(".", "_") if part in (".", "..") else part for part in parts]
            text = "/".join(parts)
            if not text.strip():
                text = "_"
            if len(text.encode()) > paths.LONGEST:
                mark = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:12]
                text = text.encode()[: paths.LONGEST - 100].decode(errors="ignore") + "~" + mark
            found = paths.parse(text)
        return f"{HOME}/{self.origin}/{found}" if self._is_displaced(found) else found

    def _is_displaced(self, path: str) -> bool:
        return path in _KEPT_AS_SOURCE or path == HOME or path.startswith(f"{HOME}/")

    def _define(self, path: str, kind: str) -> None:
        if path not in self._kinds:
            self._kinds[path] = kind
            self._tree.put(path, kind)

    def _write(self, change: Change) -> None:
        self.is_changed = True
        self._define(change.path, change.kind)
        if self._open_writer is None:
            return
        self._waiting.append(change)
        if len(self._waiting) >= MOST_WAITING:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            self.writer.write(waiting)

    # Single values

    def _assign(self, path: str, kind: str, value: Any, is_newer: bool = True) -> None:
        place = self._place(path, kind)
        if place is None:
            return
        if isinstance(value, str):
            value = scalars.pack_text(value)
            if (
                len(value) * 4 > LONGEST_TEXT
                and len(value if isinstance(value, bytes) else value.encode()) > LONGEST_TEXT
            ):
                self._skip(path, kind, "the text is longer than 16 MiB")
                return
        source = stored.of_value(kind, value)
        if self._is_wanted(path, place, kind, source, source, is_newer):
            self._write(Change(place, kind, (Assign(place, kind, value),)))

    def _is_wanted(
        self, path: str, place: str, kind: str, source: int, store: int, is_newer: bool = True, detail: Any = None
    ) -> bool:
        """Whether a single value is to be written; it is counted, and its entry noted."""
        counts = self.report.of(kind)
        counts.fields += 1
        counts.found += 1
        is_there = place in self._kinds
        entry = Entry(kind, 1, source, store, detail)
        if self._is_new and not is_there:
            wanted, reason = True, ""
        else:
            wanted, reason = self._compared(place, kind, entry, is_there, is_newer)
        if wanted:
            self._values[place] = entry
            self._written.add(place)
            counts.imported += 1
        elif reason:
            self.report.skip(Reason(path, kind, reason, is_loss=False))
        else:
            self._values[place] = entry
            counts.present += 1
        return wanted

    def _compared(self, place: str, kind: str, entry: Entry, is_there: bool, is_newer: bool) -> tuple[bool, str]:
        """Whether a value replaces that of the run, or the reason against it."""
        known = self.ledger.entries.get(("", place))
        if known is not None and known.source == entry.source:
            entry.store = known.store
            return False, "" if is_there else "it was removed in naiad"
        if not is_there:
            if known is not None or self.ledger.is_imported(place):
                return False, "it was removed in naiad"
            return True, ""
        now = self._stored(place, kind)
        if now == entry.store:
            return False, ""
        if known is not None:
            return (True, "") if now == known.store else (False, "it was changed in naiad")
        if self._is_new or self._is_resumed or is_newer:
            return True, ""
        return False, "the run has a later value"

    def _stored(self, place: str, kind: str) -> int:
        for change in self._waiting:
            if change.path == place:
                self._flush()
                break
        if self.has_writer:
            self._reader.refresh()
        try:
            return stored.total(self._reader, place, kind)[1]
        except MissingField:
            return 0

    def _take_artifact(self, record: Artifact) -> None:
        kind = ArtifactValue.kind
        place = self._place(record.path, kind)
        if place is None or self._is_marked(place, kind, record.mark):
            return
        self._skip_all(record.missing)
        if not record.hash:
            return
        import json
        from dataclasses import astuple

        manifest = json.dumps([astuple(file) for file in record.files]).encode()
        digest = hashlib.sha256(manifest).hexdigest()
        size = sum(file.size for file in record.files)
        source = fingerprint.of_one(record.mark) if record.mark else fingerprint.of_one(record.hash, digest)
        if not self._is_wanted(record.path, place, kind, source, 0):
            return
        if self.is_dry:
            self.is_changed = True
            return
        ref = self.writer.ingest(File(content=manifest, extension="json"))
        is_known = bool(record.files) or record.hash == artifact_hash([])
        content = content_hash(record.files) if is_known else ""
        text = ArtifactRef(record.hash, len(record.files), size, ref.to_text(), content).to_text()
        self._values[place].store = stored.of_value(kind, text)
        self._write(Change(place, kind, (Assign(place, kind, text),), content=tuple(incoming([ref]))))

    def _configure(self, record: Axis) -> None:
        place = self._place(record.path, POINTS)
        if place is None or (record.low, record.high, record.unit) == (None, None, None):
            return
        axis = f"{place}\0axis"
        known = self.ledger.entries.get(("", axis))
        source = fingerprint.of_one(record.low, record.high, record.unit)
        self._values[axis] = Entry("", 1, source, source)
        if known is not None and known.source == source:
            return
        if known is not None and place in self._kinds and self._axis(place) != known.source:
            return  # it was changed in naiad
        if place in self._kinds and not self._is_new and self._axis(place) == source:
            return
        self._write(Change(place, POINTS, (Configure(place, record.low, record.high, record.unit),)))

    def _axis(self, place: str) -> int:
        low, high, unit = self._reader.config(place)
        return fingerprint.of_one(low, high, unit)

    def _take_tags(self, record: Tags) -> None:
        place = self._place(record.path, TAGS)
        if place is None:
            return
        texts = list(dict.fromkeys(record.texts))
        counts = self.report.of(TAGS)
        counts.fields += 1
        counts.found += len(texts)
        known = self.ledger.entries.get(("", place))
        is_there = place in self._kinds
        if known is not None and not is_there:  # the field itself was removed
            self.report.skip(Reason(record.path, TAGS, "it was removed in naiad", len(texts), False))
            return
        earlier = set(known.detail or ()) if known is not None else set()
        if is_there and not self._is_new:
            earlier |= self._reader.tags(place)
        new = [text for text in texts if text not in earlier]
        total = stored.of_tags(texts)
        self._values[place] = Entry(TAGS, len(texts), total, total, texts)
        counts.imported += len(new)
        counts.present += len(texts) - len(new)
        if new or not is_there:
            self._written.add(place)
            self._write(Change(place, TAGS, (TagsOp(place, [scalars.pack_text(text) for text in new], [], False),)))

    # Files

    def _upload(self, record: Upload) -> None:
        kind = FileRef.kind
        place = self._place(record.path, kind)
        if place is None or self._is_marked(place, kind, record.mark):
            return
        content = record.content
        if isinstance(content, Skipped):
            self._skip_all([content])
            return
        digest = self._digest(record.path, kind, content)
        if digest is None:
            return
        token = stored.token(digest, content.extension, content.name, content.description)
        number = fingerprint.of_one(kind, token)
        source = fingerprint.of_one(record.mark) if record.mark else number
        if not self._is_wanted(record.path, place, kind, source, number, record.is_newer):
            return
        ref = self._ingested(record.path, kind, content)
        if ref is not None:
            self._write(Change(place, kind, (Assign(place, kind, ref.to_text()),), content=tuple(incoming([ref]))))

    def _is_marked(self, place: str, kind: str, mark: str) -> bool:
        """Whether the same record was imported before, even if the files that it names have changed since."""
        known = self.ledger.entries.get(("", place))
        if not mark or known is None or known.source != fingerprint.of_one(mark):
            return False
        counts = self.report.of(kind)
        counts.fields += 1
        counts.found += known.count
        if place in self._kinds:
            counts.present += known.count
        else:
            self.report.skip(Reason(place, kind, "it was removed in naiad", known.count, is_loss=False))
        return True

    def _skip_all(self, missing: Iterable[Skipped]) -> None:
        for each in missing:
            self._skip(each.path, each.kind, each.reason, each.count, each.is_loss, each.where)

    def _digest(self, path: str, kind: str, content: Content) -> str | None:
        """Return the SHA-256 of a file of the source; None if it cannot be read, which is then in the report."""
        sha = hashlib.sha256()
        if content.path is None:
            sha.update(content.data)
            return sha.hexdigest()
        try:
            with open(content.path, "rb") as stream:
                while chunk := stream.read(CHUNK):
                    sha.update(chunk)
        except (OSError, ValueError) as error:
            reason = f"{content.path} cannot be read: {getattr(error, 'strerror', None) or error}"
            self._skip(path, kind, reason)
            return None
        return sha.hexdigest()

    def _ingested(self, path: str, kind: str, content: Content) -> FileRef | None:
        self.is_changed = True
        if self.is_dry:
            return None
        try:
            ref = self.writer.ingest(
                File(content.path, extension=content.extension)
                if content.path is not None
                else File(content=content.data, extension=content.extension)
            )
        except (FileError, StorageError) as error:
            self.report.of(kind).imported -= 1
            self.report.skip(Reason(path, kind, str(error)))
            return None
        return replace(ref, name=content.name, description=content.description, modified=content.modified)

    def _take_members(self, record: Members) -> None:
        place = self._place(record.path, MEMBERS)
        if place is None or self._is_marked(place, MEMBERS, record.mark):
            return
        self._skip_all(record.missing)
        counts = self.report.of(MEMBERS)
        counts.fields += 1
        known = self.ledger.entries.get(("", place))
        is_there = place in self._kinds
        earlier: Mapping[str, str] = (known.detail or {}) if known is not None else {}
        if place in self._values:  # another archive of the same set
            earlier = self._values[place].detail
        if known is not None and not is_there:
            counts.found += len(record.files)
            self.report.skip(Reason(record.path, MEMBERS, "it was removed in naiad", len(record.files), False))
            return
        there = self._members(place) if is_there and not self._is_new else {}
        add: dict[str, str] = {}
        content: list[str] = []
        tokens = dict(earlier)
        has_new = False
        for name, each in record.files.items():
            digest = self._digest(f"{record.path}: {name}", MEMBERS, each)
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
            ref = self._ingested(f"{record.path}: {name}", MEMBERS, each)
            if ref is not None:
                add[key] = ref.to_text()
                content += incoming([ref])
        total = stored.of_members(tokens)
        is_whole = record.mark and not record.missing
        source = fingerprint.of_one(record.mark) if is_whole else total
        self._values[place] = Entry(MEMBERS, len(tokens), source, total, tokens)
        if has_new or not is_there:
            self._written.add(place)
        if has_new or not is_there:
            op = MembersOp(place, add, [], False)
            self._write(Change(place, MEMBERS, (op,), content=tuple(content)))

    def _members(self, place: str) -> dict[str, str]:
        found = self._reader.members(place)
        return {name: stored.file_token(self._reader, kept(text)) for name, text in found.items()}

    # Series

    def _take_points(self, record: Points) -> None:
        contents = fingerprint.of_reals(record.values)
        columns = (record.values, record.steps, record.times, record.shift)
        self._take_series(record.path, POINTS, record.part, contents, *columns)

    def _take_texts(self, record: Texts) -> None:
        texts = list(record.texts)
        steps = None if record.steps is None else list(record.steps)
        times = None if record.times is None else list(record.times)
        long = [
            place
            for place, text in enumerate(texts)
            if len(text) * 4 > LONGEST_TEXT and len(text.encode("utf-8", "surrogatepass")) > LONGEST_TEXT
        ]
        for place in reversed(long):
            self._skip(record.path, record.kind, "the text is longer than 16 MiB")
            for column in (texts, steps, times):
                if column is not None:
                    del column[place]
        contents = fingerprint.of_texts(texts)
        self._take_series(record.path, record.kind, record.part, contents, texts, steps, times, record.shift)

    def _take_files(self, record: Files) -> None:
        kind = FileSeries.kind
        digests = [self._digest(record.path, kind, each) for each in record.files]
        kept = [place for place, digest in enumerate(digests) if digest is not None]
        files = [record.files[place] for place in kept]
        tokens = [
            stored.token(digests[place] or "", each.extension, each.name, each.description)
            for place, each in zip(kept, files, strict=True)
        ]
        steps = None if record.steps is None else [record.steps[place] for place in kept]
        times = None if record.times is None else [record.times[place] for place in kept]
        self._take_series(record.path, kind, record.part, fingerprint.of_texts(tokens), files, steps, times)

    def _take_series(
        self, path: str, kind: str, part: str, contents: Numbers, values: Any, steps: Any, times: Any, shift: Any = None
    ) -> None:
        """Take points of one kind or another: pass over those that the run has, and write the others."""
        place = self._place(path, kind)
        if place is None or (self._is_second and (part, place) not in self.diverged):
            return
        series = self._series_at(place, kind)
        state = self._part_at(part, place, kind)
        counts = self.report.of(kind)
        size = len(contents)
        counts.found += size
        if state.is_removed:
            self.report.skip(Reason(path, kind, "it was removed in naiad", size, False)) if size else None
            state.count += size
            return
        seconds, milliseconds = self._times(path, times, size)
        wholes, unknown = self._steps(steps, size)
        numbers = fingerprint.of_steps(wholes)
        numbers = np.where(unknown, fingerprint.UNNUMBERED, numbers) if unknown.any() else numbers
        source = actual = fingerprint.of_points(numbers, contents, milliseconds)
        if shift is not None:  # the fingerprint of the source is that of its own times
            seconds = seconds + shift
            milliseconds = fingerprint.milliseconds(seconds)
            actual = fingerprint.of_points(numbers, contents, milliseconds)
        is_new = self._which_are_new((part, place), series, state, source, actual, unknown)
        state.count += size
        state.source = fingerprint.summed([state.source, fingerprint.total(source)])
        fresh = int(np.count_nonzero(is_new))
        if fresh and series.exists and not series.is_measured and series.stocks is None and place in self._initial:
            series.before = stored.total(self._reader, place, kind)[1]
        series.is_measured = series.is_measured or bool(fresh)
        counts.present += size - fresh
        counts.imported += fresh
        if not fresh and series.exists:
            return
        if fresh < size:
            chosen = np.flatnonzero(is_new)
            values = values[chosen] if isinstance(values, np.ndarray) else [values[each] for each in chosen]
            wholes, unknown, seconds = wholes[chosen], unknown[chosen], seconds[chosen]
            contents, milliseconds = contents[chosen], milliseconds[chosen]
        placed = self._numbered(place, series, wholes, unknown)
        written = fingerprint.total(fingerprint.of_points(fingerprint.of_steps(placed), contents, milliseconds))
        series.written = fingerprint.summed([series.written, written])
        state.store = fingerprint.summed([state.store, written])
        self.is_changed = True
        self._write_series(path, place, series, values, placed, seconds)

    def _which_are_new(
        self, name: tuple[str, str], series: _Series, state: _Part, source: Numbers, actual: Numbers, unknown: Any
    ) -> Any:
        """Return which points are to be written."""
        size = len(source)
        if state.known is not None and not self._is_second:
            left = state.known.count - state.count
            if 0 <= left <= size and name not in self.diverged:
                head = fingerprint.summed([state.source, fingerprint.total(source[:left])])
                if head != state.known.source:
                    self.diverged.add(name)
            return np.zeros(size, bool) if name in self.diverged else np.arange(size) >= left
        if series.stocks is None:
            return np.ones(size, bool)
        full, loose = series.stocks
        is_there = np.zeros(size, bool)
        is_there[~unknown] = full.take(actual[~unknown])
        is_there[unknown] = loose.take(actual[unknown])
        return ~is_there

    def _series_at(self, place: str, kind: str) -> _Series:
        known = self._series.get(place)
        if known is None:
            exists = place in self._kinds and not self._is_new
            known = self._series[place] = _Series(kind, exists)
            if not exists:
                known.last = -1
        return known

    def _part_at(self, part: str, place: str, kind: str) -> _Part:
        state = self._parts.get((part, place))
        if state is None:
            entry = self.ledger.entries.get((part, place))
            state = self._parts[part, place] = _Part(kind, entry)
            if entry is not None:
                state.store = entry.store
            series = self._series[place]
            if not any(each != part and each_place == place for each, each_place in self._parts):
                self.report.of(kind).fields += 1
            is_imported = entry is not None or (not self._is_new and self.ledger.is_imported(place))
            state.is_removed = is_imported and not series.exists and not series.written
            if series.exists and entry is None and series.stocks is None:
                series.stocks, series.before = self._stocks(place, kind)
        return state

    def _times(self, path: str, times: Any, size: int) -> tuple[Any, Any]:
        """Return times in seconds and in milliseconds. A point without a time gets that of the run's begin."""
        if times is None:
            seconds = np.full(size, self._default_time)
        else:
            if not isinstance(times, np.ndarray):
                times = [math.nan if each is None else each for each in times]
            seconds = np.asarray(times, np.float64)
            with np.errstate(invalid="ignore"):
                is_bad = ~((seconds > EARLIEST) & (seconds < LATEST))
            if is_bad.any():
                self.report.note(f'"{path}": {int(is_bad.sum()):,} points have no time, and got that of the run.')
                seconds = np.where(is_bad, self._default_time, seconds)
        return seconds, fingerprint.milliseconds(seconds)

    def _steps(self, steps: Any, size: int) -> tuple[Any, Any]:
        """Return steps as an array, and which of them are unknown."""
        if steps is None:
            return np.zeros(size), np.ones(size, bool)
        if isinstance(steps, np.ndarray) and steps.dtype.kind in "iu":
            return steps, np.zeros(size, bool)
        if not isinstance(steps, np.ndarray):
            listed = [math.nan if each is None else each for each in steps]
            if all(type(each) is int and -LARGEST <= each <= LARGEST for each in listed):
                return np.array(listed, np.int64), np.zeros(size, bool)
            large = any(isinstance(each, int) and abs(each) > 1 << 53 for each in listed)
            steps = np.array(listed, object) if large else np.array(listed, np.float64)
            if large:
                unknown = np.array([isinstance(each, float) and not math.isfinite(each) for each in listed])
                exact = [
                    each if isinstance(each, int) and abs(each) <= LARGEST else 0.0 if bad else float(each)
                    for each, bad in zip(listed, unknown, strict=True)
                ]
                return np.array(exact, object), unknown
        steps = np.asarray(steps, np.float64)
        unknown = ~np.isfinite(steps)
        if unknown.any():
            steps = np.where(unknown, 0.0, steps)
        return steps, unknown

    def _numbered(self, place: str, series: _Series, steps: Any, unknown: Any) -> Any:
        """Return a step for each point; those without one follow the one before."""
        if not len(steps):
            return steps
        if not unknown.any():
            series.last = math.floor(float(steps[-1])) if steps.dtype.kind == "f" else math.floor(steps[-1])
            return steps
        if series.last is None:
            found = self._reader.last(place, series.kind)
            series.last = -1 if found is None else math.floor(found.step)
        if unknown.all():
            first, series.last = series.last + 1, series.last + len(steps)
            return np.arange(first, series.last + 1, dtype=np.int64)
        placed: list[int | float] = []
        for step, is_unknown in zip(steps.tolist(), unknown.tolist(), strict=True):
            series.last = series.last + 1 if is_unknown else math.floor(step)
            placed.append(series.last if is_unknown else step)
        return np.array(placed, np.float64 if steps.dtype.kind != "O" else object)

    def _write_series(self, path: str, place: str, series: _Series, values: Any, steps: Any, seconds: Any) -> None:
        is_there, series.exists = place in self._kinds, True
        self._define(place, series.kind)
        if self.is_dry:
            return
        places, times = _plain(steps), seconds.tolist()
        if series.kind == POINTS:
            self._write_points(place, series, _floats(values), places, times)
            return
        if not len(values):
            if not is_there:
                self._write(Change(place, series.kind, (Strings(place, [], [], [], False, kind=series.kind),)))
            return
        content: list[str] = []
        texts: Sequence[Any] = values
        if KINDS[series.kind].keeps:
            refs = [self._ingested(path, series.kind, each) for each in values]
            kept = [number for number, ref in enumerate(refs) if ref is not None]
            places, times = [places[number] for number in kept], [times[number] for number in kept]
            found = [ref for ref in refs if ref is not None]
            texts, content = [ref.to_text() for ref in found], incoming(found)
        for start, end in _pieces(texts):
            packed = [scalars.pack_text(text) for text in texts[start:end]]
            op = Strings(place, packed, places[start:end], times[start:end], False, kind=series.kind)
            self._write(Change(place, series.kind, (op,), content=tuple(content)))
            content = []
            self._flush()

    def _write_points(self, place: str, series: _Series, values: Any, steps: Any, times: Any) -> None:
        if not series.number:
            self._flush()
            define = Change(place, POINTS, (Define(0, place, False),), PointColumns([], [], []))
            [written] = self.writer.write([define])
            series.number = written.number
        for start in range(0, len(values), MOST_POINTS):
            end = start + MOST_POINTS
            self.writer.points(series.number, values[start:end], steps[start:end], times[start:end])

    # Checks

    def check(self, reader: RunReader) -> None:
        """Compare the fingerprints of imported fields with those of stored ones."""
        checks = self.report.checks
        sources, stores = [], []
        atoms = reader.atoms()  # all at once, which is far faster than one after the other
        for place, wanted, is_ours in self._expected():
            kind = self._kinds.get(place) or self._values[place].kind
            found: int | None
            try:
                if kind in ATOMS and place in atoms:
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

    def _expected(self) -> Iterable[tuple[str, int, bool]]:
        """Yield each place, its fingerprint, and whether it can only differ by a fault: this import has written it."""
        for place, series in self._series.items():
            if any(at == place and state.is_removed for (_part, at), state in self._parts.items()):
                continue
            if place not in self._initial:
                yield place, series.written, True
            elif series.is_measured:
                yield place, fingerprint.summed([series.before, series.written]), True
            else:
                stores = [each.store for (_part, at), each in self.ledger.entries.items() if at == place]
                yield place, fingerprint.summed(stores), False
        for place, entry in self._values.items():
            if entry.kind:
                yield place, entry.store, place in self._written


def git_text(git: GitRef) -> str:
    """Return a commit as the field stores it."""
    import json
    from dataclasses import asdict

    return json.dumps(asdict(git), default=lambda each: each.isoformat() if hasattr(each, "isoformat") else str(each))


def _plain(steps: Any) -> list[int | float]:
    """Return steps as plain numbers, whole ones as integers."""
    if steps.dtype.kind == "f":
        is_whole = bool(np.all((np.floor(steps) == steps) & (np.abs(steps) < 2.0**53)))
        return steps.astype(np.int64).tolist() if is_whole else steps.tolist()  # type: ignore[no-any-return]
    return steps.tolist()  # type: ignore[no-any-return]


def _floats(values: Any) -> list[float]:
    return np.asarray(values, np.float64).tolist()  # type: ignore[no-any-return]


def _pieces(texts: Sequence[Any]) -> Iterable[tuple[int, int]]:
    """Yield the bounds of pieces that one op each can hold."""
    start, size = 0, 0
    for place, text in enumerate(texts):
        size += len(text)
        if place + 1 - start >= MOST_TEXTS or size >= MOST_BYTES:
            yield start, place + 1
            start, size = place + 1, 0
    if start < len(texts):
        yield start, len(texts)


def _above(path: str) -> Iterable[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
