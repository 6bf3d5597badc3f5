"""Neptune's functions for people and workspaces. A folder has neither, so each raises NeedsServer."""
# ruff: noqa: ARG001 (the arguments are Neptune's, so that a call gets as far as the reason)

from __future__ import annotations

from typing import NoReturn

from naiad.errors import NeedsServer

__all__ = [
    "add_project_member",
    "add_project_service_account",
    "get_project_member_list",
    "get_project_service_account_list",
    "get_workspace_member_list",
    "get_workspace_service_account_list",
    "get_workspace_status",
    "invite_to_workspace",
    "remove_project_member",
    "remove_project_service_account",
]


def _refuse(what: str) -> NoReturn:
    raise NeedsServer(
        f"naiad stores everything in a folder and has no {what}.\n"
        "The permissions of that folder control who may read or write it."
    )


def add_project_member(
    project: str, username: str, role: str, *, workspace: str | None = None, api_token: str | None = None
) -> NoReturn:
    """Give a person access to a project. Raises NeedsServer."""
    _refuse("members of projects")


def remove_project_member(
    project: str, username: str, *, workspace: str | None = None, api_token: str | None = None
) -> NoReturn:
    """Remove a person's access to a project. Raises NeedsServer."""
    _refuse("members of projects")


def get_project_member_list(project: str, *, workspace: str | None = None, api_token: str | None = None) -> NoReturn:
    """Return the members of a project. Raises NeedsServer."""
    _refuse("members of projects")


def add_project_service_account(
    project: str, service_account_name: str, role: str, *, workspace: str | None = None, api_token: str | None = None
) -> NoReturn:
    """Give a service account access to a project. Raises NeedsServer."""
    _refuse("service accounts")


def remove_project_service_account(
    project: str, service_account_name: str, *, workspace: str | None = None, api_token: str | None = None
) -> NoReturn:
    """Remove a service account's access to a project. Raises NeedsServer."""
    _refuse("service accounts")


def get_project_service_account_list(
    project: str, *, workspace: str | None = None, api_token: str | None = None
) -> NoReturn:
    """Return the service accounts of a project. Raises NeedsServer."""
    _refuse("service accounts")


def get_workspace_member_list(workspace: str, *, api_token: str | None = None) -> NoReturn:
    """Return the members of a workspace. Raises NeedsServer."""
    _refuse("members of workspaces")


def get_workspace_service_account_list(workspace: str, *, api_token: str | None = None) -> NoReturn:
    """Return the service accounts of a workspace. Raises NeedsServer."""
    _refuse("service accounts")


def invite_to_workspace(
    *,
    username: str | None = None,
    email: str | None = None,
    workspace: str,
    role: str = "member",
    add_to_all_projects: bool = False,
    api_token: str | None = None,
) -> NoReturn:
    """Invite a person to a workspace. Raises NeedsServer."""
    _refuse("invitations")


def get_workspace_status(workspace: str, *, api_token: str | None = None) -> NoReturn:
    """Return how much of its quota a workspace has used. Raises NeedsServer."""
    _refuse("quotas of workspaces")
