"""Neptune's `management`: projects and the trash of a store. Functions that need accounts raise NeedsServer."""

from __future__ import annotations

from naiad.management.members import (
    add_project_member,
    add_project_service_account,
    get_project_member_list,
    get_project_service_account_list,
    get_workspace_member_list,
    get_workspace_service_account_list,
    get_workspace_status,
    invite_to_workspace,
    remove_project_member,
    remove_project_service_account,
)
from naiad.management.objects import (
    clear_trash,
    delete_objects_from_trash,
    move_runs,
    protect_objects,
    restore_objects,
    trash_objects,
)
from naiad.management.projects import create_project, delete_project, get_project_list, store_folder
from naiad.management.roles import MemberRole, ProjectVisibility, WorkspaceMemberRole

__all__ = [
    "MemberRole",
    "ProjectVisibility",
    "WorkspaceMemberRole",
    "add_project_member",
    "add_project_service_account",
    "clear_trash",
    "create_project",
    "delete_objects_from_trash",
    "delete_project",
    "get_project_list",
    "get_project_member_list",
    "get_project_service_account_list",
    "get_workspace_member_list",
    "get_workspace_service_account_list",
    "get_workspace_status",
    "invite_to_workspace",
    "move_runs",
    "protect_objects",
    "remove_project_member",
    "remove_project_service_account",
    "restore_objects",
    "store_folder",
    "trash_objects",
]
