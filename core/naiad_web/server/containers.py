"""One container: the facts in its header, its captured processes, its source code, its versions."""

from __future__ import annotations

from typing import Any

from naiad import clock
from naiad.container_kinds import MODEL, MODEL_VERSION, PROJECT, RUN, RunId
from naiad.errors import MissingField
from naiad.kinds import KINDS, LINES, PARENT, PARENT_UID, POINTS, PROTECTED, SYS
from naiad.query.criteria import both, children_of, not_trashed
from naiad.query.tree import And, Compare, FieldName, Not
from naiad.scalars import unpack_text
from naiad.storage.base import RunReader
from naiad.storage.catalog import ABSENT
from naiad.storage.results import Damage
from naiad_web.server.about import now
from naiad_web.server.answers import Json, moment, number
from naiad_web.server.fields import described
from naiad_web.server.parameters import None_
from naiad_web.server.routes import Route
from naiad_web.server.site import Site, project_of

MONITORING = "monitoring"
SOURCE = "source_code"
MOST_DAMAGES = 100
DAMAGE = Damage.__struct_fields__[:3]  # its place, a description, and the path of the field


def header(site: Site, name: str, _takes: None_) -> Json:
    """The facts of a container."""
    run = site.find(name)
    its_own = both([children_of(run.uid), *not_trashed(False)])
    children = site.catalog.count(RUN, None, its_own) if run.kind is RUN else 0
    return {**facts(site, run, site.reader(run)), "children": children}


def facts(site: Site, run: RunId, reader: RunReader) -> dict[str, Json]:
    """The facts of a container, as every header shows them."""
    kinds = reader.kinds()
    values = reader.values("sys")
    seen = values.get("sys/ping_time")
    return {
        "id": _text(values.get("sys/id")) or site.id_of(run),
        "uid": run.uid,
        "kind": run.kind.name,
        "project": _text(values.get("sys/name" if run.kind is PROJECT else "sys/project")) or project_of(reader),
        "name": _text(values.get("sys/name")),
        "description": _text(values.get("sys/description")),
        "state": _text(values.get("sys/state")),
        "is_failed": values.get("sys/failed") is True,
        "is_trashed": values.get("sys/trashed") is True,
        "is_protected": values.get(PROTECTED) is True,
        "parent": {"id": _text(values.get(PARENT)), "uid": _text(values[PARENT_UID])} if PARENT_UID in values else None,
        "created": _moment(values.get("sys/creation_time")),
        "modified": _moment(values.get("sys/modification_time")),
        "seen": _moment(seen),
        "seen_age": max(0.0, round(clock.now() - seen / 1e6, 3)) if isinstance(seen, int) else None,
        "running_time": number(values.get("sys/running_time")),  # type: ignore[arg-type]  # a number, by its kind
        "size": number(values.get("sys/size")),  # type: ignore[arg-type]  # likewise
        "owner": _text(values.get("sys/owner")),
        "hostname": _text(values.get("sys/hostname")),
        "custom_run_id": _text(values.get("sys/custom_run_id")) or None,
        "tags": _tags(reader, "sys/tags"),
        "group_tags": _tags(reader, "sys/group_tags"),
        "model_id": _text(values.get("sys/model_id")) or None,
        "stage": _text(values.get("sys/stage")) or None,
        "lost": reader.is_incomplete(),
        "fields": len(kinds),
        "address": site.store.url(run),
        "now": now(),
        "tracebacks": [path for path in sorted(kinds) if _is_traceback(path, kinds[path]) and reader.count(path)],
        "damages": [{fact: getattr(each, fact) for fact in DAMAGE} for each in reader.damages[:MOST_DAMAGES]],
        "shadowed": [each._asdict() for each in reader.shadowed()],
    }


