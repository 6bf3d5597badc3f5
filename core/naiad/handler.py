"""The handler: a path bound to a run, offering every verb, whether a field is there or not.

Appending a float to a known series is the hot path of the whole library, so it is written out in `Handler.append`: no
lock, no call that is not needed, nothing allocated. Other numbers, other steps and dicts go through `packing`, every
other call to `_append_slowly`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from struct import error as struct_error
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from naiad import paths
from naiad.clock import now
from naiad.errors import NaiadTypeError, NaiadValueError, UnsupportedValue
from naiad.fields.atoms import String
from naiad.fields.base import Field, Source
from naiad.fields.float_series import FloatSeries
from naiad.integers import EXACT
from naiad.listing import listing
from naiad.packing import LEAST_GROUP, SeriesBelow, append_quickly, give_back, is_exact, remember_class
from naiad.refs import incoming
from naiad.session import Session
from naiad.slots import pack_int
from naiad.tree import nested
from naiad.typing import ProgressBarType

if TYPE_CHECKING:
    import pandas as pd

    from naiad.fields.file import StoredFile  # these are loaded by the first field that has files
    from naiad.fields.file_set import FileEntry
    from naiad.files.tracked import ArtifactFileData

__all__ = ["Handler"]

MANY_SERIES = 1_000
"""So many series in one dict: Python would look for reference cycles among their objects, which are in none."""
UNBOUND = FloatSeries(None, "")  # type: ignore[arg-type]  # it is never asked for its session
"""Stands for a series that is not known yet: its number is 0, which sends every append to the slow path."""
UNBOUND.fid = 0  # its own: a class's, where bound series have one of their own, would be looked up the slow way


class Root(Protocol):
    """The run, model or project that a handler belongs to."""

    _session: Session

    @property
    def handler_class(self) -> type[Handler]:
        """The class of handlers that brackets return."""

    def _find(self, base: str, text: object, known: dict[str, Handler]) -> Handler: ...

    def _handler(self, path: str) -> Handler: ...

    def __getitem__(self, path: object) -> Handler:
        """Return the handler of a path."""

    def __setitem__(self, path: object, value: Any) -> None:
        """Assign a value to a path."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it, as failed if there is an error."""

    def get_state(self) -> str:
        """Return how far it is: started, stopping or stopped."""

    def exists(self, path: str) -> bool:
        """Whether a field or namespace is at a path."""

    def fetch(self) -> dict[str, Any]:
        """Return all single values as nested dicts."""

    def get_structure(self) -> dict[str, Any]:
        """Return the tree as nested dicts, with fields as leaves."""

    def print_structure(self) -> None:
        """Print the tree."""

    def wait(self, *, disk_only: bool = False) -> None:
        """Return when everything logged before is on disk."""

    def sync(self, *, wait: bool = True) -> None:
        """Store everything on disk and load the fields of other processes."""

    def stop(self, *, seconds: float | None = None) -> None:
        """Store everything and end."""


