"""The receiving side of the storage interface: journals of other machines, as a server takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import NamedTuple, Protocol

from naiad.container_kinds import MODEL, ContainerKind, RunId
from naiad.errors import ContainerNotFound, ModelKeyTaken, NaiadValueError, NameTaken, shown
from naiad.storage.base import Listener

LARGEST_PART = 900 * 1024 * 1024
"""Bytes of a part of a journal file at most; SQLite and PostgreSQL take a little more in one value."""

NO_TABLES = (
    "The database has no tables of naiad yet, or those of another release.\n"
    "Make them with: naiad server --init, the first time, or naiad server migrate"
)
"""The answer about a database that was not migrated."""
_MISSING = ("3F000", "42P01", "42703", "42883")
"""PostgreSQL's codes for a schema, a table, a column and a function that are not there."""


def lacks_tables(error: BaseException) -> bool:
    """Whether the error of a statement means that its tables are missing."""
    return getattr(getattr(error, "orig", None) or error, "sqlstate", None) in _MISSING


class Piece(NamedTuple):
    """Bytes of a journal file from another machine, checked: whole records, or whole frames."""

    run: RunId
    file: str
    start: int
    """Where they begin in the file, whose header does not travel."""
    data: bytes
    claims: Mapping[str, str] = {}
    """The values that ops in it give to fields that the store decides: `sys/id` and `sys/project`."""
    planes: bytes = b""
    """The same bytes transposed, if they came so; see `naiad.planes`."""
    moves: frozenset[bool] = frozenset()
    """The places to which ops in it move the run: True into the trash, False out of it."""


class Sealing(NamedTuple):
    """The size of a journal file that a client calls complete, and the crc32 of the bytes behind its header."""

    run: RunId
    file: str
    end: int
    crc: int


class Position(NamedTuple):
    """The end of the received bytes of a file, with the crc32 of those behind its header."""

    upto: int
    crc: int
    is_sealed: bool


class Received(NamedTuple):
    """The bytes of a journal file that a store has, with its header, and whether the file is complete."""

    upto: int
    is_sealed: bool


class Accepted(NamedTuple):
    """The state of the files of a group after it was accepted. All of it is on the disk."""

    files: Mapping[tuple[RunId, str], Received]
    mismatched: frozenset[tuple[RunId, str]]
    """The files that were sealed with other content, or got other bytes after their end."""
    grown: Mapping[RunId, int]
    """The bytes that each run got."""
    parts: int
    """How many pieces continued their file."""
    points: int
    """How many points were in them."""
    ended: frozenset[RunId]
    """The runs of which a writer ended and all its files are there."""
    claimed: frozenset[RunId]
    """The runs of which a client gave `sys/id` or `sys/project` another value than the store has."""


class Registered(NamedTuple):
    """A container that a store receives, or has received."""

    run: RunId
    id: str
    project: str

    def require(self, kind: ContainerKind) -> None:
        """Check that it is of the kind that a client names under its uid.

        Raises:
            NameTaken: it is of another one.
        """
        if self.run.kind is not kind:
            raise NameTaken(f"The uid {self.run.uid} is that of a {self.run.kind.noun}.")


def model_key(wish: str | None) -> str:
    """Return the key in the id that a model shall have; `MODEL` without one.

    >>> model_key("DIGITS-CNN"), model_key(None)
    ('CNN', 'MODEL')
    """
    found = MODEL.id_form.match(wish) if wish else None
    return found[2] if found else "MODEL"


def key_taken(project: str, name: str) -> ModelKeyTaken:
    """Return the error of a model whose id another one has."""
    key = name.partition("-")[2]
    return ModelKeyTaken(f"Project {project!r} has a model {name} already.", key=key, model_id=name)


def no_model(project: str, parent: str) -> ContainerNotFound:
    """Return the error of a version whose model is not in its project."""
    return MODEL.not_found(f"Project {project!r} has no model {shown(parent)}.", run_id=parent)


def no_part(sha256: str, *, is_sent: bool) -> NaiadValueError:
    """Return the error of content that cannot be a part of a journal: it was not sent, or is too large."""
    what = f"is larger than {LARGEST_PART:,} bytes" if is_sent else "was not sent"
    return NaiadValueError(f"The content {sha256} {what}, so it is no part of a journal.")


class Backlog(NamedTuple):
    """The work that waits in a database."""

    size: int
    """Bytes of journal files that are not folded."""
    age: float
    """Seconds since the oldest of them came."""
    runs: int
    """Runs with some of them."""
    set_aside: int
    """Runs whose fold has failed three times."""


class Usage(NamedTuple):
    """The use that a process makes of a database and its objects."""

    connections: int
    """Connections of its pool that are in use."""
    most_connections: int
    """Connections that the pool has at most; further requests wait for one."""
    object_errors: int
    """Requests to the store of objects that have failed since the process began."""


class ContentPart(NamedTuple):
    """A part of content, and the address to which a program can send it itself for some minutes."""

    start: int
    length: int
    url: str


