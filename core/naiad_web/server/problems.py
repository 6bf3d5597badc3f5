"""Problems: the answer to each exception, with a status and one sentence."""

from __future__ import annotations

import logging

from naiad.errors import (
    BeingWritten,
    ContainerNotFound,
    ContainerProtected,
    DamagedData,
    FieldConflict,
    MissingField,
    MissingPackage,
    NaiadError,
    NaiadTypeError,
    NaiadValueError,
    NameTaken,
    NewerFormat,
    NotInTrash,
    ProtectedPath,
    WrongVerb,
)
from naiad.storage.base import Store
from naiad_web.server.answers import Json, Problem
from naiad_web.server.site import gone

_log = logging.getLogger("naiad_web")


def problem_of(error: Exception, store: Store) -> Problem:
    """The answer to an exception: a user's mistake, damage, or a store that is gone."""
    status = next((status for kinds, status in STATUS if isinstance(error, kinds)), 0)
    names = (("path", "path"), ("run", "run_id"), ("column", "column"), ("query", "query"), ("argument", "argument"))
    facts = {name: getattr(error, known) for name, known in names if getattr(error, known, None) is not None}
    facts = {name: value for name, value in facts.items() if isinstance(value, str | int)}
    kind = type(error).__name__
    if status in (400, 404, 406, 409):
        return Problem(status, kind, str(error), **facts)
    if not store.has_begun():
        return gone(store)
    if status == 422:
        return Problem(status, kind, str(error), **facts)
    if isinstance(error, NaiadError | OSError):
        what = str(error) if isinstance(error, NaiadError) else f"The store cannot be read: {error.strerror or error}."
        return Problem(503, kind if isinstance(error, NaiadError) else "StorageError", what)
    _log.error("A request failed.", exc_info=error)
    return Problem(500, "InternalError", f"The server failed at this request: {type(error).__name__}.")


def described(error: Exception) -> dict[str, Json]:
    """The member `error` of one item in an answer whose other items are there."""
    return {"type": type(error).__name__, "detail": str(error)}


STATUS: tuple[tuple[tuple[type[Exception], ...], int], ...] = (
    ((ContainerNotFound, MissingField), 404),
    ((FieldConflict, WrongVerb, BeingWritten, ContainerProtected, NotInTrash, ProtectedPath, NameTaken), 409),
    ((DamagedData, NewerFormat), 422),
    ((MissingPackage,), 406),
    ((NaiadValueError, NaiadTypeError), 400),
)
