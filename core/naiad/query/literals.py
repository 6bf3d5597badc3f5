"""Types and values as they stand in a query."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from naiad import clock
from naiad.integers import LARGEST, SMALLEST
from naiad.kinds import FILES, KINDS, TAGS, Compared
from naiad.scalars import microseconds

TYPES = {
    word.lower(): kind.name
    for kind in KINDS.values()
    for word in (kind.neptune, kind.name, kind.name.replace("_", ""), *kind.words)
}
"""The kind of field that a type of NQL means: Neptune's names, those that `naiad show` prints, and those of classes."""

LONGEST_PART = 10_000
"""Characters of a text to look for; databases take patterns up to some length only."""
LARGEST_PATTERN = 1_500
"""Instructions that RE2 makes of a pattern; the time it needs for a text grows with them."""
ACTIVE, INACTIVE = ("running", "active"), ("idle", "inactive")
ENDS = ("finished", "failed", "terminated", "killed", "unknown")
UNITS = {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "kib": 2**10, "mib": 2**20, "gib": 2**30,
         "tib": 2**40}  # fmt: skip
_number = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)([kmgt]?i?b)?", re.ASCII | re.IGNORECASE)
_whole = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_infinite = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_relative = re.compile(r"-(\d{1,6})([mhdwMy])", re.ASCII)
_moment = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?\s*(Z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)


class Token(str):
    """A piece of a query, and the column of its first character; `quoted` if it stands in quotes."""

    __slots__ = ("place", "quoted")

    place: int
    quoted: bool


class Problem(Exception):
    """An error at a place of a query."""

    def __init__(self, place: Token | int, what: str) -> None:
        super().__init__(what)
        self.place = place.place if isinstance(place, Token) else place


class Reading(NamedTuple):
    """A value without a type, parsed: its form, and the value that fields of that form are compared with."""

    form: Compared
    value: float | int | str


def kind_of(token: Token) -> str:
    """Return the kind that a type means."""
    try:
        return TYPES[token.lower()]
    except KeyError:
        names = ", ".join(kind.neptune for kind in KINDS.values())
        raise Problem(token, f"there is no type {str(token)[:40]!r}; the types are {names}") from None


def unquoted(token: Token) -> str:
    r"""Return the text between quotes. A backslash escapes quotes and backslashes, and is kept elsewhere."""
    return re.sub(r"\\([\\\"'`])", r"\1", token[1:-1])


def value_of(kind: str, sign: Token, token: Token) -> float | int | str:
    """Return the value that a field of this kind is compared with."""
    form = KINDS[kind].compared_as
    if not form:
        raise Problem(sign, f"{sign} cannot be used with this type{_remedy(kind)}")
    read, has_order = _READ[form]
    if sign not in ("=", "!=") and not has_order:
        raise Problem(sign, f"{sign} cannot be used with this type, which has no order; use = or !={_remedy(kind)}")
    found: float | int | str | None = read(_content(token))
    if found is None:
        raise Problem(token, f"expected {_WANTED[form]}")
    return found


def readings(sign: Token, token: Token) -> list[Reading]:
    """Return the meaning of a value without a type: one of true and false, a number, a moment, else a text.

    A quoted value is a text, and a moment too if it is written like one.
    """
    text = _content(token)
    forms: tuple[Compared, ...] = ("moment", "text") if token.quoted else ("boolean", "number", "moment", "text")
    # Between quotes "-2h" is a text to look for; as a time it is written without them.
    if token.quoted and _relative.fullmatch(text):
        forms = ("text",)
    found = [(form, _READ[form][0](text)) for form in forms]
    right = [Reading(form, value) for form, value in found if value is not None]
    # A bare word has one meaning, the first that fits. A quoted date may be a text or a moment: fields of both kinds
    # are asked.
    right = right if token.quoted else right[:1]
    if sign not in ("=", "!="):
        right = [each for each in right if _READ[each.form][1]]
    if not right:
        raise Problem(token, "expected a number or a time; compare a text with = or !=")
    return right


