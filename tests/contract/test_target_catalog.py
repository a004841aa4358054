"""Targets looked up in the catalog over the real driver: columns, keys, what a DELETE reaches, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db import ledger
from sql_databricks_bridge.db.session import Session
from sql_databricks_bridge.db.target_catalog import find_target
from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.models.tables import Target, TargetColumn, TargetName
from tests.contract.own_database import Connect, ddl, own_database

TYPES = [
    "bit", "tinyint", "smallint", "int", "bigint", "real", "float", "decimal(18,4)", "numeric(9)", "money",
    "smallmoney", "date", "datetime", "smalldatetime", "datetime2(3)", "datetime2(7)", "datetimeoffset(0)", "time(7)",
    "char(3)", "varchar(20)", "varchar(max)", "nchar(3)", "nvarchar(20)", "nvarchar(max)", "binary(8)", "varbinary(16)",
    "varbinary(max)", "uniqueidentifier",
]  # fmt: skip
PERIOD = (
    "(id int PRIMARY KEY, since datetime2 GENERATED ALWAYS AS ROW START HIDDEN NOT NULL, "
    "until datetime2 GENERATED ALWAYS AS ROW END HIDDEN NOT NULL, PERIOD FOR SYSTEM_TIME (since, until))"
)
HOSTILE = ["odd ]name", "semi;colon", "quote'd", "-- comment", "ta%ble", "t\xe4\U0001f642ble", "a.b"]


@pytest.fixture(scope="module")
def connect(sqlserver_settings: Settings) -> Iterator[Connect]:
    with own_database(sqlserver_settings) as opens:
        yield opens


@pytest.fixture(scope="module")
def session(connect: Connect) -> Session:
    opened = connect()
    opened.rows("CREATE SCHEMA s")
    return opened


@pytest.fixture(scope="module")
def family(connect: Connect) -> Session:
    """Tables that refer to each other, in every way."""
    session = connect()
    session.rows("CREATE SCHEMA f")
    ddl(
        session,
        "CREATE TABLE f.parent (id int PRIMARY KEY, code int NULL UNIQUE)",
        "CREATE TABLE f.child (id int PRIMARY KEY, parent_id int REFERENCES f.parent (id) ON DELETE CASCADE)",
        "CREATE TABLE f.grandchild (id int PRIMARY KEY, child_id int REFERENCES f.child (id) ON DELETE CASCADE)",
        "CREATE TABLE f.[odd ]]name] (id int PRIMARY KEY, child_id int REFERENCES f.child (id) ON DELETE SET NULL)",
        "CREATE TABLE f.beyond (id int, odd_id int REFERENCES f.[odd ]]name] (id) ON DELETE CASCADE)",
        "CREATE TABLE f.bound (id int, grandchild_id int REFERENCES f.grandchild (id))",
        "CREATE TABLE f.key_holder (id int PRIMARY KEY, twin int NULL UNIQUE)",
        "CREATE TABLE f.key_user (twin int NULL UNIQUE REFERENCES f.key_holder (twin) ON DELETE SET NULL)",
        "CREATE TABLE f.key_follower (twin int REFERENCES f.key_user (twin) ON UPDATE CASCADE)",
    )
    return session


def find(session: Session, text: str) -> Target:
    """Look up a name as an event writes it."""
    return find_target(session.rows, TargetName.parse(text))


def column(target: Target, name: str) -> TargetColumn:
    found = target.column(name)
    assert found is not None
    return found


# Columns -----------------------------------------------------------------------------------------------------------


def test_every_type_is_named_as_the_server_writes_it(session: Session) -> None:
    """All types of DESIGN.md, section 7, with their lengths and digits."""
    columns = ", ".join(f"c{i} {sql_type} NULL" for i, sql_type in enumerate(TYPES))
    ddl(session, f"CREATE TABLE s.types ({columns})")
    expected = [sql_type.replace("numeric(9)", "numeric(9,0)") for sql_type in TYPES]
    assert [column.sql_type for column in find(session, "s.types").columns] == expected


@pytest.mark.parametrize("sql_type", ["text", "ntext", "image", "xml", "sql_variant", "hierarchyid", "geography"])
def test_types_of_the_server_are_named_too(session: Session, sql_type: str) -> None:
    """Old, XML and CLR types; whether they can be loaded is decided elsewhere."""
    ddl(session, f"CREATE TABLE s.type_{sql_type} (id int, v {sql_type})")
    assert column(find(session, f"s.type_{sql_type}"), "v").sql_type == sql_type


def test_a_column_tells_who_writes_it_and_whether_it_may_be_left_out(session: Session) -> None:
    """NULL, DEFAULT, IDENTITY and rowversion, from the catalog."""
    ddl(
        session,
        "CREATE TABLE s.written (id int IDENTITY(5, 5) NOT NULL, needed int NOT NULL, free int NULL, "
        "filled int NOT NULL DEFAULT 7, version rowversion NOT NULL)",
    )
    target = find(session, "s.written")
    assert target.columns == (
        TargetColumn("id", "int", False, is_identity=True),
        TargetColumn("needed", "int", False),
        TargetColumn("free", "int", True),
        TargetColumn("filled", "int", False, has_default=True),
        TargetColumn("version", "timestamp", False),
    )
    assert column(target, "version").written_by_server == "rowversion"


def test_a_computed_column_is_known(session: Session) -> None:
    ddl(session, "CREATE TABLE s.computed (a int NOT NULL, b AS a + 1)")
    assert column(find(session, "s.computed"), "b").written_by_server == "computed"


def test_period_columns_are_the_servers(session: Session) -> None:
    """Nobody writes when a row was valid, and a hidden column is not even named by SELECT *."""
    ddl(session, f"CREATE TABLE s.periods {PERIOD}")
    written = {c.name: c.written_by_server for c in find(session, "s.periods").columns}
    assert written == {"id": None, "since": "generated always", "until": "generated always"}


def test_a_temporal_table_is_a_target_and_its_history_is_none(session: Session) -> None:
    """The server writes the history."""
    ddl(session, f"CREATE TABLE s.temporal {PERIOD} WITH (SYSTEM_VERSIONING = ON (HISTORY_TABLE = s.temporal_history))")
    try:
        assert find(session, "s.temporal").name == "temporal"
        with pytest.raises(EventInvalid, match="history of a temporal table"):
            find(session, "s.temporal_history")
    finally:
        session.rows("ALTER TABLE s.temporal SET (SYSTEM_VERSIONING = OFF)")


def test_a_text_column_tells_its_collation_and_its_code_page(session: Session) -> None:
    """The code page is that of one-byte text; nvarchar has none, though its collation has."""
    ddl(
        session,
        "CREATE TABLE s.texts (latin varchar(5) COLLATE Latin1_General_100_BIN2, short char(5) COLLATE "
        "Latin1_General_CI_AS, wide nvarchar(5) COLLATE Latin1_General_100_BIN2, n int)",
    )
    assert {c.name: (c.collation, c.code_page) for c in find(session, "s.texts").columns} == {
        "latin": ("Latin1_General_100_BIN2", 1252),
        "short": ("Latin1_General_CI_AS", 1252),
        "wide": ("Latin1_General_100_BIN2", None),
        "n": (None, None),
    }


def test_a_utf_8_column_tells_so(session: Session) -> None:
    """It takes every character, and its length counts bytes."""
    ddl(session, "CREATE TABLE s.utf_8 (v varchar(5) COLLATE Latin1_General_100_CI_AS_SC_UTF8)")
    assert column(find(session, "s.utf_8"), "v").code_page == 65001


def test_an_alias_type_is_resolved_to_its_base(session: Session) -> None:
    """With the base's digits."""
    ddl(session, "CREATE TYPE s.price FROM decimal(18,4) NOT NULL", "CREATE TABLE s.aliases (p s.price)")
    assert column(find(session, "s.aliases"), "p").sql_type == "decimal(18,4)"


