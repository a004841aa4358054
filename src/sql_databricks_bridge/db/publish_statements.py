"""The statements that put landed files into a published table, each one atomic, fenced and harmless twice.

The fence is a scalar subquery on the table of states: where its row names another owner it raises an error, so that
the statement writes nothing. A scalar subquery is computed even where the files hold no row. What it raises is the
value of a parameter, for the statement's text may stand in other errors' messages. Sources: Databricks SQL
reference, "MERGE INTO", "INSERT", "CREATE TABLE [USING]", "raise_error", "STRING type" (escapes of literals); Delta
docs, "Column mapping".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sql_databricks_bridge.db.identifiers import databricks_identifier
from sql_databricks_bridge.models.publishing import DELETED_COLUMN, RANGE_COLUMN, DeltaColumn, Load
from sql_databricks_bridge.models.tables import SourceName

MAPPED = ("delta.columnMapping.mode", "name")
"""The table property without which Parquet's own rules hold for the names of columns."""

_UNMAPPED_CHARACTERS = frozenset(" ,;{}()\n\t=")
_GONE_RANGE = "_bridge_gone_range"
_RANGE_TYPE, _SOFT_TYPE = "bigint", "timestamp"
_ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'", "$": "\\u0024"})  # ${name} would be replaced inside a literal too


def replace(load: Load, states: SourceName) -> str:
    """The table anew from the files: its columns in order, every other property of the old one gone."""
    properties = dict(load.properties)
    if needs_mapping(all_columns(load)):
        properties.setdefault(*MAPPED)
    clauses = [f"CREATE OR REPLACE TABLE {quoted(load.table)}"]
    if load.comment is not None:
        clauses.append(f"COMMENT {literal(load.comment)}")
    if properties:
        pairs = (f"{literal(name)} = {literal(value)}" for name, value in sorted(properties.items()))
        clauses.append(f"TBLPROPERTIES ({', '.join(pairs)})")
    return "\n".join([*clauses, "AS", _selected(load, all_columns(load), f"WHERE {_fence(states)}")])


def merge(load: Load, states: SourceName) -> str:
    """The files' rows by key; rows that stand already as they come are not written again."""
    deletes = _spelled(DELETED_COLUMN, load.landed) is not None
    gone, stays = (f"s.{_name(DELETED_COLUMN)}", f"NOT s.{_name(DELETED_COLUMN)} AND ") if deletes else ("", "")
    clauses = [*_merge_head(load, states, deletes=deletes)]
    if deletes and load.soft_delete is None:
        clauses.append(f"WHEN MATCHED AND {gone} THEN DELETE")
    elif deletes:
        clauses.append(f"WHEN MATCHED AND {gone} AND {_unmarked(load)} THEN {_mark(load)}")
    clauses += _upserts(load, stays)
    return "\n".join(clauses)


def replace_ranges(load: Load, states: SourceName) -> str:
    """The files' rows for all rows of the ranges in `:ranges`, a JSON array: these are deleted, those inserted.

    Each range is a row of the source beside the files' rows, which match nothing: the join is by equal ranges, where a
    condition on unmatched rows would read the whole table.
    """
    came, gone, own = _landed_columns(load), _name(_GONE_RANGE), _name(RANGE_COLUMN)
    nulls = ", ".join(f"CAST(NULL AS {column.type})" for column in came)
    return "\n".join(
        [
            f"MERGE INTO {quoted(load.table)} AS t",
            "USING (",
            _selected(load, came, f"WHERE {_fence(states)}", f"CAST(NULL AS BIGINT) AS {gone}"),
            "UNION ALL",
            f"SELECT {nulls}, r FROM (SELECT explode(from_json(:ranges, 'ARRAY<BIGINT>')) AS r) AS ranges",
            f"WHERE {_fence(states)}",
            ") AS s",
            f"ON t.{own} = s.{gone}",
            "WHEN MATCHED THEN DELETE",
            f"WHEN NOT MATCHED AND s.{gone} IS NULL THEN {_insert(load)}",
        ]
    )


def mark_ranges(load: Load, ranges: Sequence[int], states: SourceName) -> str:
    """The same by key, for a soft delete: rows of the ranges that did not come are marked."""
    within = f"t.{_name(RANGE_COLUMN)} IN ({', '.join(map(_bigint, sorted(set(ranges))))})"
    unmatched = f"WHEN NOT MATCHED BY SOURCE AND {within} AND {_unmarked(load)} THEN {_mark(load)}"
    return "\n".join([*_merge_head(load, states, deletes=False), *_upserts(load, ""), unmatched])


def all_columns(load: Load) -> tuple[DeltaColumn, ...]:
    """The table's columns, those of ranges and of the soft delete among them."""
    own = []
    if _spelled(RANGE_COLUMN, load.landed) is not None:
        own.append(DeltaColumn(RANGE_COLUMN, _RANGE_TYPE))
    if load.soft_delete is not None:
        own.append(DeltaColumn(load.soft_delete, _SOFT_TYPE))
    names = [each.name for each in load.columns]
    return (*load.columns, *(each for each in own if _spelled(each.name, names) is None))


def needs_mapping(columns: Iterable[DeltaColumn]) -> bool:
    """Whether a name holds a character that Parquet's own rules refuse."""
    return any(_UNMAPPED_CHARACTERS & set(each.name) for each in columns)


