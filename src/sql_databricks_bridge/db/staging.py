"""Staging tables: nullable copies of a target's columns, each loaded once and never used again.

The loader holds an application lock on the table's name from before the table exists until it is dropped; who can
have that lock knows that the loader is gone. The bulk copy is a connection of the driver's own, so the table is
committed before it starts.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from sql_databricks_bridge.core.types import MAX, SqlServerType, staged_type
from sql_databricks_bridge.db import app_locks
from sql_databricks_bridge.db.assembling import INCOMPARABLE, base_types, physical
from sql_databricks_bridge.db.identifiers import sql_server_identifier
from sql_databricks_bridge.db.loading import load
from sql_databricks_bridge.db.session import Session, dynamic
from sql_databricks_bridge.errors import (
    BridgeError,
    EventInvalid,
    SourceBusy,
    SourceRefused,
)
from sql_databricks_bridge.models.applying import Assembly, Staging
from sql_databricks_bridge.models.tables import Target, TargetColumn
from sql_databricks_bridge.models.type_policies import Companion

if TYPE_CHECKING:
    import pyarrow as pa

STAGING_SCHEMA = "bridge"
_NAME = re.compile(r"stg_[0-9a-f]{16}\Z")
_LIST = (
    "SELECT t.name FROM sys.tables AS t INNER JOIN sys.schemas AS s ON s.schema_id = t.schema_id "
    "WHERE s.name = N'bridge' AND t.name LIKE N'stg[_]%' ORDER BY t.name"
)
_INDEX_FROM_ROWS = 1_000
_INDEX_BYTES, _INDEX_COLUMNS = 1_700, 32  # "Maximum capacity specifications": a nonclustered index's key
_COLLATION = re.compile(r"[A-Za-z0-9_]+\Z")
_CARRIERS = {
    "text": "varchar(max)",
    "ntext": "nvarchar(max)",
    "image": "varbinary(max)",
    "xml": "nvarchar(max)",  # parsed when it is applied, inside the transaction
    "json": "nvarchar(max)",
    "timestamp": "binary(8)",
    "rowversion": "binary(8)",
}
_DRIVERS_OWN = 1252
_LONGEST_UNICODE = 4_000
_INCOMPARABLE = frozenset({"text", "ntext", "image", "xml", "json", *INCOMPARABLE})
_MOST_BASE_TYPES = 500  # each is a branch of a CASE
_KEY_BYTES = {"uniqueidentifier": 16, "datetimeoffset": 10, "decimal": 17, "numeric": 17}
_BYTES_PER_LENGTH = {"char": 1, "varchar": 1, "binary": 1, "varbinary": 1, "nchar": 2, "nvarchar": 2}


class StagingArea:
    """The staging tables of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._held: set[str] = set()

    def stage(
        self,
        target: Target,
        columns: Sequence[TargetColumn],
        keys: Sequence[TargetColumn],
        source: pa.RecordBatchReader,
        assemblies: Sequence[Assembly] = (),
    ) -> Staging:
        """Create a staging table and bulk copy the reader's rows into it; columns are in the reader's order.

        The columns of `assemblies` come in parts: the reader has their companions behind all columns, in that order.
        `EventInvalid` for a type that can't be loaded or compared; what the reader raises comes out unchanged.
        """
        loaded = physical(columns, assemblies)
        declared = ", ".join(f"{sql_server_identifier(column.name)} {declaration(column)} NULL" for column in loaded)
        for key in keys:
            _require_comparable(key)
        if len(source.schema) != len(loaded):
            raise ValueError(f"{len(source.schema)} columns to load into {len(loaded)}")
        name = f"stg_{secrets.token_hex(8)}"
        table = sql_server_identifier(STAGING_SCHEMA, name)
        if not app_locks.acquire(self._session.rows, app_locks.staging_resource(name)):
            raise SourceBusy(f"The lock of a new staging table {name} is taken.", hint="Try again.")
        self._held.add(name)
        try:
            self._session.run(*dynamic(f"CREATE TABLE {table} ({declared})"))
            rows = load(self._session, table, loaded, source)
            in_parts = {assembly.column for assembly in assemblies}
            if keys and rows >= _INDEX_FROM_ROWS and in_parts.isdisjoint(keys) and _indexable(keys):
                listed = ", ".join(sql_server_identifier(key.name) for key in keys)
                self._session.run(*dynamic(f"CREATE INDEX [keys] ON {table} ({listed})"))
            known = tuple(self._with_base_types(table, assembly) for assembly in assemblies)
        except BaseException:
            self._drop(name)
            raise
        return Staging(name, target, tuple(columns), rows, known)

    def discard(self, staging: Staging) -> None:
        """Drop it and release its lock; what fails is left to `sweep`."""
        self._drop(staging.name)

    def sweep(self) -> int:
        """Drop the staging tables whose loader is gone; return how many. Safe beside loaders and other sweepers."""
        names = [row["name"] for row in self._session.rows(_LIST)]
        swept = 0
        # A dead loader's bulk copy may still be at work on its table: the next sweep finds it again.
        self._session.run("SET LOCK_TIMEOUT 0")
        try:
            for name in names:
                if name in self._held or not _NAME.match(name):  # one's own lock would be granted twice
                    continue
                if not app_locks.acquire(self._session.rows, app_locks.staging_resource(name)):
                    continue
                try:
                    swept += self._dropped(name)
                finally:
                    app_locks.release(self._session.rows, app_locks.staging_resource(name))
        finally:
            with suppress(BridgeError):
                self._session.run("SET LOCK_TIMEOUT -1")
        return swept

    def _with_base_types(self, table: str, assembly: Assembly) -> Assembly:
        """The assembly of a sql_variant with the base types that its staged values have; others as they are."""
        if Companion.BASE_TYPE not in assembly.companions:
            return assembly
        found = [str(row["base_type"]) for row in self._session.rows(base_types(table, assembly))]
        if len(found) > _MOST_BASE_TYPES:
            raise EventInvalid(
                f"Column {assembly.column.name!r}: values of {len(found):,} types; one statement makes "
                f"{_MOST_BASE_TYPES} of them.",
                hint="Send them in several events.",
            )
        return dataclasses.replace(assembly, base_types=tuple(sorted(found)))

    def _dropped(self, name: str) -> bool:
        """Drop a table that may have been dropped meanwhile, or still be in use; one that can't be is left alone."""
        table = sql_server_identifier(STAGING_SCHEMA, name)
        try:
            found = self._session.rows(
                f"IF OBJECT_ID(N'{STAGING_SCHEMA}.{name}', N'U') IS NULL SELECT 0 AS dropped "
                f"ELSE BEGIN DROP TABLE {table}; SELECT 1 AS dropped; END"
            )
        except (SourceBusy, SourceRefused):  # somebody's foreign key on it, say: no reason to apply no events
            return False
        return bool(found[0]["dropped"])

    def _drop(self, name: str) -> None:
        with suppress(BridgeError):
            self._session.run(f"DROP TABLE IF EXISTS {sql_server_identifier(STAGING_SCHEMA, name)}")
        with suppress(BridgeError):  # a table that could not be dropped is then anybody's to sweep
            app_locks.release(self._session.rows, app_locks.staging_resource(name))
            self._held.discard(name)


