"""The trash of a server: a journal of a sender who may not delete runs moves none into it or out of it.

If such a journal were refused, everything behind its op would be held up. So it is accepted, and the state is restored:

    note it as refused --- commit the journal --- restore the state --- note it as settled      (both in the audit)

If the server is killed in between, the next one finds the first note without the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from naiad import clock, trash
from naiad.container_kinds import RunId
from naiad.errors import NaiadError, StorageError
from naiad.kinds import SYS
from naiad.ops import Assign, Delete
from naiad.storage.base import Change
from naiad.storage.edits import edit
from naiad.storage.receiving import Piece
from naiad_server.access import ServerGrant
from naiad_server.server import Server
from naiad_server.tokens import REFUSED, SETTLED

KIND = SYS[trash.FLAG]
IN_FLIGHT_SECONDS = 60.0
"""After a note, in which its journal may still be committed, here or by another replica."""


def refused_moves(server: Server, grant: ServerGrant, pieces: Sequence[Piece]) -> dict[RunId, bool]:
    """Note the runs that pieces would move, and return whether each of them is in the trash, and is to stay there.

    Raises:
        StorageError: the store or the audit cannot be used now.
    """
    found: dict[RunId, bool] = {}
    for run in {piece.run for piece in pieces if piece.moves}:
        goes = {each for piece in pieces if piece.run == run for each in piece.moves}
        was = _is_in_trash(server, run)
        if was or True in goes:
            left = server.tokens.unsettled().get(run.uid)  # after the look at the run, which another request changes
            if left is not None:
                found[run] = left.was_in_trash
            elif goes != {was}:
                server.tokens.note(grant.principal, REFUSED[was], run.uid)
                found[run] = was
    return found


def settle(server: Server, principal: str, runs: Mapping[RunId, bool]) -> None:
    """Restore the state of runs after the journal that would have moved them was committed.

    Raises:
        StoreNotWritable: the store cannot be changed.
        StorageError: the store or the audit cannot be used now.
    """
    for run, was in runs.items():
        if _is_in_trash(server, run) is not was:
            # Deleted first, since the journal may have made it a field of another kind.
            edit(server.store, run, [Change(trash.FLAG, KIND, (Delete(trash.FLAG), Assign(trash.FLAG, KIND, was)))])
        server.tokens.note(principal, SETTLED, run.uid)


def settle_left(server: Server) -> None:
    """Settle the runs of a server that was killed in between.

    Raises:
        StorageError: the store or the audit cannot be used now.
    """
    for uid, left in server.tokens.unsettled().items():
        known = server.receiver.find(uid)
        if known is None:  # it was deleted
            server.tokens.note(left.principal, SETTLED, uid)
        elif _is_in_trash(server, known.run) is not left.was_in_trash or clock.now() - left.at > IN_FLIGHT_SECONDS:
            settle(server, left.principal, {known.run: left.was_in_trash})


def note_moves(server: Server, principal: str, items: Sequence[trash.Item]) -> None:
    """Note that runs are moved by someone who may: what was refused before counts no more."""
    left = server.tokens.unsettled()
    for item in items:
        if item.run.uid in left:
            server.tokens.note(principal, SETTLED, item.run.uid)


def _is_in_trash(server: Server, run: RunId) -> bool:
    try:
        return trash.is_in_trash(server.store, run)
    except StorageError:
        raise
    except NaiadError:  # it is registered and nothing has arrived yet, or the field is of another kind
        return False
