"""Alembic's entry: it runs the migrations on the connection that `naiad.storage.postgres.migrating` hands it."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"], version_table_schema="naiad", transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()
