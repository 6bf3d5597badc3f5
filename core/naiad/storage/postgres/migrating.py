"""Migrations: the schema of the database, brought up to date under an advisory lock by one process at a time."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine

LOCK = 7_230_001
"""The key of the advisory lock of migrations."""
SERVED = ("0001",)
"""The versions that this release can serve: its own and the one before, so that replicas are updated one by one."""


def is_served(version: str, least: str) -> bool:
    """Whether this release can use tables of a version, whose migration keeps them usable since version `least`."""
    return version in SERVED or least <= SERVED[-1] <= version


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


def newest() -> str:
    """Return the version that this release needs."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None
    return found


def version_of(connection: Connection) -> str | None:
    """Return the version of a database; None of one without the tables."""
    if connection.execute(text("select to_regclass('naiad.alembic_version')")).scalar() is None:
        return None
    found: str | None = connection.execute(text("select version_num from naiad.alembic_version")).scalar()
    return found


def migrate(engine: Engine) -> str:
    """Bring the schema up to date, and return its version. Others that call it at the same time wait."""
    with engine.connect() as connection:
        # A lock of the session and not of a transaction, because a migration may need several of them.
        connection.execute(text("select pg_advisory_lock(:key)"), {"key": LOCK})
        connection.commit()
        try:
            with connection.begin():
                connection.execute(text("create schema if not exists naiad"))
                config = _config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        # Unlocked by hand: the connection goes back to the pool, and would keep the lock.
        finally:
            connection.execute(text("select pg_advisory_unlock(:key)"), {"key": LOCK})
            connection.commit()
    return newest()
