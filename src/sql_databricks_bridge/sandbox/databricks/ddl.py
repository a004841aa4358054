"""CREATE and DROP of tables and schemas.

Every table is a managed Delta table in a folder of its own, with deletion vectors on as Databricks SQL has them by
default. Sources: Databricks SQL reference, "CREATE TABLE [USING]", "CREATE SCHEMA", "DROP TABLE"; Delta docs, "Column
defaults".
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
from sqlglot import exp

from . import conflicts
from .alter import property_of
from .catalog import Table
from .errors import ApiError
from .execution import Execution, Outcome
from .failures import SqlFailure, unsupported
from .logfiles import amend_creation
from .names import TableName, literal, quoted
from .schemas import check_names, check_properties
from .sqltext import Statement, full_name, make_exact, only, spark_sql
from .timetravel import travel
from .writing import Work

_DEFAULTS_FEATURE = "delta.feature.allowColumnDefaults"
# Statistics of columns would make the engine fail on every scan of a table that has an array inside a struct.
_ALWAYS = {"delta.enableDeletionVectors": "true", "delta.dataSkippingNumIndexedCols": "0"}


def create(run: Execution, tree: exp.Create) -> Outcome:
    """CREATE [OR REPLACE] TABLE [IF NOT EXISTS] (columns or AS query), CREATE SCHEMA."""
    kind = str(tree.args.get("kind") or "").upper()
    if kind in ("SCHEMA", "DATABASE"):
        return _create_schema(run, tree)
    if kind != "TABLE":
        raise unsupported(f"CREATE {kind}")
    only(tree, "this kind replace exists expression properties", "CREATE TABLE")
    schema = tree.this if isinstance(tree.this, exp.Schema) else None
    target = schema.this if schema else tree.this
    name = full_name(target, run.place)
    _require_schema(run, name)
    if schema is not None and tree.expression is not None:
        raise unsupported("CREATE TABLE with columns and a query")
    properties, options, comment = _options(tree)
    _check_columns(schema, properties)
    if tree.expression is not None:
        make_exact(tree.expression, run.place, run.catalog, partial(travel, run))
    with run.turn([name]):
        present = run.catalog.find_table(name.catalog, name.schema, name.table)
        if present is not None and tree.args.get("exists"):
            return Outcome.nothing()
        if present is not None and not tree.args.get("replace"):
            raise SqlFailure(
                "TABLE_OR_VIEW_ALREADY_EXISTS",
                f"Cannot create table or view {name.sql} because it already exists. Choose a different name, drop or "
                "replace the existing object, or add the IF NOT EXISTS clause to tolerate pre-existing objects.",
                "42P07",
            )
        if present is not None:
            replaced = Work(run, name, present, [])
            conflicts.refuse_other_changes(replaced, replaced.missed())
        table, rows = _build(run, name, schema, tree, options, comment)
        _publish(run, name, table, present, tree)
    if tree.expression is None:
        return Outcome.nothing()
    counts = pa.table(
        {"num_affected_rows": pa.array([rows], pa.int64()), "num_inserted_rows": pa.array([rows], pa.int64())}
    )
    return Outcome(counts.schema, iter([counts]))


def create_catalog(run: Execution, statement: Statement) -> Outcome:
    """CREATE CATALOG [IF NOT EXISTS] of one that is there; the engine takes no new ones while it runs."""
    words, tokens = statement.words[2:], statement.tokens[2:]
    tolerant = words[:3] == ["IF", "NOT", "EXISTS"]
    if tolerant:
        tokens = tokens[3:]
    if statement.words[0] != "CREATE" or (
        len(tokens) != 1 and [each.text.upper() for each in tokens[1:2]] != ["COMMENT"]
    ):
        raise unsupported(f"this {statement.words[0]} CATALOG statement")
    name = tokens[0].text.lower()
    if name not in run.catalog.catalogs():
        raise unsupported(f"new catalogs while it runs; start it with --also-catalog {name}")
    if not tolerant:
        raise SqlFailure("CATALOG_ALREADY_EXISTS", f"Cannot create catalog {quoted(name)}, it exists.", "42P06")
    return Outcome.nothing()


def drop(run: Execution, tree: exp.Drop) -> Outcome:
    """DROP TABLE and DROP SCHEMA [IF EXISTS] [CASCADE]."""
    kind = str(tree.args.get("kind") or "").upper()
    only(tree, "this tables kind exists cascade", f"DROP {kind}")
    targets = tree.args.get("tables") or [tree.this]
    if len(targets) != 1:
        raise unsupported(f"DROP {kind} of more than one")
    if kind == "TABLE":
        name = full_name(targets[0], run.place)
        with run.turn([name]):
            _drop_table(run, name, missing_ok=bool(tree.args.get("exists")))
        return Outcome.nothing()
    if kind in ("SCHEMA", "DATABASE"):
        return _drop_schema(run, tree, targets[0])
    raise unsupported(f"DROP {kind}")


def _create_schema(run: Execution, tree: exp.Create) -> Outcome:
    catalog, schema = _schema_name(run, tree.this)
    comment = ""
    given = tree.args.get("properties")
    for each in given.expressions if given else []:
        if not isinstance(each, exp.SchemaCommentProperty):
            raise unsupported(f"CREATE SCHEMA with {spark_sql(each)}")
        comment = each.name
    try:
        run.catalog.create_schema(catalog, schema, comment)
    except ApiError as error:
        if error.error_code == "SCHEMA_ALREADY_EXISTS" and tree.args.get("exists"):
            return Outcome.nothing()
        raise _as_failure(error) from error
    run.command(f"CREATE SCHEMA IF NOT EXISTS {quoted(catalog, schema)}")
    return Outcome.nothing()


def _drop_schema(run: Execution, tree: exp.Drop, target: exp.Table) -> Outcome:
    catalog, schema = _schema_name(run, target)
    try:
        found = run.catalog.schema(catalog, schema)
        if tree.args.get("cascade"):
            for table in list(found.tables):
                _drop_table(run, TableName(catalog, schema, table), missing_ok=True)
            for volume in list(found.volumes):
                run.catalog.drop_volume(catalog, schema, volume)
        run.catalog.drop_schema(catalog, schema)
    except ApiError as error:
        if error.error_code == "SCHEMA_DOES_NOT_EXIST" and tree.args.get("exists"):
            return Outcome.nothing()
        raise _as_failure(error) from error
    run.command(f"DROP SCHEMA IF EXISTS {quoted(catalog, schema)} CASCADE")
    return Outcome.nothing()


def _drop_table(run: Execution, name: TableName, *, missing_ok: bool) -> None:
    try:
        run.catalog.drop_table(name.catalog, name.schema, name.table)
    except ApiError as error:
        if missing_ok:
            return
        raise _as_failure(error) from error
    run.engine.unregister(name)


def _schema_name(run: Execution, target: exp.Table) -> tuple[str, str]:
    parts = [part.name.lower() for part in target.parts]
    if not 1 <= len(parts) <= 2:
        raise unsupported("a schema's name of more than two parts")
    return (parts[0], parts[1]) if len(parts) == 2 else (run.place.catalog, parts[0])


def _require_schema(run: Execution, name: TableName) -> None:
    try:
        run.catalog.schema(name.catalog, name.schema)
    except ApiError as error:
        raise _as_failure(error) from error


def _as_failure(error: ApiError) -> SqlFailure:
    conditions = {
        "CATALOG_DOES_NOT_EXIST": ("NO_SUCH_CATALOG_EXCEPTION", "42704"),
        "SCHEMA_DOES_NOT_EXIST": ("SCHEMA_NOT_FOUND", "42704"),
        "SCHEMA_ALREADY_EXISTS": ("SCHEMA_ALREADY_EXISTS", "42P06"),
        "SCHEMA_NOT_EMPTY": ("SCHEMA_NOT_EMPTY", "2BP01"),
        "TABLE_DOES_NOT_EXIST": ("TABLE_OR_VIEW_NOT_FOUND", "42P01"),
    }
    condition, sqlstate = conditions.get(error.error_code, (error.error_code, None))
    return SqlFailure(condition, error.message, sqlstate)


# Building a table ---------------------------------------------------------------------------------


def _options(tree: exp.Create) -> tuple[dict[str, str], list[str], str | None]:
    """The table's properties, the clauses to hand on, the comment. Anything else is refused by name."""
    properties = dict(_ALWAYS)
    clauses: list[str] = []
    comment: str | None = None
    given = tree.args.get("properties")
    for each in given.expressions if given else []:
        if isinstance(each, exp.FileFormatProperty):
            if each.this.name.upper() != "DELTA":
                raise unsupported(f"CREATE TABLE USING {each.this.name}")
        elif isinstance(each, exp.SchemaCommentProperty):
            if not isinstance(each.this, exp.Literal):
                raise unsupported("a COMMENT that is not one string literal")
            comment = each.name
        elif isinstance(each, exp.PartitionedByProperty):
            clauses.append(spark_sql(each))
        elif type(each) is exp.Property:
            properties |= dict([property_of(each)])
        else:
            raise unsupported(f"CREATE TABLE with {spark_sql(each)}")
    check_properties(properties, new_table=True)
    pairs = ", ".join(f"{literal(key)}={literal(value)}" for key, value in sorted(properties.items()))
    return properties, [*clauses, f"TBLPROPERTIES ({pairs})"], comment


