"""Which file system a folder is on, and what that one cannot do."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["file_system", "is_local", "is_network"]

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


def is_network(path: Path) -> bool:
    """Whether a mapping of a file there may be unlike what other hosts read: then points go through `write()`."""
    return file_system(path).startswith(NETWORK)


def is_local(path: Path) -> bool:
    """Whether only this machine can write there, so that locks and pids mean something."""
    return file_system(path) in LOCAL


_types: dict[int, str] = {}  # by device: asking costs more than a whole small run


def file_system(path: Path) -> str:
    """The type of the file system a path is or will be on, as the kernel names it; empty where nobody tells."""
    while not path.exists():
        path = path.parent
    device = os.stat(path).st_dev
    if device not in _types:
        _types[device] = _look_up(path)
    return _types[device]


def _look_up(path: Path) -> str:
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    target = path.resolve()
    best, name = -1, ""
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = Path(left.split(" ")[4].replace("\\040", " "))
        if len(mount.parts) > best and (mount == target or mount in target.parents):
            best, name = len(mount.parts), right.split(" ")[0]
    return name
