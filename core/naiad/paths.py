"""Paths: where a field lives in a run, such as "train/loss".

Everything outside this file works with parsed paths: parts joined by single slashes, none of them
empty, "." or "..".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from naiad.errors import NaiadPathError, shown

MOST_COMPARED = 500
"""Names that are compared letter by letter with a mistyped one; keeps a typing error cheap among 100,000 names."""
LONGEST = 1024  # bytes of UTF-8, as in Neptune
_LONGEST_RAW = 4 * LONGEST  # characters with all superfluous slashes; nothing longer is even split
_FORBIDDEN = re.compile("[\x00-\x1f\ud800-\udfff]")
_NORMAL = re.compile("[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*").fullmatch  # what nearly all paths are: nothing to be done


def parse(path: object) -> str:
    """Return the path in its one normal form.

    Slashes at the ends and doubled slashes mean nothing. Other objects are turned into a str, so `run[5]` is
    `run["5"]`. Parts keep case, spaces and any script: "Loss" and "loss" are two fields.

    Raises:
        NaiadPathError: the path is empty or blank, has a part "." or "..", a control character or a lone
            surrogate, or is longer than 1,024 bytes.

    >>> parse("/train//loss/")
    'train/loss'
    """
    parsed = parse_or_root(path)
    if not parsed:
        raise _refusal(path, "names no field", 'Give it a name, such as "train/loss".')
    return parsed


def parse_or_root(path: object) -> str:
    """Return the path in its one normal form, which is "" for the root of a run.

    >>> parse_or_root("/")
    ''
    """
    text = path if type(path) is str else _text(path)
    # Before anything that takes time in proportion to the length: a path may be a text that was put in brackets by
    # mistake.
    if len(text) > _LONGEST_RAW:
        raise _too_long(text)
    # The pattern allows ASCII only, so that characters and bytes are the same number here.
    if len(text) <= LONGEST and _NORMAL(text):
        return text
    found = parts(text)
    normal = "/".join(found)
    if _FORBIDDEN.search(normal):
        raise _refusal(path, "has a control character or a lone surrogate in it", "Leave it out.")
    if "." in found or ".." in found:
        raise _refusal(path, 'has a part "." or ".."', "Write the whole path from the root of the run.")
    # Only after surrogates are refused, which `encode` raises for.
    if len(normal.encode()) > LONGEST:
        raise _too_long(text)
    if found and "".join(found).isspace():
        raise _refusal(path, "is blank", 'Give it a name, such as "train/loss".')
    return normal


def are_plain(names: Sequence[str]) -> bool:
    """Whether names are paths in their normal form for sure, found by looking at all of them together.

    >>> are_plain(["loss", "layer.1/weight"]), are_plain(["loss", "a//b"])
    (True, False)
    """
    joined = f"/{'/'.join(names)}/"
    is_plain = joined.isprintable() and not any(part in joined for part in ("//", "/./", "/../"))
    # A quarter, as a character has up to four bytes of UTF-8.
    return is_plain and max(map(len, names), default=0) <= LONGEST // 4 and not any(map(str.isspace, names))


def join(base: str, rest: object) -> str:
    """Return the path of `rest` below the parsed path `base`, which may be the root "".

    >>> join("train", "loss/epoch")
    'train/loss/epoch'
    """
    return parse(f"{base}/{_text(rest)}")


def parts(path: str) -> list[str]:
    """Return the parts of a path; the root has none.

    >>> parts("train/loss")
    ['train', 'loss']
    """
    return [part for part in path.split("/") if part]


def alike(name: str, known: Iterable[str], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """Return the known names, of paths or runs, that a mistyped one may have meant, best first.

    >>> alike("train/los", ["train/loss", "val/auc"])
    ['train/loss']
    """
    import difflib  # only for messages
    import heapq

    near = list(known)
    if len(near) > MOST_COMPARED:
        # Comparing letter by letter takes 50 us a name, counting the pairs of letters that two names share 2 us. The
        # first of very many would be those that were logged first, such as the layers of another model.
        pairs = {name[at : at + 2] for at in range(len(name) - 1)}
        near = heapq.nlargest(MOST_COMPARED, near, key=lambda each: sum(map(each.__contains__, pairs)))
    return difflib.get_close_matches(name, near, most, cutoff)


def _text(path: object) -> str:
    """Return the characters of a path; those of a str enum are its value, not its name."""
    if isinstance(path, str):
        return str.__str__(path)
    try:
        return str(path)
    except ValueError:  # an int of more than 4,300 digits
        raise _refusal(path, "cannot be written as text", "Use a str as the path.") from None


def _too_long(text: str) -> NaiadPathError:
    return _refusal(text, f"is longer than {LONGEST:,} bytes", "Store the long part as a value.")


def _refusal(path: object, problem: str, remedy: str) -> NaiadPathError:
    return NaiadPathError(f"The path {shown(path)} {problem}.\n{remedy}", path=path)
