"""The job store's schema, brought up to date when a service opens it. The steps are in `migrations/versions`."""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from sql_databricks_bridge.db.job_engine import JobEngine
from sql_databricks_bridge.errors import SettingsError

VERSION_TABLE = "bridge_job_store_version"
"""Alembic's table, under a name of its own: others may use Alembic in the same database."""
_SCRIPTS = Path(__file__).parent / "migrations"
_in_this_process = threading.Lock()  # Alembic keeps the environment that runs in module globals


def upgrade(engine: JobEngine) -> None:
    """Make the tables, or bring them up to date; does nothing where they are. Any number may call it at once.

    `SettingsError` where a later version of the bridge has changed them, or SQLite's file can't be made.
    """
    engine.require_file()
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    # Most starts find nothing to do, and then need no lock and no right to change tables.
    with engine.reading() as connection:
        if _is_current(engine, connection, scripts):
            return
    with _in_this_process, engine.migrating() as connection:
        if not _is_current(engine, connection, scripts):
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _is_current(engine: JobEngine, connection: sa.Connection, scripts: ScriptDirectory) -> bool:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    revision = context.get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if revision is not None and revision not in known:
        raise SettingsError(
            f"The job store {engine.shown} was made by a later version of the bridge: its schema is {revision}, "
            f"this one knows it up to {scripts.get_current_head()}.",
            hint="Start that version, or restore the store's backup from before it.",
        )
    return revision == scripts.get_current_head()