class Upload(NamedTuple):
    """The progress of content that a program sends to the object store itself."""

    parts: Sequence[ContentPart] = ()
    """Some of those that are missing; with none, all are there."""
    is_there: bool = False
    """Whether the project has the content."""
    is_complete: bool = False
    """Whether all parts are there, and wait to be joined."""


class Content:
    """Content that is received and hashed piece by piece.

    Args:
        put: stores some bytes at an offset.
    """

    def __init__(self, put: Callable[[bytes, int], object]) -> None:
        self._put = put
        self._hash = hashlib.sha256()
        self.size = 0
        self.is_new = False
        """Whether its project had not sent it before; set when all of it was received."""

    def write(self, data: bytes) -> None:
        """Add bytes."""
        self._put(data, self.size)
        self._hash.update(data)
        self.size += len(data)

    def require(self, sha256: str) -> None:
        """Check all that was written.

        Raises:
            NaiadValueError: it has another SHA-256.
        """
        if self._hash.hexdigest() != sha256:
            raise NaiadValueError(f"The content has the SHA-256 {self._hash.hexdigest()}, not {sha256}.")


class ContentUploads(Protocol):
    """Large content that programs send to the store of objects themselves, in parts."""

    least: int
    """Bytes of content below which it goes through the server."""

    def next(self, project: str, sha256: str, size: int) -> Upload:
        """Return the next parts of content to be sent, or whether all of them are there.

        Args:
            project: the name of the project that shall have it.
            sha256: of the content.
            size: of the content, at least `least`.

        Raises:
            NaiadValueError: the parts that were sent are other content. They are gone.
            StorageError: the objects or the database cannot be used now.
        """

    def join(self, project: str, sha256: str, size: int) -> None:
        """Begin to join content whose parts are all there, in a thread, unless that has begun."""

    def claimed(self, project: str) -> Mapping[str, int]:
        """Return the bytes of the content that other replicas join for a project, by SHA-256, as of a moment ago.

        Raises:
            StorageError: the objects or the database cannot be used now.
        """

    def joining(self, project: str, sha256: str, claimed: Mapping[str, int]) -> int:
        """Return the bytes of other content of a project that is being joined, or was and is not counted yet.

        Args:
            project: the name of the project.
            sha256: of the content that is left out.
            claimed: that of other replicas.
        """

    def joined(self) -> list[tuple[str, int]]:
        """Return project and bytes of each content that was joined since the last call."""

    def close(self) -> None:
        """Stop the joins that are running, soon; the parts that were sent stay."""


class Receiver(Protocol):
    """The receiving end of a store: it takes journals byte by byte, exactly once, and folds them.

    One process of a machine has it open for writing; others may fold. A file is named by its run and its name, and a
    byte of it by its offset: accepting the same bytes again changes nothing.
    """

    @property
    def epoch(self) -> str:
        """A text that changes when the record of received files was lost."""

    @property
    def uploads(self) -> ContentUploads | None:
        """The content that programs send to the store of objects themselves; None if they cannot."""

    def register(
        self,
        run: RunId,
        project: str,
        *,
        custom_run_id: str | None = None,
        wish: str | None = None,
        parent: str | None = None,
        is_exact: bool = False,
    ) -> tuple[Registered, bool]:
        """Register a container, and return it with whether it is new.

        The one that is meant may be another: that of a known custom id, or the one of the project itself. A container
        that is known keeps its id and project.

        Args:
            run: the container, with the uid that its machine gave it.
            project: the name of its project, which is made if need be.
            custom_run_id: of a run.
            wish: the id that a model or version shall have.
            parent: id or uid of the model of a version.
            is_exact: whether a model gets no other id than the one wished for.

        Raises:
            ModelKeyTaken: `is_exact`, and another model has the id.
            ContainerNotFound: there is no such parent.
            NameTaken: the uid is that of a container of another kind.
            StoreNotWritable: the store takes nothing.
        """

    def find(self, uid: str) -> Registered | None:
        """Return a container that was registered and not deleted; None if there is none."""

    def is_at_hand(self, uid: str) -> bool:
        """Whether `find` needs no database for a uid."""

    def count(self, project: str) -> int:
        """Return how many runs, models and versions of a project were registered and not deleted."""

    def add_project(self, project: str, key: str | None = None) -> str:
        """Make a project, if it is not there, and return its key.

        Raises:
            ProjectExists: the key belongs to another one.
        """

    def is_name(self, file: str) -> bool:
        """Whether a journal file can have a name."""

    def checked(self, run: RunId, file: str, start: int, data: bytes) -> Piece:
        """Check bytes of a journal file.

        Raises:
            NaiadValueError: they are not whole records or frames, or this is no name of a journal file.
            NewerFormat: they hold ops of a later release.
        """

    def received(self, run: RunId) -> Mapping[str, Received]:
        """Return how far each journal file was received, by name."""

    def accept(
        self,
        pieces: Sequence[Piece],
        sealings: Sequence[Sealing] = (),
        writers: Mapping[tuple[RunId, str], bool] | None = None,
    ) -> Accepted:
        """Store the pieces that continue their files, in one transaction, and note which writers live or have ended.

        Raises:
            StorageError: the disk takes nothing; nothing is accepted.
        """

    def fold(self, run: RunId) -> None:
        """Fold the received files, and finish the run if all its writers have ended. Any process may.

        Raises:
            StorageError: the disk reports an error; nothing is lost.
            DamagedData: the run is damaged.
        """

    def content_of(self, project: str, wanted: Sequence[tuple[str, int]]) -> list[str]:
        """Return those of some SHA-256, with sizes, whose content a project has sent, and keep it from being freed."""

    def content(self, project: str, sha256: str) -> AbstractContextManager[Content]:
        """Receive content: it is stored when the block ends, and is not if the block raises.

        Raises:
            NaiadValueError: another content was written than that of the hash.
            StorageError: the disk takes nothing.
        """

    def foreign_content(self, project: str, names: Collection[str]) -> list[str]:
        """Return those of some SHA-256 whose content another project has sent and this one has not."""

    def content_bytes(self, project: str, sha256: str) -> bytes:
        """Return content that a project has sent.

        Raises:
            NaiadValueError: it has not, or it is larger than a part of a journal can be.
        """

    def fields(self, run: RunId) -> int:
        """Return the number of fields of a run; those in bytes that are not folded yet may be missing."""

    def waiting(self) -> Sequence[RunId]:
        """Return the runs that may have bytes to be folded, after a start."""

    def checkpoint(self) -> None:
        """Sync received files to the disk, and drop the copies that made them durable until then."""

    def forget(self, run: RunId) -> None:
        """Remove a container that was deleted from the memory of this process."""

    def migrate(self) -> str:
        """Bring the tables of a database up to date, and return their version; a folder needs none, and has none."""
        return ""

    def problem(self) -> str:
        """Return the reason why nothing can be received now; empty if there is none."""
        return ""

    def backlog(self) -> Backlog | None:
        """Return the work that waits in a database, for all replicas; None for a folder, or while it is away."""
        return None

    def usage(self) -> Usage | None:
        """Return the use of connections and objects; None for a folder."""

    def close(self) -> None:
        """Close the store, so that another process can open it for writing."""


