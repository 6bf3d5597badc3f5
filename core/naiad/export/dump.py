"""Dumps: runs in the form of Neptune's exporter, with columns of naiad's own behind its 14, or as CSV or JSON lines.

    DIR/data/<project>/<run>_part_0.parquet           runs; model_data/<project>/models and model_versions likewise
    DIR/files/<project>/<project id>/<run id>/<path>  their files; model_files/<project>/... of models

`<project>` and `<run>` are the names with every other character than letters, digits, _ and - replaced by _, and 16 hex
digits of their BLAKE2b. The columns hold the names themselves.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from naiad.container_kinds import MODEL, MODEL_VERSION, PROJECT, RunId
from naiad.errors import InvalidArgument, StorageError
from naiad.export import parquet, rows
from naiad.export.arrow import arrow
from naiad.export.fields import Fields, Part
from naiad.scalars import unpack_text
from naiad.storage.base import Store

FORMATS = ("parquet", "csv", "json")
PART_BYTES = 50 << 20
"""Bytes from which on a run goes on in another file, as in the exporter's dumps."""


def export_runs(store: Store, runs: Iterable[RunId], destination: str | os.PathLike[str], format: str) -> list[Path]:
    """Write runs to a folder, and return the files of their rows.

    Each file appears whole or not at all, and replaces that of an earlier export.

    Args:
        store: the store of the runs.
        runs: runs, models or versions.
        destination: a folder, which is made if need be.
        format: "parquet", "csv" or "json".

    Raises:
        InvalidArgument: there is no such format.
        StorageError: the folder cannot be written.
        DamagedData: something stored is damaged.
        MissingPackage: parquet without pyarrow.
    """
    if format not in FORMATS:
        raise InvalidArgument(
            f"There is no format {format!r}.\nThe formats are {', '.join(FORMATS)}.", argument="format"
        )
    if format == "parquet":
        arrow()
    root = Path(os.path.expanduser(os.fsdecode(destination)))
    try:
        return [path for run in runs for path in _Run(store, run, root).write(format)]
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"The folder {str(root)!r} cannot be written: {error.strerror or error}.",
            errno=error.errno,
            filename=str(root),
        ) from error


def sanitized(name: str) -> str:
    """Return a name as the exporter writes it in file names.

    >>> sanitized("my-org/My Project")
    'my-org_My_Project-876989e761c8010b'
    """
    plain = "".join(each if each.isalnum() or each in "_-" else "_" for each in name)
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    # File systems take 255 bytes of a name; the hash, the number of the part and .tmp follow.
    while len(plain.encode()) > 150:
        plain = plain[:-1]
    return f"{plain}-{digest}"


class _Run:
    """One run on its way into a dump."""

    def __init__(self, store: Store, run: RunId, root: Path) -> None:
        self._reader = reader = store.reader(run)
        facts = reader.values("sys")
        self._project, name = (
            unpack_text(value) if isinstance(value, str | bytes) else ""
            for value in (facts.get("sys/project"), facts.get("sys/id"))
        )
        self._id = name or run.uid
        is_model = run.kind in (MODEL, MODEL_VERSION)
        inner = {MODEL: "models", MODEL_VERSION: "model_versions", PROJECT: "projects"}.get(run.kind, "")
        folder = sanitized(self._project)
        self._data = root / ("model_data" if is_model else "data") / folder / inner
        self._files = root / ("model_files" if is_model else "files") / folder
        self._prefix = f"{inner}/{self._id}" if inner else f"{self._project}/{self._id}"

    def write(self, format: str) -> list[Path]:
        """Write rows and files, and return the files of rows."""
        self._data.mkdir(parents=True, exist_ok=True)
        parts = Fields(self._reader, self._files, self._prefix).parts()
        stem = sanitized(self._id)
        if format == "parquet":
            return self._write_parquet(parts, stem)
        place = self._data / f"{stem}.{'csv' if format == 'csv' else 'jsonl'}"
        with _appearing(place) as stream:
            text = io.TextIOWrapper(stream, "utf-8", newline="")
            (rows.write_csv if format == "csv" else rows.write_json)(parts, self._project, self._id, text)
            text.flush()
            text.detach()  # the file is closed by the context that has opened it
        return [place]

    def _write_parquet(self, parts: Iterator[Part], stem: str) -> list[Path]:
        pa = arrow()
        written: list[Path] = []
        waiting = parquet.tables(pa, self._project, self._id, parts)
        table = next(waiting, None)
        # A run without fields still gets a file, so that the dump shows that it exists.
        while table is not None or not written:
            place = self._data / f"{stem}_part_{len(written)}.parquet"
            with (
                _appearing(place) as stream,
                pa.parquet.ParquetWriter(stream, parquet.schema(pa), compression="snappy") as writer,
            ):
                while table is not None:
                    writer.write_table(table)
                    table = next(waiting, None)
                    if stream.tell() >= PART_BYTES:
                        break
            written.append(place)
        for number in range(len(written), len(written) + 10_000):  # parts of a longer, earlier export
            old = self._data / f"{stem}_part_{number}.parquet"
            if not old.exists():
                break
            old.unlink()
        return written


class _appearing:
    """A file that appears under its name once it is whole."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._part = place.with_name(f"{place.name}.tmp")

    def __enter__(self) -> IO[bytes]:
        self._stream = self._part.open("wb")
        return self._stream

    def __exit__(self, kind: object, *_rest: object) -> None:
        self._stream.close()
        if kind is None:
            os.replace(self._part, self._place)
        else:
            self._part.unlink(missing_ok=True)
