"""Connections through Microsoft's driver: encryption, login, parameters, transactions, errors, cancelling."""

# ruff: noqa: DTZ001 (SQL Server's zoneless types)

from __future__ import annotations

import datetime as dt
import itertools
import socket
import threading
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.sandbox.sql_server.contract import (
    BeginTransaction,
    Column,
    CommitTransaction,
    Done,
    Event,
    Message,
    RollbackTransaction,
    RowSet,
    SqlError,
    SqlType,
)
from sql_databricks_bridge.sandbox.sql_server.wire.packets import PacketType, parse_header
from sql_databricks_bridge.sandbox.sql_server.wire.prelogin import build_prelogin
from sql_databricks_bridge.sandbox.sql_server.wire.tokens import column_metadata

from .tds_arrow_client import ArrowClient
from .tds_fixed_engine import PASSWORD, FixedSession, Served, rows, serve

INT = SqlType("int")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.fixture(scope="module")
def client() -> Iterator[ArrowClient]:
    with ArrowClient() as running:
        yield running


def _one(_: FixedSession) -> Iterator[Event]:
    return rows([("n", INT, pa.array([1], pa.int32()))])


@pytest.mark.parametrize("encryption", ["off", "optional", "required"])
@pytest.mark.parametrize(
    "encrypt", ["Encrypt=no;TrustServerCertificate=yes", "Encrypt=yes;TrustServerCertificate=yes", "Encrypt=strict"]
)
def test_each_encryption_the_server_offers_works_and_no_other(encryption: str, encrypt: str) -> None:
    """Encrypt=no, yes and strict against every server setting; only a server without TLS turns the last two away."""
    with serve(encryption) as served:
        sql = served.query("one", _one)
        if encrypt == "Encrypt=strict":
            encrypt += f";ServerCertificate={served.certificate}"
        if encryption == "off" and not encrypt.startswith("Encrypt=no"):
            with pytest.raises(Exception, match=r"(?i)encrypt|ssl|communication|connection"):
                served.connect(encrypt)
            return
        with served.connect(encrypt) as connection:
            assert connection.cursor().execute(sql).fetchall()[0][0] == 1


def test_a_refused_login_says_why(served: Served) -> None:
    """A wrong password is 18456; a wrong database 4060 and then 18456 (of which the driver shows the latter)."""
    with pytest.raises(Exception, match="Login failed for user 'sa'"):
        served.connect(PWD="wrong")
    with pytest.raises(Exception, match="Login failed for user 'sa'"):
        served.connect(Database="Nope")
    assert [_error_numbers(served, "wrong"), _error_numbers(served, PASSWORD, "Nope")] == [[18456], [4060, 18456]]


def _error_numbers(served: Served, password: str, database: str = "") -> list[int]:
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=10) as raw:
        raw.sendall(_packet(PacketType.PRELOGIN, build_prelogin({1: b"\2"})))
        _answer(raw)
        raw.sendall(_packet(PacketType.LOGIN7, _login(password, database)))
        answer, numbers = _answer(raw), []
        assert raw.recv(1) == b""
    while answer[0] == 0xAA:
        numbers.append(int.from_bytes(answer[3:7], "little"))
        answer = answer[3 + int.from_bytes(answer[1:3], "little") :]
    assert answer == b"\xfd\x02\0\0\0" + b"\0" * 8
    return numbers


def test_a_login_carries_who_and_where(served: Served) -> None:
    """User, database and application arrive; closing the connection closes the engine's session."""
    with served.connect() as connection:
        connection.cursor().execute("nothing")
        session = served.engine.sessions[-1]
        assert (session.database, served.engine.logins[-1].application) == ("Flights", "MSSQL-Python")
    assert session.closed.wait(5)


