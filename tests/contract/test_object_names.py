"""What a name in a query means, by SQL Server's catalog: as the server would resolve it, or None."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.ports import NamedObject
from sql_databricks_bridge.db.session import Session
from sql_databricks_bridge.db.sql_server import MssqlConnection, MssqlServer
from sql_databricks_bridge.models.tables import SQL_SERVER_NAME_LENGTH
from tests.contract.own_database import Connect, ddl, own_database

Name = tuple[str | None, str | None, str]


@pytest.fixture(scope="module")
def connect(sqlserver_settings: Settings) -> Iterator[Connect]:
    """A database with tables in two schemas, a view and a synonym."""
    with own_database(sqlserver_settings) as open_session:
        session = open_session()
        ddl(
            session,
            "CREATE SCHEMA hr",
            "CREATE TABLE dbo.Orders (id int)",
            "CREATE TABLE hr.Orders (id int)",
            "CREATE TABLE hr.Payroll (id int)",
            "CREATE TABLE dbo.[a.b ]]c] (id int)",
            "CREATE TABLE dbo.Año (id int)",
            "CREATE VIEW dbo.OrderView AS SELECT id FROM dbo.Orders",
            "CREATE SYNONYM dbo.Alias FOR hr.Payroll",
        )
        yield open_session


@pytest.fixture
def session(connect: Connect) -> Session:
    return connect()


def found(session: Session, *names: Name) -> list[tuple[str, str, str] | None]:
    """(schema, name, kind) of each."""
    answers = MssqlConnection(session).find_objects(names)
    return [None if answer is None else (answer.schema, answer.name, answer.kind) for answer in answers]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ((None, None, "Orders"), ("dbo", "Orders", "U")),
        ((None, "dbo", "Orders"), ("dbo", "Orders", "U")),
        ((None, "hr", "Orders"), ("hr", "Orders", "U")),
        ((None, None, "Payroll"), None),
        ((None, "dbo", "Payroll"), None),
        ((None, "hr", "Payroll"), ("hr", "Payroll", "U")),
        ((None, "dbo", "a.b ]c"), ("dbo", "a.b ]c", "U")),
        ((None, None, "Año"), ("dbo", "Año", "U")),
        ((None, None, "OrderView"), ("dbo", "OrderView", "V")),
        ((None, None, "Alias"), ("dbo", "Alias", "SN")),
        ((None, None, "Orders'; DROP TABLE dbo.Orders --"), None),
        ((None, "nope", "Orders"), None),
        ((None, "", "Orders"), None),
        ((None, None, ""), None),
        ((None, None, "x" * (SQL_SERVER_NAME_LENGTH + 1)), None),
        ((None, None, "Orders\x00"), None),
        (("no such database", "dbo", "Orders"), None),
        (("]; DROP", "dbo", "Orders"), None),
    ],
)
def test_a_name_means_what_the_server_takes_it_for(
    session: Session, name: Name, meant: tuple[str, str, str] | None
) -> None:
    assert found(session, name) == [meant]


def test_names_come_back_as_the_catalog_spells_them(session: Session) -> None:
    info = MssqlConnection(session).info()
    (answer,) = MssqlConnection(session).find_objects([(info.database.upper(), "DBO", "ORDERS")])
    assert answer == NamedObject(info.server, info.database, "dbo", "Orders", "U")


def test_answers_come_in_the_order_of_the_names_each_asked_once(session: Session) -> None:
    orders, gone, view = (None, None, "Orders"), (None, None, "Gone"), (None, "dbo", "OrderView")
    wanted = ("dbo", "Orders", "U")
    assert found(session, gone, orders, view, orders) == [None, wanted, ("dbo", "OrderView", "V"), wanted]
    assert found(session) == []


def test_another_databases_objects_are_found_and_without_a_schema_only_where_one_has_the_name(
    connect: Connect, sqlserver_settings: Settings
) -> None:
    ours = MssqlConnection(connect()).info().database
    with closing(MssqlServer(sqlserver_settings).connect()) as there:
        info = there.info()
        assert info.database != ours
        assert there.find_objects(
            [
                (ours, "hr", "Orders"),
                (ours.upper(), "dbo", "orders"),
                (ours, None, "Payroll"),
                (ours, None, "Orders"),
                (ours, "hr", "Gone"),
            ]
        ) == (
            NamedObject(info.server, ours, "hr", "Orders", "U"),
            NamedObject(info.server, ours, "dbo", "Orders", "U"),
            NamedObject(info.server, ours, "hr", "Payroll", "U"),
            None,
            None,
        )


def test_a_table_of_the_session_is_not_taken_for_one_of_the_database(session: Session) -> None:
    name = f"#t{uuid.uuid4().hex[:8]}"
    ddl(session, f"CREATE TABLE {name} (id int)")
    assert found(session, (None, None, name), (None, "dbo", name)) == [None, None]
