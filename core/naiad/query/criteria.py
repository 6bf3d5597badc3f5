"""Criteria: the arguments of table functions as the same tree as a query."""

from __future__ import annotations

from naiad.errors import InvalidArgument, NaiadTypeError, shown
from naiad.kinds import PARENT_UID, SYS
from naiad.query.tree import And, Compare, Contains, FieldName, IsChild, Node, Not, OneOf, Or

STATES: dict[str, Node] = {
    word: Compare(FieldName("sys/state", SYS["sys/state"]), "=", state)
    for words, state in (
        (("active", "running"), "running"),
        (("inactive", "idle"), "idle"),
        (("finished",), "finished"),
        (("failed",), "failed"),
        (("terminated",), "terminated"),
        (("killed",), "killed"),
        (("unknown",), "unknown"),
    )
    for word in words
}
TRASHED = Compare(FieldName("sys/trashed", SYS["sys/trashed"]), "=", True)
"""The condition that is true of a container in the trash."""


def criteria(id: object, state: object, owner: object, tag: object) -> list[Node]:
    """Return a condition: any of the ids, any of the states, any of the owners, all tags."""
    found: list[Node] = []
    for name, path, given in (("id", "sys/id", id), ("owner", "sys/owner", owner)):
        values = texts(name, given)
        if values is not None:
            found.append(OneOf(FieldName(path, SYS[path]), values))
    states = texts("state", state)
    if states is not None:
        found.append(Or(tuple(map(_state, states))))
    found += [Contains(FieldName("sys/tags", SYS["sys/tags"]), each) for each in texts("tag", tag) or ()]
    return found


def not_trashed(trashed: bool | None) -> list[Node]:
    """Return a condition that selects trashed containers, or the others."""
    return [] if trashed is None else [TRASHED if trashed else Not(TRASHED)]


def children_of(uid: str) -> Node:
    """Return a condition that selects the children of a run."""
    return Compare(FieldName(PARENT_UID, SYS[PARENT_UID]), "=", uid)


def top_level(project: str | None) -> Node:
    """Return a condition that leaves out the children of runs that a table of a project, or of all, can show."""
    return Not(IsChild(FieldName(PARENT_UID, SYS[PARENT_UID]), project))


def both(terms: list[Node]) -> Node | None:
    """Return the tree of terms that must all be so; None if there are none."""
    # Flat, because the search picks the most selective of the terms of one And to begin with.
    flat = [part for term in terms for part in (term.terms if isinstance(term, And) else (term,))]
    return flat[0] if len(flat) == 1 else And(tuple(flat)) if flat else None


def texts(name: str, given: object) -> tuple[str, ...] | None:
    """Return the texts given to an argument, be it one or several; None of nothing, and of an empty collection.

    Raises:
        NaiadTypeError: something else was given.
    """
    if given is None:
        return None
    found = (given,) if isinstance(given, str) else given
    if not isinstance(found, list | tuple | set | frozenset):
        raise NaiadTypeError(f"{name}= takes a str or a list of str, not {shown(given)}.", argument=name, value=given)
    for each in found:
        if not isinstance(each, str):
            raise NaiadTypeError(f"{name}= takes a str or a list of str, not {shown(each)}.", argument=name, value=each)
    if len(found) > MOST:
        raise InvalidArgument(f"{name}= takes at most {MOST:,} values, not {len(found):,}.", argument=name)
    return tuple(each.encode("utf-8", "replace").decode() for each in found) or None


MOST = 10_000


def _state(word: str) -> Node:
    try:
        return STATES[word.lower()]
    except KeyError:
        raise InvalidArgument(
            f"state= takes {', '.join(STATES)}, not {shown(word)}.",
            argument="state",
            value=word,
        ) from None