def declaration(column: TargetColumn) -> str:
    """Return a column's type in staging: the target's own or one that carries its values, its collation spelled out."""
    try:
        staged_type(column.sql_type)  # refuses what can't be loaded, and anything that is not a type's name
    except EventInvalid as exc:
        raise EventInvalid(f"Column {column.name!r}: {exc.message}", hint=exc.hint) from exc
    kind = _carrier(column)
    return kind if column.collation is None else f"{kind} COLLATE {collation(column)}"


def collation(column: TargetColumn) -> str:
    """Return the name of a text column's collation, fit to stand in a statement, where nothing can quote it."""
    if column.collation is None or not _COLLATION.match(column.collation):
        raise ValueError(f"{column.collation!r} is not a collation's name")
    return column.collation


def _carrier(column: TargetColumn) -> str:
    """The type that carries the column's values in staging.

    Text of any code page but 1252 goes as Unicode: the driver's bulk copy encodes by the collation's language, also
    under UTF-8, and sends '?' for what that lacks (m).
    """
    kind = SqlServerType.parse(column.sql_type)
    if kind.name in ("char", "varchar", "text") and column.collation is not None and column.code_page != _DRIVERS_OWN:
        fits = kind.length is not None and 0 < kind.length <= _LONGEST_UNICODE
        return f"nvarchar({kind.length if fits else 'max'})"
    return _CARRIERS.get(kind.name, column.sql_type)


def _require_comparable(key: TargetColumn) -> None:
    if SqlServerType.parse(key.sql_type).name in _INCOMPARABLE:
        raise EventInvalid(
            f"Column {key.name!r} is of type {key.sql_type}, which can't be compared, so it can't be a key.",
            hint="Name other primary_keys.",
        )


def _indexable(keys: Sequence[TargetColumn]) -> bool:
    sizes = [_key_bytes(SqlServerType.parse(_carrier(key))) for key in keys]
    return len(sizes) <= _INDEX_COLUMNS and all(sizes) and sum(sizes) <= _INDEX_BYTES


def _key_bytes(kind: SqlServerType) -> int:
    """Most bytes of a key column, 0 for a (max) type, which no index takes."""
    if kind.name in _BYTES_PER_LENGTH:
        return 0 if kind.length == MAX else (kind.length or 1) * _BYTES_PER_LENGTH[kind.name]
    return _KEY_BYTES.get(kind.name, 8)
