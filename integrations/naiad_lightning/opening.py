"""How a logger's run is opened: at the first need, in whichever process that is, always the same run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from naiad import options
from naiad.errors import MissingField
from naiad.runs import Run, init_run
from naiad.settings import setting
from naiad.store.reader import Reader
from naiad.store.store import Store
from naiad_lightning.launch import next_run

if TYPE_CHECKING:
    from naiad.store.folder import RunFolder

__all__ = ["Opening"]


@dataclass(frozen=True)
class Opening:
    """The arguments of `init_run`, complete: they mean one run, wherever and how often they are used."""

    arguments: dict[str, Any]

    @classmethod
    def of(cls, arguments: dict[str, Any]) -> Opening:
        """Take what the user gave, and settle now what would depend on the moment.

        Raises:
            TypeError, InvalidArgument: arguments that `init_run` does not take.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        options.refuse_unknown("NaiadLogger", {name: given[name] for name in given.keys() - _accepted()})
        options.check(**given)
        custom = None
        if given.get("with_id") is None and options.mode_of(given.get("mode")) != "debug":
            custom = given.get("custom_run_id") or setting("CUSTOM_RUN_ID") or next_run()
        store = Store.locate(given.get("store")).root
        return cls({**given, "store": store, **({"custom_run_id": custom} if custom else {})})

    def open(self) -> Run:
        """Open the run: begin it, or go on with it."""
        return init_run(**self.arguments)

    def names(self) -> tuple[str | None, str | None]:
        """Return the id and the name of the run without opening it; the id is taken if nobody has.

        For processes that must not write. Both are None where this process cannot know which run it is.
        """
        store = Store(self.arguments["store"])
        with_id, custom = self.arguments.get("with_id"), self.arguments.get("custom_run_id")
        name = self.arguments.get("name")
        if with_id is not None:
            folder = store.find_run(with_id)
            return _text(folder, "sys/id") or with_id, name or _text(folder, "sys/name")
        if custom is None:
            return None, None
        ticket = store.new_run(options.project_name(self.arguments.get("project")) or store.default_project(), custom)
        return ticket.id, name or _text(ticket.folder, "sys/name") or "Untitled"


def _accepted() -> set[str]:
    import inspect

    return set(inspect.signature(Run).parameters) - {"unknown"}


def _text(folder: RunFolder, path: str) -> str | None:
    try:
        return str(Reader(folder).value(path))
    except MissingField:  # nobody has begun the run yet
        return None
