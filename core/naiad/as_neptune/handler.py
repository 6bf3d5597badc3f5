"""`neptune.handler`: naiad's handler with Neptune's signatures and views."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

from naiad.as_neptune import views
from naiad.as_neptune.typing import SupportsNamespaces
from naiad.as_neptune.warnings import NeptuneWarning
from naiad.attributes import FileSet
from naiad.errors import MissingField, warn_once
from naiad.handler import Handler as NaiadHandler
from naiad.typing import ProgressBarType

__all__ = ["Handler"]

V = TypeVar("V", bound=Callable[..., Any])
OF_FILES = ("name", "description")
append = NaiadHandler.append  # looked up once: a program calls it for each point


def reading(verb: V) -> V:
    """Let a verb raise Neptune's error where nothing is stored."""

    @wraps(verb)
    def read(*arguments: Any, **options: Any) -> Any:
        try:
            return verb(*arguments, **options)
        except MissingField as problem:
            raise views.missing(problem) from None

    return cast("V", read)


class Handler(NaiadHandler, SupportsNamespaces):
    """A path of a container, with or without a field."""

    __slots__ = ()

    fetch_last = reading(NaiadHandler.fetch_last)
    fetch_values = reading(NaiadHandler.fetch_values)
    fetch_extension = reading(NaiadHandler.fetch_extension)
    fetch_hash = reading(NaiadHandler.fetch_hash)
    fetch_files_list = reading(NaiadHandler.fetch_files_list)
    list_fileset_files = reading(NaiadHandler.list_fileset_files)
    download_last = reading(NaiadHandler.download_last)

    @reading
    def fetch(self) -> Any:
        """Return the content, with moments and the state of a run in Neptune's form."""
        return views.without(super().fetch(), tuple(filter(None, self._path.split("/"))))

    @reading
    def download(
        self, destination: str | os.PathLike[str] | None = None, progress_bar: ProgressBarType | None = None
    ) -> None:
        """Save the files here; the archive of a set gets the entry "/"."""
        views.let_replace()
        # Only the archive of a set differs; any other content is saved as naiad saves it.
        if not isinstance(self.container._session.field(self._path), FileSet):
            super().download(destination, progress_bar)
            return
        archive = views.archive_of(self._path, destination)
        super().download(archive, progress_bar)
        views.with_root(archive)

    def append(
        self, value: Any, *, step: float | None = None, timestamp: Any = None, wait: bool = False, **kwargs: Any
    ) -> None:
        """Add a point to a series; `name` and `description` are for files."""
        # Only then: most points have no further option, and this is called for each of them.
        if kwargs:
            kwargs = self._for_files(kwargs)
        append(self, value, step=step, timestamp=timestamp, wait=wait, **kwargs)

    def log(
        self, value: Any, *, step: float | None = None, timestamp: Any = None, wait: bool = False, **kwargs: Any
    ) -> None:
        """Add a point, or several given as a collection."""
        super().log(value, step=step, timestamp=timestamp, wait=wait, **self._for_files(kwargs))

    def extend(
        self, values: Any, *, steps: Any = None, timestamps: Any = None, wait: bool = False, **kwargs: Any
    ) -> None:
        """Add several points to a series; with `name` and `description`, files that have them in common."""
        known = self._for_files(kwargs)
        if not known:
            super().extend(values, steps=steps, timestamps=timestamps, wait=wait)
            return
        if isinstance(values, Mapping):
            # Each key is a series of its own, which gets the same name and description.
            for path, below in values.items():
                self[path].extend(below, steps=steps, timestamps=timestamps, wait=wait, **known)
            return
        items = list(values)
        # naiad's extend() has no name for files, so that these are appended one by one.
        columns = [[None] * len(items) if column is None else list(column) for column in (steps, timestamps)]
        for item, step, timestamp in zip(items, *columns, strict=True):
            append(self, item, step=step, timestamp=timestamp, wait=wait, **known)

    def _for_files(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that are for files, and warn once of others, as Neptune's client does."""
        for name in options.keys() - set(OF_FILES):
            warn_once(("option", name), f"{name}= has no effect; a point of a file has {OF_FILES}.", NeptuneWarning)
        return {name: options[name] for name in OF_FILES if name in options}
