"""Artifacts: the files of a version, and who uses the same version."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from naiad.container_kinds import KINDS as CONTAINER_KINDS
from naiad.errors import FieldConflict
from naiad.fields.artifact import Manifest
from naiad.files.tracked import TrackedFile
from naiad.kinds import KINDS
from naiad.query.tree import Compare, FieldName, Or
from naiad.refs import ArtifactRef, FileRef, read_facts
from naiad.storage.base import RunReader
from naiad.storage.catalog import ABSENT
from naiad_web.server.answers import Json, moment
from naiad_web.server.fields import fitting, text_of
from naiad_web.server.parameters import Parameters
from naiad_web.server.routes import Route
from naiad_web.server.site import Site

AT_ONCE = 50
"""Paths of artifacts that one search looks at."""


class ArtifactWanted(Parameters, frozen=True, kw_only=True):
    """An artifact."""

    run: str
    path: str
    search: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 5_000
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


class UsersWanted(Parameters, frozen=True, kw_only=True):
    """A hash."""

    hash: str
    project: str | None = None


def version_of(reader: RunReader, path: str) -> tuple[ArtifactRef, list[TrackedFile]]:
    """The version that an artifact is at, and its files.

    Raises:
        FieldConflict: the field is no artifact.
        DamagedData: its list of files is damaged.
    """
    kind, stored = reader.atom(path)
    if KINDS[kind].keeps != "manifest":
        raise FieldConflict(f'"{path}" is of kind {kind}, not an artifact.', path=path)
    version = ArtifactRef.from_text(text_of(stored))
    content = reader.read_file(FileRef.from_text(version.manifest))
    return version, [TrackedFile(*each) for each in read_facts(content, Manifest)]


def artifact(site: Site, takes: ArtifactWanted) -> Json:
    """The files of an artifact."""
    reader = site.reader(site.find(takes.run))
    version, tracked = version_of(reader, takes.path)
    fits = fitting(takes.search)
    found = [file for file in tracked if fits(file.path)]
    rows = [
        {
            "name": file.path,
            "hash": file.content,
            "size": file.size,
            "modified": moment(file.modified // 1000) if file.modified else None,
            "storage": file.storage,
            "location": file.location,
        }
        for file in found[takes.offset : takes.offset + takes.limit]
    ]
    return {"hash": version.hash, "total": len(found), "size": version.size, "files": rows}


def users(site: Site, takes: UsersWanted) -> Json:
    """Every container that has an artifact with this hash."""
    catalog = site.catalog
    found: list[dict[str, Any]] = []
    for kind in CONTAINER_KINDS:
        fields = [(path, each) for path, each in catalog.fields(kind, takes.project) if KINDS[each].keeps == "manifest"]
        # a query has at most so many clauses, and projects may have more artifacts
        for start in range(0, len(fields), AT_ONCE):
            some = fields[start : start + AT_ONCE]
            tree = Or(tuple(Compare(FieldName(path, each), "=", takes.hash) for path, each in some))
            columns = [path for path, _kind in some]
            grid = catalog.grid(kind, takes.project, tree, columns=[*columns, "sys/name", "sys/creation_time"])
            cells = {path: column for (path, _kind), column in grid.columns.items()}
            for row, uid in enumerate(grid.uids):
                facts = {
                    "id": grid.ids[row], "uid": uid, "kind": kind.name, "project": grid.projects[row],
                    "name": _cell(cells, "sys/name", row) or "",
                    "created": moment(_cell(cells, "sys/creation_time", row)),
                }  # fmt: skip
                # A container may have several of the artifacts searched for, and only some at this version.
                found += [{**facts, "path": path} for path in columns if _cell(cells, path, row) == takes.hash]
    return {"users": found}


def _cell(cells: dict[str, list[Any]], path: str, row: int) -> Any:
    value = cells[path][row] if path in cells else None
    return None if value is ABSENT else value


ROUTES = (
    Route("GET", "/artifact", artifact, ArtifactWanted, "The files of an artifact"),
    Route("GET", "/artifact/users", users, UsersWanted, "Who has an artifact with this hash"),
)
