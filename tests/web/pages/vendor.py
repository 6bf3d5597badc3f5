"""Vendored libraries of the pages: take them from npm, rewrite bare imports, and record version, hash and licence.

    python tests/web/pages/vendor.py          # writes core/naiad_web/pages/vendor

An import map would be an inline script, which the policy of the pages forbids; therefore imports become relative here.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

VENDOR = Path(__file__).parents[3] / "core/naiad_web/pages/vendor"


class Piece(NamedTuple):
    """One file of a package, and how it becomes a module of the pages."""

    package: str
    version: str
    source: str
    target: str
    replaced: tuple[tuple[str, str], ...] = ()
    after: str = ""


PIECES = (
    Piece("preact", "11.2.0", "dist/preact.mjs", "preact.js"),
    Piece("preact", "11.2.0", "hooks/dist/hooks.mjs", "hooks.js", (('from"preact"', 'from"./preact.js"'),)),
    Piece("htm", "3.1.1", "dist/htm.mjs", "htm.js"),
    Piece("uplot", "1.6.32", "dist/uPlot.iife.min.js", "uplot.js", (), "export default uPlot;\n"),
    Piece("uplot", "1.6.32", "dist/uPlot.min.css", "uplot.css"),
)


def packed(package: str, version: str, folder: Path) -> Path:
    """Return the package's archive, fetched by npm."""
    command = ["npm", "pack", "--silent", f"{package}@{version}"]
    name = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.split()[-1]
    return folder / name


def member(archive: Path, name: str) -> bytes:
    """Return one file of an archive."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile(f"package/{name}")
        assert file is not None, name
        return file.read()


def module(text: str, piece: Piece) -> str:
    """Return the text as it is vendored."""
    for bare, relative in piece.replaced:
        assert bare in text, f"{piece.package} no longer imports {bare}"
        text = text.replace(bare, relative)
    lines = (line for line in text.splitlines() if not line.startswith("//# sourceMappingURL"))
    return "\n".join(lines) + "\n" + piece.after


def main() -> None:
    """Write each piece, the licences and the table of what was taken."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    rows, licences = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for piece in PIECES:
            archive = packed(piece.package, piece.version, Path(folder))
            text = module(member(archive, piece.source).decode(), piece)
            (VENDOR / piece.target).write_text(text)
            about = json.loads(member(archive, "package.json"))
            licences[f"{piece.package} {piece.version} ({about['license']})"] = member(archive, "LICENSE").decode()
            rows.append(
                {
                    "file": piece.target,
                    "package": piece.package,
                    "version": piece.version,
                    "source": piece.source,
                    "licence": about["license"],
                    "sha256": hashlib.sha256(text.encode()).hexdigest(),
                    "package_sha512": hashlib.sha512(archive.read_bytes()).hexdigest(),
                }
            )
    (VENDOR / "vendor.json").write_text(json.dumps(rows, indent=2) + "\n")
    (VENDOR / "LICENSES").write_text("\n".join(f"{name}\n\n{text.strip()}\n" for name, text in licences.items()))


if __name__ == "__main__":
    main()
