"""A replay: the journal of a run, made again from its index.

It is needed if the journal was folded before the run had a remote, or is gone. The index holds every point and the op
that counts at each path, with its writer and time, so one journal for each of its writers adds up to it again. It is
deterministic: fields by id, pieces in the order in which they were folded. An upload that was interrupted goes on by
offset, also from a copy of the folder on another machine.

The writers are called `index-<uid>`, and `index-<uid>-<n>` where there are several: nothing that a server has of the
original journal can be taken for a part of it. If only some writers are replayed, because their files are gone, each is
called `index-<writer>`: folders of the same run on other machines have other writers.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from naiad import rewinds
from naiad.disk import sync_folder
from naiad.errors import DamagedData
from naiad.kinds import ATOMS, FILES, KINDS, LINES, MEMBERS, POINTS, TAGS, TEXTS
from naiad.ops import (
    Assign,
    Configure,
    Define,
    Delete,
    Dropped,
    End,
    Members,
    Op,
    Open,
    Plain,
    Strings,
    Tags,
    encode_ops,
    yields,
)
from naiad.refs import ArtifactRef, FileRef
from naiad.slots import FLOAT_STEP, RECORD, SEGMENT_HEADER
from naiad.storage.local import outbox
from naiad.storage.local.index.index import Index
from naiad.storage.local.index.points import Columns
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.series import points_by_writer, read_shares, texts_by_writer
from naiad.storage.local.index.states import ANY, NEVER, FieldState, WriterState
from naiad.storage.local.journal.frames import encode_frame, file_header
from naiad.storage.local.journal.records import RECORD_TYPE
from naiad.storage.local.journal.segment import with_header
from naiad.storage.local.layout import RunDirectory
from naiad.storage.sql.database import open_for_reading

SEGMENT_RECORDS = 131_072
FRAME_OPS = 1000
MOST_TEXTS = 1000
"""Entries of a series of texts in one op."""
PREFIX = "index-"


@dataclass
class _Journal:
    """The journal of one writer as it is made."""

    name: str
    state: WriterState
    ops: list[tuple[float, int, Op]] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    numbers: int = 0

    def add(self, at: float, rank: int, op: Op) -> None:
        """Add an op. Of those of one time the smaller rank comes first: deletions, then definitions."""
        self.ops.append((at, rank, op))


def names_of(folder: RunDirectory, writer: str) -> tuple[str, str]:
    """Return the prefixes of the files of a writer in a replay of the whole run, and in one of the writer alone."""
    return f"{PREFIX}{folder.uid}", f"{PREFIX}{writer}."


@dataclass
class Replay:
    """The files of a replay under hidden names, until they are shown."""

    folder: RunDirectory
    writers: tuple[str, ...]
    """The writers whose journals are made again; empty: all writers of the run."""
    hidden: tuple[Path, ...]
    _is_begun: bool = False
    """Whether some of the files may be shown."""

    def is_whole(self) -> bool:
        """Whether all files are still there; another process that made the same may have removed them."""
        return all(path.exists() for path in self.hidden)

    def show(self) -> list[Path]:
        """Replace all other files of these writers in the outbox by these, and return their paths.

        It is called under the lock of the run.

        Raises:
            OSError: a file cannot be removed, or renamed.
        """
        begins = [f"{PREFIX}{self.folder.uid}", *(f"{PREFIX}{name}." for name in self.writers)]
        hidden = [f".{begin}" for begin in begins]  # of a process that was killed, or makes the same just now
        originals = [f"{name}." for name in self.writers]
        self._is_begun = True
        # The other files are removed first, or a program that goes on with the run would ship both. If the process is
        # killed in between, this is repeated: nothing is shipped of a replay while some of its files are hidden.
        outbox.discard(self.folder, (*originals, *begins, *hidden), but=self.hidden)
        return [_show(path) for path in self.hidden]

    def discard(self) -> None:
        """Remove the files, unless `show` has begun: the rest of them would be shipped as the whole."""
        for path in () if self._is_begun else self.hidden:
            with contextlib.suppress(OSError):  # then the next replay of these writers removes it
                path.unlink()


def make_replay(folder: RunDirectory, writers: Collection[str] = ()) -> Replay:
    """Write the journal of an index into the outbox of the run, under hidden names.

    It may take minutes. It needs no lock, since it reads one state of the index and changes no file that exists. The
    caller has to check that the run has not changed before it shows the files.

    Args:
        folder: of the run.
        writers: those whose journals are made again; empty: all.

    Raises:
        DamagedData: the index is damaged; `naiad repair` saves the rest.
        OSError: the disk takes no file.
    """
    index = Index(folder, open_for_reading(folder.index, is_final=False))
    with index.view() as connection:
        projection, _head, _positions, damages = index.load_whole(connection)
        if damages:
            # Nothing is shipped of a damaged index: the server would take what is left for the whole run.
            raise _damaged(folder, str(damages[0]))
        journals = _journals(folder, projection, writers)
        # In the order of their numbers, by which the replay is the same wherever and whenever it is made.
        states = sorted((*projection.states(), *projection.dead.values()), key=lambda state: (state.id, state.path))
        for state in states:
            chunks = index.chunks(connection, state.id) if state.id else []
            packs = index.packs(connection, state.id) if state.id and state.kind == POINTS else []
            _replay(folder, projection, journals, state, chunks, packs)
    for path, tombstone in sorted(projection.tombstones.items()):
        _replay_deletions(journals, path, tombstone)
    folder.outbox.mkdir(exist_ok=True)
    wanted = [journal for name, journal in journals.items() if not writers or name in writers]
    hidden: list[Path] = []
    # Two processes may make the same replay, and neither must write into files that the other one shows.
    made_by = os.urandom(4).hex()
    try:
        hidden.extend(path for journal in wanted for path in _write(folder, journal, made_by))
        sync_folder(folder.outbox)  # before what they replace is removed
    except BaseException:  # only to clean up: whatever it is goes on
        Replay(folder, tuple(writers), tuple(hidden)).discard()
        raise
    return Replay(folder, tuple(writers), tuple(hidden))


def _journals(folder: RunDirectory, projection: Projection, writers: Collection[str]) -> dict[str, _Journal]:
    """Return an empty journal for each writer, under names in the order of the writers."""
    # Between writers the name decides where times are equal, so the new names sort as the old ones.
    known = sorted(projection.writers)
    names = {
        name: f"{PREFIX}{folder.uid}" + (f"-{number:04d}" if len(known) > 1 else "")
        for number, name in enumerate(known)
    }
    if writers:  # the others keep their journals, and are called there as before
        names = {name: f"{PREFIX}{name}" if name in writers else name for name in known}
    return {name: _Journal(names[name], projection.writers[name]) for name in known}


def _replay(
    folder: RunDirectory,
    projection: Projection,
    journals: dict[str, _Journal],
    state: FieldState,
    chunks: list[object],
    packs: list[object],
) -> None:
    """Add the ops and points of one field."""

    def refuse(path: str, file: str, what: str) -> DamagedData:
        return _damaged(folder, f'"{path}" in {file}: {what}')

    spans = state.spans() if state.retired_at is None else {}
    if state.kind == POINTS:
        found = points_by_writer(state, chunks, read_shares(state, packs, refuse)) if state.pieces else {}
        # Writers with a span first: their definitions date the field; others may have points alone.
        for name in [*spans, *(name for name in found if name not in spans)]:
            _replay_points(projection, journals[name], state, spans, found.get(name, []))
        if state.config_key != NEVER:
            at, name = state.config_key
            journals[name].add(at, 2, Configure(state.path, *state.config, at))
    elif state.kind in TEXTS:
        texts = texts_by_writer(state, chunks, refuse) if state.pieces else {}
        for name, rows in state.tail().items():
            later = [(step, round(time * 1000), text) for step, time, text in rows]
            texts.setdefault(name, []).extend(
                (step, time, text if isinstance(text, bytes) else text.encode()) for step, time, text in later
            )
        for name in [*spans, *(name for name in texts if name not in spans)]:
            _replay_texts(projection, journals, name, state, spans, texts.get(name, []))
    elif state.kind == TAGS:
        _replay_tags(journals, state, spans)
    elif state.kind == MEMBERS:
        _replay_members(projection, journals, state, spans)
    elif state.kind in ATOMS or KINDS[state.kind].shape in ("atom", "document", "unknown"):
        value = _moved(projection, state.kind, state.value)
        for name, ((first, by), last) in spans.items():
            # Two ops: the first one dates the field, which decides conflicts of kinds, the last one has the value.
            if name == by and first < last:
                journals[name].add(first, 1, Assign(state.path, state.kind, value, first))
            journals[name].add(last, 1, Assign(state.path, state.kind, value, last))


def _replay_points(
    projection: Projection,
    journal: _Journal,
    state: FieldState,
    spans: dict[str, tuple[tuple[float, str], float]],
    parts: list[Columns],
) -> None:
    at = _begin(projection, journal, state, spans)
    journal.numbers += 1
    number = journal.numbers
    journal.add(at, 1, Define(number, state.path, False, at))
    journal.records += [_records(number, part) for part in parts if len(part.values)]


def _begin(
    projection: Projection, journal: _Journal, state: FieldState, spans: dict[str, tuple[tuple[float, str], float]]
) -> float:
    """Return the time of a writer's first op at a field; before a deletion that it had not seen."""
    (first, by), last = spans.get(journal.state.name, ((journal.state.started, journal.state.name), 0.0))
    tombstone = projection.tombstones.get(state.path)
    deletions = None if tombstone is None else tombstone.deletions
    goes_on = deletions is not None and any(
        journal.state.name in deletions.continuing.get(kind, ()) for kind in (state.kind, ANY)
    )
    if goes_on or by != journal.state.name:
        # A writer that went on after a deletion must have begun before it, or the deletion would not concern it.
        return min(journal.state.started, last or math.inf)
    return first


