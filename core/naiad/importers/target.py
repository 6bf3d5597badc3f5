"""The target of an import: a run, with its writer, the places of its fields, and the report.

Nothing of it is opened for writing before the first record that is new.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from functools import cached_property

from msgspec.structs import replace

from naiad import paths
from naiad.errors import FileError, NaiadPathError, StorageError
from naiad.file import File
from naiad.importers.ledger import HOME, Ledger
from naiad.importers.report import Reason, RunReport
from naiad.kinds import ATOM_OF, DERIVED, KINDS, PARENT, PARENT_UID, SYS
from naiad.records import (
    Content,
    Skipped,
)
from naiad.refs import FileRef
from naiad.storage.base import Change, RunReader, RunWriter
from naiad.tree import Tree

MOST_WAITING = 500
"""Changes of single values that are written together."""
CHUNK = 1 << 20
_odd = re.compile("[\x00-\x1f\ud800-\udfff]")
_KEPT_AS_SOURCE = {*DERIVED, "sys/id", "sys/project", PARENT, PARENT_UID}
"""Paths that naiad writes itself; the values of a source stand below `sys/import`."""
_KIND_OF = {**SYS, **dict.fromkeys(("sys/description", "sys/custom_run_id"), ATOM_OF[str])}
"""The kinds of fields that naiad gives a meaning; values of other kinds stand below `sys/import` too."""


class Target:
    """One run of the store that takes records."""

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
        self.reader = reader
        self.report = report
        self.ledger = ledger
        self.is_new = is_new
        self.is_resumed = is_resumed
        """Whether the run is an import that did not come to its end."""
        self.default_time = default_time
        self.kinds = {} if is_new else dict(reader.kinds())
        self.initial = frozenset(self.kinds)
        self.places: dict[str, str] = {}
        """Paths of the run by those of the source."""
        self.is_second = False
        """Whether the source is read once more, for its diverged series."""
        self.is_changed = False
        self.waiting: list[Change] = []
        self._origin = origin  # the name of the format, for the namespace of what cannot stand at its own path
        self._open_writer = open_writer
        self._tree: Tree[str] = Tree()
        self._taken: set[str] = set()  # places of fields of the source
        # Those of naiad's own are there in a new run too, or will be: nothing can stand above or below them.
        for path, kind in (_KIND_OF | self.kinds).items():
            self._tree.put(path, kind)

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

    def skip(self, path: str, kind: str, reason: str, count: int = 1, is_loss: bool = True, where: str = "") -> None:
        """Note something of the source that is not imported; a second reading has it again."""
        if self.is_second:
            return
        if kind:
            self.report.of(kind).found += count
        self.report.skip(Reason(path, kind, reason, count, is_loss, where))

    def skip_all(self, missing: Iterable[Skipped]) -> None:
        """Note several of them."""
        for each in missing:
            self.skip(each.path, each.kind, each.reason, each.count, each.is_loss, each.where)

    def place(self, path: str, kind: str) -> str | None:
        """Return where a field of the source stands in the run; None if it cannot, which is then in the report."""
        known = self.places.get(path)
        if known is None:
            known = self.places[path] = self.ledger.renamed.get(path) or self._free(path, kind)
            self._taken.add(known)
            if known != path and not self._is_displaced(path):
                self.report.note(f'"{path}" is stored at "{known}", because its own path cannot be used.')
        # A field of another kind is never converted: the source would be in the store as something that it was not.
        there = self.kinds.get(known)
        if there is not None and there != kind:
            reason = f"the run has a field of kind {KINDS[there].neptune} at this path"
            self.skip(path, kind, reason, is_loss=not self._was_replaced(known, there))
            return None
        return known

    def _was_replaced(self, path: str, kind: str) -> bool:
        """Whether a field that was imported has given way to another one since."""
        known = [each for (_part, each_path), each in self.ledger.entries.items() if each_path == path]
        return bool(known) and all(each.kind != kind for each in known)

    def _free(self, path: str, kind: str) -> str:
        wish = self._legal(path)
        if _KIND_OF.get(wish, kind) != kind and not self._is_displaced(path):
            wish = f"{HOME}/{self._origin}/{wish}"
        # A path can be a namespace in one source and a field in another: `a` and `a/b` cannot both be fields. And two
        # paths that cannot be used, as "a//b" and "/a/b", may become one.
        while True:
            if self._tree.is_namespace(wish) or wish in self._taken or (wish != path and wish in self.kinds):
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
                # By a hash, since two long paths may differ behind the cut only.
                mark = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:12]
                text = text.encode()[: paths.LONGEST - 100].decode(errors="ignore") + "~" + mark
            found = paths.parse(text)
        return f"{HOME}/{self._origin}/{found}" if self._is_displaced(found) else found

    def _is_displaced(self, path: str) -> bool:
        return path in _KEPT_AS_SOURCE or path == HOME or path.startswith(f"{HOME}/")

    def define(self, path: str, kind: str) -> None:
        """Note that the run has a field of a kind at a path."""
        if path not in self.kinds:
            self.kinds[path] = kind
            self._tree.put(path, kind)

    def write(self, change: Change) -> None:
        """Write a change, together with others a little later; nothing in a dry run."""
        self.is_changed = True
        self.define(change.path, change.kind)
        if self._open_writer is None:
            return
        # Many values in one frame: each is a system call and a checksum.
        self.waiting.append(change)
        if len(self.waiting) >= MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Write the changes that wait."""
        waiting, self.waiting = self.waiting, []
        if waiting:
            self.writer.write(waiting)

    def digest(self, path: str, kind: str, content: Content) -> str | None:
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
            self.skip(path, kind, reason)
            return None
        return sha.hexdigest()

    def ingested(self, path: str, kind: str, content: Content) -> FileRef | None:
        """Copy a file of the source into the store; None if it cannot be, which is then in the report."""
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


def _above(path: str) -> Iterable[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
