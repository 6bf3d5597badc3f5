"""Every exception and warning naiad raises, and how values are shown in their messages.

Catch the builtin a careful user would catch, or `NaiadError` for all of them:

    NaiadError(Exception)
      NaiadTypeError(TypeError)
        UnsupportedValue                          a value no field accepts: path, value
      NaiadValueError(ValueError)
        NaiadPathError                            a path that cannot name a field: path
        StepOrderError                            limits="neptune" and a step not above the last one
        InvalidArgument                           an argument of naiad's own functions
          RunIdCollision                          with_id together with custom_run_id
          NeedExisting                            read-only, and nothing named that exists
            NeedExistingRun, NeedExistingModel, NeedExistingModelVersion
          MissingParameter                        a new model without a key, a new version without a model: parameter
          LegacyUsage                             arguments and methods of Neptune's API before 1.0
          InvalidQuery                            a text that is no query: query, column
          UnsupportedLocation                     track_files() of an unknown scheme, or with a *: location
        UnsafeName                                a name that would lead out of the folder it is for: path
      MissingField(AttributeError, KeyError)      nothing is stored at the path: path
      WrongVerb(AttributeError, TypeError)        append() on a Float, and the like: path
      FieldConflict(TypeError, ValueError)        a field below a field, pop of nothing: path
        ArtifactNotFound(KeyError)                a version that no artifact of the run has: path
      EmptySeries(ValueError)                     the last value of a series without points
      ContainerNotFound(KeyError)
        RunNotFound, ModelNotFound, ModelVersionNotFound, ProjectNotFound
      NameTaken(ValueError)                       another container has this name
        ModelKeyTaken, ProjectExists
      InactiveContainer(RuntimeError)             used after stop()
        InactiveRun, InactiveModel, InactiveModelVersion, InactiveProject
      BeingWritten(RuntimeError)                  a container that is being written cannot be deleted: run_id
      ContainerProtected(RuntimeError)            it cannot be deleted until protect(False): run_id
      NotInTrash(ValueError)                      only containers in the trash can be deleted: run_id
      NeedsServer(NotImplementedError)            members and workspaces, which a folder does not have
      ProtectedPath(ValueError)                   a path only naiad writes: path
        ProtectedStage                            sys/stage, which change_stage() changes
      StorageError(OSError)                       the disk failed: errno, filename
        StoreNotWritable, SyncFailed
        NotPermitted(PermissionError)             a run or a store of another user
      FileError(OSError)                          a file of the user's that cannot be used: path, errno
        FileNotFound(FileNotFoundError)
          EmptyLocation                           a place to track that holds no file
          FileNotInSet(KeyError)                  a name that the file set does not have
        UnreadableFile(PermissionError)
        UnsupportedFile(ValueError)               a folder, a pipe, a device: what
        OriginalError                             a tracked file has changed
          OriginalMissing(FileNotFoundError), OriginalChanged(ValueError)
        RemoteError                               the storage behind a URL failed
      ServerError(ConnectionError)                a server refuses a request: url, status
        ServerUnreachable(TimeoutError)           the server does not answer
        NotAuthorized(PermissionError)            the server refuses the token
      MissingPackage(ImportError)                 an optional package is not installed: package
      AliasTooLate(ImportError)                   naiad.as_neptune imported after another package neptune
      ImportRefused(ValueError)                   nothing there that the importer can read: path
      DamagedData(ValueError)                     bytes that differ from those written: file, offset, what
      NewerFormat(ValueError)                     a store written by a later release

    NaiadWarning(UserWarning)
      UnsupportedValueWarning, StorageWarning, DamageWarning, ReadOnlyWarning, LimitWarning,
      FieldWarning, FileWarning, PluginWarning, ServerWarning
"""

from __future__ import annotations

import reprlib
import sys
import warnings
from collections.abc import Hashable


class NaiadError(Exception):
    """The base of every error raised by naiad.

    The facts of an error are its attributes, so that a program need not read its message:

        except MissingField as error:
            print(error.path)
    """

    def __init__(self, message: str = "", *_details: object, **facts: object) -> None:
        super().__init__(message)  # programs that raise Neptune's errors themselves give some of them details
        self.facts = facts
        for name, fact in facts.items():
            setattr(self, name, fact)

    def __str__(self) -> str:
        """Return the message without the quotes of KeyError, or a description of the class."""
        message = str(self.args[0]) if self.args else ""
        return message or str(type(self).__doc__).partition("\n\n")[0]

    def __reduce__(self) -> tuple[type[NaiadError], tuple[object, ...], dict[str, object]]:
        """Keep the facts when an error crosses to another process."""
        return type(self), self.args, {"facts": self.facts, **self.facts}


class NaiadTypeError(NaiadError, TypeError):
    """A value of the wrong type."""


