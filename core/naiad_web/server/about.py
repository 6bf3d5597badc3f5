"""The store as a whole: its place, its size, its projects."""

from __future__ import annotations

import importlib.util
from typing import Any

from naiad import __version__, clock
from naiad.container_kinds import KINDS as CONTAINER_KINDS
from naiad.errors import NaiadError
from naiad.kinds import KINDS
from naiad.query.criteria import both, not_trashed
from naiad.storage.catalog import ABSENT
from naiad.types import ModelVersionStage
from naiad_web.server.access import TICKET_SECONDS
from naiad_web.server.answers import Json, moment
from naiad_web.server.parameters import None_, Parameters
from naiad_web.server.routes import Route
from naiad_web.server.site import Site

LIMITS = {"rows": 20_000, "runs": 200, "series": 4_000, "buckets": 4_000, "lines": 10_000}


class TicketsWanted(Parameters, frozen=True, kw_only=True):
    """The targets to make tickets for."""

    targets: list[str]


def describe(site: Site, _takes: None_) -> Json:
    """Describe the server and its store."""
    kinds = {
        kind.name: {"type": kind.neptune, "is_series": kind.is_series, "aspects": list(kind.aspects)}
        for kind in KINDS.values()
    }
    return {
        "naiad": __version__,
        "api": 1,
        "store": str(site.store),
        "address": site.store.url(),
        "store_format": site.store.format_version(),
        "default_project": site.store.default_project(),
        "is_editable": site.grant.is_editable,
        "now": now(),
        "kinds": kinds,
        "stages": [stage.value for stage in ModelVersionStage],
        "limits": LIMITS,
        "formats": ["json", "csv", *(["arrow"] if has_arrow() else [])],
        **(site.grant.facts or {}),
    }


def usage(site: Site, _takes: None_) -> Json:
    """Count the containers of the store, and add up their sizes."""
    return site.fresh("usage", lambda: _usage(site))


def _usage(site: Site) -> Json:
    catalog = site.catalog
    counts = {kind.name: catalog.count(kind, None, both(not_trashed(False))) for kind in CONTAINER_KINDS}
    trashed = sum(catalog.count(kind, None, both(not_trashed(True))) for kind in CONTAINER_KINDS)
    size = 0.0
    for kind in CONTAINER_KINDS:
        cells = catalog.grid(kind, None, None, columns=["sys/size"]).columns.values()
        size += sum(each for column in cells for each in column if each is not ABSENT and each)
    return {"containers": counts, "trashed": trashed, "bytes": size}


def projects(site: Site, _takes: None_) -> Json:
    """List the projects."""
    return site.fresh("projects", lambda: {"projects": _projects(site)})


def _projects(site: Site) -> list[dict[str, Any]]:
    keys = {name: key for key, name in site.store.projects().items()}
    found = site.catalog.projects()
    rows = [
        {
            "key": keys.get(each.name, ""),
            "name": each.name,
            "runs": each.counts.get("run", 0),
            "models": each.counts.get("model", 0),
            "trashed": each.trashed,
            "modified": moment(each.latest),
        }
        for each in found
    ]
    empty = {"runs": 0, "models": 0, "trashed": 0, "modified": None}
    rows += [{"key": key, "name": name, **empty} for name, key in keys.items() if name not in {e.name for e in found}]
    for row in rows:
        own = site.store.find_project(str(row["name"])) if row["key"] else None
        row["uid"] = own.uid if own else None
        row["description"] = _description(site, str(row["name"])) if own else ""
    return rows


def _description(site: Site, project: str) -> str:
    try:
        return str(site.project_reader(project).value("sys/description"))
    except NaiadError:  # it has none, or cannot be read: its page says so
        return ""


def tickets(site: Site, takes: TicketsWanted) -> Json:
    """Make tickets."""
    return {"tickets": [site.access.ticket(target, site.grant) for target in takes.targets], "seconds": TICKET_SECONDS}


def now() -> float:
    """Milliseconds since 1970."""
    return round(clock.now() * 1000, 3)


def has_arrow() -> bool:
    """Whether pyarrow is installed."""
    return importlib.util.find_spec("pyarrow") is not None


ROUTES = (
    Route("GET", "", describe, summary="The server, its store, kinds of fields and limits"),
    Route("GET", "/usage", usage, summary="Containers of the store, and their size"),
    Route("GET", "/projects", projects, summary="The projects"),
    Route("POST", "/tickets", tickets, TicketsWanted, "Tickets for targets that a browser fetches without headers"),
)
