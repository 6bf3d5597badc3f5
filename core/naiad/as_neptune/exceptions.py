"""`neptune.exceptions`: naiad's errors under Neptune's names, and those of Neptune's that nothing here raises.

The latter exist so that `except` clauses and packages which raise them themselves go on working. Each derives from the
classes it derives from in Neptune's client.
"""

from __future__ import annotations

from naiad.errors import ContainerNotFound, LegacyUsage, MissingField, NaiadError
from naiad.exceptions import *  # noqa: F403 (listed in __all__ below)
from naiad.exceptions import MetadataInconsistency, ProjectNotFound

NeptunePossibleLegacyUsageException = LegacyUsage


class FetchAttributeNotFoundException(MissingField, MetadataInconsistency):  # type: ignore[no-redef]  # naiad has an alias
    """Nothing is stored at the path. Verbs that read raise it, so that each of Neptune's three names catches it."""


class Unraised(NaiadError):
    """The base of errors that only other packages raise."""


class AccountError(Unraised):
    """Something is wrong with an account, a quota or a connection, none of which a folder has."""


class ExceptionWithProjectsWorkspacesListing(Unraised):
    """A project was not named clearly."""


class AmbiguousProjectName(ExceptionWithProjectsWorkspacesListing):
    """Several workspaces have a project of this name."""


class NeptuneMissingProjectNameException(ExceptionWithProjectsWorkspacesListing):  # type: ignore[no-redef]  # naiad's alias derives otherwise
    """No project was named."""


class ProjectNotFoundWithSuggestions(ExceptionWithProjectsWorkspacesListing, ProjectNotFound):
    """There is no such project."""


class ContainerUUIDNotFound(Unraised, ContainerNotFound):
    """There is no container of this internal id."""


RunUUIDNotFound = ContainerUUIDNotFound


class NeptuneApiException(AccountError):
    """A server answered with an error."""


class Unauthorized(NeptuneApiException):
    """A server did not accept the token."""


class NeptuneAuthTokenExpired(Unauthorized):
    """A token is no longer valid."""


class Forbidden(NeptuneApiException):
    """A server did not allow this."""


class InternalServerError(NeptuneApiException):
    """A server failed."""


class ClientHttpError(AccountError):
    """A server rejected a request."""


class InternalClientError(Unraised):
    """The client failed."""


class CannotResolveHostname(AccountError):
    """The name of a server is not known."""


class NeptuneConnectionLostException(AccountError):
    """The connection to a server was lost."""


class NeptuneSSLVerificationError(AccountError):
    """The certificate of a server is not valid."""


class NeptuneInvalidApiTokenException(AccountError):
    """A token is not valid."""


class NeptuneMissingApiTokenException(AccountError):  # type: ignore[no-redef]  # naiad's alias derives otherwise
    """No token was given."""


class NeptuneClientUpgradeRequiredError(AccountError):
    """A server needs a newer client."""


class NeptuneFeatureNotAvailableException(AccountError):
    """A server does not have this."""


class NeptuneLimitExceedException(AccountError):
    """A quota of a workspace is used up."""


class NeptuneFieldCountLimitExceedException(AccountError):
    """A run has more fields than a server takes."""


class NeptuneStorageLimitException(AccountError):
    """The storage of a workspace is used up."""


class NeptuneLegacyProjectException(AccountError):
    """A project of Neptune's API before 1.0 cannot be opened."""


class NeptuneMaxDiskUtilizationExceeded(AccountError):
    """The disk is fuller than NEPTUNE_MAX_DISK_USAGE allows."""


class CannotSynchronizeOfflineRunsWithoutProject(Unraised):
    """An offline run cannot be sent without naming a project."""


class NeptuneOfflineModeException(Unraised):
    """This does not work in offline mode."""


class NeptuneOfflineModeFetchException(NeptuneOfflineModeException):
    """Nothing can be fetched in offline mode."""


class NeptuneOfflineModeChangeStageException(NeptuneOfflineModeException):
    """The stage cannot be changed in offline mode."""


class NeptuneParametersCollision(Unraised):
    """Two arguments exclude each other."""


class NeptuneLegacyIncompatibilityException(Unraised):
    """This takes a run, and was given an experiment of Neptune's API before 1.0."""


class MalformedOperation(Unraised):
    """A logged operation cannot be read."""


class OperationNotSupported(Unraised):
    """The field cannot do this."""


class PlotlyIncompatibilityException(Exception):
    """Plotly cannot draw figures of this version of Matplotlib. It is no NeptuneException in the client either."""


# Names of naiad's own, which `neptune.exceptions` does not have.
_OTHERS = {"ContainerNotFound", "LegacyUsage", "MissingField", "NaiadError", "Unraised", "AccountError"}
# The client has this one in `neptune.common.exceptions` alone.
_OF_COMMON = {"NeptuneAuthTokenExpired"}
__all__ = [
    name
    for name, value in globals().items()
    if isinstance(value, type) and issubclass(value, Exception) and name not in _OTHERS | _OF_COMMON
]


def legacy_usage(what: str) -> LegacyUsage:
    """Return the error for a name of Neptune's API before 1.0."""
    return LegacyUsage(f"{what} belongs to Neptune's API before 1.0, which naiad does not have.\nUse the API of runs.")
