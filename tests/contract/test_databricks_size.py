"""Big results on the Databricks stand-in: many chunks from disk, bounded memory; and every type in Arrow."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from databricks.sdk.service.sql import Disposition, Format

from tests.conftest import StandIn
from tests.contract.databricks_fixture import Sandbox, arrow, ended, fetch, message_of, signed_in, start_databricks

ROWS = 3_000_000
ALLOWED_MIB = 400

TYPES = (
    ("CAST(1 AS TINYINT)", pa.int8(), 1),
    ("CAST(2 AS SMALLINT)", pa.int16(), 2),
    ("3", pa.int32(), 3),
    ("4L", pa.int64(), 4),
    ("CAST(1.5 AS FLOAT)", pa.float32(), 1.5),
    ("2.5D", pa.float64(), 2.5),
    ("CAST(1 AS DECIMAL(38,18))", pa.decimal128(38, 18), Decimal("1.000000000000000000")),
    ("'ñ'", pa.string(), "ñ"),
    ("X'00FF'", pa.binary(), b"\x00\xff"),
    ("true", pa.bool_(), True),
    ("DATE'0001-01-01'", pa.date32(), dt.date(1, 1, 1)),
    ("DATE'9999-12-31'", pa.date32(), dt.date(9999, 12, 31)),
    ("TIMESTAMP'0001-01-01 00:00:00Z'", pa.timestamp("us", "Etc/UTC"), dt.datetime(1, 1, 1, tzinfo=dt.UTC)),
    (
        "TIMESTAMP_NTZ'0001-01-01 00:00:00.000001'",
        pa.timestamp("us"),
        dt.datetime.fromisoformat("0001-01-01T00:00:00.000001"),
    ),
    ("array(1, NULL)", pa.list_(pa.field("element", pa.int32())), [1, None]),
    ("map('a', CAST(NULL AS INT))", pa.map_(pa.string(), pa.int32()), [("a", None)]),
    (
        "named_struct('x', 1, 'y', array('q'))",
        pa.struct([("x", pa.int32()), ("y", pa.list_(pa.field("element", pa.string())))]),
        {"x": 1, "y": ["q"]},
    ),
)


@pytest.fixture
def sandbox(lakehouse_faults: StandIn) -> Iterator[Sandbox]:
    with signed_in(lakehouse_faults) as made:
        yield made


def test_a_big_table_is_read_in_chunks_from_disk_in_bounded_memory(tmp_path: Path) -> None:
    with start_databricks(tmp_path / "data") as own:
        table = own.table()
        own.rows(f"CREATE TABLE {table} (id BIGINT, a INT, s STRING, d DECIMAL(18,2), t TIMESTAMP, f DOUBLE)")
        own.rows(
            f"INSERT INTO {table} SELECT id, CAST(id % 1000 AS INT), concat('row ', id), id / 100, "
            f"timestamp_seconds(id), id * 0.5 FROM range({ROWS})",
            wait_timeout="50s",
        )
        before = resident_mib(own)
        answer = own.sql(
            f"SELECT * FROM {table}",
            disposition=Disposition.EXTERNAL_LINKS,
            format=Format.ARROW_STREAM,
            wait_timeout="0s",
        )
        answer = ended(own, answer.statement_id)
        assert message_of(answer) == ""
        assert answer.manifest is not None
        assert answer.manifest.total_row_count == ROWS
        assert (answer.manifest.total_chunk_count or 0) > 8
        index: int | None = 0
        seen = total = 0
        while index is not None:
            part = own.client.statement_execution.get_statement_result_chunk_n(answer.statement_id or "", index)
            (link,) = part.external_links or []
            content = pa.ipc.open_stream(fetch(link.external_link or "").content).read_all()
            seen, total = seen + content.num_rows, total + pc.sum(content["id"]).as_py()
            index = link.next_chunk_index
        assert (seen, total) == (ROWS, ROWS * (ROWS - 1) // 2)
        assert resident_mib(own) - before < ALLOWED_MIB


def resident_mib(sandbox: Sandbox) -> int:
    pid = fetch(sandbox.ready["admin_url"]).json()["pid"]
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found.group(1)) // 1024


@pytest.mark.parametrize("stored", [False, True])
def test_every_type_arrives_in_arrow_as_databricks_sends_it(sandbox: Sandbox, stored: bool) -> None:
    columns = ", ".join(f"{sql} AS c{number}" for number, (sql, _, _) in enumerate(TYPES))
    source = f"(SELECT {columns})"
    if stored:
        source = sandbox.table()
        sandbox.rows(f"CREATE TABLE {source} AS SELECT {columns}")
    found = arrow(sandbox, f"SELECT *, NULL AS nothing FROM {source}")
    (row,) = found.to_pylist()
    for number, (sql, kind, value) in enumerate(TYPES):
        assert same_type(found.schema.field(f"c{number}").type, kind), sql
        assert row[f"c{number}"] == value, sql
    assert found.schema.field("nothing").type == pa.null()


def same_type(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether two types are one, their nullability aside."""
    if pa.types.is_list(wanted):
        return pa.types.is_list(found) and same_type(found.value_type, wanted.value_type)
    if pa.types.is_map(wanted):
        parts = (found.key_type, wanted.key_type), (found.item_type, wanted.item_type)
        return pa.types.is_map(found) and all(same_type(*pair) for pair in parts)
    if pa.types.is_struct(wanted):
        pairs = zip(found, wanted, strict=True)
        return all(one.name == other.name and same_type(one.type, other.type) for one, other in pairs)
    return bool(found == wanted)
