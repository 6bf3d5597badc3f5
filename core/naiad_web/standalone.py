"""One HTML file of some runs: the pages with their data in it, to be mailed or attached. It makes no request.

The modules of the pages become `data:` addresses of an import map; what the interface answers is kept as JSON.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from naiad.kinds import ASPECTS, KINDS, LINES, MEMBERS, POINTS
from naiad.storage.base import Store
from naiad_web.server.access import Access, Grant
from naiad_web.server.answers import Answer, Problem, Stream, encoded
from naiad_web.server.app import ROUTES
from naiad_web.server.pages import FOLDER
from naiad_web.server.parameters import from_query
from naiad_web.server.site import Site

PREFIX = "naiad/"
LAST_LINES = 5_000
"""Lines of a log that are kept, from its end."""
BUCKETS = 2_000

STYLES = ("style/tokens.css", "vendor/uplot.css", "style/app.css")
IMPORT = re.compile(
    r"""((?:^|[;}\s])(?:import|export)\b[^;"'`]*?from\s*|import\s*\(\s*|^import\s*)(["'])(\.{1,2}/[^"']+)\2""",
    re.MULTILINE,
)

Query = Sequence[tuple[str, str]]


class Record:
    """Answers of the interface about some runs, taken without a server."""

    def __init__(self, store: Store, runs: Sequence[str], image_limit: int) -> None:
        self._site = Site(store, Access(token=""), Grant(key=""))
        self._routes = {(route.method, route.path): route for route in ROUTES}
        self._image_limit = image_limit
        self._files: dict[str, str] = {}
        self._heads = [self.json("/containers/{id}", name=run) for run in runs]
        self._uids = [head["uid"] for head in self._heads]

    def bytes(self, path: str, query: Query = (), name: str | None = None) -> bytes:
        """Return the body of one answer."""
        # The functions behind the routes: the file shows what the server would answer, and cannot differ from it.
        route = self._routes["GET", path]
        takes = from_query(route.takes, list(query))
        arguments = (self._site, takes) if name is None else (self._site, name, takes)
        found = route.serve(*arguments, {}) if route.wants_headers else route.serve(*arguments)
        if isinstance(found, Stream):
            return b"".join(found.parts)
        return found.body if isinstance(found, Answer) else encoded(found)

    def json(self, path: str, query: Query = (), name: str | None = None) -> Any:
        """Return one answer as plain values."""
        return json.loads(self.bytes(path, query, name))

    def kept(self) -> dict[str, Any]:
        """Return everything that the file holds."""
        runs = {head["uid"]: self._run(head) for head in self._heads}
        ids = [("id", uid) for uid in self._uids]
        fields = {field["path"]: field for run in runs.values() for field in run["fields"]["fields"]}
        columns = [("column", path) for path, field in sorted(fields.items()) if field["kind"] in _IN_TABLES]
        aspects = [
            ("column", f"{path}:{aspect}")
            for path, field in sorted(fields.items())
            if field["kind"] == POINTS
            for aspect in ASPECTS[1:]
        ]
        # The page compares two or more; a single run is compared with itself.
        both = self._uids if len(self._uids) > 1 else self._uids * 2
        about = self.json("")
        series = [path for path, field in sorted(fields.items()) if field["kind"] == POINTS]
        return {
            # The file is mailed to others: it must not say where the store is, nor offer to edit.
            "about": {**about, "store": "", "address": "", "is_editable": False},
            "projects": self.json("/projects"),
            "columns": {"total": len(fields), "columns": [_brief(field) for field in fields.values()]},
            "table": self.json("/table", [*ids, *columns[:2000], *aspects[:2000], ("trashed", "all")]),
            "compare": self.json("/compare", [("run", uid) for uid in both]),
            "runs": runs,
            "charts": dict(self._charts(series)),
            "files": self._files,
        }

    def _run(self, head: dict[str, Any]) -> dict[str, Any]:
        uid = head["uid"]
        fields = self.json("/containers/{id}/fields", [("details", "true"), ("limit", "20000")], uid)
        kept: dict[str, Any] = {
            "head": {**head, "address": ""},
            "fields": fields,
            "attributes": self.json("/containers/{id}/attributes", (), uid),
            "monitoring": self.json("/containers/{id}/monitoring", (), uid),
            "source": self.json("/containers/{id}/source", (), uid),
            **{name: {} for name in ("lines", "entries", "artifacts", "sets", "histograms", "values")},
        }
        for field in fields["fields"]:
            if "error" not in field:
                self._field(uid, field, kept)
        return kept

    def _field(self, uid: str, field: dict[str, Any], kept: dict[str, Any]) -> None:
        path, name = field["path"], field["kind"]
        kind = KINDS.get(name)
        if kind is None:
            return  # of a later release
        at = [("run", uid), ("path", path)]
        if name == LINES:
            kept["lines"][path] = self.json("/lines", [*at, ("start", str(-LAST_LINES)), ("limit", str(LAST_LINES))])
        elif kind.keeps == "manifest":
            kept["artifacts"][path] = self.json("/artifact", [*at, ("limit", "2000")])
        elif kind.keeps and kind.shape == "texts":
            kept["entries"][path] = entries = self.json("/entries", [*at, ("limit", "500")])
            for index, file in enumerate(entries["files"]):
                self._file(uid, path, file, index=str(index))
        elif kind.keeps and kind.shape == "document":
            self._file(uid, path, field)
        elif name == MEMBERS:
            kept["sets"][path] = files = self.json("/files", [*at, ("limit", "1000")])
            for file in files["files"]:
                self._file(uid, path, file, entry=file["name"])
        elif kind.drawn_as == "bars":
            kept["histograms"][path] = self.json("/histograms", [*at, ("limit", "60")])
        elif field.get("cut"):
            kept["values"][path] = self.json("/containers/{id}/value", [("path", path)], uid)

    def _file(self, uid: str, path: str, file: dict[str, Any], index: str = "", entry: str = "") -> None:
        """Keep the content of an image or a short text, as long as there is room."""
        shown, size = file.get("shown_as"), file.get("size") or 0
        if shown not in ("image", "svg", "text", "json", "markdown") or size > self._image_limit:
            return
        query = [("run", uid), ("path", path)]
        query += [(name, value) for name, value in (("index", index), ("entry", entry)) if value]
        try:
            content = self.bytes("/file", query)
        except Problem:
            return  # damaged, or gone: the page says that it is not kept
        # A text of any kind as plain text, so that nothing in a run becomes a script of this page.
        media = file["media"] if shown in ("image", "svg") else "text/plain"
        self._files["\n".join((uid, path, index, entry))] = f"data:{media};base64,{base64.b64encode(content).decode()}"

    def _charts(self, paths: Sequence[str]) -> Iterator[tuple[str, str]]:
        for path in paths:
            for x in ("step", "relative", "time"):
                query = [*(("run", uid) for uid in self._uids), ("path", path), ("x", x), ("buckets", str(BUCKETS))]
                yield f"{x} {path}", base64.b64encode(self.bytes("/chart", query)).decode()


_SHAPES = ("atom", "tags", "derived", "points")
_IN_TABLES = {kind.name for kind in KINDS.values() if kind.shape in _SHAPES or kind.keeps == "manifest"}


def _brief(field: dict[str, Any]) -> dict[str, Any]:
    return {name: field[name] for name in ("path", "kind", "type")} | {"aspects": []}


def page(store: Store, runs: Sequence[str], *, image_limit: int = 2_000_000) -> str:
    """Return one HTML file of some runs.

    Args:
        store: where they are.
        runs: their ids or uids, at least one.
        image_limit: the size up to which an image or a text is kept, in bytes.
    """
    kept = Record(store, runs, image_limit).kept()
    heads = [run["head"] for run in kept["runs"].values()]
    project, ids = heads[0]["project"], [head["id"] for head in heads]
    start = f"/p/{_quoted(project)}/runs/{_quoted(ids[0])}" if len(ids) == 1 else f"/p/{_quoted(project)}/runs"
    imports = json.dumps({"imports": dict(_modules())})
    boot = f"location.hash||history.replaceState(null,'','#{start}');import('{PREFIX}app.js');"
    # Only the scripts whose hashes stand here run, and nothing is fetched from elsewhere.
    policy = (
        "default-src 'none'; img-src data: blob:; media-src data: blob:; connect-src data:; style-src 'unsafe-inline'; "
        f"script-src data: {_hash(imports)} {_hash(boot)}; base-uri 'none'; form-action 'none'"
    )
    # Without "<", so that no text of a run can close the element and begin a script.
    data = json.dumps(kept, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    styles = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in STYLES)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>naiad</title>\n<style>\n{styles}\n</style>\n"
        f'<script type="importmap">{imports}</script>\n</head>\n<body>\n<div id="app"></div>\n'
        f'<script type="application/json" id="naiad-data">{data}</script>\n'
        f'<script type="module">{boot}</script>\n</body>\n</html>\n'
    )


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def _modules() -> Iterator[tuple[str, str]]:
    """Yield each module by its name in the import map, as an address that holds it."""
    for file in sorted(FOLDER.rglob("*.js")):
        name = file.relative_to(FOLDER).as_posix()
        text = IMPORT.sub(functools.partial(_renamed, file=file), file.read_text(encoding="utf-8"))
        yield PREFIX + name, f"data:text/javascript;base64,{base64.b64encode(text.encode()).decode()}"


def _renamed(found: re.Match[str], file: Path) -> str:
    target = (file.parent / found[3]).resolve().relative_to(FOLDER.resolve()).as_posix()
    return f"{found[1]}{found[2]}{PREFIX}{target}{found[2]}"


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
