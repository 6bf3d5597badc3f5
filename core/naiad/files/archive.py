"""A set of files as one ZIP: the names of its files, sorted, and an entry `dir/` for every folder.

The same set gives the same bytes on every machine: files are stored as they are, not compressed, because what zlib
makes of them differs from one version to the next.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from msgspec import Struct

from naiad.disk import Report, nothing, replacing
from naiad.files.names import folders, safe_names

if TYPE_CHECKING:
    import zipfile

CHUNK = 1024 * 1024
EARLIEST, LATEST = 315_532_800, 4_354_819_198  # 1980 and 2107, between which ZIP can tell the time


class Member(Struct, frozen=True):
    """A file of the set. `open` gives its content, when its turn has come."""

    name: str
    size: int
    modified: float
    open: Callable[[], IO[bytes]]


def write_zip(members: Iterable[Member], destination: Path, report: Report = nothing) -> None:
    """Write the archive atomically, with names that are safe to extract.

    Raises:
        DamagedData: the content of a member is missing.
        OSError: the destination cannot be written.
    """
    import zipfile  # late, as shutil below: both load every compressor

    by_name = {member.name: member for member in members}
    paths = safe_names(by_name)
    content = {path: by_name[name] for name, path in paths.items()}
    entries = sorted([*content, *(f"{folder}/" for folder in folders(content))])
    with (
        replacing(destination) as fd,
        # A duplicate, since closing the stream closes its descriptor, and `replacing` still needs its own.
        os.fdopen(os.dup(fd), "w+b") as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive,
    ):
        for entry in entries:
            if entry.endswith("/"):
                archive.writestr(_entry(entry, EARLIEST, stat.S_IFDIR | 0o755), b"")
            else:
                _add(archive, entry, content[entry], report)


def _add(archive: zipfile.ZipFile, path: str, member: Member, report: Report) -> None:
    import shutil

    entry = _entry(path, member.modified, stat.S_IFREG | 0o644)
    entry.file_size = member.size  # tells whether the entry needs ZIP64
    with member.open() as source, archive.open(entry, "w") as target:
        shutil.copyfileobj(source, target, CHUNK)
    report(member.size)


def _entry(path: str, modified: float, mode: int) -> zipfile.ZipInfo:
    import zipfile

    # UTC, though ZIP means local time: else the bytes of the archive would depend on the machine's zone.
    moment = time.gmtime(min(max(modified, EARLIEST), LATEST))
    entry = zipfile.ZipInfo(path, moment[:6])
    entry.create_system = 3  # Unix, wherever it is made
    entry.external_attr = mode << 16 | (0x10 if stat.S_ISDIR(mode) else 0)
    return entry
