"""The address of pages: NAIAD_UI_URL, or that of a server of this user that shows the store at this moment.

A server that runs holds a lock on a file with its address, one a port, which the kernel releases when it dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from naiad import clock
from naiad.settings import setting


def pages(store: str) -> str | None:
    """Return the address of the pages of a store; None if no server shows it.

    Args:
        store: the address of the store.
    """
    return setting("UI_URL") or running(store)


def page(base: str, *parts: str) -> str:
    """Return the address of a page, such as `/p/digits/runs/DIGITS-1`.

    Args:
        base: the address of the pages.
        parts: the names between the slashes.
    """
    from urllib.parse import quote  # late, as below: most programs never ask

    return "/".join((base.rstrip("/"), *(quote(part.encode("utf-8", "replace"), safe="") for part in parts)))


def running(store: str) -> str | None:
    """Return the address of the server that shows a store, the one that was started last; None if there is none."""
    found: list[tuple[float, str]] = []
    with contextlib.suppress(OSError):
        for file in sorted(_folder(store).glob("*.json")):
            known = _of_living(file)
            if known:
                found.append(known)
    return max(found)[1] if found else None


@contextlib.contextmanager
def registered(store: str, url: str, port: int) -> Iterator[None]:
    """Make an address known while the block runs."""
    import json

    file = _folder(store) / f"{port}.json"
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # A process that looks for servers may remove the file between opening and locking it. The lock would then be on a
    # file without a name, which is never found: hence the comparison with the file that has the name now.
    while True:
        stream = file.open("a+", encoding="utf-8")
        fcntl.flock(stream, fcntl.LOCK_EX)
        if file.exists() and os.path.samestat(os.stat(file), os.fstat(stream.fileno())):
            break
        stream.close()  # somebody who looked took it for one of a server that is gone
    with stream:
        stream.truncate(0)
        json.dump({"url": url, "host": os.uname().nodename, "started": clock.now()}, stream)
        stream.flush()
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def state_folder() -> Path:
    """Return the folder for tokens and addresses of this user, outside of any store."""
    home = os.environ.get("XDG_STATE_HOME")
    return Path(home if home and os.path.isabs(home) else Path.home() / ".local" / "state") / "naiad"


def store_key(store: str) -> str:
    """Return the name of files about a store."""
    import hashlib  # loads OpenSSL

    return hashlib.sha256(store.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _folder(store: str) -> Path:
    return state_folder() / "ui" / store_key(store)


def _of_living(file: Path) -> tuple[float, str] | None:
    """Time and address in a file whose server runs."""
    import json

    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), file.open(encoding="utf-8") as stream:
        try:
            # Shared, so that two processes that look at once do not take each other for the server.
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            # a home on a network disk is shared by machines, and 127.0.0.1 is not
            facts = json.load(stream)
            if facts["host"] == os.uname().nodename:
                return float(facts["started"]), str(facts["url"])
        else:
            file.unlink(missing_ok=True)  # its server is gone
    return None
