"""Names of files that come from data, and the paths they get on the way out.

A name is kept exactly as it was given and means nothing until a file has to be made. Only then it becomes a path, and
that path is always below the folder that the user named: `safe_join` is the one way from names to paths.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from naiad.errors import UnsafeName

LONGEST_PART = 255
LONGEST_NAME = 2048
"""Bytes of a whole name, so that with a usual destination it stays below the system's 4,096."""

ON_WINDOWS = os.name == "nt"
_control = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_forbidden = re.compile(r'[<>:"|?*\\]')
_device = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\.|$)")


def normal(name: str) -> str:
    """A name in a set without its idle parts.

    >>> normal("./data//a.csv")
    'data/a.csv'
    """
    return "/".join(part for part in name.replace(os.sep, "/").split("/") if part not in ("", "."))


def folders(names: Iterable[str]) -> list[str]:
    """All folders that these names lie in, sorted.

    >>> folders(["data/sub/a.csv", "b.csv"])
    ['data', 'data/sub']
    """
    return sorted({str(parent) for name in names for parent in list(PurePosixPath(name).parents)[:-1]})


def safe_name(name: str, *, on_windows: bool = ON_WINDOWS) -> str:
    r"""A relative path that is nothing but one: no `..`, no root, no NUL, no part the system takes for something else.

    A harmless name stays unchanged.

    >>> safe_name("../../etc/pass\nwd")
    'etc/pass_wd'
    """
    # Elsewhere a backslash is a character of the name, like any other.
    text = name.replace("\\", "/") if on_windows else name
    parts = [_safe_part(part, on_windows) for part in text.split("/") if part not in ("", ".", "..")]
    path = "/".join(parts) or "_"
    return path if len(path.encode()) <= LONGEST_NAME else _shortened(path.replace("/", "_"), LONGEST_PART)


def _safe_part(part: str, on_windows: bool) -> str:
    part = _control.sub("_", part)
    if on_windows:
        part = _forbidden.sub("_", part)
        part = part[:-1] + "_" if part.endswith((".", " ")) else part
        part = f"_{part}" if _device.match(part) else part
    return _shortened(part, LONGEST_PART)


def _shortened(part: str, size: int) -> str:
    """A part that fits, made different by its hash from others that begin alike; its extension stays."""
    data = part.encode()
    if len(data) <= size:
        return part
    import hashlib  # late: it loads OpenSSL

    mark = "~" + hashlib.sha256(data).hexdigest()[:12]
    extension = PurePosixPath(part).suffix
    extension = extension if len(extension.encode()) <= 32 else ""
    room = size - len(mark) - len(extension.encode())
    return data[:room].decode(errors="ignore") + mark + extension


def safe_names(names: Iterable[str], *, case_blind: bool = False, on_windows: bool = ON_WINDOWS) -> dict[str, str]:
    """A relative path for each of the names that will lie in one folder: all safe, and no two the same.

    Names that are harmless keep their own path; others that would meet one get `~2`, `~3`, ... A file whose name is
    also a folder of another file gives way to it.

    Args:
        names: as they were stored.
        case_blind: the folder takes `Loss` and `loss` for the same: see `is_case_blind`.
        on_windows: mind its rules; by default where this runs.
    """
    wishes = {name: safe_name(name, on_windows=on_windows) for name in names}
    taken = {_key(folder, case_blind) for folder in folders(wishes.values())}
    paths: dict[str, str] = {}
    # Names that need no change come first, so that a hostile name can never take the path of a harmless one.
    for name in sorted(wishes, key=lambda name: (wishes[name] != name, name)):
        path = _free(wishes[name], taken, case_blind)
        taken.add(_key(path, case_blind))
        paths[name] = path
    return paths


def _key(path: str, case_blind: bool) -> str:
    # macOS compares names after normalization: "é" of one and of two code points are one file there.
    return unicodedata.normalize("NFC", path).casefold() if case_blind else path


def _free(wish: str, taken: set[str], case_blind: bool) -> str:
    path, n = wish, 1
    while _key(path, case_blind) in taken:
        n += 1
        folder, slash, last = wish.rpartition("/")
        stem, dot, extension = last.rpartition(".")
        last = f"{stem}~{n}.{extension}" if dot and stem else f"{last}~{n}"
        path = folder + slash + _shortened(last, LONGEST_PART)
    return path


def safe_join(destination: str | os.PathLike[str], name: str) -> Path:
    """The path of a file of this name below a folder, which exists; `name` comes from `safe_names` if there are many.

    Raises:
        UnsafeName: a link that lies in the folder would lead out of it.
    """
    # Links are resolved before the comparison: a link inside the folder is the one way out that a safe name leaves.
    root = os.path.realpath(destination)
    path = os.path.join(root, *safe_name(name).split("/"))
    folder = os.path.realpath(os.path.dirname(path))
    if os.path.commonpath([root, folder]) != root:
        raise UnsafeName(
            f"{name!r} would be written outside {root!r}, because a link there leads out of it.", path=name
        )
    return Path(folder, os.path.basename(path))


def is_case_blind(folder: Path) -> bool:
    """Whether a folder takes names that differ only in case for the same, as on macOS and Windows.

    Raises:
        OSError: no file can be made there.
    """
    import tempfile  # late: it loads many modules

    with tempfile.NamedTemporaryFile(prefix=".naiad-Case-", dir=folder) as file:
        return Path(file.name).with_name(Path(file.name).name.swapcase()).exists()
