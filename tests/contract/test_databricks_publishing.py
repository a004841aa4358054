"""Landed files into tables on the Databricks stand-in: CTAS, MERGE, REPLACE WHERE, guards, and whole versions only."""

from __future__ import annotations

import datetime as dt
import io
import threading
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import StandIn
from tests.contract.databricks_fixture import Sandbox, arrow, counts, message_of, signed_in

FOOTER = {"org.apache.spark.version": "3.5.0"}
OLD, NAIVE = dt.date(1, 1, 1), dt.datetime.fromisoformat("1500-02-03T04:05:06.000007")
GUARD = (
    "(SELECT CASE WHEN count(*) = 1 AND max(owner) <=> :owner THEN true ELSE raise_error(:told) END "
    "FROM {states} WHERE name = :name)"
)
MINE = {"owner": "me", "name": "q", "told": "it's \\ another's"}
OTHERS = {**MINE, "owner": "somebody"}


@pytest.fixture
def sandbox(lakehouse_faults: StandIn) -> Iterator[Sandbox]:
    with signed_in(lakehouse_faults) as made:
        yield made


@pytest.fixture
def folder(sandbox: Sandbox) -> str:
    """A folder like a landed run's, empty; its name must not become a column."""
    made = f"{sandbox.folder()}/run=abc-1"
    sandbox.client.files.create_directory(made)
    return made


@pytest.fixture
def states(sandbox: Sandbox) -> str:
    """A table of owners with one row that names me."""
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} AS SELECT 'q' AS name, 'me' AS owner")
    return table


def land(sandbox: Sandbox, path: str, table: pa.Table) -> str:
    """Upload a table as Parquet; answers the scan that reads it."""
    body = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(FOOTER), body)
    body.seek(0)
    sandbox.client.files.upload(path, body)
    return f"parquet.`{path}`"


def changes(sandbox: Sandbox, folder: str, name: str, *rows: tuple[int | None, str | None, bool]) -> str:
    """Land rows of (k, v, _deleted)."""
    schema = pa.schema([("k", pa.int32()), ("v", pa.string()), ("_deleted", pa.bool_())])
    table = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)
    return land(sandbox, f"{folder}/{name}.parquet", table)


@pytest.mark.parametrize("files", [1, 50])
def test_a_list_of_files_becomes_a_table_with_exact_types_and_its_history(
    sandbox: Sandbox, folder: str, files: int
) -> None:
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} AS SELECT 'before' AS other")
    schema = pa.schema(
        [
            ("id-1", pa.int32()),
            ("select", pa.string()),
            ("a`b", pa.date32()),
            ("ts", pa.timestamp("us")),
            ("with blank", pa.decimal128(19, 4)),
        ]
    )
    scans = []
    for number in range(files):
        rows = [{"id-1": number, "select": None, "a`b": OLD, "ts": NAIVE, "with blank": 2}]
        scans.append(land(sandbox, f"{folder}/part-{number:05}.parquet", pa.Table.from_pylist(rows, schema=schema)))
    columns = (
        "CAST(`id-1` AS INT) AS `id-1`, CAST(`select` AS STRING) AS `select`, CAST(`a``b` AS DATE) AS `a``b`, "
        "CAST(ts AS TIMESTAMP_NTZ) AS ts, CAST(`with blank` AS DECIMAL(19,4)) AS `with blank`"
    )
    properties = "TBLPROPERTIES('delta.columnMapping.mode' = 'name', 'bridge.run' = 'it\\'s')"
    query = " UNION ALL ".join(f"SELECT {columns} FROM {scan}" for scan in scans)
    replaced = counts(sandbox, f"CREATE OR REPLACE TABLE {table} COMMENT 'a \\'c\\'' {properties} AS {query}")
    assert replaced == {"num_affected_rows": files, "num_inserted_rows": files}
    assert sandbox.rows(f"DESCRIBE TABLE {table}") == [
        ["id-1", "int", None],
        ["select", "string", None],
        ["a`b", "date", None],
        ["ts", "timestamp_ntz", None],
        ["with blank", "decimal(19,4)", None],
    ]
    answer = sandbox.sql(f"SELECT * FROM {table} ORDER BY 1 LIMIT 1")
    assert answer.manifest is not None
    assert answer.manifest.schema is not None
    assert [each.type_text for each in answer.manifest.schema.columns or []] == [
        "INT",
        "STRING",
        "DATE",
        "TIMESTAMP_NTZ",
        "DECIMAL(19,4)",
    ]
    assert answer.result is not None
    assert answer.result.data_array == [["0", None, "0001-01-01", "1500-02-03T04:05:06.000007", "2.0000"]]
    assert sandbox.rows(f"SHOW TBLPROPERTIES {table} ('bridge.run')") == [["bridge.run", "it's"]]
    assert sandbox.client.tables.get(table).comment == "a 'c'"
    assert sandbox.rows(f"SELECT * FROM {table} VERSION AS OF 0") == [["before"]]
    names = ",".join(scan.rpartition("/")[2].removesuffix("`") for scan in scans)
    for scan in (f"read_files('{folder}/{{{names},x}}', format => 'parquet')", f"parquet.`{folder}/{{{names}}}`"):
        assert sandbox.rows(f"SELECT count(*), sum(`id-1`) FROM {scan}") == [[str(files), str(sum(range(files)))]]


