"""`naiad path`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from click.testing import Result

import naiad


def test_folder_is_printed(cli: Callable[..., Result], digits: str, store: Path) -> None:
    folder = Path(cli("path", digits).stdout.removesuffix("\n"))

    assert folder.is_absolute()
    assert folder.is_dir()
    assert store / "runs" == folder.parent


def test_folder_is_whole_however_its_store_is_called(cli: Callable[..., Result], tmp_path: Path) -> None:
    odd = tmp_path / "a \t\n\x1b'ä"
    with naiad.init_run(project="digits", store=odd):
        pass

    folder = Path(cli("--store", str(odd), "path", "DIGITS-1").stdout.removesuffix("\n"))

    assert folder.is_dir()