def set_properties(table: SourceName, properties: Mapping[str, str]) -> str:
    """Table properties."""
    pairs = ", ".join(f"{literal(name)} = {literal(value)}" for name, value in properties.items())
    return f"ALTER TABLE {quoted(table)} SET TBLPROPERTIES ({pairs})"


def quoted(table: SourceName) -> str:
    """A table's three names as one identifier."""
    return databricks_identifier(table.catalog, table.schema, table.table)


def literal(text: str) -> str:
    """A string literal, where no parameter may stand; `ValueError` for text with a NUL character."""
    if "\x00" in text:
        raise ValueError("a literal can't hold a NUL character")
    return f"'{text.translate(_ESCAPES)}'"


def _fence(states: SourceName) -> str:
    return (
        "(SELECT CASE WHEN count(*) = 1 AND max(owner) <=> :owner THEN true "
        f"ELSE CAST(raise_error(:overtaken) AS BOOLEAN) END FROM {quoted(states)} WHERE lower(target) = lower(:target))"
    )


def _one_row_a_key(load: Load) -> str:
    """Delta refuses two rows for one row of the table, but would insert both where the key is new."""
    keys = ", ".join(_name(_landed_name(key, load)) for key in load.key)
    return (
        "(SELECT CASE WHEN coalesce(max(c), 0) <= 1 THEN true ELSE CAST(raise_error(:repeated) AS BOOLEAN) END "
        f"FROM (SELECT count(*) AS c FROM {_files(load)} GROUP BY {keys}))"
    )


def _files(load: Load) -> str:
    if not load.files:
        raise ValueError("a load without files")
    scans = " UNION ALL ".join(f"SELECT * FROM parquet.{databricks_identifier(path)}" for path in load.files)
    return f"({scans})"


def _selected(load: Load, columns: Sequence[DeltaColumn], rest: str, *further: str) -> str:
    """The files' rows as rows of the table: each column cast to its type, NULL where it did not land."""
    values = [f"{_value(column, load)} AS {_name(column.name)}" for column in columns]
    return f"SELECT {', '.join([*values, *further])}\nFROM {_files(load)} AS landed\n{rest}"


def _landed_columns(load: Load) -> list[DeltaColumn]:
    return [column for column in all_columns(load) if _spelled(column.name, load.landed) is not None]


def _value(column: DeltaColumn, load: Load) -> str:
    landed = _spelled(column.name, load.landed)
    return f"CAST({'NULL' if landed is None else _name(landed)} AS {column.type})"


def _merge_head(load: Load, states: SourceName, *, deletes: bool) -> list[str]:
    if not load.key:
        raise ValueError("a merge without a key")
    further = [f"coalesce({_name(DELETED_COLUMN)}, false) AS {_name(DELETED_COLUMN)}"] if deletes else []
    source = _selected(load, _landed_columns(load), f"WHERE {_fence(states)}\n  AND {_one_row_a_key(load)}", *further)
    matched = " AND ".join(f"t.{_name(key)} <=> s.{_name(key)}" for key in (_table_name(key, load) for key in load.key))
    return [f"MERGE INTO {quoted(load.table)} AS t", f"USING (\n{source}\n) AS s", f"ON {matched}"]


def _upserts(load: Load, condition: str) -> list[str]:
    """Update what differs, insert what is new; both without the mark of a soft delete."""
    columns = all_columns(load)
    keys = {key.lower() for key in load.key}
    values = {column.name: _merged(column, load) for column in columns if column.name.lower() not in keys}
    clauses = []
    if values:
        differs = " OR ".join(
            f"t.{_name(name)} IS NOT NULL" if values[name] == "NULL" else f"NOT (t.{_name(name)} <=> {values[name]})"
            for name in values
        )
        updates = ", ".join(f"{_name(name)} = {values[name]}" for name in values)
        clauses.append(f"WHEN MATCHED AND {condition}({differs}) THEN UPDATE SET {updates}")
    new = f" AND {condition.removesuffix(' AND ')}" if condition else ""
    return [*clauses, f"WHEN NOT MATCHED{new} THEN {_insert(load)}"]


def _insert(load: Load) -> str:
    columns = all_columns(load)
    names, values = (_name(each.name) for each in columns), (_merged(each, load) for each in columns)
    return f"INSERT ({', '.join(names)}) VALUES ({', '.join(values)})"


def _merged(column: DeltaColumn, load: Load) -> str:
    return "NULL" if _spelled(column.name, load.landed) is None else f"s.{_name(column.name)}"


def _mark(load: Load) -> str:
    return f"UPDATE SET {_name(_soft_name(load))} = current_timestamp()"


def _unmarked(load: Load) -> str:
    return f"t.{_name(_soft_name(load))} IS NULL"


def _soft_name(load: Load) -> str:
    assert load.soft_delete is not None
    return _table_name(load.soft_delete, load)


def _table_name(name: str, load: Load) -> str:
    """A column as the table spells it."""
    return _spelled(name, (each.name for each in load.columns)) or name


def _landed_name(name: str, load: Load) -> str:
    """A column as the files spell it."""
    return _spelled(name, load.landed) or name


def _spelled(name: str, among: Iterable[str]) -> str | None:
    return next((each for each in among if each.lower() == name.lower()), None)


def _bigint(number: int) -> str:
    """A literal; the least bigint has none of its own everywhere."""
    return f"{number + 1} - 1" if number == -(2**63) else str(int(number))


def _name(name: str) -> str:
    return databricks_identifier(name)
