"""The type contract: what each SQL Server type becomes in Parquet, checked value by value, column by column.

Types come from the server's metadata only, never from values. A value is kept exactly, or refused by name
(`ValueRefused`), or its loss is declared (`LandedSchema.losses`, written into the manifest). What the driver loses
is kept by rewriting the query, see `core.forms`. Unsigned integers,
nanosecond timestamps and TIME never land, because Spark refuses them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.errors import EventInvalid, ResultShapeError, ValueRefused
from sql_databricks_bridge.models.type_policies import Companion, Form

MAX = -1
"""`SqlServerType.length` of the (max) types."""

_MAX_STRING_BYTES = 2**31 - 1  # the 32-bit offsets of Arrow's string and binary, and Parquet's page limit
_SYNTAX = re.compile(r"\s*([a-z_][a-z0-9_]*)\s*(?:\(\s*(max|\d+)\s*(?:,\s*(\d+)\s*)?\))?\s*\Z", re.IGNORECASE)
_DECIMALS = frozenset({"decimal", "numeric"})
_FRACTIONAL = frozenset({"time", "datetime2", "datetimeoffset"})
_MOST_DIGITS = 7
CLR_TYPES = frozenset({"hierarchyid", "geometry", "geography"})
"""Types of .NET's that SQL Server brings along; the driver gives their serialization."""

LOST_DIGIT = "the seventh fractional digit is not kept"
DOUBTFUL = "it holds U+FFFD, which the driver also gives for half of a surrogate pair"
LOST_PAIR = "the driver may lose a character beyond U+FFFF of text in UTF-8"
LOST_OFFSET = "the offset is not kept: the value is its instant in UTC"

_TEXTS = frozenset({"char", "varchar", "nchar", "nvarchar", "text", "ntext", "xml", "json"})
_UNICODE = ("nchar", "nvarchar", "ntext")
_BINARIES = frozenset({"binary", "varbinary", "image", "timestamp", "rowversion", *CLR_TYPES})


@dataclass(frozen=True, slots=True)
class SqlServerType:
    """A type as SQL Server writes it, e.g. 'decimal(18,4)'.

    `length` is what stands in the parentheses of a string or binary type (`MAX` for max); `scale` of time, datetime2
    and datetimeoffset is the number of fractional digits. `text` is the type as the server wrote it.
    """

    name: str
    text: str
    length: int | None = None
    precision: int | None = None
    scale: int | None = None

    @classmethod
    def parse(cls, text: str) -> SqlServerType:
        """Parse a `system_type_name`; `ValueError` where it is not one."""
        match = _SYNTAX.match(text)
        if match is None:
            raise ValueError(f"{text!r} is not a SQL Server type name")
        name, first, second = match[1].lower(), match[2], match[3]
        if name in _DECIMALS:
            return cls(name, text, precision=int(first or 18), scale=int(second or 0))
        if second is not None:
            raise ValueError(f"{text!r} has one argument too many")
        if name in _FRACTIONAL:
            return cls(name, text, scale=7 if first is None else int(first))
        if first is None:
            return cls(name, text)
        return cls(name, text, length=MAX if first.lower() == "max" else int(first))


@dataclass(frozen=True, slots=True)
class DeclaredLoss:
    """What a column does not keep, and why; known before the first row."""

    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class Origin:
    """What a landed column is of: `column` as the user's query has it, and in which form its values stand.

    With a `companion` it is that column's companion and not its value. `losses` are what it does not keep.
    """

    column: ResultColumn
    form: Form = Form.PLAIN
    companion: Companion | None = None
    losses: tuple[str, ...] = ()

    @classmethod
    def as_driven(cls, column: ResultColumn) -> Origin:
        """What becomes of a column that is left to the driver."""
        try:
            name, scale = (parsed := SqlServerType.parse(column.sql_type)).name, parsed.scale
        except ValueError:
            return cls(column)
        if name == "datetime2" and scale == _MOST_DIGITS:
            return cls(column, Form.MICROSECONDS, losses=(LOST_DIGIT,))
        if name == "datetimeoffset":
            return cls(column, Form.UTC, losses=(LOST_OFFSET, *((LOST_DIGIT,) if scale == _MOST_DIGITS else ())))
        if is_utf8(column):
            return cls(column, losses=(LOST_PAIR,))
        return cls(column, Form.BYTES if name in CLR_TYPES else Form.PLAIN)


def is_utf8(column: ResultColumn) -> bool:
    """Whether it is char or varchar in UTF-8."""
    return column.sql_type.startswith(("char", "varchar")) and (column.collation or "").upper().endswith("_UTF8")