def _check_columns(schema: exp.Schema | None, properties: dict[str, str]) -> None:
    for column in schema.expressions if schema else []:
        if not isinstance(column, exp.ColumnDef):
            raise unsupported(f"{spark_sql(column)} in CREATE TABLE")
        for constraint in column.constraints:
            kind = constraint.args["kind"]
            if isinstance(kind, exp.DefaultColumnConstraint):
                _check_default(properties)
            elif not isinstance(kind, (exp.NotNullColumnConstraint, exp.CommentColumnConstraint)):
                raise unsupported(f"the column constraint {spark_sql(kind)}")


def _check_default(properties: dict[str, str]) -> None:
    if properties.get(_DEFAULTS_FEATURE, "").lower() not in ("supported", "enabled"):
        raise SqlFailure(
            "WRONG_COLUMN_DEFAULTS_FOR_DELTA_FEATURE_NOT_ENABLED",
            "Failed to execute CREATE TABLE command because it assigned a column DEFAULT value, but the corresponding "
            "table feature was not enabled. Please retry the command again after executing ALTER TABLE tableName SET "
            f"TBLPROPERTIES('{_DEFAULTS_FEATURE}' = 'supported').",
            "0AKDE",
        )


def _build(
    run: Execution,
    name: TableName,
    schema: exp.Schema | None,
    tree: exp.Create,
    options: list[str],
    comment: str | None,
) -> tuple[Table, int]:
    """Make the table in a folder of its own, under a name of its own; returns it and how many rows it has."""
    table = run.catalog.new_table(name.table)
    folder = run.catalog.table_folder(table)
    folder.parent.mkdir(exist_ok=True)
    working = TableName(name.catalog, name.schema, f"_building_{table.table_id}")
    columns = f" ({', '.join(spark_sql(each) for each in schema.expressions)})" if schema else ""
    query = f" AS {spark_sql(tree.expression)}" if tree.expression is not None else ""
    clauses = " ".join(["USING DELTA", f"LOCATION {literal(str(folder))}", *options])
    try:
        run.command(f"CREATE TABLE {working.sql}{columns} {clauses}{query}")
        amend_creation(folder, nullable=bool(query), comment=comment)
        check_names([column.name for column in run.logs.columns(folder)], run.logs.properties(folder))
        return table, sum(commit.rows_added for commit in run.logs.commits(folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        run.engine.unregister(working)


def _publish(run: Execution, name: TableName, table: Table, present: Table | None, tree: exp.Create) -> None:
    """Give the new table its name; over a table that is there, as that one's next version."""
    if present is not None:
        what = "CREATE OR REPLACE TABLE AS SELECT" if tree.expression is not None else "CREATE OR REPLACE TABLE"
        built = run.catalog.table_folder(table)
        folder = run.catalog.table_folder(present)
        run.logs.replace(folder, built, what)
        run.writers.committed(folder, [run.logs.version(folder)], blind=False)
        shutil.rmtree(built, ignore_errors=True)
        return  # the session reads the log at each use, so that no reader ever finds the table missing
    run.engine.register(name, run.catalog.table_folder(table))
    run.catalog.put_table(name.catalog, name.schema, table)


HANDLERS: dict[type[exp.Expression], Callable[[Execution, Any], Outcome]] = {exp.Create: create, exp.Drop: drop}
