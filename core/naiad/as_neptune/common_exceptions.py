"""`neptune.common.exceptions`: exceptions that Neptune's client shares with its API before 1.0."""

from __future__ import annotations

from naiad.as_neptune.envs import API_TOKEN_ENV_NAME, PROJECT_ENV_NAME
from naiad.as_neptune.exceptions import (
    ClientHttpError,
    FileNotFound,
    Forbidden,
    InternalClientError,
    InternalServerError,
    NeptuneApiException,
    NeptuneAuthTokenExpired,
    NeptuneConnectionLostException,
    NeptuneException,
    NeptuneInvalidApiTokenException,
    NeptuneSSLVerificationError,
    Unauthorized,
    Unraised,
)

__all__ = [
    "API_TOKEN_ENV_NAME",
    "PROJECT_ENV_NAME",
    "ClientHttpError",
    "FileNotFound",
    "Forbidden",
    "InternalClientError",
    "InternalServerError",
    "InvalidNotebookPath",
    "NeptuneApiException",
    "NeptuneAuthTokenExpired",
    "NeptuneConnectionLostException",
    "NeptuneException",
    "NeptuneIncorrectProjectQualifiedNameException",
    "NeptuneInvalidApiTokenException",
    "NeptuneMissingProjectQualifiedNameException",
    "NeptuneSSLVerificationError",
    "NotADirectory",
    "NotAFile",
    "Unauthorized",
    "UploadedFileChanged",
    "WritingToArchivedProjectException",
]


class InvalidNotebookPath(Unraised):
    """There is no notebook at the path."""


class NeptuneIncorrectProjectQualifiedNameException(Unraised):
    """This cannot be the name of a project."""


class NeptuneMissingProjectQualifiedNameException(Unraised):
    """No project was named."""


class NotADirectory(Unraised):
    """There is no folder at the path."""


class NotAFile(Unraised):
    """There is no file at the path."""


class UploadedFileChanged(Unraised):
    """A file was changed while it was sent."""


class WritingToArchivedProjectException(Unraised):
    """The project is archived and cannot be written."""
