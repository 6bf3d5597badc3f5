"""Fields of one container: the tree, search in it, values."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Annotated, Any

import msgspec

from naiad.errors import DamagedData, FieldConflict, MissingField, NaiadError
from naiad.fields.file_series import FileSeries
from naiad.kinds import ASPECTS, ATOMS, KINDS, MEMBERS, TAGS
from naiad.ops import Plain
from naiad.refs import ArtifactRef, FileRef
from naiad.storage.base import RunReader
from naiad_web.server.answers import Json, Problem, datum, number, steps
from naiad_web.server.parameters import Parameters
from naiad_web.server.routes import Route
from naiad_web.server.site import Site

LONGEST_TEXT = 1_000
"""Characters of a text that a list of fields shows."""

SHOWN_AS = {
    "image": "png jpg jpeg gif webp bmp avif ico apng",
    "audio": "wav mp3 ogg oga flac m4a aac opus weba",
    "video": "mp4 webm ogv mov m4v",
    "pdf": "pdf",
    "html": "html htm xhtml",
    "svg": "svg",
    "markdown": "md markdown",
    "json": "json geojson",
    "table": "csv tsv parquet",
    "notebook": "ipynb",
    "archive": "zip",
    "text": "txt log py ipy pyi r sh bash zsh fish yaml yml toml ini cfg conf ts js jsx tsx css c h cc cpp hpp rs go "
    "java sql patch diff rst tex xml ndjson jsonl env lock cu scala kt swift jl m lua pl rb dockerfile makefile",
}
_shown_as = {extension: name for name, extensions in SHOWN_AS.items() for extension in extensions.split()}
# Python's own table: the machine's has other types on each, and a game console's "page table" for a model in x.pt.
_types = mimetypes.MimeTypes()
MEDIA = {
    "md": "text/markdown",
    "ipynb": "application/json",
    "jsonl": "text/plain",
    "yaml": "text/plain",
    "yml": "text/plain",
    "webp": "image/webp",
    "avif": "image/avif",
    "apng": "image/apng",
    "ogv": "video/ogg",
    "m4v": "video/mp4",
    "ogg": "audio/ogg",
    "oga": "audio/ogg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "aac": "audio/aac",
    "weba": "audio/webm",
}


class TreeWanted(Parameters, frozen=True, kw_only=True):
    """A level of the tree."""

    prefix: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1_000
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


class FieldsWanted(Parameters, frozen=True, kw_only=True):
    """Fields to list."""

    prefix: str = ""
    search: str = ""
    regex: str = ""
    kind: list[str] = []
    details: bool = False
    limit: Annotated[int, msgspec.Meta(ge=1, le=200_000)] = 1_000
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


class ValueWanted(Parameters, frozen=True, kw_only=True):
    """A field."""

    path: str


class AttributesWanted(Parameters, frozen=True, kw_only=True):
    """A namespace."""

    prefix: str = ""


def tree(site: Site, name: str, takes: TreeWanted) -> Json:
    """One level of the tree of fields."""
    reader = site.reader(site.find(name))
    inside = f"{takes.prefix}/" if takes.prefix else ""
    spaces: dict[str, int] = {}
    own: list[tuple[str, str]] = []
    for path, kind in reader.kinds().items():
        if path.startswith(inside):
            part, slash, _rest = path[len(inside) :].partition("/")
            if slash:
                spaces[part] = spaces.get(part, 0) + 1
            else:
                own.append((path, kind))
    namespaces = [{"name": part, "path": inside + part, "fields": count} for part, count in sorted(spaces.items())]
    # One list of both, so that a page may end among namespaces and the next go on with fields.
    items: list[tuple[str, Any]] = [
        *(("namespaces", each) for each in namespaces),
        *(("fields", e) for e in sorted(own)),
    ]
    page = items[takes.offset : takes.offset + takes.limit]
    return {
        "prefix": takes.prefix,
        "total": len(items),
        "namespaces": [each for what, each in page if what == "namespaces"],
        "fields": [described(reader, *each) for what, each in page if what == "fields"],
    }


def fields(site: Site, name: str, takes: FieldsWanted) -> Json:
    """All fields, flat, or those that fit a search."""
    reader = site.reader(site.find(name))
    inside, fits = (f"{takes.prefix}/" if takes.prefix else ""), fitting(takes.search, takes.regex)
    wanted = set(takes.kind)
    found = sorted(
        (path, kind)
        for path, kind in reader.kinds().items()
        if path.startswith(inside) and (not wanted or kind in wanted) and fits(path)
    )
    # Details read the run once for each field, so that a page of them is smaller.
    page = found[takes.offset : takes.offset + (min(takes.limit, 5_000) if takes.details else takes.limit)]
    if takes.details:
        return {"total": len(found), "fields": [described(reader, *each) for each in page]}
    return {"total": len(found), "fields": [{"path": path, "kind": kind} for path, kind in page]}


def value(site: Site, name: str, takes: ValueWanted) -> Json:
    """One field with its whole value."""
    reader = site.reader(site.find(name))
    found = reader.kinds().get(takes.path)
    if found is None:
        raise MissingField(f'{name} has no field "{takes.path}".', path=takes.path)
    return described(reader, takes.path, found, longest=None, is_guarded=False)


def attributes(site: Site, name: str, takes: AttributesWanted) -> Json:
    """All single values and string sets below a namespace."""
    reader = site.reader(site.find(name))
    atoms = reader.atoms(takes.prefix)
    found: dict[str, Json] = {path: [kind, datum(kind, plain)] for path, (kind, plain) in atoms.items()}
    inside = f"{takes.prefix}/" if takes.prefix else ""
    for path, kind in reader.kinds().items():
        if kind == TAGS and path.startswith(inside):
            found[path] = [kind, sorted(reader.tags(path))]
    return {"attributes": dict(sorted(found.items()))}


def fitting(search: str, regex: str = "") -> Callable[[str], bool]:
    """Return a test for texts: whether all parts are in it, or a regular expression matches.

    Raises:
        Problem: it is no regular expression.
    """
    if regex:
        return matching(regex)
    # parts in any order: a path is remembered by its pieces
    words = search.lower().split()
    if not words:
        return lambda _path: True
    return lambda path: all(word in path.lower() for word in words)


def matching(regex: str, *, ignores_case: bool = False) -> Callable[[str], bool]:
    """Return a test for texts by a regular expression, in time proportional to the text.

    Raises:
        Problem: it is no regular expression, or too large a one.
    """
    import re2

    options = re2.Options()
    options.log_errors = False
    # RE2, since a pattern comes from the address bar and may be chosen to take for ever
    options.case_sensitive = not ignores_case
    try:
        compiled = re2.compile(regex, options)
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        what = f"This is not a valid regular expression ({reason[:80]})."
        raise Problem(400, "InvalidArgument", what, argument="regex") from None
    return lambda text: compiled.search(text) is not None


def described(
    reader: RunReader, path: str, kind: str, *, longest: int | None = LONGEST_TEXT, is_guarded: bool = True
) -> dict[str, Json]:
    """A field as a list shows it; damage is a member of it.

    Args:
        reader: of its run.
        path: of the field.
        kind: of the field.
        longest: cut texts to so many characters.
        is_guarded: make an error a member instead of raising it.
    """
    row = KINDS[kind]
    field: dict[str, Json] = {"path": path, "name": path.rpartition("/")[2], "kind": kind, "type": row.neptune}
    try:
        return field | _details(reader, path, kind, longest)
    except (DamagedData, FieldConflict, MissingField) as error:
        if not is_guarded:
            raise
        return field | {"error": {"type": type(error).__name__, "detail": str(error)}}


def _details(reader: RunReader, path: str, kind: str, longest: int | None) -> dict[str, Json]:
    row = KINDS[kind]
    if kind in ATOMS or row.shape == "derived":
        return _cut(datum(kind, reader.value(path)), longest)
    if kind == TAGS:
        return {"value": sorted(reader.tags(path))}
    if row.shape == "points":
        last = reader.last(path)
        # The first aspect is the last value, which is given with its step beside them.
        low_and_high = dict(zip(ASPECTS[1:], map(number, reader.aspects(path)[1:]), strict=True)) if last else {}
        return {"count": reader.count(path), "last": _last(last), **low_and_high, "unit": reader.config(path)[2]}
    if row.shape == "texts":
        return {"count": reader.count(path), "last": _last_text(reader, path, kind, longest)}
    if kind == MEMBERS:
        members = reader.members(path)
        return {"files": len(members), "size": sum(FileRef.from_text(text).size for text in members.values())}
    if kind == FileRef.kind:
        facts = file_facts(reader, FileRef.from_text(text_of(reader.atom(path)[1])))
        return {name: each for name, each in facts.items() if name != "name"}
    if row.keeps == "manifest":
        version = ArtifactRef.from_text(text_of(reader.atom(path)[1]))
        return {"hash": version.hash, "files": version.files, "size": version.size}
    if row.holds == "facts":
        return _facts(text_of(reader.atom(path)[1]))
    return {}


def _cut(found: Json, longest: int | None) -> dict[str, Json]:
    if isinstance(found, str) and longest is not None and len(found) > longest:
        return {"value": found[:longest], "cut": True}
    return {"value": found, "cut": False}


def _last(last: Any) -> Json:
    if last is None:
        return None
    return {"step": steps([last.step])[0], "value": number(last.value), "time": last.time}


def _last_text(reader: RunReader, path: str, kind: str, longest: int | None) -> Json:
    last = reader.last(path, kind)
    if last is None:
        return None
    row, text = KINDS[kind], str(last.value)
    shown: Json = text if longest is None else text[:longest]
    if kind == FileSeries.kind:
        shown = file_facts(reader, FileRef.from_text(text))
    elif row.holds == "facts":
        shown = _facts(text).get(row.fact)
    return {"step": steps([last.step])[0], "value": shown, "time": last.time}


def _facts(text: str) -> dict[str, Json]:
    """The members of a JSON text; of one that is damaged, none."""
    try:
        found = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def text_of(plain: Plain) -> str:
    """The text of a stored value."""
    return plain.decode("utf-8", "surrogatepass") if isinstance(plain, bytes) else str(plain)


def file_facts(reader: RunReader, file: FileRef, name: str = "") -> dict[str, Json]:
    """A stored file as answers describe it."""
    extension = (file.extension or name.rpartition("/")[2].rpartition(".")[2]).lower()
    try:
        digest = reader.digest(file)
    except NaiadError:  # its content is missing: reading it says so
        digest = ""
    return {
        "size": file.size,
        "extension": file.extension,
        "name": name or file.name,
        "description": file.description,
        "modified": _modified(file.modified),
        "sha256": digest if len(digest) == 64 else "",
        "media": media_of(extension),
        "shown_as": shown_as(extension, name),
    }


def media_of(extension: str) -> str:
    """The media type of files with an extension."""
    return MEDIA.get(extension) or _types.guess_type(f"x.{extension}", strict=False)[0] or "application/octet-stream"


def shown_as(extension: str, name: str = "") -> str:
    """How pages show files with an extension, or with a name."""
    return _shown_as.get(extension) or _shown_as.get(name.rpartition("/")[2].lower().lstrip(".")) or "binary"


def _modified(nanoseconds: int | None) -> str | None:
    if nanoseconds is None:
        return None
    try:
        # Of a hostile or damaged reference the number may be any.
        moment = datetime.fromtimestamp(nanoseconds / 1e9, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


ROUTES = (
    Route("GET", "/containers/{id}/tree", tree, TreeWanted, "One level of the tree of fields"),
    Route("GET", "/containers/{id}/fields", fields, FieldsWanted, "All fields, or those that fit a search"),
    Route("GET", "/containers/{id}/value", value, ValueWanted, "One field with its whole value"),
    Route("GET", "/containers/{id}/attributes", attributes, AttributesWanted, "Single values below a namespace"),
)
