"""docs/types.md, written from the code that it tells of, so that the two can't drift apart.

`python -m sql_databricks_bridge.core.type_docs docs/types.md` writes it; `make docs` does that, a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sql_databricks_bridge.core.canonical.columns import CANONICAL_VERSION
from sql_databricks_bridge.core.canonical.server import FORMS, Text
from sql_databricks_bridge.core.drift import delta_type
from sql_databricks_bridge.core.forms import Output, outputs
from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.core.types import LandedSchema
from sql_databricks_bridge.models.type_policies import POLICIES, Companion, Form, TypePolicies


@dataclass(frozen=True, slots=True)
class _Told:
    """What code can't say of a type: examples of it, its range, how it comes back, and where the facts are from."""

    examples: tuple[str, ...]
    range: str
    back: str
    source: str


_NUMBERS = "int, bigint, smallint, and tinyint"
_DATES = "date and time types"
_WHOLE = "any integer in the range; a decimal or a text that is one"
_TYPES: tuple[_Told, ...] = (
    _Told(("bit",), "0, 1", "a boolean; 0 and 1", "bit"),
    _Told(("tinyint",), "0 to 255", _WHOLE, _NUMBERS),
    _Told(("smallint",), "-32,768 to 32,767", _WHOLE, _NUMBERS),
    _Told(("int",), "-2,147,483,648 to 2,147,483,647", _WHOLE, _NUMBERS),
    _Told(("bigint",), "-2^63 to 2^63-1", _WHOLE, _NUMBERS),
    _Told(("real",), "±3.4028235E38, 24 bits; no NaN", "what has 24 bits at most", "float and real"),
    _Told(("float",), "±1.7976931348623157E308, 53 bits; no NaN", "any finite double", "float and real"),
    _Told(("decimal(18,4)", "numeric(38,0)"), "the declared digits", "no digit too many", "decimal and numeric"),
    _Told(("money",), "-922,337,203,685,477.5808 to ...5807", "4 fractional digits at most", "money and smallmoney"),
    _Told(("smallmoney",), "-214,748.3648 to 214,748.3647", "4 fractional digits at most", "money and smallmoney"),
    _Told(("date",), "0001-01-01 to 9999-12-31", "any date of the range", _DATES),
    _Told(
        ("datetime",),
        "1753-01-01 to 9999-12-31, ticks of 1/300 s",
        "a time on a tick, as .003, .003333 or .00333",
        _DATES,
    ),
    _Told(("smalldatetime",), "1900-01-01 to 2079-06-06, minutes", "whole minutes", _DATES),
    _Told(
        ("datetime2(6)", "datetime2(7)"), "0001-01-01 to 9999-12-31, 100 ns", "with its companion, or as text", _DATES
    ),
    _Told(
        ("datetimeoffset(6)", "datetimeoffset(7)"),
        "0001-01-01 to 9999-12-31 in UTC, offsets to ±14:00",
        "with its companions, or as text; an instant alone comes back with offset 0, with a warning",
        _DATES,
    ),
    _Told(("time(7)",), "00:00:00 to 23:59:59.9999999", "a text with the declared digits at most", _DATES),
    _Told(
        ("char(10)", "varchar(8000)", "varchar(max)", "text"),
        "8,000 bytes of the column's code page; (max) and text 2 GiB",
        "characters of the code page only, never '?'",
        "char and varchar",
    ),
    _Told(
        ("nchar(10)", "nvarchar(4000)", "nvarchar(max)", "ntext"),
        "4,000 UTF-16 units; (max) and ntext 1 Gi units",
        "as many UTF-16 units as declared at most",
        "nchar and nvarchar",
    ),
    _Told(("xml",), "2 GiB", "parsed by SQL Server", "xml"),
    _Told(("json",), "SQL Server 2025", "parsed by SQL Server", "json data type"),
    _Told(
        ("uniqueidentifier",),
        "8-4-4-4-12 digits, upper case",
        "either case, with braces or without",
        "uniqueidentifier",
    ),
    _Told(
        ("binary(8)", "varbinary(8000)", "varbinary(max)", "image"),
        "8,000 bytes; (max) and image 2 GiB",
        "as many bytes as declared at most",
        "binary and varbinary",
    ),
    _Told(("timestamp",), "8 bytes, big-endian (rowversion)", "left out: SQL Server makes it", "rowversion"),
    _Told(("hierarchyid",), "892 bytes", "its path, or its bytes", "hierarchyid data type method reference"),
    _Told(("geometry",), "2 GiB", "its bytes; WKB or WKT with the SRID", "spatial types - geometry"),
    _Told(("geography",), "2 GiB", "its bytes; WKB or WKT with the SRID", "spatial types - geography"),
    _Told(("sql_variant",), "8,000 bytes", "its text with the base type", "sql_variant; SQL_VARIANT_PROPERTY"),
    _Told(("vector(3)",), "1,998 dimensions, SQL Server 2025", "refused", "vector data type"),
)

_DRIVEN: dict[Companion | Form, str] = {
    Companion.SEVENTH_DIGIT: "smallint",
    Companion.OFFSET: "smallint",
    Companion.SRID: "int",
    Companion.BASE_TYPE: "nvarchar(60)",
    Form.TEXT: "nvarchar(max)",
    Form.WKB: "varbinary(max)",
}

