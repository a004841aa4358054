"""A query read in ranges lands what it lands in one piece: every row once, whatever the key, its NULLs and its skew."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.jobs import run
from sql_databricks_bridge.core.manifest import Manifest
from sql_databricks_bridge.core.partitions import Split, Whole, split
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.db.session import Session
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.errors import UsageError
from sql_databricks_bridge.models.jobs import QueryOutcome, QueryStatus, ResolvedQuery
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.partitions import Partitioning
from tests.contract.own_database import ddl, own_database
from tests.integration.extraction_support import landed_table, options, plan, query

ROWS = 3_375
DIGITS = f"(VALUES {', '.join(f'({n})' for n in range(15))})"
NUMBERS = (
    "(SELECT f.n * 225 + g.n * 15 + h.n AS n "
    f"FROM {DIGITS} AS f(n) CROSS JOIN {DIGITS} AS g(n) CROSS JOIN {DIGITS} AS h(n))"
)
COLUMNS = """
    id int NOT NULL, small tinyint NULL, price money NULL, ratio float NULL, exact decimal(38, 10) NULL,
    day date NULL, at datetime NULL, finest datetime2(7) NULL, there datetimeoffset(7) NULL, clock time(7) NULL,
    code varchar(20) NULL, name nvarchar(40) NULL, fixed char(4) NULL, guid uniqueidentifier NULL, raw varbinary(8) NULL
"""
FILL = f"""
INSERT INTO dbo.t SELECT n, n % 7, n * 0.0001, n / 7e0, n / CONVERT(decimal(38, 10), 7),
    DATEADD(day, n % 400, '20240101'), DATEADD(millisecond, n * 3, '20240101'),
    DATEADD(nanosecond, n * 100, CONVERT(datetime2(7), '20240101 00:00:00.1234567')),
    DATEADD(minute, n, CONVERT(datetimeoffset(7), '2024-01-01 00:00:00.1234567 +05:30')),
    DATEADD(second, n, CONVERT(time(7), '00:00:00.1234567')),
    CONCAT('code ', n % 50), CONCAT(N'näme 日 ', n % 900), CONVERT(char(4), n % 90), NEWID(),
    CONVERT(varbinary(8), n)
FROM {NUMBERS} AS q
"""
KEYS = [part.split()[0] for part in COLUMNS.replace("38, 10", "38").split(",")]


@dataclasses.dataclass
class Ends:
    """A database of this module's own, and a volume."""

    session: Session
    settings: Settings
    lakehouse: DatabricksLakehouse
    destination: Destination
    spool: Path

    def split(self, asked: ResolvedQuery) -> Split | Whole:
        connection = MssqlServer(self.settings).connect()
        try:
            return split(connection, asked, connection.describe(asked))
        finally:
            connection.close()

    def landed(self, country: str, asked: ResolvedQuery, limit: int | None = None) -> QueryOutcome:
        wanted = dataclasses.replace(plan(self.destination, country, self.settings, asked), limit=limit)
        report = run(wanted, MssqlServer(self.settings), self.lakehouse, options=options(self.spool))
        (outcome,) = report.queries
        return outcome

    def table(self, country: str, asked: ResolvedQuery) -> tuple[Manifest, pa.Table]:
        outcome = self.landed(country, asked)
        assert outcome.status is QueryStatus.COMPLETED, outcome.error
        assert outcome.path is not None
        return landed_table(self.lakehouse, outcome.path)


@pytest.fixture(scope="module")
def ends(
    sqlserver_settings: Settings,
    lakehouse_settings: Settings,
    destination: Destination,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ends]:
    with own_database(sqlserver_settings) as connect:
        session = connect()
        ddl(session, "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON")
        settings = sqlserver_settings.model_copy(update={"sqlserver_database": session.info().database})
        session.rows(f"CREATE TABLE dbo.t ({COLUMNS}, PRIMARY KEY (id))")
        session.rows(FILL)
        session.rows(
            "UPDATE dbo.t SET small = NULL, price = NULL, ratio = NULL, exact = NULL, day = NULL, at = NULL, "
            "finest = NULL, there = NULL, clock = NULL, code = NULL, name = NULL, fixed = NULL, guid = NULL, "
            "raw = NULL WHERE id % 11 = 0"
        )
        session.rows("CREATE TABLE dbo.pair (b nvarchar(9) NULL, a int NULL, v int NOT NULL)")
        session.rows("CREATE CLUSTERED INDEX ix_pair ON dbo.pair (b, a)")
        session.rows(
            "INSERT INTO dbo.pair SELECT CASE WHEN n % 13 = 0 THEN NULL WHEN n < 3000 THEN N'most' ELSE N'few' END, "
            f"CASE WHEN n % 5 = 0 THEN NULL ELSE n / 2 END, n FROM {NUMBERS} AS q"
        )
        session.rows("CREATE VIEW dbo.seen AS SELECT id, name FROM dbo.t")
        yield Ends(
            session, settings, DatabricksLakehouse(lakehouse_settings), destination, tmp_path_factory.mktemp("s")
        )


