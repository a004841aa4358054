"""Values that are staged in parts, which SQL Server puts together: a column, and its companions beside it.

A datetime2(7) is its microseconds and its seventh digit, a datetimeoffset its instant and its offset, a sql_variant its
text and its base type, a geometry its bytes and, unless these are SQL Server's own, its SRID.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from sql_databricks_bridge.core.types import MAX, SqlServerType
from sql_databricks_bridge.models.type_policies import Companion, Form
from sql_databricks_bridge.sync.value_checks import Conversion, Into, Unfit, refuse
from sql_databricks_bridge.sync.value_moments import local_within_calendar, read_moments
from sql_databricks_bridge.sync.value_times import DIGITS, MOMENTS, digits_text, moment_conversion

STAGED_COMPANIONS: Final[Mapping[Companion, pa.DataType]] = {
    Companion.SEVENTH_DIGIT: pa.int16(),
    Companion.OFFSET: pa.int16(),
    Companion.BASE_TYPE: pa.string(),
    Companion.SRID: pa.int32(),
}
ASSEMBLED: Final = frozenset({"hierarchyid", "geometry", "geography", "sql_variant"})
"""Types whose values can't be staged as they are; `staged_type` refuses them."""

_SPATIAL = ("geometry", "geography")
_BOUNDS = {Companion.SEVENTH_DIGIT: (0, 9), Companion.OFFSET: (-840, 840), Companion.SRID: (0, 999_999)}
_NODE = r"(0|-?[1-9][0-9]{0,14})"
_PATH = rf"^/({_NODE}(\.{_NODE})*/)*$"
_LONGEST_NODE_BYTES = 892
_NO_LENGTH = (
    *("bit", "tinyint", "smallint", "int", "bigint", "money", "smallmoney", "real", "float"),
    *("date", "datetime", "smalldatetime", "uniqueidentifier"),
)
_LENGTHS = {"char": 8_000, "varchar": 8_000, "nchar": 4_000, "nvarchar": 4_000, "binary": 8_000, "varbinary": 8_000}
_FRACTIONAL = ("time", "datetime2", "datetimeoffset")
_DECIMALS, _MOST_DIGITS = ("decimal", "numeric"), 38


@dataclass(frozen=True, slots=True)
class Parts:
    """How a column is staged. `convert` makes of the value and the source's companions, in its order, the value as
    `staged` and `companions`; it raises `Misfit`.
    """

    form: Form
    staged: pa.DataType
    companions: tuple[Companion, ...]
    convert: Callable[[Sequence[pa.Array]], list[pa.Array]]


def parts(source: pa.DataType, into: Into, beside: Sequence[tuple[Companion, pa.DataType]]) -> Parts | None:
    """Decide how it is staged; None for a value that goes as it is. `Unfit` where it can't go at all."""
    for companion, kind in beside:
        wanted = pa.types.is_string if companion is Companion.BASE_TYPE else pa.types.is_integer
        if not (wanted(kind) or pa.types.is_null(kind)):
            raise Unfit(f"{companion.beside(into.column.name)} beside it is no {_KINDS[companion]}")
    names = tuple(companion for companion, _ in beside)
    if into.type.name in MOMENTS:
        return _moment_parts(source, into, names)
    if into.type.name == "hierarchyid":
        return _hierarchy_parts(source)
    if into.type.name in _SPATIAL:
        return _spatial_parts(source, into, names)
    return _variant_parts(source, into, names) if into.type.name == "sql_variant" else None


_KINDS = {
    Companion.SEVENTH_DIGIT: "SMALLINT",
    Companion.OFFSET: "SMALLINT",
    Companion.BASE_TYPE: "STRING",
    Companion.SRID: "INT",
}

# -- moments -----------------------------------------------------------------------------------------------------------


def _moment_parts(source: pa.DataType, into: Into, names: tuple[Companion, ...]) -> Parts | None:
    kind = into.type.name
    if pa.types.is_string(source) and kind in DIGITS:
        if names:
            raise Unfit(f"beside text there is no place for {names[0].beside(into.column.name)}")
        return _moment_texts(into)
    if not names:
        return None
    if not pa.types.is_timestamp(source) or (source.tz is not None) != (kind == "datetimeoffset"):
        wanted = "TIMESTAMP" if kind == "datetimeoffset" else "TIMESTAMP_NTZ"
        raise Unfit(f"{names[0].beside(into.column.name)} belongs beside a {wanted}")
    store = moment_conversion(source, into)

    def convert(arrays: Sequence[pa.Array]) -> list[pa.Array]:
        value = store(arrays[0])
        found = dict(zip(names, _companions(arrays[0], names, arrays[1:], into), strict=True))
        return _stored(into, value, found.get(Companion.OFFSET), found.get(Companion.SEVENTH_DIGIT))

    return Parts(Form.PLAIN, into.staged, _moment_companions(into, names), convert)


def _moment_texts(into: Into) -> Parts:
    """SQL Server's own text of style 121; kept whole, so that it needs no other policy on the way back."""
    has_offset = into.type.name == "datetimeoffset"
    store = moment_conversion(pa.timestamp("us", tz="UTC" if has_offset else None), into)

    def convert(arrays: Sequence[pa.Array]) -> list[pa.Array]:
        moments = read_moments(arrays[0], with_offset=has_offset)
        return _stored(into, store(moments.microseconds), moments.offset_minutes, moments.seventh_digit)

    read = (Companion.OFFSET, Companion.SEVENTH_DIGIT) if has_offset else (Companion.SEVENTH_DIGIT,)
    return Parts(Form.PLAIN, into.staged, _moment_companions(into, read), convert)


