"""Schema drift: how a landed result's columns differ from the Delta table that it goes into, and what may be done.

Names are compared without case, as Spark does. Types are text in lower case as DESCRIBE TABLE has them. Sources: Delta
docs, "Delta type widening" and its protocol RFC; Databricks docs, "Type widening".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from sql_databricks_bridge.models.publishing import DeltaColumn

_DECIMAL = re.compile(r"decimal\((\d+),\s*(-?\d+)\)")

_WIDER: Mapping[str, frozenset[str]] = {
    "tinyint": frozenset({"smallint", "int", "bigint", "double"}),
    "smallint": frozenset({"int", "bigint", "double"}),
    "int": frozenset({"bigint", "double"}),
    "float": frozenset({"double"}),
    "date": frozenset({"timestamp_ntz"}),
}
"""Type widening without the decimals; bigint has none here. VOID, which no published column has, is left out."""

_WHOLE_DIGITS_ASKED: Mapping[str, int] = {"tinyint": 10, "smallint": 10, "int": 10, "bigint": 20}
"""Digits before the point that a decimal needs for an integer type to be widened to it: more than the values do."""

_WHOLE_DIGITS: Mapping[str, int] = {"tinyint": 3, "smallint": 5, "int": 10, "bigint": 19}
"""Digits before the point that the values do need."""

_EXACT_FLOATS: Mapping[str, frozenset[str]] = {"tinyint": frozenset({"float"}), "smallint": frozenset({"float"})}
"""Types that float holds exactly, though no table can be widened so; double is among the widenings."""

_PLAIN: Mapping[pa.DataType, str] = {
    pa.bool_(): "boolean",
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp_ntz",
    pa.string(): "string",
    pa.large_string(): "string",
    pa.binary(): "binary",
    pa.large_binary(): "binary",
}


@dataclass(frozen=True, slots=True)
class TypeChange:
    """A column whose type differs: `before` in the table, under the table's spelling of the name; `after` as landed."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Drift:
    """What differs between a table and a landed result; control columns are left out.

    `added` are landed only, `dropped` the table's only: they stay, as NULL in new rows. `widened` the table can follow
    without being rewritten. `kept_wider` came narrower than the table, which holds every value exactly and stays as it
    is. `changed` is everything else, narrower or of another kind: no increment may go on top of it.
    """

    added: tuple[DeltaColumn, ...] = ()
    dropped: tuple[DeltaColumn, ...] = ()
    widened: tuple[TypeChange, ...] = ()
    kept_wider: tuple[TypeChange, ...] = ()
    changed: tuple[TypeChange, ...] = ()


def delta_type(arrow: pa.DataType) -> str:
    """The Delta type of a landed column, as DESCRIBE TABLE shows it; `ValueError` for a type that never lands."""
    if pa.types.is_decimal128(arrow):
        return f"decimal({arrow.precision},{arrow.scale})"
    if pa.types.is_timestamp(arrow) and arrow.unit == "us" and arrow.tz is not None:
        return "timestamp"
    if arrow not in _PLAIN:
        raise ValueError(f"{arrow} is no type of a landed column")
    return _PLAIN[arrow]


def compare(
    table: Sequence[DeltaColumn], landed: Sequence[DeltaColumn], *, control: frozenset[str] = frozenset()
) -> Drift:
    """Tell how the landed columns differ from the table's; names in `control` are the bridge's own, in either."""
    left_out = {name.lower() for name in control}
    there = {each.name.lower(): each for each in table if each.name.lower() not in left_out}
    came = {each.name.lower(): each for each in landed if each.name.lower() not in left_out}
    differing = [
        TypeChange(old.name, old.type, came[name].type)
        for name, old in there.items()
        if name in came and not _same(old.type, came[name].type)
    ]
    widened = tuple(each for each in differing if widens(each.before, each.after))
    kept_wider = tuple(each for each in differing if holds(each.before, each.after))
    return Drift(
        added=tuple(each for name, each in came.items() if name not in there),
        dropped=tuple(each for name, each in there.items() if name not in came),
        widened=widened,
        kept_wider=kept_wider,
        changed=tuple(each for each in differing if each not in widened and each not in kept_wider),
    )


def settled_columns(table: Sequence[DeltaColumn], drift: Drift) -> tuple[DeltaColumn, ...]:
    """The table's columns once it has followed the drift: its own in their order and spelling, then the new ones.

    A changed column has its new type: a full load may write it so, an increment must not go on top of it.
    """
    types = {each.name: each.after for each in (*drift.widened, *drift.changed)}
    return (*(DeltaColumn(each.name, types.get(each.name, each.type)) for each in table), *drift.added)


def widens(old: str, new: str) -> bool:
    """Whether Delta's type widening takes a column of type `old` to `new`; False where they are the same."""
    wider = _decimal(new)
    if wider is None:
        return new in _WIDER.get(old, ())
    precision, scale = wider
    if old in _WHOLE_DIGITS_ASKED:
        return precision - scale >= _WHOLE_DIGITS_ASKED[old] and scale >= 0
    narrow = _decimal(old)
    if narrow is None or narrow == wider:
        return False
    return scale >= narrow[1] and precision - scale >= narrow[0] - narrow[1]


def holds(outer: str, inner: str) -> bool:
    """Whether a column of type `outer` keeps every value of type `inner` exactly, without being of that type."""
    wide = _decimal(outer)
    if wide is not None and inner in _WHOLE_DIGITS:
        return wide[0] - wide[1] >= _WHOLE_DIGITS[inner]
    return widens(inner, outer) or outer in _EXACT_FLOATS.get(inner, ())


def _same(first: str, second: str) -> bool:
    return first == second or (_decimal(first) is not None and _decimal(first) == _decimal(second))


def _decimal(text: str) -> tuple[int, int] | None:
    """Precision and scale of a decimal type, None for another."""
    match = _DECIMAL.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None
