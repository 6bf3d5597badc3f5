"""Parameters of a request, checked against the struct that declares them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from naiad_web.server.answers import Problem

T = TypeVar("T", bound="Parameters")
LARGEST_BODY = 1024 * 1024


class Parameters(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The parameters of a route: a member for each, with its type and default."""


class None_(Parameters, frozen=True, kw_only=True):
    """No parameters."""


class Packed(Parameters, frozen=True, kw_only=True):
    """A body in MessagePack, which the route decodes."""

    content: bytes


def from_query(kind: type[T], pairs: Sequence[tuple[str, str]]) -> T:
    """Read parameters from the query of a URL, in which a list is a repeated parameter.

    Raises:
        Problem: one is not known, is there twice, or has a wrong type.
    """
    lists = _lists(kind)
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    given: dict[str, Any] = {}
    # a misspelt parameter would else be answered as if it were not there
    for name, text in pairs:
        if name not in known:
            raise _unknown(kind, name)
        if name in lists:
            given.setdefault(name, []).append(text)
        elif name in given:
            raise Problem(400, "BadRequest", f"The parameter {name!r} is given twice.", argument=name)
        else:
            given[name] = text
    try:
        # Not strict: everything in an address is text, of which numbers are made here.
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong(error) from None


def from_body(kind: type[T], body: bytes) -> T:
    """Read parameters from a JSON object.

    Raises:
        Problem: it is no such object.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(error) from None


def _unknown(kind: type[Parameters], name: str) -> Problem:
    names = ", ".join(field.encode_name for field in msgspec.structs.fields(kind)) or "none"
    return Problem(400, "BadRequest", f"There is no parameter {name[:100]!r} here; there are: {names}.", argument=name)


def _wrong(error: Exception) -> Problem:
    return Problem(400, "BadRequest", f"The parameters are wrong: {error}.")


@functools.cache
def _lists(kind: type[Parameters]) -> frozenset[str]:
    """The parameters that may be repeated; of one that may be a text too, the text is meant."""
    hints = get_type_hints(kind)
    found = set()
    for field in msgspec.structs.fields(kind):
        types = [hints[field.name], *get_args(hints[field.name])]
        if str not in types[1:] or get_origin(types[0]) is list:
            found |= {field.encode_name} if any(get_origin(each) is list for each in types) else set()
    return frozenset(found)