def test_sysname_is_nvarchar(session: Session) -> None:
    """The alias type that comes with the server."""
    ddl(session, "CREATE TABLE s.names (n sysname)")
    assert column(find(session, "s.names"), "n").sql_type == "nvarchar(128)"


# Names -------------------------------------------------------------------------------------------------------------


def test_the_server_matches_names_and_spells_them(session: Session) -> None:
    """Without regard to case in a database that has none; the answer has the catalog's spelling and database."""
    ddl(session, "CREATE TABLE s.Mixed (Id int)")
    target = find(session, "S.MIXED")
    assert (target.schema, target.name, target.columns[0].name) == ("s", "Mixed", "Id")
    (row,) = session.rows("SELECT OBJECT_ID(N's.Mixed') AS id, DB_NAME() AS name")
    assert (target.object_id, target.database) == (row["id"], row["name"])
    assert target == find(session, "s.mixed")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_a_name(session: Session, name: str) -> None:
    """It is bound, so it finds its own table and no other."""
    quoted = f"s.[{name.replace(']', ']]')}]"
    with pytest.raises(EventInvalid, match="no such table"):
        find(session, quoted)
    ddl(session, f"CREATE TABLE {quoted} (id int)")
    assert find(session, quoted).name == name


def test_a_missing_table_is_refused_with_the_name_that_was_meant(session: Session) -> None:
    """A typing error, another schema's table, a schema that is not there, and nothing like it."""
    ddl(session, "CREATE TABLE s.orders_2024 (id int)")
    with pytest.raises(EventInvalid, match=r"s\.order_2024: .*no such table.* mean s\.orders_2024\?"):
        find(session, "s.order_2024")
    with pytest.raises(EventInvalid, match=r"no such table.* mean s\.orders_2024\?"):
        find(session, "dbo.Orders_2024")
    with pytest.raises(EventInvalid, match=r"no schema nowhere.* mean s\.orders_2024\?"):
        find(session, "nowhere.orders_2024")
    with pytest.raises(EventInvalid, match=r"Check the name and SQLSERVER_DATABASE"):
        find(session, "s.xyzzy")


