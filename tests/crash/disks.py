"""Small disks for tests: mounting a file system, filling it, and giving it room again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MAKE = {"ext4": ["mke2fs", "-q", "-t", "ext4"], "xfs": ["mkfs.xfs", "-q"], "btrfs": ["mkfs.btrfs", "-q"]}
OPTIONS = {"ext4": "loop,errors=remount-ro"}


@contextmanager
def mounted(place: Path, size: str, kind: str = "tmpfs") -> Iterator[Path]:
    """Mount a file system of some size: tmpfs, or another one on a loop device, whose image lies beside the folder.

    The test is skipped where that is not possible.
    """
    place.mkdir(exist_ok=True)
    if kind == "tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "naiad-test", str(place)]
    else:
        image = image_of(place)
        image.touch()
        os.truncate(image, int(size.rstrip("m")) << 20)
        if shutil.which(MAKE[kind][0]) is None:
            pytest.skip(f"{MAKE[kind][0]} is not here, so no {kind} of our own can be made")
        subprocess.run([*MAKE[kind], str(image)], check=True, capture_output=True)
        command = ["mount", "-t", kind, "-o", OPTIONS.get(kind, "loop"), str(image), str(place)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting {kind} is not possible here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def image_of(place: Path) -> Path:
    """The image of a file system that is mounted on a folder."""
    return place.with_name(place.name.replace("disk", "image"))


def fill(disk: Path) -> Path:
    """Leave no free byte; btrfs gives some back when it has written, so go on until it gives no more."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 16, 1 << 12, 1, 1 << 12, 1):
            try:
                while file.write(os.urandom(size)):
                    pass
            except OSError:
                os.fsync(file.fileno())
    return filler


def remount(disk: Path, option: str) -> None:
    """Mount a disk with another option, such as `size=32m` or `ro`, while programs use it."""
    subprocess.run(["mount", "-o", f"remount,{option}", str(disk)], check=True)