@dataclass(frozen=True, slots=True)
class _Landing:
    """How one SQL Server type lands: its Arrow type, and how a driver's column becomes that."""

    target: pa.DataType
    accepts: Callable[[pa.DataType], bool]
    convert: Callable[[pa.Array], pa.Array]


@dataclass(frozen=True, slots=True)
class LandedSchema:
    """The schema of a query's Parquet files, and the way from the driver's batches to it."""

    columns: tuple[ResultColumn, ...]
    schema: pa.Schema
    losses: tuple[DeclaredLoss, ...]
    origins: tuple[Origin, ...]

    @classmethod
    def of(cls, columns: Sequence[ResultColumn], origins: Sequence[Origin] | None = None) -> LandedSchema:
        """Build it from a described result set; `ResultShapeError` lists every column that can't land.

        `origins` tell of each column what it was before the query was rewritten; None: it was not.
        """
        _check_names(columns)
        known = tuple(Origin.as_driven(column) for column in columns) if origins is None else tuple(origins)
        fields, losses, problems = [], [], []
        for ordinal, (column, origin) in enumerate(zip(columns, known, strict=True), 1):
            try:
                fields.append(landed_field(column, origin))
                losses += [DeclaredLoss(column.name, f"{origin.column.sql_type}: {loss}") for loss in origin.losses]
            except ResultShapeError as exc:
                problems.append(f"column {ordinal} ({column.name!r}) {exc.message}")
        if problems:
            raise ResultShapeError(
                f"The result can't become Parquet: {'; '.join(problems)}.",
                hint="CAST such a column in the query, e.g. CAST(v AS nvarchar(4000)) AS v.",
            )
        return cls(tuple(columns), pa.schema(fields), tuple(losses), known)

    def convert(self, batch: pa.RecordBatch, first_row: int = 0) -> Iterator[pa.RecordBatch]:
        """Turn a batch as the driver typed it into batches of `schema`, mostly one.

        `first_row` is the number of rows before this batch; it makes `ValueRefused` name the right row (from 1).
        """
        if batch.num_columns != len(self.columns):
            raise ResultShapeError(
                f"The result has {batch.num_columns} columns, its description had {len(self.columns)}.",
                hint="A table was probably altered meanwhile: run the query again.",
            )
        if batch.num_rows > 1 and any(_string_bytes(column) > _MAX_STRING_BYTES for column in batch.columns):
            half = batch.num_rows // 2
            yield from self.convert(batch.slice(0, half), first_row)
            yield from self.convert(batch.slice(half), first_row + half)
            return
        arrays = [
            _converted(column, array, first_row) for column, array in zip(self.columns, batch.columns, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def doubtful(schema: LandedSchema, batch: pa.RecordBatch) -> frozenset[str]:
    """Names of Unicode columns of a landed batch in which U+FFFD stands: perhaps it stood there, perhaps not (m).

    Arrow's strings hold no half of a surrogate pair, SQL Server's nvarchar does; the driver replaces it in silence.
    """
    return frozenset(
        column.name
        for column, origin, array in zip(schema.columns, schema.origins, batch.columns, strict=True)
        if column.sql_type.startswith(_UNICODE)
        and not is_utf8(origin.column)  # UTF-8 has no half of a pair
        and pc.any(pc.match_substring(array, "\ufffd")).as_py()
    )


def landed_field(column: ResultColumn, origin: Origin | None = None) -> pa.Field:
    """Return the Parquet field of a column; its metadata keeps what SQL Server called it, before any rewriting.

    Every field is nullable for Arrow: the server's own word on that stands in `sqlserver.nullable`, so that a NULL
    that it did not expect is landed and not lost. `ResultShapeError` where the type can't land.
    """
    origin = origin or Origin.as_driven(column)
    was = column if origin.companion is not None else origin.column
    metadata = {"sqlserver.type": was.sql_type, "sqlserver.nullable": str(column.nullable).lower()}
    if was.collation:
        metadata["sqlserver.collation"] = was.collation
    if was.user_type:
        metadata["sqlserver.user_type"] = was.user_type
    if origin.companion is not None:
        metadata |= {"bridge.companion": origin.companion.value, "bridge.companion_of": origin.column.name}
    elif origin.form is not Form.PLAIN:
        metadata["bridge.form"] = origin.form.value
    return pa.field(column.name, _landing(column).target, nullable=True, metadata=metadata)


def row_bound_bytes(columns: Sequence[ResultColumn]) -> int | None:
    """Return the most bytes that a row can take, None where a column has no bound ((max), xml, UDTs)."""
    total = 0
    for column in columns:
        if column.max_length < 0 or column.sql_type.split("(")[0].lower() in {"text", "ntext", "image", "xml", "json"}:
            return None
        total += column.max_length + 8
    return total


def staged_type(sql_type: str) -> pa.DataType:
    """Return the Arrow type in which values are sent to a column of that type: its range and digits, exactly.

    `EventInvalid` where the driver's bulk copy has none: CLR types (geography, hierarchyid), sql_variant, vector.
    """
    try:
        parsed = SqlServerType.parse(sql_type)
    except ValueError:
        parsed = SqlServerType("", sql_type)
    if parsed.name in _DECIMALS:
        assert parsed.precision is not None  # parse sets both for these types
        assert parsed.scale is not None
        return pa.decimal128(parsed.precision, parsed.scale)
    if parsed.name not in _STAGED:
        raise EventInvalid(
            f"Values of type {sql_type} can't be loaded.",
            hint="Leave the column out of the source, or load a text or varbinary column and convert it on the server.",
        )
    return _STAGED[parsed.name]


def _check_names(columns: Sequence[ResultColumn]) -> None:
    """Refuse columns without a name and names that Spark, which ignores case, would take for one."""
    if not columns:
        raise ResultShapeError("The query returns no result set.", hint="A query file holds one SELECT.")
    unnamed = [str(ordinal) for ordinal, column in enumerate(columns, 1) if not column.name]
    if unnamed:
        raise ResultShapeError(
            f"Column{'s' if len(unnamed) > 1 else ''} {', '.join(unnamed)} of the result {_has(unnamed)} no name.",
            hint="Name every expression: SELECT COUNT(*) AS flights.",
        )
    ordinals: dict[str, list[str]] = {}
    spelled: dict[str, str] = {}
    for ordinal, column in enumerate(columns, 1):
        key = column.name.lower()
        ordinals.setdefault(key, []).append(str(ordinal))
        spelled.setdefault(key, column.name)
    repeated = [f"{spelled[key]!r} (columns {', '.join(found)})" for key, found in ordinals.items() if len(found) > 1]
    if repeated:
        raise ResultShapeError(
            f"Repeated column names: {', '.join(repeated)}; Spark does not tell upper from lower case.",
            hint="Give each its own name: SELECT a.id AS a_id, b.id AS b_id.",
        )


def _has(items: Sequence[str]) -> str:
    return "have" if len(items) > 1 else "has"


def _landing(column: ResultColumn) -> _Landing:
    try:
        return _landing_of(column.sql_type)
    except ResultShapeError:
        if column.user_type is not None and "sql_variant" not in column.sql_type:
            return _PLAIN["varbinary"]  # a CLR type of the user's own: its serialized bytes
        raise


@lru_cache(maxsize=1024)
def _landing_of(type_text: str) -> _Landing:
    try:
        sql_type = SqlServerType.parse(type_text)
    except ValueError:
        raise ResultShapeError(f"is of type {type_text!r}, which the bridge does not know") from None
    name = sql_type.name
    if name in _PLAIN:
        return _PLAIN[name]
    if name in _DECIMALS:
        assert sql_type.precision is not None  # parse sets both for these types
        assert sql_type.scale is not None
        return _cast_to(pa.decimal128(sql_type.precision, sql_type.scale), pa.types.is_decimal)
    if name == "time":
        assert sql_type.scale is not None
        return _time(sql_type.scale)
    if name == "sql_variant":
        raise ResultShapeError("is a sql_variant, which has no type of its own")
    raise ResultShapeError(f"is of type {type_text!r}, which has no place in Parquet")


def _cast_to(target: pa.DataType, accepts: Callable[[pa.DataType], bool]) -> _Landing:
    def convert(array: pa.Array) -> pa.Array:
        return array if array.type.equals(target) else array.cast(target, safe=True)

    return _Landing(target, accepts, convert)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _is_local_timestamp(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind)) and kind.tz is None


def _is_utc_timestamp(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind)) and kind.tz in ("UTC", "+00:00", "Etc/UTC", "Z")