def test_a_view_and_a_synonym_are_no_targets(session: Session) -> None:
    """Permissions and locks are those of base tables."""
    ddl(session, "CREATE TABLE s.base (id int)", "CREATE VIEW s.looking AS SELECT id FROM s.base")
    with pytest.raises(EventInvalid, match="is a view"):
        find(session, "s.looking")
    ddl(session, "CREATE SYNONYM s.other FOR s.base")
    with pytest.raises(EventInvalid, match="is a synonym"):
        find(session, "s.other")


def test_a_constraint_is_no_table(session: Session) -> None:
    """It shares the names of tables."""
    ddl(session, "CREATE TABLE s.constrained (id int CONSTRAINT pk_constrained PRIMARY KEY)")
    with pytest.raises(EventInvalid, match="is not a table"):
        find(session, "s.pk_constrained")


def test_the_ledger_is_no_target(session: Session) -> None:
    """However its schema is spelled; nor does a hint betray it."""
    ledger.create(session.rows)
    with pytest.raises(EventInvalid, match="the bridge's own"):
        find(session, "Bridge.applied_events")
    with pytest.raises(EventInvalid, match="no such table") as caught:
        find(session, "s.applied_events")
    assert "bridge.applied" not in str(caught.value)


# Keys, cascades, triggers ------------------------------------------------------------------------------------------


def test_keys_are_the_columns_of_unique_indexes(session: Session) -> None:
    """Primary key, constraint and index; neither filtered nor plain indexes, and no set twice."""
    ddl(
        session,
        "CREATE TABLE s.keyed (a int, b int NOT NULL, c int, d int, CONSTRAINT pk_keyed PRIMARY KEY (b, a), "
        "CONSTRAINT u_keyed UNIQUE (c))",
        "CREATE UNIQUE INDEX u_again ON s.keyed (a, b)",
        "CREATE UNIQUE INDEX u_filtered ON s.keyed (d) WHERE d IS NOT NULL",
        "CREATE INDEX plain ON s.keyed (d)",
    )
    assert find(session, "s.keyed").unique_keys == (frozenset("ab"), frozenset("c"))
    ddl(session, "CREATE TABLE s.heap (a int)")
    assert find(session, "s.heap").unique_keys == ()


