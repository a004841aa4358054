"""Each kind of increment over random rounds: after every one the mirror holds what the source holds."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.models.jobs import BoundParameter
from sql_databricks_bridge.models.publishing import Incremental, IncrementKind
from tests.contract.increments_fixture import Bench, Changer, Mirror, bench, sorted_rows

_ROUNDS = 12
_COLUMNS = "grp varchar(10) {null}, name nvarchar(40) NULL, amount decimal(9,2) NULL"
_KEYED = f"CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, {_COLUMNS.format(null='NULL')})"
_SELECT = "WITH every AS (SELECT * FROM dbo.t)\nSELECT id, grp, name, amount FROM every -- all of them\nORDER BY id"


@pytest.fixture(scope="module")
def source(sqlserver_settings: Settings) -> Iterator[Bench]:
    with bench(sqlserver_settings) as made:
        yield made


@pytest.fixture
def chance() -> random.Random:
    return random.Random(5)


def _rounds(mirror: Mirror, changer: Changer) -> set[IncrementKind | None]:
    """Run the rounds; return the ways that they went."""
    ways = set()
    changer.insert(120)
    for _ in range(_ROUNDS):
        way = mirror.publish()
        ways.add(way.kind)
        _assert_equal(mirror)
        changer.round()
    ways.add(mirror.publish().kind)
    _assert_equal(mirror)
    return ways


def _assert_equal(mirror: Mirror) -> None:
    assert sorted_rows(mirror.data()) == sorted_rows(mirror.full())


@pytest.mark.parametrize("range_rows", [1, 16])
def test_fingerprint_of_an_integer_key_with_nulls_follows_every_change(
    source: Bench, chance: random.Random, range_rows: int
) -> None:
    source.write("DROP TABLE IF EXISTS dbo.t", f"CREATE TABLE dbo.t (id int NULL, {_COLUMNS.format(null='NULL')})")
    incremental = Incremental(IncrementKind.FINGERPRINT, ("id",), range_rows=range_rows)
    ways = _rounds(source.mirror(_SELECT, incremental), Changer(source, chance, nullable_key=True))
    assert ways == {None, IncrementKind.FINGERPRINT}


def test_fingerprint_of_a_composite_key_with_nulls_follows_every_change(source: Bench, chance: random.Random) -> None:
    source.write("DROP TABLE IF EXISTS dbo.t", f"CREATE TABLE dbo.t (id int NULL, {_COLUMNS.format(null='NULL')})")
    incremental = Incremental(IncrementKind.FINGERPRINT, ("grp", "id"), range_rows=2)
    ways = _rounds(source.mirror(_SELECT, incremental), Changer(source, chance, nullable_key=True))
    assert ways == {None, IncrementKind.FINGERPRINT}


def test_change_tracking_follows_every_change(source: Bench, chance: random.Random) -> None:
    source.write(
        "DROP TABLE IF EXISTS dbo.t",
        _KEYED,
        "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)",
        "ALTER TABLE dbo.t ENABLE CHANGE_TRACKING",
    )
    incremental = Incremental(IncrementKind.CHANGE_TRACKING, ("id",), table="dbo.t")
    sql = f"{_SELECT.replace('every --', 'every WHERE grp <> @grp --')}\nOPTION (RECOMPILE)"
    mirror = source.mirror(sql, incremental, BoundParameter("grp", "varchar(10)", "c"))
    ways = _rounds(mirror, Changer(source, chance))
    assert ways == {None, IncrementKind.CHANGE_TRACKING}


def test_cdc_follows_every_change(source: Bench, chance: random.Random) -> None:
    source.write(
        "DROP TABLE IF EXISTS dbo.t",
        _KEYED,
        "EXEC sys.sp_cdc_enable_db",
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N't', @role_name = NULL, "
        "@supports_net_changes = 1",
    )
    mirror = source.mirror(_SELECT, Incremental(IncrementKind.CDC, ("id",), capture="dbo_t"))
    ways = _rounds(mirror, Changer(source, chance))
    assert ways == {None, IncrementKind.CDC}


@pytest.mark.parametrize("kind", ["rowversion", "cursor"])
def test_a_column_that_grows_brings_every_insert_and_update(source: Bench, chance: random.Random, kind: str) -> None:
    source.write(
        "DROP TABLE IF EXISTS dbo.t",
        f"{_KEYED[:-1]}, rv rowversion NOT NULL)",
    )
    mirror = (
        source.mirror(
            "SELECT id, grp, name, amount, rv FROM dbo.t", Incremental(IncrementKind.ROWVERSION, ("id",), column="rv")
        )
        if kind == "rowversion"
        else source.mirror(
            "SELECT id, grp, name, amount, CONVERT(bigint, rv) AS at FROM dbo.t",
            Incremental(IncrementKind.CURSOR, ("id",), column="at", lag=3),
        )
    )
    ways = _rounds(mirror, Changer(source, chance, deletes=False))
    assert ways == {None, IncrementKind(kind)}
