"""The storage interface over a wire: which calls of it may come from elsewhere, and their values as MessagePack.

Everything that the calls take and return comes back as it was: arrays, tuples, sets, lone surrogates, NaN, the data
of `naiad.storage.results` and the nodes of a query. Nothing else can be made of bytes, and no bytes can name code.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from naiad.container_kinds import KINDS, ContainerKind, RunId
from naiad.query import tree
from naiad.refs import FileRef
from naiad.storage import base, catalog, results
from naiad.storage.cell_columns import CellColumns, Column

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

STORE = frozenset({"find", "find_custom", "find_project", "id_of", "exists", "projects", "has_begun"})
CATALOG = frozenset(
    (
        "summaries",
        "search",
        "grid",
        "page",
        "count",
        "fields",
        "common_values",
        "groups",
        "projects",
        "changes",
        "cells",
    )
)
READER = frozenset(
    ("kinds", "shadowed", "atom", "atoms", "tags", "members", "config", "state", "joining", "is_incomplete", "points",
     "point_page", "point_place", "texts", "text_page", "text_place", "counts", "aspects", "chart", "last", "count",
     "digest", "damages")
)  # fmt: skip
"""The calls of `Store`, `Catalog` and `RunReader` that read; a property is called like a method without arguments."""
CONTENT = 4 * 1024 * 1024
"""Bytes of a stored file that one answer has at most."""
LEAST_LINKED = 8 * 1024 * 1024
"""Bytes of a stored file from which on it is worth a request for its address in the object store."""
DEEPEST = 100

FLOATS, INTEGERS, TEXT, KIND, RECORD, TUPLE, SET, PAIRS, NOTHING_THERE, COLUMNS = range(1, 11)
"""Codes of extension types: the form of every value that MessagePack itself cannot tell from another."""

_RECORDS: dict[str, Any] = {
    made.__name__: made
    for module in (base, results, catalog, tree)
    for made in vars(module).values()
    if isinstance(made, type)
    and made.__module__ == module.__name__
    and (dataclasses.is_dataclass(made) or hasattr(made, "_fields") or issubclass(made, msgspec.Struct))
}
_RECORDS |= {FileRef.__name__: FileRef, RunId.__name__: RunId}
_KINDS = {kind.name: kind for kind in KINDS}
_PLAIN = (bool, int, float, bytes, type(None))


def encode(value: object) -> bytes:
    """Return a value as bytes.

    Raises:
        TypeError: it is nothing that the storage interface exchanges.
    """
    return msgspec.msgpack.encode(_packed(value, 0))


def decode(data: bytes) -> Any:
    """Return the value in bytes.

    Raises:
        ValueError: `encode` returns no such bytes.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, TypeError, KeyError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise ValueError(f"these bytes are not a value of the storage interface: {error}") from error


def _packed(value: Any, depth: int) -> Any:
    if depth > DEEPEST:
        raise TypeError("a value is nested too deeply")
    if value.__class__ in _PLAIN:
        return value
    if isinstance(value, str):
        return _packed_text(value)
    if isinstance(value, CellColumns):
        return _packed_columns(value, depth)
    record = _RECORDS.get(type(value).__name__)
    if record is type(value):
        names = getattr(value, "_fields", None) or getattr(value, "__struct_fields__", None)
        names = names or [each.name for each in dataclasses.fields(value)]
        members = [getattr(value, name) for name in names]
        return _extension(RECORD, [type(value).__name__, *(_packed(each, depth + 1) for each in members)])
    if isinstance(value, list):
        return [_packed(each, depth + 1) for each in value]
    if isinstance(value, tuple):
        return _extension(TUPLE, [_packed(each, depth + 1) for each in value])
    if isinstance(value, Mapping):
        return _packed_pairs(value, depth)
    if isinstance(value, (set, frozenset)):
        return _extension(SET, [_packed(each, depth + 1) for each in sorted(value, key=repr)])
    if isinstance(value, ContainerKind):
        return msgspec.msgpack.Ext(KIND, value.name.encode())
    return _packed_other(value)