def test_an_included_column_is_no_part_of_the_key(session: Session) -> None:
    ddl(
        session,
        "CREATE TABLE s.included (a int, b int)",
        "CREATE UNIQUE INDEX u_included ON s.included (a) INCLUDE (b)",
    )
    assert find(session, "s.included").unique_keys == (frozenset("a"),)


def test_a_disabled_index_keeps_nothing_unique(session: Session) -> None:
    ddl(
        session,
        "CREATE TABLE s.disabled (a int)",
        "CREATE UNIQUE INDEX u_disabled ON s.disabled (a)",
        "ALTER INDEX u_disabled ON s.disabled DISABLE",
    )
    assert find(session, "s.disabled").unique_keys == ()


def test_a_cascade_is_followed_to_its_end(family: Session) -> None:
    """Children and theirs; where a child's columns are only set, its own children stay. NO ACTION reaches nothing."""
    assert find(family, "f.parent").cascades == ("f.[odd ]]name]", "f.child", "f.grandchild")
    assert find(family, "f.child").cascades == ("f.[odd ]]name]", "f.grandchild")
    assert find(family, "f.grandchild").cascades == ()
    assert find(family, "f.[odd ]]name]").cascades == ("f.beyond",)


def test_a_table_that_refers_to_itself_reaches_nothing(session: Session) -> None:
    """The server allows it without an action only (error 1785)."""
    ddl(
        session,
        "CREATE TABLE s.tree (id int PRIMARY KEY, parent_id int)",
        "ALTER TABLE s.tree ADD CONSTRAINT fk_tree FOREIGN KEY (parent_id) REFERENCES s.tree (id)",
    )
    assert find(session, "s.tree").cascades == ()


def test_a_default_that_is_set_is_a_cascade(session: Session) -> None:
    ddl(
        session,
        "CREATE TABLE s.root (id int PRIMARY KEY)",
        "CREATE TABLE s.leaf (id int, root_id int DEFAULT 1 REFERENCES s.root (id) ON DELETE SET DEFAULT)",
    )
    assert find(session, "s.root").cascades == ("s.leaf",)


def test_a_column_that_is_set_passes_it_on_by_on_update(family: Session) -> None:
    """SET NULL in a key that another table follows with ON UPDATE CASCADE changes that table too."""
    assert find(family, "f.key_holder").cascades == ("f.key_follower", "f.key_user")
    assert find(family, "f.key_user").cascades == ()


def test_triggers_for_delete_and_those_instead_of_a_statement_are_named(session: Session) -> None:
    """Enabled ones only, each once."""
    ddl(session, "CREATE TABLE s.watched (id int)")
    plain = find(session, "s.watched")
    assert (plain.delete_triggers, plain.instead_of) == ((), ())
    ddl(
        session,
        "CREATE TRIGGER s.after_all ON s.watched AFTER INSERT, UPDATE, DELETE AS SET NOCOUNT ON",
        "CREATE TRIGGER s.after_insert ON s.watched AFTER INSERT AS SET NOCOUNT ON",
        "CREATE TRIGGER s.sleeping ON s.watched AFTER DELETE AS SET NOCOUNT ON",
        "DISABLE TRIGGER s.sleeping ON s.watched",
    )
    watched = find(session, "s.watched")
    assert watched == replace(plain, delete_triggers=("after_all",))
    ddl(session, "CREATE TRIGGER s.instead ON s.watched INSTEAD OF DELETE AS SET NOCOUNT ON")
    assert find(session, "s.watched").delete_triggers == ("after_all", "instead")
    assert find(session, "s.watched").instead_of == ("instead",)


def test_a_target_is_looked_up_in_two_queries(session: Session) -> None:
    """Each is a round trip, for every target of every cycle."""
    ddl(session, "CREATE TABLE s.counted (id int)")
    asked = []

    def rows(statement: str, bound: object) -> list[dict[str, object]]:
        asked.append(re.sub(r"\s+", " ", statement))
        return session.rows(statement, bound)  # type: ignore[arg-type]

    find_target(rows, TargetName("s", "counted"))
    assert len(asked) == 2