def asked(sql: str, count: int | None = 4, key: Sequence[str] = (), *, lock: bool = False) -> ResolvedQuery:
    return dataclasses.replace(query("q", sql), partitions=Partitioning(count, tuple(key), lock=lock))


def ordered(table: pa.Table, by: str) -> pa.Table:
    return table.take(pc.sort_indices(table, [(by, "ascending")]))


@pytest.fixture(scope="module")
def in_one_piece(ends: Ends) -> pa.Table:
    _, table = ends.table("Whole", asked("SELECT * FROM dbo.t", 1))
    return ordered(table, "id")


@pytest.mark.parametrize("key", KEYS)
def test_ranges_of_any_key_hold_every_row_once(ends: Ends, country: str, in_one_piece: pa.Table, key: str) -> None:
    """NULLs included, with the companions of what needs them; the manifest tells how it was read."""
    manifest, table = ends.table(country, asked("SELECT * FROM dbo.t", 4, [key]))
    assert ordered(table, "id").equals(in_one_piece)
    assert manifest.partitions is not None
    assert (manifest.partitions.count, manifest.partitions.key) == (4, (key,))
    assert not manifest.partitions.one_view
    assert (manifest.rows, manifest.isolation) == (ROWS, "snapshot")


def test_the_index_gives_the_key_and_skew_takes_its_second_column(ends: Ends, country: str) -> None:
    """Nearly all rows have one value in the first column, so that bounds lie in the second."""
    found = ends.split(asked("SELECT v, a, b FROM dbo.pair"))
    assert isinstance(found, Split)
    assert found.key == ("b", "a")
    manifest, table = ends.table(country, asked("SELECT v, a, b FROM dbo.pair"))
    assert sorted(table.column("v").to_pylist()) == list(range(ROWS))
    assert manifest.partitions is not None
    assert manifest.partitions.count == 4
    sizes = [len(_rows(ends, each)) for each in found.queries]
    assert sum(sizes) == ROWS
    assert max(sizes) < ROWS / 2, sizes


def _rows(ends: Ends, asked_: ResolvedQuery) -> list[object]:
    connection = MssqlServer(ends.settings).connect()
    try:
        return [*connection.ask(asked_.sql, asked_.parameters)]
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("sql", "key", "rows"),
    [
        ("WITH w AS (SELECT id, code FROM dbo.t) SELECT code, COUNT(*) AS n FROM w GROUP BY code", "code", 51),
        ("SELECT id FROM dbo.t WHERE id < 10 UNION ALL SELECT id FROM dbo.t WHERE id > 3000", "id", 384),
        ("SELECT DISTINCT small FROM dbo.t -- the end", "small", 8),
        ("SELECT id, p.v FROM dbo.t JOIN dbo.pair AS p ON p.v = id ORDER BY id OPTION (MAXDOP 1)", "v", ROWS),
        ("SELECT id, name FROM dbo.seen", "id", ROWS),
    ],
)  # fmt: skip
def test_what_is_no_table_is_split_by_a_named_key(ends: Ends, country: str, sql: str, key: str, rows: int) -> None:
    """A list with WITH, set operators, DISTINCT, joins, views: they stay what they are."""
    manifest, table = ends.table(country, asked(sql, 3, [key]))
    _, whole = ends.table(country + "w", asked(sql, 1))
    assert manifest.partitions is not None
    assert table.num_rows == rows
    assert ordered(table, key).equals(ordered(whole, key))


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT TOP (10) id FROM dbo.t ORDER BY id", "TOP or OFFSET choose its rows"),
        ("SELECT id FROM dbo.t ORDER BY id OFFSET 5 ROWS", "TOP or OFFSET choose its rows"),
        ("SELECT name, id + 0 AS x FROM dbo.t", "no index says by which column"),
        ("SELECT id FROM dbo.t WHERE id = 5", "its keys are too few"),
    ],
)
def test_what_can_not_be_split_is_read_in_one_piece_and_says_why(
    ends: Ends, country: str, sql: str, reason: str
) -> None:
    outcome = ends.landed(country, asked(sql, 4))
    assert outcome.status is QueryStatus.COMPLETED
    assert any(reason in warning for warning in outcome.warnings), outcome.warnings
    assert outcome.path is not None
    assert landed_table(ends.lakehouse, outcome.path)[0].partitions is None


