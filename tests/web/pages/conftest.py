"""A real Chromium, and a page that fails its test on any error, report of the policy or foreign request."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "core/naiad_web/pages"
HERE = Path(__file__).parent
TOOLS = HERE / "node_modules"
POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "frame-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
PATIENCE = 90.0
"""Seconds to wait for what has to come: other tests may have the processors meanwhile."""
COUNTERS = """
globalThis.__naiad = { draws: 0, lastDraw: 0, errors: [] };
addEventListener("error", (event) => __naiad.errors.push(event.message));
addEventListener("unhandledrejection", (event) => __naiad.errors.push(String(event.reason)));
"""
"""What charts count, where it is there, and what went wrong."""


def missing(reason: str) -> None:
    """Skip a test, or fail it where the check has to be complete."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


class Static(BaseHTTPRequestHandler):
    """The design page and its modules, under the policy of the pages and with no interface behind them."""

    protocol_version = "HTTP/1.1"  # one connection for forty modules

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        file = ROOT / path.lstrip("/") if path.startswith(("/core/", "/tests/")) else HERE / "design.html"
        body = file.read_bytes() if file.is_file() else b""
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", TYPES.get(file.suffix, "application/octet-stream"))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=3600")  # the address holds for these tests alone
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Print nothing: the browser's requests are of no interest."""


@pytest.fixture(scope="session")
def static() -> Iterator[str]:
    """The address of the design page."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Static)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Watched:
    """A new page of a browser, and all that went wrong in it."""

    def __init__(self, context: Any, origin: str) -> None:
        self.page = context.new_page()
        self.origin = origin
        self.troubles: list[str] = []
        self.requests: list[str] = []
        self.allowed: list[str] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        self.page.on("request", self._requested)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _requested(self, request: Any) -> None:
        self.requests.append(request.url)
        if not request.url.startswith((self.origin, "data:", "blob:")):
            self.troubles.append(f"foreign request: {request.url}")

    def open(self, path: str) -> Any:
        """Open a path, and return the page once it shows a screen."""
        self.page.goto(self.origin + path)
        self.page.wait_for_selector(".page, .lonely")
        return self.page

    def check(self) -> None:
        """Fail on what was seen, save what the test said that it expects."""
        left = [trouble for trouble in self.troubles if not any(text in trouble for text in self.allowed)]
        assert [] == left


BEGINNING = """
try {
    const kept = {"naiad.token": TOKEN};
    if (!sessionStorage.getItem("begun")) {
        for (const key of Object.keys(localStorage)) if (!kept[key]) localStorage.removeItem(key);
    }
    sessionStorage.setItem("begun", "yes");
    if (TOKEN) localStorage.setItem("naiad.token", TOKEN);
} catch {}
"""
"""Each new page begins without what the last one has stored, but for the token, which another page may send in this
moment. Frames without an origin store nothing."""


def context_of(chromium: Any, token: str = "") -> Any:
    """Return a browser with storage and a cache of its own, which its pages share."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(1000 * PATIENCE)
    context.add_init_script(COUNTERS)
    context.add_init_script(BEGINNING.replace("TOKEN", repr(token)))
    return context


@contextlib.contextmanager
def page_of(context: Any, origin: str) -> Iterator[Watched]:
    """A new page of a browser, checked when it is closed."""
    watched = Watched(context, origin)
    try:
        yield watched
    finally:
        watched.page.close()
    watched.check()


@pytest.fixture(name="opened", scope="session")
def opened_pages() -> Any:
    """New pages of a browser."""
    return page_of


@pytest.fixture(scope="session")
def without_server(chromium: Any) -> Iterator[Any]:
    """A browser for the design page: loading its modules anew for each test would take longer than the tests."""
    context = context_of(chromium)
    yield context
    context.close()


@pytest.fixture
def alone(without_server: Any, static: str) -> Iterator[Watched]:
    """The pages without a server."""
    with page_of(without_server, static) as watched:
        yield watched


def axe(page: Any, *, only: Sequence[str] = ()) -> list[str]:
    """Return the serious and critical findings of axe-core on a page, of all its rules or of some."""
    script = TOOLS / "axe-core/axe.min.js"
    if not script.is_file():
        missing("axe-core is not installed (npm install --prefix tests/web/pages)")
    if not page.evaluate("'axe' in globalThis"):
        page.evaluate(script.read_text(encoding="utf-8") + "; 0")
    options = {"resultTypes": ["violations"], **({"runOnly": list(only)} if only else {})}
    found = page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{item['id']}: {node['target']} {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for item in found["violations"]
        if item["impact"] in ("serious", "critical")
        for node in item["nodes"][:4]
    ]


