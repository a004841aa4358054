"""Response tokens as bytes (MS-TDS 2.2.7)."""

from __future__ import annotations

import pyarrow as pa
import pytest

from sql_databricks_bridge.sandbox.sql_server.contract import (
    DEFAULT_COLLATION,
    BeginTransaction,
    Column,
    CommitTransaction,
    DatabaseChanged,
    Isolation,
    Message,
    ReturnValue,
    RollbackTransaction,
    SaveTransaction,
    SqlError,
    SqlType,
    TransactionChange,
    TransactionChanged,
)
from sql_databricks_bridge.sandbox.sql_server.wire import tokens
from sql_databricks_bridge.sandbox.sql_server.wire.bytecursor import ByteCursor
from sql_databricks_bridge.sandbox.sql_server.wire.requests import read_transaction_request
from sql_databricks_bridge.sandbox.sql_server.wire.tokens import DoneStatus


def _wide(text: str) -> str:
    return text.encode("utf-16-le").hex()


def test_done_counts_only_where_there_is_a_count() -> None:
    """COUNT is set with rows, the command is named, the row count has eight bytes."""
    assert tokens.done(tokens.DONE, DoneStatus.MORE, "SELECT", 2**40).hex() == "fd1100c1000000000000010000"
    assert tokens.done(tokens.DONE_PROC, DoneStatus.ERROR).hex() == "fe020000000000000000000000"


def test_errors_and_infos_differ_in_token_only() -> None:
    """Number, state, class, text, server, procedure and line; severity 10 and below is INFO."""
    body = "f6140000" + "02" + "{}" + "0200" + _wide("no") + "01" + _wide("S") + "01" + _wide("p") + "07000000"
    error = tokens.message(Message(5366, "no", 16, 2, 7, "p"), "S").hex()
    info = tokens.message(Message(5366, "no", 10, 2, 7, "p"), "S").hex()
    assert (error[:2], error[6:]) == ("aa", body.format("10"))
    assert (info[:2], info[6:]) == ("ab", body.format("0a"))


def test_an_endless_error_text_is_cut_to_fit_its_token() -> None:
    """The token's 16-bit length stays true."""
    raw = tokens.message(Message(1, "x" * 100_000), "S")
    assert int.from_bytes(raw[1:3], "little") == len(raw) - 3


def test_environment_changes_carry_new_and_old() -> None:
    """Database, packet size, collation, and a transaction's descriptor on the side where it exists."""
    assert tokens.database_change(DatabaseChanged("b", "a")).hex() == "e30700" + "01" + "016200" + "016100"
    assert tokens.packet_size_change(8, 4).hex() == "e30700" + "04" + "013800" + "013400"
    assert tokens.collation_change(None).hex() == "e30800" + "07" + "050904d00034" + "00"
    begun = TransactionChanged(TransactionChange.BEGIN, 5)
    ended = TransactionChanged(TransactionChange.ROLLBACK, 5)
    assert tokens.transaction_change(begun).hex() == "e30b00" + "08" + "080500000000000000" + "00"
    assert tokens.transaction_change(ended).hex() == "e30b00" + "0a" + "00" + "080500000000000000"


def test_login_is_acknowledged_with_versions() -> None:
    """The TDS version goes big-endian here; the program's name and version follow."""
    raw = tokens.login_ack(0x74000004, (16, 0, 4000)).hex()
    assert raw == "ad3200" + "01" + "74000004" + "14" + _wide("Microsoft SQL Server") + "10000fa0"


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (Column("a", SqlType("int")), "00000000" + "0900" + "2604"),
        (Column("a", SqlType("int"), nullable=False, identity=True), "00000000" + "1000" + "38"),
        (Column("a", SqlType("bigint"), computed=True), "00000000" + "2100" + "2608"),
        (Column("a", SqlType("timestamp"), nullable=False), "50000000" + "0000" + "ad0800"),
        (Column("a", SqlType("nvarchar", 4000, collation=DEFAULT_COLLATION)), "00000000" + "0900" + "e7401f0904d00034"),
        (Column("a", SqlType("nvarchar", -1)), "00000000" + "0900" + "e7ffff0904d00034"),
        (Column("a", SqlType("decimal", precision=38, scale=5)), "00000000" + "0900" + "6a112605"),
        (Column("a", SqlType("datetimeoffset", scale=3)), "00000000" + "0900" + "2b03"),
        (Column("a", SqlType("xml", -1)), "00000000" + "0900" + "f100"),
        (Column("a", SqlType("text")), "00000000" + "0900" + "23ffffff7f0904d00034" + "00"),
        (Column("a", SqlType("sql_variant")), "00000000" + "0900" + "62491f0000"),
    ],
)
def test_columns_are_described_by_type_and_flags(column: Column, expected: str) -> None:
    """User type, flags, TYPE_INFO (the bare type where NOT NULL has one), name."""
    assert tokens.column_metadata([column], "db", utf8=False).hex() == "810100" + expected + "016100"


