"""A transaction: the changes of one call, gathered and checked field by field, then written together or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from naiad import coerce, paths
from naiad.coerce import with_article
from naiad.errors import (
    FieldConflict,
    NaiadTypeError,
    StorageError,
    UnsupportedValue,
    UnsupportedValueWarning,
    warn_once,
)
from naiad.fields.base import Change, Field, Source
from naiad.fields.file_series import FileSeries
from naiad.fields.float_series import FloatSeries
from naiad.fields.registry import field_class
from naiad.fields.series import Series, check_lengths
from naiad.fields.string_set import TAG_PATHS, StringSet
from naiad.file import File
from naiad.kept import KeptFile
from naiad.plain import dimensions
from naiad.plugins import first
from naiad.types import Atom, StringifyValue, Value, as_mapping
from naiad.types import StringSet as StringSetValue
from naiad.utils import flatten

if TYPE_CHECKING:
    from naiad.session import Session

__all__ = ["Transaction"]

T = TypeVar("T")
F = TypeVar("F", bound=Field)
NOT_FOR_PLUGINS = (bool, int, float, str, bytes, type(None), list, tuple, set, frozenset, StringifyValue, Value, Source)
"""What fields take, or refuse for a reason of their own."""


class Transaction:
    """What one verb is about to do. Leaving the block in order writes it; an exception leaves no trace.

    The session's lock is held around it, by a `with` of its own: Ctrl-C cannot come between taking a lock that is
    written in C and entering its block, but it can come in the first line of any method here. `session.change` does it.

    >>> with session.lock, Transaction(session) as transaction:
    ...     transaction.assign("params", {"lr": 0.1, "epochs": 3})
    """

    def __init__(self, session: Session, wait: bool = False) -> None:
        self.stored: frozenset[str] = frozenset()  # names of content that came in and is part of what was written
        self._session = session
        self._wait = wait  # whether the user wants to be told what is not stored
        self._changes: list[Change] = []
        self._new: dict[str, Field] = {}
        self._has_learned = False

    def __enter__(self) -> Transaction:
        self._session.require_active()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None and self._changes:
                self._session.commit(self._changes)
                self.stored = frozenset(name for change in self._changes for name in change.incoming)
                self._changes = []
        finally:
            incoming = [name for change in self._changes for name in change.incoming]
            if incoming:
                self._session.writer.drop(incoming)

    def assign(self, path: str, value: Any) -> None:
        """Assign a value, each value of a dict to a path below, or what is stored at another place."""
        inner = as_mapping(value)
        if inner is not None:
            self._refuse_dict(path)
        for leaf, item in [(path, value)] if inner is None else flatten(inner, path):
            if isinstance(item, Source):
                for rest, source in item.sources().items():
                    self._assign_leaf(paths.join(leaf, rest), source.content())
            else:
                for rest, taken in _converted(leaf, item):
                    self._assign_leaf(rest, taken)

    def append(
        self, path: str, value: Any, step: Any, timestamp: Any, name: str | None = None, description: str | None = None
    ) -> None:
        """Append a value, or each value of a dict to a path below, all with the same step and time."""
        for leaf, given in self._leaves(path, value):
            for rest, item in ((leaf, given),) if given.__class__ is float else _converted(leaf, given):
                self.plan(
                    rest,
                    lambda: self._series(rest, item, "append").adding(item, step, timestamp, name, description),  # noqa: B023 (called at once)
                )

    def extend(self, path: str, values: Any, steps: Any, timestamps: Any) -> None:
        """Append several values, or those in each collection of a dict; without values nothing happens."""
        steps = None if steps is None else coerce.collection(path, steps)
        timestamps = None if timestamps is None else coerce.collection(path, timestamps)
        for leaf, item in self._leaves(path, values):
            items = coerce.collection(leaf, item)
            if items:
                self._extend_leaf(leaf, items, steps, timestamps)
            else:
                check_lengths(leaf, 0, **{k: len(v) for k, v in (("steps", steps), ("timestamps", timestamps)) if v})

    def log(
        self, path: str, value: Any, step: Any, timestamp: Any, name: str | None = None, description: str | None = None
    ) -> None:
        """Append a value or, where it is a collection, each of its items."""
        for leaf, item in self._leaves(path, value):
            first = next(iter(coerce.collection(leaf, item)), None)
            self.plan(
                leaf,
                lambda: self._series(leaf, first, "log").logging(item, step, timestamp, name, description),  # noqa: B023 (called at once)
            )

    def add(self, path: str, values: Any) -> None:
        """Add tags."""
        known = self._known(path) or (self._make(path, StringSet.kind) if path in TAG_PATHS else None)
        if known is None:
            self.plan(path, lambda: _refuse_tags(path, values))
        elif isinstance(known, StringSet):
            self.plan(path, lambda: known.adding_tags(values))
        else:
            known.refuse("add")

    def on(self, path: str, made_of: type[F], verb: str, plan: Callable[[F], Change]) -> None:
        """Plan what a verb does that only one kind of field has; a new field becomes one of it."""
        known = self._known(path) or self._make(path, made_of.kind)
        if not isinstance(known, made_of):
            known.refuse(verb)
        self.plan(path, lambda: plan(known))

    def configure(self, path: str, low: Any, high: Any, unit: Any) -> None:
        """Describe the axis of a float series, which may be a new one."""
        known = self._known(path) or self._make(path, FloatSeries.kind)
        if not isinstance(known, FloatSeries):
            known.refuse("configure")
        self._keep(known.configuring(low, high, unit))

    # Each leaf

    def _leaves(self, path: str, value: Any) -> list[tuple[str, Any]]:
        inner = as_mapping(value)
        if inner is None:
            self._refuse_root(path)
            return [(path, value)]
        self._refuse_dict(path)
        return flatten(inner, path)

    def _assign_leaf(self, path: str, value: Any) -> None:
        self._refuse_root(path)
        known = self._known(path)
        if known is not None:
            plain = value.value if isinstance(value, Atom) else value
            self.plan(path, lambda: known.assigning(plain))
        elif isinstance(value, StringSetValue) or path in TAG_PATHS:
            self.add(path, value)
        elif isinstance(value, Value) and not isinstance(value, Atom):
            self.plan(path, lambda: self._make(path, value.kind).assigning(value))
        else:
            self.plan(path, lambda: self._first_value(path, value))

    def _first_value(self, path: str, value: Any) -> Change:
        """Let the value choose the kind of a new field; one that names its kind is asked for it."""
        plain = coerce.scalar(path, value.value if isinstance(value, Atom) else value)
        kind = value.kind if isinstance(value, Atom) else coerce.kind_of(plain)
        return self._make(path, kind).assigning(plain)

    def _extend_leaf(self, path: str, items: list[Any], steps: Any, timestamps: Any) -> None:
        """Leave an unsupported value out with a warning only if nothing else goes with it: never part of a call."""
        if len(items) == 1 or self._known(path) is None:
            series = self._planned(path, lambda: self._series(path, items[0], "extend"))
        else:
            series = self._series(path, items[0], "extend")
        if series is None:
            return
        if len(items) == 1:
            self.plan(path, lambda: series.extending(items, steps, timestamps))
        else:
            change = self._spared(path, lambda: series.extending(items, steps, timestamps))
            if change is not None:
                self._keep(change)

    def _series(self, path: str, first: Any, verb: str) -> Series:
        """Return the series at a path, or a new one of the kind that its first value chooses."""
        known = self._known(path)
        if known is None:
            known = self._make(path, _series_kind(path, first))
        if not isinstance(known, Series):
            known.refuse(verb)
        return known

    def _known(self, path: str) -> Field | None:
        known = self._new.get(path) or self._session.tree.get(path)
        if known is None and not self._has_learned:
            self._has_learned = True
            self._session.learn()
            known = self._session.tree.get(path)
        return known

    def _make(self, path: str, kind: str) -> Field:
        self._refuse_root(path)
        return field_class(kind)(self._session, path)

    # Gathering

    def plan(self, path: str, check: Callable[[], Change]) -> None:
        """Take up the change that a check returns, unless it is left out."""
        change = self._planned(path, check)
        if change is not None:
            self._keep(change)

    def _planned(self, path: str, check: Callable[[], T]) -> T | None:
        """Return what a check returns; a value that no field accepts is left out with one warning a path."""
        self._session.require_writable(path)
        try:
            return self._spared(path, check)
        except UnsupportedValue as problem:
            if self._session.is_strict:
                raise
            warn_once((self._session.key, path), f"{problem}\nIt was left out.", UnsupportedValueWarning)
            return None

    def _spared(self, path: str, check: Callable[[], T]) -> T | None:
        """Return what a check returns; None if the disk does not take a file, and training shall go on."""
        try:
            return check()
        except StorageError as problem:
            self._session.spare(path, problem, self._wait)
            return None

    def _keep(self, change: Change) -> None:
        if change.ops is None and change.then is None:
            return  # it does nothing, so it makes no field either
        self._changes.append(change)
        if change.field.path not in self._session.tree:
            self._new[change.field.path] = change.field

    def _refuse_root(self, path: str) -> None:
        if not path:
            raise NaiadTypeError(
                f"Only a dict can be written to the root of {self._session.title}.\nGive a path as well."
            )

    def _refuse_dict(self, path: str) -> None:
        known = self._known(path)
        if known is not None:
            raise FieldConflict(
                f'"{path}" is {with_article(known)}, so a dict cannot be written to it.\n'
                f"Use another path, or remove the field first with run.pop({path!r}).",
                path=path,
            )


def _series_kind(path: str, first: Any) -> str:
    """Return the kind of series that a first value makes: one of files where no other takes it and a file can."""
    if isinstance(first, File | KeptFile | PurePath):
        return FileSeries.kind
    try:
        return coerce.series_kind_of(path, first)
    except UnsupportedValue:
        if File.is_convertable(first):
            return FileSeries.kind
        raise


def _refuse_tags(path: str, values: object) -> Change:
    raise UnsupportedValue(
        f'Tags can be added to "sys/tags" and "sys/group_tags" only, not to "{path}".\n'
        f"For texts elsewhere, use run[{path!r}].append(...).",
        path=path,
        value=values,
    )


def _converted(path: str, value: Any) -> list[tuple[str, Any]]:
    """Return what a plugin makes of a value that no field takes, leaf by leaf; the value itself if none knows it."""
    if isinstance(value, NOT_FOR_PLUGINS) or dimensions(value) == ():  # a scalar on a GPU: looking at it takes time
        return [(path, value)]
    if coerce.plain_or_none(value) is not None:
        return [(path, value)]
    answer = first("naiad_convert", value=value)
    if answer is None:
        return [(path, value)]
    return flatten(answer, path) if isinstance(answer, Mapping) else [(path, answer)]
