"""The places where a program may keep its runs: whatever it does, it sees the same in each of them.

A further back end is a further row of PLACES. Its function begins the place for a module and returns it with its end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from postgres_server import Cluster
from server_client import AnyServer, Server


@dataclass(frozen=True)
class Place:
    """A place to keep runs."""

    name: str
    store: str
    """As `store=` and NAIAD_STORE name it."""
    token: str = ""

    @property
    def is_server(self) -> bool:
        """Whether runs are shipped to it."""
        return bool(self.token)

    def environment(self, folder: Path) -> dict[str, str]:
        """The variables of programs that log there; `folder` is for what lies on their own machine."""
        found = {"NAIAD_STORE": self.store, "NAIAD_LOCAL_STORE": str(folder / ".naiad")}
        return {**found, "NAIAD_API_TOKEN": self.token} if self.is_server else found


StartPlace = Callable[[Path], tuple[Place, Callable[[], object]]]
StartServer = Callable[..., tuple[AnyServer, Callable[[], object]]]


def _folder(folder: Path) -> tuple[Place, Callable[[], object]]:
    return Place("folder", str(folder / "store")), lambda: None


def _over_folder(folder: Path, *options: str) -> tuple[AnyServer, Callable[[], object]]:
    server = Server(folder / "store").start("--init", *options)
    return server, server.stop


def _over_database(folder: Path, *options: str) -> tuple[AnyServer, Callable[[], object]]:
    cluster = Cluster.start(folder, options=options)
    return cluster, cluster.stop


SERVERS = {"server": _over_folder, "database": _over_database}
"""One process over a folder; two replicas over PostgreSQL and S3, of which a proxy chooses the next."""
of_a_folder = pytest.mark.parametrize("server", ["server"], indirect=True)
"""Marks tests that look at files of the first."""


def _of_server(name: str, start: StartServer) -> StartPlace:
    def begin(folder: Path) -> tuple[Place, Callable[[], object]]:
        server, end = start(folder)
        return Place(name, f"http://127.0.0.1:{server.port}", server.token), end

    return begin


PLACES: dict[str, StartPlace] = {
    "folder": _folder,
    **{name: _of_server(name, start) for name, start in SERVERS.items()},
}
