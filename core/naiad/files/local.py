"""Files on this machine: paths and `file://`. Links are followed wherever they lead, since nothing is taken in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from naiad.disk import copy, digest, open_file, replacing
from naiad.errors import EmptyLocation, FileNotFound, OriginalChanged, OriginalMissing
from naiad.files.globs import files_below
from naiad.files.hashes import HashCache, Measured, measure
from naiad.files.progress import counted
from naiad.files.threads import in_threads
from naiad.files.tracked import ArtifactDriver, Progress, TrackedFile
from naiad.hookspecs import hookimpl

SCHEME = "file://"


@hookimpl
def naiad_artifact_driver(scheme: str) -> ArtifactDriver | None:
    """Paths and `file://`."""
    return LocalDriver(HashCache.of_user()) if scheme == "file" else None


class LocalDriver(ArtifactDriver):
    """Hashes files, many at a time, and remembers the hashes of those that have not changed."""

    def __init__(self, cache: HashCache) -> None:
        self._cache = cache

    def track(self, location: str, progress: Progress) -> list[TrackedFile]:
        """The files in a folder, or the one file."""
        top = os.path.abspath(_path(location))
        is_folder = os.path.isdir(top)
        paths = list(files_below(top, None)) if is_folder else [top]
        if not paths or not os.path.exists(top):
            raise EmptyLocation(f"There is no file to track at {location!r}.", path=location)
        root = len(os.path.join(top if is_folder else os.path.dirname(top), ""))
        return [
            TrackedFile(
                found.path[root:].replace(os.sep, "/"),
                found.sha256,
                found.size,
                found.modified,
                "Local",
                SCHEME + found.path,
            )
            for found in self._measured(paths, progress)
        ]

    def _measured(self, paths: list[str], progress: Progress) -> list[Measured]:
        known = self._cache.known(paths)
        # Only what has to be read: a bar that counts known files would jump to its end.
        total = sum(os.stat(path).st_size for path in paths if path not in known)
        report = counted(progress, total)
        new = in_threads(lambda path: measure(path, report), [path for path in paths if path not in known])
        self._cache.remember(new)
        known.update((found.path, found) for found in new)
        return [known[path] for path in paths]

    def fetch(self, file: TrackedFile, target: Path, report: Callable[[int], object]) -> None:
        """Copy the original, or leave it if it lies there already."""
        path = file.location.removeprefix(SCHEME)
        try:
            fd = open_file(path)
        except FileNotFound as error:
            raise OriginalMissing(f"The tracked file {path!r} no longer exists.", path=path) from error
        try:
            # Downloading to where it was tracked: replacing the file by its own copy would break its hard links.
            if target.exists() and target.samefile(path):
                _compare(file, path, fd, report)
                return
            with replacing(target) as copied:
                copy(fd, copied)
                # The copy is compared, not the original, which may change between reading it twice.
                _compare(file, path, copied, report)
        finally:
            os.close(fd)


def _compare(file: TrackedFile, path: str, fd: int, report: Callable[[int], object]) -> None:
    if digest(fd, report)[0] != file.content:
        raise OriginalChanged(
            f"The tracked file {path!r} has changed since it was tracked, so it was not copied.",
            path=path,
        )


def _path(location: str) -> str:
    """The path in a location. A `file://` URL may be percent-encoded, unless a file of that very name is there."""
    if not location.lower().startswith(SCHEME):
        return os.path.expanduser(location)
    path = location[len(SCHEME) :].removeprefix("localhost")
    return path if os.path.lexists(path) else unquote(path)
