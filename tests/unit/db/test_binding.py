"""Parameters as the driver gets them."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import pytest

from sql_databricks_bridge.db.binding import bind, bind_texts, declarations
from sql_databricks_bridge.errors import ParameterError
from sql_databricks_bridge.models.jobs import BoundParameter

LAST = dt.datetime(9999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001 datetime2 has no zone
TEXT, BYTES = (-9, 0, 0), (-3, 0, 0)


@pytest.mark.parametrize(
    ("declaration", "value", "sent", "odbc"),
    [
        ("bit", True, True, -7),
        ("int", 7, 7, -5),
        ("bigint", -(2**63), -(2**63), -5),
        ("decimal(38,0)", 10**30, str(10**30), -9),
        ("float", 1.5, 1.5, 8),
        ("nvarchar(10)", "ñ", "ñ", -9),
        ("varbinary(10)", b"\x00", b"\x00", -3),
        ("decimal(18,4)", Decimal("1E+3"), "1000", -9),
        ("money", Decimal("-0.0001"), "-0.0001", -9),
        ("date", dt.date(1, 1, 1), dt.date(1, 1, 1), 91),
        ("datetime2(6)", LAST, LAST, 93),
        ("datetimeoffset", dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "2020-01-01T00:00:00.000000+00:00", -9),
        ("time(6)", dt.time(1, 2, 3, 4), "01:02:03.000004", -9),
        ("uniqueidentifier", uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001", -9),
    ],
)
def test_each_value_has_one_exact_form(declaration: str, value: object, sent: object, odbc: int) -> None:
    """A value is bound in a form that converts to its declared type without loss, in every language setting."""
    bound = bind([BoundParameter("p", declaration, value)])
    assert bound.values == (sent,)
    assert bound.types[0][0] == odbc


@pytest.mark.parametrize(("declaration", "kind"), [("int", TEXT), ("date", TEXT), ("varbinary(max)", BYTES)])
def test_null_is_typed(declaration: str, kind: tuple[int, int, int]) -> None:
    """NULL goes as text, which becomes every type, except for the binary ones."""
    assert bind([BoundParameter("p", declaration, None)]).types == (kind,)


def test_what_cannot_be_sent_is_refused() -> None:
    """A value of another Python type is refused by the parameter's name."""
    with pytest.raises(ParameterError, match="@p: a list"):
        bind([BoundParameter("p", "int", [1])])


def test_declarations_are_sp_executesqls() -> None:
    """Names and types as @params wants them; none for none."""
    parameters = [BoundParameter("a", "date", None), BoundParameter("b", "varchar(2)", None)]
    assert declarations(parameters) == "@a date, @b varchar(2)"
    assert declarations([]) is None
    assert bind_texts("x", None).types == (TEXT, TEXT)
