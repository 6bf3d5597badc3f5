"""The pages: files of `naiad_web/pages`, and nothing else of the disk."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

from starlette.responses import Response

from naiad_web.server.answers import etag

FOLDER = Path(__file__).parents[1] / "pages"
INDEX = "index.html"
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; frame-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
MEDIA = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".map": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
MISSING = b"<!doctype html><title>naiad</title><p>The pages are not installed. The interface is at /api/v1.</p>"


class Pages:
    """The files of a folder, read anew for each request, so that a reload shows an edit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def answer(self, path: str, known: str = "") -> Response:
        """Return the file below `/static/`, or the one page for every other path."""
        if not path.startswith("/static/"):
            return self._sent(self._folder / INDEX, 200, known)
        file = self._listed().get(unquote(path.removeprefix("/static/")))
        return self._sent(file, 200, known) if file else self._sent(self._folder / INDEX, 404, "")

    def _listed(self) -> dict[str, Path]:
        """The files that are served, by their names; links are left out."""
        found = {}
        # a listed name is the only way to a file, so no spelling of ".." is one
        for folder, names, files in os.walk(self._folder):
            names[:] = [name for name in names if not name.startswith((".", "_"))]
            for name in files:
                file = Path(folder, name)
                if file.suffix in MEDIA and not name.startswith(".") and not file.is_symlink():
                    found[file.relative_to(self._folder).as_posix()] = file
        return found

    def _sent(self, file: Path, status: int, known: str) -> Response:
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
        try:
            body, media = file.read_bytes(), MEDIA[file.suffix]
        except OSError:
            body, media = MISSING, MEDIA[".html"]
        headers["ETag"] = etag(body)
        if status == 200 and headers["ETag"] in known:
            return Response(status_code=304, headers=headers)
        return Response(body, status, headers, media)
