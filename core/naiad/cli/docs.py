"""`naiad docs`: the documentation in a browser, without a network."""

from __future__ import annotations

import http.server
import importlib.util
import os
import subprocess
import sys
import webbrowser
from functools import partial
from pathlib import Path
from typing import Any

import click

from naiad.cli.terminal import print_note
from naiad.errors import MissingPackage

SITE = Path(__file__).parents[1] / "site"
SOURCES = Path(__file__).parents[2] / "mkdocs.yml"
"""In a checkout alone: a wheel carries the built site instead."""


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; 0, the default, picks a free one.")
@click.option("--no-browser", is_flag=True, help="Print the address and open no browser.")
def docs(port: int, no_browser: bool) -> None:
    """Show the documentation in a browser; it is served from this machine until Ctrl-C.

    Example: naiad docs --port 8010
    """
    if not (SITE / "index.html").is_file() or _is_older():
        _build()
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), partial(_Pages, directory=str(SITE))) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/index.html"
        click.echo(address)
        if not no_browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print_note("Stopped.")


class _Pages(http.server.SimpleHTTPRequestHandler):
    """The files of the site, to this machine only: a request for another host is rejected (DNS rebinding)."""

    def send_head(self) -> Any:
        """Answer a request for this machine, and reject others."""
        host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
        # A page elsewhere whose name was bound to this address would otherwise read the answers.
        if host not in ("127.0.0.1", "localhost"):
            self.send_error(421)
            return None
        return super().send_head()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing for a request."""


def _is_older() -> bool:
    """Whether a page of the checkout was edited after the site was built; never in a wheel."""
    if not SOURCES.is_file():
        return False
    built = (SITE / "index.html").stat().st_mtime
    return any(page.stat().st_mtime > built for page in (SOURCES.parent / "docs").rglob("*.md"))


def _build() -> None:
    """Build the site of a checkout.

    Raises:
        MissingPackage: the packages of the extra `docs` are not installed.

    Example: naiad docs
    """
    if importlib.util.find_spec("mkdocs") is None or not SOURCES.is_file():
        raise MissingPackage(
            "The documentation is not built here, and building it needs mkdocs.\n"
            'Install it with: pip install "naiad[docs]"'
        )
    print_note("Building the documentation ...")
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--config-file", str(SOURCES)]
    subprocess.run(build, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
