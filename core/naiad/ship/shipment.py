"""The shipment of one run: registration, content of files, and the parts of its journal, in the right order.

    read segments -> read ops -> content that the ops name -> one request: ops, then points -> positions from the answer

Ops are read after the segments and sent before them, so the number of each point is defined when the point arrives. The
answer to a request is how far the server has each file, and this goes on from there: the server's
memory counts. Segments of a writer go one after the other, so that none of its points overtakes
another. Content of files is of `content.py`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

from naiad import clock
from naiad.errors import DamagedData, NaiadError, NewerFormat, RunNotFound, ServerWarning, warn_once
from naiad.ship.client import Client
from naiad.ship.content import ContentSender
from naiad.slots import RECORD
from naiad.storage.local import outbox
from naiad.storage.local.blobs import Blobs
from naiad.storage.local.journal.leases import Liveness
from naiad.storage.local.journal.parts import (
    Part,
    Source,
    confirmed,
    confirmed_sources,
    crc_of,
    final_end,
    hashes_in,
    header_of,
    path_of,
    read_part,
    sources,
)
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.local.remote import Remote, read_remote

BATCH = 4 * 1024 * 1024
WHOLE = 1 << 30
"""Bytes that no journal file has."""
MOST_PARTS = 500
LOCK_SECONDS = 1.0
LOOK_SECONDS = 10.0
"""Between two looks at the leases of other writers of the run."""

Pace = Callable[[int], object]
"""Called with the bytes of each request that was answered; it may wait."""


# Ship against receive. Positions are the server's; a client has none of its own that could be wrong:
#
#     client                                              server
#     read segments, then ops, from its last positions
#     which content do you have? ------------------------> look by hash; renew what is there
#     PUT what it lacks ---------------------------------> hash it, link it into its place
#     parts (name, start, crc, bytes), ends, signs ------> a part that continues its file: commit it with the position
#                                                          a repeat, or one behind a gap: nothing
#     go on from these <------------- positions of all --- copy into the journal folder; fold later
#     connection lost anywhere: ask for the positions, and go on from them
#     `epoch` is another one: the server was set back; take all confirmations back, and ask for the positions
#     a whole file confirmed by length and crc: <name>.sent, which may be removed after KEEP_SHIPPED


class OwnWriter(Protocol):
    """A writer of this process, as far as its shipment needs it."""

    @property
    def name(self) -> str:
        """The name that its journal files begin with."""

    @property
    def is_over(self) -> bool:
        """Whether it writes nothing any more. Its files may still move: it folds them after that."""

    @property
    def is_released(self) -> bool:
        """Whether the writer has let go of the run: its files are folded, or stay in the journal."""

    def final_files(self) -> set[str]:
        """Return the names of files to which no thread adds any more, though the writer goes on."""


@dataclass
class Round:
    """The result of one request, or of none if nothing was to be sent."""

    sent: int = 0
    """Bytes."""
    has_more: bool = False
    is_whole: bool = True
    """Whether the server has all that was there when the files were read."""
    is_held: bool = False
    """Whether points wait for a record that a thread has reserved and not written yet, or for a file that moved."""
    is_uploading: bool = False
    """Whether ops wait for content that is on its way."""
    after: float = 0.0
    """Seconds that the server wants to rest; 0 if it was not asked."""


class Waiting(NamedTuple):
    """Data of a run that its server does not have."""

    points: int
    bytes: int


@dataclass
class Shipment:
    """How far the server of one run has its files, and the next requests.

    `is_whole`: also the files of other writers that live are shipped, as `naiad sync` does; their own processes ship
    them otherwise.
    """

    folder: RunDirectory
    remote: Remote
    client: Client
    is_whole: bool = False
    is_dry: bool = False
    """Whether nothing is changed, here or there."""
    positions: dict[str, int] = field(default_factory=dict)
    sealed: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    """Files of which the server takes no more, and the reason."""
    held: set[str] = field(default_factory=set)
    """Writers whose journals `naiad sync` makes again from the index, as some of their files are gone and the server
    has nothing of them. If it got the rest, that would pass for all of it."""
    pace: Pace = id
    on_registered: Callable[[str], object] = id
    """Called with the id that the server has given."""
    _knows_positions: bool = False
    _own: dict[str, OwnWriter] = field(default_factory=dict)
    _others: tuple[float, dict[str, Liveness]] = (-1e9, {})
    _ends: dict[str, int] = field(default_factory=dict)
    _is_held: bool = False
    _is_uploading: bool = False

    def __post_init__(self) -> None:
        """Share the connection with the content of the run's files."""
        self._use(self.client)

    def _use(self, client: Client) -> None:
        self.client = client
        self._content = ContentSender(
            Blobs(self.folder.blobs), self.client, lambda: self.remote.project, self.pace, is_awaited=self.is_whole
        )

    def add(self, writer: OwnWriter) -> None:
        """Ship the files of a writer of this process too."""
        self._own[writer.name] = writer

    # Registration

    def register(self, seconds: float = 60.0) -> Remote:
        """Register the run, if that has not happened yet.

        Raises:
            ServerError: the server cannot be reached, or answers with an error.
            NaiadError: the server cannot take this container, as of a model whose key is taken.
        """
        if not self.remote.uid and not self.is_whole:
            self._follow()
        if not self.remote.uid:
            answer = self.client.post("runs", self.remote.registration(self.folder), seconds)
            self._note(uid=answer["uid"], id=answer["id"], project=answer["project"], epoch=self.client.epoch)
            self._knows_positions = bool(answer["is_new"])
            self.on_registered(answer["id"])
            if self._knows_positions:
                self._hold()
        return self.remote

    def _follow(self) -> None:
        """Take the address to which `naiad sync --to` has sent a run that was never registered at its own."""
        with contextlib.suppress(DamagedData, OSError):
            found = read_remote(self.folder)
            if found is not None and found.url != self.remote.url:
                self.remote, self._knows_positions = found, False
                self._use(Client(found.url))

    def _note(self, **facts: object) -> None:
        self.remote = msgspec.structs.replace(self.remote, **facts)
        with contextlib.suppress(OSError):  # on a full disk it is asked again the next time
            self.remote.save(self.folder)

    # Requests

    def step(self) -> Round:
        """Send one request if there is something to send.

        Raises:
            ServerError: the server cannot be reached, or answers with an error.
            NaiadError: the server cannot take this container.
        """
        self.register()
        self.learn_positions()
        parts, seals, has_more = self._next()
        if not parts and not seals:
            is_whole = not self._is_held and not self._is_uploading
            return Round(is_whole=is_whole, is_held=self._is_held, is_uploading=self._is_uploading)
        return self._send(parts, seals, has_more)

    def beat(self) -> Round:
        """Send a sign of life.

        Raises:
            ServerError: the server cannot be reached, or answers with an error.
        """
        self.register()
        return self._send([], [], False)

    def learn_positions(self) -> None:
        """Learn how far the server has each file, if that is not known or may have changed.

        Raises:
            ServerError: the server cannot be reached.
        """
        # Every answer has the epoch, so this is noticed with the first request after a restore, before anything that
        # was confirmed is removed.
        if self.remote.epoch and self.client.epoch not in ("", self.remote.epoch):
            self._knows_positions = self._knows_positions and self.is_dry
            self._forget_confirmations()  # the server was set back, and may have lost what it had confirmed
        if self._knows_positions:
            return
        try:
            answer = self.client.get(f"runs/{self.remote.uid}/journal")
        except RunNotFound:  # the server was set back to a time before this run
            if self.is_dry:
                answer = {"upto": {}, "sealed": []}
            else:
                self._forget_registration()
                self.register()
                answer = self.client.get(f"runs/{self.remote.uid}/journal")
        self.positions = {name: int(upto) for name, upto in answer["upto"].items()}
        self.sealed = set(answer["sealed"])
        self._knows_positions = True
        if self.is_dry:
            return
        if self.client.epoch != self.remote.epoch:
            self._note(epoch=self.client.epoch)
        for name in self.sealed:
            outbox.mark_sent(self.folder, name)
        self._hold()

    def _hold(self) -> None:
        there = {*self._own, *(name.partition(".")[0] for name in (*self.positions, *self.sealed))}
        self.held = set()
        if any(source.file.writer not in there for source in sources(self.folder)):  # seldom: the index is read then
            # An index that cannot be read makes no journal either; `naiad sync` names the reason.
            with contextlib.suppress(NaiadError, OSError):
                self.held = self.gone_writers() - {*self._own}

    def forget_positions(self) -> None:
        """Ask the server again how far it has each file before anything else is sent."""
        self._knows_positions = False

    def _forget_confirmations(self) -> None:
        if not self.is_dry:
            self._content.forget()
            outbox.unmark(self.folder)

    def _forget_registration(self) -> None:
        """Begin anew with a server that does not have this run, whatever it has confirmed before."""
        self._note(uid="", id="")
        self.positions, self.sealed, self._knows_positions = {}, set(), False
        self._forget_confirmations()

    def _send(self, parts: Sequence[Part], seals: Sequence[list[object]], has_more: bool) -> Round:
        uid = self.remote.uid
        writers = [[uid, name, is_alive] for name, is_alive in self._signs()]
        request = {
            "sent": clock.now(),
            "writers": writers,
            "parts": [part.encoded(uid) for part in parts],
            "sealed": [[uid, *seal] for seal in seals],
        }
        before = dict(self.positions)
        try:
            answer = self.client.post("journal", request)
        except RunNotFound:
            self._forget_registration()
            raise
        self._take(answer)
        size = sum(len(part.data) for part in parts)
        self.pace(size)
        is_taken = all(self.positions.get(part.name, 0) >= part.end for part in parts)
        # Only if the answer has moved something: a server that takes nothing would otherwise be asked without a
        # pause.
        goes_on = (has_more or not is_taken) and self.positions != before
        is_whole = is_taken and not has_more and not self._is_held and not self._is_uploading
        after = float(answer.get("after", 1.0))
        return Round(size, goes_on, is_whole, self._is_held, self._is_uploading, after)

    def _take(self, answer: dict[str, object]) -> None:
        """Note how far the server has each file."""
        for _uid, name, upto, is_sealed in answer.get("upto", ()):  # type: ignore[attr-defined]  # a list, by the protocol
            self.positions[name] = upto
            if is_sealed:
                self.sealed.add(name)
                outbox.mark_sent(self.folder, name)
        for uid, name, reason, detail in answer.get("refused", ()):  # type: ignore[attr-defined]  # likewise
            if reason == "RunNotFound":
                self._forget_registration()
                raise RunNotFound(f"The server {self.client.url} does not know the run {uid}. {detail}", run_id=uid)
            if reason == "NewerFormat":
                raise NewerFormat(f"The server {self.client.url} is older than this program: {detail}")
            if reason == "OverQuota":
                raise self.client.over_quota(detail, 60.0)
            # That file alone: everything else of the run goes on, and the bytes stay here.
            self.refused[name] = f"{reason}: {detail}"
            self._warn(
                f"The server {self.client.url} rejects {name or 'data'} of the run in {self.folder.path}: {detail} "
                f"({reason})\nThe data stays here. Everything else is shipped."
            )

    def _warn(self, message: str) -> None:
        with contextlib.suppress(ServerWarning):  # where warnings are errors, they must not end a background thread
            warn_once((self.folder.uid, "refused"), message, ServerWarning)

    # What is next

    def _next(self) -> tuple[list[Part], list[list[object]], bool]:
        """Return the next parts, the files that are complete with them, and whether there is more."""
        files = [source for source in self._sources() if not self._is_sealed(source)]
        reached: dict[str, int] = {}
        # Segments are read first: a number that is in them is defined in the ops that are read afterwards.
        points, has_more = self._points([each for each in files if each.file.suffix == "seg"], reached)
        ops, is_all = self._ops([each for each in files if each.file.suffix == "ops"], reached)
        if not is_all:  # what the points mean may be in the rest
            for part in points:
                reached.pop(part.name)
            points, has_more = [], True
        # Before the request: an op must never name content that the server does not have.
        # By pattern, without decoding the ops: a hash too many costs a question, one too few would lose content.
        coming = self._content.send({name for part in ops for name in hashes_in(part.data)})
        self._is_uploading = bool(coming)
        if coming:
            ops, points = self._held_back(ops, points, coming, reached)
        for part in ops:
            if part.is_huge:
                self._content.send_bytes(part.data)  # the request refers to them
        seals = [seal for source in files if (seal := self._seal(source, reached)) is not None]
        return [*ops, *points], seals, has_more

    def _held_back(
        self, ops: Sequence[Part], points: Sequence[Part], coming: set[str], reached: dict[str, int]
    ) -> tuple[list[Part], list[Part]]:
        """Return the ops before those that name content on its way, and the points that need none of the rest."""
        rest: dict[str, set[int]] = {}
        kept: list[Part] = []
        for part in ops:
            writer = part.name.partition(".")[0]
            own = Part(part.name, part.start, b"") if writer in rest else part.without(coming)
            reached[part.name] = own.end
            if own.end < part.end:
                later = Part(part.name, own.end, part.data[len(own.data) :])
                rest[writer] = rest.get(writer, set()) | later.numbers()
            kept += [own] if own.data else []
        stopped: set[str] = set()
        sent: list[Part] = []
        for part in points:
            writer = part.name.partition(".")[0]
            own = part.before(rest.get(writer, ()))
            own = Part(part.name, part.start, b"") if writer in stopped else own
            reached[part.name] = own.end
            if own.end < part.end:
                stopped.add(writer)
            sent += [own] if own.data else []
        return kept, sent

    def _is_sealed(self, source: Source) -> bool:
        """Whether the server has confirmed a file, which may have been retired after that."""
        if source.name not in self.sealed:
            return False
        if source.is_retired:
            outbox.mark_sent(self.folder, source.name)
        return True

    def _sources(self) -> Iterator[Source]:
        for source in sources(self.folder):
            is_ours = self.is_whole or source.file.writer in self._own
            is_held = source.name in self.refused or source.file.writer in self.held
            if not is_held and (is_ours or self._is_final(source)):
                yield source

    def _points(self, files: Sequence[Source], reached: dict[str, int]) -> tuple[list[Part], bool]:
        """Return the next records, of each writer file by file, and whether there may be more."""
        parts: list[Part] = []
        room, waits = BATCH, set()
        self._is_held = False
        for source in files:
            if source.file.writer in waits:
                later = self._read(source, RECORD, False, {})
                self._is_held |= later is not None and bool(later.data)
                continue
            is_final = self._is_final(source)
            part = self._read(source, max(room, RECORD), is_final, reached)
            if part is not None and part.data:
                parts.append(part)
                room -= len(part.data)
            # A hole, or a record that is being written: later files of this writer wait, so that none of its points
            # overtakes another.
            if part is None or part.end < (self._end(source) if is_final else _size(source)):
                waits.add(source.file.writer)
            if room <= 0 or len(parts) >= MOST_PARTS:
                return parts, True
        return parts, False

    def _ops(self, files: Sequence[Source], reached: dict[str, int]) -> tuple[list[Part], bool]:
        """Return the next frames, and whether that is all there are."""
        parts: list[Part] = []
        room = BATCH
        for source in files:
            part = self._read(source, room, self._is_final(source), reached)
            if part is not None and part.data:
                parts.append(part)
                room -= len(part.data)
                if room <= 0 or len(parts) >= MOST_PARTS:
                    return parts, False
        return parts, True

    def _read(self, source: Source, most: int, is_final: bool, reached: dict[str, int]) -> Part | None:
        """Read the next part of a file, and note how far the server will have it then."""
        try:
            start = self.positions.get(source.name, source.header)
            part = read_part(source, start, most, is_final=is_final)
        except FileNotFoundError:  # it was retired just now, and is found in the outbox the next time
            self._is_held = True
            return None
        reached[source.name] = part.end
        return part

    def _end(self, source: Source) -> int:
        """Return the end of a final file, which never changes."""
        if source.name not in self._ends:
            try:
                self._ends[source.name] = final_end(source)
            except FileNotFoundError:
                return source.header
        return self._ends[source.name]

    def _seal(self, source: Source, reached: dict[str, int]) -> list[object] | None:
        """Return the end and CRC of a file that is final and has nothing more to be sent; None of others."""
        # A copy of a folder has the same writers and may have fewer bytes: its end is not the end of the file.
        if source.name not in reached or not self._is_final(source) or self._is_copied(source.file.writer):
            return None
        end = self._end(source)
        if reached[source.name] < end:
            return None
        with contextlib.suppress(FileNotFoundError):
            return [source.name, end, crc_of(source, end)]
        return None

    # Writers

    def _is_final(self, source: Source) -> bool:
        if source.is_retired:
            return True
        own = self._own.get(source.file.writer)
        if own is not None:
            return own.is_over or source.name in own.final_files()
        others = self._candidates()
        found = others.get(source.file.writer)
        return found is None or found.is_dead

    def _is_copied(self, writer: str) -> bool:
        """Whether a writer wrote into another folder, of which this is a copy, and may live there."""
        found = self._others[1].get(writer)
        return writer not in self._own and found is not None and found.is_copy

    def _candidates(self) -> dict[str, Liveness]:
        at, found = self._others
        # Leases are looked at now and then only; a writer that dies is final some seconds later.
        if clock.monotonic() - at >= LOOK_SECONDS:
            found = {} if self.folder.seal.exists() else Reader(self.folder).candidates()
            self._others = (clock.monotonic(), found)
        return found

    def look_again(self) -> None:
        """Look at the other writers of the run anew."""
        self._others = (-1e9, {})

    def _signs(self) -> Iterator[tuple[str, bool]]:
        """Yield writers of which it is known whether they live."""
        for name, own in self._own.items():
            yield name, not own.is_over
        for name, other in self._others[1].items() if self.is_whole else ():
            if name not in self._own and (other.is_alive or (other.is_dead and not other.is_copy)):
                yield name, other.is_alive

    # The state

    def waiting(self) -> Waiting:
        """Return how much the server lacks, as far as its positions are known here."""
        points = size = 0
        for source in self._sources():
            if source.name not in self.sealed:
                with contextlib.suppress(FileNotFoundError):
                    end = final_end(source)
                    new = max(0, end - self.positions.get(source.name, source.header))
                    size += new
                    points += new // RECORD if source.file.suffix == "seg" else 0
        return Waiting(points, size)

    def ends(self) -> dict[str, int]:
        """Return how far each file is written now. It may be called beside the thread that ships."""
        found = {}
        for source in list(self._sources()):
            if source.name not in self.sealed:
                start = self.positions.get(source.name, source.header)
                try:
                    found[source.name] = read_part(source, start, WHOLE, is_final=self._is_final(source)).end
                except FileNotFoundError:  # it was retired just now: only its confirmation shows that it is all there
                    found[source.name] = sys.maxsize
        return found

    def has(self, ends: dict[str, int]) -> bool:
        """Whether the server has every file so far."""
        return all(name in self.sealed or self.positions.get(name, 0) >= end for name, end in ends.items())

    def is_done(self) -> bool:
        """Whether the server has confirmed every file of the run, and no process writes it."""
        self.look_again()
        left = [source for source in sources(self.folder) if not self._is_sealed(source)]
        return not left and not outbox.unfinished(self.folder)

    def lacking(self) -> Waiting:
        """Return the same with all that the server had confirmed and does not have now.

        Raises:
            ServerError: the server cannot be reached.
            DamagedData: the index cannot be read.
        """
        if self.remote.uid:
            self.learn_positions()
        points, size = self.waiting()
        lacks = self.gaps() if self.remote.uid else {}
        for source in confirmed_sources(self.folder):
            if source.name not in self.sealed:
                lacks[source.name] = self._end(source) - self.positions.get(source.name, source.header)
        return Waiting(points + points_in(lacks)[0], size + sum(lacks.values()))

    def note_done(self) -> bool:
        """Take the run from the list of those that are to be shipped, if `is_done`, and return whether it is."""
        if not self.is_done():
            return False
        # Under the lock no writer begins between the look at the files and that. A mark that stays does no harm.
        with contextlib.suppress(OSError), self.folder.lock(LOCK_SECONDS):
            if self.is_done():
                outbox.note_shipped(self.folder)
        return True

    def gaps(self) -> dict[str, int]:
        """Return the files that are gone before the server had all of them, and how many of their bytes it lacks.

        Raises:
            ServerError: the server cannot be reached.
            DamagedData: the index cannot be read.
        """
        if not self.folder.index.exists():
            return {}
        from naiad.storage.local.index.fold import Fold

        self.learn_positions()
        known = {*self.sealed, *confirmed(self.folder), *self.remote.lost}
        found = {}
        for name, (upto, _is_done) in Fold(self.folder).known_positions().items():
            has = self.positions.get(name, header_of(name))
            if name not in known and has < upto and path_of(self.folder, name) is None and not self._is_replayed(name):
                found[name] = upto - has
        return found

    def _is_replayed(self, name: str) -> bool:
        """Whether the server has a journal that was made from the index, with the points and ops of a file."""
        from naiad.storage.local.index.replay import names_of

        begins = names_of(self.folder, name.partition(".")[0])
        return any(each.startswith(begins) for each in (*self.positions, *self.sealed))

    def gone_writers(self) -> set[str]:
        """Return the writers of which files are gone here, or a replay is unfinished; of none the server has anything.

        Raises:
            ServerError: the server cannot be reached.
            DamagedData: the index cannot be read.
        """
        from naiad.storage.local.index.replay import PREFIX

        gaps = self.gaps()  # learns the positions
        whole = f"{PREFIX}{self.folder.uid}"
        there = {name.partition(".")[0] for name in (*self.positions, *self.sealed)}
        begun = {name.removeprefix(PREFIX) for name in outbox.unfinished(self.folder) if not name.startswith(whole)}
        return begun.union(name.partition(".")[0] for name in gaps) - there

    def differing_files(self) -> list[str]:
        """Return the final files here of which the server has other bytes, or fewer.

        Files that it confirmed long ago are among them: it may have been set back to a copy since, and the files here
        may have been damaged.

        Raises:
            ServerError: the server cannot be reached.
        """
        different = dict(self.refused)
        found = [*sources(self.folder), *confirmed_sources(self.folder)]
        ready = [each for each in found if self._is_final(each) and not self._is_copied(each.file.writer)]
        for start in range(0, len(ready), MOST_PARTS):
            ends = {each.name: self._end(each) for each in ready[start : start + MOST_PARTS]}
            some = ready[start : start + MOST_PARTS]
            seals = [[self.remote.uid, each.name, ends[each.name], crc_of(each, ends[each.name])] for each in some]
            answer = self.client.post("journal", {"sent": clock.now(), "sealed": seals})
            different.update({name: reason for _uid, name, reason, _detail in answer["refused"]})
            upto = {name: end for _uid, name, end, _is_sealed in answer["upto"]}
            different.update({name: "shorter" for name, end in ends.items() if upto.get(name) != end})
        return sorted(different)

    def missing_content(self, names: Sequence[str]) -> list[str]:
        """Send the content that the server does not have, of names of blobs here, and return the part that it lacks.

        Raises:
            ServerError: the server cannot be reached.
        """
        missing = self._content.missing(names)
        if not missing:
            return []
        self._content.forget()
        self._content.send(missing)
        return self._content.missing(missing)

    def note_lost(self, names: Sequence[str]) -> None:
        """Remember that files are lost, so that the loss is counted once."""
        self._note(lost=tuple(sorted({*self.remote.lost, *names})))


def points_in(gaps: dict[str, int]) -> tuple[int, int]:
    """Return how many points, and at least how many ops, are missing with bytes of files."""
    points = sum(size // RECORD for name, size in gaps.items() if name.endswith(".seg"))
    return points, sum(1 for name in gaps if name.endswith(".ops"))


def _size(source: Source) -> int:
    """Return the size of a segment, which its records fill to the last byte; a file that was retired now has no end."""
    try:
        return source.file.path.stat().st_size
    except FileNotFoundError:
        return sys.maxsize
