"""The storage interface for programs elsewhere: calls of `naiad.storage.base` as `naiad.storage.wire` encodes them.

A client of `https://` reads through these routes exactly the data that a program beside the store reads. Only calls of
the tables in `wire` are made, on the store as the request may see it. Content is given by the field that refers to it:
a hash alone gives no right to any.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from naiad.container_kinds import ContainerKind, RunId
from naiad.errors import DamagedData, MissingField
from naiad.integers import LARGEST, SMALLEST
from naiad.kinds import FILES, KINDS, MEMBERS, TEXTS
from naiad.query.tree import AnyKind, FieldName, leaves
from naiad.refs import ArtifactRef, FileRef
from naiad.storage import wire
from naiad.storage.base import RunReader
from naiad.storage.catalog import Found
from naiad_web.server.answers import Answer, Problem
from naiad_web.server.parameters import Packed
from naiad_web.server.routes import MSGPACK, Route
from naiad_web.server.site import Site

_NUMBER = (int, float, type(None))
_TEXT, _COUNT = (str, type(None)), (int, type(None))
_TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,), "project": _TEXT, "custom_run_id": (str,), "run": (RunId,), "kind": (ContainerKind, type(None)),
    "tags": (list,), "state": _TEXT, "is_trashed": (bool, type(None)), "sort_by": (str,), "is_ascending": (bool,),
    "limit": _COUNT, "offset": (int,), "columns": (list, type(None)), "sort": (list,), "path": (str,),
    "search": (str,), "by": (list,), "since": _TEXT, "prefix": (str,), "kinds": (list,), "start": (int,),
    "include_rewound": (bool,), "is_after": (bool,), "step": _NUMBER, "time": _NUMBER, "buckets": (int,),
    "file": (FileRef,), "after": (str,),
}  # fmt: skip
"""The types of arguments by their names; what these hold is checked where it is used."""
MOST_BUCKETS = 100_000


def store(site: Site, takes: Packed) -> Answer:
    """Answer a call of the store."""
    _run, call, arguments = _request(takes, wire.STORE)
    return _answer(getattr(site.store, call), arguments)


def catalog(site: Site, takes: Packed) -> Answer:
    """Answer a call of the catalog."""
    _run, call, arguments = _request(takes, wire.CATALOG)
    found = _called(getattr(site.catalog, call), arguments)
    if isinstance(found, Found) and not wire.decode(takes.content).get("columns"):
        found = found._replace(rows=[*found.rows])  # a client of an earlier release knows no columns
    return Answer(wire.encode(found), MSGPACK)


def reader(site: Site, takes: Packed) -> Answer:
    """Answer a call of the reader of one container."""
    run, call, arguments = _request(takes, wire.READER)
    found = getattr(_reader(site, run), call)
    return _answer(found if callable(found) else lambda: found, arguments)


def content(site: Site, takes: Packed) -> Answer:
    """Answer with a piece of a stored file that a field refers to, or with an address of its content elsewhere."""
    run, call, arguments = _request(takes, frozenset({"read", "link"}))
    path, file, start = (arguments.get(name) for name in ("path", "file", "start"))
    if not isinstance(path, str) or not isinstance(file, FileRef) or not isinstance(start, int) or start < 0:
        raise _wrong("content needs path, file and start")
    of_run = _reader(site, run)
    known: set[tuple[Any, ...]] = site.fresh(("content", run, path), lambda: set(_places(of_run, path)))
    # A guessed hash would otherwise open the files of runs that the request may not see.
    if (file.blob, file.start, file.size) not in known:
        raise MissingField(f'The field "{path}" does not refer to this content.', path=path)
    if call == "link":
        return Answer(wire.encode(of_run.link(file)), MSGPACK)
    with of_run.open_file(file) as stream:
        stream.seek(start)
        return Answer(wire.encode(stream.read(wire.CONTENT)), MSGPACK)


def _request(takes: Packed, calls: frozenset[str]) -> tuple[RunId | None, str, dict[str, Any]]:
    """Return run, call and arguments of a request.

    Raises:
        Problem: it is no such request.
    """
    try:
        asked = wire.decode(takes.content)
    except ValueError as error:
        raise _wrong(str(error)) from None
    if not isinstance(asked, dict):
        raise _wrong("it is not a request")
    run, call, arguments = (asked.get(name) for name in ("run", "call", "arguments"))
    # A fixed list and no getattr for any name: attributes beside it are no part of the interface.
    if not isinstance(call, str) or call not in calls:
        raise Problem(404, "NotFound", f"There is no call {str(call)[:100]!r} here.")
    if not (run is None or isinstance(run, RunId)) or not isinstance(arguments, dict):
        raise _wrong("run and arguments are of other types")
    for name, value in arguments.items():
        if name == "condition":
            _check_condition(value)
        elif not isinstance(value, _TYPES.get(name, ())):
            raise _wrong(f"the argument {str(name)[:100]!r} is not known or has a wrong type")
    # They become parameters of SQL, or are split as texts, and any other type would fail deep inside.
    for name in ("tags", "kinds", "by", "columns"):
        if not all(isinstance(each, str) for each in arguments.get(name) or ()):
            raise _wrong(f"{name} has to be a list of texts")
    if any(isinstance(each, int) and not SMALLEST <= each <= LARGEST for each in arguments.values()):
        raise _wrong("an integer has more than 64 bits")
    if call == "page" and arguments.get("limit") is None:
        raise _wrong("a page needs a limit")
    if arguments.get("buckets", 1) > MOST_BUCKETS:
        raise _wrong(f"there may be at most {MOST_BUCKETS:,} buckets")
    return run, call, arguments


def _check_condition(condition: Any) -> None:
    """Raise unless a condition is a tree of nodes.

    Raises:
        Problem: it is something else.
    """
    if condition is None:
        return
    try:
        for leaf, depth in leaves(condition):
            if depth > wire.DEEPEST or isinstance(leaf, AnyKind) or type(leaf).__module__ != FieldName.__module__:
                raise _wrong("the condition is not a query")
            field = getattr(leaf, "field", None)
            if field is not None and not (isinstance(field, FieldName) and isinstance(field.path, str)):
                raise _wrong("the condition is not a query")
    except (TypeError, AttributeError) as error:
        raise _wrong("the condition is not a query") from error


def _answer(call: Callable[..., Any], arguments: Mapping[str, Any]) -> Answer:
    return Answer(wire.encode(_called(call, arguments)), MSGPACK)


def _called(call: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Return the result of a call; lists of kinds follow its other arguments.

    Raises:
        Problem: it does not take these arguments.
    """
    given = dict(arguments)
    kinds = given.pop("kinds", ())
    try:
        # Bound before the call: a TypeError from within it is a fault of ours, and not of the request.
        bound = inspect.signature(call).bind(**given)
    except TypeError as error:
        raise _wrong(str(error)) from None
    return call(*bound.args, *kinds, **bound.kwargs)


