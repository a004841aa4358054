"""SHOW and DESCRIBE, answered from the catalog and the Delta logs.

Sources: Databricks SQL reference, "SHOW TABLES", "SHOW SCHEMAS", "SHOW CATALOGS", "SHOW VOLUMES", "SHOW COLUMNS",
"SHOW TBLPROPERTIES", "DESCRIBE TABLE", "DESCRIBE HISTORY".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from sqlglot import exp, parse_one

from .errors import ApiError
from .execution import Execution, Outcome
from .failures import SqlFailure, syntax_error, unsupported
from .names import Place, quoted
from .sqltext import Statement, existing

_SHOWN = ("CATALOGS", "SCHEMAS", "DATABASES", "TABLES", "VOLUMES", "COLUMNS")
_SKIPPING = "delta.dataSkippingNumIndexedCols"
_STRINGS = pa.map_(pa.string(), pa.string())
_HISTORY = pa.schema(
    [
        ("version", pa.int64()),
        ("timestamp", pa.timestamp("us", "Etc/UTC")),
        ("userId", pa.string()),
        ("userName", pa.string()),
        ("operation", pa.string()),
        ("operationParameters", _STRINGS),
        ("readVersion", pa.int64()),
        ("isolationLevel", pa.string()),
        ("isBlindAppend", pa.bool_()),
        ("operationMetrics", _STRINGS),
        ("userMetadata", pa.string()),
        ("engineInfo", pa.string()),
    ]
)


def bare(run: Execution, statement: Statement) -> Outcome:
    """The statements that are read from their tokens."""
    words = statement.words
    if words[0] in ("DESCRIBE", "DESC") and words[1] == "HISTORY":
        return _history(run, statement)
    if words[:2] == ["SHOW", "TBLPROPERTIES"]:
        return _properties(run, statement)
    if words[0] == "SHOW" and words[1:2] and words[1] in _SHOWN:
        what, rest = words[1], statement.tokens[2:]
        name = _in_clause(rest, needs_table=what == "COLUMNS")
        try:
            return _show(run, what, name)
        except ApiError as error:
            raise SqlFailure("SCHEMA_NOT_FOUND", error.message, "42704") from error
    raise unsupported(f"{' '.join(words[:2])} statements")


def describe(run: Execution, tree: exp.Describe) -> Outcome:
    """DESCRIBE [TABLE] name."""
    if tree.args.get("style") or not isinstance(tree.this, exp.Table) or tree.args.get("partition"):
        raise unsupported("DESCRIBE of anything but a table, or with EXTENDED, FORMATTED or a partition")
    name = existing(tree.this, run.place, run.catalog)
    table = run.catalog.table(name.catalog, name.schema, name.table)
    columns = run.logs.columns(run.catalog.table_folder(table))
    rows = [(each.name, each.sql_type, each.comment) for each in columns]
    return _strings(("col_name", "data_type", "comment"), rows)


def _show(run: Execution, what: str, name: list[str]) -> Outcome:
    catalog, place = run.catalog, run.place
    if what in ("CATALOGS",) and not name:
        return _strings(("catalog",), [(each,) for each in catalog.catalogs()])
    if what in ("SCHEMAS", "DATABASES") and len(name) <= 1:
        return _strings(("databaseName",), [(each.name,) for each in catalog.schemas(*(name or [place.catalog]))])
    if what in ("TABLES", "VOLUMES") and len(name) <= 2:
        found = catalog.schema(*([place.catalog, place.schema][: 2 - len(name)] + name))
        if what == "VOLUMES":
            return _strings(("database", "volume_name"), [(found.name, each) for each in sorted(found.volumes)])
        names = sorted(found.tables)
        schema = pa.schema([("database", pa.string()), ("tableName", pa.string()), ("isTemporary", pa.bool_())])
        table = pa.table([[found.name] * len(names), names, [False] * len(names)], schema=schema)
        return Outcome(schema, iter([table]))
    if what == "COLUMNS" and name:
        named = existing(exp.to_table(".".join(f"`{each}`" for each in name), dialect="databricks"), place, catalog)
        table = catalog.table(named.catalog, named.schema, named.table)
        columns = run.logs.columns(catalog.table_folder(table))
        return _strings(("col_name",), [(each.name,) for each in columns])
    raise unsupported(f"SHOW {what} here")


def _in_clause(tokens: Sequence[Any], *, needs_table: bool) -> list[str]:
    """The name behind IN or FROM; empty without one. LIKE patterns are refused."""
    if not tokens:
        return []
    if tokens[0].text.upper() not in ("IN", "FROM"):
        raise unsupported("SHOW with a pattern")
    parts, separators = tokens[1::2], tokens[2::2]
    if not parts or any(each.text != "." for each in separators) or len(parts) != len(separators) + 1:
        raise unsupported("SHOW with more than one name")
    return [each.text if needs_table else each.text.lower() for each in parts]


def _history(run: Execution, statement: Statement) -> Outcome:
    tokens = statement.tokens[2:]
    limit = None
    if len(tokens) > 2 and tokens[-2].text.upper() == "LIMIT" and tokens[-1].text.isdigit():
        limit = int(tokens[-1].text)
        tokens = tokens[:-2]
    if not tokens:
        raise syntax_error("end of input")
    text = statement.text[tokens[0].start : tokens[-1].end + 1]
    named = parse_one(f"SELECT * FROM {text}", dialect="databricks").find(exp.Table)
    if named is None or named.alias:
        raise syntax_error(f"'{text}'")
    name = existing(named, Place(run.place.catalog, run.place.schema), run.catalog)
    table = run.catalog.table(name.catalog, name.schema, name.table)
    commits = run.logs.commits(run.catalog.table_folder(table))[::-1][:limit]
    rows = [
        {
            "version": commit.version,
            "timestamp": commit.info.get("timestamp", 0) * 1000,
            "userName": "sandbox@example.com",
            "operation": commit.info.get("operation"),
            "operationParameters": _texts(commit.info.get("operationParameters")),
            "readVersion": commit.version - 1 if commit.version else None,
            "isolationLevel": "WriteSerializable",
            "isBlindAppend": commit.info.get("isBlindAppend"),
            "operationMetrics": _texts(commit.info.get("operationMetrics")),
            "engineInfo": commit.info.get("engineInfo"),
        }
        for commit in commits
    ]
    return Outcome(_HISTORY, iter([pa.Table.from_pylist(rows, schema=_HISTORY)]))


def _properties(run: Execution, statement: Statement) -> Outcome:
    """SHOW TBLPROPERTIES t [('key')]."""
    tokens, wanted = statement.tokens[2:], None
    if len(tokens) > 3 and [each.text for each in tokens[-3::2]] == ["(", ")"]:
        wanted, tokens = tokens[-2].text, tokens[:-3]
    parts, separators = tokens[0::2], tokens[1::2]
    if not parts or any(each.text != "." for each in separators) or len(parts) != len(separators) + 1:
        raise unsupported("this SHOW TBLPROPERTIES statement; the key is one string in parentheses")
    named = exp.to_table(quoted(*(each.text for each in parts)), dialect="databricks")
    name = existing(named, run.place, run.catalog)
    table = run.catalog.table(name.catalog, name.schema, name.table)
    state = run.logs.state(run.catalog.table_folder(table))
    found = {key: str(value) for key, value in state.metadata.get("configuration", {}).items()}
    if found.get(_SKIPPING) == "0":
        del found[_SKIPPING]  # the stand-in's own
    features = set(state.protocol.get("readerFeatures") or ()) | set(state.protocol.get("writerFeatures") or ())
    found |= {f"delta.feature.{feature}": "supported" for feature in features}
    found |= {f"delta.{each}": str(state.protocol[each]) for each in ("minReaderVersion", "minWriterVersion")}
    if wanted is not None:
        shown = ".".join((name.catalog, name.schema, name.table))
        found = {wanted: found.get(wanted, f"Table {shown} does not have property: {wanted}")}
    return _strings(("key", "value"), sorted(found.items()))


def _texts(values: dict[str, Any] | None) -> list[tuple[str, str]]:
    return [(key, each if isinstance(each, str) else json.dumps(each)) for key, each in (values or {}).items()]


def _strings(names: tuple[str, ...], rows: Sequence[tuple[str | None, ...]]) -> Outcome:
    schema = pa.schema([(name, pa.string()) for name in names])
    columns = [[row[index] for row in rows] for index in range(len(names))]
    return Outcome(schema, iter([pa.table(columns, schema=schema)]))
