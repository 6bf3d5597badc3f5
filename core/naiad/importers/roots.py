"""Roots: the folders from which an import reads the files that its source names.

A log or a database can name any path of this machine, such as a private key, and the person who made it may be a
stranger. Its content would lie in the store from then on, and go with the next copy of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

OPTION: Final = "files-from"
OPTIONS: Final = {
    OPTION: "A folder outside the source from which files that it names may be read; / for all. May be repeated."
}
REPEATED: Final = frozenset({OPTION})
_WILDCARD = re.compile(r"[*?\[]")


def of(folder: str | Path, options: Mapping[str, Any]) -> list[str]:
    """Return the roots of a source: its own folder, and those that the user names.

    The home directory and / are no folder of a source, even if it lies right in one: all private files are there.
    """
    own = os.path.realpath(folder)
    given = options.get(OPTION) or ()
    named = [given] if isinstance(given, str) else list(given)
    roots = [] if own in (os.path.realpath(os.path.expanduser("~")), os.sep) else [own]
    return [*roots, *(os.path.realpath(os.path.expanduser(each)) for each in named)]


def refusal(place: str, roots: Sequence[str], named: str = "") -> str:
    """Return the reason against reading a path, as a source has `named` it; empty if it lies in a root.

    A link counts as its target.
    """
    target = os.path.realpath(os.path.expanduser(place))
    if any(target == root or target.startswith(os.path.join(root, "")) for root in roots):
        return ""
    within = repr(roots[0]) if roots else "the folders that may be read"
    return f"{(named or place)!r} lies outside {within}, and is not read; --{OPTION} FOLDER allows it"


def fixed_part(pattern: str) -> str:
    """Return the folder below which everything is that a glob matches; a path without wildcards is that itself.

    >>> fixed_part("/data/2024/*.csv"), fixed_part("/data/a.csv")
    ('/data/2024', '/data/a.csv')
    """
    begin = _WILDCARD.split(pattern, maxsplit=1)[0]
    return pattern if begin == pattern else os.path.dirname(begin)
