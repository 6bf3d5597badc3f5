"""The pages: files of `naiad_web/pages`, and nothing else of the disk."""

from __future__ import annotations

import gzip
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from starlette.responses import Response

from naiad_web.server.answers import etag

FOLDER = Path(__file__).parents[1] / "pages"
INDEX = "index.html"
STATIC, VERSION = "/static/", "v-"
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
_COMMENTS = re.compile(
    rb"^[ \t]*(?:/\*(?s:.*?)\*/[ \t]*|//[^\n]*)\n"  # with lines to themselves
    rb"|/\*\* @type \{[^\n*]*?\} \*/ "  # types of values
    rb"|(?<=[;,{(\])}]) +// [^\n`\"']*$",  # at ends of lines; one with a quotation mark may be a text
    re.MULTILINE,
)
"""Comments. That no text of the pages looks like one is tested with a parser of the language."""
_INDENTS = re.compile(rb"(?<=[;{(,\[])\n[ \t\n]*|(?<=\n)[ \t\n]+")
"""Indents, empty lines, and ends of lines behind signs after which a blank means nothing.

Only templates of elements span lines, where one blank is as good as many: tested too.
"""
_BLANKS = re.compile(rb"(?<=[{};:,])[ \n]+|[ \n]+(?=[{}])|;(?=[ \n]*\})")
"""Blanks of styles that mean nothing, and the semicolon before the end of a rule."""
MISSING = b"<!doctype html><title>naiad</title><p>The pages are not installed. The interface is at /api/v1.</p>"


@dataclass(frozen=True)
class _File:
    """A file as it is sent: plain, and compressed once for all browsers."""

    mark: tuple[int, int, int]
    """Inode, size and time of the file it was read from."""
    body: bytes
    gzipped: bytes
    media: str
    tag: str

    @classmethod
    def of(cls, body: bytes, media: str, mark: tuple[int, int, int]) -> _File:
        """Return a file with this content."""
        return cls(mark, body, gzip.compress(body, mtime=0), media, etag(body))


class Pages:
    """The files of a folder. One that was edited is read again, so that a reload shows the edit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, Path] = {}
        self._known: dict[Path, _File] = {}
        self._current: tuple[str, _File | None] = ("", None)

    def answer(self, path: str, known: str = "", encodings: str = "") -> Response:
        """Return the file below `/static/`, or the one page for every other path.

        Args:
            path: the path of the URL.
            known: the tags that the browser has.
            encodings: the encodings that it accepts.
        """
        if not path.startswith(STATIC):
            return self._sent(self._page(), 200, known, encodings)
        name = unquote(path.removeprefix(STATIC))
        version, _, rest = name.removeprefix(VERSION).partition("/") if name.startswith(VERSION) else ("", "", name)
        file = self._file(rest)
        if file is None:
            return self._sent(self._page(), 404, "", encodings)
        # under another version than the current one a file may change at any time
        return self._sent(self._read(file), 200, known, encodings, is_lasting=version == self._current[0] != "")

    def _file(self, name: str) -> Path | None:
        file = self._names.get(name)
        # a page asks for 40 files, and listing all takes a millisecond
        if file is None or file.is_symlink() or not file.is_file():
            self._names = self._listed()
            file = self._names.get(name)
        return file

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

    def _read(self, file: Path) -> _File | None:
        try:
            facts = file.stat()
            mark = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
            known = self._known.get(file)
            if known is None or known.mark != mark:
                known = self._known[file] = _File.of(self._body(file), MEDIA[file.suffix], mark)
        except OSError:
            return None
        return known

    def _body(self, file: Path) -> bytes:
        """The bytes of a file as they are sent: our scripts and styles without comments, indents and idle blanks."""
        found = file.read_bytes()
        is_ours = file.suffix in (".js", ".css") and "vendor" not in file.relative_to(self._folder).parts
        if is_ours:
            found = _INDENTS.sub(b"", _COMMENTS.sub(b"", found))
        return _BLANKS.sub(b"", found) if is_ours and file.suffix == ".css" else found

    def _page(self) -> _File | None:
        """The one page, with the version in the addresses of its files, so that a browser loads each of them once."""
        page = self._read(self._folder / INDEX)
        self._names = self._listed()
        facts = [(name, file.stat()) for name, file in sorted(self._names.items())]
        version = etag(repr([(name, each.st_size, each.st_mtime_ns) for name, each in facts]).encode()).strip('"')
        if page is not None and version != self._current[0]:
            body = page.body.replace(f'"{STATIC}'.encode(), f'"{STATIC}{VERSION}{version}/'.encode())
            self._current = version, _File.of(body, page.media, page.mark)
        return self._current[1] if page is not None else None

    def _sent(
        self, file: _File | None, status: int, known: str, encodings: str, *, is_lasting: bool = False
    ) -> Response:
        keeping = "private, max-age=31536000, immutable" if is_lasting else "no-cache"
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": keeping, "Vary": "Accept-Encoding"}
        if file is None:
            return Response(MISSING, status, headers, MEDIA[".html"])
        headers["ETag"] = file.tag
        if status == 200 and file.tag in known:
            return Response(status_code=304, headers=headers)
        if "gzip" not in encodings or len(file.gzipped) >= len(file.body):
            return Response(file.body, status, headers, file.media)
        return Response(file.gzipped, status, headers | {"Content-Encoding": "gzip"}, file.media)
