"""Many files under one path, each with a name of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from functools import partial
from glob import has_magic
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct
from msgspec.structs import replace

from naiad import html, progress
from naiad.errors import FileNotFound, FileNotInSet, FileWarning, MissingField, NaiadTypeError, shown, warn_once
from naiad.fields.base import Field, FieldSession, current
from naiad.fields.file import StoredFile, adopt, kept, place_for
from naiad.files.archive import Member, write_zip
from naiad.files.globs import expand
from naiad.files.names import normal
from naiad.files.tracked import shown_seconds
from naiad.ops import Members
from naiad.refs import FileRef, files_text, incoming, size_text
from naiad.storage.base import Change
from naiad.types import FileSet as FileSetValue
from naiad.typing import ProgressBarType

_surrogate = re.compile("[\ud800-\udfff]")
_odd = re.compile(r"[\ud800-\udfff]|\\ud[89a-f][0-9a-f]{2}")
_escape = re.compile(r"\\(?:\\|u([0-9a-f]{4}))")


class FileEntry(Struct, frozen=True):
    """A file or folder of a set, as `list_fileset_files` shows it."""

    name: str
    size: int | None
    """Bytes; None for a folder."""
    mtime: datetime
    """When it was last changed, of a folder the latest of what is in it; UTC."""
    file_type: str
    """`file` or `directory`."""


class FileSet(Field):
    """Files by name. Adding one of a name that is there replaces it."""

    kind = FileSetValue.kind
    remedy = "It has upload_files(), delete_files(), list_fileset_files() and download()."
    reading = "List it with list_fileset_files(), or get it with download()."

    def upload_files(self, globs: object, *, wait: bool = False, progress_bar: ProgressBarType | None = None) -> None:
        """Add files; see `Handler.upload_files`."""
        files = self.session.ingest(self.path, wait, take_files, self.path, globs, progress_bar)
        if files is not None:
            content = incoming(files.values())
            self.session.transact(lambda tx: tx.add(self, self.plan_upload, files), wait, content)

    def assign(self, value: object, *, wait: bool = False) -> None:
        """Replace all files."""
        self.write(wait, self.plan_assign, value)

    def delete_files(
        self, paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, wait: bool = False
    ) -> None:
        """Remove files and folders by their names in the set; for one that is not there, there is one warning."""
        given = [paths] if isinstance(paths, str | os.PathLike) else paths
        names = [normal(name) for name in _names(self.path, given, "removed from")]
        there = self._known_names()
        for name in names:
            if there is not None and not _has(there, name):
                warn_once((self.session.key, self.path, name), f'"{self.path}" has no file {name!r}.', FileWarning)
        # Names that are not there are written too: another process may have added them since the set was read.
        self.write(wait, self.change, Members(self.path, {}, [stored_name(name) for name in names], False))

    @current
    def list_fileset_files(self, path: str | None = None) -> list[FileEntry]:
        """Return one level of the set, or of a folder of it: files and folders by name.

        Raises:
            FileNotInSet: there is no such folder.
        """
        inside = normal(path or "")
        files = self._files()
        below = {name: file for name, file in files.items() if not inside or name.startswith(f"{inside}/")}
        if inside and not below:
            if inside in files:
                return [_entry(inside, {inside: files[inside]}, inside)]
            raise FileNotInSet(f'"{self.path}" has no folder {path!r}.', path=self.path)
        start = len(inside) + 1 if inside else 0
        names = sorted({name[start:].partition("/")[0] for name in below})
        return [_entry(name, below, f"{inside}/{name}" if inside else name) for name in names]

    @current
    def open_file(self, name: str) -> BinaryIO:
        """Return one file of the set to read, without the others.

        Raises:
            FileNotInSet: there is no file of that name.
        """
        text = self.session.reader.members(self.path).get(stored_name(normal(name)))
        if text is None:
            raise FileNotInSet(f'"{self.path}" has no file {name!r}.', path=self.path)
        return self.session.reader.open_file(kept(text))

    @current
    def download(
        self, destination: str | os.PathLike[str] | None = None, progress_bar: ProgressBarType | None = None
    ) -> Path:
        """Save all files as one ZIP archive: in a folder as `<last part of the path>.zip`, else as the named file.

        Args:
            destination: a folder, which is made if it ends in a slash, or the name of a file, which is replaced; the
                working directory if None.
            progress_bar: False for none, or a class of your own.

        Returns:
            where the archive is.
        """
        files = self._files()
        reader = self.session.reader
        target = place_for(destination, f"{self.path.rpartition('/')[2]}.zip", reader.run.uid, self.path)
        members = [
            Member(name, file.size, (file.modified or 0) / 1e9, partial(reader.open_file, file, is_checked=True))
            for name, file in files.items()
        ]
        with progress.showing(progress_bar, f"Downloading {self.path}", sum(one.size for one in members)) as report:
            write_zip(members, target, report)
        return target

    def shown(self) -> str:
        """Return how many files there are, and their size."""
        files = self._files().values()
        return files_text(len(files), sum(file.size for file in files))

    def drawn(self) -> list[str]:
        """Return the names and sizes of the files."""
        rows = [(name, size_text(file.size)) for name, file in sorted(self._files().items())]
        return [html.text(self.shown()), html.grid(("path", "size"), rows)]

    def content(self) -> FileSetValue:
        """Return all files, for a copy of the set."""
        return FileSetValue({name: StoredFile(self.session.reader, file) for name, file in self._files().items()})

    def plan_assign(self, value: object) -> Change:
        """Copy files that shall replace all others, and return the change."""
        files = take_files(self.session, self.path, value)
        given = value.file_globs if isinstance(value, FileSetValue) else value
        if not files and given not in ({}, [], ()):
            return self.change()  # a pattern that matches nothing replaces nothing
        return self.plan_upload(files, clear=True)

    def plan_upload(self, files: dict[str, FileRef], *, clear: bool = False) -> Change:
        """Return the change that adds files which are in the store already."""
        if not files and not clear and not self.session.is_read_only:  # which looks at no files, and says so
            return self.change()
        add = {stored_name(name): file.to_text() for name, file in files.items()}
        return self.change(Members(self.path, add, [], clear), content=incoming(files.values()))

    def _known_names(self) -> set[str] | None:
        """Return the names in the set; None if the set is not on disk yet."""
        try:
            return {given_name(name) for name in self.session.look(lambda reader: reader.members(self.path))}
        except MissingField:
            return None

    def _files(self) -> dict[str, FileRef]:
        return {given_name(name): kept(text) for name, text in self.session.reader.members(self.path).items()}


def take_files(
    session: FieldSession, path: str, globs: object, progress_bar: ProgressBarType | None = None
) -> dict[str, FileRef]:
    """Copy the current content of files into the store, all or none; return them by name.

    Raises:
        NaiadTypeError: these are no paths or patterns.
        FileError: one is no file that can be read.
        StorageError: the disk does not take them.
    """
    given = globs.file_globs if isinstance(globs, FileSetValue) else globs
    # A copy of another set: its content is in a store already, and is linked or copied from there.
    if isinstance(given, dict) and all(isinstance(each, StoredFile) for each in given.values()):
        return _adopted(session, given)
    patterns = [given] if isinstance(given, str | os.PathLike) else _names(path, given)
    if session.is_read_only:
        return {}
    for pattern in patterns:
        _require(pattern)
    # A pattern such as "**" may match the store itself, whose files grow while they are copied.
    found = expand(patterns, excluding=session.writer.own_folder)
    # Before the copy, whose time of modification would be that of the copy.
    facts = [os.stat(each.path) if os.path.exists(each.path) else None for each in found]
    size = sum(each.st_size for each in facts if each)
    bar = False if progress_bar is None and size < progress.LONG_UPLOAD else progress_bar
    with progress.showing(bar, f"Copying files to {path}", size) as report:
        files = session.writer.ingest_all([each.path for each in found], report)
    return {
        each.name: replace(file, modified=fact.st_mtime_ns if fact else None)
        for each, file, fact in zip(found, files, facts, strict=True)
    }


def _require(pattern: str | os.PathLike[str]) -> None:
    """Raise FileNotFound for a path that is named outright and is not there."""
    text = os.path.expanduser(os.fspath(pattern))
    if not has_magic(text) and not os.path.lexists(text):
        raise FileNotFound(f"There is no file {os.fspath(pattern)!r}.\nOnly patterns such as *.csv may match no file.")


def _adopted(session: FieldSession, given: dict[str, StoredFile]) -> dict[str, FileRef]:
    """Take in files of another set, all or none."""
    files: dict[str, FileRef] = {}
    try:
        for name, each in given.items():
            files[name] = replace(adopt(session, each), modified=each.file.modified)
    except BaseException:  # only to clean up: whatever it is goes on
        session.writer.drop(incoming(files.values()))
        raise
    return files


def _has(names: set[str], name: str) -> bool:
    return name in names or any(each.startswith(f"{name}/") for each in names)


def _names(path: str, given: object, done: str = "put into") -> list[str]:
    """Return several paths or patterns as texts.

    Raises:
        NaiadTypeError: something is neither a text nor a path.
    """
    if isinstance(given, Iterable) and not isinstance(given, bytes | dict):
        names = list(given)
        if all(isinstance(name, str | os.PathLike) for name in names):
            return [os.fspath(name) for name in names]
    raise NaiadTypeError(
        f'"{path}" is a set of files, so {shown(given)} cannot be {done} it.\n'
        'Give a path, a pattern such as "data/**/*.csv", or a list of them.',
        path=path,
    )


def stored_name(name: str) -> str:
    r"""Return a name as it is stored; bytes that are not UTF-8 become `\udcff` and the like.

    A part that has such a thing has its backslashes doubled, and so has one that looks as if it had.
    """
    return "/".join(_escaped(part) if _odd.search(part) else part for part in name.split("/"))


def _escaped(part: str) -> str:
    return _surrogate.sub(lambda found: f"\\u{ord(found[0]):04x}", part.replace("\\", "\\\\"))


def given_name(name: str) -> str:
    """The name that was written so."""
    return "/".join(_unescaped(part) if _odd.search(part) else part for part in name.split("/"))


def _unescaped(part: str) -> str:
    return _escape.sub(lambda found: chr(int(found[1], 16)) if found[1] else "\\", part)


def _entry(name: str, files: dict[str, FileRef], place: str) -> FileEntry:
    own = files.get(place)
    if own is not None:
        return FileEntry(name, own.size, _moment(own.modified), "file")
    latest = max(file.modified or 0 for each, file in files.items() if each.startswith(f"{place}/"))
    return FileEntry(name, None, _moment(latest), "directory")


def _moment(nanoseconds: int | None) -> datetime:
    return datetime.fromtimestamp(shown_seconds(nanoseconds or 0), timezone.utc)