_INTRODUCTION = """\
# Types

<!-- Written by `python -m sql_databricks_bridge.core.type_docs docs/types.md`: change that module, not this page. -->

A column's type comes from the server's description of the result, never from values. Each value is kept exactly, or
refused with its column and row, or what is not kept of it is declared in the manifest (`losses`) before the first row.

What one type of Databricks can't hold lands in two columns: `v` and a **companion** such as `v__100ns`. For this the
bridge puts a SELECT of its own around the query, so that SQL Server itself tells the offset or the seventh digit; TOP,
ORDER BY, CTEs, UNION and OPTION mean what they meant, and errors keep their line numbers. A query that needs none of it
is sent as it stands. One that can't be rewritten (FOR XML, FOR JSON, a DISTINCT ordered by something else) lands as the
driver gives it, with a warning and its losses declared; `bridge extract --strict` refuses it instead.

The country's YAML chooses:

```yaml
types:
  datetime2: string        # exact | microseconds | string
  geography: wkb           # bytes | wkb | wkt
  strict: true             # refuse what would lose anything
```

Every Parquet field carries the SQL Server type in its metadata (`sqlserver.type`, `sqlserver.nullable`,
`sqlserver.collation`, `sqlserver.user_type`), its form (`bridge.form`) or whose companion it is
(`bridge.companion_of`); the manifest says the same. Where U+FFFD lands in a Unicode column, that is declared and warned
about: the driver gives it, in silence, for half of a surrogate pair, which Arrow can't hold. A CLR type of your own
lands as its serialized bytes. Text in UTF-8 (a collation of _UTF8) is asked for as nvarchar, since the driver may lose
a character beyond U+FFFF of it. Unnamed columns, and names that differ only in case (Spark takes them for one), are
refused.

## How values land

The first policy of a type is the default.
"""

_BACK = """
## Range, and the way back

On the way back each value is checked against the target's column before SQL Server sees it, and refused with its row,
key and column where it does not fit; see [values](values.md).
"""

_CANONICAL = """
## Canonical text

`bridge verify` and fingerprints compare digests: SHA-256 of a row's canonical text, version {version}, which SQL Server
writes in T-SQL and the bridge from the landed columns, the same. A row's text is its columns' one after the other:
`N` for NULL; a string behind its length in bytes of UTF-16 and a `:`; anything else, with a `;` behind it. It is hashed
as UTF-16LE, or as ASCII where no column of the row is a string. So anyone can check the checker. A column that lands
in another form (`types:`) is compared by what lands: text as a string, well-known binary in hexadecimal, with the SRID
or the base type behind it; under `microseconds` and `utc` by what they keep.
"""

_SOURCES = """
Sources are pages of Microsoft's Transact-SQL reference, named above; Databricks' side is of "Data types"
in its SQL language reference. Spark knows no TIME, no unsigned integers and no nanoseconds in Parquet.
"""


def page() -> str:
    """The whole page, Markdown."""
    lines = [
        _INTRODUCTION,
        *_table(("SQL Server", "`types:`", "Parquet (Arrow)", "Databricks", "not kept"), _landing_rows()),
        _BACK,
        *_table(
            ("SQL Server", "range", "comes back from", "source"),
            (
                (", ".join(f"`{example}`" for example in told.examples), told.range, told.back, told.source)
                for told in _TYPES
            ),
        ),
        _CANONICAL.format(version=CANONICAL_VERSION),
        *_table(("SQL Server", "text of a value `v`", "what it tells apart"), _canonical_rows()),
        _SOURCES,
    ]
    return "\n".join(lines).rstrip() + "\n"


def _landing_rows() -> Iterator[tuple[str, ...]]:
    for told in _TYPES:
        for example in told.examples:
            name = example.partition("(")[0]
            seen: set[tuple[str, ...]] = set()
            for policy in POLICIES.get(name, ("",)):
                row = _landing_row(example, name, policy)
                if row not in seen:
                    seen.add(row)
                    yield (f"`{example}`", policy, *row)


def _canonical_rows() -> Iterator[tuple[str, ...]]:
    """Types of one text in one row."""
    names: dict[Text, list[str]] = {}
    for name, text in FORMS.items():
        names.setdefault(text, []).append(name)
    for text, of in names.items():
        expression = text.expression.format(char="nvarchar", value="v")
        yield (", ".join(f"`{name}`" for name in of), f"`{expression}`", text.keeps)


def _landing_row(example: str, name: str, policy: str) -> tuple[str, ...]:
    column = ResultColumn("v", example, nullable=True, max_length=8, precision=0, scale=0)
    found = outputs(column, TypePolicies(((name, policy),) if policy else ()))
    schema = LandedSchema.of([_described(output) for output in found], [output.origin for output in found])
    arrow = ", ".join(f"`{field.name}` {field.type}" for field in schema.schema)
    delta = ", ".join(delta_type(field.type).upper() for field in schema.schema)
    return arrow, delta, "; ".join(loss for origin in schema.origins for loss in origin.losses)


def _described(output: Output) -> ResultColumn:
    """The column as a server would describe the rewritten query's."""
    column, origin = output.origin.column, output.origin
    key = origin.companion or (origin.form if output.expression is not None else None)
    sql_type = column.sql_type if key is None else _DRIVEN[key]
    return ResultColumn(output.name, sql_type, nullable=True, max_length=8, precision=0, scale=0)


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
