"""What Alembic runs: the steps that are missing, in the transaction that the caller began and will commit."""

from __future__ import annotations

from alembic import context

from sql_databricks_bridge.db.job_schema import VERSION_TABLE
from sql_databricks_bridge.db.job_tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
