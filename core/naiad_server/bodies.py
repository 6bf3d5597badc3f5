"""Bodies of requests: their types, and unpacking within bounds."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.requests import Request

from naiad_web.server.answers import Problem

PROTOCOLS = (1,)
LARGEST = 16 * 1024 * 1024
LARGEST_UNPACKED = 64 * 1024 * 1024
MOST_PARTS = 1_000
MOST_BLOBS = 10_000
LARGEST_BLOB = 1 << 40
MSGPACK = "application/msgpack"
JSON = "application/json"
T = TypeVar("T")

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Offset = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
Crc = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


class RunBody(msgspec.Struct, kw_only=True, frozen=True):
    """A container to register."""

    uid: str
    kind: str
    project: Name
    created: float
    format: int = 1
    custom_run_id: str | None = None
    id: str | None = None
    parent: str | None = None
    is_exact: bool = False


class JournalBody(msgspec.Struct, kw_only=True, frozen=True):
    """Signs of life, bytes of journal files, and the files that are whole."""

    sent: float
    writers: list[tuple[str, str, bool]] = []
    parts: Annotated[list[tuple[str, str, Offset, int, Crc, bytes]], msgspec.Meta(max_length=MOST_PARTS)] = []
    sealed: Annotated[list[tuple[str, str, Offset, Crc]], msgspec.Meta(max_length=MOST_PARTS)] = []


class BlobsBody(msgspec.Struct, kw_only=True, frozen=True):
    """Content that may be there already."""

    blobs: Annotated[list[tuple[Sha256, Count]], msgspec.Meta(max_length=MOST_BLOBS)]
    project: Name | None = None


class UploadBody(msgspec.Struct, kw_only=True, frozen=True):
    """Content that a client sends to the store of objects itself."""

    size: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_BLOB)]
    project: Name | None = None


class TokenBody(msgspec.Struct, kw_only=True, frozen=True):
    """A token to make."""

    principal: Name
    role: str
    project: Name | None = None
    days: Annotated[float, msgspec.Meta(gt=0, le=36_500)] | None = None


class MemberBody(msgspec.Struct, kw_only=True, frozen=True):
    """A person or a group, and its role."""

    name: Name
    role: str
    project: Name | None = None


class ProjectBody(msgspec.Struct, kw_only=True, frozen=True):
    """A project to make."""

    name: Name
    key: str | None = None


class TrashBody(msgspec.Struct, kw_only=True, frozen=True):
    """Containers that are moved into the trash or out of it."""

    ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=10_000)]


async def received(request: Request, largest: int = LARGEST) -> bytes:
    """Return the body of a request as it came.

    Raises:
        Problem: it has more bytes than that.
    """
    # By the header first, so that a body which is too large is not read at all; then by the bytes, as the header may
    # lie or be absent.
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > largest:
        raise too_large(largest)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > largest:
            raise too_large(largest)
    return bytes(body)


def unpacked(body: bytes, encoding: str) -> bytes:
    """Undo the encoding of a body, never beyond the limit.

    Raises:
        Problem: it is another encoding, or no such bytes, or too many.
    """
    if encoding in ("", "identity"):
        return body
    try:
        if encoding == "zstd":
            found = _unpacked_zstd(body)
        elif encoding == "gzip":
            with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
                found = file.read(LARGEST_UNPACKED + 1)
        else:
            raise Problem(415, "UnsupportedMediaType", f"Content-Encoding may be zstd or gzip, not {encoding[:50]!r}.")
    except (OSError, EOFError, ValueError, zlib.error, zstd_error()) as error:
        raise Problem(400, "BadRequest", f"The body does not match its Content-Encoding: {error}.") from None
    if len(found) > LARGEST_UNPACKED:
        raise too_large(LARGEST_UNPACKED)
    return found


def _unpacked_zstd(body: bytes) -> bytes:
    import zstandard

    # Read piece by piece: the size that a frame names is the client's word. It only says how much to read at first,
    # so that no room is taken for the largest body; one more byte shows whether that was all.
    announced = zstandard.frame_content_size(body)
    most = LARGEST_UNPACKED + 1
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body), read_across_frames=True) as stream:
        found: bytes = stream.read(announced + 1 if 0 <= announced < most else most)
        return found + stream.read(most - len(found)) if len(found) > announced >= 0 else found


def zstd_error() -> type[Exception]:
    """The error of the zstandard library."""
    import zstandard

    found: type[Exception] = zstandard.ZstdError
    return found


def too_large(limit: int) -> Problem:
    """The error for a body above a limit."""
    return Problem(413, "TooLarge", f"A body has at most {limit:,} bytes.")


def decoded(body: bytes, media: str, kind: type[T], *, is_binary: bool = False) -> T:
    """Read a body as one of the structs above.

    Raises:
        Problem: it is none.
    """
    own = media.partition(";")[0].strip().lower()
    try:
        if own == MSGPACK:
            return msgspec.msgpack.decode(body, type=kind)
        if own == JSON and not is_binary:
            return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "BadRequest", f"The body is malformed: {error}.") from None
    wanted = MSGPACK if is_binary else f"{MSGPACK} or {JSON}"
    raise Problem(415, "UnsupportedMediaType", f"The body must be {wanted}, not {own[:100] or 'nothing'}.")


def encoded(value: Any, accept: str) -> tuple[bytes, str]:
    """Return an answer as a client wants it, and its media type."""
    if MSGPACK in accept:
        return msgspec.msgpack.encode(value), MSGPACK
    return msgspec.json.encode(value), JSON