def test_parameters_arrive_with_their_types(served: Served) -> None:
    """Each Python type becomes a parameter whose Arrow value equals it."""
    values: list[Any] = [
        None,
        True,
        7,
        -(2**40),
        1.5,
        Decimal("-12345678901234567890.1234"),
        "é😀",
        "x" * 10_000,
        b"\0\xff",
        b"b" * 9000,
        dt.date(1753, 1, 1),
        dt.datetime(2024, 2, 29, 1, 2, 3, 456789),
        uuid.UUID(int=1 << 127 | 5),
    ]
    with served.connect() as connection:
        connection.cursor().execute("select " + ",".join("?" * len(values)), values)
        call = served.engine.sessions[-1].calls[-1]
    # The driver prepares, or, where a parameter's type isn't known beforehand, executes directly.
    assert call.procedure in ("sp_prepexec", "sp_executesql")
    sent = call.parameters[-len(values) :]
    got = [parameter.value[0].as_py() for parameter in sent]
    types = [parameter.type.name for parameter in sent]
    assert got[:10] == values[:10]
    assert got[10] == dt.date(1753, 1, 1)
    assert (
        got[11]
        == (dt.datetime(2024, 2, 29, 1, 2, 3, 456789) - dt.datetime(1, 1, 1)) // dt.timedelta(microseconds=1) * 10
    )
    assert got[12] == uuid.UUID(int=1 << 127 | 5).bytes
    assert types[5] in ("numeric", "decimal")
    assert (types[10], types[11], types[12]) == ("date", "datetime2", "uniqueidentifier")


def test_transactions_are_begun_committed_and_rolled_back(served: Served) -> None:
    """With autocommit off the driver's requests reach the engine, and later requests name the transaction."""
    sql = served.query("one", _one)
    with served.connect(autocommit=False) as connection:
        cursor = connection.cursor()
        cursor.execute(sql).fetchall()
        connection.commit()
        cursor.execute(sql).fetchall()
        connection.rollback()
        cursor.execute(sql).fetchall()
        kinds = [type(request) for request in served.engine.sessions[-1].requests]
    assert kinds[0] is BeginTransaction
    assert CommitTransaction in kinds
    assert RollbackTransaction in kinds


def test_an_error_has_its_text_and_the_batch_goes_on(served: Served) -> None:
    """A statement's error is raised; what follows it in the batch can still be fetched; the connection lives on."""

    def made(_: FixedSession) -> Iterator[Event]:
        yield Message(8134, "Divide by zero error encountered.")
        yield Done("SELECT")
        yield from _one(_)

    sql, one = served.query("1/0", made), served.query("one", _one)
    with served.connect() as connection:
        with pytest.raises(Exception, match="Divide by zero error encountered"):
            connection.cursor().execute(sql)
        assert connection.cursor().execute(one).fetchall()[0][0] == 1


@pytest.mark.parametrize("count", [1, 100_000])
def test_an_error_in_mid_stream_fails_the_whole_read(served: Served, client: ArrowClient, count: int) -> None:
    """Rows, then an error from the engine's iterator: the read raises it, however many rows came before."""

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_arrays([pa.array(range(count), pa.int32())], ["n"])
        raise SqlError(Message(8115, "Arithmetic overflow error converting expression to data type int."))

    def made(_: FixedSession) -> Iterator[Event]:
        yield RowSet((Column("n", INT),), batches())
        yield Done("SELECT", count)

    sql = served.query(f"overflow {count}", made)
    with pytest.raises(RuntimeError, match="Arithmetic overflow"):
        client.read(served.connection_string(), sql)


def test_a_fatal_error_ends_the_connection(served: Served) -> None:
    """Severity 20: the error arrives, then the connection is gone and the session closed."""

    def made(_: FixedSession) -> Iterator[Event]:
        raise SqlError(Message(596, "Cannot continue the execution because the session is in the kill state.", 21))

    sql = served.query("kill", made)
    connection = served.connect()
    with pytest.raises(Exception, match="kill state"):
        connection.cursor().execute(sql)
    assert served.engine.sessions[-1].closed.wait(5)
    with pytest.raises(Exception, match=r"(?i)communication link|connection"):
        connection.cursor().execute("one")
    connection.close()