def _packed_text(value: str) -> Any:
    if value is catalog.ABSENT:
        return msgspec.msgpack.Ext(NOTHING_THERE, b"")
    try:
        value.encode()
    except UnicodeEncodeError:
        return msgspec.msgpack.Ext(TEXT, value.encode("utf-8", "surrogatepass"))
    return str(value)


def _packed_pairs(value: Mapping[Any, Any], depth: int) -> Any:
    return _extension(PAIRS, [[_packed(key, depth + 1), _packed(each, depth + 1)] for key, each in value.items()])


def _packed_columns(rows: CellColumns, depth: int) -> Any:
    """Pack rows column by column: of 100,000 rows the values are bytes that are not looked at one by one."""
    cells = [[number, *_packed_column(column, depth)] for number, column in rows.cells.items()]
    return _extension(COLUMNS, [_packed_list(rows.uids, depth), _packed_list(rows.ids, depth), cells])


def _packed_column(column: Column, depth: int) -> tuple[Any, Any, int]:
    """The values of a column, the rows that have it as bits, and the numbers in each row if they are several."""
    import numpy as np

    values, is_there = column
    bits = None if is_there is None else np.packbits(is_there).tobytes()
    if isinstance(values, list):
        return _packed_list(values, depth), bits, 0
    return _packed_other(values.ravel()), bits, values.shape[1] if values.ndim > 1 else 0


def _packed_list(values: list[Any], depth: int) -> Any:
    """A list, as a whole if all of its items are plain."""
    if {str, *_PLAIN}.issuperset(map(type, values)):
        with contextlib.suppress(UnicodeEncodeError):  # one of the texts has a lone surrogate
            return msgspec.Raw(msgspec.msgpack.encode(values))
    return _packed(values, depth + 1)


def _packed_other(value: Any) -> Any:
    """Pack an array, a scalar of NumPy or a moment."""
    from datetime import datetime

    if isinstance(value, datetime):
        return value
    import numpy as np

    if isinstance(value, np.ndarray) and value.ndim == 1:
        if value.dtype.kind == "f":
            return msgspec.msgpack.Ext(FLOATS, np.ascontiguousarray(value, "<f8").tobytes())
        if value.dtype.kind in "iub":
            return msgspec.msgpack.Ext(INTEGERS, np.ascontiguousarray(value, "<i8").tobytes())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, range)) or hasattr(value, "__len__"):  # a sequence that is made when it is read
        return [_packed(each, 1) for each in value]
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _extension(code: int, content: object) -> Any:
    return msgspec.msgpack.Ext(code, msgspec.msgpack.encode(content))


def _from_extension(code: int, data: memoryview) -> Any:
    if code in (FLOATS, INTEGERS):
        return _array(code, data)
    if code == TEXT:
        return bytes(data).decode("utf-8", "surrogatepass")
    if code == NOTHING_THERE:
        return catalog.ABSENT
    if code == KIND:
        return _KINDS[bytes(data).decode()]
    content = _decoder.decode(data)
    if code == RECORD:
        name, *members = content
        return _RECORDS[name](*members)
    if code == PAIRS:
        return dict(content)
    if code == COLUMNS:
        return _columns(*content)
    if code not in (TUPLE, SET):
        raise ValueError(f"there is no extension type {code}")
    return tuple(content) if code == TUPLE else frozenset(content)


def _columns(uids: list[str], ids: list[str], cells: list[list[Any]]) -> CellColumns:
    import numpy as np

    found: dict[int, Column] = {}
    for number, values, bits, width in cells:
        is_there = None if bits is None else np.unpackbits(np.frombuffer(bits, np.uint8), count=len(uids)).astype(bool)
        found[number] = Column(values.reshape(-1, width) if width else values, is_there)
    return CellColumns(uids, ids, found)


def _array(code: int, data: memoryview) -> npt.NDArray[np.float64] | npt.NDArray[np.int64]:
    import numpy as np

    return np.frombuffer(bytearray(data), "<f8" if code == FLOATS else "<i8")


_decoder = msgspec.msgpack.Decoder(ext_hook=_from_extension)
