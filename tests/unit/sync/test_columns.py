"""Columns find their places by the catalog, or the event is refused with the reason."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.models.events import EventRow
from sql_databricks_bridge.models.tables import Target, TargetColumn
from sql_databricks_bridge.models.type_policies import Companion
from sql_databricks_bridge.sync.columns import match_columns, read_columns, target_filters
from sql_databricks_bridge.sync.validators import Event, understand

ID = TargetColumn("Id", "int", nullable=False)
NAME = TargetColumn("Name", "nvarchar(20)", nullable=True)
PRICE = TargetColumn("Price", "decimal(10,2)", nullable=False)
ADDED = TargetColumn("Added", "datetime2(0)", nullable=False, has_default=True)
TOTAL = TargetColumn("Total", "int", nullable=True, is_computed=True)
STAMP = TargetColumn("Stamp", "timestamp", nullable=False)
TABLE = Target(1, "dbo", "items", (ID, NAME, PRICE, ADDED, TOTAL, STAMP), unique_keys=(frozenset({"Id"}),))
IDENTITY = dataclasses.replace(TABLE, columns=(dataclasses.replace(ID, is_identity=True), NAME, PRICE, ADDED))


def event(operation: str, **changes: Any) -> Event:
    keys = None if operation == "INSERT" else ("id",)
    row = EventRow("e", operation, "a.b.c", "dbo.items", primary_keys=keys)
    return understand(dataclasses.replace(row, **changes))


def test_names_match_without_case_and_in_any_order() -> None:
    match = match_columns(event("INSERT"), TABLE, ["PRICE", "name", "ID"])
    assert match.staged == (PRICE, NAME, ID)
    assert match.ordinals == (0, 1, 2)
    assert match.inserts == (PRICE, NAME, ID)
    assert match.warnings == ()


def test_an_exact_name_wins_where_a_table_tells_case_apart() -> None:
    lower = TargetColumn("name", "int", nullable=True)
    both = dataclasses.replace(TABLE, columns=(ID, NAME, lower, PRICE))
    assert match_columns(event("INSERT"), both, ["Id", "name", "Name", "Price"]).staged == (ID, lower, NAME, PRICE)
    with pytest.raises(EventInvalid, match="'NAME'"):
        match_columns(event("INSERT"), both, ["Id", "NAME", "Price"])


def test_an_unknown_column_is_named_with_what_it_may_have_meant() -> None:
    with pytest.raises(EventInvalid, match=r"'prise' \(did you mean 'Price'\?\) is not a column of dbo.items"):
        match_columns(event("INSERT"), TABLE, ["id", "prise"])


def test_a_column_without_default_can_not_be_missing() -> None:
    with pytest.raises(EventInvalid, match=r"lacks 'Price' of dbo\.items"):
        match_columns(event("INSERT"), TABLE, ["id"])


def test_what_only_the_server_writes_is_left_out_with_a_warning() -> None:
    match = match_columns(event("INSERT"), TABLE, ["id", "total", "stamp", "price"])
    assert match.staged == (ID, PRICE)
    assert match.ordinals == (0, 3)
    assert [word in warning for word, warning in zip(("computed", "rowversion"), match.warnings, strict=True)] == [
        True,
        True,
    ]


def test_an_update_sets_all_but_the_keys() -> None:
    match = match_columns(event("UPDATE"), TABLE, ["name", "id"])
    assert match.keys == (ID,)
    assert match.updates == (NAME,)
    assert match.inserts == ()


def test_an_update_without_anything_to_set_is_refused() -> None:
    with pytest.raises(EventInvalid, match="nothing to update"):
        match_columns(event("UPDATE"), TABLE, ["id", "total"])


def test_a_delete_reads_its_keys_only() -> None:
    match = match_columns(event("DELETE"), TABLE, ["id"])
    assert match.staged == match.keys == (ID,)


def test_a_key_without_unique_index_is_a_warning() -> None:
    match = match_columns(event("UPDATE", primary_keys=("name",)), TABLE, ["name", "price"])
    assert "no unique index on 'Name'" in match.warnings[0]
    wider = match_columns(event("UPDATE", primary_keys=("id", "name")), TABLE, ["id", "name", "price"])
    assert wider.warnings == ()


def test_a_key_that_the_source_lacks_is_refused() -> None:
    with pytest.raises(EventInvalid, match="no column 'Id'"):
        match_columns(event("UPDATE"), TABLE, ["name"])
    with pytest.raises(EventInvalid, match="'sku', which is not a column"):
        match_columns(event("UPDATE", primary_keys=("sku",)), TABLE, ["name"])


def test_an_identity_is_inserted_only_where_the_author_says_so() -> None:
    with pytest.raises(EventInvalid, match="keep_identity"):
        match_columns(event("INSERT"), IDENTITY, ["id", "price"])
    kept = match_columns(event("INSERT", metadata={"keep_identity": "true"}), IDENTITY, ["id", "price"])
    assert kept.inserts_identity
    assert not match_columns(event("INSERT"), IDENTITY, ["price"]).inserts_identity
    updated = match_columns(event("UPDATE", primary_keys=("name",)), IDENTITY, ["id", "name", "price"])
    assert updated.updates == (PRICE,)
    assert "identity" in updated.warnings[0]


def test_filter_values_are_parsed_exactly() -> None:
    wanted = event("DELETE", primary_keys=None, filter_conditions={"price": "1.50", "NAME": None})
    price, name = target_filters(wanted, TABLE)
    assert (price.column, str(price.value), price.declaration) == (PRICE, "1.50", "decimal(10,2)")
    assert (name.column, name.value) == (NAME, None)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("price", "1.505", "Price"),
        ("price", "x", "Price"),
        ("id", "1 OR 1=1", "Id"),
        ("stamp", "1", "can't be compared"),
    ],
)
def test_a_filter_value_that_is_none_is_refused(name: str, value: str, said: str) -> None:
    wanted = event("DELETE", primary_keys=None, filter_conditions={name: value})
    with pytest.raises(EventInvalid, match=said):
        target_filters(wanted, TABLE)


def test_a_filter_value_is_text_of_the_columns_own_code_page() -> None:
    word = TargetColumn("Word", "varchar(10)", nullable=False, collation="Cyrillic_General_CI_AS", code_page=1251)
    wanted = event("DELETE", primary_keys=None, filter_conditions={"word": "\u0416\u0443\u043a"})
    (found,) = target_filters(wanted, dataclasses.replace(TABLE, columns=(word,)))
    assert (found.value, found.declaration) == ("\u0416\u0443\u043a", "varchar(10)")


MOMENT = TargetColumn("Seen", "datetime2(7)", nullable=False)
PLACE = TargetColumn("Place", "geometry", nullable=True)
WIDE = dataclasses.replace(TABLE, columns=(ID, MOMENT, PLACE))


def test_a_companion_goes_with_its_column_whatever_its_case_and_place() -> None:
    match = match_columns(event("INSERT"), WIDE, ["SEEN__100NS", "place", "seen", "id", "Place__SRID"])
    assert match.staged == (PLACE, MOMENT, ID)
    assert match.ordinals == (1, 2, 3)
    assert match.companions == (((Companion.SRID, 4),), ((Companion.SEVENTH_DIGIT, 0),), ())
    assert match.read == (1, 2, 3, 4, 0)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (["id", "seen", "seen__offset_minutes"], "'seen__offset_minutes' is not a column"),
        (["id", "seen", "id__100ns"], "'id__100ns'"),
        (["id", "seen", "place__srid"], "'place__srid' stands beside no column 'Place'"),
        (["id", "seen", "seen__100ns", "SEEN__100ns"], "'SEEN__100ns' and 'seen__100ns' are one column"),
    ],
)
def test_a_companion_of_nothing_is_refused_by_name(source: list[str], why: str) -> None:
    with pytest.raises(EventInvalid, match=why):
        match_columns(event("INSERT"), WIDE, source)


def test_a_column_of_the_target_is_itself_and_no_companion() -> None:
    digit = TargetColumn("Seen__100ns", "smallint", nullable=True)
    match = match_columns(
        event("INSERT"), dataclasses.replace(WIDE, columns=(ID, MOMENT, digit)), ["id", "seen", "seen__100ns"]
    )
    assert match.inserts == (ID, MOMENT, digit)
    assert match.companions == ((), (), ())


def test_what_the_server_writes_takes_its_companion_along() -> None:
    computed = dataclasses.replace(MOMENT, is_computed=True)
    table = dataclasses.replace(WIDE, columns=(ID, computed))
    match = match_columns(event("INSERT"), table, ["id", "seen", "seen__100ns"])
    assert (match.staged, match.companions) == ((ID,), ((),))


def test_a_delete_reads_its_keys_and_what_may_stand_beside_them() -> None:
    assert read_columns(event("DELETE"), WIDE) == ["Id"]
    by_moment = event("DELETE", primary_keys=("seen",))
    assert read_columns(by_moment, WIDE) is None
    match = match_columns(by_moment, WIDE, ["other", "seen__100ns", "place__srid", "seen"])
    assert (match.staged, match.read) == ((MOMENT,), (3, 1))


def test_a_name_that_sql_server_could_not_have_is_no_companion() -> None:
    long = dataclasses.replace(MOMENT, name="x" * 123)
    with pytest.raises(EventInvalid, match="is not a column of"):
        match_columns(
            event("INSERT"), dataclasses.replace(WIDE, columns=(ID, long)), ["id", long.name, f"{long.name}__100ns"]
        )
