"""Rewinds: points above a step that are hidden, because the run went on from that step again.

A rewind is an entry of the series of texts `sys/rewinds`. Nothing is removed.

    written by                    hidden above the step
    ----------                    ---------------------
    an earlier session            all, also of journals that arrive later
    the same session, another     those with a time up to the rewind
    the rewinding writer          none if it began with the rewind, else those with a time up to it
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

PATH = "sys/rewinds"
MONITORING = "monitoring"
"""The namespace that no rewind touches: it is about a process, and not about steps."""


class Rewind(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rewind, as it is stored."""

    step: int | float
    path: str = ""
    """The series, or the namespace of series, that is rewound; empty: all."""
    writer: str = ""
    session: int = 0
    is_first: bool = False
    """Whether the writer had logged nothing before."""
    but: Sequence[str] = (MONITORING,)
    """Namespaces that are left as they are."""

    def concerns(self, path: str) -> bool:
        """Whether it hides points of the series at a path."""
        return is_below(path, self.path) and not any(is_below(path, each) for each in self.but)


class Dated(NamedTuple):
    """A rewind, and its time in milliseconds since 1970 UTC."""

    rewind: Rewind
    at: int


def is_below(path: str, namespace: str) -> bool:
    """Whether a path is a namespace or lies in it; all lie in the root.

    >>> is_below("train/loss", "train"), is_below("training", "train"), is_below("loss", "")
    (True, False, True)
    """
    return not namespace or path == namespace or path.startswith(f"{namespace}/")


def decode(texts: Iterable[tuple[str, int]]) -> list[Dated]:
    """Return the rewinds in entries of the series, each a text and its milliseconds."""
    found = []
    for text, at in texts:
        try:
            found.append(Dated(msgspec.json.decode(text, type=Rewind), at))
        except msgspec.MsgspecError:  # damaged, or of a later release: what it hides is shown
            continue
    return found


def encode(rewind: Rewind) -> str:
    """Return the text of a rewind."""
    return msgspec.json.encode(rewind).decode()
