"""Neptune's constants for who may see and do what. A folder's permissions are those of the file system."""

from __future__ import annotations

from enum import Enum

__all__ = ["MemberRole", "ProjectVisibility", "WorkspaceMemberRole"]


class ProjectVisibility:
    """Who may see a project; kept as `sys/visibility` and otherwise without effect."""

    PRIVATE = "priv"
    PUBLIC = "pub"
    WORKSPACE = "workspace"


class MemberRole:
    """What a member of a project may do."""

    VIEWER = "viewer"
    OWNER = "owner"
    CONTRIBUTOR = "contributor"
    MEMBER = "contributor"
    MANAGER = "owner"


class WorkspaceMemberRole(Enum):
    """What a member of a workspace may do."""

    ADMIN = "admin"
    MEMBER = "member"
