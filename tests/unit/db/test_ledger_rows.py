"""Rows of the ledger and of the catalog that a healthy test server does not give, as a server would send them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import pytest

from sql_databricks_bridge.db import app_locks
from sql_databricks_bridge.db.binding import Bound
from sql_databricks_bridge.db.ledger import entries, insert_statement, ready, record, settle_statement
from sql_databricks_bridge.db.rows import Rows
from sql_databricks_bridge.db.target_catalog import find_target
from sql_databricks_bridge.db.type_names import type_name
from sql_databricks_bridge.errors import EventInvalid, SourceBusy, SourceError, SyncError, Transient
from sql_databricks_bridge.models.events import LedgerEntry, LedgerOutcome
from sql_databricks_bridge.models.tables import TargetName

ENTRY = LedgerEntry("e1", 1, b"h" * 32, LedgerOutcome.FAILED, rows_expected=7)
ROW = {
    "event_id": "e1",
    "generation": 1,
    "payload_hash": b"h" * 32,
    "source_version": None,
    "outcome": "failed",
    "rows_affected": None,
    "rows_expected": 7,
    "message": None,
    "applied_at": dt.datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001 (as the driver gives it)
}
COLUMN = {
    "schema_name": "dbo",
    "object_name": "t",
    "target_id": 7,
    "object_type": "U ",
    "is_shipped": False,
    "database_name": "d",
    "sees_everything": 1,
    "column_name": "id",
    "type_name": "int",
    "is_user_defined": False,
    "is_assembly_type": False,
    "base_type_name": "int",
    "max_length": 4,
    "precision": 10,
    "scale": 0,
    "is_nullable": False,
    "collation_name": None,
    "code_page": None,
    "default_object_id": 0,
    "is_identity": False,
    "is_computed": False,
    "is_hidden": False,
    "generated_always_type": 0,
}


def answering(*answers: Sequence[dict[str, Any]]) -> Rows:
    """A server that gives these results, in turn."""
    left = list(answers)

    def rows(_statement: str, _bound: Bound | None) -> list[dict[str, Any]]:
        return list(left.pop(0))

    return rows


def markers_fit(statement: str, bound: Bound) -> bool:
    """Whether every marker has its value and type."""
    return statement.count("?") == len(bound.values) == len(bound.types)


def test_a_row_is_read_in_utc() -> None:
    """The server's clock is UTC; the entry says so."""
    found = entries(answering([ROW]), ["e1"])
    assert found == {"e1": ENTRY}
    assert found["e1"].applied_at == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "wrong", [{"outcome": "skipped"}, {"outcome": None}, {"payload_hash": b"short"}, {"payload_hash": None}]
)
def test_a_row_that_cant_be_understood_decides_nothing(wrong: dict[str, Any]) -> None:
    """An outcome of another version, or a hash that is none: `SyncError` with the event's id, and no retry."""
    with pytest.raises(SyncError, match="'e1', generation 1") as caught:
        entries(answering([ROW | wrong]), ["e1"])
    assert not isinstance(caught.value, Transient | EventInvalid)


def test_a_row_that_is_gone_after_it_was_written_is_told() -> None:
    """Somebody deletes ledger rows: exactly once is over, so nothing goes on silently."""
    with pytest.raises(SyncError, match="lost generation 1 of event 'e1'"):
        record(answering([]), ENTRY)


def test_an_event_id_that_the_ledger_cant_hold_is_never_asked_for() -> None:
    """Too long in UTF-16, half a character, or NUL: no row can have it, and the driver would choke on the rest."""
    impossible = ["x" * 201, "\N{PILE OF POO}" * 101, "\ud800", "a\x00b"]
    assert entries(answering(), impossible) == {}
    for event_id in impossible:
        with pytest.raises(EventInvalid, match="can't stand in the ledger"):
            insert_statement(LedgerEntry(event_id, 1, b"h" * 32, LedgerOutcome.APPLIED))


@pytest.mark.parametrize("reopened", [False, True])
def test_every_marker_of_the_applying_transaction_has_its_value(reopened: bool) -> None:
    """Whoever runs these statements binds what comes with them."""
    assert markers_fit(*insert_statement(ENTRY, reopened=reopened))
    assert markers_fit(*settle_statement(ENTRY))


def test_open_is_no_outcome_to_record() -> None:
    """Only `reopen` opens."""
    with pytest.raises(ValueError, match="no final outcome"):
        record(answering(), LedgerEntry("e1", 1, b"h" * 32, LedgerOutcome.OPEN))


