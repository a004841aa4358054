"""`bridge verify`: what landed equals what SQL Server holds, or the keys that differ are named, whatever differs."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.jobs import run
from sql_databricks_bridge.core.runs import PublishedRun, latest, sweep
from sql_databricks_bridge.core.verification import Limits, landed, subject, verify
from sql_databricks_bridge.core.verification.asked import Asked
from sql_databricks_bridge.core.verification.keys import detected_key
from sql_databricks_bridge.core.verification.receipts import is_genuine, receipt, receipt_path, write_receipt
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.db.session import Session
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.errors import LandingError, ResultShapeError, UsageError
from sql_databricks_bridge.models.jobs import ResolvedQuery, RunStatus
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.publishing import IncrementKind
from sql_databricks_bridge.models.tables import SourceName
from sql_databricks_bridge.models.verification import Against, Finding, Verification
from tests.contract.own_database import ddl, own_database
from tests.integration.extraction_support import options, plan, query
from tests.integration.publishing_support import SETTINGS_OF, Bench, bench
from tests.integration.round_trip_support import KINDS

LIMITS = Limits(range_rows=50)
ROWS = 3_000
Make = Callable[[IncrementKind | None], AbstractContextManager[Bench]]


@dataclass
class Ends:
    """A database of this module's own, and a volume."""

    session: Session
    settings: Settings
    lakehouse: DatabricksLakehouse
    destination: Destination
    spool: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def land(self, country: str, asked: ResolvedQuery) -> PublishedRun:
        """Extract it as `bridge extract` does."""
        planned = plan(self.destination, country, self.settings, asked)
        report = run(planned, MssqlServer(self.settings), self.lakehouse, options=options(self.spool))
        assert report.status is RunStatus.COMPLETED, report
        return subject.find_run(self.lakehouse, self.destination, country, asked.name, planned.run_id)

    def verified(
        self, found: PublishedRun, asked: ResolvedQuery, key: Sequence[str] = (), limits: Limits = LIMITS
    ) -> Verification:
        """Compare the run's files, which may be read once more."""
        connection = MssqlServer(self.settings).connect()
        try:
            rows = landed.of_files(self.lakehouse, found, self.spool)
            wanted = Asked.of(asked, found.manifest.schema, key)
            return verify(connection, wanted, rows, found.folder.run_id, limits)
        finally:
            connection.close()
            assert list(self.spool.iterdir()) == []

    def detected(self, asked: ResolvedQuery, *columns: str) -> tuple[str, ...]:
        connection = MssqlServer(self.settings).connect()
        try:
            return detected_key(connection, asked, columns)
        finally:
            connection.close()


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
        spool = tmp_path_factory.mktemp("spool")
        yield Ends(session, settings, DatabricksLakehouse(lakehouse_settings), destination, spool)


@pytest.fixture
def make(sqlserver_settings: Settings, lakehouse_settings: Settings, tmp_path: Path) -> Make:
    """Makes benches of published tables."""
    names = [name for name in Settings.model_fields if name.startswith("databricks_")]
    settings = sqlserver_settings.model_copy(update={name: getattr(lakehouse_settings, name) for name in names})
    lakehouse = DatabricksLakehouse(lakehouse_settings)
    return lambda kind: bench(settings, lakehouse, tmp_path, kind)


@dataclass
class Filled:
    """A table of ROWS rows that has landed; `sql` changes it: {t} is its name."""

    ends: Ends
    name: str
    query: ResolvedQuery
    run: PublishedRun

    def sql(self, *statements: str) -> None:
        for statement in statements:
            self.ends.session.rows(statement.format(t=self.name))

    def keys(self, *key: str) -> list[tuple[str, Finding, tuple[str, ...]]]:
        found = self.ends.verified(self.run, self.query, key)
        assert not found.equal
        return [(each.key, each.finding, each.columns) for each in found.keys]


COLUMNS = "id int NULL, code nvarchar(20) NOT NULL, kind char(2) NULL, amount decimal(12,3) NULL, at datetime2(7) NULL"
DIGITS = f"(VALUES {', '.join(f'({n})' for n in range(15))})"
FILL = f"""
INSERT INTO {{t}} (id, code, kind, amount, at)
SELECT n - 1500, CONCAT(N'cód-', n), 'k ', n * 1.5,
    DATEADD(second, n, CONVERT(datetime2(7), '20240229 23:59:59.1234567'))
FROM (
    SELECT f.n * 225 + g.n * 15 + h.n + 1 AS n
    FROM {DIGITS} AS f(n) CROSS JOIN {DIGITS} AS g(n) CROSS JOIN {DIGITS} AS h(n)
) AS numbers WHERE n <= {ROWS}
"""


