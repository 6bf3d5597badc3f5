"""Neptune's names for the errors of management, so that `except` clauses go on working.

Those of accounts, workspaces and quotas stand for `NeedsServer`, which is all that can happen with them here.
"""

from __future__ import annotations

from naiad.errors import InvalidArgument as ConflictingWorkspaceName
from naiad.errors import InvalidArgument as ProjectKeyInvalid
from naiad.errors import NaiadError as ManagementOperationFailure
from naiad.errors import NaiadPathError as InvalidProjectName
from naiad.errors import NaiadPathError as ProjectNameInvalid
from naiad.errors import NeedsServer as ProjectsLimitReached
from naiad.errors import NeedsServer as ServiceAccountAlreadyHasAccess
from naiad.errors import NeedsServer as ServiceAccountNotExistsOrWithoutAccess
from naiad.errors import NeedsServer as UserAlreadyHasAccess
from naiad.errors import NeedsServer as UserNotExistsOrWithoutAccess
from naiad.errors import NeedsServer as WorkspaceNotFound
from naiad.errors import ProjectExists as ProjectAlreadyExists
from naiad.errors import ProjectExists as ProjectKeyCollision
from naiad.errors import ProjectExists as ProjectNameCollision
from naiad.errors import ProjectNotFound

__all__ = [
    "ConflictingWorkspaceName",
    "InvalidProjectName",
    "ManagementOperationFailure",
    "ProjectAlreadyExists",
    "ProjectKeyCollision",
    "ProjectKeyInvalid",
    "ProjectNameCollision",
    "ProjectNameInvalid",
    "ProjectNotFound",
    "ProjectsLimitReached",
    "ServiceAccountAlreadyHasAccess",
    "ServiceAccountNotExistsOrWithoutAccess",
    "UserAlreadyHasAccess",
    "UserNotExistsOrWithoutAccess",
    "WorkspaceNotFound",
]
