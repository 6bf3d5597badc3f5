"""Children: runs that belong to a parent run, such as the trials of a search or the folds of a cross-validation.

A child has the id of its parent for people, and its uid, by which it is found whatever ids become. The parent has no
list of its children, so they may begin in any process while it runs or after it has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from naiad.container_kinds import RUN, RunId
from naiad.errors import InvalidArgument
from naiad.kinds import PARENT, PARENT_UID, SYS
from naiad.scalars import unpack_text
from naiad.storage.base import Change, Store
from naiad.storage.catalog import Summary

MOST_PARENTS = 1_000_000


class Parent(NamedTuple):
    """The run that a child belongs to."""

    id: str
    uid: str
    project: str | None = None

    def texts(self) -> dict[str, str]:
        """Return the fields of `sys` by which a child names it."""
        return {"parent": self.id, "parent_uid": self.uid}

    def changes(self) -> list[Change]:
        """Return the changes that make a run its child."""
        from naiad.storage.edits import sys_changes  # loaded by the first child: a run without a parent needs none

        return sys_changes({PARENT: self.id, PARENT_UID: self.uid})


def find_parent(store: Store, name: str) -> Parent:
    """Find the run that shall be a parent by its id or uid.

    Raises:
        RunNotFound: the store has no such run.
    """
    run = store.find_to_write(name, RUN)
    values = store.reader(run).values("sys")
    project = values.get("sys/project")
    own = values.get("sys/id")
    return Parent(_text(own) or store.id_of(run), run.uid, _text(project) or None)


def require_no_circle(store: Store, child: RunId, parent: Parent) -> None:
    """Raise if a run would become its own parent, be it through others.

    Raises:
        InvalidArgument: it would.
    """
    # `seen` ends the walk where two processes have made a circle at the same moment, which no check can prevent.
    uid, seen = parent.uid, set[str]()
    while uid and uid not in seen:
        if uid == child.uid:
            own = store.id_of(child)
            raise InvalidArgument(
                f"{parent.id} cannot be the parent of {own}: it is {own} itself or belongs to it.\n"
                "Give another run to parent=.",
                argument="parent",
                value=parent.id,
            )
        seen.add(uid)
        run = RunId(uid, RUN)
        uid = _text(store.reader(run).values("sys").get(PARENT_UID)) if store.exists(run) else ""


def children(store: Store, uid: str, *, is_trashed: bool | None = False) -> list[Summary]:
    """Return the children of a run, newest first."""
    from naiad.query.criteria import children_of

    return store.catalog().summaries(is_trashed=is_trashed, condition=children_of(uid)) if store.has_begun() else []


def rename_parent(store: Store, uid: str, name: str) -> None:
    """Write the new id of a parent into its children, those in the trash too. They are found without it."""
    from naiad.storage.edits import edit, sys_changes

    for child in children(store, uid, is_trashed=None):
        if child.parent != name:
            edit(store, child.run, sys_changes({PARENT: name}))


def state_counts(store: Store) -> dict[str, dict[str, int]]:
    """Return how many children each parent has, by its uid and their states; those in the trash are left out."""
    from naiad.query.criteria import not_trashed
    from naiad.query.tree import And, Exists, FieldName

    is_child = Exists(FieldName(PARENT_UID, SYS[PARENT_UID]))
    by = (PARENT_UID, "sys/state")
    found = store.catalog().groups(RUN, None, And((is_child, *not_trashed(False))), by, limit=MOST_PARENTS)
    counts: dict[str, dict[str, int]] = {}
    for (uid, state), count in zip(found.keys, found.counts, strict=True):
        counts.setdefault(str(uid), {})[str(state)] = count
    return counts


def states_text(counts: Mapping[str, int]) -> str:
    """Return counts of states as a text: the most frequent first.

    >>> states_text({"finished": 10, "running": 2})
    '10 finished, 2 running'
    """
    return ", ".join(f"{count:,} {state}" for state, count in sorted(counts.items(), key=lambda each: (-each[1], each)))


def _text(value: object) -> str:
    return unpack_text(value) if isinstance(value, str | bytes) else ""
