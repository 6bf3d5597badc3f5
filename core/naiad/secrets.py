"""Secrets in texts: passwords and tokens are found by how they stand there, or because they are known, and masked.

For texts that an integration writes about a framework's own objects. Values that users log are kept as they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from msgspec import Struct

MASK = "***"

_NAMES = (
    r"pass(?:word|wd|phrase|code)?|pwd|secrets?|credentials?|api_?key|access_?key(?:_?id)?|account_?key|private_?key|"
    r"secret_?key|shared_?key|auth_?key|connection_?string|conn_?str|authorization|sas|sig|signature|client_?secret"
)
_SECRET_NAME = re.compile(rf"(?:^|[^a-z0-9])(?:{_NAMES}|token)$")
_TOKEN_OF_TEXT = re.compile(r"(?:pad|eos|bos|unk|mask|cls|sep|start|end|stop|image|special|next|first|last)_token$")

_SCHEME = r"(?<=:/)/?"
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        # user:password@ and user@ of an address; a password may have slashes in it, and a number may be a port
        (rf"{_SCHEME}[^/\s:@'\"]*:(?!\d+(?:[/\s'\"]|$))[^\s'\"]*@", f"/{MASK}@"),
        (rf"{_SCHEME}[^/\s@'\"]+@", f"/{MASK}@"),
        # the same without a scheme, as file systems know it
        (r"(?<![\w./@-])[\w.+%-]+:[^\s'\"@/][^\s'\"@]*@(?=[\w\[])", f"{MASK}@"),
        # whatever a query asks with: nobody knows which of its values are signatures
        (r"([?&][\w.\-\[\]%$]+)=[^&\s'\"<>)\]};]+", rf"\1={MASK}"),
        (r"(?i)\b(bearer|basic|digest)\s+[\w.~+/=-]{6,}", rf"\1 {MASK}"),
        # tokens with a form of their own
        (r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", MASK),
        (r"\b(?:gh[pousr]_|github_pat_|glpat-|hf_|xox[abprs]-|sk-|pypi-)[\w-]{10,}", MASK),
        (r"\beyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*", MASK),
        (r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", MASK),
    )
)
_ASSIGNED = re.compile(
    r"""(?P<name>(?<![\w.\-])["']?[A-Za-z_][\w.\-]*["']?)(?P<is>\s*(?:=>?|:)\s*)(?P<value>"[^"\n]*"|'[^'\n]*'|[^\s,;&)}\]'"]+)"""
)
_OPTION_WORDS = frozenset(
    ("token", "key", "apikey", "password", "passwd", "passphrase", "pwd", "secret", "credential", "credentials", "auth")
)
SHORTEST_KNOWN = 4
HARMLESS = frozenset({"user", "username", "login", "account", "account_name", "host", "hostname", "server", "port"})
HARMLESS |= {"region", "region_name", "endpoint", "endpoint_url", "url", "project", "database", "db", "schema"}
HARMLESS |= {"driver", "protocol", "type", "name", "bucket", "anon", "use_ssl", "timeout"}
"""Keys of credentials whose values are no secrets; an address among them may have one in it."""


def redacted(text: str) -> str:
    """Return a text with the passwords and tokens masked that are recognizable by their context.

    >>> redacted("cannot read https://me:hunter2@host/x.csv?sig=abc: PASSWORD=x, max_tokens=512")
    'cannot read https://***@host/x.csv?sig=***: PASSWORD=***, max_tokens=512'
    """
    # Addresses first: a password in one may look like a token or an assignment, of which a later rule would mask a
    # part.
    for pattern, by in _RULES:
        text = pattern.sub(by, text)
    return _ASSIGNED.sub(_without_value, text)


