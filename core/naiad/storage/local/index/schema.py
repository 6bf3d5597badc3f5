"""The tables of a run's index, `run.db`, written once in SQLAlchemy Core for SQLite now and PostgreSQL later.

Every row carries a crc32 over its other columns, and `head` counts the rows, because SQLite itself notices neither a
flipped bit in a value nor a row that a flipped bit made invisible. `facts` columns are msgpack arrays of the structs
in `naiad.storage.local.index.rows`.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()

head = Table(
    "head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("format", Integer, nullable=False),
    Column("facts", LargeBinary, nullable=False),
    Column("crc", BigInteger, nullable=False),
)

writer = Table(
    "writer",
    metadata,
    Column("name", Text, primary_key=True),
    Column("facts", LargeBinary, nullable=False),
    Column("fields", LargeBinary, nullable=False),  # int64 little-endian: field id of number 1, 2, ...; 0 is none
    Column("crc", BigInteger, nullable=False),
)

position = Table(
    "position",
    metadata,
    Column("file", Text, primary_key=True),
    Column("upto", BigInteger, nullable=False),  # bytes of that journal file that are in this index
    Column("is_done", Integer, nullable=False),
    Column("crc", BigInteger, nullable=False),
)

field = Table(
    "field",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("path", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("facts", LargeBinary, nullable=False),
    Column("crc", BigInteger, nullable=False),
)

chunk = Table(
    "chunk",
    metadata,
    Column(
        "key", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    ),  # field << 24 | n
    Column("count", Integer, nullable=False),
    Column("crc", BigInteger, nullable=False),
    Column("pyramid", LargeBinary),
    Column("data", LargeBinary, nullable=False),
)

pack = Table(
    "pack",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("first_field", Integer, nullable=False),
    Column("last_field", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    Column("crc", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("pack_fields", "last_field", "first_field"),
)
