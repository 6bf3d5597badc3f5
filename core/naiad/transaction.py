"""A transaction: the changes of one call, planned and checked field by field, then written together or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Concatenate, NoReturn, ParamSpec, Protocol, TypeAlias, TypeVar

from naiad import clock, convert, paths, types
from naiad.convert import with_article
from naiad.errors import (
    FieldConflict,
    NaiadError,
    NaiadTypeError,
    NaiadValueError,
    StorageError,
    UnsupportedValue,
    UnsupportedValueWarning,
    warn_once,
)
from naiad.fields.atoms import String
from naiad.fields.base import Field, FieldSession, Source
from naiad.fields.float_series import FloatSeries
from naiad.fields.registry import FIELDS
from naiad.fields.series import Series, check_lengths
from naiad.fields.string_set import TAG_PATHS, StringSet
from naiad.file import File
from naiad.files.tracked import TrackedFile
from naiad.integers import LARGEST, SMALLEST
from naiad.ops import Assign, Define, Delete
from naiad.plugins import first
from naiad.refs import FileRef
from naiad.scalars import dimensions
from naiad.storage.base import Change
from naiad.structures import Unreadable, named
from naiad.tree import Tree
from naiad.types import Atom, StringifyValue, Value, as_mapping
from naiad.types import StringSet as StringSetValue
from naiad.utils import PLAIN, flatten, leaves, left_out
from naiad.value import PointValue

P = ParamSpec("P")
F = TypeVar("F", bound=Field)
Planned: TypeAlias = tuple[Field, Change]
PointRow: TypeAlias = tuple[Sequence[float], Sequence[int], Sequence[float]]
"""A value, a step and a time of each of several series."""
NOT_FOR_PLUGINS = (bool, int, float, str, bytes, type(None), list, tuple, set, frozenset, StringifyValue, Value, Source)
"""What fields take, or refuse for a reason of their own."""
LEAST_MANY = 16
"""Values of a dict from which on looking at all of them together is cheaper than one by one."""
MOST_OF_A_PATH = 5
"""Warnings about values of different types that were left out at one path."""


class TransactionSession(FieldSession, Protocol):
    """The session of a transaction: the container it changes."""

    is_stopped: bool
    left_out: dict[str, set[type]]

    @property
    def tree(self) -> Tree[Field]:
        """The fields that are known here."""

    def require_active(self) -> None:
        """Raise if the container was stopped."""

    def require_writable(self, path: str) -> None:
        """Raise ProtectedPath for paths that naiad itself writes."""

    def refresh_before_define(self) -> None:
        """See the fields that other processes have made, before one is made that is new here."""

    def skip_file(self, path: str, problem: StorageError, wait: bool = False) -> None:
        """Let training go on without a file that the disk does not take; raise if the user wants that, or waits."""

    def decline(self) -> None:
        """Warn once that nothing is stored, because the container is open for reading only."""


class Transaction:
    """The changes of one verb. Nothing of them is written before `commit`, and `roll_back` leaves no trace of them.

    A new field takes its place in the tree as soon as its change is planned, so that the next one is checked against
    it. `Session.transact` holds the session's lock from the first plan to the end.

    >>> session.transact(lambda tx: tx.assign("params", {"lr": 0.1, "epochs": 3}))
    """

    def __init__(self, session: TransactionSession, wait: bool = False, content: Iterable[str] = ()) -> None:
        self.unused = set(content)  # names of ingested content that no written change refers to
        self._session = session
        self._wait = wait  # whether the user wants to be told what is not stored
        self._fields: list[Field] = []
        self._changes: list[Change] = []  # of those fields, in the same order
        self._rows: list[tuple[int, PointRow]] = []  # points of new series, and the place of the first in `_changes`
        self._new: list[str] = []
        self._vacated: list[Field] = []  # assigned Nones that make room
        self.left_out: list[tuple[str, UnsupportedValue]] = []  # to be warned about, once the rest is written
        self._moved: dict[Series, tuple[object, object]] = {}  # marks of series, before and after their plans
        self._has_refreshed = False

    # Verbs

    def assign(self, path: str, value: Any) -> None:
        """Assign a value, each value of a dict to a path below, or the content of another place."""
        given: set[str] = set()  # paths, since several sources may have names in common
        for leaf, item in self._leaves(path, value):
            if isinstance(item, Source):
                taken = [(paths.join(leaf, rest), source.content()) for rest, source in item.sources().items()]
            else:
                taken = _converted(leaf, item)
            for rest, each in taken:
                if rest in given:
                    raise NaiadValueError(f'Two values were given for "{rest}" in one call.', path=rest)
                given.add(rest)
                self._assign_leaf(rest, each)

    def append(
        self, path: str, value: Any, step: Any, timestamp: Any, name: str | None = None, description: str | None = None
    ) -> None:
        """Append a value, or each value of a dict to a path below, all with the same step and time."""
        is_plain = timestamp is name is description is None
        if type(value) is dict and len(value) >= LEAST_MANY and is_plain and self._append_many(path, value, step):
            return
        if step is None and type(value) is dict:
            self._find_last_steps(path, value)
        for leaf, given in self._leaves(path, value):
            for rest, item in ((leaf, given),) if given.__class__ is float else _converted(leaf, given):
                self._attempt(rest, self._plan_append, self._known(rest), item, step, timestamp, name, description)

    def _find_last_steps(self, path: str, values: dict[Any, Any]) -> None:
        """Find the last steps of stored series below a path by one look at the run, for those that have none yet.

        After a resume each of them would look at the whole journal by itself.
        """
        known = (self._session.tree.get(f"{path}/{name}") for name in values)
        waiting = [each for each in known if isinstance(each, Series) and each.last is None and not each.is_new]
        if len(waiting) > 1:
            with self._session.reader.moment():
                for series in waiting:
                    series.find_last_step()

    def _append_many(self, path: str, values: dict[Any, Any], step: Any) -> bool:
        """Begin many float series, each with a point; False, and nothing planned, where one of them needs a look."""
        session, tree = self._session, self._session.tree
        names, numbers = [*values], [*values.values()]
        if session.is_read_only or session.has_limits or not path or path.partition("/")[0] == "sys":
            return False
        if {*map(type, names)} != {str} or {*map(type, numbers)} != {float} or not paths.are_plain(names):
            return False
        if not (step is None or (type(step) is int and SMALLEST <= step <= LARGEST)) or self._known(path) is not None:
            return False
        places = [f"{path}/{name}" for name in names]
        if max(map(len, places)) > paths.LONGEST // 4 or not tree.takes(places):
            return False
        last = 0 if step is None else step
        self._rows.append((len(self._changes), (numbers, [last] * len(places), [clock.now()] * len(places))))
        for place in places:
            series = FloatSeries(session, place)
            series.last = last
            tree.put(place, series)
            self._new.append(place)
            self._fields.append(series)
            self._changes.append(Change(place, series.kind, (Define(0, place, False),)))
        return True

    def extend(self, path: str, values: Any, steps: Any, timestamps: Any) -> None:
        """Append several values, or those in each collection of a dict; without values nothing happens."""
        # Once for all series of a dict: a generator can be read only once.
        steps = None if steps is None else convert.collection(path, steps)
        timestamps = None if timestamps is None else convert.collection(path, timestamps)
        if steps is None and type(values) is dict:
            self._find_last_steps(path, values)
        for leaf, item in self._leaves(path, values):
            items = convert.collection(leaf, item)
            # Several values are all or none, so the first that no field accepts raises. A single one is left out with
            # a warning, as by `append`.
            if len(items) > 1:
                self._extend_leaf(leaf, items, steps, timestamps)
            elif items:
                self._attempt(leaf, self._plan_extend, self._known(leaf), items, steps, timestamps)
            else:
                check_lengths(leaf, 0, **{k: len(v) for k, v in (("steps", steps), ("timestamps", timestamps)) if v})

    def log(
        self, path: str, value: Any, step: Any, timestamp: Any, name: str | None = None, description: str | None = None
    ) -> None:
        """Append a value or, where it is a collection, each of its items."""
        if step is None and type(value) is dict:
            self._find_last_steps(path, value)
        for leaf, item in self._leaves(path, value):
            self._attempt(leaf, self._plan_log, self._known(leaf), item, step, timestamp, name, description)

    def add_tags(self, path: str, values: Any) -> None:
        """Add tags to a set; other paths take none."""
        known = self._known(path) or (self._make(path, StringSet.kind) if path in TAG_PATHS else None)
        if known is None or (isinstance(known, String) and known.holds_none()):
            self._attempt(path, _refuse_tags, values)
        elif isinstance(known, StringSet):
            self.add(known, known.plan_add, values)
        else:
            known.refuse("add")

    def configure(self, path: str, low: Any, high: Any, unit: Any) -> None:
        """Describe the axis of a float series, which may be a new one."""
        series = self._field(path, FloatSeries, "configure")
        self._session.require_writable(path)
        self._keep(series, series.plan_configure(low, high, unit))

    def upload(self, path: str, file: FileRef) -> None:
        """Replace the content of a file field, which may be a new one."""
        field = self._field(path, FIELDS[FileRef.kind], "upload")
        self.add(field, field.plan_assign, file)

    def upload_files(self, path: str, files: dict[str, FileRef]) -> None:
        """Add files to a set, which may be a new one."""
        field: Any = self._field(path, FIELDS[types.FileSet.kind], "upload_files")
        self.add(field, field.plan_upload, files)

    def track_files(self, path: str, files: Iterable[TrackedFile]) -> None:
        """Add tracked files to an artifact, which may be a new one."""
        field: Any = self._field(path, FIELDS[types.Artifact.kind], "track_files")
        self.add(field, field.plan_track, files)

    def add(self, field: Field, plan: Callable[P, Change], *arguments: P.args, **options: P.kwargs) -> None:
        """Add the change that a plan of a field returns. A file that the disk does not take is left out."""
        self._watch(field)
        self._attempt(field.path, _called, field, plan, arguments, options)

    # The end

    def commit(self) -> None:
        """Write the planned changes."""
        if not self._changes:
            return
        session = self._session
        if session.is_stopped:  # meanwhile, by another thread
            session.require_active()
        if session.is_read_only:
            self.roll_back()
            session.decline()
            return
        self._moved.clear()  # steps of a write that fails are not given again: part of it may have arrived
        writer = session.writer
        written = writer.write(self._changes)
        # The ops are in the journal, and other processes may have read them: nothing is rolled back any more.
        self._new.clear()
        self._vacated.clear()
        # Points follow their ops: a fold that meets a record before the `Define` of its number cannot tell its path.
        for change in written:
            if change.content:
                self.unused.difference_update(change.content)
            if change.points is not None and change.points.values:
                writer.points(change.number, *change.points)
        for start, (values, steps, times) in self._rows:
            writer.point_row([change.number for change in written[start : start + len(values)]], values, steps, times)
        for field, change in zip(self._fields, written, strict=True):
            field.applied(change, writer)

    def roll_back(self) -> None:
        """Take new fields out of the tree again, and give back the steps that no other thread has built upon."""
        while self._new:
            self._session.tree.remove(self._new.pop())
        while self._vacated:
            field = self._vacated.pop()
            self._session.tree.put(field.path, field)
        for series, (before, after) in self._moved.items():
            # Another thread may have appended in between and built on the steps that this plan took. Then they are
            # left out, since a gap is harmless and a step that is given twice is not.
            if series.mark() == after:
                series.reset(before)

    # Plans of one path: each returns a field, known or new, and the checked change of it

    def _plan_list(self, path: str, known: Field | None, value: Any) -> Planned:
        """Keep a list as one text."""
        field = known or self._make(path, String.kind)
        return field, field.plan_assign(convert.written(path, value))

    def _plan_assign(self, path: str, known: Field | None, value: Any) -> Planned:
        # An assigned None is a String that may be replaced by any kind later, as it said nothing about the kind.
        if value is None:
            known = known or self._make(path, String.kind)
        if known is not None:
            return known, known.plan_assign(value.value if isinstance(value, Atom) else value)
        if isinstance(value, Value) and not isinstance(value, Atom):
            field = self._make(path, value.kind)
            return field, field.plan_assign(value)
        scalar = convert.scalar(path, value.value if isinstance(value, Atom) else value)
        if isinstance(value, Atom):
            field = self._make(path, value.kind)
            return field, field.plan_assign(scalar)
        kind = convert.kind_of(scalar)
        field = self._make(path, kind)
        if isinstance(scalar, bool | int | float):  # they are stored as they are
            return field, field.change(Assign(path, kind, scalar))
        return field, field.plan_assign(scalar)

    def _plan_append(
        self, path: str, known: Field | None, value: Any, step: Any, timestamp: Any, name: Any, description: Any
    ) -> Planned:
        series = self._series(path, known, value, "append")
        return series, series.plan_append(value, step, timestamp, name, description)

    def _plan_extend(self, path: str, known: Field | None, items: list[Any], steps: Any, timestamps: Any) -> Planned:
        series = self._series(path, known, items[0], "extend")
        return series, series.plan_extend(items, steps, timestamps)

    def _plan_log(
        self, path: str, known: Field | None, value: Any, step: Any, timestamp: Any, name: Any, description: Any
    ) -> Planned:
        series = self._series(path, known, next(iter(convert.collection(path, value)), None), "log")
        return series, series.plan_log(value, step, timestamp, name, description)

    def _assign_leaf(self, path: str, value: Any) -> None:
        self._refuse_root(path)
        known = self._known(path)
        given = value.value if isinstance(value, StringifyValue) else value
        if given is None and (path.startswith("sys/") or not isinstance(known, String | None)):
            self._leave_out(path, _ignored_none(path, known))
            return
        if given is None:
            value = None
        elif isinstance(given, list | tuple) and isinstance(known, String | None) and path not in TAG_PATHS:
            self._attempt(path, self._plan_list, known, value)
            return
        elif isinstance(known, String) and not isinstance(convert.plain_or_none(given), str) and known.holds_none():
            self._vacate(known)
            known = None
        if known is None and (isinstance(value, StringSetValue) or path in TAG_PATHS):
            self.add_tags(path, value)
        else:
            self._attempt(path, self._plan_assign, known, value)

    def _extend_leaf(self, path: str, items: list[Any], steps: Any, timestamps: Any) -> None:
        """Append several values: all, or none if one of them is unsupported, which then raises."""
        self._session.require_writable(path)
        try:
            series = self._series(path, self._known(path), items[0], "extend")
        except UnsupportedValue as problem:
            self._leave_out(path, problem)
            return
        try:
            change = series.plan_extend(items, steps, timestamps)
        except StorageError as problem:
            self._session.skip_file(path, problem, self._wait)
        else:
            self._keep(series, change)

    def _attempt(
        self, path: str, plan: Callable[Concatenate[str, P], Planned], *arguments: P.args, **options: P.kwargs
    ) -> None:
        """Keep the change that a plan returns. A value that no field accepts is left out with one warning a path."""
        # The session asks for the rest of the rule; this keeps a call from every write to a user's path.
        if path.startswith("sys/"):
            self._session.require_writable(path)
        try:
            field, change = plan(path, *arguments, **options)
        except UnsupportedValue as problem:
            self._leave_out(path, problem)
        except StorageError as problem:
            self._session.skip_file(path, problem, self._wait)
        except (NaiadError, Warning, OSError):
            raise
        except Exception as problem:  # noqa: BLE001 (code of the value's library: no object may end the training)
            self._leave_out(path, convert.unsupported(path, Unreadable(f"reading it raised {named(problem)}")))
        else:
            self._keep(field, change)

    def _keep(self, field: Field, change: Change) -> None:
        if not change.ops and change.points is None:
            return  # it does nothing, so it makes no field either
        tree, path = self._session.tree, field.path
        known = tree.get(path)
        if known is None:
            try:
                tree.check(path)
            except FieldConflict:
                above = tree.above(path)
                if not (isinstance(above, String) and above.holds_none()):
                    raise
                self._vacate(above)
            tree.put(path, field)
            self._new.append(path)
        # Another thread has removed the field and defined one anew between the look-up and here. Writing to the old
        # number would put points under a path that belongs to another field.
        elif known is not field:
            raise FieldConflict(
                f'"{path}" was replaced by another field in the meantime.\nWrite to it through the run: run[{path!r}].',
                path=path,
            )
        self._fields.append(field)
        self._changes.append(change)
        self.unused.update(change.content)
        # The state before stays that of the first plan: one verb may plan several changes of one series.
        if field in self._moved:
            self._moved[field] = (self._moved[field][0], field.mark())

    def _leave_out(self, path: str, problem: UnsupportedValue) -> None:
        if self._session.is_strict:
            raise problem
        self.left_out.append((path, problem))

    def warn(self) -> None:
        """Warn once of all values that this call left out."""
        known = self._session.left_out
        new = []
        for path, problem in self.left_out:
            kinds = known.setdefault(path, set())
            if type(problem.value) not in kinds and len(kinds) < MOST_OF_A_PATH:
                kinds.add(type(problem.value))
                new.append((path, problem))
        if new:
            first_one = str(new[0][1])
            message = f"{first_one}\nIt was left out." if len(new) == 1 else _about_many(new, first_one)
            warn_once((self._session.key, new[0][0], type(new[0][1].value)), message, UnsupportedValueWarning)

    # Fields

    def _leaves(self, path: str, value: Any) -> list[tuple[str, Any]]:
        """Return the values in a dict or structured object, or the value itself, each with its path."""
        # By far the most frequent values; they skip the search for structures, which asks objects about themselves.
        if type(value) in PLAIN:
            if not path:
                self._refuse_root(path)
            return [(path, value)]
        found = leaves(value, path)
        if len(found) != 1 or found[0][0] != path:
            known = self._known(path)
            if isinstance(known, String) and known.holds_none():
                self._vacate(known)
            elif known is not None:
                raise FieldConflict(
                    f'"{path}" is {with_article(known)}, so a dict cannot be written to it.\n'
                    f"Use another path, or remove the field first with run.pop({path!r}).",
                    path=path,
                )
        elif not path and as_mapping(value) is None:
            self._refuse_root(path)
        readable = []
        for leaf, item in found:
            if isinstance(item, Unreadable):
                self._leave_out(leaf, convert.unsupported(leaf, item))
            else:
                readable.append((leaf, item))
        return readable

    def _series(self, path: str, known: Field | None, first: Any, verb: str) -> Series:
        """Return the series at a path, or a new one of the kind that its first value chooses."""
        if known is None:
            kind = FloatSeries.kind if type(first) is float else _series_kind(path, first)
            known = FIELDS[kind](self._session, path)
        if isinstance(known, String) and known.holds_none():
            self._vacate(known)
            return self._series(path, None, first, verb)
        if not isinstance(known, Series):
            known.refuse(verb)
        return known

    def _field(self, path: str, made_of: type[F], verb: str) -> F:
        """Return the field at a path, or a new one, for a verb that only one kind has."""
        field = self._known(path)
        if isinstance(field, String) and field.holds_none():
            self._vacate(field)
            field = None
        field = field or self._make(path, made_of.kind)
        if not isinstance(field, made_of):
            field.refuse(verb)
        return field

    def _known(self, path: str) -> Field | None:
        known = self._session.tree.get(path)
        # Once a transaction: a dict of a thousand new keys would otherwise read the kinds of all peers a thousand
        # times.
        if known is None and not self._has_refreshed:
            self._has_refreshed = True
            self._session.refresh_before_define()
            known = self._session.tree.get(path)
        if known is not None:
            self._watch(known)
        return known

    def _make(self, path: str, kind: str) -> Field:
        self._refuse_root(path)
        return FIELDS[kind](self._session, path)

    def _vacate(self, field: Field) -> None:
        """Remove an assigned None, because something else takes its path."""
        self._session.tree.remove(field.path)
        self._vacated.append(field)
        self._fields.append(field)
        self._changes.append(Change(field.path, "", (Delete(field.path),)))

    def _watch(self, field: Field) -> None:
        """Remember where a series stands before a plan takes steps."""
        if isinstance(field, Series):
            mark = field.mark()
            self._moved.setdefault(field, (mark, mark))

    def _refuse_root(self, path: str) -> None:
        if not path:
            raise NaiadTypeError(f"Only a dict can be written to the root of {self._session.title}.\nGive a path too.")


def _called(
    _path: str, field: Field, plan: Callable[..., Change], arguments: tuple[Any, ...], options: dict[str, Any]
) -> Planned:
    return field, plan(*arguments, **options)


def _series_kind(path: str, first: Any) -> str:
    """Return the kind of series that a first value makes: one of files where no other takes it and a file can."""
    if isinstance(first, PointValue):
        return first.kind
    if isinstance(first, File | FileRef | PurePath):
        return types.FileSeries.kind
    try:
        return convert.series_kind_of(path, first)
    except UnsupportedValue:
        if File.is_convertable(first):
            return types.FileSeries.kind
        raise


def _ignored_none(path: str, known: Field | None) -> UnsupportedValue:
    if known is None or path.startswith("sys/"):
        return UnsupportedValue(f'"{path}" cannot be None, so it stays as it is.', path=path, value=None)
    return UnsupportedValue(
        f'"{path}" is {with_article(known)}, so None changes nothing there.\nTo remove it, use run.pop({path!r}).',
        path=path,
        value=None,
    )


def _about_many(new: list[tuple[str, UnsupportedValue]], first_one: str) -> str:
    return f"{left_out([path for path, _ in new])}\nThe first of them: {first_one}"


def _refuse_tags(path: str, values: object) -> NoReturn:
    raise UnsupportedValue(
        f'Tags can be added to "sys/tags" and "sys/group_tags" only, not to "{path}".\n'
        f"For texts elsewhere, use run[{path!r}].append(...).",
        path=path,
        value=values,
    )


def _converted(path: str, value: Any) -> list[tuple[str, Any]]:
    """Return a plugin's conversion of a value, leaf by leaf; the value itself if every plugin passes."""
    if isinstance(value, NOT_FOR_PLUGINS) or dimensions(value) == ():  # a scalar on a GPU: looking at it takes time
        return [(path, value)]
    if convert.plain_or_none(value) is not None:
        return [(path, value)]
    answer = first("naiad_convert", value=value)
    if answer is None:
        return [(path, value)]
    return flatten(answer, path) if isinstance(answer, Mapping) else [(path, answer)]
