"""`neptune.management.exceptions`: naiad's errors of management, and those of Neptune's that nothing here raises."""

from __future__ import annotations

from naiad.as_neptune.exceptions import Unraised
from naiad.management.exceptions import *  # noqa: F403 (all of them are Neptune's)


class AccessRevokedOnDeletion(Unraised):
    """The project was deleted and cannot be used any more."""


class AccessRevokedOnMemberRemoval(Unraised):
    """The member was removed by another user first."""


class AccessRevokedOnServiceAccountRemoval(Unraised):
    """The service account was removed by another user first."""


class ActiveProjectsLimitReachedException(Unraised):
    """The workspace has as many projects as it may have."""


class BadRequestException(Unraised):
    """The request makes no sense."""


class IncorrectIdentifierException(Unraised):
    """This is no id."""


class MissingWorkspaceName(Unraised):
    """No workspace was named."""


class ObjectNotFound(Unraised):
    """There is no object of this id."""


class ProjectPrivacyRestrictedException(Unraised):
    """The workspace does not allow such a visibility."""


class ServiceAccountNotFound(Unraised):
    """There is no such service account."""


class UnsupportedValue(Unraised):
    """The value is none of those allowed."""


class UserAlreadyInvited(Unraised):
    """The user was invited before."""


class WorkspaceOrUserNotFound(Unraised):
    """There is no such workspace or user."""


__all__ = [name for name, value in globals().items() if isinstance(value, type) and value is not Unraised]
