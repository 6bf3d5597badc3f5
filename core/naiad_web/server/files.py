"""Stored files: their content in ranges, lists of them, archives, and the beginning of tables and notebooks."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import IO, Annotated, Any, NamedTuple

import msgspec

from naiad.errors import FieldConflict, MissingField
from naiad.fields.file_series import FileSeries
from naiad.files.names import safe_names
from naiad.kinds import MEMBERS
from naiad.refs import FileRef
from naiad.storage.base import RunReader
from naiad_web.server.about import has_arrow
from naiad_web.server.answers import Answer, Json, Problem, Stream, attachment, number
from naiad_web.server.fields import file_facts, fitting, media_of, shown_as, text_of
from naiad_web.server.parameters import Parameters
from naiad_web.server.pieces import Pieces
from naiad_web.server.routes import Route
from naiad_web.server.site import Site

CHUNK = 256 * 1024
LARGEST_MEMBER = 256 * 1024 * 1024
LARGEST_PREVIEW = 4 * 1024 * 1024
MOST_MEMBERS = 100_000
SANDBOX = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src data: blob:; font-src data:; frame-ancestors 'self'"
)
"""The policy of logged content: it may draw, and reaches neither the pages nor any network.

Charts of Altair make functions of texts. That is no more than a script of the page may do, which runs here anyway.
"""
PDF = "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'"
AS_TEXT = ("text", "markdown", "table")
OWN_TYPE = ("image", "audio", "video", "pdf", "html", "svg", "json", "notebook")
_range = re.compile(r"bytes=(\d*)-(\d*)")
_drive = re.compile(r"[A-Za-z]:")


class FileWanted(Parameters, frozen=True, kw_only=True):
    """A stored file."""

    run: str
    path: str
    index: int | None = None
    entry: str | None = None
    member: str | None = None
    download: bool = False
    as_: str = msgspec.field(default="", name="as")


class FilesWanted(Parameters, frozen=True, kw_only=True):
    """Files of a file set."""

    run: str
    path: str
    prefix: str = ""
    search: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 5_000
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


class ZipWanted(Parameters, frozen=True, kw_only=True):
    """Files to be packed."""

    run: str
    path: str


class ArchiveWanted(Parameters, frozen=True, kw_only=True):
    """A stored archive."""

    run: str
    path: str
    index: int | None = None
    entry: str | None = None


class PreviewWanted(ArchiveWanted, frozen=True, kw_only=True):
    """A stored table or notebook."""

    rows: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100


class Located(NamedTuple):
    """A stored file that was found, and the name under which it is saved."""

    reader: RunReader
    file: FileRef
    name: str

    @property
    def extension(self) -> str:
        """Its extension in lower case."""
        return (self.file.extension or self.name.rpartition("/")[2].rpartition(".")[2]).lower()


def locate(site: Site, run: str, path: str, index: int | None, entry: str | None) -> Located:
    """Find a stored file by run, path and entry; no part of it ever is a path on the disk.

    Raises:
        MissingField: there is none.
        FieldConflict: the field holds no files.
    """
    reader = site.reader(site.find(run))
    kind = reader.kinds().get(path)
    if kind is None:
        raise MissingField(f'{run} has no field "{path}".', path=path)
    name = path.rpartition("/")[2]
    if kind == FileRef.kind:
        file = FileRef.from_text(text_of(reader.atom(path)[1]))
    elif kind == MEMBERS:
        members = reader.members(path)
        if entry is None or entry not in members:
            raise Problem(404, "NotFound", f'"{path}" has no file {str(entry)[:200]!r}.', path=path)
        file, name = FileRef.from_text(members[entry]), entry.rpartition("/")[2]
    elif kind == FileSeries.kind:
        page = reader.text_page(path, -1 if index is None else index, 1, kind)
        if not page.texts or (index is not None and index < -page.total):
            raise Problem(404, "NotFound", f'"{path}" has no entry {index}; it has {page.total}.', path=path)
        file, name = FileRef.from_text(page.texts[0]), f"{name}-{page.start}"
    else:
        raise FieldConflict(f'"{path}" is of kind {kind}, which has no files.', path=path)
    if file.extension and not name.endswith(f".{file.extension}"):
        name = f"{name}.{file.extension}"
    return Located(reader, file, name)


def content(site: Site, takes: FileWanted, headers: Mapping[str, str]) -> Answer | Stream:
    """The content of a stored file, or a part of it."""
    found = locate(site, takes.run, takes.path, takes.index, takes.entry)
    if takes.member is not None:
        return _member(found, takes)
    digest = found.reader.digest(found.file)
    sent = _headers(found.extension, found.name, takes)
    sent["Accept-Ranges"] = "bytes"
    # Content has its hash as its tag once it is hashed; before that it has none, as its name will change.
    if len(digest) == 64:
        sent["ETag"] = f'"{digest}"'
        if digest in headers.get("if-none-match", ""):
            return Answer(b"", status=304, headers=sent, media=sent.pop("Content-Type"))
    media = sent.pop("Content-Type")
    size, start, stop, status = found.file.size, 0, found.file.size, 200
    given = headers.get("range", "")
    if given and headers.get("if-range", "") in ("", sent.get("ETag", "-")):
        start, stop, status = _asked_range(given, size)
    sent["Content-Length"] = str(stop - start)
    if status == 206:
        sent["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    # a part cannot be checked against the hash of the whole
    stream = found.reader.open_file(found.file, is_checked=status == 200)
    return Stream(_parts(stream, start, stop), media, sent, status)


def _asked_range(given: str, size: int) -> tuple[int, int, int]:
    match = _range.fullmatch(given.strip())
    if match is None:  # several ranges, or another unit: the whole is a right answer
        return 0, size, 200
    first, last = match.groups()
    if first:
        start, stop = int(first), min(int(last) + 1 if last else size, size)
    else:
        start, stop = max(0, size - int(last or 0)), size
    if start >= stop:
        raise Problem(
            416, "RangeNotSatisfiable", f"The file has {size:,} bytes, and {given[:100]!r} contains none of them."
        )
    return start, stop, 206


def _parts(stream: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
    with stream:
        if start:
            stream.seek(start)
        left = stop - start
        while left > 0:
            data = stream.read(min(CHUNK, left))
            if not data:
                return
            left -= len(data)
            yield data


def _headers(extension: str, name: str, takes: FileWanted) -> dict[str, str]:
    """Type, policy and name of logged content. Only harmless content comes under its own type."""
    shown = shown_as(extension, name)
    # Logged content is foreign code: an HTML page or SVG of a run would otherwise act in the name of the user who
    # opens it. Browsers show no PDF inside a sandbox, hence its own policy.
    policy = PDF if shown == "pdf" else SANDBOX
    sent = {"Content-Security-Policy": policy, "Cache-Control": "private, no-cache"}
    if takes.as_ == "text" or shown in AS_TEXT:
        sent["Content-Type"] = "text/plain; charset=utf-8"
    elif shown in OWN_TYPE:
        sent["Content-Type"] = "text/html; charset=utf-8" if shown == "html" else media_of(extension)
    else:
        sent["Content-Type"] = "application/octet-stream"
    if takes.download or (sent["Content-Type"] == "application/octet-stream"):
        sent |= attachment(name)
    return sent


# Sets and archives


def files(site: Site, takes: FilesWanted) -> Json:
    """The files of a file set."""
    reader = site.reader(site.find(takes.run))
    kind = reader.kinds().get(takes.path)
    if kind != MEMBERS:
        found = locate(site, takes.run, takes.path, None, None)
        facts = file_facts(found.reader, found.file, found.name)
        return {"total": 1, "size": found.file.size, "files": [facts]}
    inside, fits = (f"{takes.prefix}/" if takes.prefix else ""), fitting(takes.search)
    members = reader.members(takes.path)
    names = sorted(name for name in members if name.startswith(inside) and fits(name))
    size = sum(FileRef.from_text(members[name]).size for name in names)
    page = names[takes.offset : takes.offset + takes.limit]
    rows = [file_facts(reader, FileRef.from_text(members[name]), name) for name in page]
    return {"total": len(names), "size": size, "files": rows}


def packed(site: Site, takes: ZipWanted) -> Stream:
    """A file set, a file series, or all files below a namespace, as a ZIP."""
    reader = site.reader(site.find(takes.run))
    found = _stored_below(reader, takes.path)
    if not found:
        raise MissingField(f'{takes.run} has no files at "{takes.path}".', path=takes.path)
    name = takes.path.rpartition("/")[2] or takes.run
    return Stream(_zipped(reader, found), "application/zip", attachment(f"{name}.zip"))


def _stored_below(reader: RunReader, path: str) -> dict[str, FileRef]:
    found: dict[str, FileRef] = {}
    kinds = reader.kinds()
    inside = f"{path}/" if path else ""
    for each, kind in sorted(kinds.items()):
        if each != path and not each.startswith(inside):
            continue
        below = each[len(inside) :] if each != path else ""
        if kind == MEMBERS:
            members = reader.members(each)
            found |= {f"{below}/{name}".strip("/"): FileRef.from_text(text) for name, text in members.items()}
        elif kind == FileSeries.kind:
            texts = reader.texts(each, kind).texts
            refs = [FileRef.from_text(text) for text in texts]
            found |= {_dotted(f"{below}/{place}".strip("/"), file): file for place, file in enumerate(refs)}
        elif kind == FileRef.kind:
            file = FileRef.from_text(text_of(reader.atom(each)[1]))
            found[_dotted(below or each.rpartition("/")[2], file)] = file
    return found


def _dotted(name: str, file: FileRef) -> str:
    return f"{name}.{file.extension}" if file.extension and not name.endswith(f".{file.extension}") else name


def _zipped(reader: RunReader, found: Mapping[str, FileRef]) -> Iterator[bytes]:
    """The bytes of a ZIP, made while they are sent. Its names lead nowhere but into a folder."""
    # names come from data: in the archive they stay below its folder
    paths = safe_names(found)
    sink = Pieces()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, file in found.items():
            modified = datetime.fromtimestamp((file.modified or 0) / 1e9, timezone.utc)
            moment = modified.timetuple()[:6] if 1980 <= modified.year <= 2107 else (1980, 1, 1, 0, 0, 0)
            entry = zipfile.ZipInfo(paths[name], moment)
            entry.external_attr = 0o644 << 16
            with (
                reader.open_file(file, is_checked=True) as source,
                archive.open(entry, "w", force_zip64=True) as target,
            ):
                while data := source.read(CHUNK):
                    target.write(data)
                    # Sent while it is made: an archive of gigabytes is never whole in memory.
                    yield sink.taken()
    yield sink.taken()


def archive(site: Site, takes: ArchiveWanted) -> Json:
    """The list of a stored ZIP, without unpacking it."""
    found = locate(site, takes.run, takes.path, takes.index, takes.entry)
    with _opened(found) as opened:
        # the directory at the end of the file; no member is unpacked for it
        infos = opened.infolist()
        rows = [
            {"name": info.filename, "size": info.file_size, "packed": info.compress_size, "modified": _zip_time(info)}
            for info in infos[:MOST_MEMBERS]
            if not info.is_dir() and is_inside(info)
        ]
        refused = [info.filename for info in infos[:MOST_MEMBERS] if not info.is_dir() and not is_inside(info)]
    return {"total": len(infos), "files": rows, "refused": refused}


def is_inside(info: zipfile.ZipInfo) -> bool:
    """Whether a name in an archive leads nowhere but into the folder it would be unpacked to, and is no link."""
    name = info.orig_filename if "\0" in info.orig_filename else info.filename
    parts = name.replace("\\", "/").split("/")
    is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
    return not (
        is_link or name.startswith(("/", "\\")) or ".." in parts or "\0" in name or "\\" in name or _drive.match(name)
    )


def _opened(found: Located) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(found.reader.open_file(found.file))
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise Problem(409, "FieldConflict", f"This file is not a ZIP that can be read: {error}.") from None


def _member(found: Located, takes: FileWanted) -> Answer:
    with _opened(found) as opened:
        info = next((each for each in opened.infolist() if each.filename == takes.member), None)
        if info is None or info.is_dir() or not is_inside(info):
            raise Problem(404, "NotFound", f"The archive has no file {str(takes.member)[:200]!r} that can be read.")
        if info.file_size > LARGEST_MEMBER:
            raise Problem(413, "TooLarge", f"{info.filename!r} has {info.file_size:,} bytes when it is unpacked.")
        try:
            with opened.open(info) as stream:
                data = stream.read(min(info.file_size, LARGEST_MEMBER) + 1)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError, EOFError) as error:
            raise Problem(409, "FieldConflict", f"{info.filename!r} cannot be unpacked: {error}.") from None
    if len(data) > info.file_size:
        raise Problem(413, "TooLarge", f"{info.filename!r} is longer than the archive says.")
    name = info.filename.rpartition("/")[2]
    sent = _headers(name.rpartition(".")[2].lower(), name, takes)
    return Answer(data, sent.pop("Content-Type"), headers=sent)


def _zip_time(info: zipfile.ZipInfo) -> str | None:
    try:
        return datetime(*info.date_time, tzinfo=timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except ValueError:
        return None


# The beginning of tables and notebooks


def preview(site: Site, takes: PreviewWanted) -> Json:
    """The beginning of a table or a notebook as data."""
    found = locate(site, takes.run, takes.path, takes.index, takes.entry)
    if found.extension == "parquet":
        return _parquet(found, takes.rows)
    with found.reader.open_file(found.file) as stream:
        data = stream.read(LARGEST_PREVIEW + 1)
    if found.extension == "ipynb":
        return _notebook(data)
    if found.extension in ("csv", "tsv"):
        return _table(data, takes.rows, "\t" if found.extension == "tsv" else ",")
    raise Problem(409, "FieldConflict", f"There is no preview of {found.extension or 'this kind of'} files.")


def _table(data: bytes, rows: int, delimiter: str) -> Json:
    text = data[:LARGEST_PREVIEW].decode("utf-8-sig", "replace")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    found: list[list[str]] = []
    try:
        for row in reader:
            found.append(row[:1_000])
            if len(found) > rows + 1:
                break
    except csv.Error as error:
        raise Problem(409, "FieldConflict", f"This table cannot be read: {error}.") from None
    is_cut = len(found) > rows + 1 or len(data) > LARGEST_PREVIEW
    body = found[1 : rows + 1]
    return {
        "form": "table",
        "columns": found[0] if found else [],
        "rows": body,
        "total_rows": None if is_cut else len(body),
        "cut": is_cut,
    }


def _parquet(found: Located, rows: int) -> Json:
    if not has_arrow():
        raise Problem(406, "NotAcceptable", 'Parquet needs pyarrow: pip install "naiad[import]".')
    import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]  # it has no types of its own
    import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]  # likewise

    try:
        with found.reader.open_file(found.file) as stream:
            file = pq.ParquetFile(stream)
            batch = next(file.iter_batches(batch_size=rows), None)
            total, columns = file.metadata.num_rows, list(file.schema_arrow.names)
            body = [] if batch is None else [[_plain(each) for each in row.values()] for row in batch.to_pylist()]
    except (pa.ArrowInvalid, pa.ArrowException, OSError) as error:
        raise Problem(409, "FieldConflict", f"This Parquet file cannot be read: {error}.") from None
    return {"form": "table", "columns": columns, "rows": body, "total_rows": total, "cut": total > len(body)}


def _plain(value: Any) -> Json:
    if value is None or isinstance(value, bool | str):
        return value
    return number(value) if isinstance(value, int | float) else str(value)[:1_000]


def _notebook(data: bytes) -> Json:
    """The cells of a notebook; of its outputs texts and images."""
    if len(data) > LARGEST_PREVIEW:
        raise Problem(413, "TooLarge", f"A notebook is shown up to {LARGEST_PREVIEW:,} bytes; download it.")
    try:
        book = json.loads(data)
        cells = [_cell(each) for each in book["cells"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Problem(409, "FieldConflict", "This notebook cannot be read.") from None
    return {"form": "notebook", "cells": cells}


def _cell(cell: Mapping[str, Any]) -> dict[str, Json]:
    outputs = [_output(each) for each in cell.get("outputs", ())]
    return {"type": str(cell["cell_type"]), "source": _text(cell.get("source", "")), "outputs": outputs}


def _output(output: Mapping[str, Any]) -> dict[str, Json]:
    data = output.get("data", {})
    image = next((kind for kind in ("image/png", "image/jpeg") if kind in data), None)
    found: dict[str, Json] = {"text": _text(output.get("text", data.get("text/plain", "")))}
    if "traceback" in output:
        found["text"] = "\n".join(map(str, output["traceback"]))
    if image:
        # what is no base64 could end the address that it stands in
        base64 = re.sub(r"[^A-Za-z0-9+/=]", "", _text(data[image]))
        found["image"] = f"data:{image};base64,{base64}"
    return found


def _text(value: Any) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else str(value)


ROUTES = (
    Route(
        "GET", "/file", content, FileWanted, "The content of a stored file", wants_headers=True,
        media=("application/octet-stream",),
    ),
    Route("GET", "/files", files, FilesWanted, "The files of a file set"),
    Route("GET", "/zip", packed, ZipWanted, "Files as one ZIP", media=("application/zip",)),
    Route("GET", "/archive", archive, ArchiveWanted, "What is in a stored ZIP"),
    Route("GET", "/preview", preview, PreviewWanted, "The beginning of a table or a notebook"),
)  # fmt: skip