def test_a_crash_of_the_engine_is_an_error_not_a_hang(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """A bug behind the wire becomes error 3624 with its text; the server goes on serving others."""

    def made(_: FixedSession) -> Iterator[Event]:
        raise KeyError("bug")

    sql = served.query("bug", made)
    connection = served.connect()
    with pytest.raises(Exception, match=r"assertion check has failed.*KeyError"):
        connection.cursor().execute(sql)
    connection.close()
    assert "internal error" in caplog.text
    with served.connect() as other:
        assert other.cursor().execute(served.query("one", _one)).fetchall()[0][0] == 1


def test_closing_a_reader_cancels_the_stream(served: Served) -> None:
    """An endless result is stopped by an attention while rows stream; the engine is told; the connection is usable."""
    session_cancelled: list[threading.Event] = []

    def made(session: FixedSession) -> Iterator[Event]:
        session_cancelled.append(session.cancelled)
        batch = pa.RecordBatch.from_arrays([pa.array(range(1000), pa.int32())], ["n"])
        yield RowSet(
            (Column("n", INT),), itertools.takewhile(lambda _: not session.cancelled.is_set(), itertools.repeat(batch))
        )
        yield Done("SELECT")

    sql, one = served.query("endless", made), served.query("one", _one)
    with served.connect() as connection:
        cursor = connection.cursor()
        cursor.execute(sql)
        reader = cursor.arrow_reader(1000)
        assert reader.read_next_batch().num_rows == 1000
        reader.close()
        assert session_cancelled[0].wait(5)
        assert cursor.execute(one).fetchall()[0][0] == 1
    log = served.server.requests.to_json()
    assert [entry["outcome"] for entry in log if entry["statement"] == sql] == ["cancelled"]


def test_a_timeout_cancels_a_statement_that_gives_nothing(served: Served) -> None:
    """The driver's query timeout sends an attention while the engine is silent; it gets its answer."""

    def made(session: FixedSession) -> Iterator[Event]:
        assert session.cancelled.wait(20)
        return iter(())

    sql, one = served.query("waits", made), served.query("one", _one)
    with served.connect() as connection:
        connection.timeout = 1
        with pytest.raises(Exception, match=r"(?i)timeout"):
            connection.cursor().execute(sql)
        connection.timeout = 0
        assert connection.cursor().execute(one).fetchall()[0][0] == 1


def test_a_client_that_vanishes_frees_its_session(served: Served) -> None:
    """The socket dies while the engine works: the call is cancelled and the session closed."""
    started = threading.Event()

    def made(session: FixedSession) -> Iterator[Event]:
        started.set()
        assert session.cancelled.wait(20)
        return iter(())

    sql = served.query("abandoned", made)
    raw = _logged_in(served)
    raw.sendall(_packet(PacketType.BATCH, _batch(sql)))
    assert started.wait(5)
    session = served.engine.sessions[-1]
    raw.close()
    assert session.closed.wait(5)


def test_use_changes_the_database_on_both_sides(served: Served) -> None:
    """ENVCHANGE 1: after USE, faults and the log know the new database."""
    with served.connect() as connection:
        connection.cursor().execute("USE [Other]")
        connection.cursor().execute("after use")
    (entry,) = [e for e in served.server.requests.to_json() if e["statement"] == "after use"]
    assert entry["database"] == "Other"


# -- what only a raw client sends ----------------------------------------------------------------------------------


def _packet(packet_type: PacketType, body: bytes, status: int = 1) -> bytes:
    return bytes((packet_type, status)) + (len(body) + 8).to_bytes(2, "big") + b"\0\0\1\0" + body


def _batch(sql: str, descriptor: int = 0) -> bytes:
    header = (22).to_bytes(4, "little") + (18).to_bytes(4, "little") + b"\2\0"
    return header + descriptor.to_bytes(8, "little") + b"\1\0\0\0" + sql.encode("utf-16-le")


def _login(password: str, database: str = "") -> bytes:
    fixed = bytearray(94)
    fixed[4:8] = (0x74000004).to_bytes(4, "little")
    data = b""
    for at, text in ((40, "sa"), (44, password), (68, database)):
        raw = text.encode("utf-16-le")
        if at == 44:
            raw = bytes((((b << 4) & 0xF0) | (b >> 4)) ^ 0xA5 for b in raw)
        fixed[at : at + 4] = (94 + len(data)).to_bytes(2, "little") + (len(raw) // 2).to_bytes(2, "little")
        data += raw
    fixed[0:4] = (94 + len(data)).to_bytes(4, "little")
    return bytes(fixed) + data


def _answer(raw: socket.socket) -> bytes:
    """One whole message."""
    message = b""
    while True:
        header = _exactly(raw, 8)
        _, status, length = parse_header(header)
        message += _exactly(raw, length)
        if status & 1:
            return message


def _exactly(raw: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = raw.recv(count - len(data))
        if not more:
            raise ConnectionError("closed")
        data += more
    return data


def _logged_in(served: Served) -> socket.socket:
    raw = socket.create_connection(("127.0.0.1", served.server.port), timeout=10)
    raw.sendall(_packet(PacketType.PRELOGIN, build_prelogin({1: b"\2"})))
    _answer(raw)
    raw.sendall(_packet(PacketType.LOGIN7, _login(PASSWORD)))
    assert b"\xad" in _answer(raw)
    return raw


@pytest.fixture
def raw(served: Served) -> Iterator[socket.socket]:
    with _logged_in(served) as connection:
        yield connection


def test_an_attention_between_requests_is_acknowledged(raw: socket.socket) -> None:
    """DONE with the ATTN bit and nothing else."""
    raw.sendall(_packet(PacketType.ATTENTION, b""))
    assert _answer(raw) == b"\xfd\x20\0\0\0" + b"\0" * 8


def test_an_attention_in_the_middle_of_a_request_takes_it_back(served: Served, raw: socket.socket) -> None:
    """The half-sent batch is never run."""
    raw.sendall(_packet(PacketType.BATCH, _batch("never run"), status=0) + _packet(PacketType.ATTENTION, b""))
    assert _answer(raw) == b"\xfd\x20\0\0\0" + b"\0" * 8
    assert "never run" not in served.engine.sessions[-1].batches


def test_a_request_ended_with_the_ignore_bit_is_not_run(served: Served, raw: socket.socket) -> None:
    """Status EOM and IGNORE: a plain DONE answers it."""
    raw.sendall(_packet(PacketType.BATCH, _batch("ignored"), status=3))
    assert _answer(raw) == b"\xfd" + b"\0" * 12
    assert "ignored" not in served.engine.sessions[-1].batches


def test_an_attention_during_an_answer_is_acknowledged_in_a_message_of_its_own(
    served: Served, raw: socket.socket
) -> None:
    """The cancelled answer ends in order, then comes DONE with ATTN."""
    started = threading.Event()

    def made(session: FixedSession) -> Iterator[Event]:
        started.set()
        assert session.cancelled.wait(20)
        return iter(())

    served.query("cancel me", made)
    raw.sendall(_packet(PacketType.BATCH, _batch("cancel me")))
    assert started.wait(5)
    raw.sendall(_packet(PacketType.ATTENTION, b""))
    assert _answer(raw) == b"\xfd" + b"\0" * 12
    assert _answer(raw) == b"\xfd\x20\0\0\0" + b"\0" * 8


@pytest.mark.parametrize("how", ["attention", "ignore"])
def test_a_bulk_load_that_is_taken_back_fails_in_the_engine(served: Served, raw: socket.socket, how: str) -> None:
    """Half a load, then an attention or the IGNORE bit: the engine's iterator raises 3617, and the client goes on."""
    metadata = column_metadata([Column("n", INT)], "", utf8=False)
    raw.sendall(_packet(PacketType.BULK_LOAD, metadata + b"\xd1\x04\1\0\0\0", status=0))
    if how == "attention":
        raw.sendall(_packet(PacketType.ATTENTION, b""))
    else:
        raw.sendall(_packet(PacketType.BULK_LOAD, b"", status=3))
    loads = len(served.engine.bulk)
    answer = _answer(raw)
    assert (answer[0], int.from_bytes(answer[3:7], "little")) == (0xAA, 3617)
    if how == "attention":
        assert _answer(raw) == b"\xfd\x20\0\0\0" + b"\0" * 8
    assert len(served.engine.bulk) == loads
    raw.sendall(_packet(PacketType.BATCH, _batch("nothing")))
    assert _answer(raw) == b"\xfd" + b"\0" * 12


def test_reset_connection_resets_before_the_request(served: Served, raw: socket.socket) -> None:
    """Status bit 0x08: the engine's session is reset and ENVCHANGE 18 says so."""
    raw.sendall(_packet(PacketType.BATCH, _batch("after reset"), status=9))
    assert _answer(raw).startswith(b"\xe3\x03\x00\x12\x00\x00")
    assert served.engine.sessions[-1].resets == 1


@pytest.mark.parametrize("descriptor", [0, 99])
def test_a_request_outside_its_transaction_is_refused(served: Served, raw: socket.socket, descriptor: int) -> None:
    """Inside a transaction a request that doesn't name it gets 3989 or 3971 and isn't run."""
    begin = _batch("", 0)[:22] + (5).to_bytes(2, "little") + b"\0\0"
    raw.sendall(_packet(PacketType.TRANSACTION, begin))
    assert _answer(raw)[:4] == b"\xe3\x0b\x00\x08"
    raw.sendall(_packet(PacketType.BATCH, _batch("outside", descriptor)))
    answer = _answer(raw)
    assert answer[0] == 0xAA
    assert int.from_bytes(answer[3:7], "little") == (3971 if descriptor else 3989)
    assert "outside" not in served.engine.sessions[-1].batches


@pytest.mark.parametrize(
    "body",
    [
        _packet(PacketType.BATCH, b"\xff\xff\xff\x7f"),
        _packet(PacketType.BATCH, _batch("x") + b"\0"),
        _packet(PacketType.RPC, _batch("")[:22] + b"\xff\xff\x0a\0\0\0" + b"\0\0\xe7\xff"),
        _packet(PacketType.RPC, _batch("")[:22] + b"\xff\xff\x0a\0\0\0" + b"\0\0\x99"),
        _packet(PacketType.TRANSACTION, _batch("")[:22] + b"\x63\0"),
        _packet(PacketType.BULK_LOAD, b"\x00"),
        _packet(PacketType.LOGIN7, b""),
    ],
    ids=["headers", "odd text", "cut parameter", "unknown type", "unknown transaction", "bulk", "second login"],
)
def test_a_malformed_request_is_answered_and_ends_the_connection(
    served: Served, raw: socket.socket, body: bytes
) -> None:
    """Error 4002, then the end of the stream; the session is closed; the server serves others."""
    raw.sendall(body)
    answer = _answer(raw)
    assert (answer[0], int.from_bytes(answer[3:7], "little")) == (0xAA, 4002)
    assert raw.recv(1) == b""
    assert served.engine.sessions[-1].closed.wait(5)


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x12\x01\x00\x08\0\0\0\0", b"\x10\x01\x00\x07"]
)
def test_a_client_that_does_not_speak_tds_is_hung_up_on(served: Served, first: bytes) -> None:
    """Whatever comes first, the server closes that connection and lives."""
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=10) as raw:
        raw.sendall(first)
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(4096):
            pass
    with served.connect() as connection:
        assert connection.cursor().execute(served.query("one", _one)).fetchall()[0][0] == 1


def test_several_calls_in_one_message_are_answered_in_one(served: Served, raw: socket.socket) -> None:
    """Two RPCs split by the batch flag: both run, DONEPROC with MORE between them."""
    call: Any = "abc".encode("utf-16-le")
    one = (3).to_bytes(2, "little") + call + b"\0\0" + b"\0\0\x26\x04\x04\7\0\0\0"
    raw.sendall(_packet(PacketType.RPC, _batch("")[:22] + one + b"\xff" + one))
    answer = _answer(raw)
    done = b"\x79\0\0\0\0" + b"\xfe%b\0\xe0\0" + b"\0" * 8
    assert answer == done.replace(b"%b", b"\1") + done.replace(b"%b", b"\0")
    assert [c.procedure for c in served.engine.sessions[-1].calls] == ["abc", "abc"]


def test_megabyte_values_in_every_row_stream_in_bounded_memory(served: Served, raw: socket.socket) -> None:
    """1 MiB in each of 200 rows: the engine is never asked for much more than the client has taken."""
    value, received, lead = pa.array(["m" * 1_048_576], pa.large_string()), 0, [0]

    def batches() -> Iterator[pa.RecordBatch]:
        for produced in range(200):
            lead[0] = max(lead[0], produced * 1_048_576 - received)
            yield pa.RecordBatch.from_arrays([value], ["v"])

    def made(_: FixedSession) -> Iterator[Event]:
        yield RowSet((Column("v", SqlType("varchar", -1)),), batches())
        yield Done("SELECT", 200)

    served.query("megabytes", made)
    raw.sendall(_packet(PacketType.BATCH, _batch("megabytes")))
    last = 0
    while not last & 1:
        _, last, length = parse_header(_exactly(raw, 8))
        received += len(_exactly(raw, length))
    assert received > 200 * 1_048_576
    assert lead[0] < 40 * 1_048_576


def test_stopping_the_server_ends_every_connection() -> None:
    """stop() returns with no session open, also while one of them is in the middle of a statement."""
    started = threading.Event()

    def made(session: FixedSession) -> Iterator[Event]:
        started.set()
        assert session.cancelled.wait(20)
        return iter(())

    with serve() as served:
        served.query("busy", made)
        busy, idle = _logged_in(served), _logged_in(served)
        busy.sendall(_packet(PacketType.BATCH, _batch("busy")))
        assert started.wait(5)
        served.server.stop()
        assert served.server.connections == 0
        assert all(session.closed.is_set() for session in served.engine.sessions)
        busy.close()
        idle.close()
