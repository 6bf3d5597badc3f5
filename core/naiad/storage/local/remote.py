"""The remote of a run: `remote.json` in its folder. It names the server and the run there, and never holds a token."""

from __future__ import annotations

import msgspec

from naiad.container_kinds import ContainerKind
from naiad.errors import DamagedData
from naiad.storage.local import outbox
from naiad.storage.local.layout import RunDirectory


class Remote(msgspec.Struct, frozen=True, omit_defaults=True):
    """The server of a run, and the facts by which it is registered there."""

    url: str
    project: str
    created: float
    uid: str = ""
    """Its uid on the server: another one where its custom id means a run that was there. Empty: not registered yet."""
    id: str = ""
    """Its id on the server."""
    epoch: str = ""
    """Of the server when it last confirmed something."""
    custom_run_id: str | None = None
    wish: str | None = None
    """Of a model or a version: the id that it shall have."""
    parent: str | None = None
    """Of a version: the model."""
    began: bool = False
    """Whether the run began in this folder, so that all of it is here."""
    lost: tuple[str, ...] = ()
    """Journal files that are gone before the server had all of them; the run says how much is missing."""

    def encode(self) -> bytes:
        """Return the content of the file."""
        return msgspec.json.format(msgspec.json.encode(self))

    def save(self, folder: RunDirectory) -> None:
        """Write the file.

        Raises:
            OSError: the disk takes no file.
        """
        outbox.attach(folder, self.encode())

    def registration(self, folder: RunDirectory) -> dict[str, object]:
        """Return the request that registers the run."""
        kind: ContainerKind = folder.kind
        facts = {"custom_run_id": self.custom_run_id, "id": self.wish, "parent": self.parent}
        return {
            "uid": folder.uid,
            "kind": kind.name,
            "project": self.project,
            "created": self.created,
            "format": 1,
            **{name: fact for name, fact in facts.items() if fact is not None},
        }


def read_remote(folder: RunDirectory) -> Remote | None:
    """Return the remote of a run; None if it has none.

    Raises:
        DamagedData: the file is not as it was written.
    """
    try:
        data = folder.remote.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(data, type=Remote)
    except msgspec.MsgspecError as error:
        raise DamagedData(
            f"{folder.remote} is damaged: {error}.\nIts data is intact; connect it again with: naiad sync --to URL",
            file=str(folder.remote), offset=0, what=str(error),
        ) from error  # fmt: skip
