"""Whether the target holds what is staged: one SELECT over both, in one transaction that changes nothing.

With keys the staging table is joined to the target and each written column is compared; without keys the rows of both
are counted together, each kind of row on its own. Values are the same where their bytes are: `_exact` says how each
type shows that. `t` is the target, `s` the staging table, as in `plan_parts`.

Sources: "Collation and Unicode support" (binary collations; trailing blanks never count in a comparison, which is why
DATALENGTH stands beside it), HASHBYTES, "GROUP BY" and "Row-overflow considerations" (what is grouped must fit 8,060
bytes), "SNAPSHOT isolation" in the Transact-SQL reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sql_databricks_bridge.core.types import CLR_TYPES, MAX, SqlServerType
from sql_databricks_bridge.db import apply_statements
from sql_databricks_bridge.db.identifiers import sql_server_identifier
from sql_databricks_bridge.db.plan_parts import Statement, conditions_of, same_key, staged_rows, target_table
from sql_databricks_bridge.db.session import Row, Session, dynamic
from sql_databricks_bridge.db.staging_checks import check_staging
from sql_databricks_bridge.errors import BridgeError, EventInvalid
from sql_databricks_bridge.models.applying import ApplyPlan, Comparison, Example, OnConflict
from sql_databricks_bridge.models.events import Operation
from sql_databricks_bridge.models.tables import TargetColumn

EXAMPLES: Final = 20
"""Most rows that are shown of each kind."""

_EQUAL, _DIFFERING, _MISSING, _REMAINING = range(4)
_BYTES: Final = "COLLATE Latin1_General_100_BIN2"
_UNICODE: Final = frozenset({"nchar", "nvarchar"})
_CODED: Final = frozenset({"char", "varchar"})
_LONG_TEXTS: Final = frozenset({"text", "ntext", "xml", "json"})
_BINARIES: Final = frozenset({"binary", "varbinary", "timestamp", "rowversion"})
_REWRITTEN: Final = frozenset({"char", "xml", "json"})
_LONGEST_UNICODE: Final = 4_000
_SHORT_TEXT, _SHORT_BINARY = 64, 128
"""Longest that is grouped and shown as it is; of what is longer the SHA-256 is: a worktable's row holds 8,060 bytes."""
_SHOWN_COLUMNS: Final = 8
_SHOWN_CHARACTERS: Final = 200


