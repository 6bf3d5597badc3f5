"""Tables of csv; see `naiad.importers.tables`."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.importer import Importer
from naiad.importers.tables import importer


@hookimpl
def naiad_importer() -> Importer:
    """Return the importer."""
    return importer("csv")
