"""The places where a program may keep its runs: whatever it does, it sees the same in each of them.

A further back end is a further row of SERVERS. Starting one takes longer than most tests, so modules share them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from postgres_server import Cluster
from server_client import PROXY, AnyServer, Server


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


def _over_folder(folder: Path) -> tuple[AnyServer, Callable[[], object]]:
    server = Server(folder / "store").start("--init", *OPTIONS)
    return server, server.stop


def _over_database(folder: Path) -> tuple[AnyServer, Callable[[], object]]:
    cluster = Cluster.start(folder, options=OPTIONS)
    return cluster, cluster.stop


OPTIONS = ("--trusted-proxy", PROXY)
SERVERS: dict[str, Callable[[Path], tuple[AnyServer, Callable[[], object]]]] = {
    "server": _over_folder,
    "database": _over_database,
}
"""One process over a folder; two replicas over PostgreSQL and S3, of which a proxy chooses the next."""
PLACES = ("folder", *SERVERS)
of_a_folder = pytest.mark.parametrize("server", ["server"], indirect=True)
"""Marks tests that look at files of the first."""


class Shared:
    """The servers of all modules, each begun when a test first wants it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begun: dict[str, AnyServer] = {}
        self._ends = contextlib.ExitStack()

    def server(self, name: str) -> AnyServer:
        """Return one of SERVERS."""
        if name not in self._begun:
            place = self._folder / name
            place.mkdir()
            self._begun[name], end = SERVERS[name](place)
            self._ends.callback(end)
        return self._begun[name]

    def place(self, name: str) -> Place:
        """Return one of PLACES."""
        if name not in SERVERS:
            return Place(name, str(self._folder / name))
        server = self.server(name)
        return Place(name, f"http://127.0.0.1:{server.port}", server.token)

    def stop(self) -> None:
        """End them all."""
        self._ends.close()
