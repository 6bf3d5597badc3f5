"""The base of all fields. A verb first checks everything, then writes once; a failed verb leaves no trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ClassVar, Concatenate, NoReturn, ParamSpec, Protocol, TypeVar, cast

from naiad import html
from naiad.convert import with_article
from naiad.errors import FieldConflict, NaiadError, WrongVerb
from naiad.ops import Op
from naiad.storage.base import Change, RunReader, RunWriter
from naiad.storage.results import PointColumns

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V", bound=Callable[..., Any])


class Planner(Protocol):
    """The transaction that a verb of a field takes part in."""

    def add(self, field: Field, plan: Callable[P, Change], *arguments: P.args, **options: P.kwargs) -> None:
        """Add the change that a plan of the field returns. A file that the disk does not take is left out."""


class FieldSession(Protocol):
    """The container of a field: its options, its writer and its reader."""

    @property
    def title(self) -> str:
        """The container as messages call it: `Run RUN-12`."""

    @property
    def key(self) -> str:
        """The identity of the container, whatever its title; warnings are given once for each."""

    @property
    def is_strict(self) -> bool:
        """Whether a value that no field accepts raises instead of being left out with a warning."""

    @property
    def has_limits(self) -> bool:
        """Whether Neptune's limits hold: lengths of texts, order of steps."""

    @property
    def is_sync(self) -> bool:
        """Whether each call raises its errors of the disk."""

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written, so that nothing needs to be made ready for it."""

    @property
    def writer(self) -> RunWriter:
        """The only door to changing the run."""

    @property
    def reader(self) -> RunReader:
        """The only access to stored data."""

    def look(self, question: Callable[[RunReader], T]) -> T:
        """Answer a question of a write about the stored run; from the folder here while its server is away."""

    def transact(self, plan: Callable[[Planner], object], wait: bool = False, content: Iterable[str] = ()) -> None:
        """Write the changes that one verb plans, all or none; drop ingested content that they do not name."""

    def ingest(
        self,
        path: str,
        wait: bool,
        take: Callable[Concatenate[FieldSession, P], T],
        *arguments: P.args,
        **options: P.kwargs,
    ) -> T | None:
        """Copy files into the store without the lock; None if the disk does not take them and training goes on."""

    def rewind(self, path: str, step: float, *, wait: bool = False) -> None:
        """Hide the points above a step of all series at or below a path."""

    def copy(self, source: Field, path: str, wait: bool = False) -> None:
        """Store the content of a field at another path too."""

    def replacement(self, field: Field) -> Any:
        """Return the field at the path of one that another process has replaced by one of another kind."""


class Refused:
    """A verb that a kind does not have: looking it up raises, so that `hasattr` is False."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, field: Field | None, owner: type) -> Any:
        """Raise WrongVerb; on the class itself, as documentation tools look it up, return the descriptor."""
        return self if field is None else field.refuse(self.name)


class Source:
    """Something whose content can be assigned to another place: a field, or a handler of fields."""

    __slots__ = ()

    def sources(self) -> dict[str, Field]:
        """Return the fields to copy, by their paths relative to this place."""
        raise TypeError(f"{type(self).__name__} cannot be copied")


class Field(Source):
    """A path and the kind of its content.

    Beside each verb that writes, a subclass has a method such as `plan_assign`, which checks the value and returns the
    change without making it, so that many fields can be changed by one call, all or nothing.
    """

    kind: ClassVar[str] = ""
    assign: Any = Refused()
    append: Any = Refused()
    truncate: Any = Refused()
    extend: Any = Refused()
    log: Any = Refused()
    configure: Any = Refused()
    add: Any = Refused()
    remove: Any = Refused()
    clear: Any = Refused()
    copy: Any = Refused()
    upload: Any = Refused()
    upload_files: Any = Refused()
    delete_files: Any = Refused()
    list_fileset_files: Any = Refused()
    open_file: Any = Refused()
    track_files: Any = Refused()
    download: Any = Refused()
    download_last: Any = Refused()
    fetch_extension: Any = Refused()
    fetch_content: Any = Refused()
    fetch_files: Any = Refused()
    fetch_hash: Any = Refused()
    fetch_files_list: Any = Refused()
    fetch: Any = Refused()
    fetch_chart: Any = Refused()
    fetch_last: Any = Refused()
    fetch_values: Any = Refused()
    remedy: ClassVar[str] = "Use another path, or remove the field first with run.pop({path!r})."
    reading: ClassVar[str] = "Read it with fetch()."

    def __init__(self, session: FieldSession, path: str, *, is_new: bool = True) -> None:
        self.session = session
        self.path = path
        self.is_new = is_new  # nothing was stored here when this object was made

    def forget(self) -> None:
        """Drop everything remembered of the content, because the field was removed."""
        self.is_new = True

    def sources(self) -> dict[str, Field]:
        """Return the field itself."""
        return {"": self}

    def __repr__(self) -> str:
        return f'<{type(self).__name__} field at "{self.path}">'

    def _repr_html_(self) -> str:
        """Return the field for a notebook, which shows an error instead of raising it."""
        try:
            return html.block(repr(self), *self.drawn())
        except (NaiadError, OSError) as error:
            return html.block(repr(self), html.text(error))

    def shown(self) -> str:
        """Return the content as a few words, for a listing of fields."""
        return ""

    def drawn(self) -> list[str]:
        """Return the content as HTML for a notebook."""
        return []

    def refuse(self, verb: str) -> NoReturn:
        """Raise the error for a verb this kind does not have."""
        remedy = (
            self.reading
            if verb.startswith(("fetch", "download", "list", "open"))
            else self.remedy.format(path=self.path)
        )
        raise WrongVerb(
            f'"{self.path}" is {with_article(self)}, so {verb}() cannot be used on it.\n{remedy}',
            path=self.path,
            verb=verb,
            kind=self.kind,
        )

    def write(self, wait: bool, plan: Callable[P, Change], *arguments: P.args, **options: P.kwargs) -> None:
        """Write the change that a plan of this field returns; the common part of its verbs.

        A value that no field accepts and a file that the disk does not take are left out, as through a handler.
        """
        self.session.transact(lambda tx: tx.add(self, plan, *arguments, **options), wait)

    def plan_assign(self, value: object) -> Change:  # noqa: ARG002 (for the kinds that can be assigned)
        """Check a value that shall replace the content, and return the change."""
        self.refuse("assign")

    def change(
        self, *ops: Op, points: PointColumns | None = None, number: int = 0, content: Iterable[str] = ()
    ) -> Change:
        """Return a change of this field as data."""
        return Change(self.path, self.kind, ops, points, number, tuple(content))

    def applied(self, change: Change, writer: RunWriter) -> None:
        """Remember a change that was written."""

    @classmethod
    def summary(cls, stored: str) -> str:
        """Return a stored text in a few words, as listings show it."""
        return stored

    def content(self) -> object:
        """Return the stored value in a form that `plan_assign` of the same kind accepts: how fields are copied."""
        self.refuse("copy")


def current(verb: V) -> V:
    """Let a verb that reads turn to the field which another process has put in the place of this one."""

    @wraps(verb)
    def read(self: Field, *arguments: Any, **options: Any) -> Any:
        try:
            return verb(self, *arguments, **options)
        # Once, not in a loop: the replacement raises MissingField or FieldConflict by itself if it is gone again.
        except FieldConflict:
            return getattr(self.session.replacement(self), verb.__name__)(*arguments, **options)

    return cast("V", read)
