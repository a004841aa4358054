"""Canonical text of rows as they landed: from Arrow batches, of Parquet or of a Delta table, a whole column at once.

A value that its SQL Server type can't have (three digits more, a companion that is missing) gets a text that no value
of the type has: it is found as a difference, and is no error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sql_databricks_bridge.core.canonical.arrays import (
    TEXT,
    decimals,
    hexadecimal,
    ieee,
    parts,
    utf16_bytes,
    utf16_offsets,
    written,
)
from sql_databricks_bridge.core.canonical.columns import STRINGS, CanonicalColumn, one_byte
from sql_databricks_bridge.core.canonical.moments import IMPOSSIBLE, moment
from sql_databricks_bridge.core.types import CLR_TYPES, SqlServerType
from sql_databricks_bridge.errors import ResultShapeError, UsageError
from sql_databricks_bridge.models.tables import find_named
from sql_databricks_bridge.models.type_policies import Form

DIGEST_BYTES = 32

_ROWS = 8192
"""So many rows' texts stay in the processor's cache while they become digests."""

_NULL, _END = pa.scalar(b"N", TEXT), pa.scalar(b";", TEXT)
_NOTHING = pa.scalar(b"", TEXT)
_GUID_LENGTH = 36


def row_texts(batch: pa.RecordBatch, columns: Sequence[CanonicalColumn]) -> pa.Array:
    """The text of each row, large_string; equal to what `server.row_text` gives for the same row.

    The batch may have more columns, in any order; names are found as Spark finds them, without case.
    `ResultShapeError` where one is missing or of a type that has nothing to do with the column's; `UsageError` where a
    type has no text.
    """
    return _texts(batch, columns).view(pa.large_string())


def row_digests(batch: pa.RecordBatch, columns: Sequence[CanonicalColumn]) -> np.ndarray:
    """The SHA-256 of each row's text, (rows, 32) uint8; equal to what `server.row_digest` gives. Errors as above."""
    narrow = one_byte(columns)
    slices = [batch.slice(start, _ROWS) for start in range(0, batch.num_rows, _ROWS)]
    digests = b"".join([digest for some in slices for digest in _digests(_texts(some, columns), narrow)])
    return np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES)


def _digests(texts: pa.Array, narrow: bool) -> list[bytes]:
    offsets, data = parts(texts)
    if narrow:
        raw = data.tobytes()
    else:
        raw, offsets = data.tobytes().decode().encode("utf-16-le"), utf16_offsets(offsets, data)
    sha256 = hashlib.sha256
    return [sha256(raw[start:end]).digest() for start, end in pairwise(offsets.tolist())]


def _texts(batch: pa.RecordBatch, columns: Sequence[CanonicalColumn]) -> pa.Array:
    pieces = [piece for column in columns for piece in _pieces(batch, column)]
    if not pieces:
        raise UsageError("A canonical text of no columns was asked for.", hint="Name at least one column.")
    return pc.binary_join_element_wise(*pieces, _NOTHING)


def _pieces(batch: pa.RecordBatch, column: CanonicalColumn) -> list[pa.Array | pa.Scalar]:
    """What is joined for a column; no NULLs."""
    array = _found(batch, column, column.name)
    try:
        found = _value(batch, column, array)
        if column.form in (Form.TEXT, Form.WKB):
            if column.base_type is not None:
                found += _string(written(_found(batch, column, column.base_type)))
            if column.srid is not None:
                found += _ended(written(_found(batch, column, column.srid)))
    except pa.ArrowException as exc:
        raise ResultShapeError(
            f"Column {column.name!r} was {column.sql_type} on SQL Server and is {array.type} here, which can't hold "
            f"its values: {exc}",
            hint="Was the table altered? Publish the query in full, then verify again.",
        ) from exc
    return found


def _value(batch: pa.RecordBatch, column: CanonicalColumn, array: pa.Array) -> list[pa.Array | pa.Scalar]:
    if column.is_string:
        return _string(written(array))
    if column.form in (Form.BYTES, Form.WKB):
        return _ended(hexadecimal(array.cast(TEXT)))
    name = column.type_name
    if name in _MOMENTS:
        digit, offset = (
            None if found is None else _found(batch, column, found) for found in (column.seventh_digit, column.offset)
        )
        return _ended(moment(column, array, digit, offset))
    if name in _PLAIN:
        return _ended(_PLAIN[name](column, array))
    if column.user_type is not None and name != "sql_variant":
        return _ended(hexadecimal(array.cast(TEXT)))
    raise UsageError(
        f"Column {column.name!r} is of type {column.sql_type}, which has no canonical text in form {column.form}.",
        hint="CAST it in the query.",
    )


