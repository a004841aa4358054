"""Patterns of tables: what they match, which one is narrower, and what is no pattern."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.auth.patterns import Home, SourcePattern, TablePattern
from sql_databricks_bridge.models.tables import SourceName

HOME = Home("sql01", "Sales")
HOSTILE = st.text(
    st.characters(exclude_categories=["Cc"]) | st.sampled_from("[]`'\".;*-/ аеοI"), min_size=1, max_size=60
)
SQL_SERVER_PARTS = st.tuples(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
UNITY_PARTS = st.tuples(*[HOSTILE.filter(lambda name: not set(name) & set("./ "))] * 3)


def table(text: str) -> TablePattern:
    return TablePattern.parse(text, HOME)


def bracketed(part: str | None) -> str:
    return "*" if part is None else f"[{part.replace(']', ']]')}]"


def backticked(part: str | None) -> str:
    return "*" if part is None else f"`{part.replace('`', '``')}`"


@pytest.mark.parametrize(
    ("text", "matched", "not_matched"),
    [
        ("dbo.Orders", ("sql01", "Sales", "dbo", "Orders"), ("sql01", "Sales", "dbo", "Orders2")),
        ("dbo.Orders", ("SQL01", "SALES", "DBO", "ORDERS"), ("sql01", "Archive", "dbo", "Orders")),
        ("dbo.*", ("sql01", "Sales", "dbo", "anything at all"), ("sql01", "Sales", "hr", "Orders")),
        ("*.*", ("sql01", "Sales", "hr", "Payroll"), ("sql01", "Archive", "hr", "Payroll")),
        ("*.*", ("sql01", "Sales", "hr", "Payroll"), ("sql02", "Sales", "hr", "Payroll")),
        ("Archive.dbo.Orders", ("sql01", "Archive", "dbo", "Orders"), ("sql01", "Sales", "dbo", "Orders")),
        ("*.dbo.Orders", ("sql01", "whichever", "dbo", "Orders"), ("sql02", "whichever", "dbo", "Orders")),
        ("[sql-02.corp].*.dbo.*", ("SQL-02.corp", "any", "dbo", "any"), ("sql01", "any", "dbo", "any")),
        ("*.*.*.*", ("a", "b", "c", "d"), None),
        ("dbo.[*]", ("sql01", "Sales", "dbo", "*"), ("sql01", "Sales", "dbo", "Orders")),
        ("dbo.[a]]b.c]", ("sql01", "Sales", "dbo", "a]b.c"), ("sql01", "Sales", "dbo", "a]]b.c")),
        ("[dbo].[Orders]", ("sql01", "Sales", "dbo", "orders"), ("sql01", "Sales", "[dbo]", "[Orders]")),
        ("dbo.Año", ("sql01", "Sales", "dbo", unicodedata.normalize("NFD", "AÑO")), ("sql01", "Sales", "dbo", "Ano")),
        ("dbo.ΟΔΟΣ", ("sql01", "Sales", "dbo", "οδος"), ("sql01", "Sales", "dbo", "οδο")),
        ("dbo._t#1@x$", ("sql01", "Sales", "dbo", "_T#1@X$"), ("sql01", "Sales", "dbo", "_T#1@X")),
    ],
)
def test_a_table_pattern_matches_its_tables_without_case_and_no_others(
    text: str, matched: tuple[str, str, str, str], not_matched: tuple[str, str, str, str] | None
) -> None:
    assert table(text).matches(*matched)
    assert not_matched is None or not table(text).matches(*not_matched)


@pytest.mark.parametrize(
    "text",
    [
        "", "*", "dbo", "dbo.", ".Orders", "dbo..Orders", "a.b.c.d.e", "dbo.Ord*", "dbo.*s", "dbo.**", "dbo.Orders ",
        " dbo.Orders", "dbo .Orders", "dbo.[]", "dbo.[a]b]", "dbo.[a", "dbo.a]", 'dbo."Orders"', "dbo.1st", "dbo.a-b",
        "dbo.Orders;--", "dbo.[a\nb]", "dbo.[" + "x" * 129 + "]", "dbo.[" + "😀" * 65 + "]", "dbo.Orders\n", "dbo.％",
    ],
)  # fmt: skip
def test_what_is_no_table_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the table pattern"):
        table(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dbo.Ord*", r"each part is a name or \* alone"),
        ("sales-2024.order lines", r"go into brackets: \[sales-2024\]\.\[order lines\]"),
        ("dbo.[" + "x" * 129 + "]", "ends at 128 characters"),
        ("x" * 5000, r"x\.\.\.'"),
    ],
)
def test_a_refused_table_pattern_is_told_how_to_write_it(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        table(text)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("text", "home", "variable"),
    [
        ("dbo.Orders", Home("sql01", None), "SQLSERVER_DATABASE"),
        ("dbo.Orders", Home(None, "Sales"), "SQLSERVER_HOST"),
        ("Sales.dbo.Orders", Home(None, "Sales"), "SQLSERVER_HOST"),
    ],
)
def test_a_part_left_out_needs_the_setting_that_it_means(text: str, home: Home, variable: str) -> None:
    with pytest.raises(ValueError, match=f"{variable}, which is not set"):
        TablePattern.parse(text, home)


def test_a_whole_pattern_needs_no_settings() -> None:
    assert TablePattern.parse("a.b.c.d", Home(None, None)).matches("a", "b", "c", "d")


def test_parts_written_and_left_out_make_the_same_pattern() -> None:
    assert table("dbo.Orders") == table("SALES.[dbo].orders") == table("[sql01].Sales.DBO.ORDERS")
    assert table("dbo.Orders") != table("*.dbo.Orders")


@given(SQL_SERVER_PARTS)
def test_any_name_of_sql_server_can_be_written_in_brackets_and_matches_itself_alone(
    parts: tuple[str, str, str, str],
) -> None:
    pattern = table(".".join(map(bracketed, parts)))
    assert pattern.matches(*parts)
    for position in range(4):
        other = [part + "x" if index == position else part for index, part in enumerate(parts)]
        assert not pattern.matches(*other)


@given(SQL_SERVER_PARTS, st.lists(st.tuples(*[st.booleans()] * 4), min_size=2, max_size=2, unique=True))
def test_of_two_patterns_of_one_table_one_is_more_specific_and_never_the_wider(
    parts: tuple[str, str, str, str], masks: list[tuple[bool, ...]]
) -> None:
    first, second = (
        table(".".join(bracketed(part if named else None) for part, named in zip(parts, mask, strict=True)))
        for mask in masks
    )
    assert first.matches(*parts)
    assert second.matches(*parts)
    assert first.specificity != second.specificity
    if all(b or not a for a, b in zip(*masks, strict=True)):  # what the first names, the second names too
        assert second.specificity > first.specificity


@given(st.text("ab.*[]` \n;'é", max_size=14))
def test_any_text_is_a_pattern_that_matches_by_its_parts_or_is_refused(text: str) -> None:
    try:
        pattern = table(text)
    except ValueError:
        return
    assert pattern.matches(*(part or "anything" for part in pattern.parts))


@pytest.mark.parametrize(
    ("text", "matched", "not_matched"),
    [
        ("main.sales.orders", "MAIN.Sales.Orders", "main.sales.orders2"),
        ("main.sales.*", "main.sales.anything", "main.hr.orders"),
        ("main.*.*", "main.hr.payroll", "other.hr.payroll"),
        ("*.*.*", "any.thing.here", None),
        ("main.`my+schema`.*", "main.`My+Schema`.t", "main.my_schema.t"),
        ("main.`*`.`a``b`", "main.`*`.`a``b`", "main.sales.orders"),
        ("main.sales.straße", "main.sales.STRAßE", "main.sales.strasse"),
        ("main.sales.2024-q1", "main.sales.2024-Q1", "main.sales.2024"),
    ],
)
def test_a_source_pattern_matches_its_tables_without_case_and_no_others(
    text: str, matched: str, not_matched: str | None
) -> None:
    pattern = SourcePattern.parse(text)
    assert pattern.matches(SourceName.parse(matched))
    assert not_matched is None or not pattern.matches(SourceName.parse(not_matched))


@pytest.mark.parametrize(
    "text",
    [
        "", "*", "main", "main.*", "main.sales", "*.sales.*", "*.*.orders", "main.*.orders", "main.sales.ord*",
        "a.b.c.d", "main.sales.*.*", "main.sales.``", "main.sales.[x]", "main.sales. orders", "main.sales.`a/b`",
        "main.`my schema`.t", "a.b.`" + "x" * 256 + "`",
    ],
)  # fmt: skip
def test_what_is_no_source_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the source pattern"):
        SourcePattern.parse(text)


@given(UNITY_PARTS, st.integers(0, 3))
def test_a_source_pattern_of_hostile_names_matches_what_it_names(parts: tuple[str, str, str], named: int) -> None:
    pattern = SourcePattern.parse(".".join(backticked(part if i < named else None) for i, part in enumerate(parts)))
    assert pattern.matches(SourceName(*parts))
    for position in range(3):
        other = SourceName(*(part + "x" if i == position else part for i, part in enumerate(parts)))
        assert pattern.matches(other) == (position >= named)