def _records(number: int, part: Columns) -> bytes:
    """Return the records of points without their commit words."""
    rows = np.zeros(len(part.values), RECORD_TYPE)
    is_float = part.steps.dtype.kind == "f"
    rows["step"] = part.steps.view("<i8") if is_float else part.steps
    rows["value"], rows["time"] = part.values, part.times / 1000
    rows["fid"] = number | (FLOAT_STEP if is_float else 0)
    return rows.tobytes()


def _replay_texts(
    projection: Projection,
    journals: dict[str, _Journal],
    name: str,
    state: FieldState,
    spans: dict[str, tuple[tuple[float, str], float]],
    rows: list[tuple[int | float, int, bytes]],
) -> None:
    journal = journals[name]
    at = _begin(projection, journal, state, spans)
    kind = state.kind
    journal.add(at, 1, Strings(state.path, [], [], [], False, at, kind))
    last = max(at, spans[name][1]) if name in spans else at
    for start in range(0, len(rows), MOST_TEXTS):
        some = rows[start : start + MOST_TEXTS]
        texts: list[str | bytes] = [
            _text(_moved(projection, kind, _of_writer(journals, state, row[2]))) for row in some
        ]
        steps = [step.item() if isinstance(step, np.generic) else step for step, _time, _text in some]
        journal.add(last, 2, Strings(state.path, texts, steps, [row[1] / 1000 for row in some], False, last, kind))