def _found(batch: pa.RecordBatch, column: CanonicalColumn, name: str) -> pa.Array:
    spelled = find_named(name, batch.schema.names)
    if spelled is None:
        beside = "" if name == column.name else f", which stands beside {column.name!r}"
        raise ResultShapeError(
            f"There is no column {name!r}{beside} in what landed: it has {', '.join(batch.schema.names)}.",
            hint="Was the table altered? Publish the query in full, then verify again.",
        )
    array = batch.column(spelled)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _ended(text: pa.Array) -> list[pa.Array | pa.Scalar]:
    return [text.fill_null(_NULL) if text.null_count else text, _END]


def _string(text: pa.Array) -> list[pa.Array | pa.Scalar]:
    lengths = pa.array(utf16_bytes(text))
    before = pc.binary_join_element_wise(written(lengths), pa.scalar(b":", TEXT), _NOTHING)
    if text.null_count == 0:
        return [before, text]
    return [pc.if_else(text.is_valid(), before, _NULL), text.fill_null(_NOTHING)]


def _integer(_column: CanonicalColumn, array: pa.Array) -> pa.Array:
    return written(array.cast(pa.int8() if pa.types.is_boolean(array.type) else pa.int64()))


def _decimal(column: CanonicalColumn, array: pa.Array) -> pa.Array:
    declared = SqlServerType.parse(column.sql_type)
    precision, scale = _MONEY.get(declared.name, (declared.precision, declared.scale))
    target = pa.decimal128(precision or 38, scale or 0)
    try:
        return decimals(array.cast(target))
    except pa.ArrowInvalid:  # a digit too many, which a wider column of Delta's can hold
        cut = array.cast(target, safe=False)
        return pc.if_else(pc.equal(cut, array), decimals(cut), IMPOSSIBLE)


def _float(column: CanonicalColumn, array: pa.Array) -> pa.Array:
    if column.type_name == "float":
        return ieee(array.cast(pa.float64()))
    narrow = array.cast(pa.float32())
    fits = pc.fill_null(pc.equal(narrow.cast(array.type), array), fill_value=True)
    return pc.if_else(pc.or_(fits, pc.is_nan(narrow)), ieee(narrow), IMPOSSIBLE)


def _date(_column: CanonicalColumn, array: pa.Array) -> pa.Array:
    return written(array.cast(pa.date32()))


def _of_length(text: pa.Array, length: int) -> pa.Array:
    """Of a text with another length, or with a semicolon, nobody could tell where it ends."""
    fits = pc.and_(pc.equal(pc.binary_length(text), length), pc.invert(pc.match_substring(text, ";")))
    return text if pc.all(fits).as_py() is not False else pc.if_else(fits, text, IMPOSSIBLE)


def _time(column: CanonicalColumn, array: pa.Array) -> pa.Array:
    return _of_length(written(array), 9 + column.digits if column.digits else 8)


def _guid(_column: CanonicalColumn, array: pa.Array) -> pa.Array:
    return _of_length(written(array), _GUID_LENGTH)


def _bytes(_column: CanonicalColumn, array: pa.Array) -> pa.Array:
    return hexadecimal(array.cast(TEXT))


_MONEY = {"money": (19, 4), "smallmoney": (10, 4)}
_MOMENTS = frozenset({"datetime", "smalldatetime", "datetime2", "datetimeoffset"})
_PLAIN: Mapping[str, Callable[[CanonicalColumn, pa.Array], pa.Array]] = {
    **dict.fromkeys(("bit", "tinyint", "smallint", "int", "bigint"), _integer),
    **dict.fromkeys(("decimal", "numeric", "money", "smallmoney"), _decimal),
    "real": _float,
    "float": _float,
    "date": _date,
    "time": _time,
    "uniqueidentifier": _guid,
    **dict.fromkeys(("binary", "varbinary", "image", "timestamp", "rowversion", *sorted(CLR_TYPES)), _bytes),
}
assert not STRINGS & set(_PLAIN)
