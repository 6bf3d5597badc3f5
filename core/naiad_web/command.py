"""`naiad ui`: the pages of a store in the browser."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading

import click

from naiad import address
from naiad.alerts.delivery import Sweeper
from naiad.alerts.wanted import alerts_wanted
from naiad.errors import MissingPackage, NotPermitted, StorageError
from naiad.settings import setting
from naiad.storage.base import Store
from naiad.storage.opening import Named, folder, locate

PORT = 8127
"""The port that is tried first: a browser keeps the token by the address, so it shall stay the same."""
PORTS = 50
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), help=f"Port; default: {PORT}, or the next free one; 0 picks any."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 accepts other machines."
)
@click.option("--allowed-host", multiple=True, metavar="NAME", help="Another host name to accept in requests.")
@click.option("--edit", is_flag=True, help="Allow changes: names, tags, trash, saved views.")
@click.option("--new-token", is_flag=True, help="Replace the token; addresses with the old one stop working.")
@click.option("--no-browser", is_flag=True, help="Print the address and open no browser.")
@click.pass_obj
def ui(
    store: Named,
    port: int | None,
    host: str,
    allowed_host: tuple[str, ...],
    edit: bool,
    new_token: bool,
    no_browser: bool,
) -> None:
    """Show the runs of a store in the browser.

    Prints an address that contains your personal token, opens it, and serves until Ctrl-C.

    Example: naiad ui --port 8127
    """
    try:
        from naiad_web.serving import serve
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f'naiad ui needs {error.name}.\nInstall it with: pip install "naiad[web]"', package=str(error.name)
        ) from error
    found = _open(store)
    listener = _listen(host, port)
    hosts = {*LOOPBACK, "[::1]", host, *allowed_host} | ({socket.gethostname()} if host not in LOOPBACK else set())
    own = f"[{host}]" if ":" in host else host
    url = f"http://{'127.0.0.1' if own in ('0.0.0.0', '[::]') else own}:{listener.getsockname()[1]}"

    def started(token: str) -> None:
        base = setting("UI_URL") or url
        click.echo(f"{base.rstrip('/')}/#token={token}")
        sys.stdout.flush()
        if not no_browser:
            threading.Thread(target=_browse, args=(f"{url}/#token={token}",), daemon=True).start()

    wanted = alerts_wanted()
    if wanted is not None:
        Sweeper(found, wanted).start()
    with address.registered(found.url(), url, listener.getsockname()[1]):
        serve(found, listener, frozenset(each.lower() for each in hosts), started, is_editable=edit, is_new=new_token)


def _open(place: Named) -> Store:
    """The store to show.

    Raises:
        NotPermitted: it belongs to another user, and was not named.
        StorageError: there is none.
    """
    store = locate(place)
    if not store.has_begun():
        raise StorageError(
            f"There is no store at {store}.\n"
            "Run this command in the folder of your project, or name the store: naiad --store PATH ui",
            errno=errno.ENOENT,
            filename=str(store),
        )
    if place is None and not setting("STORE"):
        root = folder(place)
        if root.stat().st_uid != os.geteuid():
            raise NotPermitted(
                f"The store {root} belongs to another user, so it is not shown by default.\n"
                f"If you trust it, name it: naiad --store {root} ui",
                errno=errno.EPERM,
                filename=str(root),
            )
    return store


def _listen(host: str, port: int | None) -> socket.socket:
    """Take the first free port.

    Raises:
        StorageError: none is free, or the host is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # 0 at last: any port is better than none
    wanted = [port] if port is not None else [*range(PORT, PORT + PORTS), 0]
    for each in wanted:
        # The protocol is named, since asyncio turns TCP_NODELAY on for such sockets alone. Without it the body of an
        # answer waits 40 ms, until the browser has acknowledged its headers.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, each))
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE and port is None:
                continue
            raise click.ClickException(f"Cannot listen on {host}, port {each}: {error.strerror or error}.") from None
        listener.listen(128)
        return listener
    raise click.ClickException(f"No port from {PORT} on is free on {host}. Choose a port with --port.")


def _browse(url: str) -> None:
    import webbrowser

    webbrowser.open(url)
