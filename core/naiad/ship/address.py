"""The address of a server, and the token for it. The one rule: a token is in no text that this module returns."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from naiad import api_tokens
from naiad.api_tokens import FORM
from naiad.errors import InvalidArgument, NotAuthorized
from naiad.secrets import redacted
from naiad.settings import setting


class Address(NamedTuple):
    """A server's address in its parts."""

    is_tls: bool
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The address as text, in its one normal form."""
        default = 443 if self.is_tls else 80
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' * self.is_tls}://{host}{'' if self.port == default else f':{self.port}'}{self.path}"


def parse(text: str) -> Address:
    """Parse the address of a server.

    Raises:
        InvalidArgument: it is none, or has a password in it, or leads over a network without TLS.

    >>> parse("https://naiad.example.org/").url
    'https://naiad.example.org'
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidArgument(
            f"{redacted(text)!r} is not the address of a server. Give an address such as https://naiad.example.org.",
            argument="store",
        )
    # An address is printed in messages and stored in `remote.json`, so a password in it would be in both.
    if parts.username is not None or parts.password is not None:
        raise InvalidArgument(
            f"The address {redacted(text)!r} contains a user or a password, but addresses are stored and printed.\n"
            "Set NAIAD_API_TOKEN to the token, or NAIAD_API_TOKEN_FILE to a file that contains it.",
            argument="store",
        )
    is_tls = parts.scheme.lower() == "https"
    found = Address(is_tls, parts.hostname, port or (443 if is_tls else 80), parts.path.rstrip("/"))
    if not is_tls and not _is_loopback(found.host) and not _allows_http():
        raise InvalidArgument(
            f"{found.url} has no TLS, so others on the network could read the token and the data. Use https://.\n"
            "If you trust the network, set NAIAD_ALLOW_HTTP=1.",
            argument="store",
        )
    return found


def is_safe(url: str, server: str) -> bool:
    """Whether an address that a server names may be used: by TLS, or as NAIAD_ALLOW_HTTP permits.

    One of this machine only if the server's own is: another server's would lead to programs of the user.

    >>> is_safe("https://s3.example.org/b/x?s=1", "https://naiad.example.org")
    True
    >>> is_safe("http://s3.example.org/b/x", "https://naiad.example.org"), is_safe("file:///x", "http://127.0.0.1")
    (False, False)
    >>> is_safe("https://127.1:8080/x", "https://naiad.example.org"), is_safe("http://[::1]/x", "http://localhost:8080")
    (False, True)
    >>> is_safe("https://%6cocalhost/x", "https://naiad.example.org")
    False
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    # Such a host becomes another one before it is connected to: "%6cocalhost" is "localhost".
    is_plain = host.isascii() and "%" not in host
    if not host or not is_plain or parts.scheme not in ("https", "http"):
        return False
    # A name elsewhere that resolves to this machine gets no further: without TLS only NAIAD_ALLOW_HTTP permits it, and
    # with TLS no program here has a certificate for it.
    if _is_here(host):
        return _is_here(urlsplit(server).hostname or "")
    return parts.scheme == "https" or _allows_http()


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_here(host: str) -> bool:
    """Whether a host is this machine, in any form in which a connection to it can be made, such as `127.1` or `0`."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)  # asks no network
        known = ipaddress.ip_address(str(found[0][4][0]).partition("%")[0])
    except (OSError, ValueError):  # a name, also one that is none
        return False
    known = getattr(known, "ipv4_mapped", None) or known
    return known.is_loopback or known.is_unspecified


def _allows_http() -> bool:
    return (setting("ALLOW_HTTP") or "").lower() in ("1", "true", "yes", "on")


def token(url: str = "") -> str:
    """Return the token for a server.

    That is the one the program gave as `api_token=` with this address, else NAIAD_API_TOKEN, else the content of the
    file that NAIAD_API_TOKEN_FILE names or `~/.config/naiad/token`.

    Raises:
        NotAuthorized: there is none, it has another form, or other users can read the file.
    """
    own = api_tokens.given(url)
    if own:
        return _checked(own, "api_token=")
    given = os.environ.get("NAIAD_API_TOKEN")
    if given:
        return _checked(given, "NAIAD_API_TOKEN")
    named = os.environ.get("NAIAD_API_TOKEN_FILE")
    path = Path(named).expanduser() if named else token_file()
    try:
        mode, text = path.stat().st_mode, path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        if named or not isinstance(error, FileNotFoundError):
            raise NotAuthorized(f"The token file {str(path)!r} cannot be read: {error}.") from error
        raise NotAuthorized(
            "There is no token for the server. Ask its owner for one, and set NAIAD_API_TOKEN,\n"
            f"or write it to {path} and run: chmod 600 {path}"
        ) from None
    # As ssh does with its keys: a token that others can read is refused rather than used.
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise NotAuthorized(f"Other users can read the token file {str(path)!r}. Run: chmod 600 {path}")
    return _checked(text, f"the token file {str(path)!r}")


def token_file() -> Path:
    """Return where the token of this user lies if no variable names another file."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "naiad" / "token"


def _checked(text: str, source: str) -> str:
    found = text.strip()
    if not found.startswith(FORM) or not found.isascii() or not found.isprintable() or " " in found:
        raise NotAuthorized(f"{source} contains no token of a naiad server. Tokens begin with {FORM!r}.")
    return found
