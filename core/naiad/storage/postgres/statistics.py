"""Statistics of the catalog, by which the database plans its queries, made as soon as there is something to count.

Without any, it sorts all runs for each page of a table and does not go along an index. Autovacuum makes them too, but
up to a minute later, or never where an operator has turned it off; and a restore by `pg_restore` begins without any.
"""

from __future__ import annotations

from psycopg import sql
from sqlalchemy.engine import Engine

from naiad.storage.postgres.connection import CATALOG, autocommit

LEAST_ROWS = 1_000
"""Changes below which any plan is quick."""
DUE = """
select stat.relname from pg_stat_user_tables stat join pg_class on pg_class.oid = relid
where schemaname = %s and (n_mod_since_analyze > greatest(%s, reltuples / 2)
    or reltuples < 0 and pg_relation_size(relid) > %s * 100)
"""
"""The tables of which as much has changed as they had; after a crash the database has forgotten how much that is."""


def analyze(engine: Engine) -> list[str]:
    """Make the statistics of the tables of the catalog that have grown a lot; return their names.

    Raises:
        StorageError: the database cannot be used now.
    """
    with autocommit(engine) as raw:
        tables = [name for (name,) in raw.execute(DUE, [CATALOG, LEAST_ROWS, LEAST_ROWS]).fetchall()]
        for name in tables:  # a sample of some ten thousand rows, however large it is
            raw.execute(sql.SQL("analyze {}").format(sql.Identifier(CATALOG, name)))
    return tables
