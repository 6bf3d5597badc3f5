"""Opening a store: the one place that names the back ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from naiad.places import SERVERS, is_server
from naiad.settings import setting
from naiad.storage.base import Store
from naiad.storage.local import store as local

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from naiad.storage.receiving import Receiver, RunFolder, Upkeep  # only servers need it

FolderStore = local.Store
"""The store of a folder, for commands that look at its files."""

Place = str | os.PathLike[str] | Store | None
"""Where runs are kept, as users give it: a folder, the address of a server, a store of another back end, or None for
the nearest folder."""
Named = Path | str | None
"""A store as `naiad --store` names it: a folder, the address of a server, or None without the option."""


def locate(place: Place = None, start: Path | None = None, *, is_offline: bool = False) -> Store:
    """Return the store a program means: argument, NAIAD_STORE, the nearest `.naiad` here or above, else a new one here.

    Args:
        place: as the program gives it; the store of another back end is used as it is.
        start: the folder that counts as here; the working directory if None.
        is_offline: where the store is a server, send it no request; `naiad sync` ships the runs later.

    Raises:
        NotPermitted: the nearest one was put by another user into a folder that every user may write.
        InvalidArgument: it begins like the address of a server and is none.
    """
    if not (place is None or isinstance(place, str | os.PathLike)):
        return place
    named = place or setting("STORE")
    if isinstance(named, str) and named.lower().startswith(SERVERS):
        from naiad.storage.remote.store import RemoteStore

        return RemoteStore(named, waiting_room(start), is_offline=is_offline)
    return FolderStore.locate(named, start)


def waiting_room(start: Path | None = None) -> FolderStore:
    """Return the folder store in which the runs of a server lie until they are shipped.

    It is NAIAD_LOCAL_STORE, else the store that a program without a named one has.

    Raises:
        NotPermitted: the nearest one was put by another user into a folder that every user may write.
    """
    named = setting("LOCAL_STORE")
    return FolderStore.locate(named) if named else FolderStore.nearest(start)


def folder(place: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of the store that a program means, which need not exist yet; of a server that of its runs here.

    Raises:
        NotPermitted: the nearest one was put by another user into a folder that every user may write.
    """
    named = place or setting("STORE")
    if is_server(named):
        return waiting_room().root
    return FolderStore.locate(place).root


def receiver(place: str | os.PathLike[str], *, is_writing: bool = True) -> Receiver:
    """Open the receiving end of the store in a folder, for a server.

    Args:
        place: the folder.
        is_writing: whether this process takes journals; another one may only fold them.

    Raises:
        StorageError: another process takes journals for this store.
    """
    from naiad.storage.local.receiver import Receiver as LocalReceiver  # SQLAlchemy, which no program that logs needs

    return LocalReceiver(FolderStore.locate(place), is_writing=is_writing)


def database(url: str, objects: str) -> tuple[Store, Receiver]:
    """Open a database and its objects, for a server: the store, and its receiving end. Nothing is connected yet.

    Args:
        url: `postgresql://...`.
        objects: `s3://bucket/prefix`, or `file:///folder` for one host.

    Raises:
        StorageError: one of them is no such address.
    """
    from naiad.storage.postgres.connection import open_database  # psycopg and obstore, which only a server needs
    from naiad.storage.postgres.objects import Objects
    from naiad.storage.postgres.receiver import Receiver as DatabaseReceiver
    from naiad.storage.postgres.registrar import Registrar
    from naiad.storage.postgres.store import PostgresStore

    engine, place = open_database(url), Objects(objects)
    containers = Registrar(engine)
    return PostgresStore(engine, place, containers), DatabaseReceiver(engine, place, containers)


def database_engine(url: str) -> Engine:
    """Make an engine for a database, with two connections, for the tables of a server's tokens and quotas.

    Raises:
        StorageError: the address is none.
    """
    from naiad.storage.postgres.connection import engine_of

    return engine_of(url, pool_size=2, pool_pre_ping=True)


def database_folder(url: str, objects: str) -> RunFolder:
    """Open the folds of a database, for a worker.

    Raises:
        StorageError: one of the addresses is none.
    """
    from naiad.storage.postgres.connection import open_database
    from naiad.storage.postgres.folding import Folder
    from naiad.storage.postgres.objects import Objects

    return Folder(open_database(url), Objects(objects))


def folder_upkeep(place: str | os.PathLike[str]) -> Upkeep:
    """Open the store in a folder, which a server may serve, for its upkeep."""
    from naiad.storage.local.upkeep import FolderUpkeep

    return FolderUpkeep(FolderStore.locate(place).layout)


def database_upkeep(url: str, objects: str) -> Upkeep:
    """Open a database and its objects for their upkeep.

    Raises:
        StorageError: one of the addresses is none.
    """
    from naiad.storage.postgres.connection import open_database
    from naiad.storage.postgres.objects import Objects
    from naiad.storage.postgres.registrar import Registrar
    from naiad.storage.postgres.store import PostgresStore
    from naiad.storage.postgres.upkeep import Upkeep as DatabaseUpkeep

    engine, place = open_database(url), Objects(objects)
    return DatabaseUpkeep(PostgresStore(engine, place, Registrar(engine)), engine, place)


def temporary() -> Store:
    """Make a store in a new temporary folder, for `mode="debug"`."""
    import tempfile  # late, like shutil below: they load many modules, for a mode that is rarely used

    return FolderStore.locate(tempfile.mkdtemp(prefix="naiad-debug-"))


def remove_temporary(store: Store) -> None:
    """Remove a temporary store, ignoring files that the system does not let go."""
    import shutil

    shutil.rmtree(str(store), ignore_errors=True)