def test_a_file_that_is_not_there_fails_a_union_and_only_thins_a_pattern(sandbox: Sandbox, folder: str) -> None:
    table, there = sandbox.table(), changes(sandbox, folder, "a", (1, "x", False))
    missing = f"parquet.`{folder}/b.parquet`"
    told = sandbox.failure(f"CREATE TABLE {table} AS SELECT * FROM {there} UNION ALL SELECT * FROM {missing}")
    assert told.startswith("[PATH_NOT_FOUND]")
    assert sandbox.client.tables.exists(table).table_exists is False
    assert sandbox.rows(f"SELECT k FROM parquet.`{folder}/{{a,b,?}}.parquet`") == [["1"]]
    assert "folders among the alternatives" in sandbox.failure(f"SELECT k FROM parquet.`{folder}/{{a.parquet,}}`")
    assert "[PATH_NOT_FOUND]" in sandbox.failure(f"SELECT k FROM parquet.`{folder}/{{b,c}}.parquet`")
    land(sandbox, f"{folder}/c.parquet", pa.table({"other": [1]}))
    assert "files of different columns" in sandbox.failure(f"SELECT * FROM parquet.`{folder}/{{a,c}}.parquet`")


def merged(table: str, scan: str, states: str, rest: str = "") -> str:
    guard = GUARD.format(states=states)
    return (
        f"MERGE INTO {table} AS t USING (SELECT k, v, _deleted FROM {scan} WHERE {guard}) AS s ON t.k <=> s.k "
        "WHEN MATCHED AND s.`_deleted` THEN DELETE WHEN MATCHED THEN UPDATE SET v = s.v "
        f"WHEN NOT MATCHED AND NOT s.`_deleted` THEN INSERT (k, v) VALUES (s.k, s.v) {rest}"
    )


def test_a_merge_by_null_safe_keys_inserts_updates_and_deletes_once(sandbox: Sandbox, folder: str, states: str) -> None:
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} (k BIGINT, v STRING)")
    sandbox.rows(f"INSERT INTO {table} VALUES (0, 'zero'), (1, 'one'), (NULL, 'none'), (9, 'kept')")
    scan = changes(sandbox, folder, "i", (1, "x", True), (None, "new", False), (2, "two", False), (3, "no", True))
    statement = merged(table, scan, states)
    first = counts(sandbox, statement, values=MINE)
    assert first == {"num_affected_rows": 3, "num_updated_rows": 1, "num_deleted_rows": 1, "num_inserted_rows": 1}
    expected: list[list[str | None]] = [[None, "new"], ["0", "zero"], ["2", "two"], ["9", "kept"]]
    assert sandbox.rows(f"SELECT * FROM {table} ORDER BY k") == expected
    again = counts(sandbox, statement, values=MINE)
    assert again == {"num_affected_rows": 2, "num_updated_rows": 2, "num_deleted_rows": 0, "num_inserted_rows": 0}
    assert sandbox.rows(f"SELECT * FROM {table} ORDER BY k") == expected
    swept = merged(table, scan, states, "WHEN NOT MATCHED BY SOURCE AND t.k IN (0, 5) THEN DELETE")
    assert counts(sandbox, swept, values=MINE)["num_deleted_rows"] == 1
    assert sandbox.rows(f"SELECT * FROM {table} ORDER BY k") == [row for row in expected if row[0] != "0"]


def test_a_null_safe_merge_of_many_rows_is_no_search_of_all_pairs(sandbox: Sandbox) -> None:
    """200,000 rows by 200,000 would take the engine minutes without a key to join by."""
    table, source = sandbox.table(), sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} AS SELECT id AS k, CAST(id AS STRING) AS v FROM range(200000)")
    sandbox.rows(f"CREATE TABLE {source} AS SELECT id AS k, CAST(id AS STRING) AS v FROM range(100000, 300000)")
    merge = (
        f"MERGE INTO {table} t USING {source} s ON t.k <=> s.k AND t.v <=> s.v WHEN MATCHED THEN UPDATE SET v = s.v "
        "WHEN NOT MATCHED THEN INSERT *"
    )
    assert sandbox.rows(merge, wait_timeout="10s") == [["200000", "100000", "0", "100000"]]


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("statement", ["create", "merge", "insert"])
def test_a_guard_fails_its_statement_even_without_a_row_to_write(
    sandbox: Sandbox, folder: str, states: str, statement: str, rows: int
) -> None:
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} AS SELECT 1 AS k, 'x' AS v")
    scan = changes(sandbox, folder, "g", *[(1, "new", False)][:rows])
    guarded = f"SELECT k, v FROM {scan} WHERE {GUARD.format(states=states)}"
    sql = {
        "create": f"CREATE OR REPLACE TABLE {table} AS {guarded}",
        "merge": merged(table, scan, states),
        "insert": f"INSERT INTO TABLE {table} REPLACE WHERE k = 1 {guarded}",
    }[statement]
    told = sandbox.failure(sql, values=OTHERS)
    assert told == "[USER_RAISED_EXCEPTION] it's \\ another's SQLSTATE: P0001"
    assert sandbox.rows(f"SELECT v FROM {table}") == [["x"]]
    assert counts(sandbox, sql, values=MINE)["num_affected_rows"] == rows
    assert sandbox.rows(f"SELECT v FROM {table}") == (
        [["x"]] if (statement, rows) == ("merge", 0) else [["new"]] * rows
    )


