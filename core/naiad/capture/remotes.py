"""Addresses of remote repositories without credentials, because many people may read a run."""

from __future__ import annotations

import re

ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.:-]*)://(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
PLAIN_HOST = re.compile(r"(\[[0-9a-f:.]+\]|localhost|[^@:/?#\[\]]+\.[^@:/?#\[\]]+)(:\d+)?([/?#]|\Z)", re.IGNORECASE)
"""What the address begins with if it has no user: an `@` further on is one of the path. A user seldom has a dot."""


def without_secrets(remote: str) -> str:
    """Return the address of a remote without its password, token or query; only the user of ssh is no secret.

    All before the last `@` goes, since a password that is not quoted may hold any character.

    >>> without_secrets("https://ada:ghp_1/2@3@github.com/o/r.git?private_token=4")
    'https://github.com/o/r.git'
    """
    found = ADDRESS.fullmatch(remote)
    if found is None or found["scheme"].lower() == "file":
        return remote  # a path, or ssh written as scp does: neither can hold a password
    user, place = "", found["rest"]
    if not PLAIN_HOST.match(place):
        user, _, place = place.rpartition("@")
    name = user.partition(":")[0] + "@" if user and "ssh" in found["scheme"].lower() else ""
    return f"{found['scheme']}://{name}{re.split('[?#]', place, maxsplit=1)[0]}"