class Upkeep(Protocol):
    """The upkeep of a database and its objects."""

    def verify(self) -> Iterator[tuple[str, str]]:
        """Read every block and every stored file; yield the id of a container and each damage in it.

        Raises:
            StorageError: the database or the objects cannot be used now.
        """

    def arrivals(self) -> Mapping[str, datetime]:
        """Return the time of the last sign of life of each container, by the server's clock; empty for a folder.

        Raises:
            StorageError: the database cannot be used now.
        """

    def backup(self) -> float | None:
        """Return the time at which the last noted backup began; None if there is none.

        Raises:
            StorageError: the database cannot be used now.
        """

    def note_backup(self, began: float) -> None:
        """Note a completed backup of the database, by the time at which it began.

        Raises:
            StorageError: the database cannot be used now.
        """

    def collect(self, days: float | None = None, *, is_dry: bool = False) -> list[tuple[str, int]]:
        """Free objects that nothing has referred to for some days and since before the last backup.

        Args:
            days: for which they stay; by default 7 if a backup is noted, else 30. With less than one, replicas and
                workers must not run: an object is stored some seconds before its row.
            is_dry: whether nothing is changed.

        Returns:
            Their names and sizes.

        Raises:
            DamagedData: a container cannot be read, so that its files are not known; nothing is freed.
            StorageError: the database or the objects cannot be used now.
        """

    def renew_epoch(self) -> None:
        """Give the database a new epoch, after which every client sends again the bytes that are missing.

        Raises:
            StorageError: the database cannot be used now.
        """

    def close(self) -> None:
        """Close the connections."""


class RunFolder(Protocol):
    """The folds of a database; several processes may fold at once."""

    def due(self) -> tuple[Sequence[Sequence[int]], float]:
        """Return the numbers of the runs that are due, the most urgent first, and the seconds until the next one is.

        Those that can be folded in one transaction are together.

        Raises:
            StorageError: the database cannot be used now.
        """

    def listener(self) -> Listener:
        """Return a listener for runs that become due."""

    def analyze(self) -> None:
        """Update the planner statistics of tables of the catalog that have grown a lot.

        Raises:
            StorageError: the database cannot be used now.
        """

    def archive(self) -> bool:
        """Move rows of one run into an object, if there is one with old rows; return whether there may be more.

        Raises:
            StorageError: the database or the objects cannot be used now; nothing has changed.
        """

    def fold_all(self, numbers: Sequence[int]) -> Sequence[str]:
        """Fold runs that are due together; return the reason for each that failed, else an empty text.

        Those that another process has are left to it, and out of the result.

        Raises:
            StorageError: the database or the objects cannot be used now; nothing has changed.
        """
