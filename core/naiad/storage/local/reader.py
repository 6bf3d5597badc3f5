"""Reading a run: all queries of fields and commands, from any process, also while it is written."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain, repeat
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from naiad import rewinds
from naiad.container_kinds import RunId
from naiad.disk import Report, nothing
from naiad.errors import DamagedData, DamageWarning, FieldConflict, MissingField, NewerFormat
from naiad.kinds import ASPECTS, ATOMS, DERIVED, FILES, KINDS, MEMBERS, POINTS, SERIES, TAGS, TEXTS
from naiad.ops import Plain, Text
from naiad.refs import FileRef
from naiad.rewinds import Dated
from naiad.storage.catalog import Losses
from naiad.storage.local import files
from naiad.storage.local.index import derived
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.snapshot import Snapshot
from naiad.storage.local.index.states import FieldState, Series, shown_values, with_points, with_texts
from naiad.storage.local.journal.leases import Liveness, read_leases, read_taken
from naiad.storage.local.layout import RunDirectory
from naiad.storage.results import Chart, Damage, Joining, Last, PointPage, Points, Shadowed, TextPage, Texts

if TYPE_CHECKING:
    from naiad.storage.local.index.point_pages import PointPages
    from naiad.storage.local.index.points import Columns, Part
    from naiad.storage.local.index.text_pages import TextPages

T = TypeVar("T")
SIZE = "sys/size"
Refusal = Callable[[str, str, str], DamagedData]
Hidden = Callable[[str, Any, Any], Any]
"""Which of a writer's points a rewind hides, by their steps and times."""