def masked(arguments: Iterable[str]) -> list[str]:
    """Return a program's arguments with the values of secret options masked.

    >>> masked(["train.py", "--lr=0.1", "--api-key", "abc", "--wandb_token=xyz", "db.password=1"])
    ['train.py', '--lr=0.1', '--api-key', '***', '--wandb_token=***', 'db.password=***']
    """
    found: list[str] = []
    is_next = False  # the value of the option before
    for argument in arguments:
        name, equals, _value = argument.partition("=")
        is_option = argument.startswith("-")
        if is_next and not is_option:
            found.append(MASK)
            is_next = False
            continue
        is_secret = (is_option or bool(equals)) and _names_secret(name)
        is_next = is_secret and not equals
        found.append(f"{name}={MASK}" if is_secret and equals else redacted(argument))
    return found


def _names_secret(option: str) -> bool:
    """Whether an option's name has a word for secrets in it."""
    # "apiKey" and "api-key" are the same words.
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", option).lower())
    if not _OPTION_WORDS.isdisjoint(words) or any(
        word.endswith(("apikey", "token", "password", "secret")) for word in words
    ):
        return not _TOKEN_OF_TEXT.search("_".join(words))
    return False


class Secrets(Struct, frozen=True, dict=True):
    """Known secret values, masked in any text in addition to recognizable ones."""

    known: frozenset[str] = frozenset()

    @classmethod
    def of(cls, credentials: object, addresses: Iterable[object] = ()) -> Secrets:
        """Return the secrets in credentials, as a framework has them, and in a configuration with addresses in it."""
        found = set(_values(credentials, ""))
        for each in _texts(addresses):
            found |= set(_parts(each))
        return cls(frozenset(value for value in found if len(value) >= SHORTEST_KNOWN))

    def text(self, text: str) -> str:
        """Return a text without them."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return redacted(text)

    def hidden(self, value: Any, name: str = "") -> Any:
        """Return a value with secrets masked: mappings item by item, and values under secret names whole."""
        if isinstance(value, Mapping):
            return {key: self.hidden(item, str(key)) for key, item in value.items()}
        if isinstance(value, bool | int | float) or value is None:
            return value
        if is_secret_name(name) and value != "":
            return MASK
        if isinstance(value, str | os.PathLike):
            return self.text(str(value) if isinstance(value, str) else os.fspath(value))
        if isinstance(value, list | tuple):
            return [self.hidden(item) for item in value]
        shown = str(value)
        safe = self.text(shown)
        return value if safe == shown else safe

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        longest_first = sorted(self.known, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def is_secret_name(name: str) -> bool:
    """Whether a name is most likely that of a secret.

    >>> [is_secret_name(name) for name in ("DB_PASSWORD", "apiKey", "hf_token", "pad_token", "max_tokens", "compass")]
    [True, True, True, False, False, False]
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip("\"' ")).lower().replace("-", "_")
    return _SECRET_NAME.search(words) is not None and _TOKEN_OF_TEXT.search(words) is None


def _without_value(match: re.Match[str]) -> str:
    name, between, value = match["name"], match["is"], match["value"]
    is_sentence = ":" in between and name.lower() == "token"  # such as "unexpected token: x"
    is_reference = value.startswith("$") or name.lower() == "credentials"  # to the environment, to another file
    if is_sentence or is_reference or value.startswith(MASK) or not is_secret_name(name):
        return f"{name}{between}{_ASSIGNED.sub(_without_value, value)}"
    quote = value[0] if value[0] in "\"'" else ""
    return f"{name}{between}{quote}{MASK}{quote}"


def _values(value: object, name: str) -> Iterable[str]:
    """Yield the secret values in credentials."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _values(item, str(key).lower())
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _values(item, name)
    elif isinstance(value, str):
        yield from _parts(value)
        if name not in HARMLESS and "://" not in value:
            yield value


def _parts(address: str) -> Iterable[str]:
    """Yield the password and the values of the query in an address."""
    for match in re.finditer(r":/{1,2}[^/\s:@]*:((?!\d+(?:[/\s]|$))[^\s]+)@", address):
        yield match[1]
    for match in re.finditer(r":/{1,2}([^/\s:@]{8,})@", address):  # a token in place of a user
        yield match[1]
    for match in re.finditer(r"[?&;]([\w.\-]+)=([^&\s;]+)", address):
        if is_secret_name(match[1]):
            yield match[2]


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, Iterable):
        for item in value:
            yield from _texts(item)
