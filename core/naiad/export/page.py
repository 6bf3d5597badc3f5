"""One HTML file of runs: the request to the plugin that writes it, and its destination."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from naiad.container_kinds import RunId
from naiad.errors import MissingPackage, StorageError
from naiad.plugins import first
from naiad.storage.base import Store


@dataclass(frozen=True)
class Page:
    """Runs that become one HTML file: the subject that `naiad_html` is called with."""

    store: Store
    runs: tuple[RunId, ...]


def export_page(store: Store, runs: Sequence[RunId], destination: Path) -> Path:
    """Write runs as one HTML file that makes no request, and return it.

    Args:
        store: the store of the runs.
        runs: runs, at least one.
        destination: a file, or a folder in which the file is named by the first run.

    Raises:
        MissingPackage: the pages are not installed.
        StorageError: the file cannot be written.
    """
    text: str | None = first("naiad_html", subject=Page(store, tuple(runs)), options={})
    if text is None:
        raise MissingPackage(
            'An HTML file of runs needs the browser pages.\nInstall them with: pip install "naiad[web]"',
            package="starlette",
        )
    file = Path(os.path.expanduser(destination))
    # Named by the uid, since an id may be that of another run in another store.
    if file.is_dir():
        file /= f"{runs[0].uid}.html"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.name}.part")
        part.write_text(text, encoding="utf-8")
        # A browser that reloads while this is written gets the old file or the new one.
        part.replace(file)
    except OSError as error:
        message = f"The file {str(file)!r} cannot be written: {error.strerror or error}."
        raise StorageError(message, errno=error.errno, filename=str(file)) from error
    return file
