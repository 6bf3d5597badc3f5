"""A server over PostgreSQL and objects: its addresses, and opening them. Nothing connects before the first call."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass

from naiad.storage.base import Store
from naiad.storage.opening import database, database_engine, database_upkeep
from naiad.storage.receiving import Receiver, Upkeep
from naiad_server import quotas, tokens
from naiad_server.metrics import Metrics
from naiad_server.tokens import Tokens
from naiad_server.workers import NoWorker, Worker


@dataclass(frozen=True)
class Database:
    """The addresses of a database and of the objects beside it."""

    url: str
    objects: str
    role: str = "all"
    """`all`, `web`: without a worker, or `worker`: nothing else."""

    def __str__(self) -> str:
        """The address of the database without its password."""
        parts = urllib.parse.urlsplit(self.url)
        return f"postgresql://{parts.hostname or ''}{parts.path}"

    def open(self) -> tuple[Store, Receiver]:
        """Open the store and its receiving end.

        Raises:
            StorageError: one of the addresses is none.
        """
        return database(self.url, self.objects)

    def tokens(self) -> Tokens:
        """Open the tokens, which every replica sees.

        Raises:
            StorageError: the address of the database is none.
        """
        return Tokens(database_engine(self.url), is_made=True)

    def migrate(self) -> str:
        """Bring the tables up to date, and return their version.

        Raises:
            StorageError: the database cannot be used now.
        """
        _store, receiver = self.open()
        try:
            version = receiver.migrate()
            engine = self.tokens().engine
            for each in (tokens.metadata, quotas.metadata):
                each.create_all(engine)
            engine.dispose()
            return version
        finally:
            receiver.close()

    def upkeep(self) -> Upkeep:
        """Open database and objects for their upkeep.

        Raises:
            StorageError: one of the addresses is none.
        """
        return database_upkeep(self.url, self.objects)

    def worker(self, metrics: Metrics) -> Worker:
        """Return the worker of a replica."""
        kind = NoWorker if self.role == "web" else Worker
        return kind(self.url, self.objects, metrics)
