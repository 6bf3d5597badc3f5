"""The alerts that a user wants: of the argument, else the environment, else a file of settings; never of a store."""

from __future__ import annotations

import json
import os
import shlex
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from naiad.alert import Target
from naiad.errors import InvalidArgument, NaiadTypeError, NaiadWarning, shown, warn_once
from naiad.settings import number

KEYS = ("webhooks", "commands", "stall_seconds")


class AlertsWanted(Struct, frozen=True):
    """Where alerts go, and after how many seconds without a point a metric has stalled; None for never."""

    targets: tuple[Target, ...]
    stall_seconds: float | None = None

    def __repr__(self) -> str:
        return f"<AlertsWanted of {len(self.targets)} targets>"  # addresses of webhooks are secrets


def alerts_wanted(given: object = None) -> AlertsWanted | None:
    """Return the alerts that the argument of `init_run` means; None if there shall be none.

    Raises:
        NaiadTypeError, InvalidArgument: the argument, a variable or the file is no description of alerts. No address
            is in the message.
    """
    if given is False:
        return None
    if given is not None:
        if not isinstance(given, Mapping):
            raise NaiadTypeError(f"alerts= takes a dict with {_keys()}, or False, not a {type(given).__name__}.")
        return _checked(given, "alerts=")
    webhook, command = os.environ.get("NAIAD_ALERT_WEBHOOK"), os.environ.get("NAIAD_ALERT_COMMAND")
    if webhook or command:
        stall = number("ALERT_STALL_SECONDS", 0.0)
        facts: dict[str, Any] = {
            "webhooks": (webhook or "").split(),
            "commands": [_words(command)] if command else [],
            "stall_seconds": stall or None,
        }
        return _checked(facts, "NAIAD_ALERT_WEBHOOK and NAIAD_ALERT_COMMAND")
    return _from_file(settings_file())


def settings_file() -> Path:
    """Return the place of the user's file of alerts, which need not exist."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(os.path.join(os.path.expanduser(base), "naiad", "alerts.json"))  # each run looks there


def _from_file(path: Path) -> AlertsWanted | None:
    try:
        facts, text = path.stat(), path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    # The file names commands that are run as this user: a file that others can write would let them choose the
    # commands.
    if facts.st_uid != os.geteuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        message = f"Alerts are off: others can write {path}, whose commands would be run.\nRun: chmod 600 {path}"
        warn_once(("alerts", str(path)), message, NaiadWarning)
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidArgument(f"{path} does not contain a JSON object with {_keys()}.")
    return _checked(found, str(path))


def _checked(given: Mapping[str, Any], source: str) -> AlertsWanted | None:
    unknown = sorted(str(key) for key in given if key not in KEYS)
    if unknown:
        raise InvalidArgument(f"{source} has an unknown setting {unknown[0]!r}. It takes {_keys()}.", argument="alerts")
    webhooks = given.get("webhooks") or []
    webhooks = [webhooks] if isinstance(webhooks, str) else webhooks
    if not _are_texts(webhooks) or not all(each.startswith(("http://", "https://")) for each in webhooks):
        raise InvalidArgument(f"webhooks of {source} must be addresses that begin with https:// or http://.")
    commands = given.get("commands") or []
    if _are_texts(commands) and commands:
        commands = [commands]  # one command, as its words
    if not isinstance(commands, Sequence) or not all(_are_texts(each) and each for each in commands):
        raise InvalidArgument(
            f'commands of {source} must be lists of words, such as [["notify-send", "naiad"]]: no shell is used.'
        )
    seconds = given.get("stall_seconds")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0):
        raise InvalidArgument(f"stall_seconds of {source} must be a number above 0, not {shown(seconds)}.")
    targets: tuple[Target, ...] = (*webhooks, *(tuple(each) for each in commands))
    return AlertsWanted(targets, seconds) if targets else None


def _are_texts(given: object) -> bool:
    return isinstance(given, list | tuple) and all(isinstance(each, str) for each in given)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise InvalidArgument(f"NAIAD_ALERT_COMMAND cannot be split into words: {error}.") from error


def _keys() -> str:
    return ", ".join(map(repr, KEYS[:-1])) + f" and {KEYS[-1]!r}"
