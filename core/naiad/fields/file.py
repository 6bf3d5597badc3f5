"""One file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

from naiad import html, progress
from naiad.disk import Report
from naiad.errors import FieldConflict, FileWarning, InvalidArgument, NaiadTypeError, shown, warn_once
from naiad.fields.base import Field, FieldSession, current
from naiad.file import File as FileValue
from naiad.files.names import safe_join, safe_name
from naiad.ops import Assign
from naiad.refs import FileRef, incoming, size_text
from naiad.storage.base import Change, RunReader
from naiad.typing import ProgressBarType

IMAGES = ("png", "jpg", "jpeg", "gif", "bmp", "webp", "tif", "tiff")
"""Extensions of files that a notebook shows as pictures."""
MOST_DRAWN = 32 * 1024 * 1024
"""Bytes of an image from which a small picture is made."""


class StoredFile(FileValue):
    """A file of some run, to be read or handed to another field; its bytes are read on demand."""

    def __init__(self, reader: RunReader, file: FileRef) -> None:
        super().__init__(content=b"", extension=file.extension)
        self.reader = reader
        self.file = file

    @property
    def size(self) -> int:
        """Bytes."""
        return self.file.size

    @property
    def name(self) -> str | None:
        """The name given to `append`."""
        return self.file.name

    @property
    def description(self) -> str | None:
        """The description given to `append`."""
        return self.file.description

    @property
    def content(self) -> bytes:
        """The bytes, checked."""
        return self.reader.read_file(self.file)

    def open(self) -> BinaryIO:
        """Return the bytes to read one after the other."""
        return self.reader.open_file(self.file)

    def __repr__(self) -> str:
        return f"StoredFile(<{self.size:,} bytes>, extension={self.extension!r})"


class File(Field):
    """The content of one file, as it was when it was uploaded."""

    kind = FileValue.kind
    remedy = "Upload another file to it, use another path, or remove it first with run.pop({path!r})."
    reading = "Get it with download()."

    def upload(self, value: object, *, wait: bool = False, **options: Any) -> None:
        """Replace the content; see `Handler.upload`."""
        file = self.session.ingest(self.path, wait, take, as_file(value, **options))
        if file is not None:
            content = incoming([file])
            self.session.transact(lambda tx: tx.add(self, self.plan_assign, file), wait, content)

    def assign(self, value: object, *, wait: bool = False) -> None:
        """Replace the content by that of a file, or of an object that converts to one."""
        self.write(wait, self.plan_assign, value)

    @current
    def fetch_extension(self) -> str:
        """Return the extension without a dot; empty if there is none."""
        return self._file().extension

    @current
    def download(
        self, destination: str | os.PathLike[str] | None = None, progress_bar: ProgressBarType | None = None
    ) -> Path:
        """Save the content: in a folder as `<last part of the path>.<extension>`, else as the file that is named.

        Args:
            destination: a folder, which is made if it ends in a slash, or the name of a file, which is replaced; the
                working directory if None.
            progress_bar: False for none, or a class of your own.

        Returns:
            where the file is.

        Raises:
            InvalidArgument: the folder has a file of that name that was downloaded from another field.
        """
        file = self._file()
        with progress.showing(progress_bar, f"Downloading {self.path}", file.size) as report:
            return save(self.session.reader, file, destination, name_of(self.path, file.extension), report, self.path)

    @current
    def fetch_content(self) -> bytes:
        """Return the bytes."""
        return StoredFile(self.session.reader, self._file()).content

    def shown(self) -> str:
        """Return extension and size."""
        return self._file().summary()

    def drawn(self) -> list[str]:
        """Return a small picture of an image, and its size."""
        file = self._file()
        is_image = file.extension.lower() in IMAGES and file.size <= MOST_DRAWN
        pictures = [html.image(self.session.reader.read_file(file))] if is_image else []
        return [*pictures, html.grid((), [("extension", file.extension), ("size", size_text(file.size))])]

    @classmethod
    def summary(cls, stored: str) -> str:
        """Return extension and size of a stored file."""
        return FileRef.from_text(stored).summary()

    def content(self) -> StoredFile:
        """Return the stored file, for a copy of it."""
        return StoredFile(self.session.reader, self._file())

    def plan_assign(self, value: object) -> Change:
        """Copy a file that shall replace the content, and return the change."""
        if isinstance(value, str):
            raise NaiadTypeError(
                f'"{self.path}" is a File and cannot hold the text {shown(value)}.\n'
                f"To store the file of that name, use run[{self.path!r}].upload(...).",
                path=self.path,
                value=value,
            )
        file = take(self.session, value)
        return self.change(Assign(self.path, self.kind, file.to_text()), content=incoming([file]))

    def _file(self) -> FileRef:
        kind, text = self.session.reader.atom(self.path)
        if kind != self.kind:
            raise FieldConflict(f'"{self.path}" is now of kind {kind}.', path=self.path)
        return kept(text)


def as_file(value: object, **options: Any) -> FileValue | FileRef:
    """Return the argument of a verb as a file, converted if necessary.

    Raises:
        NaiadTypeError, NaiadValueError: no file can be made of it.
        InvalidArgument: options were given for a value that is a file already.
    """
    if options and isinstance(value, FileRef | FileValue | str | os.PathLike | bytes | bytearray | memoryview):
        raise InvalidArgument(
            f"upload() was given {', '.join(options)}=, which only charts and tables accept. {shown(value)} is neither."
        )
    if isinstance(value, FileRef):
        return value
    return FileValue.create_from(value, **options)


def take(session: FieldSession, value: object, progress_bar: ProgressBarType | None = None) -> FileRef:
    """Copy the current content of a file, or of an object that converts to one, into the store.

    Raises:
        NaiadTypeError, NaiadValueError: no file can be made of it.
        FileError: it is no file that can be read.
        StorageError: the disk does not take it.
    """
    file = as_file(value)
    if isinstance(file, FileRef):
        return file
    if session.is_read_only:
        return FileRef.of_bytes(b"")  # nothing will be written
    if isinstance(file, StoredFile):
        return adopt(session, file)
    size = _size(file)
    if size == 0 and file.path is not None and os.path.isfile(os.path.expanduser(file.path)):
        warn_once(
            (session.key, "empty", file.path),
            f"{shown(file.path)} is empty at the moment, and is stored as an empty file.\n"
            "If it is still being written, close or flush it before upload().",
            FileWarning,
        )
    bar = False if progress_bar is None and size < progress.LONG_UPLOAD else progress_bar
    with progress.showing(bar, f"Copying {file.path or 'a file'}", size) as report:
        if file.path is None:
            report(size)  # before, because nobody waits for it and a bar of the user's may raise
            return session.writer.ingest(file)
        taken = session.writer.ingest(file, report)
        if taken.content is not None:
            report(taken.size)  # few bytes are not copied
        return taken


def adopt(session: FieldSession, file: StoredFile) -> FileRef:
    """Take a file of some run into the store of this one."""
    return FileRef.of_bytes(b"") if session.is_read_only else session.writer.adopt(file.reader, file.file)


_saved: dict[str, tuple[str, str]] = {}
"""Run and field of each file that this process saved in a folder."""


def save(
    reader: RunReader,
    file: FileRef,
    destination: str | os.PathLike[str] | None,
    name: str,
    report: Report,
    path: str = "",
) -> Path:
    """Save a stored file in a folder under a name, made safe, or as the file that `destination` names; where it is."""
    target = place_for(destination, name, reader.run.uid, path)
    reader.copy_file(file, target, report)
    return target


def place_for(destination: str | os.PathLike[str] | None, name: str, uid: str, path: str) -> Path:
    """Return the place for a file: in a folder, or as named.

    A slash at the end makes the folder.

    Raises:
        InvalidArgument: it would replace a file of another field, in a folder that both go to.
    """
    # As text, because a Path drops the slash at the end.
    given = os.path.expanduser(os.fsdecode(destination)) if destination is not None else os.getcwd()
    place = Path(given)
    if given.endswith("/"):
        place.mkdir(parents=True, exist_ok=True)
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        return place
    # The name comes from a path in the run, which may have been written elsewhere and say "..".
    target = safe_join(place, safe_name(name.replace("/", "_")))
    # "train/model" and "test/model" both become "model.pt". The second download would replace the first without a
    # word; the same field again may.
    before = _saved.get(str(target.absolute())) if target.exists() else None
    if path and before is not None and before != (uid, path):
        raise InvalidArgument(
            f'"{path}" cannot be saved as {str(target)!r}, because the file "{before[1]}" was saved there.\n'
            "Name a file or another folder.",
            path=path,
        )
    if path:
        _saved[str(target.absolute())] = (uid, path)
    return target


def forget_saved() -> None:
    """Let the next download of any field replace the files that this process saved in folders."""
    _saved.clear()


def kept(text: object) -> FileRef:
    """Return a file as it is stored."""
    return FileRef.from_text(text if isinstance(text, str) else bytes(text).decode("utf-8", "surrogatepass"))  # type: ignore[call-overload]  # a text is one of the two


def name_of(path: str, extension: str) -> str:
    """Return the name under which a field is saved in a folder."""
    last = path.rpartition("/")[2]
    return f"{last}.{extension.lstrip('.')}" if extension else last


def _size(file: FileValue) -> int:
    if file.path is None:
        return len(file.content)
    try:
        return os.stat(os.path.expanduser(file.path)).st_size
    except (OSError, ValueError):
        return 0  # whoever copies it says what is wrong