def _text(array: pa.Array) -> pa.Array:
    array.validate(full=True)  # the driver's conversion from UTF-16 is trusted only where it is valid UTF-8
    return array if pa.types.is_string(array.type) else array.cast(pa.string())


def _time(digits: int) -> _Landing:
    """time(n) as 'HH:MM:SS.nnnnnnn' with the declared digits: Spark has no TIME type."""
    unit = 10 ** (9 - digits)

    def convert(array: pa.Array) -> pa.Array:
        nanoseconds = array.cast(pa.time64("ns")).cast(pa.int64())
        whole = pc.multiply(pc.divide(nanoseconds, unit), unit)
        if unit > 1 and pc.any(pc.not_equal(whole, nanoseconds)).as_py():
            raise pa.ArrowInvalid(f"more than {digits} fractional digits")
        # strftime writes a timestamp[ns]'s seconds with nine digits; those beyond the declared ones are zeros here.
        text = pc.strftime(nanoseconds.cast(pa.timestamp("ns")), format="%H:%M:%S")
        return pc.utf8_slice_codeunits(text, 0, 9 + digits if digits else 8)

    return _Landing(pa.string(), pa.types.is_time, convert)


_PLAIN: dict[str, _Landing] = {
    "bit": _cast_to(pa.bool_(), pa.types.is_boolean),
    "tinyint": _cast_to(pa.int16(), pa.types.is_integer),
    "smallint": _cast_to(pa.int16(), pa.types.is_integer),
    "int": _cast_to(pa.int32(), pa.types.is_integer),
    "bigint": _cast_to(pa.int64(), pa.types.is_integer),
    "real": _cast_to(pa.float32(), pa.types.is_floating),
    "float": _cast_to(pa.float64(), pa.types.is_floating),
    "money": _cast_to(pa.decimal128(19, 4), pa.types.is_decimal),
    "smallmoney": _cast_to(pa.decimal128(10, 4), pa.types.is_decimal),
    "date": _cast_to(pa.date32(), pa.types.is_date),
    "datetime": _cast_to(pa.timestamp("us"), _is_local_timestamp),
    "smalldatetime": _cast_to(pa.timestamp("us"), _is_local_timestamp),
    "datetime2": _cast_to(pa.timestamp("us"), _is_local_timestamp),
    "datetimeoffset": _cast_to(pa.timestamp("us", tz="UTC"), _is_utc_timestamp),
    # As SQL Server prints it: 8-4-4-4-12 hexadecimal digits in upper case.
    "uniqueidentifier": _Landing(pa.string(), _is_text, _text),
    **{name: _Landing(pa.string(), _is_text, _text) for name in _TEXTS},
    **{name: _cast_to(pa.binary(), _is_binary) for name in _BINARIES},
}