def test_a_guard_sees_its_table_as_it_was_when_the_statement_was_accepted(
    sandbox: Sandbox, folder: str, states: str
) -> None:
    """No conflict tells of another table's change, neither here nor on Databricks: a guard is no lock."""
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} (k INT, v STRING)")
    sql = merged(table, changes(sandbox, folder, "g", (1, "x", False)), states)
    rule = sandbox.server.fault(match={"statement": sql}, action={"hold_statement": True})
    thread = threading.Thread(target=sandbox.rows, args=(sql,), kwargs={"values": MINE})
    thread.start()
    sandbox.server.wait_for(rule)
    sandbox.rows(f"UPDATE {states} SET owner = 'somebody'")
    sandbox.server.clear()
    thread.join()
    assert sandbox.rows(f"SELECT v FROM {table}") == [["x"]]
    assert "[USER_RAISED_EXCEPTION]" in sandbox.failure(sql, values=MINE)


def test_replace_where_exchanges_rows_in_one_version(sandbox: Sandbox) -> None:
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} AS SELECT CAST(id AS INT) AS k, id % 10 AS r, 'old' AS v FROM range(100)")
    many = ", ".join(str(number) for number in (1, 2, *range(1000, 3000)))
    sql = f"INSERT INTO TABLE {table} REPLACE WHERE r IN ({many}) SELECT k, r, 'new' FROM {table} WHERE r = 2"
    assert sandbox.rows(sql) == [["10", "10"]]
    assert sandbox.rows(f"SELECT count(*), count_if(v = 'new'), count_if(r = 1) FROM {table}") == [["90", "10", "0"]]
    assert [row[4] for row in sandbox.rows(f"DESCRIBE HISTORY {table}")] == ["WRITE", "CREATE TABLE"]
    assert sandbox.rows(
        f"INSERT INTO {table} BY NAME REPLACE WHERE r = 0 OR k = 3 SELECT 3 AS k, 'n' AS v, 7 AS r"
    ) == [["1", "1"]]
    assert sandbox.rows(f"SELECT k, r, v FROM {table} WHERE r = 0 OR k = 3") == [["3", "7", "n"]]
    for value in ("8", "NULL"):
        told = sandbox.failure(f"INSERT INTO {table} REPLACE WHERE r < 8 SELECT 1, {value}, 'x'")
        assert told.startswith("[DELTA_REPLACE_WHERE_MISMATCH")
        assert told.endswith("SQLSTATE: 44000")
    assert sandbox.rows(f"SELECT count(*) FROM {table} VERSION AS OF 1") == [["90"]]


def test_readers_see_whole_versions_only(sandbox: Sandbox) -> None:
    """While a table is replaced, merged into and replaced in part, each in turn, thirty times."""
    table, rows, publications = sandbox.table(), 2000, 30
    sandbox.rows(f"CREATE TABLE {table} AS SELECT id AS k, 0 AS v, id % 2 AS r FROM range({rows})")
    seen: list[tuple[int, int, int]] = []
    wrong: list[str] = []
    ended = threading.Event()

    def read() -> None:
        with signed_in(sandbox.server) as own:
            while not ended.is_set():
                answer = own.sql(f"SELECT count(*), min(v), max(v) FROM {table}")
                if message_of(answer) or answer.result is None:
                    wrong.append(message_of(answer))
                    return
                (row,) = answer.result.data_array or []
                seen.append((int(row[0]), int(row[1]), int(row[2])))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, publications + 1):
            new = f"SELECT id AS k, {number} AS v, id % 2 AS r FROM range({rows})"
            merge = f"MERGE INTO {table} t USING ({new}) s ON t.k <=> s.k WHEN MATCHED THEN UPDATE SET v = s.v"
            exchange = f"INSERT INTO {table} REPLACE WHERE r IN (0, 1) {new}"
            sandbox.rows([f"CREATE OR REPLACE TABLE {table} AS {new}", merge, exchange][number % 3])
    finally:
        ended.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert {count for count, _, _ in seen} == {rows}
    assert all(lowest == highest for _, lowest, highest in seen)
    assert len({lowest for _, lowest, _ in seen}) > publications // 3
    assert arrow(sandbox, f"SELECT min(v) AS v FROM {table}").to_pylist() == [{"v": publications}]
