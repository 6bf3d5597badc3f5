"""The way of one run to its server, as its writer here sees it: the shipper of this process does the work."""

from __future__ import annotations

import contextlib
from typing import Protocol

from naiad.errors import NaiadError, ServerWarning, SyncFailed, warn_once
from naiad.kinds import SYS
from naiad.ops import Assign
from naiad.ship import shipper
from naiad.ship.shipment import OwnWriter
from naiad.storage.base import STOP_SECONDS, Change, RunWriter
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.remote import read_remote

ID = "sys/id"


class ShippedWriter(RunWriter, OwnWriter, Protocol):
    """A writer in a folder of this machine."""

    role: str
    is_active: bool


class RunShipping:
    """One run that is shipped; a forked child comes here with its first write."""

    def __init__(self, folder: RunDirectory) -> None:
        self._folder = folder

    def begin(self, writer: ShippedWriter) -> None:
        """Let the shipper of this process take the files of a writer."""
        remote = read_remote(self._folder)
        if remote is not None:

            def take_id(name: str) -> None:
                with contextlib.suppress(NaiadError):  # it has stopped meanwhile; the server shows its id anyway
                    # One process writes the id: of several, each would add an op, and a guest may have ended.
                    if writer.is_active and writer.role == "owner" and remote.began:
                        writer.write([Change(ID, SYS[ID], (Assign(ID, SYS[ID], name),))])

            shipper.of_process.ship(self._folder, remote, writer, take_id)

    def flush(self, seconds: float) -> None:
        """Return when the server has everything.

        Raises:
            SyncFailed: it has not, within the time.
        """
        problem = shipper.of_process.flush(self._folder.uid, seconds)
        if problem is not None:
            raise SyncFailed(
                f"The server does not have all of the run in {self._folder.path}: {problem}\n"
                "The run is stored in this folder."
            ) from problem

    def finish(self, seconds: float) -> None:
        """Wait for the server, and warn once of the rest."""
        if shipper.of_process.flush(self._folder.uid, min(seconds, STOP_SECONDS)) is None:
            return
        points, size = shipper.of_process.waiting(self._folder.uid)
        remote = shipper.of_process.remote(self._folder.uid)
        url = "the server" if remote is None else remote.url
        with contextlib.suppress(ServerWarning):  # where warnings are errors, the run has ended all the same
            warn_once(
                (self._folder.uid, "rest"),
                f"{points:,} points ({size:,} bytes) of the run in {self._folder.path} are not on {url} yet.\n"
                f"They are stored here. Send them with: naiad sync {self._folder.path.parent.parent}"
                f"{'' if remote is None else shipper.address_remedy(remote, self._folder)}",
                ServerWarning,
            )