def text_of(kind: str, verb: Token, token: Token) -> str:
    """Return the text that a field of this kind may contain."""
    if not is_searched(kind):
        raise Problem(verb, f"{verb.upper()} is for strings and string sets")
    text = _stored(_content(token))
    if len(text) > LONGEST_PART:
        raise Problem(token, f"a text to look for has at most {LONGEST_PART:,} characters")
    return text


def is_searched(kind: str) -> bool:
    """Whether CONTAINS is for fields of this kind."""
    return KINDS[kind].compared_as == "text" or kind == TAGS


def pattern_of(kind: str, verb: Token, token: Token) -> str:
    """Return the regular expression that a field of this kind may match."""
    import re2

    if KINDS[kind].compared_as != "text":
        raise Problem(verb, f"{verb.upper()} is for strings")
    pattern = _stored(_content(token))
    # RE2, not `re`: its time grows with the length of the text alone, so no pattern of a visitor can stop a server.
    options = re2.Options()
    options.log_errors = False
    try:
        size = re2.compile(pattern, options).programsize
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else error.args[0]
        raise Problem(token, f"this is not a valid regular expression ({reason[:80]})") from None
    if size > LARGEST_PATTERN:
        raise Problem(token, "this regular expression is too large; use fewer repetitions")
    return pattern


def _content(token: Token) -> str:
    return unquoted(token) if token.quoted else str(token)


def _stored(text: str) -> str:
    """As the catalog has it: no database takes a lone surrogate."""
    return text.encode("utf-8", "replace").decode()


def _remedy(kind: str) -> str:
    return "; use CONTAINS" if kind == TAGS else "; use EXISTS" if kind in FILES else ""


def _as_number(text: str) -> float | int | None:
    # As a float, 2**62 + 1 would be 2**62; what no field of 64 bits can have may be one.
    if _whole.fullmatch(text) and SMALLEST <= int(text) <= LARGEST:
        return int(text)
    found = _number.fullmatch(text)
    if found:
        return float(found[1]) * UNITS[(found[2] or "").lower()]
    return float(text) if _infinite.fullmatch(text) else None


def _as_bool(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


def _as_state(text: str) -> str | None:
    word = text.lower()
    if word in ACTIVE:
        return "running"
    return "idle" if word in INACTIVE else word if word in ENDS else None


def _as_moment(text: str) -> int | None:
    relative = _relative.fullmatch(text)
    try:
        moment = _ago(int(relative[1]), relative[2]) if relative else _absolute(text)
        return None if moment is None else microseconds(moment)
    except (ValueError, OverflowError):  # a day that no calendar has
        return None


def _absolute(text: str) -> datetime | None:
    found = _moment.fullmatch(text.strip())
    if not found:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    micro = int((fraction or "0").ljust(6, "0")[:6])
    moment = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), micro)
    return moment.replace(tzinfo=_zone(zone)) if zone else moment.astimezone()


def _zone(text: str) -> timezone:
    if text in "Zz":
        return timezone.utc
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]) if len(text) > 3 else 0)
    return timezone(-offset if text[0] == "-" else offset)


def _ago(count: int, unit: str) -> datetime:
    """So long before now; a month is one of the calendar."""
    now = datetime.fromtimestamp(clock.now(), timezone.utc)
    if unit not in "My":
        return (
            now
            - count * {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(1), "w": timedelta(7)}[unit]
        )
    # Counted from month 0, so that division and remainder are year and month; the 31st becomes the last day of a
    # shorter month.
    months = now.year * 12 + now.month - 1 - count * (12 if unit == "y" else 1)
    year, month = months // 12, months % 12 + 1
    return now.replace(year=year, month=month, day=min(now.day, calendar.monthrange(year, month)[1]))


_READ: dict[str, tuple[Callable[[str], Any], bool]] = {
    "number": (_as_number, True),
    "moment": (_as_moment, True),
    "boolean": (_as_bool, False),
    "state": (_as_state, False),
    "text": (_stored, False),
}
"""How the value of a comparison is read, and whether there is a larger and a smaller."""

_WANTED = {
    "number": "a number",
    "moment": "a moment such as 2024-02-06T05:00:00Z, or one before now such as -2h, -5d, -1M",
    "boolean": "True or False",
    "state": "running, finished, failed, terminated, killed or unknown",
}
