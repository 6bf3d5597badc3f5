"""The file system of a folder, and its limits."""

from __future__ import annotations

import os
import re
from pathlib import Path

LOCAL = frozenset(
    (
        "ext2",
        "ext3",
        "ext4",
        "xfs",
        "btrfs",
        "zfs",
        "bcachefs",
        "f2fs",
        "jfs",
        "nilfs2",
        "reiserfs",
        "tmpfs",
        "ramfs",
        "overlay",
        "vfat",
        "exfat",
        "ntfs3",
        "apfs",
        "hfs",
    )
)
"""File systems that one kernel alone writes: their locks reach every process that can. Whatever is not named may be
shared with other machines (NFS, SMB, FUSE, 9p, virtiofs, clusters)."""

NETWORK = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "fuse.sshfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "afs",
    "glusterfs",
    "fuse.gluster",
)


WITHOUT_PROMISE = (
    *("btrfs", "zfs", "bcachefs", "nilfs", "f2fs"),  # a page that is written again needs a new place on the disk
    *("fuse", "virtiofs", "ecryptfs", "vboxsf", "prl_fs", "jffs2", "ubifs"),  # somebody else allocates, or nobody does
)


def is_network(path: Path) -> bool:
    """Whether a file system needs `write()` for points, because its mappings may be incoherent."""
    return file_system(path).startswith(NETWORK)


def can_map(path: Path) -> bool:
    """Whether points may be written through a mapping: it is coherent, and space that was allocated stays there.

    Where it does not, a full disk shows itself as SIGBUS, which ends the program; `write()` returns an error instead.
    """
    return not file_system(path).startswith((*NETWORK, *WITHOUT_PROMISE))


def is_local(path: Path) -> bool:
    """Whether only this machine can write there, so that locks and pids mean something."""
    return file_system(path) in LOCAL


_types: dict[tuple[int, int], str] = {}  # by device and file system on it: asking costs more than a small run


def file_system(path: Path) -> str:
    """Return the kernel's name for the file system of a path, or "" if it is unknown."""
    while not path.exists():
        path = path.parent
    device = os.stat(path).st_dev, os.statvfs(path).f_fsid
    if device not in _types:
        _types[device] = _look_up(path)
    return _types[device]


def _look_up(path: Path) -> str:
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    target = path.resolve()
    best, name, options = -1, "", ""
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = Path(_plain(left.split(" ")[4]))
        if len(mount.parts) >= best and (mount == target or mount in target.parents):  # the last one lies on top
            best = len(mount.parts)
            name, options = right.split(" ")[0], right.split(" ")[-1]
    return _below(options) or name if name == "overlay" else name


def _below(options: str) -> str:
    """The file system that an overlay writes to; empty where a container does not see it."""
    upper = next((option[9:] for option in options.split(",") if option.startswith("upperdir=")), "")
    place = Path(_plain(upper))
    return _look_up(place) if upper and place.is_dir() else ""


def _plain(name: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), name)
