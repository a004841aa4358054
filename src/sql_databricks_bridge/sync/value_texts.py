"""Strings, GUIDs and bytes on their way into SQL Server: whole, in characters that the column has, or refused.

Lengths: Microsoft, "char and varchar", "nchar and nvarchar", "binary and varbinary (Transact-SQL)": n counts bytes of
the column's code page, UTF-16 code units, or bytes.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from sql_databricks_bridge.core.types import MAX
from sql_databricks_bridge.sync.value_checks import Conversion, Into, Unfit, refuse, refuse_by, unchanged

NATIONAL: Final = frozenset({"nchar", "nvarchar", "ntext"})
CODED: Final = frozenset({"char", "varchar", "text"})
TEXTS: Final = frozenset({*NATIONAL, *CODED, "xml", "json", "uniqueidentifier"})
BINARIES: Final = frozenset({"binary", "varbinary", "image"})

ASSUMED_CODE_PAGE: Final = 1252
"""Where the catalog names no code page for a column that has one."""

_UTF8: Final = 65001
_TWO_BYTES: Final = frozenset({932, 936, 949, 950, 1361})
_MOST_UNITS: Final = 2**30 - 1  # (max) and ntext end at 2**31 - 1 bytes
_MOST_BYTES: Final = 2**31 - 1  # of a varchar(max)
_UNBOUNDED: Final = frozenset({"text", "ntext", "image"})
_BYTES_OF: Final[Mapping[pa.DataType, pa.DataType]] = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}
_ASTRAL = r"[\x{10000}-\x{10FFFF}]"
_PLAIN_GUID = "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_GUID = rf"^({_PLAIN_GUID}|\{{{_PLAIN_GUID}\}})$"
_SHORTEN = "Shorten it in the source, e.g. by left(...), or make the target column wider."


def as_strings(array: pa.Array) -> pa.Array:
    """Any of Arrow's string arrays as `pa.string()`, checked to be UTF-8: a lone surrogate is none."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        raw = array.view(_BYTES_OF[array.type])
        raw.validate(full=True)  # raises again where not a value is broken, but the array
        refuse_by(raw, _is_broken, "it is not valid UTF-8")
        raise
    return array.cast(pa.string())


def as_bytes(array: pa.Array) -> pa.Array:
    """Any of Arrow's binary arrays as `pa.binary()`."""
    array.validate(full=True)
    return array.cast(pa.binary())


def text_conversion(source: pa.DataType, into: Into) -> Conversion:
    """Convert strings into one of `TEXTS`; `Unfit` for any other source."""
    if not pa.types.is_string(source):
        raise Unfit("only a STRING is taken for text")
    if into.type.name == "uniqueidentifier":
        return _guids
    if into.type.name in NATIONAL:
        return _national(into)
    if into.type.name in CODED:
        return _coded(into)
    return unchanged  # xml and json: whether it is well-formed is the server's to say, before anything is applied


def bytes_conversion(source: pa.DataType, into: Into) -> Conversion:
    """Convert bytes into one of `BINARIES`; `Unfit` for any other source."""
    if not pa.types.is_binary(source):
        raise Unfit("only a BINARY is taken for bytes")
    size = _most(into, _MOST_BYTES)

    def convert(array: pa.Array) -> pa.Array:
        lengths = pc.binary_length(array)
        refuse(pc.greater(lengths, size), lambda value: f"it has {len(value):,} bytes, and {size:,} fit", _SHORTEN)
        if into.type.name == "binary":
            refuse(
                pc.less(lengths, size),
                lambda value: f"it has {len(value):,} bytes, and the server would add zeros to make it {size:,}",
                "Pad it in the source, or make the target column a varbinary.",
            )
        return array

    return convert


def _most(into: Into, unbounded: int) -> int:
    """The length that the column holds; a type without one means 1 to SQL Server."""
    if into.type.name in _UNBOUNDED or into.type.length == MAX:
        return unbounded
    return into.type.length or 1


def _is_broken(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return True
    return False


def _guids(array: pa.Array) -> pa.Array:
    refuse(
        pc.invert(pc.match_substring_regex(array, _GUID)),
        "it is not a GUID",
        "Write it as 6F9619FF-8B86-D011-B42D-00C04FC964FF, with or without braces.",
    )
    return pc.ascii_upper(pc.ascii_trim(array, characters="{}"))


def _national(into: Into) -> Conversion:
    most = _most(into, _MOST_UNITS)

    def convert(array: pa.Array) -> pa.Array:
        # A character has at least as many bytes in UTF-8 as it has code units in UTF-16.
        if (pc.max(pc.binary_length(array)).as_py() or 0) > most:
            units = pc.add(pc.utf8_length(array), pc.count_substring_regex(array, _ASTRAL))
            refuse(
                pc.greater(units, most),
                lambda value: f"it has {_units(value):,} characters (UTF-16 code units), and {most:,} fit",
                _SHORTEN,
            )
        return array

    return convert


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _coded(into: Into) -> Conversion:
    code_page = into.column.code_page or ASSUMED_CODE_PAGE
    most = _most(into, _MOST_BYTES)
    codec = _codec(code_page)
    lengths = pc.binary_length if code_page == _UTF8 else _lengths_in(code_page, codec)

    def convert(array: pa.Array) -> pa.Array:
        is_ascii = code_page == _UTF8 or pc.all(pc.string_is_ascii(array)).as_py() is not False
        refuse(
            pc.greater(pc.binary_length(array) if is_ascii else lengths(array), most),
            lambda value: f"it has {len(value.encode(codec)):,} bytes in code page {code_page}, and {most:,} fit",
            _SHORTEN,
        )
        return array

    return convert


def _codec(code_page: int) -> str:
    name = "utf-8" if code_page == _UTF8 else f"cp{code_page}"
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise Unfit(f"the bridge does not know its code page, {code_page}") from None


def _lengths_in(code_page: int, codec: str) -> Callable[[pa.Array], pa.Array]:
    """Bytes of each string in a code page, strings with characters that it lacks refused.

    Python's codecs map strictly: no look-alikes, as Windows takes for what is not there.
    """

    def why(text: str) -> str:
        lacking = next(character for character in text if _size(character, codec) is None)
        return f"code page {code_page} has no {lacking!r} (U+{ord(lacking):04X}): it would become '?'"

    hint = "Replace the character in the source, or make the target column an nvarchar."
    if code_page not in _TWO_BYTES:
        lacks = _class_of_others(codec)

        def of_single_bytes(array: pa.Array) -> pa.Array:
            refuse(pc.match_substring_regex(array, lacks), why, hint)
            return pc.utf8_length(array)

        return of_single_bytes

    def of_any(array: pa.Array) -> pa.Array:
        encoded = array.dictionary_encode()  # one look at each distinct text
        sizes = pa.array([_size(text, codec) for text in encoded.dictionary.to_pylist()], pa.int64())
        lengths = sizes.take(encoded.indices)
        refuse(pc.and_(pc.is_null(lengths), pc.is_valid(array)), why, hint)
        return lengths

    return of_any


def _size(text: str, codec: str) -> int | None:
    try:
        return len(text.encode(codec))
    except UnicodeEncodeError:
        return None


def _class_of_others(codec: str) -> str:
    """A regular expression that finds a character which a single-byte code page lacks."""
    every = (bytes([byte]).decode(codec, "ignore") for byte in range(256))
    return "[^" + "".join(f"\\x{{{ord(character):X}}}" for character in every if character) + "]"
