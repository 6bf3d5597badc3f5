"""Neptune's constants for visibility and roles. Access to a folder follows its permissions."""

from __future__ import annotations

from enum import Enum

__all__ = ["MemberRole", "ProjectVisibility", "WorkspaceMemberRole"]


class ProjectVisibility:
    """Who may see a project; kept as `sys/visibility` and otherwise without effect."""

    PRIVATE = "priv"
    PUBLIC = "pub"
    WORKSPACE = "workspace"


class MemberRole:
    """Roles of project members."""

    VIEWER = "viewer"
    OWNER = "owner"
    CONTRIBUTOR = "contributor"
    MEMBER = "contributor"
    MANAGER = "owner"


class WorkspaceMemberRole(Enum):
    """Roles of workspace members."""

    ADMIN = "admin"
    MEMBER = "member"
