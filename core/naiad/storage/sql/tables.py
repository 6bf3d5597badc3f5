"""The tables of the catalog, in SQLAlchemy Core. Nothing that only reads a catalog imports this."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()

about = Table(
    "about",
    metadata,
    Column("format", Integer, primary_key=True, autoincrement=False),
    Column("listed", Text, nullable=False),  # the folders of containers as they were when they were listed last
    Column("made", Text, nullable=False),  # differs in each catalog that was made
    Column("revision", BigInteger, nullable=False),  # grows with each change
)

container = Table(
    "container",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),  # the folder of its kind: runs, models, versions, projects
    Column("id", Text),
    Column("project", Text),
    Column("state", Text, nullable=False),
    Column("created", BigInteger),  # microseconds
    Column("losses", Text, nullable=False),  # JSON: damaged paths, number of dropped points and ops; empty without any
    Column("stamp", Text, nullable=False),  # of the files it was read from
    Column("seal", Text, nullable=False),  # of its seal alone; empty of what is to be looked at on each read
    Column("cells", LargeBinary, nullable=False),  # see `values.py`
    Column("crc", BigInteger, nullable=False),  # of the columns in `SHOWN`
    Column("begun", BigInteger, nullable=False),  # the revision at which it was found first
    Column("revision", BigInteger, nullable=False),  # the one at which it changed last, but for its signs of life
    Index("container_created", "created"),
    Index("container_project", "kind", "project", "created"),  # to count them without their cells
    Index("container_revision", "revision"),
    Index("container_seal", "seal"),
    Index("container_id", "id"),
)
Index("container_losses", container.c.losses, sqlite_where=container.c.losses != "")  # few have any

gone = Table(
    "gone",
    metadata,
    Column("uid", Text, primary_key=True),
    Column("id", Text),
    Column("revision", BigInteger, nullable=False),  # at which it was found to be gone
    Index("gone_revision", "revision"),
)

field = Table(
    "field",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("path", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("crc", BigInteger, nullable=False),
    Index("field_path", "path", "kind", unique=True),
)

cell = Table(
    "cell",
    metadata,
    Column("field", Integer, primary_key=True, autoincrement=False),
    Column("container", Integer, primary_key=True, autoincrement=False),
    Column("num", Float),  # numbers, booleans, moments, last values; NaN is null here
    Column("integer", BigInteger),  # exact, where num may round
    Column("txt", Text),  # the first characters
    Column("whole", Text),  # of a text with more of them
    Column("min", Float),
    Column("max", Float),
    Column("average", Float),
    Column("variance", Float),
    sqlite_with_rowid=False,  # its rows lie in the order of the key: those of a field together
)
Index("cell_num", cell.c.field, cell.c.num, cell.c.integer, cell.c.container)
_has_text = cell.c.txt.is_not(None)
Index(
    "cell_txt", cell.c.field, cell.c.txt, cell.c.container, sqlite_where=_has_text
)  # naming another database loads it

tag = Table(
    "tag",
    metadata,
    Column("field", Integer, primary_key=True, autoincrement=False),
    Column("tag", Text, primary_key=True),
    Column("container", Integer, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

SHOWN = tuple(
    container.c[name]
    for name in ("number", "uid", "kind", "id", "project", "state", "created", "losses", "cells", "crc")
)
"""What a listing or a table is made of. A wrong stamp or seal only leads to reading the container again."""
