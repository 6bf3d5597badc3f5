"""The hook by which another storage can be tracked."""

from __future__ import annotations

import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from naiad import plugins
from naiad.files.tracked import TrackedFile
from naiad.files.tracking import download, track

PLUGIN = """
    from naiad.hookspecs import hookimpl
    from naiad.files.tracked import ArtifactDriver, TrackedFile

    class Shelf(ArtifactDriver):
        def track(self, location, progress):
            return [TrackedFile("book", "hash", 4, 0, "shelf", location)]

        def fetch(self, file, target, report):
            target.write_text("text")

    @hookimpl
    def naiad_artifact_driver(scheme):
        return Shelf() if scheme == "shelf" else None
"""


def test_naiad_artifact_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "naiad_shelf.py").write_text(textwrap.dedent(PLUGIN))
    monkeypatch.syspath_prepend(tmp_path)
    installed = plugins.Plugins()
    installed.load(EntryPoint("shelf", "naiad_shelf", "naiad"))
    monkeypatch.setattr(plugins, "_plugins", installed)

    files = track("SHELF://a/book", "in")

    assert [TrackedFile("in/book", "hash", 4, 0, "shelf", "SHELF://a/book")] == files
    assert ["text"] == [path.read_text() for path in download(files, tmp_path / "goal")]
