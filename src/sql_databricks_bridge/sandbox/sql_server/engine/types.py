"""SQL Server's type rules: names, precedence, implicit result types, sizes and ids.

Sources, all Microsoft documentation pages: "Data type precedence", "Precision, scale, and length", "Constants",
"sys.types", "Collation precedence".
"""

from __future__ import annotations

from dataclasses import replace

from ..contract import DEFAULT_COLLATION, MAX_LENGTH, Collation, SqlType
from .errors import error

INT = SqlType("int")
BIGINT = SqlType("bigint")
SMALLINT = SqlType("smallint")
TINYINT = SqlType("tinyint")
BIT = SqlType("bit")
FLOAT = SqlType("float")
REAL = SqlType("real")
MONEY = SqlType("money")
DATE = SqlType("date")
DATETIME = SqlType("datetime")
SMALLDATETIME = SqlType("smalldatetime")
GUID = SqlType("uniqueidentifier")

# "Data type precedence", highest first.
_PRECEDENCE = [
    "hierarchyid",
    "geometry",
    "geography",
    "json",
    "sql_variant",
    "xml",
    "datetimeoffset",
    "datetime2",
    "datetime",
    "smalldatetime",
    "date",
    "time",
    "float",
    "real",
    "decimal",
    "numeric",
    "money",
    "smallmoney",
    "bigint",
    "int",
    "smallint",
    "tinyint",
    "bit",
    "ntext",
    "text",
    "image",
    "timestamp",
    "uniqueidentifier",
    "nvarchar",
    "nchar",
    "varchar",
    "char",
    "varbinary",
    "binary",
]
RANK = {name: len(_PRECEDENCE) - i for i, name in enumerate(_PRECEDENCE)}
RANK["numeric"] = RANK["decimal"]

# sys.types: system_type_id, user_type_id, max_length, precision, scale
SYSTEM_TYPES: dict[str, tuple[int, int, int, int, int]] = {
    "image": (34, 34, 16, 0, 0),
    "text": (35, 35, 16, 0, 0),
    "uniqueidentifier": (36, 36, 16, 0, 0),
    "date": (40, 40, 3, 10, 0),
    "time": (41, 41, 5, 16, 7),
    "datetime2": (42, 42, 8, 27, 7),
    "datetimeoffset": (43, 43, 10, 34, 7),
    "tinyint": (48, 48, 1, 3, 0),
    "smallint": (52, 52, 2, 5, 0),
    "int": (56, 56, 4, 10, 0),
    "smalldatetime": (58, 58, 4, 16, 0),
    "real": (59, 59, 4, 24, 0),
    "money": (60, 60, 8, 19, 4),
    "datetime": (61, 61, 8, 23, 3),
    "float": (62, 62, 8, 53, 0),
    "sql_variant": (98, 98, 8016, 0, 0),
    "ntext": (99, 99, 16, 0, 0),
    "bit": (104, 104, 1, 1, 0),
    "decimal": (106, 106, 17, 38, 38),
    "numeric": (108, 108, 17, 38, 38),
    "smallmoney": (122, 122, 4, 10, 4),
    "bigint": (127, 127, 8, 19, 0),
    "hierarchyid": (240, 128, 892, 0, 0),
    "geometry": (240, 129, -1, 0, 0),
    "geography": (240, 130, -1, 0, 0),
    "varbinary": (165, 165, 8000, 0, 0),
    "varchar": (167, 167, 8000, 0, 0),
    "binary": (173, 173, 8000, 0, 0),
    "char": (175, 175, 8000, 0, 0),
    "timestamp": (189, 189, 8, 0, 0),
    "nvarchar": (231, 231, 8000, 0, 0),
    "nchar": (239, 239, 8000, 0, 0),
    "xml": (241, 241, -1, 0, 0),
    "json": (244, 244, -1, 0, 0),
    "sysname": (231, 256, 256, 0, 0),
}

_SYNONYMS = {
    "integer": "int",
    "dec": "decimal",
    "character": "char",
    "rowversion": "timestamp",
    "sysname": "nvarchar",
    "double precision": "float",
    "char varying": "varchar",
    "character varying": "varchar",
    "national character": "nchar",
    "national char": "nchar",
    "national character varying": "nvarchar",
    "national char varying": "nvarchar",
    "binary varying": "varbinary",
    "national text": "ntext",
}

STRINGS = frozenset({"char", "varchar", "nchar", "nvarchar", "text", "ntext"})
BINARIES = frozenset({"binary", "varbinary", "image", "timestamp"})
INTEGERS = frozenset({"tinyint", "smallint", "int", "bigint"})
DECIMALS = frozenset({"decimal", "numeric"})
MONEYS = frozenset({"money", "smallmoney"})
FLOATS = frozenset({"real", "float"})
NUMBERS = INTEGERS | DECIMALS | MONEYS | FLOATS | {"bit"}
DATETIMES = frozenset({"date", "time", "datetime", "smalldatetime", "datetime2", "datetimeoffset"})
UDTS = frozenset({"hierarchyid", "geometry", "geography"})
UDT_PROPERTIES = frozenset({"STSrid"})  # what is no method: no parentheses behind it
_INT_DIGITS = {"bit": 1, "tinyint": 3, "smallint": 5, "int": 10, "bigint": 19}


