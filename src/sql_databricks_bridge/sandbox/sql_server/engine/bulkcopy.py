"""Bulk columns from contract.py's Arrow to what COPY BINARY wants, a whole column at a time.

ADBC writes numbers, text and bytes itself. The offset pair, a composite type, is made here as the bytes that COPY wants
(record_send in PostgreSQL's sources), so that nothing has to be converted by SQL once it is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..contract import MAX_LENGTH, SqlType
from .errors import unsupported
from .types import DECIMALS, MONEYS, STRINGS
from .values import arrow_type
from .xmltext import check_document

Numbers = npt.NDArray[Any]
_ANSI, _UNICODE = frozenset({"char", "varchar", "text"}), frozenset({"nchar", "nvarchar", "ntext"})
_OFFSET = np.dtype(
    [("count", ">i4"), ("oid1", ">i4"), ("size1", ">i4"), ("utc", ">i8"), ("oid2", ">i4"), ("size2", ">i4"),
     ("offset", ">i2")]
)  # fmt: skip
_INT8_OID, _INT2_OID = 20, 21


def keeps_form(source: SqlType, target: SqlType) -> bool:
    """Whether every value of `source` goes into a column of type `target` as it is (padding aside)."""
    name = target.name
    for family in (_ANSI, _UNICODE):
        if name in family:
            return source.name in family and _fits(source, target) and (family is _UNICODE or _one_page(source, target))
    if name in ("binary", "varbinary", "image"):
        return source.name in ("binary", "varbinary", "image") and _fits(source, target)
    if name in DECIMALS:
        narrow = (source.precision or 18) <= (target.precision or 18)
        return source.name in DECIMALS and source.scale == target.scale and narrow
    if name in ("time", "datetime2", "datetimeoffset"):
        return source.name == name and (source.scale or 0) <= (target.scale or 0)
    if name == "xml":
        return source.name in ("nvarchar", "xml")
    return source.name == name and name not in ("json", "timestamp")


def _fits(source: SqlType, target: SqlType) -> bool:
    if target.length in (None, MAX_LENGTH):
        return True
    return source.length not in (None, MAX_LENGTH) and (source.length or 0) <= (target.length or 0)


def _one_page(source: SqlType, target: SqlType) -> bool:
    return _page(source) == _page(target)


def _page(t: SqlType) -> str:
    return t.collation.codepage if t.collation else "cp1252"


def padded_width(target: SqlType) -> int:
    """Bytes that a short value may grow by."""
    return (target.length or 0) if target.name in ("char", "nchar", "binary") else 0


def copy_type(t: SqlType) -> pa.DataType:
    """The Arrow type of `encode`'s columns."""
    if t.name in DECIMALS or t.name in MONEYS:
        return arrow_type(t)
    if t.name in STRINGS or t.name in ("xml", "json"):
        return pa.large_string()
    plain: dict[str, pa.DataType] = {
        "bit": pa.bool_(),
        "tinyint": pa.int16(),
        "smallint": pa.int16(),
        "int": pa.int32(),
        "real": pa.float32(),
        "float": pa.float64(),
        "date": pa.date32(),
        "uniqueidentifier": pa.binary(16),
        "datetimeoffset": pa.binary(_OFFSET.itemsize),
        "binary": pa.large_binary(),
        "varbinary": pa.large_binary(),
        "image": pa.large_binary(),
    }
    if t.name in ("sql_variant", "hierarchyid", "geometry", "geography"):
        raise unsupported(f"bulk copy of {t.name}")
    return plain.get(t.name, pa.int64())


def encode(array: pa.Array, source: SqlType, target: SqlType, column: str) -> pa.Array:
    """The column as COPY takes it. `SqlError` for values that the stand-in can't hold; `column` names theirs."""
    name = source.name
    if name == "datetimeoffset":
        return _offsets(array)
    if name in STRINGS or name in ("xml", "json"):
        return _text(array, target, column)
    if target.name == "binary":
        return _zero_padded(array, target.length or 1)
    wanted = copy_type(source)
    return array if array.type == wanted else array.cast(wanted)


def _offsets(array: pa.Array) -> pa.Array:
    out = np.zeros(len(array), _OFFSET)
    out["count"], out["oid1"], out["size1"], out["oid2"], out["size2"] = 2, _INT8_OID, 8, _INT2_OID, 2
    out["utc"] = array.field(0).fill_null(0).to_numpy(zero_copy_only=False)
    out["offset"] = array.field(1).fill_null(0).to_numpy(zero_copy_only=False)
    return _fixed(out, array)


def _fixed(lines: Numbers, array: pa.Array) -> pa.Array:
    """Lines of one width as fixed-size binary, NULL where `array` is."""
    width = lines.nbytes // len(array) if len(array) else 1
    validity = None
    if array.null_count:
        present = array.is_valid().to_numpy(zero_copy_only=False)
        validity = pa.py_buffer(np.packbits(present, bitorder="little"))
    return pa.Array.from_buffers(pa.binary(width), len(array), [validity, pa.py_buffer(lines)])


# -- text and bytes --------------------------------------------------------------------------------------------------


def _used(array: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Offsets and bytes of a large_string or large_binary array."""
    _, offsets, data = array.buffers()
    if offsets is None or data is None or not len(array):
        return np.zeros(len(array) + 1, np.int64), np.zeros(0, np.uint8)
    at = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return at, np.frombuffer(data, np.uint8)[at[0] : at[-1]]


def _text(array: pa.Array, target: SqlType, column: str) -> pa.Array:
    _, used = _used(array)
    if used.size and not used.all():
        raise unsupported(f"the character U+0000 in text (column '{column}'): PostgreSQL, under it, can't hold one")
    if target.name == "xml":
        return _each(array, lambda text: check_document(text, column))
    if target.name not in ("char", "nchar"):
        return array
    wide = target.length or 1
    if not (used >= 0x80).any() or (target.name == "char" and _page(target).startswith("cp125")):
        return pc.utf8_rpad(array, wide)
    # The length counts UTF-16 units, or the bytes of the code page.
    codec, unit = ("utf-16-le", 2) if target.name == "nchar" else (_page(target), 1)
    return _each(array, lambda text: text + " " * (wide - len(text.encode(codec, "replace")) // unit))


def _each(array: pa.Array, make: Callable[[str], str]) -> pa.Array:
    return pa.array([None if text is None else make(text) for text in array.to_pylist()], pa.large_string())


def _zero_padded(array: pa.Array, width: int) -> pa.Array:
    offsets, used = _used(array)
    lengths = np.diff(offsets)
    present = array.is_valid().to_numpy(zero_copy_only=False)
    if (lengths[present] == width).all():
        return array
    lines = np.zeros((len(array), width), np.uint8)
    lines[np.arange(width) < lengths[:, None]] = used
    return _fixed(lines, array).cast(pa.large_binary())
