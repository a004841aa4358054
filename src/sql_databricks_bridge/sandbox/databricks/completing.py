"""Statements that change a table, made complete where the engine needs it: every column named and given a typed value.

Source: Databricks SQL reference, "INSERT INTO" and "MERGE INTO" (columns left out get their default, or NULL).
"""

from __future__ import annotations

import sqlglot
from sqlglot import exp

from .delta import Column
from .execution import Execution
from .failures import SqlFailure, unresolved_column, unsupported
from .names import TableName, quoted
from .sqltext import spark_sql
from .writing import Work


def renamed(tree: exp.Expression, old: TableName, new: TableName) -> exp.Expression:
    """The statement with one table under another name (of the same last part)."""
    if old == new:
        return tree
    tree = tree.copy()
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Func) and [part.name for part in table.parts] == [
            old.catalog,
            old.schema,
            old.table,
        ]:
            table.set("db", exp.to_identifier(new.schema, quoted=True))
            table.set("catalog", exp.to_identifier(new.catalog, quoted=True))
    for column in tree.find_all(exp.Column):
        if column.args.get("db") and column.table.lower() == old.table and column.db.lower() == old.schema:
            column.set("db", None)
            column.set("catalog", None)
    return tree


def complete_insert(
    run: Execution, work: Work, tree: exp.Expression, names: list[str] | None, overwrite: bool, target: TableName
) -> str:
    """An INSERT that names every column and gives each a value of the column's type."""
    verb = "INSERT OVERWRITE TABLE" if overwrite else "INSERT INTO"
    head = f"{verb} {target.sql} ({', '.join(quoted(column.name) for column in work.columns)})"
    source = tree.expression
    if tree.args.get("by_name"):
        if overwrite:
            raise unsupported("INSERT OVERWRITE BY NAME")
        names = run.column_names(spark_sql(source))
    given = _positions(names, work.columns)
    if isinstance(source, exp.Values):
        rows = (_complete_row(row, given, work.columns) for row in source.expressions)
        return f"{head} VALUES {', '.join(rows)}"
    query = spark_sql(source)
    width = len(run.column_names(query))
    if width != len(given):
        raise _arity(work, len(given), width)
    aliases = [f"_c{index}" for index in range(width)]
    values = []
    for column in work.columns:  # each under its own name: the engine refuses two expressions of one text
        value = f"q.{aliases[given[column.name]]}" if column.name in given else _otherwise(column)
        values.append(f"{value} AS {quoted(column.name)}")
    return f"{head} SELECT {', '.join(values)} FROM ({query}) AS q({', '.join(aliases)})"


def reads(source: exp.Expression, name: TableName) -> bool:
    """Whether a query names a table."""
    return any(
        [part.name for part in table.parts] == [name.catalog, name.schema, name.table]
        for table in source.find_all(exp.Table)
        if not isinstance(table.this, exp.Func)
    )


def _complete_row(row: exp.Expression, given: dict[str, int], columns: list[Column]) -> str:
    cells = row.expressions if isinstance(row, exp.Tuple) else [row]
    if len(cells) != len(given):
        raise SqlFailure(
            "INSERT_COLUMN_ARITY_MISMATCH",
            f"{len(given)} columns are to be written, but a row of VALUES has {len(cells)} values.",
            "21S01",
        )
    whole = []
    for column in columns:  # each with the column's type: the engine wants one type down all rows
        if column.name in given:
            whole.append(f"CAST({_typed(cells[given[column.name]], column)} AS {column.sql_type})")
        else:
            whole.append(_otherwise(column))
    return f"({', '.join(whole)})"


def _positions(names: list[str] | None, columns: list[Column]) -> dict[str, int]:
    """Which value goes into which column, by the column's own spelling."""
    if names is None:
        return {column.name: index for index, column in enumerate(columns)}
    by_name = {column.name.lower(): column.name for column in columns}
    found: dict[str, int] = {}
    for index, name in enumerate(names):
        column = by_name.get(name.lower())
        if column is None:
            raise unresolved_column(quoted(name))
        if column in found:
            raise SqlFailure("COLUMN_ALREADY_EXISTS", f"The column `{name}` is given twice.", "42711")
        found[column] = index
    return found


def complete_assignment(assignment: exp.Expression, columns: list[Column]) -> None:
    """SET column = NULL or DEFAULT, as an expression of the column's type."""
    if not isinstance(assignment, exp.EQ):
        return
    name = assignment.this.name
    column = next((each for each in columns if each.name.lower() == name.lower()), None)
    if column is None:
        raise unresolved_column(quoted(name))
    assignment.set("expression", sqlglot.parse_one(_typed(assignment.expression, column), dialect="spark"))


def complete_merge_insert(action: exp.Insert, columns: list[Column]) -> None:
    """A MERGE's INSERT that names every column and gives each a value of the column's type."""
    names = [each.name for each in action.this.expressions]
    given = _positions(names, columns)
    values = action.expression.expressions
    if len(values) != len(names):
        raise SqlFailure(
            "INSERT_COLUMN_ARITY_MISMATCH", f"{len(names)} columns are named, {len(values)} values given.", "21S01"
        )
    cells = [
        _typed(values[given[column.name]], column) if column.name in given else _otherwise(column) for column in columns
    ]
    action.set("this", exp.Tuple(expressions=[exp.to_identifier(column.name, quoted=True) for column in columns]))
    action.set("expression", exp.Tuple(expressions=[sqlglot.parse_one(cell, dialect="spark") for cell in cells]))


def _typed(value: exp.Expression, column: Column) -> str:
    """A value for a column: DEFAULT becomes the default, a bare NULL gets the column's type."""
    if isinstance(value, exp.Column) and value.name.upper() == "DEFAULT" and len(value.parts) == 1:
        return _otherwise(column)
    if isinstance(value, exp.Null):
        return f"CAST(NULL AS {column.sql_type})"
    return spark_sql(value)


def _otherwise(column: Column) -> str:
    """What a column holds that was given no value."""
    if column.default is None:
        return f"CAST(NULL AS {column.sql_type})"
    return f"CAST({column.default} AS {column.sql_type})"


def _arity(work: Work, wanted: int, found: int) -> SqlFailure:
    kind = "NOT_ENOUGH_DATA_COLUMNS" if found < wanted else "TOO_MANY_DATA_COLUMNS"
    return SqlFailure(
        f"INSERT_COLUMN_ARITY_MISMATCH.{kind}",
        f"Cannot write to {work.name.sql}: {wanted} columns are to be written, the query has {found}.",
        "21S01",
    )