def test_a_server_without_the_table_has_no_ledger() -> None:
    """No column at all: not ready, and no error."""
    assert not ready(answering([]))


@pytest.mark.parametrize(("result", "kind"), [(-2, SourceBusy), (-3, SourceBusy), (-999, SourceError)])
def test_a_lock_that_failed_is_not_a_lock_that_is_taken(result: int, kind: type[SourceError]) -> None:
    """Cancelled and deadlocked may be tried again, a refused parameter never."""
    with pytest.raises(kind, match=str(result)) as caught:
        app_locks.acquire(answering([{"result": result}]), "bridge:7")
    assert type(caught.value) is kind


def test_a_lock_name_that_the_server_would_cut_is_refused() -> None:
    """sp_getapplock cuts names at 255 characters, and then two are one."""
    with pytest.raises(ValueError, match="1 to 255"):
        app_locks.acquire(answering(), "x" * 256)


@pytest.mark.parametrize(
    ("special", "what"),
    [
        ({"object_type": "SN"}, "a synonym"),
        ({"object_type": "IF"}, "a table-valued function"),
        ({"object_type": "F "}, "not a table"),
        ({"is_shipped": True}, "a system table"),
        ({"is_external": True}, "an external table"),
        ({"temporal_type": 1}, "the history of a temporal table"),
        ({"is_filetable": True}, "a FileTable"),
        ({"is_edge": True}, "a graph table"),
        ({"ledger_type": 2}, "a ledger table"),
        ({"schema_name": "BRIDGE"}, "the bridge's own"),
    ],
)
def test_what_is_no_ordinary_table_is_refused_by_its_kind(special: dict[str, Any], what: str) -> None:
    """Some kinds that the stand-in can't make; a server's version without the flag has none of that kind."""
    with pytest.raises(EventInvalid, match=what):
        find_target(answering([COLUMN | special]), TargetName("dbo", "t"))
    assert find_target(answering([COLUMN], []), TargetName("dbo", "t")).object_id == 7


def test_a_column_of_an_alias_type_that_the_login_may_not_see_has_its_base_type() -> None:
    unseen = {"type_name": None, "is_user_defined": None, "is_assembly_type": None, "base_type_name": "int"}
    (column,) = find_target(answering([COLUMN | unseen], []), TargetName("dbo", "t")).columns
    assert column.sql_type == "int"


@pytest.mark.parametrize("schema", ["sys", "INFORMATION_SCHEMA", "bridge", "Bridge"])
def test_schemas_that_are_nobodys_are_refused_without_asking(schema: str) -> None:
    """The server's own, and the bridge's: its ledger must not be a target."""
    with pytest.raises(EventInvalid, match=f"(?i){schema}"):
        find_target(answering(), TargetName(schema, "applied_events"))


@pytest.mark.parametrize(("referenced", "unseen"), [(0, False), (1, True), (None, True)])
def test_a_login_that_cant_see_who_refers_to_the_target_counts_as_a_cascade(
    referenced: int | None, unseen: bool
) -> None:
    """Foreign keys belong to the child: without a right on it they are hidden, so a DELETE may reach further."""
    answers: list[list[dict[str, Any]]] = [[COLUMN | {"sees_everything": 0}], [], [{"referenced": referenced}]]
    cascades = find_target(answering(*answers), TargetName("dbo", "t")).cascades
    assert any("VIEW DEFINITION" in name for name in cascades) is unseen


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        (("nvarchar", 400, 0, 0), "nvarchar(200)"),
        (("nvarchar", -1, 0, 0), "nvarchar(max)"),
        (("varbinary", -1, 0, 0), "varbinary(max)"),
        (("char", 3, 0, 0), "char(3)"),
        (("decimal", 9, 18, 4), "decimal(18,4)"),
        (("datetime2", 7, 23, 3), "datetime2(3)"),
        (("datetimeoffset", 10, 34, 7), "datetimeoffset(7)"),
        (("float", 8, 53, 0), "float"),
        (("timestamp", 8, 0, 0), "timestamp"),
        (("geography", -1, 0, 0), "geography"),
        (("xml", -1, 0, 0), "xml"),
    ],
)
def test_a_type_is_named_as_the_server_writes_it(numbers: tuple[str, int, int, int], text: str) -> None:
    """Bytes become characters, and only what has a length or scale shows one."""
    assert type_name(*numbers) == text
