"""The Lakehouse port's statements, on the stand-in or on the warehouse that DATABRICKS_WAREHOUSE_ID names."""

from __future__ import annotations

import datetime as dt
import time
from decimal import Decimal

import pyarrow as pa
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.ports import Lakehouse
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.errors import LakehouseNotFound, LakehouseUnavailable, SettingsError, StatementFailed
from tests.conftest import StandIn


@pytest.fixture(scope="module")
def lakehouse(lakehouse_settings: Settings) -> Lakehouse:
    if not lakehouse_settings.databricks_warehouse_id:
        pytest.skip("DATABRICKS_WAREHOUSE_ID is not set")
    return DatabricksLakehouse(lakehouse_settings)


def test_values_come_typed(lakehouse: Lakehouse) -> None:
    """A row's values have their types, not their texts."""
    table = lakehouse.execute(
        "SELECT 1 AS i, CAST(2 AS BIGINT) AS l, CAST('1.50' AS DECIMAL(10,2)) AS d, 'ñ' AS s, true AS b, "
        "DATE'2013-01-31' AS day, CAST(NULL AS STRING) AS n, CAST(0.5 AS DOUBLE) AS f"
    )
    (row,) = table.to_pylist()
    assert row == {
        "i": 1,
        "l": 2,
        "d": Decimal("1.50"),
        "s": "ñ",
        "b": True,
        "day": dt.date(2013, 1, 31),
        "n": None,
        "f": 0.5,
    }
    assert table.schema.field("d").type == pa.decimal128(10, 2)


def test_parameters_are_bound(lakehouse: Lakehouse) -> None:
    """Named parameters arrive as they are, quotes, backslashes and NULL too."""
    value = 'it\'s \\n "quoted" -- ; DROP'
    table = lakehouse.execute("SELECT :a AS a, :b AS b", {"a": value, "b": None})
    assert table.to_pylist() == [{"a": value, "b": None}]


def test_an_empty_result_has_its_columns(lakehouse: Lakehouse) -> None:
    """No rows is a table of no rows with names and types."""
    table = lakehouse.execute("SELECT CAST(1 AS BIGINT) AS l, 'x' AS s WHERE 1 = 0")
    assert table.num_rows == 0
    assert table.schema.names == ["l", "s"]
    assert table.schema.field("l").type == pa.int64()


def test_every_chunk_is_read(lakehouse: Lakehouse) -> None:
    """A result of many chunks arrives whole, each row once."""
    table = lakehouse.execute("SELECT id, repeat('x', 100) AS s FROM range(300000)")
    assert table.num_rows == 300_000
    assert sorted(table["id"].to_pylist()) == list(range(300_000))


def test_a_refused_statement_fails_with_its_words(lakehouse: Lakehouse) -> None:
    """A statement that ends FAILED is an error with Databricks' message, though its HTTP status is 200."""
    with pytest.raises(StatementFailed, match="FAILED"):
        lakehouse.execute("SELECT * FROM no_such_table_here")


def test_a_missing_warehouse_setting_is_named(lakehouse_settings: Settings) -> None:
    """Without a warehouse nothing is sent."""
    without = lakehouse_settings.model_copy(update={"databricks_warehouse_id": None})
    with pytest.raises(SettingsError, match="DATABRICKS_WAREHOUSE_ID"):
        DatabricksLakehouse(without).execute("SELECT 1")


@pytest.mark.parametrize("wrong_id", ["0000000000000000", "no-warehouse"])
def test_a_wrong_warehouse_is_an_error(lakehouse_settings: Settings, wrong_id: str) -> None:
    """A warehouse that is not there is told, with the setting to look at."""
    wrong = lakehouse_settings.model_copy(update={"databricks_warehouse_id": wrong_id})
    with pytest.raises(LakehouseNotFound, match=f"'{wrong_id}'.*DATABRICKS_WAREHOUSE_ID"):
        DatabricksLakehouse(wrong).execute("SELECT 1")


def test_a_slow_statement_is_waited_for(lakehouse: Lakehouse, lakehouse_faults: StandIn) -> None:
    """Whatever the first wait returns, the result is that of the finished statement."""
    rule = lakehouse_faults.fault(match={"statement_contains": "slow_one"}, action={"slow_statement_s": 1.5})
    started = time.monotonic()
    assert lakehouse.execute("SELECT 7 AS slow_one").to_pylist() == [{"slow_one": 7}]
    assert lakehouse_faults.hits(rule) == 1
    assert time.monotonic() - started >= 1.5


def test_an_expired_link_is_asked_for_again(lakehouse: Lakehouse, lakehouse_faults: StandIn) -> None:
    """A link that is refused as expired is fetched anew and every row is there."""
    rule = lakehouse_faults.fault(match={"method": "GET", "path_contains": "/_storage"}, action={"expire_links": True})
    assert lakehouse.execute("SELECT id FROM range(1000)").num_rows == 1000
    assert lakehouse_faults.hits(rule) == 1


def test_a_link_that_never_works_is_unavailable(lakehouse: Lakehouse, lakehouse_faults: StandIn) -> None:
    """Links that stay refused end as a transient error, not as an empty table."""
    lakehouse_faults.fault(
        match={"method": "GET", "path_contains": "/_storage"}, times=None, action={"expire_links": True}
    )
    with pytest.raises(LakehouseUnavailable, match="Chunk 0"):
        lakehouse.execute("SELECT id FROM range(10)")


def test_sqlstate_is_kept(lakehouse: Lakehouse, lakehouse_faults: StandIn) -> None:
    """A failure's SQLSTATE is there for whoever decides about a retry."""
    lakehouse_faults.fault(
        match={"statement_contains": "conflicting"},
        action={"statement_error": {"error_code": "ABORTED", "message": "Conflict.", "sqlstate": "2D521"}},
    )
    with pytest.raises(StatementFailed) as caught:
        lakehouse.execute("SELECT 1 AS conflicting")
    assert caught.value.sqlstate == "2D521"
