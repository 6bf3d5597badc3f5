"""Tracking files wherever they lie, and getting them back: the scheme of a location chooses the driver."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from naiad.errors import InvalidArgument, OriginalError, UnsupportedLocation
from naiad.files.names import is_case_blind, normal, safe_join, safe_names
from naiad.files.progress import counted, quiet
from naiad.files.threads import in_threads
from naiad.files.tracked import ArtifactDriver, Progress, TrackedFile
from naiad.plugins import first

_scheme = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def track(
    location: str | os.PathLike[str], destination: str | None = None, progress: Progress = quiet
) -> list[TrackedFile]:
    """The files at a location, as they are now.

    Args:
        location: a file or folder, `file://`, `s3://`, `gs://` or any scheme with a driver. No wildcards.
        destination: a folder in the artifact to put them into.
        progress: called with the numbers of hashed bytes.

    Raises:
        UnsupportedLocation: no driver for it, or a wildcard in it.
        EmptyLocation: there is no file.
        FileError: the files or their storage cannot be read.
        MissingPackage: the scheme needs a package that is not installed.
    """
    place = os.fspath(location)
    if "*" in place and not os.path.exists(place):
        raise UnsupportedLocation(
            f"{place!r} has a wildcard, but artifacts track only files and whole folders.\n"
            "Name the folder, or use upload_files() to store the files that it matches.",
            location=place,
        )
    prefix = _prefix(destination)
    return [replace(file, path=prefix + file.path) for file in driver_for(place).track(place, progress)]


def _prefix(destination: str | None) -> str:
    prefix = normal(destination or "")
    if ".." in prefix.split("/"):
        raise InvalidArgument(f"destination={destination!r} is outside the artifact.")
    return f"{prefix}/" if prefix else ""


def driver_for(location: str) -> ArtifactDriver:
    """The driver for a location's scheme; a path without one is a local file.

    Raises:
        UnsupportedLocation: there is none.
        MissingPackage: it needs a package that is not installed.
    """
    match = _scheme.match(location)
    scheme = match[1].lower() if match else "file"
    driver: ArtifactDriver | None = first("naiad_artifact_driver", scheme=scheme)
    if driver is None:
        raise UnsupportedLocation(
            f"Files at {location!r} cannot be tracked: no installed package supports {scheme}://.", location=location
        )
    return driver


def download(files: Iterable[TrackedFile], destination: Path, progress: Progress = quiet) -> list[Path]:
    """Copy the originals of tracked files below a folder, which is made if need be; where each of them went.

    They are copies, not links as with Neptune: the files there keep the tracked bytes, even if others change the
    originals. Names from the artifact are made safe, so nothing is written outside the folder.

    Raises:
        OriginalMissing, OriginalChanged: originals are gone, or have other content than when they were tracked; all
            others are copied.
        FileError: the storage cannot be read.
        UnsafeName: a link in the folder leads out of it.
        OSError: the folder cannot be written.
    """
    tracked = list(files)
    destination.mkdir(parents=True, exist_ok=True)
    paths = safe_names((file.path for file in tracked), case_blind=is_case_blind(destination))
    report = counted(progress, sum(file.size for file in tracked))

    def fetch(file: TrackedFile) -> Path | OriginalError:
        target = safe_join(destination, paths[file.path])
        target.parent.mkdir(parents=True, exist_ok=True)
        # An original that is gone is a result and no end: in threads, one exception would stop the copies of all
        # others.
        try:
            driver_for(file.location).fetch(file, target, report)
        except OriginalError as problem:
            return problem
        return target

    done = in_threads(fetch, tracked)
    problems = [each for each in done if isinstance(each, OriginalError)]
    if len(problems) == 1 and len(done) == 1:
        raise problems[0]
    if problems:
        names = [file.path for file, each in zip(tracked, done, strict=True) if isinstance(each, OriginalError)]
        shown_names = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise type(problems[0])(
            f"{len(problems)} of {len(done)} files are not what was tracked: {shown_names}. The others were copied.\n"
            f"The first: {problems[0]}",
            **problems[0].facts,
        )
    return [each for each in done if isinstance(each, Path)]