def test_a_big_table_is_sampled_by_pages(ends: Ends) -> None:
    """Ranges are about even although only a part of the pages was looked at."""
    ends.session.rows("CREATE TABLE dbo.big (id int NOT NULL PRIMARY KEY, pad char(80) NOT NULL)")
    ends.session.rows(
        f"INSERT INTO dbo.big SELECT n * 30 + m, 'x' FROM {NUMBERS} AS q CROSS JOIN (VALUES "
        f"{', '.join(f'({m})' for m in range(30))}) AS more(m)"
    )
    found = ends.split(asked("SELECT b.id FROM dbo.big AS b WHERE b.pad <> 'y'"))
    assert isinstance(found, Split)
    sizes = [len(_rows(ends, each)) for each in found.queries]
    assert sum(sizes) == 30 * ROWS
    assert min(sizes) > 30 * ROWS / 8, sizes
    scanned = ends.split(asked("SELECT b.id FROM dbo.big AS b WHERE b.id < 300"))
    assert isinstance(scanned, Split), "where the sample shows too few rows all keys are looked at"
    assert sum(len(_rows(ends, each)) for each in scanned.queries) == 300


def test_auto_leaves_small_tables_and_orders_alone(ends: Ends) -> None:
    assert isinstance(ends.split(asked("SELECT * FROM dbo.t", None)), Whole)
    found = ends.split(asked("SELECT * FROM dbo.t ORDER BY id", None))
    assert isinstance(found, Whole)
    assert "ORDER BY" in found.reason


def test_a_cut_run_is_read_in_one_piece(ends: Ends, country: str) -> None:
    outcome = ends.landed(country, asked("SELECT * FROM dbo.t"), limit=7)
    assert (outcome.rows, outcome.warnings) == (7, ("read in one piece: its rows are limited",))


@pytest.mark.parametrize(("key", "said"), [("nothing", "is no column of the result"), ("long", "it has no ranges")])
def test_a_key_that_is_none_fails_the_query_by_name(ends: Ends, country: str, key: str, said: str) -> None:
    sql = "SELECT id, CONVERT(nvarchar(max), name) AS long FROM dbo.t"
    outcome = ends.landed(country, asked(sql, 4, [key]))
    assert outcome.status is QueryStatus.FAILED
    assert said in (outcome.error or "")


def test_a_lock_gives_all_ranges_one_view_and_is_gone_at_once(ends: Ends, country: str) -> None:
    """Somebody moves rows from the end to the beginning all the while: each is there once all the same."""
    ends.session.rows("CREATE TABLE dbo.moving (id int NOT NULL PRIMARY KEY, v int NOT NULL)")
    ends.session.rows(f"INSERT INTO dbo.moving SELECT n, n FROM {NUMBERS} AS q")
    stop, moved = threading.Event(), threading.Event()

    def move() -> None:
        connection = MssqlServer(ends.settings).connect()
        try:
            session = connection._session
            for n in range(ROWS - 1, 0, -1):
                if stop.is_set():
                    return
                session.rows(f"UPDATE dbo.moving SET id = {-n - 1} WHERE v = {n}")
                moved.set()
        finally:
            connection.close()

    worker = threading.Thread(target=move)
    worker.start()
    try:
        assert moved.wait(60)
        manifest, table = ends.table(country, asked("SELECT id, v FROM dbo.moving", 4, lock=True))
    finally:
        stop.set()
        worker.join(60)
    assert manifest.partitions is not None
    assert manifest.partitions.one_view
    assert sorted(table.column("v").to_pylist()) == list(range(ROWS))
    ends.session.rows("UPDATE dbo.moving SET v = v")


def test_a_lock_that_can_not_be_is_refused(ends: Ends, country: str) -> None:
    outcome = ends.landed(
        country, asked("SELECT t.id FROM dbo.t AS t JOIN dbo.pair AS p ON p.v = t.id", 2, ["id"], lock=True)
    )
    assert outcome.status is QueryStatus.FAILED
    assert "`lock` needs a query of one table" in (outcome.error or "")


def test_a_stopped_run_stops_all_ranges(ends: Ends, country: str) -> None:
    stop = threading.Event()
    stop.set()
    wanted = plan(ends.destination, country, ends.settings, asked("SELECT * FROM dbo.t"))
    report = run(wanted, MssqlServer(ends.settings), ends.lakehouse, options=options(ends.spool), stop=stop)
    assert [outcome.status for outcome in report.queries] == [QueryStatus.CANCELLED]


def test_the_key_must_be_one_that_the_query_has(ends: Ends) -> None:
    with pytest.raises(UsageError, match="is no column of the result"):
        ends.split(asked("SELECT id FROM dbo.t", 4, ["name"]))