class Handler(Source):
    """A path in a run: a field, a namespace, or nothing yet.

    The first verb determines the kind of the field: `append(0.5)` creates a FloatSeries, `assign("x")` a String. A
    handler of a namespace takes relative paths in brackets, and dicts in `assign`, `append` and `extend`.

    >>> train = run["train"]
    >>> train["loss"].append(0.7)
    >>> train.append({"loss": 0.6, "accuracy": 0.8}, step=1)
    """

    __slots__ = ("__weakref__", "_below", "_below_series", "_container", "_path", "_series")
    __iter__ = None  # brackets take paths, so without this a loop over a handler would never end

    def __init__(self, container: Root, path: str) -> None:
        self._container = container
        self._path = path
        self._series = UNBOUND  # else a series whose points may be packed without further questions
        self._below_series: SeriesBelow | None = None  # the same for the keys of dicts given to append
        self._below: dict[str, Handler] = {}

    def __repr__(self) -> str:
        self._container._session.refresh_for_display()
        field = self._container._session.tree.get(self._path)
        if field is not None:
            return repr(field)
        kind = "Namespace" if self._container._session.tree.is_namespace(self._path) else "Unassigned"
        return f'<{kind} field at "{self._path}">'

    def _ipython_display_(self) -> None:
        """Show live curves in a notebook that has anywidget; IPython takes the static form where this raises."""
        from naiad.notebook.live import show  # loaded by the first notebook: a script needs none

        if not show(self._container._session, self._path, repr(self)):
            raise NotImplementedError

    def _repr_html_(self) -> str:
        """Return HTML for a notebook: the field, or a listing of the namespace."""
        return listing(self._container._session, self._path, repr(self))

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross to another process as the run and the path; the run is opened there when it is first used."""
        return _restored, (self._container, self._path)

    def __getitem__(self, path: object) -> Handler:
        """Return the handler of a path below this one."""
        try:
            return self._below[path]  # type: ignore[index]  # what is no str is not found, and then looked at
        except KeyError:
            pass
        return self._container._find(self._path, path, self._below)

    def __setitem__(self, path: object, value: Any) -> None:
        self[path].assign(value)

    def __delitem__(self, path: object) -> None:
        self[path].pop()

    def _ipython_key_completions_(self) -> list[str]:
        """Return the paths below this one, for completion in notebooks."""
        self._container._session.refresh_for_display()
        return self._container._session.tree.completions(self._path)

    @property
    def container(self) -> Root:
        """The run or project that this path belongs to."""
        return self._container

    def get_root_object(self) -> Root:
        """Return the run or project that this path belongs to."""
        return self._container

    # Writing

    def assign(self, value: Any, *, wait: bool = False) -> None:
        """Store a value: `run[path] = value`. A dict is merged below the path, all or nothing.

        The first value determines the kind of the field; later values must fit it without loss. If the value is a
        handler or field, its data is copied, also from another run.

        Args:
            value: a number, text, boolean, datetime, dict, argparse.Namespace, handler, or a value of `naiad.types`.
            wait: return when the value is on disk, safe against a power cut.

        Raises:
            NaiadTypeError, NaiadValueError: the field at the path cannot hold the value.
            FieldConflict: the path is above or below another field.
        """
        self._container._session.transact(lambda tx: tx.assign(self._path, value), wait)

    def append(
        self,
        value: Any,
        *,
        step: float | None = None,
        timestamp: Any = None,
        wait: bool = False,
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        """Add a point to a series; with a dict, one to each series below.

        The first value determines the kind: a number creates a FloatSeries, a text a StringSeries, and a file (a
        `File`, a figure, an image, an array, a `pathlib.Path`) a FileSeries. Steps may be in any order.

        Args:
            value: a number, text or file, or a dict of them.
            step: any number; None takes the step after that of the last point.
            timestamp: seconds since 1970 or a datetime; now if None.
            wait: return when the point is on disk, safe against a power cut.
            name: the name of a file.
            description: the description of a file.
        """
        series = self._series
        if (
            (fid := series.fid)
            and (
                value.__class__ is float
                or issubclass(type(value), float)  # np.float64; no isinstance(), which asks the object
                or (value.__class__ is int and -EXACT <= value <= EXACT)
            )
            and timestamp is None
            and wait is False
            and name is None
            and description is None
        ):
            if step is None:
                series.last = place = series.last + 1  # type: ignore[operator]  # a bound series knows its last step
            else:
                place = step  # type: ignore[assignment]  # looked at in the next line
            if place.__class__ is int:
                offsets, page = series.point_log.slot  # type: ignore[union-attr]  # a bound series has one
                at = next(offsets)
                try:
                    pack_int(page, at, place, value, now(), fid, at)
                except (struct_error, ValueError, TypeError):  # page full or closed, step too large
                    give_back(page, at)
                    series.put(value, place, None, is_taken=step is None)
                else:
                    if step is not None:
                        series.last = place
                return
        if wait is False and name is None and description is None:
            if fid:
                if append_quickly(series, value, step, timestamp) or self._put(series, value, step, timestamp):
                    return
            elif type(value) is dict and timestamp is None and (below := self._below_series) is not None:
                known = below.known if step is None or type(step) is int else {}
                if len(value) >= LEAST_GROUP:
                    if below.append_many(value, step):
                        return
                # All are looked at before the first is packed: a call that is refused leaves no trace. In a step of
                # training every line of memory is cold, code included, so this is the way that touches least of it:
                # a method of its own took 1 us more there, loops over `items()` 2 us, one call of `struct` 4 us.
                else:
                    try:
                        for key in value:
                            series = known[key]
                            if not series.fid or (type(value[key]) is not float and not is_exact(value[key])):
                                raise KeyError(key)
                    except KeyError:
                        series = UNBOUND
                    if series.fid:
                        time, place = now(), step  # type: ignore[assignment]  # looked at above
                        offsets, page = series.point_log.slot  # type: ignore[union-attr]
                        for key in value:
                            series = known[key]
                            if step is None:
                                series.last = place = series.last + 1  # type: ignore[operator]
                            at = next(offsets)
                            try:
                                pack_int(page, at, place, value[key], time, series.fid, at)
                            except (struct_error, ValueError, TypeError):  # page full or closed, step too large
                                give_back(page, at)
                                if step is not None and key == next(iter(value)):
                                    break  # nothing is packed yet
                                series.put(value[key], place, time, is_taken=step is None)
                                offsets, page = series.point_log.slot  # type: ignore[union-attr]
                            else:
                                if step is not None:
                                    series.last = place
                        else:
                            return
        self._append_slowly(value, step, timestamp, wait, name, description)

    def extend(self, values: Any, *, steps: Any = None, timestamps: Any = None, wait: bool = False) -> None:
        """Add several points to a series, all or none; with a dict of collections, to each series below.

        Args:
            values: any iterable (list, generator, array, Series), or a dict of them; an empty one stores nothing.
            steps: one for each value.
            timestamps: one for each value, in seconds since 1970 or as datetimes.
            wait: return when the points are on disk, safe against a power cut.

        Raises:
            InvalidArgument: the number of steps or timestamps differs from that of the values.
        """
        self._container._session.transact(lambda tx: tx.extend(self._path, values, steps, timestamps), wait)

    def log(
        self,
        value: Any,
        *,
        step: float | None = None,
        timestamp: Any = None,
        wait: bool = False,
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        """Add a point, or several given as a collection; the old name of `append` and `extend`."""
        self._container._session.transact(
            lambda tx: tx.log(self._path, value, step, timestamp, name, description), wait
        )

    def add(self, values: Any, *, wait: bool = False) -> None:
        """Add one or more tags; for `sys/tags` and `sys/group_tags` only."""
        self._container._session.transact(lambda tx: tx.add_tags(self._path, values), wait)

    def remove(self, values: Any, *, wait: bool = False) -> None:
        """Remove one or more tags; tags that do not exist are ignored."""
        self._existing().remove(values, wait=wait)

    def clear(self, *, wait: bool = False) -> None:
        """Remove all tags of a set, or all points of a series; the field stays."""
        self._existing().clear(wait=wait)

    def configure(
        self,
        *,
        min: float | None = None,
        max: float | None = None,
        unit: str | None = None,
        wait: bool = False,
    ) -> None:
        """Describe the axis on which a FloatSeries is drawn; it does not limit the points."""
        self._container._session.transact(lambda tx: tx.configure(self._path, min, max, unit), wait)

    def truncate(self, step: float, *, wait: bool = False) -> None:
        """Hide the points above a step of the series here, or of all series below, that were logged before this call.

        Charts, tables and fetches leave them out, and the next point without a step follows the remaining ones. Nothing
        is deleted: `fetch_values(include_rewound=True)` returns all points. Series below `monitoring/` are not changed.
        Points of earlier sessions are hidden whatever their time, points of this session if their time is not after
        this call.

        Args:
            step: the last step to keep.
            wait: return when this is on disk, safe against a power cut.

        Raises:
            MissingField: nothing is stored here.
            WrongVerb: the field is not a series.

        >>> run["train"].truncate(1000)
        """
        session = self._container._session
        field = session.field(self._path)
        if field is not None:
            field.truncate(step, wait=wait)
            return
        if not session.tree.is_namespace(self._path):
            raise session.missing(self._path)
        session.rewind(self._path, step, wait=wait)

    def pop(self, path: str | None = None, *, wait: bool = False) -> None:
        """Remove the field here, or at a path below; for a namespace, all fields in it.

        Raises:
            FieldConflict: there is nothing to remove.
        """
        gone = self._path if path is None else paths.join(self._path, path)
        self._container._session.remove(paths.parse(gone), wait)

    # Files

    def upload(
        self, value: Any, *, wait: bool = False, progress_bar: ProgressBarType | None = None, **options: Any
    ) -> None:
        """Store a file as it is now, in place of the file that the field has.

        When the call returns, the store has a copy, and the original may be changed or deleted.

        Args:
            value: a path, a `File`, bytes, a stream, a figure, chart, image, array, tensor or table.
            wait: return when the file is on disk, safe against a power cut.
            progress_bar: for files above 64 MiB; False for none, or a class of your own.
            **options: for `File.as_html`.

        Raises:
            FileNotFound, UnreadableFile, UnsupportedFile: the file cannot be read.
            NaiadTypeError, NaiadValueError: the value cannot be converted to a file.
        """
        session = self._container._session
        session.require_active()
        from naiad.fields.file import as_file, take

        file = as_file(value, **options)
        self._require_verb("upload")
        stored = session.ingest(self._path, wait, take, file, progress_bar)
        if stored is not None:
            session.transact(lambda tx: tx.upload(self._path, stored), wait, incoming([stored]))

    def upload_files(self, value: Any, *, wait: bool = False, progress_bar: ProgressBarType | None = None) -> None:
        """Add files to a set, as they are now; a file of the same name is replaced.

        An unreadable folder, a link that leads outside or is broken, and a pattern without a match are left out with a
        warning.

        Names are relative to the working directory if all files are in it, else to the deepest folder that contains all
        of them.

        Args:
            value: a file, a folder, a pattern (`*`, `?`, `[ab]`, `**` for any folders), or a list of them.
            wait: return when the files are on disk, safe against a power cut.
            progress_bar: for more than 64 MiB; False for none, or a class of your own.

        Raises:
            FileNotFound: a path without a wildcard does not exist; nothing was added.
            FileError: one of the files cannot be read; nothing was added.
        """
        session = self._container._session
        session.require_active()
        self._require_verb("upload_files")
        from naiad.fields.file_set import take_files

        files = session.ingest(self._path, wait, take_files, self._path, value, progress_bar)
        if files is not None:
            content = incoming(files.values())
            session.transact(lambda tx: tx.upload_files(self._path, files), wait, content)

    def delete_files(self, paths: Any, *, wait: bool = False) -> None:
        """Remove files and folders from a set, by their names in it."""
        self._existing().delete_files(paths, wait=wait)

    def track_files(
        self,
        path: str | os.PathLike[str],
        *,
        destination: str | None = None,
        wait: bool = False,
        progress_bar: ProgressBarType | None = None,
    ) -> None:
        """Record names, locations and hashes of files without storing their content.

        Args:
            path: a file or folder, here or behind a URL: `s3://`, `gs://`, or another scheme of fsspec.
            destination: a folder in the artifact to put them into.
            wait: return when this is on disk, safe against a power cut.
            progress_bar: False for none, or a class of your own.

        Raises:
            EmptyLocation: there is no file.
            UnsupportedLocation: no installed package supports the URL.
            FileError: the files cannot be read.
        """
        session = self._container._session
        session.require_active()
        from naiad.fields.artifact import track

        files = track(path, destination, progress_bar)
        session.transact(lambda tx: tx.track_files(self._path, files), wait)

    def download(
        self, destination: str | os.PathLike[str] | None = None, progress_bar: ProgressBarType | None = None
    ) -> Any:
        """Save the file here, all files of a series in a folder, a set as a ZIP, or the originals of an artifact.

        Args:
            destination: a folder, made if it ends in a slash, or for a File and a set the name of a file, which
                is replaced; the working directory if None, and `neptune/<name>` for a series.
            progress_bar: False for none, or a class of your own.

        Returns:
            where the file of a File, or the archive of a set, is.

        Raises:
            InvalidArgument: the folder has a file of that name that was downloaded from another field.
            OriginalMissing, OriginalChanged: originals of an artifact are not what was tracked; the others are copied.
        """
        return self._existing().download(destination, progress_bar)

    def download_last(self, destination: str | os.PathLike[str] | None = None) -> None:
        """Save the last file of a series in a folder."""
        self._existing().download_last(destination)

    def fetch_extension(self) -> str:
        """Return the extension of a file, without a dot."""
        return str(self._existing().fetch_extension())

    def fetch_content(self) -> bytes:
        """Return the bytes of a file."""
        content: bytes = self._existing().fetch_content()
        return content

    def fetch_files(self) -> Iterator[StoredFile]:
        """Yield the files of a series, ordered by step; each has its content, extension, name and description."""
        files: Iterator[StoredFile] = self._existing().fetch_files()
        return files

    def list_fileset_files(self, path: str | None = None) -> list[FileEntry]:
        """Return the files and folders in a set, or in a folder of it."""
        entries: list[FileEntry] = self._existing().list_fileset_files(path)
        return entries

    def open_file(self, name: str) -> BinaryIO:
        """Return one file of a set to read, without the others."""
        stream: BinaryIO = self._existing().open_file(name)
        return stream

    def fetch_hash(self) -> str:
        """Return the hash of an artifact."""
        return str(self._existing().fetch_hash())

    def fetch_files_list(self) -> list[ArtifactFileData]:
        """Return the facts of each file of an artifact."""
        files: list[ArtifactFileData] = self._existing().fetch_files_list()
        return files

    # Reading

    def fetch(self) -> Any:
        """Return the value of a field, the tags of a set, or the single values of a namespace as a nested dict.

        Raises:
            MissingField: nothing is stored here.
            WrongVerb: it is a series; use `fetch_last` or `fetch_values`.
        """
        session = self._container._session
        field = session.field(self._path)
        if field is not None:
            return field.fetch()
        if not session.tree.is_namespace(self._path):
            raise session.missing(self._path)
        return nested(session.atoms(self._path), self._path)

    def fetch_last(self) -> Any:
        """Return the last value of a series.

        Raises:
            EmptySeries: it has no points.
        """
        return self._existing().fetch_last()

    def fetch_values(
        self,
        *,
        include_timestamp: bool = True,
        progress_bar: ProgressBarType | None = None,
        include_rewound: bool = False,
    ) -> pd.DataFrame:
        """Return all points of a series as a DataFrame with the columns step, value and timestamp, ordered by step.

        Args:
            include_timestamp: leave the column out when False.
            progress_bar: False for none, or a class of your own.
            include_rewound: also the points that `truncate` or `init_run(rewind_to=)` hides.
        """
        frame: pd.DataFrame = self._existing().fetch_values(
            include_timestamp=include_timestamp, progress_bar=progress_bar, include_rewound=include_rewound
        )
        return frame

    def fetch_chart(self, *, buckets: int = 1000, smooth: float = 0.0) -> pd.DataFrame:
        """Return a series of numbers as it is drawn: a DataFrame with the columns step, min, max, mean and count.

        Each row is a stretch of equally many points, from its first step on, so that no spike is lost however few rows
        there are; count is the number of its finite values. Long series are not decoded for it, so it takes about as
        long for a million points as for ten thousand.

        Args:
            buckets: at most about so many rows; of a series with fewer points, each point is a row.
            smooth: from 0 to below 1; adds the column smooth, the exponential moving average (debiased, as
                TensorBoard's), computed over all points before they are divided into rows.

        >>> chart = run["train/loss"].fetch_chart(buckets=500, smooth=0.9)
        >>> chart.plot("step", ["smooth", "min", "max"])
        """
        frame: pd.DataFrame = self._existing().fetch_chart(buckets=buckets, smooth=smooth)
        return frame

    def sources(self) -> dict[str, Field]:
        """Return the fields at or below this place, for copying them."""
        session = self._container._session
        field = session.field(self._path)
        if field is not None:
            return {"": field}
        if not session.tree.is_namespace(self._path):
            raise session.missing(self._path)
        start = len(self._path) + 1 if self._path else 0
        return {path[start:]: session.existing(path) for path in session.tree.paths(self._path)}

    def _require_verb(self, verb: str) -> None:
        """Raise WrongVerb before anything is copied, if the field here has no such verb."""
        known = self._container._session.tree.get(self._path)
        if known is not None and not (isinstance(known, String) and known.holds_none()):
            getattr(known, verb)

    # The ways of append

    def _put(self, series: FloatSeries, value: Any, step: Any, timestamp: Any) -> bool:
        """Append to a series that is known, with all checks; False, and nothing done, if the value needs a warning."""
        try:
            series.put(value, step, timestamp)
        except UnsupportedValue:
            return False
        except (NaiadTypeError, NaiadValueError):
            self._container._session.require_active()  # that a run was stopped matters more than what it is given
            raise
        remember_class(value.__class__)
        return True

    def _append_slowly(self, value: Any, step: Any, timestamp: Any, wait: bool, name: Any, description: Any) -> None:
        pause: AbstractContextManager[None] = nullcontext()
        # Not while the caller waits for the disk: a disk that hangs would keep the search off in the whole program.
        if type(value) is dict and len(value) >= MANY_SERIES and not wait:
            from naiad.cycles import search_paused

            pause = search_paused()
        with pause:
            self._container._session.transact(
                lambda tx: tx.append(self._path, value, step, timestamp, name, description), wait
            )
            self._remember(value)

    def _remember(self, value: Any) -> None:
        """Remember which series the next append may go to directly."""
        tree = self._container._session.tree
        field = tree.get(self._path)
        if isinstance(field, FloatSeries) and field.is_hot:
            self._series = field
        elif type(value) is dict:
            if self._below_series is None:
                self._below_series = SeriesBelow(self._container._session, self._path)
            self._below_series.remember(value)

    def _existing(self) -> Any:
        return self._container._session.existing(self._path)


def _restored(container: Root, path: str) -> Handler:
    is_open = "_session" in container.__dict__  # else it is opened later, when the handler is first used
    return container._handler(path) if is_open else container.handler_class(container, path)