def decimal(precision: int, scale: int, name: str = "numeric") -> SqlType:
    return SqlType(name, precision=precision, scale=scale)


def varchar(length: int, collation: Collation = DEFAULT_COLLATION) -> SqlType:
    return SqlType("varchar", length=length if 0 <= length <= 8000 else MAX_LENGTH, collation=collation)


def nvarchar(length: int, collation: Collation = DEFAULT_COLLATION) -> SqlType:
    return SqlType("nvarchar", length=length if 0 <= length <= 4000 else MAX_LENGTH, collation=collation)


def is_string(t: SqlType) -> bool:
    return t.name in STRINGS


def is_unicode(t: SqlType) -> bool:
    return t.name in ("nchar", "nvarchar", "ntext")


def is_system_type(name: str) -> bool:
    """Whether a written name, in lower case, begins a system type's."""
    return _SYNONYMS.get(name, name) in SYSTEM_TYPES or name in ("double", "national", "sysname", "char", "rowversion")


def make_type(name: str, args: list[int | str], line: int = 0) -> SqlType:
    """A type from its written name and arguments (ints, or 'max')."""
    lower = name.lower()
    lower_name = _SYNONYMS.get(lower, lower)
    if lower == "sysname":
        return nvarchar(128)
    sizes = [a for a in args if isinstance(a, int)]
    is_max = "max" in args
    if lower_name in ("char", "varchar", "nchar", "nvarchar", "binary", "varbinary"):
        limit = 4000 if lower_name in ("nchar", "nvarchar") else 8000
        if is_max and lower_name in ("varchar", "nvarchar", "varbinary"):
            length = MAX_LENGTH
        else:
            length = sizes[0] if sizes else 1
            if length > limit:
                raise error(131, f"The size ({length}) given to the type '{name}' exceeds the maximum allowed for any "
                            f"data type ({limit}).", severity=15, line=line)  # fmt: skip
            if length < 1:
                raise error(1001, f"Line {line}: Length or precision specification {length} is invalid.",
                            severity=15, line=line)  # fmt: skip
        return SqlType(lower_name, length=length, collation=None if "binary" in lower_name else DEFAULT_COLLATION)
    if lower_name in DECIMALS:
        precision = sizes[0] if sizes else 18
        scale = sizes[1] if len(sizes) > 1 else 0
        if not 1 <= precision <= 38:
            raise error(2750, f"Column, parameter, or variable #1: Specified column precision {precision} is greater "
                        "than the maximum precision of 38.", line=line)  # fmt: skip
        if scale > precision:
            raise error(2751, f"Column, parameter, or variable #1: Specified column scale {scale} is greater than the "
                        f"specified precision of {precision}.", line=line)  # fmt: skip
        return decimal(precision, scale, lower_name)
    if lower_name in ("time", "datetime2", "datetimeoffset"):
        scale = sizes[0] if sizes else 7
        if not 0 <= scale <= 7:
            raise error(1002, f"Line {line}: Specified scale {scale} is invalid.", severity=15, line=line)
        return SqlType(lower_name, scale=scale)
    if lower_name == "float":
        bits = sizes[0] if sizes else 53
        if not 1 <= bits <= 53:
            raise error(1001, f"Line {line}: Length or precision specification {bits} is invalid.", line=line)
        return REAL if bits <= 24 else FLOAT
    if lower_name in ("text", "ntext"):
        return SqlType(lower_name, length=MAX_LENGTH, collation=DEFAULT_COLLATION)
    if lower_name == "image":
        return SqlType("image", length=MAX_LENGTH)
    if lower_name == "timestamp":
        return SqlType("timestamp", length=8)
    if lower_name in ("xml", "json") or lower_name in UDTS:
        return SqlType(lower_name, length=MAX_LENGTH)
    if lower_name in SYSTEM_TYPES:
        return SqlType(lower_name)
    raise error(243, f"Type {name} is not a defined system type.", line=line)


def normalise(t: SqlType) -> SqlType:
    """A type that came over the wire, with the defaults it may leave out."""
    if t.name in STRINGS or t.name in ("binary", "varbinary", "image"):
        length = t.length if t.length is not None else MAX_LENGTH
        if length > 8000 or (is_unicode(t) and length > 4000):
            length = MAX_LENGTH
        return SqlType(t.name, length, collation=DEFAULT_COLLATION if t.name in STRINGS else None)
    if t.name in DECIMALS:
        return decimal(t.precision or 18, t.scale or 0, t.name)
    if t.name in ("time", "datetime2", "datetimeoffset"):
        return SqlType(t.name, scale=7 if t.scale is None else t.scale)
    if t.name in ("xml", "json") or t.name in UDTS:
        return SqlType(t.name, length=MAX_LENGTH)
    if t.name == "float" and t.precision is not None and t.precision <= 24:
        return REAL
    return SqlType(t.name)


