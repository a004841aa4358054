"""A query rewritten so that SQL Server itself keeps what the driver would lose; rows, their order and lines stay.

`WITH a AS (...) SELECT ... ORDER BY x OPTION (RECOMPILE)` becomes
`WITH a AS (...) SELECT q.[x], CONVERT(...) AS [v] FROM (SELECT ...) AS q ORDER BY q.[x] OPTION (RECOMPILE)`: a derived
table changes neither what DISTINCT, UNION, GROUP BY or TOP mean, nor on which line of the file an error is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from sql_databricks_bridge.core.forms import Output, outputs
from sql_databricks_bridge.core.outermost import CantRewrite, OrderItem, Outermost, outermost
from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.core.types import Origin
from sql_databricks_bridge.errors import ResultShapeError
from sql_databricks_bridge.models.jobs import ResolvedQuery
from sql_databricks_bridge.models.quoting import sql_server_identifier
from sql_databricks_bridge.models.tables import find_named

_ALIAS = "q"
_ORDER_NAME = "bridge_order_"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The query to be sent, and what each of its columns is of. `left_out` says why it is the user's own after all,
    though some columns (named in it) would have needed more; None where nothing is missing.
    """

    query: ResolvedQuery
    origins: tuple[Origin, ...]
    left_out: str | None = None


def rewritten(query: ResolvedQuery, columns: Sequence[ResultColumn]) -> Rewritten:
    """Rewrite a query by its `types`; `columns` are its result as described. What needs nothing stays as it is.

    `ResultShapeError` where a companion's name is taken by a column of the query.
    """
    wanted = [outputs(column, query.types) for column in columns]
    flat = [output for found in wanted for output in found]
    if len(flat) == len(columns) and all(output.expression is None for output in flat):
        return Rewritten(query, tuple(output.origin for output in flat))
    if _unusable(columns):  # it is refused for that elsewhere, by name
        return Rewritten(query, tuple(map(Origin.as_driven, columns)))
    _check_companions(query, columns, flat)
    try:
        sql = _around(outermost(query.sql), columns, flat)
    except CantRewrite as exc:
        names = ", ".join(column.name for column, found in zip(columns, wanted, strict=True) if _changes(found))
        reason = f"{query.file}: {exc}, so {names} can't be asked for in a form that keeps everything"
        return Rewritten(query, tuple(map(Origin.as_driven, columns)), reason)
    return Rewritten(dataclasses.replace(query, sql=sql), tuple(output.origin for output in flat))


def _changes(found: Sequence[Output]) -> bool:
    return len(found) > 1 or found[0].expression is not None


def _unusable(columns: Sequence[ResultColumn]) -> bool:
    """Names that no derived table could have."""
    names = [column.name.lower() for column in columns]
    return not all(names) or len(set(names)) < len(names)


def _check_companions(query: ResolvedQuery, columns: Sequence[ResultColumn], outputs_: Sequence[Output]) -> None:
    taken = {column.name.lower() for column in columns}
    for output in outputs_:
        if output.origin.companion is not None and output.name.lower() in taken:
            of = output.origin.column
            raise ResultShapeError(
                f"{query.file}: column {of.name!r} ({of.sql_type}) needs {output.name!r} beside it, "
                "and the query has a column of that name.",
                hint="Give that one another name, or choose another policy for the type under `types:` in the YAML.",
            )


def enclosed(sql: str, before: str, after: str) -> str:
    """Put a query's SELECT between two pieces of T-SQL as it stands, `before` on its first line; `after` has a line.

    Its rows are what they were; their order is not. `CantRewrite` where it can't be a derived table.
    """
    found = outermost(sql)
    return _within(found, _body(found, ()), before, after)


def _around(found: Outermost, columns: Sequence[ResultColumn], wanted: Sequence[Output]) -> str:
    order, added = _hoisted(found, [column.name for column in columns])
    selected = ", ".join(_selected(output) for output in wanted)
    ends = f" ORDER BY {', '.join(order)}" if order else ""
    return _within(found, _body(found, added), f"SELECT {selected} FROM (", f") AS {_ALIAS}{ends}")


def _body(found: Outermost, added: Sequence[str]) -> str:
    """The SELECT without OPTION, and without an ORDER BY that a derived table can't have; `added` end its list."""
    end = found.options[0] if found.options is not None else len(found.sql)
    body = found.sql[found.select : end]
    if found.order is not None and not found.keeps_order:
        start, stop = (offset - found.select for offset in found.order)
        body = body[:start] + _blank(body[start:stop]) + body[stop:]
    if added:
        assert found.list_end is not None, "items are added to a list only"
        at = found.list_end - found.select
        body = f"{body[:at]}, {', '.join(added)}{body[at:]}"
    return body


def _within(found: Outermost, body: str, before: str, after: str) -> str:
    options = "" if found.options is None else f"\n{found.sql[slice(*found.options)]}"
    return f"{found.head}{before}{body}\n{after}{options}"  # the line end closes a comment of the query's


def _selected(output: Output) -> str:
    column = f"{_ALIAS}.{sql_server_identifier(output.origin.column.name)}"
    if output.expression is None:
        return column
    return f"{output.expression.format(column)} AS {sql_server_identifier(output.name)}"


def _hoisted(found: Outermost, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The ORDER BY of the outer query, and what the inner one has to give it besides its own columns."""
    order: list[str] = []
    added: list[str] = []
    for item in found.items:
        name = _output_name(item, names)
        if name is None and found.list_end is not None and not found.is_distinct:
            name = f"{_ORDER_NAME}{len(added) + 1}"
            added.append(f"{item.text} AS {sql_server_identifier(name)}")
        elif name is None:
            name = find_named(item.text.rpartition(".")[2].strip('[]" '), names)
        if name is None:
            raise CantRewrite(f"it orders by {item.text!r}, which is no column of its result")
        order.append(f"{_ALIAS}.{sql_server_identifier(name)} {item.direction}".rstrip())
    return order, added


def _output_name(item: OrderItem, names: Sequence[str]) -> str | None:
    if item.ordinal is not None:
        if not 1 <= item.ordinal <= len(names):
            raise CantRewrite(f"it orders by position {item.ordinal}, which there is not")
        return names[item.ordinal - 1]
    return None if item.name is None else find_named(item.name, names)


def _blank(text: str) -> str:
    return "".join(character if character in "\r\n" else " " for character in text)