class Reader:
    """One run, read. Everything acknowledged before a call is seen by it; safe to use from several threads."""

    def __init__(self, folder: RunDirectory) -> None:
        self.folder = folder
        self._view = Snapshot(folder)
        self._known_rewinds: tuple[object, list[Dated]] = (None, [])
        self._known_extents: dict[tuple[int, int], Any] = {}
        self._token = object()

    @property
    def run(self) -> RunId:
        """The run that is read."""
        return RunId(self.folder.uid, self.folder.kind)

    @property
    def damages(self) -> list[Damage]:
        """The damage found so far."""
        if self._view.unnoted:
            self._view.note_fields()
        return self._view.damages

    @property
    def folds(self) -> int:
        """How often the index had been changed when this reader last looked; 0 without one."""
        return self._view.folds

    @property
    def fields(self) -> int:
        """How many rows of fields were in the index then."""
        return self._view.fields

    @property
    def is_partial(self) -> bool:
        """Whether it has read only some of very many fields so far, and finds one without reading all."""
        return self._view.is_unread

    def refresh(self) -> None:
        """Load everything that was acknowledged to any process before this call.

        Raises:
            NewerFormat: a later release wrote the run.
            DamagedData: the index cannot be read at all.
        """
        self._view.refresh()

    def moment(self) -> AbstractContextManager[None]:
        """Return a context in which the calls of this thread share one look at the folder."""
        return self._view.moment()

    def projection(self) -> Projection:
        """The fields and writers of the run as they are now, to look at and not to change."""
        with self._view.current() as projection:
            return projection

    def kinds(self) -> dict[str, str]:
        """The kind of every field, by path; derived `sys/*` fields included."""
        with self._view.current(has_fields=False) as projection:
            kinds = self._view.read(self._view.unread_kinds) if self._view.is_unread else projection.kinds()
            return kinds | DERIVED

    def shadowed(self) -> list[Shadowed]:
        """Fields that are kept but not shown: two processes defined conflicting fields, these the later."""
        with self._view.current() as projection:
            return projection.shadowed()

    def value(self, path: str) -> Plain:
        """The stored value of an atom.

        Raises:
            MissingField: there is none at this path.
            DamagedData: it is not as it was written.
        """
        return self.atom(path)[1]

    def values(self, prefix: str = "") -> dict[str, Plain]:
        """The stored values of all atoms below a namespace, in one pass; derived ones included."""
        return {path: value for path, (_kind, value) in self.atoms(prefix).items()}

    def atom(self, path: str) -> tuple[str, Plain]:
        """Kind and stored value of an atom; of other fields the kind, and None.

        Raises:
            MissingField: there is none at this path.
            DamagedData: it is not as it was written.
        """
        if path in DERIVED:
            return DERIVED[path], self._derived(path)[path]
        state = self._view.read(partial(self._found, path))
        return state.kind, state.value

    def atoms(self, prefix: str = "") -> dict[str, tuple[str, Plain]]:
        """Kind and stored value of all atoms below a namespace, in one pass; derived ones included."""
        with self._view.current() as projection:
            inside = prefix + "/" if prefix else ""
            found = projection.visible(inside).items()
            if projection.damages:
                self._view.note_fields()
            refused = self._view.refused
            atoms = {
                path: (state.kind, state.value) for path, state in found if state.kind in ATOMS and path not in refused
            }
            # Derived fields need the leases, so that they are looked at only where the namespace has them.
            own = derived.values(projection, self.folder) if "sys/".startswith(inside) else {}
            return {**atoms, **{path: (DERIVED[path], value) for path, value in own.items()}}

    def tags(self, path: str) -> set[str]:
        """The strings of a string set.

        Raises:
            MissingField: there is none at this path.
            FieldConflict: it is of another kind.
        """
        return {_text(tag) for tag in self._view.read(partial(self._found, path, TAGS)).tags}

    def members(self, path: str) -> dict[str, str]:
        """The files of a file set, as stored, by their names.

        Raises:
            MissingField: there is none at this path.
            FieldConflict: it is of another kind.
        """
        return self._view.read(partial(self._found, path, MEMBERS)).members

    def resolve(self, name: str) -> str:
        """The name under which stored content is found now: its sha256, or the name under which it came in."""
        return self._view.resolve(name)

    def digest(self, file: FileRef) -> str:
        """The SHA-256 of the content of a stored file; the name under which it came in while it was not hashed yet."""
        return file.moved(self.resolve(file.blob)).digest()

    def read_file(self, file: FileRef) -> bytes:
        """The content of a stored file, checked.

        Raises:
            DamagedData: it is missing, or its bytes differ from those stored.
        """
        return files.read_stored(self, file)

    def link(self, file: FileRef) -> str:  # noqa: ARG002 (of the interface)
        """Return nothing: the files of a folder have no address that others can use."""
        return ""

    def open_file(self, file: FileRef, *, is_checked: bool = False) -> BinaryIO:
        """The content of a stored file to read; `is_checked`: damage raises at its end.

        Raises:
            DamagedData: it is missing.
        """
        return files.open_stored(self, file, is_checked=is_checked)

    def copy_file(self, file: FileRef, destination: Path, report: Report = nothing) -> None:
        """Make a file with the content of a stored one, checked. It appears whole or not at all.

        Raises:
            DamagedData: the content is missing, or differs from the stored bytes.
            OSError: the destination cannot be written.
        """
        files.copy_to(self, file, destination, report)

    def config(self, path: str) -> tuple[float | None, float | None, str | None]:
        """Chart minimum, maximum and unit of a float series.

        Raises:
            MissingField: there is none at this path.
            FieldConflict: it is of another kind.
        """
        return self._view.read(partial(self._found, path, POINTS)).config

    def state(self) -> str:
        """running, finished, failed, terminated, killed or unknown."""
        with self._view.current(has_fields=False) as projection:
            return derived.run_state(projection, derived.writers(projection, self.folder))

    def joining(self) -> Joining:
        """Return session and time of a writer that comes now."""
        with self._view.current(has_fields=False) as projection:
            session = max((writer.session for writer in projection.writers.values()), default=0)
            # A writer that joins others goes on with their session; one that comes after them begins the next.
            is_alive = any(each.is_alive for each in derived.writers(projection, self.folder).values())
            at = max((writer.at for writer in projection.writers.values()), default=0.0)
        return Joining(session if is_alive else session + 1, at)

    def writers(self) -> dict[str, Liveness]:
        """Return the writers without an end, with the facts of each."""
        with self._view.current(has_fields=False) as projection:
            return derived.writers(projection, self.folder)

    def candidates(self) -> dict[str, Liveness]:
        """Return the writers that may write the run again unless they are dead.

        Either no op records their end, or they were only declared dead. Of a run that is too damaged for their ops
        to be read, those with a lease.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamageWarning)  # reading the run says it
            try:
                known = self.writers()
            except (DamagedData, NewerFormat):
                known = read_leases(self.folder.journal)
        return {**read_taken(self.folder.journal), **known}

    def is_incomplete(self) -> int:
        """How many points and ops could not be stored."""
        with self._view.current(has_fields=False) as projection:
            return _dropped(projection)

    def rewinds(self) -> list[Dated]:
        """Return the rewinds of the run with their times."""
        return self._view.read(self._rewinds)

    def _rewinds(self) -> list[Dated]:
        state = self._view.at(rewinds.PATH)
        if state is None:
            return []
        from naiad.storage.local.index import series

        # Decoding the rewinds for each of a thousand series would be most of the time of a table; these numbers
        # change with each new one.
        key = (self.folds, id(self._view.projection), sum(map(len, state.texts.values())), state.series.count)
        if self._known_rewinds[0] != key:
            _steps, texts, times = series.read_texts(state, self._view.rows(state, "chunks"), self._view.damage)
            self._known_rewinds = (key, rewinds.decode(zip(texts, times, strict=True)))
        return self._known_rewinds[1]

    def _hidden(self, state: FieldState, include_rewound: bool = False) -> Hidden | None:
        """Return a test for points of a series that rewinds hide; None without any."""
        if include_rewound or rewinds.PATH not in self._view.sys:
            return None
        found = [each for each in self._rewinds() if each.rewind.concerns(state.path)]
        projection = self._view.projection

        def is_hidden(writer: str, steps: Any, times: Any) -> Any:
            session, hidden = projection.writer_of(writer).session, steps != steps
            for rewind, at in found:
                # Points of earlier sessions are hidden whatever their time: clocks of two machines may differ.
                if session < rewind.session:
                    hidden = hidden | (steps > rewind.step)
                elif writer != rewind.writer or not rewind.is_first:
                    hidden = hidden | ((steps > rewind.step) & (times <= at))
            return hidden

        return is_hidden if found else None

    def _points(
        self, state: FieldState, include_rewound: bool = False, *, needs_times: bool = True
    ) -> tuple[Columns, bool]:
        """Return the points of a float series, and whether other calls share the arrays."""
        from naiad.storage.local.index import point_cache, series

        is_hidden = self._hidden(state, include_rewound)
        if is_hidden is not None:
            return series.shown_points(*self._parts(state), is_hidden=is_hidden), False

        def read(is_kept: bool) -> Columns:
            return series.read_points(*self._parts(state), needs_times=needs_times or is_kept)

        return point_cache.CACHE.columns((self._token, state.path), self._view.version(), read)

    def points(self, path: str, *, include_rewound: bool = False) -> Points:
        """All points of a float series, those that a rewind hides on request.

        Raises:
            MissingField: there is none at this path.
            DamagedData: some of them are not as they were written.
        """

        def find(state: FieldState) -> Points:
            from naiad.storage.local.index import point_cache, series

            key = self._token, state.path
            # Asked here too: a run without rewinds, as nearly all are, reads its points by the short way.
            if key in point_cache.CACHE.known or rewinds.PATH in self._view.sys:
                found, is_shared = self._points(state, include_rewound)
                # The caller may change what it gets, as the offset of the time zone is added in place.
                return Points(*(column.copy() for column in found) if is_shared else found)
            found = series.read_points(*self._parts(state))
            if len(found.values) >= point_cache.FEW:
                point_cache.CACHE.note(key, self._view.version())
            return Points(*found)

        return self._series(path, find, POINTS)

    def point_page(self, path: str, start: int, limit: int) -> PointPage:
        """Some points of a float series by their numbers; a negative one counts from the end.

        Raises:
            MissingField: there is none at this path.
            DamagedData: some of them are not as they were written.
        """

        def find(state: FieldState) -> PointPage:
            if self._hidden(state) is not None:
                return PointPage.of(Points(*self._points(state)[0]), start, limit)
            return self._point_pages(state).page(start, limit)

        return self._series(path, find, POINTS)

    def point_place(self, path: str, step: float, *, is_after: bool = False) -> int:
        """The number of the first point at or after a step, or only after it.

        Raises:
            MissingField: there is none at this path.
            DamagedData: some of its points are not as they were written.
        """

        def find(state: FieldState) -> int:
            if self._hidden(state) is not None:
                return int(self._points(state)[0].steps.searchsorted(step, "right" if is_after else "left"))
            return self._point_pages(state).place(step, is_after=is_after)

        return self._series(path, find, POINTS)

    def point_range(self, path: str, start: float | None, stop: float | None, most: int) -> PointPage | None:
        """Return the points in a range of steps, with one on either side; None if more than `most` lie in it.

        Raises:
            MissingField: there is none at this path.
            DamagedData: some of its points are not as they were written.
        """

        def find(state: FieldState) -> PointPage | None:
            if self._hidden(state) is not None:
                return None
            pages = self._point_pages(state)
            if not pages.is_apart:
                return None
            first = 0 if start is None else pages.place(start)
            end = pages.total if stop is None else pages.place(stop, is_after=True)
            begin = max(0, first - 1)
            return None if end - first > most else pages.page(begin, end + 1 - begin)

        return self._series(path, find, POINTS)

    def _point_pages(self, state: FieldState) -> PointPages:
        from naiad.storage.local.index.point_pages import PointPages

        fetch = partial(self._view.rows, state, "chunks")
        return PointPages(*self._parts(state, "chunk_heads"), fetch=fetch, known=self._known_extents)

    def texts(self, path: str, *kinds: str, include_rewound: bool = False) -> Texts:
        """All points of a string series; of a file series each text is a file as stored.

        Raises:
            MissingField: there is none at this path.
            FieldConflict: it is of another kind.
            DamagedData: some of them are not as they were written.
        """
        return self._series(path, lambda state: self._texts(state, include_rewound), *(kinds or TEXTS))

    def _texts(self, state: FieldState, include_rewound: bool = False) -> Texts:
        from naiad.storage.local.index import series

        rows, is_hidden = self._view.rows(state, "chunks"), self._hidden(state, include_rewound)
        return Texts(*series.read_texts(state, rows, self._view.damage, is_hidden))

    def text_page(self, path: str, start: int, limit: int, *kinds: str) -> TextPage:
        """Some entries of a string series by their numbers; a negative one counts from the end.

        Raises:
            MissingField: there is none at this path.
            FieldConflict: it is of another kind.
            DamagedData: some of them are not as they were written.
        """

        def find(state: FieldState) -> TextPage:
            if self._hidden(state) is None:
                return self._pages(state).page(start, limit)
            texts = self._texts(state)
            total = len(texts.steps)
            first = max(0, total + start) if start < 0 else min(start, total)
            rows = slice(first, first + limit)
            return TextPage(total, first, texts.steps[rows], texts.texts[rows], texts.times[rows])

        return self._series(path, find, *(kinds or TEXTS))

    def text_place(self, path: str, *, step: float | None = None, time: float | None = None) -> int:
        """The number of the first entry at or after a step, or else a time in milliseconds.

        Raises:
            MissingField: there is none at this path.
            DamagedData: some of them are not as they were written.
        """

        def find(state: FieldState) -> int:
            if self._hidden(state) is None:
                return self._pages(state).place(step=step, time=time)
            texts = self._texts(state)
            given, wanted = (texts.steps, step) if step is not None else (texts.times, time)
            return next((n for n, each in enumerate(given) if wanted is None or each >= wanted), len(given))

        return self._series(path, find, *TEXTS)

    def _pages(self, state: FieldState) -> TextPages:
        from naiad.storage.local.index.text_pages import TextPages

        return TextPages(state, self._view.rows(state, "chunks"), self._view.damage)

    def aspects(self, path: str) -> Sequence[float | None]:
        """Last, min, max, average and variance of a float series.

        Raises:
            MissingField: there is none at this path.
            FieldConflict: it is of another kind.
        """

        def find(state: FieldState) -> Sequence[float | None]:
            facts = self._facts(state)
            if not facts.finite:
                return [facts.last_value, *([None] * (len(ASPECTS) - 1))]  # type: ignore[list-item]  # a number, by its kind
            return [facts.last_value, facts.minimum, facts.maximum, facts.mean, facts.variance]  # type: ignore[list-item]  # likewise

        return self._series(path, find, POINTS)

    def states(self, kinds: Collection[str]) -> list[tuple[FieldState, list[str]]]:
        """Every field of these kinds, shadowed ones too, and the texts of those that are series; all at one moment.

        Raises:
            DamagedData: some of them are not as they were written.
        """
        return self._view.states(kinds)

    def chart(self, path: str, buckets: int = 1000, *, start: float | None = None, stop: float | None = None) -> Chart:
        """A float series in at most about `buckets` stretches; no spike is lost, and long series are not decoded.

        Steps `start` and `stop`: those before and after them may be in fewer stretches, of coarser pyramids.

        Raises:
            MissingField: there is none at this path.
            DamagedData: some of its points are not as they were written.
        """
        from naiad.storage.local.index import series

        is_part = start is not None or stop is not None

        def draw(state: FieldState) -> Chart:
            # Pyramids have 256 points an item, so they serve only where a bucket is at least that wide; and they know
            # of no rewind.
            if state.series.count >= buckets * series.DECODED_PER_BUCKET and self._hidden(state) is None:
                tail = self._view.tail_of(state)
                is_coarse = state.series.count >= buckets * series.COARSE_PER_BUCKET
                rows = self._view.rows(state, "coarse_pyramids" if is_coarse or is_part else "pyramids")
                if not is_coarse and is_part:
                    rows = self._finer(state, rows, start, stop)
                # Nearly always the last few points that were folded; more of them do not make it worth while.
                scattered = state.pieces - sum(row.pieces for row in rows)
                packs = self._view.rows(state, "packs") if 0 < scattered <= len(rows) else []
                shares = series.read_shares(state, packs, self._view.damage)
                heights = series.read_heights(state, rows, shares, tail, buckets, self._view.damage)
                if heights is not None:
                    return Chart(*heights)
            return Chart(*series.cut(self._points(state, needs_times=False)[0], buckets))

        return self._series(path, draw, POINTS)

    def _finer(self, state: FieldState, rows: list[Any], start: float | None, stop: float | None) -> list[Any]:
        """Return rows of pyramids, with those of the chunks where coarser ones reach into a range of steps.

        Raises:
            DamagedData: a pyramid is not as it was written.
        """
        from naiad.storage.local.index import series

        inside = series.coarse_within(state, rows, start, stop, self._view.damage)
        if inside is None:
            return rows
        first, last, numbers = inside
        return [*rows[:first], *self._view.rows(state, "pyramids", numbers), *rows[last + 1 :]]

    def last(self, path: str, *kinds: str) -> Last | None:
        """The last point of a series, None of an empty one.

        Raises:
            MissingField: there is none at this path.
            FieldConflict: it is of another kind.
        """

        def find(state: FieldState) -> Last | None:
            facts = self._facts(state)
            if facts.last_step is None or facts.last_time is None:
                return None
            if facts.last_value is None:  # a text too long to be remembered in its field's row
                page = self.text_page(path, -1, 1, *kinds)
                return Last(page.steps[-1], page.texts[-1], page.times[-1])
            value = facts.last_value
            return Last(facts.last_step, _text(value) if isinstance(value, (str, bytes)) else value, facts.last_time)

        return self._series(path, find, *kinds)

    def facts(self, path: str) -> Series:
        """Count, minimum, maximum, sum and last point of a series, without reading it.

        Raises:
            MissingField: there is none at this path.
        """
        return self._series(path, self._facts)

    def shown(self, looked: dict[str, Liveness] | None = None) -> tuple[Iterable[tuple[str, str, Any]], Losses]:
        """Path, kind and value of each field that is shown and whole, and the losses of the run.

        The values are those of `shown_values` and of derived fields. All of it is of one moment, for a row of the
        catalog: one look at the folder serves the whole row. `looked` has the signs of life of the writers, if they
        were looked at just before.
        """

        def find() -> tuple[Any, ...]:
            summed = self._view.summed() if self._view.is_unread and not self._view.damages else None
            if summed is not None:
                aspects, projection, states = summed
                whole = [(state, self._known_facts(state, set()) if state.kind in SERIES else None) for state in states]
                losses = Losses((), _dropped(projection))
                return aspects, whole, losses, [], projection, derived.values(projection, self.folder, looked)
            projection = self._view.projection
            dropped = _dropped(projection)
            whole, damaged, has_files = self._whole()
            lost: list[str] = []
            stored = self._view.states_now(FILES, lost) if has_files else []
            whole = [each for each in whole if each[0].path not in lost] if lost else whole
            losses = Losses((*dict.fromkeys((*damaged, *lost)),), dropped)
            return {}, whole, losses, stored, projection, derived.values(projection, self.folder, looked)

        aspects, whole, losses, stored, projection, values = self._view.read(find)
        # Outside the look at the folder: adding up the sizes of files may take long, and would be repeated with each
        # fold.
        values[SIZE] += self._bytes_elsewhere(stored, projection.resolve)
        found: list[tuple[str, str, Any]] = []
        for path, kind in DERIVED.items():
            found.append((path, kind, values[path]))
        for (state, facts), value in zip(whole, shown_values(whole), strict=True):
            try:
                if facts is not None and facts.count and (value is None or facts.spread is None):
                    value = self._completed(state, facts, value)
                found.append((state.path, state.kind, value))
            except DamagedData:
                losses = losses._replace(damaged=(*losses.damaged, state.path))
        # One by one, since the search for reference cycles would look at the rows of 100,000 series again and again.
        return chain(found, zip(aspects, repeat(POINTS), aspects.values())) if aspects else found, losses

    def _whole(self) -> tuple[list[tuple[FieldState, Series | None]], list[str], bool]:
        """All fields that are shown and whole, each series with its facts; damaged paths; whether there are files."""
        projection = self._view.projection
        short = None if "numpy" in sys.modules else self._view.short_tail()
        tail = self._view.tail() if short is None else None
        late = short.owners() if short else tail.owners(projection) if tail else set()
        found: list[tuple[FieldState, Series | None]] = []
        shown = projection.visible().items()
        if projection.damages:
            self._view.note_fields()
        refused = self._view.refused
        damaged = [*filter(None, refused)]
        has_files = False
        for path, state in shown:
            if path in DERIVED or path in refused:
                continue
            has_files = has_files or state.kind in FILES
            try:
                found.append((state, self._known_facts(state, late) if state.kind in SERIES else None))
            except DamagedData:
                damaged.append(path)
        # Damage of which the field is not known may concern any of them.
        if self._view.damages and not damaged:
            damaged.append("")
        return found, damaged, has_files

    def _completed(self, state: FieldState, facts: Series, value: Any) -> Any:
        """The value of a series, with the parts that are not remembered in its field's row."""
        row = KINDS[state.kind]
        if value is None and row.has_value:  # a text that is too long for that
            return self.text_page(state.path, -1, 1).texts[0]
        if row.aspects and facts.spread is None and facts.finite:  # of an index without the variance
            import numpy as np

            values = self.points(state.path).values
            return [*value[:-1], float(np.var(values[np.isfinite(values)]))]
        return value

    def _bytes_elsewhere(self, stored: list[tuple[FieldState, list[str]]], resolve: Callable[[str], str]) -> float:
        """How many bytes the run has outside its folder, `stored` its fields of files."""
        return files.stored_bytes(stored, resolve) if stored else 0

    def counts(self) -> dict[str, int]:
        """How many points each series has, by path."""
        return {state.path: facts.count for state, facts in self._view.read(self._whole)[0] if facts is not None}

    def count(self, path: str) -> int:
        """How many points a series has.

        Raises:
            MissingField: there is none at this path.
        """
        return self.facts(path).count

    def _found(self, path: str, *kinds: str) -> FieldState:
        state = self._view.at(path)
        if self._view.unnoted:
            self._view.note_fields()
        damage = self._view.refused.get(path)
        if damage is not None:
            raise self._view.damage(path, damage.file, damage.what)
        if state is None:
            raise MissingField(f'The run in {self.folder.path} has no field "{path}".', path=path)
        if kinds and state.kind not in kinds:
            raise FieldConflict(
                f'"{path}" is of kind {state.kind} now, and was to be read as {" or ".join(sorted(kinds))}.', path=path
            )
        return state

    def _series(self, path: str, read: Callable[[FieldState], T], *kinds: str) -> T:
        return self._view.read(lambda: read(self._found(path, *(kinds or SERIES))))

    def _parts(
        self, state: FieldState, table: str = "chunks"
    ) -> tuple[FieldState, list[Any], list[Columns], list[Part], Refusal]:
        from naiad.storage.local.index.series import read_shares

        chunks = self._view.rows(state, table)
        # A series in chunks alone, the usual long one, needs no look at the packs, which hold others too.
        is_all = sum(map(attrgetter("count"), chunks)) == state.series.count
        shares = [] if is_all else read_shares(state, self._view.rows(state, "packs"), self._view.damage)
        return state, chunks, shares, self._view.tail_of(state), self._view.damage

    def _facts(self, state: FieldState) -> Series:
        """The facts of a series with its tail, without the points that rewinds hide."""
        if rewinds.PATH in self._view.sys and self._hidden(state) is not None:
            from naiad.storage.local.index.series import shown_facts, shown_text_facts

            return (
                shown_facts(self._points(state)[0]) if state.kind == POINTS else shown_text_facts(*self._texts(state))
            )
        if state.kind == POINTS:
            return with_points(state, self._view.tail_facts(state))
        return with_texts(state)

    def _known_facts(self, state: FieldState, late: set[int]) -> Series:
        is_more = state.kind in TEXTS or id(state) in late or id(state) in self._view.left
        is_more = is_more or rewinds.PATH in self._view.sys
        return self._facts(state) if is_more else state.series

    def _derived(self, path: str = SIZE) -> dict[str, Any]:
        """Return the derived fields; the size, which looks at every file, is whole only if it is asked for."""
        with self._view.current(has_fields=False) as projection:
            found = derived.values(projection, self.folder)
        if path == SIZE:
            # Of a field that is damaged the size is not known, which its own reading says.
            found[SIZE] += self._bytes_elsewhere(self._view.states(FILES, []), self._view.resolve)
        return found


def _dropped(projection: Projection) -> int:
    return sum(writer.dropped_points + writer.dropped_ops for writer in projection.writers.values())


def _text(text: Text) -> str:
    return text.decode("utf-8", "surrogatepass") if isinstance(text, bytes) else text
