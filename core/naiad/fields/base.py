"""What all fields have in common. A verb first checks everything, then writes once; a refused verb leaves no trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn, Protocol, TypeVar, cast

from naiad import html
from naiad.coerce import with_article
from naiad.errors import FieldConflict, NaiadError, WrongVerb

if TYPE_CHECKING:
    from naiad.kept import KeptFile
    from naiad.ops import Op
    from naiad.store.reader import Reader
    from naiad.transaction import Transaction
    from naiad.writer import Writer

__all__ = ["Change", "Field", "FieldSession", "Source", "current"]

K = TypeVar("K")
V = TypeVar("V", bound=Callable[..., Any])


class FieldSession(Protocol):
    """What a field needs of the container it lives in: what it may do, where it writes and what it reads back."""

    @property
    def title(self) -> str:
        """The container as messages call it: `Run RUN-12`."""

    @property
    def key(self) -> str:
        """What tells the container from all others, whatever its title: warnings are given once for each."""

    @property
    def is_strict(self) -> bool:
        """Whether a value that no field accepts raises instead of being left out with a warning."""

    @property
    def has_limits(self) -> bool:
        """Whether Neptune's limits hold: lengths of texts, order of steps."""

    @property
    def is_sync(self) -> bool:
        """Whether each call raises what goes wrong in it."""

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written, so that nothing needs to be made ready for it."""

    @property
    def writer(self) -> Writer:
        """The only door to changing the run."""

    @property
    def reader(self) -> Reader:
        """The only door to what is stored."""

    def commit(self, changes: Sequence[Change], wait: bool = False) -> None:
        """Write checked changes together, or none of them."""

    def change(self, gather: Callable[[Transaction], object], wait: bool = False) -> None:
        """Gather the changes of one verb and write them, all or none."""

    def take_in(
        self,
        path: str,
        take: Callable[[], dict[K, KeptFile]],
        gather: Callable[[Transaction, dict[K, KeptFile]], object],
        wait: bool = False,
    ) -> None:
        """Copy files into the store without the lock, then write what becomes of them."""

    def copy(self, source: Field, path: str, wait: bool = False) -> None:
        """Store the content of a field at another path too."""

    def replacement(self, field: Field) -> Any:
        """Return the field at the path of one that another process has replaced by one of another kind."""


class Change(NamedTuple):
    """What one verb is about to do to one field: checked, not yet written."""

    field: Field
    ops: Callable[[float], list[Op]] | None = None
    """Makes the ops, given the time of the change."""
    then: Callable[[], None] | None = None
    """Runs after the ops of all changes of the call are written: points, and what the field remembers."""
    incoming: Sequence[str] = ()
    """Names of content that came in for the ops; it is dropped if they are not written."""


class Refused:
    """A verb that a kind does not have: looking it up raises, so that `hasattr` says no."""

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
    """A path and the kind of what is stored there.

    Beside each verb that writes, a subclass has a method such as `assigning`, which checks the value and returns the
    change without making it, so that many fields can be changed by one call, all or nothing.
    """

    kind: ClassVar[str] = ""
    assign: Any = Refused()
    append: Any = Refused()
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
    fetch_last: Any = Refused()
    fetch_values: Any = Refused()
    remedy: ClassVar[str] = "Use another path, or remove the field first with run.pop({path!r})."
    reading: ClassVar[str] = "Read it with fetch()."

    def __init__(self, session: FieldSession, path: str, *, is_new: bool = True) -> None:
        self.session = session
        self.path = path
        self.is_new = is_new  # nothing was stored here when this object was made

    def forget(self) -> None:
        """Called when the field is removed: drop whatever was remembered of its content."""
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

    def drawn(self) -> list[str]:
        """Return what a notebook shows of the content, as HTML."""
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

    def write(self, plan: Callable[[], Change], wait: bool = False) -> None:
        """Write the change that a verb plans. A file that the disk does not take is spared, as through a handler."""
        self.session.change(lambda transaction: transaction.plan(self.path, plan), wait)

    def assigning(self, value: object) -> Change:  # noqa: ARG002 (for the kinds that can be assigned)
        """Check a value that shall replace the content, and return the change."""
        self.refuse("assign")

    def content(self) -> object:
        """Return what is stored, in a form that `assigning` of the same kind accepts: how fields are copied."""
        self.refuse("copy")


def current(verb: V) -> V:
    """Let a verb that reads turn to the field which another process has put in the place of this one."""

    @wraps(verb)
    def read(self: Field, *arguments: Any, **options: Any) -> Any:
        try:
            return verb(self, *arguments, **options)
        except FieldConflict:
            return getattr(self.session.replacement(self), verb.__name__)(*arguments, **options)

    return cast("V", read)