@pytest.fixture
def filled(ends: Ends, country: str) -> Filled:
    name = f"dbo.t{next(ends.numbers)}"
    ends.session.rows(f"CREATE TABLE {name} ({COLUMNS})")
    ends.session.rows(FILL.format(t=name))
    asked = query("q", f"SELECT * FROM {name}")
    return Filled(ends, name, asked, ends.land(country, asked))


@pytest.mark.parametrize("key", [(), ("id",), ("code",), ("code", "kind"), ("ID",)], ids=",".join)
def test_what_landed_equals_its_source_by_any_key(filled: Filled, key: tuple[str, ...]) -> None:
    """Both sides are read whole: the same rows, digests and ranges."""
    found = filled.ends.verified(filled.run, filled.query, key)
    assert found.equal, found
    assert found.source.rows == found.landed.rows == ROWS
    assert (found.keys, found.ranges, found.differing) == ((), (), 0)
    assert ROWS / LIMITS.range_rows / 2 <= found.compared_ranges <= 2 * ROWS / LIMITS.range_rows
    assert len(set(found.source.digests)) == len(found.groups)
    assert bool(found.warnings) == (not key)


@pytest.mark.parametrize(
    ("change", "key", "column"),
    [
        ("UPDATE {t} SET amount = amount + 0.001 WHERE id = 777", "id=777", "amount"),
        ("UPDATE {t} SET at = DATEADD(nanosecond, 100, at) WHERE id = -1499", "id=-1499", "at"),
        ("UPDATE {t} SET kind = NULL WHERE id = 0", "id=0", "kind"),
        ("UPDATE {t} SET kind = '' WHERE id = 1500", "id=1500", "kind"),
        ("UPDATE {t} SET code = N'cod-1501' WHERE id = 1", "id=1", "code"),
    ],
)
def test_one_value_of_thousands_of_rows_is_found_and_named(filled: Filled, change: str, key: str, column: str) -> None:
    """By its key and its column; a digit of 100 ns, NULL, blanks, an accent."""
    filled.sql(change)
    assert filled.keys("id") == [(key, Finding.DIFFERENT, (column,))]


def test_empty_and_null_are_not_the_same(ends: Ends, country: str) -> None:
    name = f"dbo.t{next(ends.numbers)}"
    ends.session.rows(f"CREATE TABLE {name} (id int NOT NULL, s nvarchar(5) NULL, b varbinary(5) NULL)")
    ends.session.rows(f"INSERT INTO {name} VALUES (1, N'', 0x), (2, NULL, NULL), (3, N'N', 0x4E)")
    asked = query("q", f"SELECT * FROM {name}")
    found = ends.land(country, asked)
    assert ends.verified(found, asked, ["id"]).equal
    ends.session.rows(f"UPDATE {name} SET s = NULL, b = NULL WHERE id = 1")
    ends.session.rows(f"UPDATE {name} SET s = N'' WHERE id = 2")
    told = [(each.key, each.columns) for each in ends.verified(found, asked, ["id"]).keys]
    assert told == [("id=1", ("s", "b")), ("id=2", ("s",))]


def test_missing_extra_and_doubled_rows_are_named_as_such(filled: Filled) -> None:
    filled.sql(
        "DELETE FROM {t} WHERE id = 5",
        "INSERT INTO {t} (id, code) VALUES (900001, N'new'), (NULL, N'nobody')",
        "INSERT INTO {t} SELECT * FROM {t} WHERE id = -7",
    )
    assert sorted(filled.keys("id")) == [
        ("id=-7", Finding.COUNT, ()),
        ("id=5", Finding.ONLY_LANDED, ()),
        ("id=900001", Finding.ONLY_IN_SQL_SERVER, ()),
        ("id=NULL", Finding.ONLY_IN_SQL_SERVER, ()),
    ]
    codes = [(key, finding) for key, finding, _ in filled.keys("code", "kind")]
    assert ("code=new, kind=NULL", Finding.ONLY_IN_SQL_SERVER) in codes
    assert ("code=cód-1505, kind=k ", Finding.ONLY_LANDED) in codes


def test_values_that_two_rows_swapped_are_found(filled: Filled) -> None:
    """The key stands in every digest: sums of values alone would be the same."""
    filled.sql("UPDATE {t} SET amount = CASE id WHEN 10 THEN 1511 * 1.5 ELSE 1510 * 1.5 END WHERE id IN (10, 11)")
    assert filled.keys("id") == [
        ("id=10", Finding.DIFFERENT, ("amount",)),
        ("id=11", Finding.DIFFERENT, ("amount",)),
    ]


