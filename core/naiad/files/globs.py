"""Expansion of the arguments of `upload_files`: paths and globs to files and their names in the set.

The reference's rule for names: the folder that all matches share is the root, if it is a file then its folder, and if
it lies below the working directory then that. Each call has its own root.

A link is followed if its target is inside the root that was given: the folder named, or the part of a glob before
its first wildcard. A path named outright may be a link to anywhere. A folder is entered through links only once.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from naiad.errors import FileWarning, warn_once
from naiad.files.names import normal
from naiad.places import working_directory


class Found(NamedTuple):
    """A file, and the name it gets in the set."""

    name: str
    path: str


class _Match(NamedTuple):
    path: str
    root: str | None  # what a link must stay inside of; None: the user named this very path


def expand(
    patterns: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], excluding: str | os.PathLike[str] | None = None
) -> list[Found]:
    """The files that are there now, ordered by name.

    Entries that cannot be stored (links that lead outside, pipes, folders that may not be read) are left out
    with a `FileWarning` each; so is a pattern that matches nothing.

    Args:
        patterns: paths of files and folders, and globs with `*`, `?`, `[...]` and recursive `**`; `~` is the home.
        excluding: a folder whose content is left out silently: the store, which may lie inside an uploaded folder.
    """
    given = [patterns] if isinstance(patterns, str | os.PathLike) else patterns
    texts = [os.fspath(one) for one in given]
    matches = [match for text in texts for match in _matches(text)]
    if not matches:
        return []
    root = _common_root([match.path for match in matches])
    outside = os.path.realpath(excluding) if excluding is not None else None
    found: dict[str, str] = {}
    for match in matches:
        for path in _files(match, outside):
            # The first match wins: a file that is named outright and matched by a pattern too is stored once.
            found.setdefault(normal(os.path.relpath(path, root)), path)
    return [Found(name, found[name]) for name in sorted(found)]


def _matches(pattern: str) -> list[_Match]:
    text = os.path.expanduser(pattern)
    # A file may really be called "a[1].txt": what exists is no pattern.
    if not glob.has_magic(text) or os.path.lexists(text):
        if os.path.lexists(text):
            return [_Match(os.path.abspath(text), None)]
        _left_out(pattern, "there is no such file")
        return []
    root = os.path.realpath(_fixed_part(text))
    found = [_Match(os.path.abspath(path), root) for path in sorted(_glob(text, root))]
    if not found:
        _left_out(pattern, "it matches no file")
    return found


def _glob(pattern: str, root: str) -> list[str]:
    """As `glob.glob`, whose own `**` follows links in circles."""
    head, stars, rest = _split(pattern)
    if not stars:
        return glob.glob(pattern)
    bases = [path for path in (glob.glob(head) if head else [os.curdir]) if os.path.isdir(path)]
    if not rest:
        return bases  # which are walked
    below = [folder for base in bases for folder, _files in _walk(base, root, None, is_hidden_left=True)]
    return [path for folder in below for path in _glob(os.path.join(glob.escape(folder), rest), root)]


def _split(pattern: str) -> tuple[str, str, str]:
    """Return the parts before the first `**`, that part, and the parts after it."""
    parts = pattern.split(os.sep)
    if "**" not in parts:
        return pattern, "", ""
    at = parts.index("**")
    head = os.sep.join(parts[:at]) or (os.sep if at else "")
    return head, "**", os.sep.join(part for part in parts[at + 1 :] if part)


def _fixed_part(pattern: str) -> str:
    """The folder before the first wildcard."""
    folder = os.path.dirname(pattern)
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    return folder or os.curdir


def _common_root(paths: list[str]) -> str:
    root = os.path.commonpath(paths)
    if not os.path.isdir(root):
        root = os.path.dirname(root)
    here = str(working_directory())
    # Names relative to the working directory, as the reference has them, do not depend on which files a pattern
    # matched.
    return here if is_inside(root, here) else root


def _files(match: _Match, excluding: str | None) -> Iterator[str]:
    path, root = match.path, match.root
    if root is not None and not is_inside(os.path.realpath(path), root):
        _left_out(path, f"it leads out of {root!r}")
    elif os.path.isdir(path):
        yield from files_below(path, root or os.path.realpath(path), excluding)
    elif root is None or os.path.isfile(path):
        yield path  # a path named outright that is no file is refused, by its kind, when it is opened
    else:
        _left_out(path, "it is not a file")


def files_below(folder: str, root: str | None, excluding: str | None = None) -> Iterator[str]:
    """All regular files in a folder and its folders, hidden ones too, in a stable order.

    Args:
        folder: where to begin.
        root: a real path that links must stay inside of; None lets them lead anywhere.
        excluding: a real path to stay out of.
    """
    for _folder, entries in _walk(folder, root, excluding):
        for entry in entries:
            if entry.is_file():
                yield entry.path
            elif not entry.is_dir():
                _left_out(entry.path, "it is not a file")


def _walk(
    top: str, root: str | None, excluding: str | None, *, is_hidden_left: bool = False
) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Yield each folder and its entries, without links that must not be followed."""
    # A stack, not recursion, for trees of any depth; `reversed` below keeps the order of names.
    pending, entered = [top], set[str]()
    while pending:
        here = pending.pop()
        if excluding is not None and os.path.realpath(here) == excluding:
            continue
        entries = [one for one in _entries(here) if not one.is_symlink() or _may_follow(one.path, here, root, entered)]
        yield here, entries
        inner = [entry.path for entry in entries if entry.is_dir()]
        pending += [path for path in reversed(inner) if not is_hidden_left or os.path.basename(path)[0] != "."]


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        _left_out(folder, str(error.strerror))
        return []


def _may_follow(link: str, here: str, root: str | None, entered: set[str]) -> bool:
    target = os.path.realpath(link)
    if root is not None and not is_inside(target, root):
        _left_out(link, f"it leads out of {root!r}")
    # A link to a folder above is a circle; two links into one folder elsewhere would store its files twice.
    elif os.path.isdir(target) and is_inside(os.path.realpath(here), target):
        _left_out(link, "it leads in a circle")
    elif os.path.isdir(target) and target in entered:
        _left_out(link, f"the folder {target!r} was entered through another link")
    elif not os.path.exists(target):
        _left_out(link, "it is a broken link")
    else:
        entered.add(target)
        return True
    return False


def is_inside(path: str, folder: str) -> bool:
    """Whether a path is a folder or in it. Both are absolute; nothing is looked up."""
    return os.path.commonpath([path, folder]) == folder


def _left_out(path: str, why: str) -> None:
    warn_once(path, f"{path!r} is left out: {why}.", FileWarning)