def type_text(t: SqlType) -> str:
    """The type as T-SQL writes it: 'decimal(9,2)', 'nvarchar(max)', 'datetime2(7)'."""
    if t.name in ("char", "varchar", "nchar", "nvarchar", "binary", "varbinary"):
        return f"{t.name}({'max' if t.length == MAX_LENGTH else t.length})"
    if t.name in DECIMALS:
        return f"{t.name}({t.precision},{t.scale})"
    if t.name in ("time", "datetime2", "datetimeoffset"):
        return f"{t.name}({t.scale})"
    return t.name


def byte_length(t: SqlType) -> int:
    """sys.columns.max_length."""
    if t.name in ("nchar", "nvarchar"):
        return -1 if t.length in (None, MAX_LENGTH) else 2 * (t.length or 0)
    if t.name in ("char", "varchar", "binary", "varbinary"):
        return -1 if t.length is None else t.length
    if t.name in DECIMALS:
        p = t.precision or 18
        return 5 if p <= 9 else 9 if p <= 19 else 13 if p <= 28 else 17
    if t.name == "time":
        return 3 if (t.scale or 0) <= 2 else 4 if (t.scale or 0) <= 4 else 5
    if t.name == "datetime2":
        return 6 if (t.scale or 0) <= 2 else 7 if (t.scale or 0) <= 4 else 8
    if t.name == "datetimeoffset":
        return 8 if (t.scale or 0) <= 2 else 9 if (t.scale or 0) <= 4 else 10
    return SYSTEM_TYPES[t.name][2]


def precision_scale(t: SqlType) -> tuple[int, int]:
    """sys.columns.precision and .scale."""
    if t.name in DECIMALS:
        return t.precision or 18, t.scale or 0
    if t.name in ("time", "datetime2", "datetimeoffset"):
        s = t.scale or 0
        base = {"time": 8, "datetime2": 19, "datetimeoffset": 26}[t.name]
        return base + (s + 1 if s else 0), s
    _, _, _, p, s = SYSTEM_TYPES[t.name]
    return p, s


def as_decimal(t: SqlType, literal_digits: int | None = None) -> tuple[int, int]:
    """(precision, scale) of a number type seen as a decimal. An int literal counts its own digits."""
    if t.name in DECIMALS:
        return t.precision or 18, t.scale or 0
    if literal_digits is not None:
        return max(literal_digits, 1), 0
    if t.name in MONEYS:
        return (19, 4) if t.name == "money" else (10, 4)
    return _INT_DIGITS[t.name], 0


def arithmetic(op: str, a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """Result (precision, scale) of decimal arithmetic, reduced to 38 digits ("Precision, scale, and length")."""
    (p1, s1), (p2, s2) = a, b
    if op in "+-":
        s = max(s1, s2)
        integral = max(p1 - s1, p2 - s2)
        p = integral + s + 1
        if p > 38:
            p, s = 38, min(s, 38 - integral)
        return p, s
    if op == "*":
        p, s = p1 + p2 + 1, s1 + s2
    elif op == "/":
        s = max(6, s1 + p2 + 1)
        p = p1 - s1 + s2 + s
    else:  # %
        s = max(s1, s2)
        p = min(p1 - s1, p2 - s2) + s
    if p > 38:
        integral = p - s
        if integral < 32:
            s = min(s, 38 - integral)
        elif s > 6:
            s = 6
        p = 38
    return p, s


def common_decimal(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """(precision, scale) of a UNION, CASE, COALESCE or comparison of two decimals."""
    scale = max(a[1], b[1])
    integral = max(a[0] - a[1], b[0] - b[1])
    if integral + scale > 38:
        scale = max(0, 38 - integral)
        return 38, scale
    return integral + scale, scale


def with_collation(t: SqlType, c: Collation | None) -> SqlType:
    return replace(t, collation=c or DEFAULT_COLLATION) if t.name in STRINGS else t


def pg_type(t: SqlType) -> str:
    """The PostgreSQL type that holds it (tick units: see contract.py)."""
    name = t.name
    if name in STRINGS or name in ("xml", "json"):
        return "text"
    if name in BINARIES or name in UDTS:
        return "bytea"
    if name in DECIMALS or name in MONEYS:
        return "numeric"
    return {
        "bit": "bool",
        "tinyint": "int2",
        "smallint": "int2",
        "int": "int4",
        "bigint": "int8",
        "real": "float4",
        "float": "float8",
        "date": "date",
        "time": "int8",
        "datetime2": "int8",
        "datetime": "int8",
        "smalldatetime": "int8",
        "datetimeoffset": "tsql.dto",
        "uniqueidentifier": "uuid",
        "sql_variant": "tsql.variant",
    }[name]
