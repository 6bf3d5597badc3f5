"""Archives of a source: their files, read within limits. No name in one ever becomes a path."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from datetime import datetime

from naiad.files.names import normal
from naiad.records import Content, Skipped

MOST_FILES = 100_000
MOST_RATIO = 200
"""Bytes of content for each byte of an archive, beyond `ALWAYS`: more is a bomb."""
ALWAYS = 256 << 20
"""Bytes of content that any archive may have."""
IN_MEMORY = 1 << 20
_DRIVE = re.compile(r"[A-Za-z]:")


def is_hostile(name: str) -> bool:
    r"""Whether a relative name would lead elsewhere, on this system or on another one.

    >>> is_hostile("data/a.csv"), is_hostile("..\\a"), is_hostile("C:/a"), is_hostile("/etc/passwd")
    (False, True, True, True)
    """
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or name[:1] in ("/", "\\") or bool(_DRIVE.match(name)) or "\0" in name


@contextlib.contextmanager
def opened(archive: str, path: str, kind: str) -> Iterator[tuple[dict[str, Content], list[Skipped]]]:
    """Yield the files of an archive by name, for the time of this context, and those that cannot be read."""
    files: dict[str, Content] = {}
    skipped: list[Skipped] = []
    with tempfile.TemporaryDirectory(prefix="naiad-import-") as folder:
        try:
            with zipfile.ZipFile(archive) as found:
                _read(found, archive, path, kind, folder, files, skipped)
        except (
            OSError,
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
            ValueError,
        ) as error:
            skipped.append(Skipped(path, kind, f"the archive is damaged ({error})", where=archive))
        yield files, skipped


def _read(
    found: zipfile.ZipFile,
    archive: str,
    path: str,
    kind: str,
    folder: str,
    files: dict[str, Content],
    skipped: list[Skipped],
) -> None:
    entries = [each for each in found.infolist() if not each.is_dir()]
    # Text packs about ten times and zeros a thousand times, which ALWAYS lets pass; a bomb gets further by entries
    # that overlap.
    left = max(ALWAYS, os.stat(archive).st_size * MOST_RATIO)
    promised = sum(each.file_size for each in entries)
    if len(entries) > MOST_FILES or promised > left or promised > shutil.disk_usage(folder).free:
        reason = f"the archive would become {len(entries):,} files with {promised:,} bytes, which is more than is taken"
        skipped.append(Skipped(path, kind, reason, max(1, len(entries)), where=archive))
        return
    for number, each in enumerate(entries):
        where = f"{archive}: {each.filename!r}"
        # Refused although no name ever becomes a path here: the set would give it to the user who downloads it.
        if is_hostile(each.filename) or not normal(each.filename):
            skipped.append(Skipped(path, kind, f"the name {each.filename!r} leads out of the set", where=where))
            continue
        try:
            content, size = _content(found, each, os.path.join(folder, str(number)), left)
        except (
            OSError,
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
            ValueError,
        ) as error:
            skipped.append(Skipped(path, kind, f"the entry is damaged ({error})", where=where))
            continue
        left -= size
        files[normal(each.filename)] = content


def _content(found: zipfile.ZipFile, entry: zipfile.ZipInfo, place: str, left: int) -> tuple[Content, int]:
    """Read one file; never more than it promises, nor than is left.

    Raises:
        ValueError: it is longer.
    """
    # The size in the directory of an archive is a claim, and a bomb states a small one.
    limit = min(entry.file_size, left)
    extension = os.path.splitext(entry.filename)[1][1:]
    try:
        modified = int(datetime(*entry.date_time).timestamp()) * 10**9
    except ValueError:
        modified = None
    with found.open(entry) as stream:
        if entry.file_size <= IN_MEMORY:
            data = stream.read(limit + 1)
            if len(data) > limit:
                raise ValueError("it is longer than its header says")
            return Content(data=data, extension=extension, modified=modified), len(data)
        size = 0
        with open(place, "wb") as target:
            while chunk := stream.read(1 << 20):
                size += len(chunk)
                if size > limit:
                    raise ValueError("it is longer than its header says")
                target.write(chunk)
    return Content(place, extension=extension, modified=modified), size
