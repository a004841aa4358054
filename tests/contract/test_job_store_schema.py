"""The job store's migrations: they make the tables that the code has, and later versions are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from sql_databricks_bridge.db.job_engine import JobEngine
from sql_databricks_bridge.db.job_schema import VERSION_TABLE
from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore
from sql_databricks_bridge.db.job_tables import metadata
from sql_databricks_bridge.errors import JobError, SettingsError
from tests.contract.job_store_fixture import add, empty_url, store, url

__all__ = ["empty_url", "store", "url"]


def test_the_migrations_make_exactly_the_tables_of_the_code(url: str) -> None:
    engine = JobEngine(url)
    with engine.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert set(sa.inspect(connection).get_table_names()) == {*metadata.tables, VERSION_TABLE}
        assert compare_metadata(context, metadata) == []
        for table in metadata.tables.values():  # compare_metadata looks at neither
            inspector = sa.inspect(connection)
            key = inspector.get_pk_constraint(table.name)
            assert (key["name"], key["constrained_columns"]) == (
                table.primary_key.name,
                list(table.primary_key.columns.keys()),
            )
    engine.close()


def test_an_upgrade_that_finds_nothing_to_do_keeps_everything(store: SqlAlchemyJobStore) -> None:
    jobs = add(store, "j1")
    store.upgrade()
    assert store.get("j1") == jobs[0]


def test_a_store_of_a_later_version_is_refused(url: str) -> None:
    engine = JobEngine(url)
    with engine.writing() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    store = SqlAlchemyJobStore(url)
    with pytest.raises(SettingsError, match=r"later version of the bridge: its schema is 9999, .* up to 0001"):
        store.upgrade()
    store.close()
    engine.close()


def test_a_migration_that_fails_leaves_nothing_behind(empty_url: str) -> None:
    engine = JobEngine(empty_url)
    with engine.writing() as connection:  # somebody else's table in the way of the last step
        connection.execute(sa.text("CREATE TABLE bridge_audit_anchors (x integer)"))
    store = SqlAlchemyJobStore(empty_url)
    with pytest.raises(JobError, match="already exists"):
        store.upgrade()
    with engine.writing() as connection:
        assert sa.inspect(connection).get_table_names() == ["bridge_audit_anchors"]
        connection.execute(sa.text("DROP TABLE bridge_audit_anchors"))
    store.upgrade()
    store.ping()
    store.close()
    engine.close()


def test_the_folder_of_the_code_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sql_databricks_bridge.db import job_schema

    odd = tmp_path / "100%(here)s, and a blank"
    odd.symlink_to(job_schema._SCRIPTS)
    monkeypatch.setattr(job_schema, "_SCRIPTS", odd)
    store = SqlAlchemyJobStore(f"sqlite:///{tmp_path / 'jobs.sqlite3'}")
    store.upgrade()
    store.ping()
    store.close()