class UnsupportedValue(NaiadTypeError):
    """A value that no field accepts."""

    path: str
    value: object


class NaiadValueError(NaiadError, ValueError):
    """A value of the right type that cannot be kept."""


class NaiadPathError(NaiadValueError):
    """A path that cannot name a field."""

    path: object


class StepOrderError(NaiadValueError):
    """A step that is not above the previous one, under `limits="neptune"`."""

    path: str


class InvalidArgument(NaiadValueError):
    """An argument, or a combination of arguments, that makes no sense."""


class RunIdCollision(InvalidArgument):
    """Both `with_id` and `custom_run_id` were given, and each names a run."""


class NeedExisting(InvalidArgument):
    """Read-only mode without the id of a container to read."""


class NeedExistingRun(NeedExisting):
    """Read-only mode without the id of a run to read."""


class NeedExistingModel(NeedExisting):
    """Read-only mode without the id of a model to read."""


class NeedExistingModelVersion(NeedExisting):
    """Read-only mode without the id of a model version to read."""


class MissingParameter(InvalidArgument):
    """An argument is missing that a new container needs."""

    parameter: str


class LegacyUsage(InvalidArgument):
    """An argument or a method of Neptune's API before 1.0, which naiad does not have."""


class InvalidQuery(InvalidArgument):
    """A malformed query; `column` counts from 1, and is None if no single place is wrong."""

    query: str
    column: int


class UnsupportedLocation(InvalidArgument):
    """A location that cannot be tracked: an unknown scheme, or a path with wildcards."""

    location: str


class UnsafeName(NaiadValueError):
    """A name that would lead out of the folder it is for."""

    path: str


class MissingField(NaiadError, AttributeError, KeyError):
    """Nothing is stored at the path."""

    path: str


class WrongVerb(NaiadError, AttributeError, TypeError):
    """A verb that the field does not have; an AttributeError, so that `hasattr` is False."""

    path: str


class FieldConflict(NaiadError, TypeError, ValueError):
    """A write that does not fit the fields that exist."""

    path: str


class EmptySeries(NaiadError, ValueError):
    """The last value of a series that has no points."""

    path: str


class ContainerNotFound(NaiadError, KeyError):
    """The store holds no such run, model, model version or project."""


class RunNotFound(ContainerNotFound):
    """The store holds no such run."""


class ModelNotFound(ContainerNotFound):
    """The store holds no such model."""


class ModelVersionNotFound(ContainerNotFound):
    """The store holds no such model version."""


class ProjectNotFound(ContainerNotFound):
    """The store holds no such project."""


class NameTaken(NaiadError, ValueError):
    """Another container of the store has this name already."""


class ModelKeyTaken(NameTaken):
    """Another model of the project has this key."""


class ProjectExists(NameTaken):
    """The store has a project of this name or key already."""


class InactiveContainer(NaiadError, RuntimeError):
    """The container was stopped and cannot be used any more."""


class InactiveRun(InactiveContainer):
    """The run was stopped and cannot be used any more."""


class InactiveModel(InactiveContainer):
    """The model was stopped and cannot be used any more."""


class InactiveModelVersion(InactiveContainer):
    """The model version was stopped and cannot be used any more."""


class InactiveProject(InactiveContainer):
    """The project was stopped and cannot be used any more."""


class BeingWritten(NaiadError, RuntimeError):
    """The container cannot be deleted while a process is writing it."""

    run_id: str


class ContainerProtected(NaiadError, RuntimeError):
    """A container that is protected against deletion."""

    run_id: str


class NotInTrash(NaiadError, ValueError):
    """An attempt to delete a container that is not in the trash."""

    run_id: str


class NeedsServer(NaiadError, NotImplementedError):
    """A function that needs accounts on a server; a folder has none."""


class ProtectedPath(NaiadError, ValueError):
    """A path that only naiad itself writes."""

    path: str


class ProtectedStage(ProtectedPath):
    """The stage of a model version is changed by `change_stage()` alone."""


class StorageError(NaiadError, OSError):
    """The machine failed to store or read data; see `errno` and `filename`."""


class StoreNotWritable(StorageError):
    """The store folder cannot be created or written."""


class NotPermitted(StorageError, PermissionError):
    """This user may not read the run, or should not use a store that another user has put there."""


class SyncFailed(StorageError):
    """A sync failed, so earlier writes may not be on disk."""


class FileError(NaiadError, OSError):
    """A user's file that cannot be used; `errno` has the system's reason, if there is one."""

    path: str


class FileNotFound(FileError, FileNotFoundError):
    """There is no such file."""


class EmptyLocation(FileNotFound):
    """The location to be tracked contains no file."""


class UnreadableFile(FileError, PermissionError):
    """The file is there, but this user has no permission to read it."""