def monitoring(site: Site, name: str, _takes: None_) -> Json:
    """The captured streams and metrics, one item a process."""
    reader = site.reader(site.find(name))
    processes: dict[str, dict[str, Any]] = {}
    for path, kind in sorted(reader.kinds().items()):
        parts = path.split("/")
        # Two parts are a field that a user put there: what naiad captures is one level deeper, below the process.
        if parts[0] != MONITORING or len(parts) < 3:
            continue
        place = "/".join(parts[:2])
        process = processes.setdefault(
            place, {"namespace": place, "attributes": {}, "series": [], "lines": [], "traceback": None}
        )
        field = described(reader, path, kind)
        if _is_traceback(path, kind):
            process["traceback"] = field
        elif kind == POINTS:
            process["series"].append(field)
        elif kind == LINES:
            process["lines"].append(field)
        elif not KINDS[kind].is_series:
            process["attributes"]["/".join(parts[2:])] = field.get("value")
    return {"processes": list(processes.values())}


def source(site: Site, name: str, _takes: None_) -> Json:
    """The source code of a run: commit, differences, files."""
    reader = site.reader(site.find(name))
    found = {path: kind for path, kind in reader.kinds().items() if path.startswith(f"{SOURCE}/")}

    def field(path: str) -> Json:
        return described(reader, f"{SOURCE}/{path}", found[f"{SOURCE}/{path}"]) if f"{SOURCE}/{path}" in found else None

    entrypoint = field("entrypoint")
    # the uncommitted changes, and those since the commit upstream
    diffs = [path for path in sorted(found) if "diff" in path.rpartition("/")[2]]
    return {
        "git": field("git"),
        "diffs": [described(reader, path, found[path]) for path in diffs],
        "files": field("files"),
        "requirements": field("requirements"),
        "entrypoint": entrypoint["value"] if entrypoint else None,
    }


def versions(site: Site, name: str, _takes: None_) -> Json:
    """The versions of a model."""
    model = site.find(name, MODEL)
    own = FieldName("sys/model_id", SYS["sys/model_id"])
    is_trashed = Compare(FieldName("sys/trashed", SYS["sys/trashed"]), "=", True)
    # By id, since a version names its model by that.
    tree = And((Compare(own, "=", site.id_of(model)), Not(is_trashed)))
    paths = ("name", "stage", "creation_time", "modification_time", "owner", "tags", "description")
    grid = site.catalog.grid(MODEL_VERSION, None, tree, columns=[f"sys/{path}" for path in paths])
    columns = {path: cells for (path, _kind), cells in grid.columns.items()}

    def cell(path: str, row: int) -> Any:
        value = columns.get(f"sys/{path}", [ABSENT] * len(grid.uids))[row]
        return None if value is ABSENT else value

    rows = [
        {
            "id": grid.ids[row],
            "uid": uid,
            "name": cell("name", row) or "",
            "description": cell("description", row) or "",
            "stage": cell("stage", row) or "none",
            "created": moment(cell("creation_time", row)),
            "modified": moment(cell("modification_time", row)),
            "owner": cell("owner", row) or "",
            "tags": sorted(cell("tags", row) or ()),
        }
        for row, uid in enumerate(grid.uids)
    ]
    stages: dict[str, int] = {}
    for each in rows:
        stages[str(each["stage"])] = stages.get(str(each["stage"]), 0) + 1
    return {"versions": rows, "stages": stages}


def _is_traceback(path: str, kind: str) -> bool:
    return kind == LINES and path.startswith(f"{MONITORING}/") and path.endswith("/traceback")


def _text(value: object) -> str:
    return unpack_text(value) if isinstance(value, str | bytes) else ""


def _moment(value: object) -> str | None:
    return moment(value) if isinstance(value, int) else None


def _tags(reader: RunReader, path: str) -> list[str]:
    try:
        return sorted(reader.tags(path))
    except MissingField:
        return []


ROUTES = (
    Route("GET", "/containers/{id}", header, summary="The facts of a container"),
    Route("GET", "/containers/{id}/monitoring", monitoring, summary="What naiad captured of each process"),
    Route("GET", "/containers/{id}/source", source, summary="The source code of a run"),
    Route("GET", "/containers/{id}/versions", versions, summary="The versions of a model"),
)
