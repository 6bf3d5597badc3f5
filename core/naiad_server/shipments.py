"""The routes of shipping: registration of containers, journals, and content.

A mistake in one part affects that part only; the other parts of the request are stored.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
from starlette.requests import Request

from naiad import clock
from naiad.container_kinds import KINDS, RUN, RunId
from naiad.errors import ModelKeyTaken, NaiadValueError, NameTaken, NewerFormat, shown
from naiad.ids import is_uid
from naiad.planes import records_of
from naiad.slots import RECORD
from naiad.storage.receiving import Accepted, ContentUploads, Piece, Registered, Sealing, Upload
from naiad_server import bodies
from naiad_server.access import ServerGrant
from naiad_server.bodies import BlobsBody, JournalBody, RunBody, UploadBody
from naiad_server.quotas import Exceeded
from naiad_server.server import NO_CLAIMS, SMALL, Server, body_of
from naiad_server.server_trash import refused_moves, settle
from naiad_web.server.answers import Problem

PLANES, CONTENT = 1, 2
"""The codecs of a part whose records are transposed, and of one whose bytes are content, named by its SHA-256."""
FORMAT = 1
"""The newest version of core/FORMAT.md that is accepted."""
REFERENCE = re.compile(rb'\\?"blob\\?": ?\\?"([0-9a-f]{64})(?![0-9a-f])')
"""A reference to content, as it stands in ops."""
SHA256 = re.compile(r"[0-9a-f]{64}")


async def register(server: Server, request: Request, grant: ServerGrant) -> Any:
    """Register a container."""
    takes = await body_of(request, RunBody)
    if takes.format > FORMAT:
        what = f"This server reads runs up to format {FORMAT}, and this one has format {takes.format}."
        raise Problem(426, "NewerFormat", what)
    if not is_uid(takes.uid):
        raise Problem(400, "BadRequest", f"{shown(takes.uid)} is not a uid.", argument="uid")
    kind = next((each for each in KINDS if each.name == takes.kind), None)
    if kind is None:
        raise Problem(400, "BadRequest", f"There is no kind {shown(takes.kind)}.", argument="kind")
    project = server.project(takes.project, grant)

    # In a thread, which waits for the database, so that no other request does.
    def made() -> tuple[Registered, bool]:
        # A uid of another project is answered as one that does not exist: a 403 would say that it does.
        known = server.receiver.find(takes.uid)
        if known is not None and grant.project not in (None, known.project):
            raise Problem(404, "RunNotFound", f"There is no {kind.noun} {takes.uid}.")
        if known is None and server.quotas.most(project, "runs") is not None:
            server.quotas.require(project, "runs", 1, server.receiver.count(project))
        return server.receiver.register(
            RunId(takes.uid, kind),
            project,
            custom_run_id=takes.custom_run_id if kind is RUN else None,
            wish=takes.id,
            parent=takes.parent,
            is_exact=takes.is_exact,
        )

    try:
        found, is_new = await anyio.to_thread.run_sync(made)
    except NameTaken as error:
        kind_of_error = "ModelKeyTaken" if isinstance(error, ModelKeyTaken) else "Conflict"
        facts = {name: fact for name, fact in error.facts.items() if isinstance(fact, str)}
        raise Problem(409, kind_of_error, str(error), **facts) from None
    if grant.project not in (None, found.project):  # it lay in the folder already
        raise Problem(404, "RunNotFound", f"There is no {kind.noun} {takes.uid}.")
    names = {"uid": found.run.uid, "id": found.id, "kind": found.run.kind.name, "project": found.project}
    return {**names, "is_new": is_new}


@dataclass
class _Checked:
    """The parts of a request after they were checked."""

    pieces: list[Piece]
    sealings: list[Sealing]
    writers: dict[tuple[RunId, str], bool]
    refused: list[tuple[str, str, str, str]]


async def journal(server: Server, request: Request, grant: ServerGrant) -> Any:
    """Take bytes of journal files."""
    # The room is asked for before the body is read: a server that is behind refuses a request while it is still
    # small.
    length = request.headers.get("content-length", "0")
    server.intake.require_room(int(length) if length.isdigit() else bodies.LARGEST)
    takes = await body_of(request, JournalBody, is_binary=True)
    size = sum(len(part[5]) for part in takes.parts)
    is_small = size < SMALL and not any(part[3] == CONTENT for part in takes.parts)
    if is_small and all(map(server.receiver.is_at_hand, _uids(takes))):
        checked = _checked(server, grant, takes)
    else:
        checked = await anyio.to_thread.run_sync(_checked, server, grant, takes)
    points: dict[str, int] = {}
    for piece in checked.pieces:
        known = server.receiver.find(piece.run.uid)
        if known is not None and piece.file.endswith(".seg"):
            points[known.project] = points.get(known.project, 0) + len(piece.data) // RECORD
    # Before the queue, so that nothing of a request over the quota is stored.
    for project, count in points.items():
        server.quotas.require(project, "points-per-day", count)
    for run in {piece.run for piece in checked.pieces if piece.file.endswith(".ops")}:
        known = server.receiver.find(run.uid)
        if known is not None and server.quotas.most(known.project, "fields-per-run") is not None:
            count = await anyio.to_thread.run_sync(server.receiver.fields, run)
            server.quotas.require_fields(known.project, count)
    stay: dict[RunId, bool] = {}
    if not grant.may_delete and any(piece.moves for piece in checked.pieces):
        stay = await anyio.to_thread.run_sync(refused_moves, server, grant, checked.pieces)
    accepted = await server.intake.accept(checked.pieces, checked.sealings, checked.writers)
    if stay:
        await anyio.to_thread.run_sync(settle, server, grant.principal, stay)
    if accepted.parts:  # a repeat counts as little as it stores
        for project, count in points.items():
            server.quotas.add(project, "points-per-day", count)
    server.metrics.parts.labels("refused").inc(len(checked.refused))
    # One that was deleted meanwhile, or of which nothing was taken, is looked up in the database.
    if not checked.refused and all(map(server.receiver.is_at_hand, _uids(takes))):
        return _answer(server, grant, takes, checked, accepted)
    return await anyio.to_thread.run_sync(_answer, server, grant, takes, checked, accepted)


def _uids(takes: JournalBody) -> set[str]:
    """The containers that a request is about."""
    return {
        *(each[0] for each in takes.writers),
        *(each[0] for each in takes.parts),
        *(each[0] for each in takes.sealed),
    }


def _checked(server: Server, grant: ServerGrant, takes: JournalBody) -> _Checked:
    found = _Checked([], [], {}, [])
    missing: set[str] = set()

    def run_of(uid: str) -> RunId | None:
        known = server.registered(uid, grant)
        if known is None and uid not in missing:
            missing.add(uid)
            found.refused.append((uid, "", "RunNotFound", f"There is no run {uid[:100]!r}: register it first."))
        return None if known is None else known.run

    for uid, writer, is_alive in takes.writers:
        run = run_of(uid)
        if run is not None and is_uid(writer):  # the same letters
            found.writers[run, writer] = is_alive
    # A file with a broken part gets none of the parts behind it: they would be refused anyway, as they do not
    # continue it.
    broken: set[tuple[str, str]] = set()
    for uid, file, start, codec, crc, data in takes.parts:
        run = run_of(uid)
        if run is None or (uid, file) in broken:
            continue
        try:
            if not server.receiver.is_name(file):
                raise Problem(400, "BadName", f"{shown(file)} is not the name of a journal file.")
            if codec == CONTENT:
                data, codec = _content(server, uid, grant, data), 0
            came, data = data, _undone(data, codec, crc, file)
            _require_own_content(server, uid, grant, file, data)
            piece = server.receiver.checked(run, file, start, data)
            found.pieces.append(piece._replace(planes=came) if codec == PLANES else piece)
        except (Problem, NaiadValueError, NewerFormat) as error:
            kind = error.kind if isinstance(error, Problem) else "BadPart"
            kind = "NewerFormat" if isinstance(error, NewerFormat) else kind
            broken.add((uid, file))
            found.refused.append((uid, file, kind, str(error)))
    for uid, file, end, crc in takes.sealed:
        run = run_of(uid)
        if run is not None and (uid, file) not in broken and server.receiver.is_name(file):
            found.sealings.append(Sealing(run, file, end, crc))
    return found


def _content(server: Server, uid: str, grant: ServerGrant, sha256: bytes) -> bytes:
    """The bytes of a part that was sent as content, because it is larger than a request may be.

    Raises:
        NaiadValueError: the project has no such content.
    """
    known = server.registered(uid, grant)
    return server.receiver.content_bytes("" if known is None else known.project, sha256.hex())


def _require_own_content(server: Server, uid: str, grant: ServerGrant, file: str, data: bytes) -> None:
    """Raise if ops refer to content of another project, which they would make readable: a hash gives no right to it.

    Raises:
        Problem: they do.
    """
    names = {match.decode() for match in REFERENCE.findall(data)} if file.endswith(".ops") else set()
    known = server.registered(uid, grant) if names else None
    if known is not None and server.receiver.foreign_content(known.project, names):
        raise Problem(400, "BadPart", f"{shown(file)} refers to content that this project has not sent.")


def _undone(data: bytes, codec: int, crc: int, file: str) -> bytes:
    """The bytes of a part as they lie in the file.

    Raises:
        NaiadValueError: the codec is not known, or the crc is another one.
    """
    if codec == PLANES and len(data) % RECORD == 0:
        data = records_of(data)
    elif codec != 0:
        raise NaiadValueError(f"A part of {shown(file)} has codec {codec} and {len(data)} bytes.")
    if zlib.crc32(data) != crc:
        raise NaiadValueError(f"The CRC of a part of {shown(file)} does not match its bytes.")
    return data


def _answer(server: Server, grant: ServerGrant, takes: JournalBody, checked: _Checked, accepted: Accepted) -> Any:
    refused = [*checked.refused]
    upto: list[tuple[str, str, int, bool]] = []
    known: dict[str, Any] = {}
    named = [*((part[0], part[1]) for part in takes.parts), *((each[0], each[1]) for each in takes.sealed)]
    for uid, file in dict.fromkeys(named):
        found = server.registered(uid, grant)
        if found is None:
            # Known when the parts were checked, and deleted by another replica before they were stored.
            if (uid, "") not in {(each[0], each[1]) for each in refused}:
                refused.append((uid, "", "RunNotFound", f"There is no run {uid[:100]!r}: it was deleted."))
            continue
        position = accepted.files.get((found.run, file))
        if position is None and server.receiver.is_name(file):  # all its parts were refused
            if uid not in known:
                known[uid] = server.receiver.received(found.run)
            position = known[uid].get(file)
        if position is not None:
            upto.append((uid, file, position.upto, position.is_sealed))
        if (found.run, file) in accepted.mismatched:
            refused.append((uid, file, "Mismatch", "The server has other bytes of this file than its client."))
    return {"after": server.intake.after, "now": clock.now(), "upto": upto, "refused": refused}


async def positions(server: Server, request: Request, grant: ServerGrant) -> Any:
    """How far each file of a container was received."""
    uid = request.path_params["uid"]
    found = await anyio.to_thread.run_sync(server.registered, uid, grant)
    if found is None:
        raise Problem(404, "RunNotFound", f"There is no run {uid[:100]!r}.")
    known = await anyio.to_thread.run_sync(server.receiver.received, found.run)
    return {
        "uid": uid,
        "upto": {file: each.upto for file, each in known.items()},
        "sealed": [file for file, each in known.items() if each.is_sealed],
    }


async def take_blob(server: Server, request: Request, grant: ServerGrant) -> Any:
    """Take in content."""
    sha256 = _sha256(request)
    project = server.project(request.query_params.get("project"), grant)
    length = request.headers.get("content-length", "")
    announced = int(length) if length.isdigit() else 0
    if announced > bodies.LARGEST_BLOB:
        raise bodies.too_large(bodies.LARGEST_BLOB)
    claimed = await _require_content(server, project, sha256, announced)
    size = 0
    # The context ends in a thread, because its end hashes, syncs and links. Left by an error, it ends here and
    # removes the file.
    with contextlib.ExitStack() as stack:
        try:
            content = stack.enter_context(server.receiver.content(project, sha256))
            async for data in request.stream():
                if data:
                    size += len(data)
                    # The header may be absent, as of a chunked body: what has come counts.
                    if size > bodies.LARGEST_BLOB:
                        raise bodies.too_large(bodies.LARGEST_BLOB)
                    if not length:
                        claimed = await _require_more(server, project, sha256, size, claimed)
                    await anyio.to_thread.run_sync(content.write, data)
            await anyio.to_thread.run_sync(stack.pop_all().close)
        except NaiadValueError as error:
            raise Problem(422, "Mismatch", str(error)) from None
    server.metrics.blobs.inc(size)
    if content.is_new:  # several programs may send the same at once
        server.quotas.add(project, "content-bytes", size)
    return {"sha256": sha256, "size": size}


async def _require_content(server: Server, project: str, sha256: str, size: int) -> Mapping[str, int]:
    """Raise if a project may not get content, unless it has it; return the content that other replicas join.

    Raises:
        Exceeded: it may not.
        StorageError: the objects or the database cannot be used now.
    """
    if server.quotas.most(project, "content-bytes") is None:
        return NO_CLAIMS
    if await anyio.to_thread.run_sync(server.receiver.content_of, project, [(sha256, size)]):
        return NO_CLAIMS
    server.require_content(project, sha256, size)  # first by what is at hand, which often decides
    claimed = await server.claimed(project)
    server.require_content(project, sha256, size, claimed)
    return claimed


async def _require_more(
    server: Server, project: str, sha256: str, size: int, claimed: Mapping[str, int]
) -> Mapping[str, int]:
    """Raise if a project may not get content of which so much has come; return what other replicas join by then.

    Raises:
        Exceeded: it may not.
        StorageError: the objects or the database cannot be used now.
    """
    try:
        server.require_content(project, sha256, size, claimed)
    except Exceeded:  # unless a join of another replica has ended since, which is counted
        claimed = await server.claimed(project)
        server.require_content(project, sha256, size, claimed)
    return claimed


async def ask_blobs(server: Server, request: Request, grant: ServerGrant) -> Any:
    """List the content that a project has, of some hashes."""
    takes = await body_of(request, BlobsBody)
    project = server.project(takes.project, grant)
    uploads = server.receiver.uploads
    have = await anyio.to_thread.run_sync(server.receiver.content_of, project, takes.blobs)
    return {"have": have, "presigned": None if uploads is None else uploads.least}


async def upload_blob(server: Server, request: Request, grant: ServerGrant) -> Any:
    """List addresses to which a client can send parts of content, or take it in if all are there."""
    takes = await body_of(request, UploadBody)
    sha256, uploads = _sha256(request), server.receiver.uploads
    project = server.project(takes.project, grant)
    if uploads is None or takes.size < uploads.least:
        raise Problem(409, "Conflict", f"This server takes content of {takes.size:,} bytes with PUT alone.")
    try:
        found = await anyio.to_thread.run_sync(_next, server, uploads, project, sha256, takes.size)
    except NaiadValueError as error:
        raise Problem(422, "Mismatch", str(error)) from None
    if found.is_complete:
        claimed = await server.claimed(project)
        # Once more, with all that is being joined: the addresses of many uploads may be given before any counts.
        with server.joins:
            server.require_content(project, sha256, takes.size, claimed)
            uploads.join(project, sha256, takes.size)
    return {"have": found.is_there, "parts": [*found.parts]}


def _next(server: Server, uploads: ContentUploads, project: str, sha256: str, size: int) -> Upload:
    """Return how far an upload is."""
    if not server.receiver.content_of(project, [(sha256, size)]):
        server.quotas.require(project, "content-bytes", size)
    return uploads.next(project, sha256, size)


def _sha256(request: Request) -> str:
    """Return the hash in the path of a request.

    Raises:
        Problem: it is none.
    """
    found: str = request.path_params["sha256"]
    if not SHA256.fullmatch(found):
        raise Problem(400, "BadRequest", f"{shown(found[:100])} is not a SHA-256 in hexadecimal.")
    return found