def _reader(site: Site, run: RunId | None) -> RunReader:
    if run is None or [type(run.uid), type(run.kind)] != [str, ContainerKind]:
        raise _wrong("the call needs a run")
    return site.reader(site.find(run.uid, run.kind))


def _places(of_run: RunReader, path: str) -> Iterator[tuple[Any, ...]]:
    """Yield blob, start and size of all content that a field refers to."""
    kind = of_run.kinds().get(path, "")
    if kind in TEXTS:
        texts: list[Any] = of_run.texts(path, kind, include_rewound=True).texts
    elif kind == MEMBERS:
        texts = [*of_run.members(path).values()]
    else:
        texts = [of_run.atom(path)[1]]
    for text in texts if kind in FILES or KINDS[kind].keeps else ():
        try:
            own = ArtifactRef.from_text(str(text)).manifest if KINDS[kind].keeps == "manifest" else str(text)
            file = FileRef.from_text(own)
        except DamagedData:
            continue
        yield file.blob, file.start, file.size


def _wrong(what: str) -> Problem:
    return Problem(400, "BadRequest", f"The request cannot be read: {what}.")


ROUTES = (
    Route("POST", "/storage/store", store, Packed, "A call of the store", packs=True, media=(MSGPACK,)),
    Route("POST", "/storage/catalog", catalog, Packed, "A call of the catalog", packs=True, media=(MSGPACK,)),
    Route("POST", "/storage/reader", reader, Packed, "A call of a reader", packs=True, media=(MSGPACK,)),
    Route("POST", "/storage/content", content, Packed, "A piece of a stored file", packs=True, media=(MSGPACK,)),
)
