"""The targets of naiad itself: webhooks and commands. A module of hooks, as any plugin has."""

from __future__ import annotations

import json
from typing import Any

from naiad.alert import Alert, Target
from naiad.hookspecs import hookimpl

SECONDS = 5.0
"""How long a webhook or a command may take."""


@hookimpl
def naiad_alert(alert: Alert, target: Target) -> str | None:
    """Post an alert as JSON to an address, or give it to a command on its standard input."""
    data = json.dumps(alert.document()).encode()
    if not isinstance(target, str):
        return _run(target, data)
    return _post(target, data) if target.startswith(("http://", "https://")) else None


def _post(address: str, data: bytes) -> str:
    """Post data, and return the trouble; the messages of libraries may hold the address, which is a secret."""
    import http.client  # with what they need they take 40 ms, and most runs send nothing
    import urllib.error
    import urllib.request

    class Staying(urllib.request.HTTPRedirectHandler):
        """An alert goes where the user sent it, or nowhere."""

        def redirect_request(self, *_request: Any) -> None:
            return None

    headers = {"Content-Type": "application/json", "User-Agent": "naiad"}
    try:
        request = urllib.request.Request(address, data, headers, method="POST")
        urllib.request.build_opener(Staying).open(request, timeout=SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
        return f"the webhook answered with status {error.code}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"the webhook cannot be reached ({type(error).__name__})"
    return ""


def _run(words: tuple[str, ...], data: bytes) -> str:
    """Run a command without a shell, and return the trouble."""
    import subprocess

    try:
        done = subprocess.run(
            words, input=data, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"the command {words[0]!r} took longer than {SECONDS:g} s"
    except OSError as error:
        return f"the command {words[0]!r} cannot be run ({error.strerror})"
    return f"the command {words[0]!r} ended with {done.returncode}" if done.returncode else ""
