"""Who may do what: the most specific entry decides alone, and nothing is allowed that no entry gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from sql_databricks_bridge.auth.patterns import Home, SourcePattern, TablePattern
from sql_databricks_bridge.auth.permissions import (
    Access,
    BearerToken,
    Grant,
    Permissions,
    TablePermission,
    User,
    token_digest,
)
from sql_databricks_bridge.models.tables import SourceName

HOME = Home("sql01", "Sales")


def entry(text: str, access: str = "read_write", rows: int = 0, cascade: bool = False) -> TablePermission:
    return TablePermission(TablePattern.parse(text, HOME), Access(access), rows, cascade)


def grant(permissions: Permissions, name: str, table: str, database: str = "Sales") -> Grant | None:
    user = permissions.user(name)
    assert user is not None
    return permissions.write_grant(user, "sql01", database, "dbo", table)


def read(permissions: Permissions, name: str, table: str, database: str = "Sales") -> bool:
    user = permissions.user(name)
    assert user is not None
    return permissions.read_allowed(user, "sql01", database, "dbo", table)


def one(*entries: TablePermission, sources: tuple[str, ...] = ()) -> Permissions:
    return Permissions((User("ana", entries, tuple(map(SourcePattern.parse, sources))), User("bob")))


@pytest.mark.parametrize(
    ("access", "reads", "writes"), [("read", True, False), ("write", False, True), ("read_write", True, True)]
)
def test_an_access_gives_what_its_name_says(access: str, reads: bool, writes: bool) -> None:
    permissions = one(entry("dbo.Orders", access))
    assert read(permissions, "ana", "orders") is reads
    assert (grant(permissions, "ana", "orders") is not None) is writes


def test_without_an_entry_nothing_is_allowed() -> None:
    permissions = one(entry("dbo.Orders"))
    for name, table in (("ana", "Other"), ("bob", "Orders")):
        assert grant(permissions, name, table) is None
        assert not read(permissions, name, table)


def test_a_grant_has_the_limits_of_its_entry_and_names_it() -> None:
    permissions = one(entry("dbo.*", rows=10, cascade=True), entry("dbo.[Odd name]", "write", 3))
    assert grant(permissions, "ana", "Orders") == Grant(10, True, "dbo.*")
    assert grant(permissions, "ana", "odd NAME") == Grant(3, False, "dbo.[Odd name]")


def test_limits_that_are_not_given_are_zero() -> None:
    assert grant(one(entry("dbo.*")), "ana", "Orders") == Grant(0, False, "dbo.*")


@pytest.mark.parametrize("order", [1, -1])
def test_a_narrower_entry_restricts_a_wider_one_wherever_it_stands(order: int) -> None:
    permissions = one(*[entry("dbo.*", rows=10), entry("dbo.Payroll", "read")][::order])
    assert grant(permissions, "ana", "payroll") is None
    assert read(permissions, "ana", "payroll")
    assert grant(permissions, "ana", "orders") is not None


def test_a_narrower_entry_widens_a_wider_one() -> None:
    permissions = one(entry("*.*", "read"), entry("dbo.*", "write", 1), entry("dbo.Orders", rows=5))
    assert grant(permissions, "ana", "Orders") == Grant(5, False, "dbo.Orders")
    assert grant(permissions, "ana", "Lines") == Grant(1, False, "dbo.*")
    assert not read(permissions, "ana", "Lines")


def test_a_named_table_beats_a_named_schema_and_that_a_named_database() -> None:
    permissions = one(entry("*.Orders", rows=1), entry("*.*.dbo.*", rows=2), entry("*.Sales.*.*", rows=3))
    assert grant(permissions, "ana", "Orders") == Grant(1, False, "*.Orders")
    assert grant(permissions, "ana", "Lines") == Grant(2, False, "*.*.dbo.*")


def test_a_short_pattern_is_about_the_default_database_only() -> None:
    permissions = one(entry("dbo.*"))
    assert grant(permissions, "ana", "Orders", "Archive") is None
    assert not read(permissions, "ana", "Orders", "Archive")


@given(st.permutations(["*.*.*.*", "*.*.dbo.*", "*.*", "dbo.*", "*.Orders", "Sales.dbo.Orders"]), st.data())
def test_the_order_of_entries_decides_nothing(texts: list[str], data: st.DataObject) -> None:
    rows = {text: index for index, text in enumerate(sorted(texts))}
    chosen = data.draw(st.lists(st.sampled_from(texts), min_size=1, unique=True))
    answers = {
        grant(one(*(entry(text, rows=rows[text]) for text in order)), "ana", "Orders")
        for order in (chosen, sorted(chosen), chosen[::-1])
    }
    assert len(answers) == 1
    assert None not in answers


def test_a_user_held_across_a_reload_has_todays_rights() -> None:
    ana = User("ana", (entry("dbo.*"),), (SourcePattern.parse("*.*.*"),))
    source = SourceName("main", "sales", "orders")
    for today in (Permissions(), Permissions((User("ana"),))):
        assert today.write_grant(ana, "sql01", "Sales", "dbo", "Orders") is None
        assert not today.read_allowed(ana, "sql01", "Sales", "dbo", "Orders")
        assert not today.source_allowed(ana, source)
    assert Permissions((ana,)).source_allowed(ana, source)


def test_a_source_needs_one_pattern_that_names_it() -> None:
    permissions = one(sources=("main.sales.*", "lab.tests.t1"))
    ana, bob = permissions.users
    assert permissions.source_allowed(ana, SourceName("Main", "SALES", "orders"))
    assert permissions.source_allowed(ana, SourceName("lab", "tests", "t1"))
    assert not permissions.source_allowed(ana, SourceName("lab", "tests", "t2"))
    assert not permissions.source_allowed(bob, SourceName("main", "sales", "orders"))


def test_users_are_found_by_their_exact_names() -> None:
    permissions = Permissions((User("Ana"),))
    assert permissions.user("Ana") is not None
    assert [permissions.user(name) for name in ("ana", "Ana ", "Аna", "", "Añа")] == [None] * 5


def test_no_secret_is_shown_by_a_user() -> None:
    user = User("ana", signing_key=SecretStr("signing-key-of-ana"), tokens=(BearerToken(token_digest("secret")),))
    shown = repr(Permissions((user,)))
    assert "signing-key-of-ana" not in shown
    assert repr(token_digest("secret")) not in shown