def test_a_row_without_key_is_found_and_its_values_are_not_told(filled: Filled) -> None:
    filled.sql("UPDATE {t} SET amount = 0 WHERE id = 42")
    found = filled.keys()
    assert sorted(finding for _, finding, _ in found) == [Finding.ONLY_IN_SQL_SERVER, Finding.ONLY_LANDED]
    assert all(key.startswith("row ") and len(key) == 20 for key, _, _ in found)


def test_more_differences_than_may_be_told_are_counted(filled: Filled) -> None:
    filled.sql("UPDATE {t} SET amount = 0")
    found = filled.ends.verified(filled.run, filled.query, ["id"], Limits(range_rows=50, ranges=3, keys=10))
    assert (len(found.ranges), len(found.keys)) == (3, 10)
    assert found.differing == found.compared_ranges > 3
    short = filled.ends.verified(filled.run, filled.query, ["id"], Limits(range_rows=50, looked_at=10))
    assert (short.keys, len(short.ranges)) == ((), 20)
    assert "too many rows" in short.warnings[0]


def test_ranges_stay_few_where_sql_server_has_many_more_rows(filled: Filled) -> None:
    """Nothing landed, so that ranges are as fine as can be: sums of 3,000 keys are folded into some."""
    filled.sql("DELETE FROM {t}")
    asked = dataclasses.replace(filled.query)
    empty = filled.ends.land(filled.run.folder.country, asked)
    filled.sql("INSERT INTO {t} (id, code) VALUES " + ", ".join(f"({n}, N'')" for n in range(-400, 400)))
    found = filled.ends.verified(empty, asked, ["id"], Limits(sums=100))
    assert (found.source.rows, found.landed.rows) == (800, 0)
    assert 50 <= found.compared_ranges == found.differing <= 100
    assert {each.finding for each in found.keys} == {Finding.ONLY_IN_SQL_SERVER}


def test_keys_at_the_ends_of_bigint_have_ranges(ends: Ends, country: str) -> None:
    name = f"dbo.t{next(ends.numbers)}"
    ends.session.rows(f"CREATE TABLE {name} (id bigint NULL, v int NULL)")
    keys = [-(2**63), -(2**63) + 1, -1, 0, 1, 5_000_000_000, 2**62, 2**63 - 1]
    rows = ", ".join(f"(CONVERT(bigint, {key}), {number})" for number, key in enumerate(keys))
    ends.session.rows(f"INSERT INTO {name} VALUES {rows}, (NULL, 99), (NULL, 99)")
    asked = query("q", f"SELECT * FROM {name}")
    found = ends.land(country, asked)
    for limits in (Limits(range_rows=1), Limits()):
        assert ends.verified(found, asked, ["id"], limits).equal
    ends.session.rows(f"UPDATE {name} SET v = v + 1")
    for limits in (Limits(range_rows=1), Limits()):
        told = {each.key for each in ends.verified(found, asked, ["id"], limits).keys}
        assert told == {*(f"id={key}" for key in keys), "id=NULL"}