@contextlib.contextmanager
def watched_page(chromium: Any, origin: str, token: str) -> Iterator[Watched]:
    """A page in a browser of its own with a token, checked when it is closed."""
    context = context_of(chromium, token)
    watched = Watched(context, origin)
    try:
        yield watched
    finally:
        context.close()
    watched.check()


@pytest.fixture(name="watched")
def watched_pages() -> Any:
    """Pages before a server."""
    return watched_page


COLOR_RULES = ("color-contrast", "link-in-text-block")
"""What may differ between the light and the dark: the pages differ in nothing but colours."""


@pytest.fixture
def color_rules() -> tuple[str, ...]:
    """The rules of axe-core that a theme can break."""
    return COLOR_RULES


def until(page: Any, expression: str) -> None:
    """Wait until an expression holds; the browser's own waiting evaluates strings, which the policy forbids."""
    end = time.monotonic() + PATIENCE
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"still not: {expression}"
        page.wait_for_timeout(25)


@pytest.fixture(name="until")
def until_holds() -> Any:
    """The wait for an expression."""
    return until


@pytest.fixture(name="axe")
def axe_findings() -> Any:
    """The check for people who hear or enlarge a page."""
    return axe


def run_node(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run node on files of this folder."""
    node = shutil.which("node")
    if not node:
        missing("node is not installed (Debian: apt-get install nodejs)")
    command = [str(node), *arguments]
    return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture(name="run_node")
def node_runner() -> Any:
    """Node, where it is installed."""
    return run_node


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with every kind of field and hostile names."""
    if importlib.util.find_spec("naiad_web.server") is None:
        pytest.skip("the server of the pages is not installed")
    root = tmp_path_factory.mktemp("pages")
    script = Path(__file__).parent / "store.py"
    done = subprocess.run(
        [sys.executable, str(script), str(root)], capture_output=True, text=True, timeout=100, check=True
    )
    return Path(done.stdout.strip().splitlines()[-1])


class Served:
    """`naiad ui` on a store."""

    def __init__(self, store: Path, port: int = 0, *options: str) -> None:
        self.store = store
        program = [sys.executable, "-c", "from naiad.cli import main; main()"]
        command = [*program, "--store", str(store), "ui", "--port", str(port), "--no-browser"]
        environment = {**os.environ, "XDG_STATE_HOME": str(store.parent), "XDG_DATA_HOME": str(store.parent)}
        self._process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.search(r"(http://[^/\s]+)/#token=(\S+)", line)
        assert found, line + self._process.stdout.read()
        self.origin, self.token = found[1], found[2]
        self.port = int(self.origin.rpartition(":")[2])

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="session")
def serve() -> type[Served]:
    """Serve a store, as users do."""
    return Served


@pytest.fixture(scope="session")
def served(store: Path, serve: Any) -> Iterator[Any]:
    """The store, served for reading."""
    server = serve(store)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def editable(store: Path, serve: Any) -> Iterator[Any]:
    """The store, served for changes."""
    server = serve(store, 0, "--edit")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def reader(chromium: Any, served: Any) -> Iterator[Any]:
    """A browser that has the token, and soon the files of the pages in its cache, as a user's has."""
    context = context_of(chromium, served.token)
    yield context
    context.close()


@pytest.fixture
def look(reader: Any, served: Any) -> Iterator[Any]:
    """A page that has the token."""
    with page_of(reader, served.origin) as page:
        yield page


@pytest.fixture
def fresh(chromium: Any, served: Any, watched: Any) -> Iterator[Any]:
    """A page with the token in a browser of its own, which has no file in its cache and no other page."""
    with watched(chromium, served.origin, served.token) as page:
        yield page


@pytest.fixture
def edit(chromium: Any, editable: Any, watched: Any) -> Iterator[Any]:
    """A page before a server that changes things."""
    with watched(chromium, editable.origin, editable.token) as page:
        yield page


SETTLED = """!!document.querySelector('main .page, .lonely') && !document.querySelector('.skeleton, .busy')
    && [...document.querySelectorAll('.chart-wait')].every(card => card.getBoundingClientRect().top > innerHeight)"""


def settled(page: Any, until: Any) -> None:
    """Wait until nothing that can be seen waits."""
    until(page, SETTLED)
    page.wait_for_timeout(80)
    until(page, SETTLED)


@pytest.fixture(name="settled")
def settled_page() -> Any:
    """The wait until a page has all it shows."""
    return settled
