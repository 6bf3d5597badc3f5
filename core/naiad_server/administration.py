"""The routes of administration: tokens, members, the audit, projects, and the end of containers."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from starlette.requests import Request

from naiad import trash
from naiad.container_kinds import is_project_key
from naiad.errors import shown
from naiad_server.access import ServerGrant
from naiad_server.bodies import MemberBody, ProjectBody, TokenBody, TrashBody
from naiad_server.server import Server, body_of
from naiad_server.server_trash import note_moves
from naiad_server.tokens import ROLES
from naiad_web.server.answers import Problem


async def list_tokens(server: Server, _request: Request, grant: ServerGrant) -> Any:
    """The tokens that an owner may see: those of the project, or all."""
    return {
        "tokens": [
            {
                "id": token.id,
                "principal": token.principal,
                "role": token.role,
                "project": token.project,
                "created": token.created,
                "expires": token.expires,
                "last_used": token.last_used or None,
                "is_revoked": token.is_revoked,
            }
            for token in await anyio.to_thread.run_sync(server.tokens.all, grant.project)
        ]
    }


async def add_token(server: Server, request: Request, grant: ServerGrant) -> Any:
    """Make a token."""
    takes = await body_of(request, TokenBody)
    project = takes.project
    if grant.role != "admin":
        project = server.project(takes.project, grant)
    # An owner makes no admin: a token never gives more than it has.
    if takes.role in ROLES and ROLES.index(takes.role) > ROLES.index(grant.role):
        raise Problem(403, "Forbidden", grant.refusal)
    token, text = await anyio.to_thread.run_sync(
        lambda: server.tokens.add(takes.principal, takes.role, project, takes.days, by=grant.principal)
    )
    return {"id": token.id, "token": text}


async def revoke_token(server: Server, request: Request, grant: ServerGrant) -> Any:
    """End a token."""
    name = request.path_params["id"]
    known = server.tokens.find(name)
    if known is None or grant.project not in (None, known.project):
        raise Problem(404, "NotFound", f"There is no token {name[:100]!r}.")
    if ROLES.index(known.role) > ROLES.index(grant.role):
        raise Problem(403, "Forbidden", grant.refusal)
    await anyio.to_thread.run_sync(lambda: server.tokens.revoke(name, by=grant.principal))
    return {"id": name}


async def list_members(server: Server, _request: Request, _grant: ServerGrant) -> Any:
    """The people and groups that have a role."""
    members = await anyio.to_thread.run_sync(server.tokens.members)
    return {"members": [{"name": each.name, "role": each.role, "project": each.project} for each in members]}


async def set_member(server: Server, request: Request, grant: ServerGrant) -> Any:
    """Give a person or a group a role."""
    takes = await body_of(request, MemberBody)
    member = await anyio.to_thread.run_sync(
        lambda: server.tokens.set_member(takes.name, takes.role, takes.project, by=grant.principal)
    )
    return {"name": member.name, "role": member.role, "project": member.project}


async def remove_member(server: Server, request: Request, grant: ServerGrant) -> Any:
    """End a membership."""
    name = request.path_params["name"]
    if not await anyio.to_thread.run_sync(lambda: server.tokens.remove_member(name, by=grant.principal)):
        raise Problem(404, "NotFound", f"There is no member {name[:100]!r}.")
    return {"name": name}


async def list_audit(server: Server, _request: Request, _grant: ServerGrant) -> Any:
    """The latest changes of tokens, members, projects and the trash."""
    entries = await anyio.to_thread.run_sync(server.tokens.audit)
    return {
        "entries": [
            {"at": each.at, "principal": each.principal, "action": each.action, "subject": each.subject}
            for each in entries
        ]
    }


async def add_project(server: Server, request: Request, grant: ServerGrant) -> Any:
    """Make a project."""
    takes = await body_of(request, ProjectBody)
    if takes.key is not None and not is_project_key(takes.key):
        raise Problem(400, "BadRequest", f"{shown(takes.key)} is not a key of a project.", argument="key")
    key = await anyio.to_thread.run_sync(server.receiver.add_project, takes.name, takes.key)
    server.tokens.note(grant.principal, "project.add", takes.name)
    return {"name": takes.name, "key": key}


async def put_into_trash(server: Server, request: Request, grant: ServerGrant) -> Any:
    """Move containers to the trash."""
    return await _moved(server, request, grant, is_out=False)


async def restore(server: Server, request: Request, grant: ServerGrant) -> Any:
    """Take containers out of the trash."""
    return await _moved(server, request, grant, is_out=True)


async def _moved(server: Server, request: Request, grant: ServerGrant, *, is_out: bool) -> Any:
    takes = await body_of(request, TrashBody)
    view = server.rules.view(server.store, grant)

    def move() -> list[str]:
        items = trash.find(view, takes.ids)
        note_moves(server, grant.principal, items)
        trash.move(view, items, is_out=is_out)
        return [item.id for item in items]

    moved = await anyio.to_thread.run_sync(move)
    server.tokens.note(grant.principal, f"container.{'restore' if is_out else 'trash'}", ", ".join(moved))
    return {"moved": moved}


async def delete_container(server: Server, request: Request, grant: ServerGrant) -> Any:
    """Delete a container that is in the trash, for good."""
    view = server.rules.view(server.store, grant)

    def delete() -> list[str]:
        items = trash.find(view, [request.path_params["id"]])
        trash.require_in_trash(view, items)
        return [item.id for item in trash.delete(view, items)]

    deleted = await anyio.to_thread.run_sync(delete)
    server.tokens.note(grant.principal, "container.delete", ", ".join(deleted))
    return {"deleted": deleted}
