"""The list of packages, with damaged ones among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from naiad.capture.requirements import requirements


def test_damaged_packages_cost_only_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in {
        "whole-2.0": b"Name: whole\nVersion: 2.0\n",
        "latin-2.0": b"Name: caf\xe9\nVersion: 1\n",
        "unversioned-2.0": b"Name: unversioned\n",
        "unnamed-2.0": b"Version: 1\n",
        "empty-2.0": b"",
    }.items():
        (tmp_path / f"{name}.dist-info").mkdir()
        (tmp_path / f"{name}.dist-info" / "METADATA").write_bytes(content)
    (tmp_path / "file-1.0.dist-info").write_text("no folder")
    (tmp_path / "bare-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    lines = requirements().splitlines()

    assert "whole==2.0" in lines
    assert not [line for line in lines if "None" in line or "unversioned" in line]
    assert any(line.startswith("naiad==") for line in lines)