def test_a_part_that_is_not_what_its_manifest_says_is_told(filled: Filled) -> None:
    """One byte of a part is another."""
    (path, *_) = filled.run.files
    content = bytearray(filled.ends.lakehouse.read(path))
    content[len(content) // 2] ^= 1
    filled.ends.lakehouse.delete_file(path)
    filled.ends.lakehouse.write_new(path, bytes(content))
    with pytest.raises(LandingError, match=r"part-00000\.parquet is not the file .* SHA-256"):
        filled.ends.verified(filled.run, filled.query, ["id"])


def test_a_query_that_is_another_by_now_is_refused(filled: Filled) -> None:
    with pytest.raises(UsageError, match="is not what run"):
        subject.require_same(query("q", f"SELECT id FROM {filled.name}"), filled.run.manifest)


def test_top_and_order_by_are_kept(ends: Ends, filled: Filled, country: str) -> None:
    """A query of the newest rows is compared as such."""
    asked = query("top", f"WITH a AS (SELECT * FROM {filled.name}) SELECT TOP (100) * FROM a ORDER BY id DESC")
    found = ends.verified(ends.land(country, asked), asked, ["id"])
    assert (found.equal, found.source.rows) == (True, 100)


def test_the_key_is_that_of_the_only_table(ends: Ends) -> None:
    name = f"dbo.k{next(ends.numbers)}"
    other = f"dbo.k{next(ends.numbers)}"
    ends.session.rows(f"CREATE TABLE {name} (b int NOT NULL, a int NOT NULL, c int NULL, PRIMARY KEY (b, a))")
    ends.session.rows(f"CREATE TABLE {other} (x int NOT NULL, y int NULL)")
    whole = query("q", f"SELECT a, b, c FROM {name} AS n WHERE c > 1")
    assert ends.detected(whole, "a", "B", "c") == ("b", "a")
    assert ends.detected(whole, "a", "c") == ()
    assert ends.detected(query("q", f"SELECT x, y FROM {other}"), "x", "y") == ()
    ends.session.rows(f"CREATE UNIQUE INDEX ux ON {other} (x)")
    assert ends.detected(query("q", f"SELECT x, y FROM {other} ORDER BY y"), "x", "y") == ("x",)
    for sql in (
        f"SELECT a, b FROM {name} JOIN {other} ON a = x",
        f"SELECT a, b FROM {name}, {other}",
        f"SELECT a, b FROM {name} UNION ALL SELECT x, y FROM {other}",
        f"SELECT a, b FROM {name} GROUP BY a, b",
        f"SELECT a, b FROM (SELECT * FROM {name}) AS d",
        "WITH w AS (SELECT 1 AS a) SELECT a, 1 AS b FROM w",
        "SELECT 1 AS a, 2 AS b",
    ):
        assert ends.detected(query("q", sql), "a", "b", "x", "y") == (), sql


@pytest.mark.parametrize("kind", [IncrementKind.CURSOR, IncrementKind.FINGERPRINT])
def test_a_table_that_is_kept_by_increments_is_compared_whole(make: Make, kind: IncrementKind) -> None:
    second = f"20260102T020000-{secrets.token_hex(3)}"
    with make(kind) as at:
        stamp = ", changed_at" if kind is IncrementKind.CURSOR else ""
        values = [f"({n}, N'x{n}'{', ' + repr('20260101') if stamp else ''})" for n in range(1, 301)]
        at.session.rows(f"INSERT INTO dbo.t (id, name{stamp}) VALUES {', '.join(values)}")
        at.published()
        later = ", changed_at = '20260102'" if stamp else ""
        at.session.rows(f"UPDATE dbo.t SET name = N'y'{later} WHERE id = 100")
        assert at.published(run_id=second).way == kind.value
        found = _table(at, second)
        assert (found.equal, found.source.rows) == (True, 300), found
        at.session.rows(f"UPDATE dbo.t SET name = NULL{later} WHERE id = 7")
        (key,) = _table(at, second).keys
        assert (key.key, key.finding, key.columns) == (
            "id=7",
            Finding.DIFFERENT,
            ("name", *(["changed_at"] if stamp else [])),
        )


def _table(at: Bench, run_id: str) -> Verification:
    found = subject.find_run(at.lakehouse, at.destination, "Publica", "q", run_id)
    table = subject.table_of(found, wanted=False, newest=True)
    assert table == at.target, "files of an increment are not the whole"
    connection = MssqlServer(at.settings).connect()
    try:
        assert at.kind is not None
        asked = Asked.of(at.query, found.manifest.schema, SETTINGS_OF[at.kind].key)
        return verify(connection, asked, landed.of_table(at.lakehouse, table, None), found.folder.run_id, LIMITS)
    finally:
        connection.close()


def test_a_receipt_disturbs_nobody_and_shows_any_change(filled: Filled) -> None:
    """Readers of runs and `bridge sweep` take no notice; one changed digit is a forgery."""
    found = filled.ends.verified(filled.run, filled.query, ["id"])
    document: dict[str, Any] = json.loads(json.dumps(receipt(found, filled.run.folder.path, "secret")))
    path = receipt_path(found, filled.run.folder.path)
    lake, country = filled.ends.lakehouse, filled.run.folder.country
    lake.write_new(path, json.dumps(document).encode())
    assert latest(lake, filled.ends.destination, country) == (filled.run,)
    assert sweep(lake, filled.ends.destination, country, keep=1) == ()
    assert json.loads(lake.read(path)) == document
    assert is_genuine(document, "secret")
    assert not is_genuine(document, "other")
    for name, value in document.items():
        forged = document | {name: [value]}
        assert not is_genuine(forged, "secret"), name
    assert not is_genuine(receipt(found, filled.run.folder.path, None), "secret")


def test_two_receipts_of_one_millisecond_both_stay(filled: Filled) -> None:
    """Two people verify at once: the second one's goes to the next millisecond, and both are what they were."""
    found = filled.ends.verified(filled.run, filled.query, ["id"])
    lake, folder = filled.ends.lakehouse, filled.run.folder.path
    first = write_receipt(lake, found, folder, "secret")
    assert first == receipt_path(found, folder)
    second = write_receipt(lake, dataclasses.replace(found, isolation="read committed"), folder, "secret")
    later = dataclasses.replace(found, at=found.at + dt.timedelta(milliseconds=1))
    assert second == receipt_path(later, folder)
    for path in (first, second):
        assert is_genuine(json.loads(lake.read(path)), "secret")


def test_a_column_of_another_type_is_told_in_words(filled: Filled) -> None:
    """Text where the integer key should be, as in a table that somebody altered."""
    batch = pa.record_batch({"id": ["a"], "code": ["b"], "kind": [""], "amount": [None], "at": [None]})
    rows = landed.LandedRows(Against.TABLE, "a table", lambda: iter([batch]))
    connection = MssqlServer(filled.ends.settings).connect()
    try:
        asked = Asked.of(filled.query, filled.run.manifest.schema, ["id"])
        with pytest.raises(ResultShapeError, match="'id' was int"):
            verify(connection, asked, rows, "r", LIMITS)
    finally:
        connection.close()


def test_every_type_equals_itself_in_the_files_and_in_a_table(ends: Ends, country: str) -> None:
    """Their boundaries and NULLs; then each value alone is found when it goes."""
    name = f"dbo.t{next(ends.numbers)}"
    columns = [f"c{number}" for number in range(len(KINDS))]
    types = ", ".join(f"{column} {kind.sql_type} NULL" for column, kind in zip(columns, KINDS, strict=True))
    ends.session.rows(f"CREATE TABLE {name} (id int NOT NULL PRIMARY KEY, {types})")
    for row in range(1 + max(len(kind.edges) for kind in KINDS)):
        values = ", ".join(kind.edges[row] if row < len(kind.edges) else "NULL" for kind in KINDS)
        ends.session.rows(f"INSERT INTO {name} (id, {', '.join(columns)}) VALUES ({row}, {values})")
    asked = query("q", f"SELECT * FROM {name}")
    found = ends.land(country, asked)
    compared = ends.verified(found, asked, ["id"])
    assert compared.equal, compared.keys
    assert sum(len(group) - 1 for group in compared.groups) == len(KINDS)
    catalog, schema = ends.destination.catalog, ends.destination.schema
    table = SourceName(catalog, schema, f"verified_{country.lower()}")
    (path,) = found.files
    ends.lakehouse.execute(f"CREATE TABLE {table} AS SELECT * FROM parquet.`{path}`")
    connection = MssqlServer(ends.settings).connect()
    try:
        of_table = landed.of_table(ends.lakehouse, table, None)
        in_table = verify(connection, Asked.of(asked, found.manifest.schema, ["id"]), of_table, "r", LIMITS)
    finally:
        connection.close()
        ends.lakehouse.execute(f"DROP TABLE {table}")
    assert in_table.equal, in_table.keys
    assert in_table.landed == compared.landed
    with_edges = [column for column, kind in zip(columns, KINDS, strict=True) if kind.edges]
    ends.session.rows(f"UPDATE {name} SET {', '.join(f'{column} = NULL' for column in with_edges)} WHERE id = 0")
    (key,) = ends.verified(found, asked, ["id"]).keys
    assert (key.key, list(key.columns)) == ("id=0", with_edges)


def test_ranges_have_the_size_asked_for_in_any_order_of_rows(ends: Ends, filled: Filled, country: str) -> None:
    """The first batches are small and their rows far apart, which says nothing about how many rows there are."""
    asked = query("mixed", f"SELECT * FROM {filled.name} ORDER BY (id + 1500) % 64, id")
    run_ = ends.land(country, asked)
    whole = landed.of_files(ends.lakehouse, run_, ends.spool)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in whole.batches():
            yield from (batch.slice(start, 40) for start in range(0, batch.num_rows, 40))

    connection = MssqlServer(ends.settings).connect()
    try:
        rows = landed.LandedRows(whole.against, whole.place, batches)
        found = verify(connection, Asked.of(asked, run_.manifest.schema, ["id"]), rows, "r", LIMITS)
    finally:
        connection.close()
    assert found.equal
    assert ROWS / LIMITS.range_rows / 2 <= found.compared_ranges <= 2 * ROWS / LIMITS.range_rows
