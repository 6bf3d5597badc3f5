"""Tokens that programs give as `api_token=`: kept in the memory of the process, by the address that they are for.

The one rule: they are written nowhere, and go to no other address.
"""

from __future__ import annotations

from naiad.settings import setting

FORM = "naiad_"
"""The beginning of every token of a server: one of another service, such as Neptune's, is never sent."""

_given: dict[str, str] = {}


def remember(token: object, place: object) -> None:
    """Remember the token for a store that is a server; `place` None means NAIAD_STORE. Others are ignored."""
    if isinstance(token, str) and token.startswith(FORM):
        named = place or setting("STORE")
        if isinstance(named, str) and named.lower().startswith(("https://", "http://")):
            _given[_normal(named)] = token


def given(url: str) -> str | None:
    """Return the token that this program gave for an address; None if it gave none."""
    return _given.get(_normal(url))


def forget() -> None:
    """Forget all of them."""
    _given.clear()


def _normal(url: str) -> str:
    return url.strip().rstrip("/").lower()
