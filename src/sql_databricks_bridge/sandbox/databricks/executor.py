"""From the text of a statement to its outcome: which handler it belongs to, and its parameters.

Source: Databricks REST API, "Statement Execution: Execute a SQL statement" (parameters: named, values as strings, a
missing type is STRING, a value that its type's cast refuses fails the statement).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from . import alter, ddl, dml, shows
from .execution import Execution, Outcome, Parameter
from .failures import SqlFailure, unsupported
from .sqltext import exact_query, read
from .timetravel import travel

_COMPLEX = {exp.DataType.Type.ARRAY, exp.DataType.Type.MAP, exp.DataType.Type.STRUCT, exp.DataType.Type.VARIANT}
_HANDLERS: dict[type[exp.Expression], Callable[[Execution, Any], Outcome]] = {
    **dml.HANDLERS,
    **ddl.HANDLERS,
    **alter.HANDLERS,
    exp.Describe: shows.describe,
}


def execute(run: Execution, text: str) -> Outcome:
    """Run one statement. Raises `SqlFailure` or `Canceled`. The outcome's rows may still fail while they are read."""
    statement = read(text)
    if statement.tree is None:
        return (
            ddl.create_catalog(run, statement)
            if statement.words[:2] == ["CREATE", "CATALOG"]
            else shows.bare(run, statement)
        )
    tree = statement.tree
    _check_parameters(run, tree)
    if isinstance(tree, (exp.Query, exp.Values)):
        if tree.args.get("into"):
            raise unsupported("SELECT INTO")
        return run.query(exact_query(statement, run.place, run.catalog, partial(travel, run)))
    for marker in list(tree.find_all(exp.Placeholder)):
        marker.replace(run.parameters[marker.name].expression())
    if isinstance(tree, exp.Command) and statement.words[0] == "ALTER":
        return alter.alter_columns(run, statement)
    handler = _HANDLERS.get(type(tree))
    if handler is None:
        raise unsupported(f"{' '.join(statement.words[:2])} statements")
    return handler(run, tree)


def typed_parameters(given: list[dict[str, Any]]) -> dict[str, Parameter]:
    """The request's parameters, by name. Raises `SqlFailure` for a type that no parameter may have."""
    return {each["name"]: Parameter(each.get("value"), _parameter_type(each.get("type"))) for each in given}


def _parameter_type(text: str | None) -> str:
    if text is None:
        return "string"
    try:
        parsed = sqlglot.parse_one(text, into=exp.DataType, dialect="databricks")
    except SqlglotError as error:
        raise SqlFailure("PARSE_SYNTAX_ERROR", f"The parameter type {text!r} is no data type.", "42601") from error
    if (
        not isinstance(parsed, exp.DataType)
        or parsed.this in _COMPLEX
        or not isinstance(parsed.this, exp.DataType.Type)
    ):
        raise SqlFailure("INVALID_PARAMETER_TYPE", f"The parameter type {text!r} is not supported.", "42K09")
    return parsed.sql(dialect="spark").lower()


def _check_parameters(run: Execution, tree: exp.Expression) -> None:
    for marker in tree.find_all(exp.Placeholder, exp.Parameter):
        if not isinstance(marker, exp.Placeholder) or not isinstance(marker.this, str):
            if isinstance(marker, exp.Parameter):
                raise unsupported("names with @; a version of a table is read by VERSION AS OF")
            raise unsupported("positional parameters; name them, such as :id")
        if marker.this not in run.parameters:
            raise SqlFailure(
                "UNBOUND_SQL_PARAMETER",
                f"Found the unbound parameter: {marker.this}. Please, fix `args` and provide a mapping of the "
                "parameter to either a SQL literal or collection constructor functions such as `map()`, `array()`, "
                "`struct()`.",
                "42P02",
            )
