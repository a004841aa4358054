"""The way back of the type contract: rows of a Databricks table into SQL Server's columns, exactly or not at all.

Types are judged once, before the first row (`EventInvalid` tells every column that can't go where it should); values
batch by batch, a column at a time (`ValueRefused` names the first row that does not fit). docs/values.md is the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from sql_databricks_bridge.core.types import SqlServerType, staged_type
from sql_databricks_bridge.errors import EventInvalid, ValueRefused
from sql_databricks_bridge.models.applying import Assembly
from sql_databricks_bridge.models.tables import TargetColumn
from sql_databricks_bridge.models.type_policies import Companion, Form
from sql_databricks_bridge.sync.value_checks import Conversion, Into, Misfit, Unfit, refuse
from sql_databricks_bridge.sync.value_numbers import NUMBERS, number_conversion
from sql_databricks_bridge.sync.value_parts import ASSEMBLED, STAGED_COMPANIONS, Parts, parts
from sql_databricks_bridge.sync.value_shown import shown_type, shown_value
from sql_databricks_bridge.sync.value_texts import (
    ASSUMED_CODE_PAGE,
    BINARIES,
    CODED,
    TEXTS,
    as_bytes,
    as_strings,
    bytes_conversion,
    text_conversion,
)
from sql_databricks_bridge.sync.value_times import MOMENTS, clock_conversion, moment_conversion
from sql_databricks_bridge.sync.value_zones import Zone

_DECLARED = b"Spark:DataType:SqlName"  # Databricks' own name of a column's type, where it sends one
_NESTED = ("ARRAY", "MAP", "STRUCT", "INTERVAL")


@dataclass(frozen=True, slots=True)
class _Column:
    """A column's way: `reads[0]` makes a plain array of what the source sent for it, the rest of what stands beside it;
    `parts` tells what is staged. `ordinals` say where in a batch these are.
    """

    target: TargetColumn
    ordinals: tuple[int, ...]
    reads: tuple[Conversion, ...]
    parts: Parts
    is_key: bool

    def of(self, batch: pa.RecordBatch) -> list[pa.Array]:
        """Its arrays in a batch of the source, its own first."""
        return [batch.column(ordinal) for ordinal in self.ordinals]

    def converted(self, arrays: Sequence[pa.Array]) -> list[pa.Array]:
        """Convert a part of the column; `Misfit` where a value does not fit."""
        plain = [read(array) for read, array in zip(self.reads, arrays, strict=True)]
        if plain[0].null_count:
            self._refuse_nulls(plain[0])
        return self.parts.convert(plain)

    def misfit(self, arrays: Sequence[pa.Array]) -> Misfit | None:
        """Tell what refuses a part of the column; None where it fits, or where an array of it is broken."""
        try:
            self.converted(arrays)
        except Misfit as exc:
            return exc
        except pa.ArrowException:
            return None
        return None

    def _refuse_nulls(self, array: pa.Array) -> None:
        if self.is_key:
            refuse(pc.is_null(array), "a key can't be NULL", "Leave such rows out of the source.")
        if not self.target.nullable:
            refuse(pc.is_null(array), "the column is NOT NULL", "Give it a value in the source, e.g. by coalesce(...).")


@dataclass(frozen=True, slots=True)
class Inbound:
    """How a source's rows become what is staged for a target.

    `schema` is that of what `convert` returns: the target's names, the types of `staged_type`, all nullable; behind
    them the companions of `assemblies`, which are the columns that are staged in another form or in parts.
    `warnings` are known before the first row.
    """

    schema: pa.Schema
    assemblies: tuple[Assembly, ...]
    warnings: tuple[str, ...]
    _source: tuple[pa.DataType, ...]
    _columns: tuple[_Column, ...]
    _keys: tuple[int, ...]

    @classmethod
    def of(
        cls,
        fields: Sequence[pa.Field],
        columns: Sequence[TargetColumn],
        *,
        keys: Sequence[TargetColumn] = (),
        timezone: str | None = None,
        beside: Sequence[Sequence[tuple[Companion, pa.Field]]] | None = None,
    ) -> Inbound:
        """Judge types: `fields[i]` of the source, with `beside[i]`, goes into `columns[i]`; `keys` are some of these.

        `timezone` is an IANA name: of the local time that zoneless types of the target hold, or of the source's.
        `EventInvalid` names every column whose type can never go into its target's, or an unknown time zone.
        """
        zone = None if timezone is None else Zone.named(timezone)
        companions = [()] * len(fields) if beside is None else beside
        source = [*fields, *(field for found in companions for _, field in found)]
        found, problems, behind = [], [], len(fields)
        for ordinal, (field, column, stands) in enumerate(zip(fields, columns, companions, strict=True)):
            ordinals = (ordinal, *range(behind, behind + len(stands)))
            behind += len(stands)
            try:
                found.append(_column(field, stands, _into(column, zone), ordinals, is_key=column in keys))
            except Unfit as exc:
                problems.append(
                    f"column {column.name!r}: {_declared(field)} can't go into {column.sql_type}, since {exc}"
                )
        if problems:
            raise EventInvalid(
                f"The source's types don't fit the target: {'; '.join(problems)}.",
                hint="CAST such a column in the source table, or leave it out.",
            )
        assemblies = tuple(
            Assembly(column.target, column.parts.form, column.parts.companions)
            for column in found
            if column.parts.form is not Form.PLAIN or column.parts.companions
        )
        staged = [(column.target.name, column.parts.staged) for column in found]
        staged += [
            (companion.beside(assembly.column.name), STAGED_COMPANIONS[companion])
            for assembly in assemblies
            for companion in assembly.companions
        ]
        return cls(
            pa.schema(staged),
            assemblies,
            _warnings(fields, columns, zone),
            tuple(field.type for field in source),
            tuple(found),
            tuple(index for index, column in enumerate(found) if column.is_key),
        )

    def convert(self, batch: pa.RecordBatch, first_row: int = 0) -> pa.RecordBatch:
        """Check and convert a batch whose columns are `fields`, in that order, and behind them what is `beside`.

        `first_row` is the number of rows before this batch. `ValueRefused` names the first row, counted from 1, that
        has a value which does not fit, its key and the first such column.
        """
        types = tuple(array.type for array in batch.columns)
        if types != self._source:
            raise EventInvalid(f"The source changed its types on the way: it now sends {', '.join(map(str, types))}.")
        arrays, behind = [], []
        for column in self._columns:
            try:
                value, *companions = column.converted(column.of(batch))
                arrays.append(value)
                behind += companions
            except Misfit:
                raise self._refusal(batch, first_row) from None
            except pa.ArrowException as exc:  # more than 2 GiB in one column, or an array that is broken
                raise ValueRefused(
                    f"Rows {first_row + 1} to {first_row + batch.num_rows}, column {column.target.name!r}: "
                    f"{shown_type(types[column.ordinals[0]])} can't be converted: {exc}."
                ) from exc
        return pa.RecordBatch.from_arrays([*arrays, *behind], schema=self.schema)

    def _refusal(self, batch: pa.RecordBatch, first_row: int) -> ValueRefused:
        """Find the first row that is refused: a check may have passed over one that the next check refuses."""
        row, refusing = batch.num_rows, self._columns[0]
        for column in self._columns:
            while (misfit := column.misfit(column.of(batch.slice(0, row)))) is not None:
                row, refusing = pc.index(misfit.mask, True).as_py(), column
        misfit, others = refusing.misfit(refusing.of(batch.slice(row))), 0
        if misfit is not None and misfit.mask[0].as_py():
            others = pc.sum(misfit.mask).as_py() - 1
        else:  # what refuses this row comes after a check that refuses a later one
            misfit = refusing.misfit(refusing.of(batch.slice(row, 1)))
        assert misfit is not None  # no check depends on other rows
        value = refusing.of(batch.slice(row, 1))[0]
        return _refused(self._row_text(batch, row, first_row), refusing, value, misfit, others)

    def _row_text(self, batch: pa.RecordBatch, row: int, first_row: int) -> str:
        keys = ", ".join(
            f"{self._columns[index].target.name}={shown_value(_plain(batch.column(index).slice(row, 1))[0])}"
            for index in self._keys
        )
        return f"Row {first_row + row + 1}" + (f" (key {keys})" if keys else "")


def _refused(where: str, column: _Column, array: pa.Array, misfit: Misfit, others: int) -> ValueRefused:
    """Write the message for the one value of `array`."""
    value = _plain(array)[0]
    reason = misfit.reason if isinstance(misfit.reason, str) else misfit.reason(value.as_py())
    target = column.target
    more = f" {others:,} more {'row' if others == 1 else 'rows'} of this batch likewise." if others else ""
    return ValueRefused(
        f"{where}, column {target.name!r}: {shown_value(value)} can't go into {target.sql_type}: {reason}.{more}",
        hint=misfit.hint,
    )


# -- types -------------------------------------------------------------------------------------------------------------


def _into(column: TargetColumn, zone: Zone | None) -> Into:
    if column.written_by_server:
        raise Unfit(f"the server writes it ({column.written_by_server})")
    try:
        kind = SqlServerType.parse(column.sql_type)
        return Into(column, kind, pa.null() if kind.name in ASSEMBLED else staged_type(column.sql_type), zone)
    except (EventInvalid, ValueError):
        raise Unfit("the driver can't load that type") from None


def _column(
    field: pa.Field,
    beside: Sequence[tuple[Companion, pa.Field]],
    into: Into,
    ordinals: tuple[int, ...],
    *,
    is_key: bool,
) -> _Column:
    if _declared(field).startswith(_NESTED):
        raise Unfit("only single values can")
    kinds, reads = zip(*(_reading(part.type) for part in (field, *(part for _, part in beside))), strict=True)
    if pa.types.is_null(kinds[0]):
        return _Column(into.column, ordinals, reads, _nulls(into, len(beside)), is_key)
    companions = [(companion, kind) for (companion, _), kind in zip(beside, kinds[1:], strict=True)]
    found = parts(kinds[0], into, companions)
    if found is None:
        convert = _conversion(kinds[0], into)
        found = Parts(Form.PLAIN, into.staged, (), lambda arrays: [convert(arrays[0])])
    return _Column(into.column, ordinals, reads, found, is_key)


def _nulls(into: Into, companions: int) -> Parts:
    """What a column of VOID is staged as; a type that is made of text or bytes is made of no text."""
    made = into.type.name in ASSEMBLED
    staged = pa.string() if made else into.staged

    def convert(arrays: Sequence[pa.Array]) -> list[pa.Array]:
        for array in arrays[1 : companions + 1]:
            refuse(pc.is_valid(array), "what stands beside it is not NULL")
        return [pa.nulls(len(arrays[0]), staged)]

    return Parts(Form.TEXT if made else Form.PLAIN, staged, (), convert)


def _conversion(source: pa.DataType, into: Into) -> Conversion:
    families: tuple[tuple[frozenset[str], Callable[[pa.DataType, Into], Conversion]], ...] = (
        (NUMBERS, number_conversion),
        (MOMENTS, moment_conversion),
        (frozenset({"time"}), clock_conversion),
        (TEXTS, text_conversion),
        (BINARIES, bytes_conversion),
    )
    for names, conversion in families:
        if into.type.name in names:
            return conversion(source, into)
    raise Unfit("the bridge does not load that type")


def _reading(sent: pa.DataType) -> tuple[pa.DataType, Conversion]:
    """The one type of its kind that the conversions know, and the way to it."""
    types = pa.types
    kind = sent.value_type if types.is_dictionary(sent) else sent
    if any(is_one(kind) for is_one in (types.is_string, types.is_large_string, types.is_string_view)):
        return pa.string(), lambda array: as_strings(_plain(array))
    bytes_types = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    if any(is_one(kind) for is_one in bytes_types):
        return pa.binary(), lambda array: as_bytes(_plain(array))
    return kind, _plain


def _plain(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _declared(field: pa.Field) -> str:
    """The field's type for messages, Databricks' own name first."""
    name = (field.metadata or {}).get(_DECLARED, b"").decode("utf-8", "replace")
    return name if name.startswith(_NESTED) else shown_type(field.type)


def _warnings(fields: Sequence[pa.Field], columns: Sequence[TargetColumn], zone: Zone | None) -> tuple[str, ...]:
    pairs = [
        (field.type, column, column.sql_type.split("(")[0].lower())
        for field, column in zip(fields, columns, strict=True)
    ]
    shifted = [
        column.name
        for kind, column, name in pairs
        if zone is None and pa.types.is_timestamp(kind) and kind.tz is not None and name != "datetimeoffset"
    ]
    assumed = [column.name for _, column, name in pairs if name in CODED and column.code_page is None]
    return (
        *([f"no metadata timezone: {', '.join(shifted)} got UTC"] if shifted else ()),
        *([f"the code page of {', '.join(assumed)} is not known: {ASSUMED_CODE_PAGE} was taken"] if assumed else ()),
    )
