"""Names and files in SQL text."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sql_databricks_bridge.sandbox.databricks.catalog import UnityCatalog
from sql_databricks_bridge.sandbox.databricks.failures import SqlFailure
from sql_databricks_bridge.sandbox.databricks.names import Place
from sql_databricks_bridge.sandbox.databricks.sqltext import exact_query, read

PLACE = Place("bridge", "default")


@pytest.fixture
def catalog(tmp_path: Path) -> UnityCatalog:
    (tmp_path / "spool").mkdir()
    made = UnityCatalog(tmp_path)
    made.ensure("bridge", "landing", "files")
    made.ensure("bridge", "default")
    for schema, name in (("landing", "t"), ("default", "u"), ("default", "we`ird")):
        made.put_table("bridge", schema, made.new_table(name))
    pq.write_table(pa.table({"x": [1]}), made.volume_folder("bridge", "landing", "files") / "a b.parquet")
    return made


def exact(text: str, catalog: UnityCatalog) -> str:
    return exact_query(read(text), PLACE, catalog)


def test_only_names_change_and_the_rest_stays_as_it_was_written(catalog: UnityCatalog) -> None:
    text = "SELECT Count(*) /* über */ ,'t' FROM  Landing.T  VERSION AS OF 3 x JOIN u ON x.id=u.id -- from u\n;"
    assert exact(text, catalog) == (
        "SELECT Count(*) /* über */ ,'t' FROM  `bridge`.`landing`.`t`  VERSION AS OF 3 x "
        "JOIN `bridge`.`default`.`u` ON x.id=u.id -- from u\n"
    )


def test_quoted_names_keep_their_backticks(catalog: UnityCatalog) -> None:
    assert exact("SELECT * FROM `we``ird`", catalog) == "SELECT * FROM `bridge`.`default`.`we``ird`"


def test_a_cte_is_no_table_but_a_table_of_the_same_name_with_a_schema_is(catalog: UnityCatalog) -> None:
    text = "WITH t AS (SELECT 1) SELECT * FROM t, landing.t"
    assert exact(text, catalog) == "WITH t AS (SELECT 1) SELECT * FROM t, `bridge`.`landing`.`t`"


def test_a_missing_table_fails_with_the_name_as_it_was_written(catalog: UnityCatalog) -> None:
    with pytest.raises(SqlFailure, match=r"\[TABLE_OR_VIEW_NOT_FOUND\].*`Landing`.`nope`"):
        exact("SELECT * FROM Landing.nope", catalog)


def test_volume_files_become_scans_of_local_files(catalog: UnityCatalog) -> None:
    folder = catalog.volume_folder("bridge", "landing", "files")
    scan = f"parquet.`{folder}/a b.parquet`"
    assert (
        exact("SELECT * FROM parquet.`/Volumes/bridge/landing/files/a b.parquet`", catalog) == f"SELECT * FROM {scan}"
    )
    text = "SELECT r.x FROM read_files('/Volumes/bridge/landing/files/a b.parquet', format => 'parquet') AS r"
    rescued = f"(SELECT *, CAST(NULL AS STRING) AS _rescued_data FROM {scan})"
    assert exact(text, catalog) == f"SELECT r.x FROM {rescued} AS r"


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("parquet.`/etc/passwd`", "/etc/passwd"),
        ("parquet.`/Volumes/bridge/landing/files/../../../catalog.json`", r"\.\."),
        ("parquet.`s3://bucket/x`", "s3://"),
        ("parquet.`/Volumes/bridge/landing/files/none.parquet`", "PATH_NOT_FOUND"),
        ("parquet.`/Volumes/bridge/landing/gone/x.parquet`", "PATH_NOT_FOUND"),
        ("csv.`/Volumes/bridge/landing/files/a b.parquet`", "format csv"),
        ("delta.`/Volumes/bridge/landing/files/x`", "format delta"),
        ("read_files('/Volumes/bridge/landing/files/', format => 'csv')", "read_files with another format"),
        ("read_files('/Volumes/bridge/landing/files/')", "read_files with another format"),
        ("read_files('/Volumes/bridge/landing/files/', format => 'parquet', schema => 'a INT')", "option schema"),
        ("system.information_schema.tables", "information_schema"),
    ],
)
def test_what_is_not_a_parquet_file_in_a_volume_is_refused_by_name(
    catalog: UnityCatalog, source: str, named: str
) -> None:
    with pytest.raises(SqlFailure, match=named):
        exact(f"SELECT * FROM {source}", catalog)


@pytest.mark.parametrize("text", ["", " ; ", "SELEC 1", "SELECT 1; SELECT 2", "SELECT (1", "SELECT 'x"])
def test_one_whole_statement_is_asked_for(text: str) -> None:
    with pytest.raises(SqlFailure, match="PARSE_SYNTAX_ERROR"):
        read(text)
