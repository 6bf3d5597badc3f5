"""Received content: the files of runs of other machines, each of a project that has sent it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from naiad.disk import write_all
from naiad.errors import DamagedData
from naiad.storage.local.blobs import Blobs
from naiad.storage.local.ids import refusals
from naiad.storage.receiving import LARGEST_PART, Content, no_part
from naiad.storage.sql import received


class ReceivedContent:
    """The content that a server keeps in the folder of a store.

    That another project has sent the same content gives no right to it.
    """

    def __init__(self, root: Path, database: received.Database) -> None:
        self._root = root
        self._blobs = Blobs(root / "blobs")
        self._database = database

    def sent_by(self, project: str, wanted: Sequence[tuple[str, int]]) -> list[str]:
        """Return those of some SHA-256, with sizes, whose content a project has sent, and keep it from being freed."""
        sent = self._sent(project, [sha256 for sha256, _size in wanted])
        found = []
        for sha256, size in wanted:
            with contextlib.suppress(DamagedData, FileNotFoundError):
                if sha256 in sent and self._blobs.path(sha256).stat().st_size == size:
                    self._blobs.renew(sha256)
                    found.append(sha256)
        return found

    @contextlib.contextmanager
    def take(self, project: str, sha256: str) -> Iterator[Content]:
        """Receive content: it is stored when the block ends, and is not if the block raises.

        Raises:
            NaiadValueError: another content was written than that of the hash.
            StorageError: the disk takes nothing.
        """
        with refusals(self._root), self._blobs.create(f"server-{os.getpid()}") as (name, fd):
            content = Content(lambda data, start: write_all(fd, data, start))
            yield content
            content.require(sha256)
            self._blobs.put_in_place(name, sha256, content.size)
            self._blobs.release(name)
        with self._database.transaction() as connection:
            content.is_new = received.note_sent(connection, project, sha256)

    def foreign(self, project: str, names: Collection[str]) -> list[str]:
        """Return those of some SHA-256 whose content another project has sent and this one has not."""
        sent = self._sent(project, names)
        return [name for name in names if name not in sent and self._blobs.path(name).exists()]

    def read(self, project: str, sha256: str) -> bytes:
        """Return content that a project has sent.

        Raises:
            NaiadValueError: it has not, or it is larger than a part of a journal can be.
        """
        is_sent = bool(self._sent(project, [sha256]))
        try:
            if is_sent and self._blobs.path(sha256).stat().st_size <= LARGEST_PART:
                return self._blobs.path(sha256).read_bytes()
        except (FileNotFoundError, DamagedData):
            is_sent = False
        raise no_part(sha256, is_sent=is_sent)

    def _sent(self, project: str, names: Collection[str]) -> set[str]:
        with self._database.transaction() as connection:
            return received.sent(connection, project, [*names])