def _moment_companions(into: Into, read: Sequence[Companion]) -> tuple[Companion, ...]:
    """What is staged besides: a seventh digit only where the column has one."""
    seventh = into.type.scale == DIGITS[into.type.name]
    known = (Companion.OFFSET, *((Companion.SEVENTH_DIGIT,) if seventh else ()))
    return tuple(companion for companion in known if companion in read)


def _stored(into: Into, value: pa.Array, offset: pa.Array | None, digit: pa.Array | None) -> list[pa.Array]:
    staged = [value]
    if offset is not None:
        local_within_calendar(value, offset)
        staged.append(offset)
    if digit is None:
        return staged
    if into.type.scale == DIGITS[into.type.name]:
        return [*staged, digit]
    refuse(pc.not_equal(digit, 0), digits_text(into, into.type.scale or 0))
    return staged


# -- types that SQL Server has to make ---------------------------------------------------------------------------------


def _hierarchy_parts(source: pa.DataType) -> Parts:
    if pa.types.is_string(source):
        hint = "Write it as hierarchyid's ToString() does: /1/2.5/, the root being /."
        return _alone(Form.TEXT, source, lambda array: _matching(array, _PATH, "it is no path of a hierarchy", hint))
    if not pa.types.is_binary(source):
        raise Unfit("it comes as a STRING like /1/2/ or as SQL Server's own bytes")

    def convert(array: pa.Array) -> pa.Array:
        refuse(
            pc.greater(pc.binary_length(array), _LONGEST_NODE_BYTES), f"hierarchyid ends at {_LONGEST_NODE_BYTES} bytes"
        )
        return array

    return _alone(Form.BYTES, source, convert)


def _spatial_parts(source: pa.DataType, into: Into, names: tuple[Companion, ...]) -> Parts:
    is_text = pa.types.is_string(source)
    if not (is_text or pa.types.is_binary(source)):
        raise Unfit("it comes as BINARY or, as well-known text, STRING")
    if not names:
        if is_text:
            raise Unfit(f"well-known text needs {Companion.SRID.beside(into.column.name)} (INT) beside it")
        return _alone(Form.BYTES, source, lambda array: array)
    return _beside(Form.TEXT if is_text else Form.WKB, source, names, into)


def _variant_parts(source: pa.DataType, into: Into, names: tuple[Companion, ...]) -> Parts:
    if not pa.types.is_string(source):
        raise Unfit("it comes as a STRING, with its type in a column beside it")
    if not names:
        raise Unfit(
            f"it needs {Companion.BASE_TYPE.beside(into.column.name)} (STRING) beside it, the type of each value"
        )
    return _beside(Form.TEXT, source, names, into)


def _alone(form: Form, staged: pa.DataType, convert: Conversion) -> Parts:
    return Parts(form, staged, (), lambda arrays: [convert(arrays[0])])


def _beside(form: Form, staged: pa.DataType, names: tuple[Companion, ...], into: Into) -> Parts:
    return Parts(form, staged, names, lambda arrays: [arrays[0], *_companions(arrays[0], names, arrays[1:], into)])


def _matching(array: pa.Array, pattern: str, reason: str, hint: str) -> pa.Array:
    refuse(pc.invert(pc.match_substring_regex(array, pattern)), reason, hint)
    return array


# -- companions --------------------------------------------------------------------------------------------------------


def _companions(value: pa.Array, names: Sequence[Companion], arrays: Sequence[pa.Array], into: Into) -> list[pa.Array]:
    """The companions as they are staged; `Misfit` where one has nothing to say of its value, or nothing that holds."""
    staged = []
    for companion, array in zip(names, arrays, strict=True):
        name = companion.beside(into.column.name)
        refuse(pc.and_(pc.is_valid(value), pc.is_null(array)), f"{name} beside it is NULL")
        _refuse_shown(pc.and_(pc.is_null(value), pc.is_valid(array)), array, f"{name} beside it is {{}}, not NULL")
        if companion is Companion.BASE_TYPE:
            array = array.cast(pa.string())
            _refuse_shown(_no_base_types(array), array, f"{name} beside it is {{!r}}, no type that a sql_variant holds")
        else:
            least, most = _BOUNDS[companion]
            outside = pc.or_(pc.less(array, least), pc.greater(array, most)) if not _is_void(array) else None
            _refuse_shown(outside, array, f"{name} beside it is {{}}, not {least} to {most}")
        staged.append(array.cast(STAGED_COMPANIONS[companion]))
    return staged


def _is_void(array: pa.Array) -> bool:
    return bool(pa.types.is_null(array.type))


def _refuse_shown(mask: pa.Array | None, array: pa.Array, reason: str) -> None:
    """Refuse with the first refused companion in the reason."""
    if mask is not None and pc.any(mask).as_py():
        refuse(mask, reason.format(array[pc.index(mask, True).as_py()].as_py()))


def _no_base_types(array: pa.Array) -> pa.Array:
    encoded = array.dictionary_encode()  # one look at each distinct type
    known = pa.array([is_base_type(text) for text in encoded.dictionary.to_pylist()], pa.bool_())
    return pc.invert(known.take(encoded.indices))


def is_base_type(text: str) -> bool:
    """Whether a sql_variant holds values of that type, spelled as a declaration."""
    try:
        kind = SqlServerType.parse(text)
    except ValueError:
        return False
    if kind.name in _NO_LENGTH:
        return kind.length is None
    if kind.name in _LENGTHS:
        return kind.length is not None and kind.length != MAX and kind.length <= _LENGTHS[kind.name]
    if kind.name in _DECIMALS:
        assert kind.precision is not None  # parse sets both for these types
        assert kind.scale is not None
        return kind.scale <= kind.precision and 1 <= kind.precision <= _MOST_DIGITS
    return kind.name in _FRACTIONAL and kind.scale is not None and kind.scale <= DIGITS[kind.name]
