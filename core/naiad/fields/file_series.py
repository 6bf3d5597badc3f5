"""Files over steps: samples, plots, predictions, each with a name and a description if it was given them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from naiad import html, progress
from naiad.disk import Report, nothing
from naiad.errors import EmptySeries, NaiadTypeError, shown
from naiad.fields.base import current
from naiad.fields.file import IMAGES, MOST_DRAWN, StoredFile, kept, save, take
from naiad.fields.series import Series, as_steps, local_times
from naiad.refs import FileRef, incoming
from naiad.storage.base import Change
from naiad.types import FileSeries as FileSeriesValue
from naiad.typing import ProgressBarType

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "neptune"
"""Where downloads go that name no folder, as Neptune's client has it."""


MOST_SHOWN, MOST_PICTURES = 20, 4
"""Files, and pictures, that a notebook shows of a series."""


class FileSeries(Series):
    """Files over steps, of any kind and size."""

    kind = FileSeriesValue.kind
    reading = "Read it with fetch_values() or fetch_files(), or get it with download()."

    def append(
        self,
        value: object,
        *,
        step: Any = None,
        timestamp: Any = None,
        wait: bool = False,
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        """Add one file at the end."""
        self.write(wait, self.plan_append, value, step, timestamp, name, description)

    @current
    def fetch_values(
        self,
        *,
        include_timestamp: bool = True,
        progress_bar: ProgressBarType | None = None,
        include_rewound: bool = False,
    ) -> pd.DataFrame:
        """Return the facts of each file, ordered by step.

        The columns are step, name, description, extension, size (bytes), sha256 (empty until it is known, moments after
        the call) and timestamp (local, to the millisecond).
        """
        import pandas as pd

        steps, files, times = self._entries(include_rewound)
        frame = pd.DataFrame({"step": as_steps(steps)})
        if include_timestamp:
            frame["timestamp"] = local_times(times)
        for column in ("name", "description", "extension"):  # as objects, so that what there is none of is None
            frame[column] = pd.Series([getattr(file, column) for file in files], dtype=object)
        frame["size"] = pd.Series([file.size for file in files], dtype="int64")
        frame["sha256"] = [self.session.reader.digest(file) for file in files]
        with progress.showing(progress_bar, "Fetching values", len(frame), unit=" files") as report:
            report(len(frame))
        return frame

    @current
    def fetch_files(self) -> Iterator[StoredFile]:
        """Return the files, ordered by step; each is read on access."""
        return iter([StoredFile(self.session.reader, file) for file in self._entries()[1]])

    def fetch_last(self) -> Any:
        """Raise, because a file is not a value."""
        self.refuse("fetch_last")

    @current
    def download(
        self, destination: str | os.PathLike[str] | None = None, progress_bar: ProgressBarType | None = None
    ) -> None:
        """Save all files in a folder as `<index>.<extension>`, counted from 0 in the order of steps.

        Args:
            destination: the folder, which is made if need be; `neptune/<last part of the path>` if None.
            progress_bar: False for none, or a class of your own.

        Raises:
            EmptySeries: there is no file.
        """
        files = self._files()
        folder = self._folder(destination)
        with progress.showing(progress_bar, f"Downloading {self.path}", sum(file.size for file in files)) as report:
            for index, file in enumerate(files):
                self._save(index, file, folder, report)

    @current
    def download_last(self, destination: str | os.PathLike[str] | None = None) -> None:
        """Save the file with the largest step, under the name it has in `download`.

        Raises:
            EmptySeries: there is no file.
        """
        last = self.session.reader.last(self.path, self.kind)
        if last is None:
            raise self._empty()
        # The index it would have in `download`, without reading the facts of all others.
        index = self.session.reader.count(self.path) - 1
        self._save(index, kept(last.value), self._folder(destination), nothing)

    def drawn(self) -> list[str]:
        """Return small pictures of the last images, and a line for each of the last files."""
        steps, files, _times = self._entries()
        last = list(zip(steps, files, strict=True))[-MOST_SHOWN:]
        pictures = [
            html.image(self.session.reader.read_file(file))
            for _step, file in last[-MOST_PICTURES:]
            if file.extension.lower() in IMAGES and file.size <= MOST_DRAWN
        ]
        rows = [(step, file.name or "", file.summary()) for step, file in last]
        return [html.text(f"{len(files):,} files"), *pictures, html.grid(("step", "name", "content"), rows)]

    @classmethod
    def summary(cls, stored: str) -> str:
        """Return extension and size of a stored file."""
        return FileRef.from_text(stored).summary()

    def content(self) -> FileSeriesValue:
        """Return all files, for a copy of the series."""
        steps, files, times = self._entries()
        stored = [StoredFile(self.session.reader, file) for file in files]
        return FileSeriesValue(stored, [time / 1000 for time in times], steps)

    def plan_assign(self, value: object) -> Change:
        """Copy files that shall replace all others, and return the change."""
        if not isinstance(value, FileSeriesValue):
            self.require_many(value)
            return self.plan_extend(list(value), None, None, fresh=True)  # type: ignore[call-overload]  # it is iterable
        return self.plan_extend(
            value.values, value.steps, value.timestamps, fresh=True, name=value.name, description=value.description
        )

    def plan_append(
        self, value: object, step: object, timestamp: object, name: str | None = None, description: str | None = None
    ) -> Change:
        """Copy one file and return the change that adds it."""
        return self.plan_extend(
            [value],
            None if step is None else [step],
            None if timestamp is None else [timestamp],
            name=name,
            description=description,
        )

    def plan_captioned(
        self,
        values: Iterable[object],
        steps: object,
        timestamps: object,
        name: str | None = None,
        description: str | None = None,
    ) -> Change:
        """Copy files that have a name and a description in common, and return the change that adds them."""
        return self.plan_extend(values, steps, timestamps, name=name, description=description)

    def plan_extend(
        self,
        values: Iterable[object],
        steps: object,
        timestamps: object,
        *,
        fresh: bool = False,
        name: str | None = None,
        description: str | None = None,
    ) -> Change:
        """Copy files and return the change that adds them; `fresh` removes older ones."""
        # Steps and times are checked before anything is copied: a refused call should cost no gigabytes.
        given = list(values)
        places = self.steps(steps, len(given))
        times = self.times(timestamps, len(given))
        files = self._taken(given, {"name": _text(name), "description": _text(description)})
        try:
            texts = [file.to_text() for file in files]
            return self.plan_strings(texts, places, times, fresh=fresh, content=incoming(files))
        except BaseException:  # only to clean up: whatever it is goes on
            self._drop(files)
            raise

    def _taken(self, values: list[object], captions: dict[str, str | None]) -> list[FileRef]:
        """Copy files, all or none."""
        captions = {name: text for name, text in captions.items() if text is not None}
        files: list[FileRef] = []
        try:
            for value in values:
                if isinstance(value, str):
                    raise NaiadTypeError(
                        f'"{self.path}" is a series of files, so the text {shown(value)} cannot be added.\n'
                        "Give a File, or a pathlib.Path for the file of that name.",
                        path=self.path,
                        value=value,
                    )
                files.append(replace(take(self.session, value), **captions))
        except BaseException:  # only to clean up: whatever it is goes on
            self._drop(files)
            raise
        return files

    def _drop(self, files: list[FileRef]) -> None:
        if not self.session.is_read_only:
            self.session.writer.drop(incoming(files))

    def _entries(self, include_rewound: bool = False) -> tuple[list[int | float], list[FileRef], list[int]]:
        texts = self.session.reader.texts(self.path, self.kind, include_rewound=include_rewound)
        return texts.steps, [kept(text) for text in texts.texts], texts.times

    def _files(self) -> list[FileRef]:
        files = self._entries()[1]
        if not files:
            raise self._empty()
        return files

    def _empty(self) -> EmptySeries:
        return EmptySeries(f'"{self.path}" has no files yet, so there is nothing to download.', path=self.path)

    def _folder(self, destination: str | os.PathLike[str] | None) -> Path:
        last = self.path.rpartition("/")[2]
        folder = Path(FOLDER, last) if destination is None else Path(os.path.expanduser(os.fsdecode(destination)))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _save(self, index: int, file: FileRef, folder: Path, report: Report) -> None:
        extension = file.extension.lstrip(".")
        save(self.session.reader, file, folder, f"{index}.{extension}" if extension else str(index), report)


def _text(caption: object) -> str | None:
    if caption is None or isinstance(caption, str):
        return caption
    raise NaiadTypeError(f"name= and description= of a file must be text, not {shown(caption)}.", value=caption)