def test_json_is_text_in_the_encoding_the_client_took() -> None:
    """Without the json feature: varchar(max) in UTF-8 for clients with that feature, else nvarchar(max)."""
    column = [Column("", SqlType("json", -1))]
    assert (
        tokens.column_metadata(column, "", utf8=True).hex()
        == "810100" + "000000000900" + "a7ffff" + "0904002600" + "00"
    )
    assert tokens.column_metadata(column, "", utf8=False).hex()[18:24] == "e7ffff"


def test_a_udt_names_its_class() -> None:
    """hierarchyid: the database, sys, its name and the assembly-qualified class."""
    raw = tokens.column_metadata([Column("h", SqlType("hierarchyid", -1))], "db", utf8=False).hex()
    assert "f07c03" + "02" + _wide("db") + "03" + _wide("sys") + "0b" + _wide("hierarchyid") in raw
    assert _wide("Microsoft.SqlServer.Types.SqlHierarchyId, Microsoft.SqlServer.Types") in raw


def test_a_type_that_the_wire_lacks_is_refused_by_name() -> None:
    """No column is announced as something it isn't."""
    with pytest.raises(SqlError, match="'vector'"):
        tokens.column_metadata([Column("v", SqlType("vector"))], "", utf8=False)


def test_an_output_parameter_has_its_type_and_value() -> None:
    """RETURNVALUE: ordinal, name, status, user type, flags, TYPE_INFO, value; NULL too."""
    head = "ac0000" + "02" + _wide("@p") + "01" + "00000000" + "0100"
    value = ReturnValue("@p", 0, SqlType("int"), pa.array([7], pa.int32()))
    null = ReturnValue("@p", 0, SqlType("int"), pa.array([None], pa.int32()))
    assert tokens.return_value(value, "", utf8=False).hex() == head + "2604" + "0407000000"
    assert tokens.return_value(null, "", utf8=False).hex() == head + "2604" + "00"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("0500" + "03" + "00", BeginTransaction(Isolation.REPEATABLE_READ)),
        ("0500" + "05" + "04" + _wide("t1"), BeginTransaction(Isolation.SNAPSHOT, "t1")),
        ("0700" + "00" + "00", CommitTransaction()),
        ("0700" + "00" + "01" + "02" + "00", CommitTransaction(BeginTransaction(Isolation.READ_COMMITTED))),
        ("0800" + "04" + _wide("sp") + "00", RollbackTransaction("sp")),
        ("0800" + "00" + "01" + "00" + "00", RollbackTransaction("", BeginTransaction())),
        ("0900" + "04" + _wide("sp"), SaveTransaction("sp")),
    ],
)
def test_transaction_requests_are_read(raw: str, expected: object) -> None:
    """MS-TDS 2.2.6.9: begin, commit, rollback (also with a new one at once), savepoint."""
    assert read_transaction_request(ByteCursor(bytes.fromhex(raw))) == expected


@pytest.mark.parametrize("kind", ["0000", "0100", "0600"])
def test_distributed_transactions_are_refused_by_name(kind: str) -> None:
    """DTC address, propagate, promote: error 8501."""
    with pytest.raises(SqlError, match="MSDTC") as caught:
        read_transaction_request(ByteCursor(bytes.fromhex(kind)))
    assert caught.value.message.number == 8501
