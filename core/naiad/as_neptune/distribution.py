"""The distribution `neptune` for `importlib.metadata`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any, ClassVar

from naiad.as_neptune.alias import PACKAGE, VERSION

__all__ = ["Client"]


class Client(Distribution):
    """The distribution of Neptune's client, which has no files of its own here."""

    FILES: ClassVar[Mapping[str, str]] = {
        "METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\nSummary: answered by naiad\n",
        "top_level.txt": f"{PACKAGE}\n",
    }

    # importlib.metadata.version("neptune") reads the version in here.
    def read_text(self, filename: str) -> str | None:
        """Return one of its files."""
        return self.FILES.get(str(filename))

    def locate_file(self, path: Any) -> Path:
        """Return where a file of it would be."""
        return Path(__file__).parent / str(path)
