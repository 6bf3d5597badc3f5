"""`naiad sync`: ship the runs of a folder to a server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from naiad.cli import completion as complete
from naiad.cli.document import json_option, print_document
from naiad.cli.place import find_run
from naiad.cli.rows import Cell, print_rows
from naiad.cli.terminal import print_lines, print_note
from naiad.cli.text import clean
from naiad.errors import StorageError
from naiad.places import is_server
from naiad.refs import size_text
from naiad.settings import setting
from naiad.storage.opening import FolderStore, Named, waiting_room

if TYPE_CHECKING:
    from naiad.ship.sync import Result

HEADER = ("RUN", "THERE", "SENT", "WAITING", "STATE")
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}


@click.command()
@click.argument("targets", metavar="[FOLDER|RUN...]", nargs=-1, shell_complete=complete.runs)
@click.option(
    "--to", "url", metavar="URL", help="The server for runs that have none, or the new address of those that are named."
)
@click.option("--watch", "is_watching", is_flag=True, help="Repeat until Ctrl-C, also for runs that are being written.")
@click.option("--limit", metavar="RATE", help="Limit the rate, for example to 20MB/s.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Send nothing; print how much the server lacks.")
@click.option("--verify", "verifies", is_flag=True, help="Compare counts and checksums of everything with the server.")
@json_option
@click.pass_obj
def sync(
    store: Named,
    targets: tuple[str, ...],
    url: str | None,
    is_watching: bool,
    limit: str | None,
    is_dry: bool,
    verifies: bool,
    is_json: bool,
) -> None:
    """Send runs to a server: those named, or everything in a store that the server may lack.

    FOLDER is a store (`.naiad`) or the folder of a run. Runs that were logged offline are sent completely. Nothing is
    stored twice, however often you repeat the command. The token is read from NAIAD_API_TOKEN, or from a file with
    mode 600.

    A run that was started with a server is sent to that server. If its address is wrong or has changed, name the run
    and the right address: RUN --to URL. For a whole FOLDER, --to URL is also used for the runs that no server has
    registered yet, unless another run of the folder is registered at another server.

    The exit code is 0 only if the server has confirmed everything. In a pipe, the columns are the run here, its id
    there, bytes sent, bytes still to send, and the state.

    Example: naiad sync .naiad --to https://naiad.example.org
    """
    from naiad.ship.sync import Sync, watch

    most = rate(limit) if limit is not None else None
    place, uids = _places(store, targets)
    work = Sync(place.layout, url, limit=most, is_dry=is_dry, verifies=verifies, announce=print_note)
    if is_watching:
        try:
            for results in watch(work, uids):
                _print(results, is_json)
        except KeyboardInterrupt:
            print_note("Stopped. What is not shipped yet stays in the folder.")
        return
    results = [work.ship(folder) for folder in work.folders(uids)]
    _print(results, is_json)
    left = [each for each in results if not each.is_confirmed]
    if not results:
        print_note(f"Nothing in {place} waits for a server.")
    elif not is_json:
        sent = sum(each.sent for each in results)
        print_note(
            f"{len(results) - len(left):,} of {len(results):,} runs are confirmed; {size_text(sent)} were shipped."
        )
    click.get_current_context().exit(1 if left else 0)


def rate(text: str) -> float:
    """Return the bytes a second that a text such as `20MB/s` means.

    Raises:
        BadParameter: it means none.

    >>> rate("20MB/s"), rate("500k")
    (20000000.0, 500000.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)i?b?(?:/s)?", text.strip().lower())
    if found is None or float(found[1]) <= 0:
        raise click.BadParameter(f"{text!r} is not a rate. Give a rate such as 20MB/s.", param_hint="--limit")
    return float(found[1]) * _UNITS[found[2]]


def _places(store: Named, targets: Sequence[str]) -> tuple[FolderStore, list[str]]:
    """Return the store, and the uids of the runs that are named.

    Raises:
        StorageError: there is no store.
    """
    folders = [Path(each) for each in targets if Path(each).is_dir()]
    runs = [each for each in targets if not Path(each).is_dir()]
    uids = []
    named = None if is_server(store or setting("STORE")) else store or setting("STORE")
    # Where a server is the store, runs that wait for it lie in the waiting room of this user.
    place = FolderStore.locate(named) if named else waiting_room()
    for folder in folders:
        own = folder.absolute()
        # The name of the folder alone proves nothing: a store may itself lie in a folder called `runs`.
        if own.parent.name in ("runs", "models", "versions", "projects") and FolderStore(own.parent.parent).is_made():
            uids.append(own.name)
            own = own.parent.parent
        place = FolderStore.locate(own if FolderStore(own).is_made() or own.name == ".naiad" else own / ".naiad")
    if not place.has_begun():
        raise StorageError(
            f"There is no store at {str(place)!r}.\nName the folder of a store, for example: naiad sync path/to/.naiad"
        )
    return place, [*uids, *(find_run(place, run).uid for run in runs)]


def _print(results: Sequence[Result], is_json: bool) -> None:
    if is_json:
        print_document(
            [
                {
                    "uid": e.uid, "id": e.id, "server": e.url, "sent": e.sent, "waiting": e.waiting.bytes,
                    "waiting_points": e.waiting.points, "lost": list(e.lost), "confirmed": e.is_confirmed,
                    "problem": e.problem or None,
                }
                for e in results
            ]
        )  # fmt: skip
        return
    if results:
        print_rows(HEADER, map(_cells, results))
    for each in results:
        if any(each.lost):
            text = f"{each.lost[0]:,} points cannot be sent, since the files that held them until then are gone"
            print_lines([f"{clean(each.id)}: {text}. They are still in this folder."])
        if each.problem and not each.is_left:  # that was announced once for all runs of the server
            print_note(f"{clean(each.id)}: {each.problem}")


def _cells(result: Result) -> list[Cell]:
    state = "confirmed" if result.is_confirmed else "failed" if result.problem else "waits"
    return [
        Cell(result.uid, "bold"),
        Cell(result.id),
        Cell(str(result.sent), "", True),
        Cell(str(result.waiting.bytes), "", True),
        Cell(state, "" if result.is_confirmed else "red"),
    ]