def compare(session: Session, plan: ApplyPlan) -> Comparison:
    """Compare what is staged with the target, changing nothing; SNAPSHOT where the database allows it.

    `EventInvalid` where the staged keys are NULL or there twice by now, as in `apply_plan`. The session is clean after.
    """
    snapshot = session.info().snapshot
    isolation = "SNAPSHOT" if snapshot else "READ COMMITTED"
    try:
        session.run(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        session.begin()
        check_staging(session, plan)
        return _compared(session, plan, isolation.lower())
    finally:
        session.rollback()
        _back_to_read_committed(session)


def _compared(session: Session, plan: ApplyPlan, isolation: str) -> Comparison:
    if plan.keys:
        return _by_key(plan, _rows(session, _keyed(plan)), isolation)
    if plan.staging is not None:
        return _by_row(plan, _rows(session, _unkeyed(plan)), isolation)
    statement = apply_statements.matching(plan)
    if statement is None:
        raise EventInvalid(f"{plan.operation} of {plan.target} names no rows: there is nothing to compare.")
    return Comparison(None, remaining=int(_rows(session, statement)[0]["matching"]), isolation=isolation)


def _back_to_read_committed(session: Session) -> None:
    """What applies events on this session relies on it; one that can't be set back is closed."""
    if session.closed:
        return
    try:
        session.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        session.close_cursor()
    except BridgeError:
        session.close()


def _rows(session: Session, statement: Statement) -> list[Row]:
    return session.rows(*dynamic(statement.sql, statement.parameters))


# With keys ---------------------------------------------------------------------------------------------------------


def _written(plan: ApplyPlan) -> tuple[TargetColumn, ...]:
    """The columns that a row of the target has from the source, whether it was updated or inserted.

    What only the inserted rows have (a key's spelling, an identity) can't be told of an UPSERT.
    """
    if plan.operation is Operation.DELETE:
        return ()
    appends = plan.operation is Operation.INSERT and plan.on_conflict is not OnConflict.UPDATE
    return plan.inserts if appends else plan.updates


def _keyed(plan: ApplyPlan) -> Statement:
    """A row for each example: `kind`, `found` (rows of that kind), `place`, the key k0, ..., and d0, ... (1: differs).

    Of equal rows there is one. A key that matches several rows of the target is of the worst kind that any of them is.
    """
    columns = _written(plan)
    there = f"t.{sql_server_identifier(plan.keys[0].name)}"  # never NULL in a row that the key matches
    keys = [f"s.{sql_server_identifier(key.name)}" for key in plan.keys]
    flags = [
        f"MAX(CASE WHEN {there} IS NULL OR {_same(column)} THEN 0 ELSE 1 END) AS d{number}"
        for number, column in enumerate(columns)
    ]
    listed = ", ".join(
        [*(f"{key} AS k{number}" for number, key in enumerate(keys)), f"COUNT_BIG({there}) AS matched", *flags]
    )
    conditions, parameters = conditions_of(plan.filters)
    on = " AND ".join([same_key(plan.keys), *conditions])
    joined = f"{staged_rows(plan)} AS s LEFT OUTER JOIN {target_table(plan)} AS t ON {on}"
    order = ", ".join(f"c.k{number}" for number in range(len(keys)))
    return Statement(
        f"""
SELECT x.* FROM (
SELECT c.*, COUNT_BIG(*) OVER (PARTITION BY c.kind) AS found,
       ROW_NUMBER() OVER (PARTITION BY c.kind ORDER BY {order}) AS place
  FROM (SELECT g.*, {_kind_of(plan, len(columns))} AS kind
          FROM (SELECT {listed} FROM {joined} GROUP BY {", ".join(keys)}) AS g) AS c) AS x
 WHERE x.place = 1 OR (x.kind <> {_EQUAL} AND x.place <= {EXAMPLES})
 ORDER BY x.kind, x.place""",
        parameters,
    )


def _kind_of(plan: ApplyPlan, columns: int) -> str:
    if plan.operation is Operation.DELETE:
        return f"CASE WHEN g.matched > 0 THEN {_REMAINING} ELSE {_EQUAL} END"
    differs = f" WHEN 1 IN ({', '.join(f'g.d{number}' for number in range(columns))}) THEN {_DIFFERING}"
    return f"CASE WHEN g.matched = 0 THEN {_MISSING}{differs if columns else ''} ELSE {_EQUAL} END"


def _same(column: TargetColumn) -> str:
    """The condition that both have the column's value or NULL; it is unknown where one of them is NULL."""
    name = sql_server_identifier(column.name)
    staged, held = _exact(_as_written(f"s.{name}", column), column), _exact(f"t.{name}", column)
    equal = " AND ".join(f"{one} = {other}" for one, other in zip(staged, held, strict=True))
    return f"((s.{name} IS NULL AND t.{name} IS NULL) OR ({equal}))"


def _by_key(plan: ApplyPlan, rows: Sequence[Row], isolation: str) -> Comparison:
    columns = [column.name for column in _written(plan)]
    counts = dict.fromkeys(range(4), 0)
    examples: dict[int, list[Example]] = {kind: [] for kind in counts}
    for row in rows:
        kind = int(row["kind"])
        counts[kind] = int(row["found"])
        values = tuple((key.name, _text(row[f"k{number}"])) for number, key in enumerate(plan.keys))
        differing = tuple(name for number, name in enumerate(columns) if kind == _DIFFERING and row[f"d{number}"])
        examples[kind].append(Example(values, differing))
    return Comparison(
        plan.staging.rows if plan.staging else None,
        equal=counts[_EQUAL],
        differing=counts[_DIFFERING],
        missing=counts[_MISSING],
        remaining=counts[_REMAINING],
        compared=tuple(columns),
        differing_examples=tuple(examples[_DIFFERING]),
        missing_examples=tuple(examples[_MISSING]),
        remaining_examples=tuple(examples[_REMAINING]),
        isolation=isolation,
    )


# Without keys ------------------------------------------------------------------------------------------------------


def _unkeyed(plan: ApplyPlan) -> Statement:
    """A row for each example: e0, ... (see `_shown`), `absent` copies of it; `missing` and `equal` rows of all.

    The target is read whole: there is no key to look its rows up by.
    """
    columns = plan.inserts
    sides = [
        f"SELECT {_grouped(columns, 's')}, 1 AS side FROM {staged_rows(plan)} AS s",
        f"SELECT {_grouped(columns, 't')}, 0 AS side FROM {target_table(plan)} AS t",
    ]
    names = ", ".join(f"u.{name}" for name in _group_names(columns))
    shown = [f"g.{name}" for _, name in _shown(columns)]
    return Statement(f"""
SELECT TOP ({EXAMPLES}) {", ".join([*shown, ""])}g.absent,
       SUM(g.absent) OVER () AS missing, SUM(g.staged - g.absent) OVER () AS equal
  FROM (SELECT h.*, CASE WHEN h.staged > h.held THEN h.staged - h.held ELSE 0 END AS absent
          FROM (SELECT {names}, COUNT_BIG(CASE WHEN u.side = 1 THEN 1 END) AS staged,
                       COUNT_BIG(CASE WHEN u.side = 0 THEN 1 END) AS held
                  FROM ({" UNION ALL ".join(sides)}) AS u GROUP BY {names}) AS h
         WHERE h.staged > 0) AS g
 ORDER BY {", ".join(["CASE WHEN g.absent > 0 THEN 0 ELSE 1 END", *shown])}""")


def _grouped(columns: Sequence[TargetColumn], alias: str) -> str:
    """What makes rows the same, named as in `_group_names`."""
    listed = []
    for number, column in enumerate(columns):
        value = f"{alias}.{sql_server_identifier(column.name)}"
        value = _as_written(value, column) if alias == "s" else value
        first, *rest = _exact(value, column)
        first = first if _is_short(column) else f"HASHBYTES('SHA2_256', {first})"
        listed += [f"{part} AS e{number}_{place}" for place, part in enumerate([first, *rest])]
    return ", ".join(listed)


def _group_names(columns: Sequence[TargetColumn]) -> list[str]:
    return [
        f"e{number}_{place}" for number, column in enumerate(columns) for place, _ in enumerate(_exact("x", column))
    ]


def _shown(columns: Sequence[TargetColumn]) -> list[tuple[str, str]]:
    """The columns, and the names of their values, that tell people which row is meant."""
    found = [
        (column.name, f"e{number}_0")
        for number, column in enumerate(columns)
        if _is_short(column) and _kind(column).name not in CLR_TYPES
    ]
    return found[:_SHOWN_COLUMNS]


def _by_row(plan: ApplyPlan, rows: Sequence[Row], isolation: str) -> Comparison:
    columns = _shown(plan.inserts)
    examples = [
        Example(tuple((name, _text(row[value])) for name, value in columns), copies=int(row["absent"]))
        for row in rows
        if row["absent"]
    ]
    return Comparison(
        plan.staging.rows if plan.staging else None,
        equal=int(rows[0]["equal"]) if rows else 0,
        missing=int(rows[0]["missing"]) if rows else 0,
        compared=tuple(column.name for column in plan.inserts),
        missing_examples=tuple(examples),
        isolation=isolation,
    )


# Values ------------------------------------------------------------------------------------------------------------


def _exact(value: str, column: TargetColumn) -> tuple[str, ...]:
    """Expressions of which all are equal exactly where two values of the column are, byte by byte; NULL for NULL.

    The first is the value as it is shown, or its bytes.
    """
    kind = _kind(column)
    if kind.name in _UNICODE | _CODED | _LONG_TEXTS:
        if kind.name not in _UNICODE:  # in Unicode, since a binary collation of another code page would change it
            value = f"CONVERT(nvarchar({_unicode_length(kind)}), {value})"
        return f"{value} {_BYTES}", f"DATALENGTH({value})"
    if kind.name in _BINARIES:
        return value, f"DATALENGTH({value})"
    if kind.name in CLR_TYPES or kind.name == "image":
        value = f"CONVERT(varbinary(max), {value})"
        return value, f"DATALENGTH({value})"
    if kind.name == "datetimeoffset":  # equal instants may be written with different offsets
        return value, f"DATEPART(tzoffset, {value})"
    if kind.name in ("float", "real"):  # 0.0 equals -0.0
        return value, f"CONVERT(binary({8 if kind.name == 'float' else 4}), {value})"
    if kind.name == "sql_variant":
        parts = [f"SQL_VARIANT_PROPERTY({value}, '{part}')" for part in ("Precision", "Scale")]
        return (
            f"CONVERT(varbinary(8000), {value})",
            f"DATALENGTH({value})",
            f"CONVERT(nvarchar(128), SQL_VARIANT_PROPERTY({value}, 'BaseType'))",
            *(f"ISNULL(CONVERT(int, {part}), 0)" for part in parts),  # only numbers and times have them
        )
    return (value,)


def _as_written(value: str, column: TargetColumn) -> str:
    """A staged value as SQL Server keeps it: padded to a char's length, with xml's and json's own spelling."""
    return f"CONVERT({column.sql_type}, {value})" if _kind(column).name in _REWRITTEN else value


def _unicode_length(kind: SqlServerType) -> str:
    """No code page makes more UTF-16 units of a value than it has bytes."""
    fits = kind.name in _CODED and kind.length != MAX and (kind.length or 1) <= _LONGEST_UNICODE
    return str(kind.length or 1) if fits else "max"


def _is_short(column: TargetColumn) -> bool:
    kind = _kind(column)
    if kind.name in _LONG_TEXTS or kind.name in CLR_TYPES or kind.name in ("image", "sql_variant"):
        return False
    if kind.name in _UNICODE | _CODED | _BINARIES:
        longest = _SHORT_BINARY if kind.name in _BINARIES else _SHORT_TEXT
        return kind.length != MAX and (kind.length or 1) <= longest
    return True


def _kind(column: TargetColumn) -> SqlServerType:
    return SqlServerType.parse(column.sql_type)


def _text(value: Any) -> str | None:
    """A value for people, cut where it is long."""
    if value is None:
        return None
    text = f"0x{value.hex().upper()}" if isinstance(value, bytes) else str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."
