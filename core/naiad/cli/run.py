"""A run as the commands use it: found by its id in the selected store, open for reading."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from naiad.cli.place import existing_store, find_run
from naiad.cli.values import opened
from naiad.container_kinds import RunId
from naiad.convert import with_article
from naiad.errors import MissingField, WrongVerb
from naiad.fields.registry import field_class
from naiad.kinds import SYS
from naiad.paths import parse
from naiad.session import Session
from naiad.storage.base import RunReader, Store
from naiad.storage.opening import Named
from naiad.tree import Tree


class OpenRun(NamedTuple):
    """A run, its title, its reader, and the store that it is in."""

    id: str
    run: RunId
    reader: RunReader
    store: Store

    def field(self, path: str, kinds: Collection[str], verb: str) -> tuple[str, str]:
        """Return the parsed path of a field, and its kind.

        Raises:
            MissingField: nothing is stored there; the message names similar paths.
            WrongVerb: the field there is of none of these kinds.
        """
        parsed, found = parse(path), self.reader.kinds()
        kind = found.get(parsed)
        if kind is None:
            raise self._missing(parsed, found)
        if kind not in kinds:
            raise WrongVerb(f'"{parsed}" is {with_article(field_class(kind))}, so it cannot be {verb}.', path=parsed)
        return parsed, kind

    def _missing(self, path: str, kinds: dict[str, str]) -> MissingField:
        tree: Tree[str] = Tree()
        for each, kind in kinds.items():
            tree.put(each, kind)
        return MissingField(f'{self.run.kind.title} {self.id} has no field "{path}".{tree.hint(path)}', path=path)


def stored_field(run: OpenRun, path: str, kind: str) -> Any:
    """Return a field that is there, with the verbs of its kind."""
    session = Session(f"Run {run.id}", run.run.uid, lambda: run.reader, None)
    return field_class(kind)(session, path, is_new=False)


def open_run(path: Named, run: str) -> OpenRun:
    """Return the run of this id, uid or custom id.

    Raises:
        RunNotFound: there is none; the message names ids that look alike.
    """
    store = existing_store(path)
    found = find_run(store, run)
    reader = store.reader(found)
    name = opened(SYS["sys/id"], reader.values("sys").get("sys/id"))
    return OpenRun(str(name) if name else found.uid, found, reader, store)