class UnsupportedFile(FileError, ValueError):
    """A path that is no regular file: a folder, a pipe, a socket or a device."""

    what: str


class FileNotInSet(FileNotFound, KeyError):
    """A file set has no file or folder of this name."""


class ArtifactNotFound(FieldConflict, KeyError):
    """No artifact has this hash."""

    path: str


class OriginalError(FileError):
    """A tracked file that has changed or disappeared since it was tracked."""


class OriginalMissing(OriginalError, FileNotFoundError):
    """A tracked file no longer exists."""


class OriginalChanged(OriginalError, ValueError):
    """The content of a tracked file has changed."""


class RemoteError(FileError):
    """The storage behind a URL cannot be reached or denies access."""


class ServerError(NaiadError, ConnectionError):
    """The server answered with an error, or is not a naiad server."""

    url: str
    status: int


class ServerUnreachable(ServerError, TimeoutError):
    """The server does not answer."""


class NotAuthorized(ServerError, PermissionError):
    """The server rejected the token, or no token was given."""


class MissingPackage(NaiadError, ImportError):
    """A feature needs an optional package that is not installed."""

    package: str


class AliasTooLate(NaiadError, ImportError):
    """Another package named neptune was imported before naiad could take its place."""


class ImportRefused(NaiadError, ValueError):
    """The importer found nothing that it can read."""

    path: str


class DamagedData(NaiadError, ValueError):
    """Stored bytes are not the bytes that were written."""

    file: str
    offset: int
    what: str


class NewerFormat(NaiadError, ValueError):
    """The store was written by a later release of naiad."""


class NaiadWarning(UserWarning):
    """The base of every warning given by naiad."""


class UnsupportedValueWarning(NaiadWarning):
    """A value was left out because no field accepts it."""


class StorageWarning(NaiadWarning):
    """The machine could not store something."""


class DamageWarning(NaiadWarning):
    """Damaged data was found and left out."""


class ReadOnlyWarning(NaiadWarning):
    """A write to a read-only run was ignored."""


class LimitWarning(NaiadWarning):
    """A value was changed or left out because of a limit."""


class PluginWarning(NaiadWarning):
    """A plugin failed, and naiad goes on without it."""


class FieldWarning(NaiadWarning):
    """A field is stored but not shown: it conflicts with an earlier one of another process."""


class FileWarning(NaiadWarning):
    """One of several files was left out."""


class ServerWarning(NaiadWarning):
    """Data of a run waits on this machine until its server accepts it."""


MOST_WARNINGS = 1000
_given: dict[type[Warning], dict[Hashable, object]] = {}


def warn_once(key: Hashable, message: str, category: type[Warning] = NaiadWarning) -> None:
    """Give a warning, unless one of this category was given before under the same key.

    It points at the user's line. After a thousand keys, a category gives no further warnings.
    """
    if is_first(key, category):
        warnings.warn(message, category, stacklevel=_depth_of_user())


def is_first(key: Hashable, category: type[Warning] = NaiadWarning) -> bool:
    """True on the first call with this key and category; always False after a thousand keys."""
    given = _given.setdefault(category, {})
    ours = object()  # setdefault is atomic, so of two threads only one finds its own object
    return len(given) < MOST_WARNINGS and given.setdefault(key, ours) is ours


def forget_warnings() -> None:
    """Let every warning be given again; for tests."""
    _given.clear()


def _depth_of_user() -> int:
    """Return the stacklevel, seen from the caller, of the nearest frame outside naiad and its integrations."""
    depth, frame = 0, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0].partition("_")[0] == "naiad":
        depth, frame = depth + 1, frame.f_back
    return depth + 1


class _Short(reprlib.Repr):
    """Representations short enough for a message, in a time that does not depend on the value's size."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 80

    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002 (reprlib gives it)
        """Describe an int, also one with more digits than Python prints."""
        return repr(x) if x.bit_length() <= 256 else f"<int of {x.bit_length()} bits>"

    def repr_bytes(self, x: bytes, level: int) -> str:  # noqa: ARG002 (reprlib gives it)
        """Cut bytes before representing them."""
        return repr(x) if len(x) <= 60 else f"{x[:60]!r}..."

    repr_bytearray = repr_bytes


_short = _Short()


def shown(value: object) -> str:
    """Return the `repr` of a value for a message: one line, about 80 characters at most.

    >>> shown([0.5] * 100)
    '[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, ...]'
    """
    try:
        text = _short.repr(value)
    except Exception:  # noqa: BLE001 (code of any library: an object that cannot be shown must not hide the message)
        text = f"<{type(value).__name__}>"
    if "\n" in text:
        text = " ".join(text.split())
    return text if len(text) <= 90 else f"{text[:80]}..."