def _of_writer(journals: dict[str, _Journal], state: FieldState, text: bytes) -> bytes:
    """Return an entry of a series; one about a rewind with the name that its writer has afterwards."""
    if state.path != rewinds.PATH or state.kind != LINES:
        return text
    for found in rewinds.decode([(text.decode("utf-8", "replace"), 0)]):
        if found.rewind.writer in journals:
            named = msgspec.structs.replace(found.rewind, writer=journals[found.rewind.writer].name)
            return rewinds.encode(named).encode()
    return text


def _text(value: Plain) -> str | bytes:
    """Return a text as ops have it: as bytes only if it has lone surrogates."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return str(value)


def _moved(projection: Projection, kind: str, value: Plain) -> Plain:
    """Return a stored value whose content is named by its hash, not by the name under which it came in."""
    if kind not in FILES and not KINDS[kind].keeps:
        return value
    text = value.decode() if isinstance(value, bytes) else str(value)
    try:
        if KINDS[kind].keeps == "manifest":
            artifact = ArtifactRef.from_text(text)
            file = FileRef.from_text(artifact.manifest)
            moved = file.moved(projection.resolve(file.blob)).to_text() if file.blob else artifact.manifest
            return ArtifactRef(artifact.hash, artifact.files, artifact.size, moved, artifact.content).to_text()
        file = FileRef.from_text(text)
    except DamagedData:
        return value
    return file.moved(projection.resolve(file.blob)).to_text() if file.blob else value


def _replay_tags(
    journals: dict[str, _Journal], state: FieldState, spans: dict[str, tuple[tuple[float, str], float]]
) -> None:
    for name, ((first, by), _last) in spans.items():
        at = first if by == name else journals[name].state.started
        journals[name].add(at, 1, Tags(state.path, [], [], False, at))
    entries = state.set
    if entries.cleared != NEVER:
        at, name = entries.cleared
        journals[name].add(at, 2, Tags(state.path, [], [], True, at))
    for tag, (at, name) in sorted(entries.removed.items(), key=repr):
        journals[name].add(at, 3, Tags(state.path, [], [tag], False, at))
    for tag, (at, name, _content) in sorted(entries.present.items(), key=repr):
        journals[name].add(at, 4, Tags(state.path, [tag], [], False, at))


def _replay_members(
    projection: Projection,
    journals: dict[str, _Journal],
    state: FieldState,
    spans: dict[str, tuple[tuple[float, str], float]],
) -> None:
    for name, ((first, by), _last) in spans.items():
        at = first if by == name else journals[name].state.started
        journals[name].add(at, 1, Members(state.path, {}, [], False, at))
    entries = state.set
    if entries.cleared != NEVER:
        at, name = entries.cleared
        journals[name].add(at, 2, Members(state.path, {}, [], True, at))
    for member, (at, name) in sorted(entries.removed.items()):
        journals[name].add(at, 3, Members(state.path, {}, [member], False, at))
    for member, (at, name, content) in sorted(entries.present.items()):
        moved = str(_moved(projection, state.kind, content))
        journals[name].add(at, 4, Members(state.path, {member: moved}, [], False, at))


def _replay_deletions(journals: dict[str, _Journal], path: str, tombstone: FieldState) -> None:
    assert tombstone.deletions is not None
    # A definition that begins anew exists until a deletion of all kinds of the same time, so those come last.
    for kind, times in sorted(tombstone.deletions.deleted.items(), key=lambda item: (item[0] == ANY, item[0])):
        for name, at in sorted(times.items()):
            if name not in journals:
                continue
            if kind == POINTS:
                journals[name].numbers += 1
                journals[name].add(at, 0, Define(journals[name].numbers, path, True, at))
            elif kind in TEXTS:
                journals[name].add(at, 0, Strings(path, [], [], [], True, at, kind))
            else:
                journals[name].add(at, 0, Delete(path, at))


def _write(folder: RunDirectory, journal: _Journal, made_by: str) -> Iterator[Path]:
    """Write the files of one writer under hidden names, and yield these."""
    state = journal.state
    ops, numbers = _numbered([op for _at, _rank, op in sorted(journal.ops, key=lambda item: item[:2])])
    opening = Open(journal.name, state.pid, state.host, state.boot, state.session, state.role, state.started)
    ending: list[Op] = []
    if state.dropped_points or state.dropped_ops:
        ending.append(Dropped(state.dropped_points, state.dropped_ops, state.at))
    if state.state is not None:
        ending.append(End(state.state, state.at))
    whole = [*filter(yields, ops), opening, *(op for op in ops if not yields(op)), *ending]
    frames = [whole[start : start + FRAME_OPS] for start in range(0, len(whole), FRAME_OPS)]
    data = b"".join(encode_frame(number, encode_ops(frame)) for number, frame in enumerate(frames, 1))
    yield _save(folder.outbox / f"{journal.name}.000001.ops", file_header() + data, made_by)
    for number, data in enumerate(_segments(journal.records), 1):
        part = np.frombuffer(data, RECORD_TYPE).copy()
        # From the numbers in which fields were replayed to those in the order of their definitions.
        part["fid"] = numbers[part["fid"] & (FLOAT_STEP - 1)] | (part["fid"] & FLOAT_STEP)
        # The commit word of a record is its own offset, as a writer would have packed it.
        part["commit"] = np.arange(SEGMENT_HEADER, SEGMENT_HEADER + len(part) * RECORD, RECORD)
        yield _save(folder.outbox / f"{journal.name}.{number:06d}.seg", with_header(part.tobytes()), made_by)


def _segments(records: list[bytes]) -> Iterator[bytes]:
    """Yield the records of each segment, and take them out of the list: of a long run no second copy is in memory."""
    size, waiting = SEGMENT_RECORDS * RECORD, bytearray()
    records.reverse()
    while records:
        waiting += records.pop()
        while len(waiting) >= size:
            yield bytes(waiting[:size])
            del waiting[:size]
    if waiting:
        yield bytes(waiting)


def _numbered(ops: list[Op]) -> tuple[list[Op], npt.NDArray[np.uint32]]:
    """Number the definitions in order, as a deletion counts them; return new numbers by provisional ones too."""
    defined = [op.fid for op in ops if isinstance(op, Define)]
    numbers = np.zeros(len(defined) + 1, np.uint32)
    numbers[defined] = np.arange(1, len(defined) + 1)
    return [
        Define(int(numbers[op.fid]), op.path, op.fresh, op.at) if isinstance(op, Define) else op for op in ops
    ], numbers


def _save(path: Path, data: bytes, made_by: str) -> Path:
    # Hidden until all are whole: the shipper takes every file that has its name in the outbox.
    hidden = path.with_name(f".{path.name}.{made_by}{outbox.HIDDEN}")
    try:
        with hidden.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:  # only to clean up: whatever it is goes on
        hidden.unlink(missing_ok=True)
        raise
    return hidden


def _show(hidden: Path) -> Path:
    return hidden.replace(hidden.with_name(hidden.name[1:].removesuffix(outbox.HIDDEN).rpartition(".")[0]))


def _damaged(folder: RunDirectory, what: str) -> DamagedData:
    return DamagedData(
        f"The index {folder.index} is damaged ({what}), so the run is not shipped.\n"
        f"Save what is whole with: naiad repair {folder.uid}",
        file=str(folder.index), offset=0, what=what,
    )  # fmt: skip
