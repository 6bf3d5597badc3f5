"""Compiling the statements of naiad for SQLite.

python -m naiad.storage.sql.compiling       # writes compiled.json anew
"""

from __future__ import annotations

import json
from importlib import import_module

from naiad.storage.sql.connection import SOURCE, Statement

HOMES = (
    "naiad.storage.sql.values",
    "naiad.storage.sql.translate",
    "naiad.storage.sql.search",
    "naiad.storage.sql.rows",
    "naiad.storage.sql.summaries",
    "naiad.storage.sql.grid",
    "naiad.storage.sql.cell_columns",
    "naiad.storage.local.catalog",
    "naiad.storage.local.index.index",
)
"""The modules with statements."""


def texts() -> dict[str, str]:
    """The SQL of every statement by name, made now."""
    for home in HOMES:
        import_module(home)
    return {name: statement.compiled() for name, statement in sorted(Statement.known.items())}


def source() -> str:
    """The content of `compiled.json`."""
    return json.dumps(texts(), indent=0) + "\n"


if __name__ == "__main__":
    SOURCE.write_text(source())
