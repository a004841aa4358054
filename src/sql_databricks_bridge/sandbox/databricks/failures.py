"""How a statement fails: Databricks' error conditions, and the way from Sail's exceptions to them.

Source: Databricks docs, "Error conditions in Databricks" and "SQLSTATE error codes". A failed statement is HTTP 200
with `status.error` = {error_code, message} and the SQLSTATE at the message's end.
"""

from __future__ import annotations

import re

from .raising import raised_message


class SqlFailure(Exception):
    """A statement that ends FAILED. `condition` is the error condition's name, such as TABLE_OR_VIEW_NOT_FOUND."""

    def __init__(
        self, condition: str | None, message: str, sqlstate: str | None, *, error_code: str = "BAD_REQUEST"
    ) -> None:
        head = f"[{condition}] " if condition else ""
        tail = f" SQLSTATE: {sqlstate}" if condition and sqlstate else ""
        self.message = f"{head}{message}{tail}"
        self.sqlstate = sqlstate
        self.error_code = error_code
        super().__init__(self.message)


def unsupported(what: str) -> SqlFailure:
    """SQL that Databricks runs and this stand-in does not."""
    return SqlFailure("SANDBOX_UNSUPPORTED", f"The Databricks stand-in does not support {what}.", "0A000")


def syntax_error(near: str) -> SqlFailure:
    """SQL that does not parse."""
    return SqlFailure("PARSE_SYNTAX_ERROR", f"Syntax error at or near {near}.", "42601")


def table_not_found(name: str) -> SqlFailure:
    """A table that is not there; `name` is quoted already."""
    return SqlFailure(
        "TABLE_OR_VIEW_NOT_FOUND",
        f"The table or view {name} cannot be found. Verify the spelling and correctness of the schema and catalog.\n"
        "If you did not qualify the name with a schema, verify the current_schema() output, or qualify the name with "
        "the correct schema and catalog.\n"
        "To tolerate the error on drop use DROP VIEW IF EXISTS or DROP TABLE IF EXISTS.",
        "42P01",
    )


def unresolved_column(name: str) -> SqlFailure:
    """A column that is not there; `name` is quoted already."""
    return SqlFailure(
        "UNRESOLVED_COLUMN.WITHOUT_SUGGESTION",
        f"A column, variable, or function parameter with name {name} cannot be resolved.",
        "42703",
    )


def _several_source_rows() -> SqlFailure:
    return SqlFailure(
        "DELTA_MULTIPLE_SOURCE_ROW_MATCHING_TARGET_ROW_IN_MERGE",
        "Cannot perform Merge as multiple source rows matched and attempted to modify the same target row in the Delta "
        "table in possibly conflicting ways.",
        "21506",
    )


def _wrong_limit() -> SqlFailure:
    return SqlFailure(
        "INVALID_LIMIT_LIKE_EXPRESSION.DATA_TYPE",
        'The limit like expression is invalid. The limit expression must be integer type, but got "STRING".',
        "42K0E",
    )


# What Sail's message holds (in lower case), and the condition that Databricks has for it; the first that fits counts.
_KNOWN = (
    ("table_or_view_not_found", "TABLE_OR_VIEW_NOT_FOUND", "42P01"),
    ("database not found", "SCHEMA_NOT_FOUND", "42704"),
    ("divide by zero", "DIVIDE_BY_ZERO", "22012"),
    ("not_null_constraint_violated", "DELTA_NOT_NULL_CONSTRAINT_VIOLATED", "23502"),
    ("cannot_safely_cast", "INCOMPATIBLE_DATA_FOR_TABLE.CANNOT_SAFELY_CAST", "KD000"),
    ("too large to store in a decimal", "NUMERIC_VALUE_OUT_OF_RANGE.WITHOUT_SUGGESTION", "22003"),
    ("can't cast value", "CAST_OVERFLOW", "22003"),
    ("cannot cast string", "CAST_INVALID_INPUT", "22018"),
    ("error parsing timestamp", "CAST_INVALID_INPUT", "22018"),
    ("repeated key", "DUPLICATED_MAP_KEY", "23505"),
    ("duplicate key", "DUPLICATED_MAP_KEY", "23505"),
    ("was not provided a value", "UNBOUND_SQL_PARAMETER", "42P02"),
    ("insert_column_arity", "INSERT_COLUMN_ARITY_MISMATCH", "21S01"),
    ("input schema for insert", "INSERT_COLUMN_ARITY_MISMATCH", "21S01"),
    ("missing commit file", "DELTA_VERSION_NOT_FOUND", "22003"),
    ("overflow", "ARITHMETIC_OVERFLOW", "22003"),
)


def from_engine(error: Exception) -> SqlFailure:
    """The failure for an exception of Sail's client. What is not known keeps Sail's words under ENGINE_ERROR."""
    text = str(error).strip()
    lowered = text.lower()
    if (raised := raised_message(text)) is not None:
        return SqlFailure("USER_RAISED_EXCEPTION", raised, "P0001")
    if "cannot resolve attribute" in lowered:
        name = ".".join(f"`{part}`" for part in re.findall(r'Identifier\("(.*?)"\)', text))
        return unresolved_column(name)
    if "unsupported_data_type_for_arrow_conversion" in lowered:
        return unsupported(f"result columns of this type ({text})")
    if "merge_cardinality_violation" in lowered:
        return _several_source_rows()
    if "expected limit to be an integer" in lowered:
        return _wrong_limit()
    if "found " in lowered and " expected " in lowered and "invalid argument" in lowered:
        near, _, _ = text.partition("found ")[2].partition(" expected ")  # sqlglot had no objection
        return unsupported(f"the syntax near {near}, unless it is wrong")
    for mark, condition, sqlstate in _KNOWN:
        if mark in lowered:
            return SqlFailure(condition, text, sqlstate)
    if type(error).__name__ == "UnsupportedOperationException":
        return unsupported(f"what this statement asks of its engine ({text})")
    return SqlFailure("SANDBOX_ENGINE_ERROR", text or type(error).__name__, None)