_STAGED: dict[str, pa.DataType] = {
    "bit": pa.bool_(),
    "tinyint": pa.uint8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "float": pa.float64(),
    "money": pa.decimal128(19, 4),
    "smallmoney": pa.decimal128(10, 4),
    "date": pa.date32(),
    "datetime": pa.timestamp("us"),
    "smalldatetime": pa.timestamp("us"),
    "datetime2": pa.timestamp("us"),  # Delta holds no more
    "datetimeoffset": pa.timestamp("us", tz="UTC"),
    "time": pa.time64("ns"),  # time(7) counts 100 ns
    "uniqueidentifier": pa.string(),
    **{name: pa.string() for name in _TEXTS},
    **{name: pa.binary() for name in ("binary", "varbinary", "image", "timestamp", "rowversion")},
}


def _string_bytes(array: pa.Array) -> int:
    """Bytes of a variable-length column's values, an upper bound for others; cheap."""
    if pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type):
        return int(array.nbytes)
    return 0


def _converted(column: ResultColumn, array: pa.Array, first_row: int) -> pa.Array:
    landing = _landing(column)
    if not landing.accepts(array.type):
        raise ResultShapeError(
            f"Column {column.name!r} is declared {column.sql_type}, but the driver gave {array.type}.",
            hint="A table was probably altered meanwhile: run the query again, or CAST the column.",
        )
    if len(array) == 1 and _string_bytes(array) > _MAX_STRING_BYTES:
        raise ValueRefused(
            f"Column {column.name!r}, row {first_row + 1}: a value of {array.nbytes:,} bytes; Parquet ends at 2 GiB.",
            hint="Leave the column out or cut it in the query.",
        )
    try:
        return landing.convert(array)
    except pa.ArrowException as exc:
        row = _first_refused(array, landing.convert)
        raise ValueRefused(
            f"Column {column.name!r} ({column.sql_type}), row {first_row + row + 1}: the value can't be kept exactly: "
            f"{exc}",
            hint="CAST the column in the query to a type that holds it.",
        ) from exc


def _first_refused(array: pa.Array, convert: Callable[[pa.Array], pa.Array]) -> int:
    """Find, by halving, the first row that `convert` refuses."""
    low, high = 0, len(array)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(array.slice(low, middle - low))
            low = middle
        except pa.ArrowException:
            high = middle
    return low
