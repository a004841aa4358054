"""The ledger `bridge.applied_events`: what became of each event, in the database whose tables the events change.

One row for each generation of an event, and the first one written stands. `event_id` compares by its bytes, but SQL
Server pads what it compares with blanks under every collation, so 'a' and 'a ' are one key here: every row that comes
back is compared again, and whoever writes the second of the two is refused.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sql_databricks_bridge.db import app_locks
from sql_databricks_bridge.db.binding import Bound
from sql_databricks_bridge.db.rows import BIGINT, INT, Rows, binary, bound, nvarchar
from sql_databricks_bridge.db.type_names import type_name
from sql_databricks_bridge.errors import EventInvalid, LedgerMissing, SourceBusy, SyncError
from sql_databricks_bridge.models.events import EVENT_ID_LENGTH, LedgerEntry, LedgerOutcome

_SQL = Path(__file__).parent / "sql"
SCHEMA_SQL = (_SQL / "ledger.sql").read_text(encoding="utf-8")
"""Makes the schema and the ledger where they are missing; one batch, for a DBA to read and run."""

_COLUMNS = {
    "event_id": "nvarchar(200) Latin1_General_100_BIN2 not null",
    "generation": "int not null",
    "payload_hash": "binary(32) not null",
    "source_version": "bigint null",
    "outcome": "varchar(10) not null",
    "rows_affected": "bigint null",
    "rows_expected": "bigint null",
    "message": "nvarchar(4000) null",
    "applied_at": "datetime2(3) not null",
}
_KEY = ["event_id", "generation"]
_MESSAGE_LENGTH = 4000
_CHUNK = 500  # SQL Server takes 2,100 parameters
_CREATING = "bridge:ledger"
_CREATING_WAIT_MS = 60_000
_REOPEN_TRIES = 10

_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM bridge.applied_events"
_INSERT = """
INSERT INTO bridge.applied_events
       (event_id, generation, payload_hash, source_version, outcome, rows_affected, rows_expected, message, applied_at)
VALUES ({event_id}, {generation}, {payload_hash}, {source_version}, {outcome}, {rows_affected}, {rows_expected},
        {message}, SYSUTCDATETIME())"""
_END_OPEN = """
UPDATE bridge.applied_events
   SET payload_hash = {payload_hash}, source_version = {source_version}, outcome = {outcome},
       rows_affected = {rows_affected}, rows_expected = {rows_expected}, message = {message},
       applied_at = SYSUTCDATETIME()
 WHERE event_id = {event_id} AND DATALENGTH(event_id) = DATALENGTH({event_id})
   AND generation = {generation} AND outcome = 'open'"""
_SETTLE = """
UPDATE bridge.applied_events
   SET source_version = ?, rows_affected = ?, rows_expected = ?, message = ?
 WHERE event_id = ? AND generation = ?"""
_DECLARE = """
SET NOCOUNT ON;
DECLARE @event_id nvarchar(200) = ?, @generation int = ?, @payload_hash binary(32) = ?, @source_version bigint = ?,
        @outcome varchar(10) = ?, @rows_affected bigint = ?, @rows_expected bigint = ?, @message nvarchar(4000) = ?;"""
_VARIABLES = {name: f"@{name}" for name in _COLUMNS}
_MARKERS = dict.fromkeys(_COLUMNS, "?")
_INSERT_UNLESS_THERE = f"""
BEGIN TRY{_INSERT.format(**_VARIABLES)};
END TRY
BEGIN CATCH
    IF ERROR_NUMBER() <> 2627 THROW;
END CATCH;"""
_STANDING = f"""
{_SELECT} WHERE event_id = @event_id AND generation = @generation;"""
_OPEN = f"{_DECLARE}{_INSERT_UNLESS_THERE}{_STANDING}"
_RECORD = f"""{_DECLARE}{_END_OPEN.format(**_VARIABLES)};
IF @@ROWCOUNT = 0
BEGIN{_INSERT_UNLESS_THERE}
END;{_STANDING}"""


def ready(rows: Rows) -> bool:
    """Whether schema and table are there, with every column and the primary key as this version wants them."""
    return not _differences(rows)


def create(rows: Rows) -> None:
    """Create what is missing; harmless twice and from two sessions at once.

    `LedgerMissing` where a table of that name is there but is not this ledger; `SourceRefused` without the rights.
    """
    if not app_locks.acquire(rows, _CREATING, wait_ms=_CREATING_WAIT_MS):
        raise SourceBusy("Another session has been creating the bridge's ledger for a minute.", hint="Try again.")
    try:
        rows(SCHEMA_SQL, None)
        if differences := _differences(rows):
            raise LedgerMissing(
                f"bridge.applied_events is there, but it is not this version's ledger: {'; '.join(differences)}.",
                hint="Have a DBA compare it with what `bridge target init` prints, and mend or rename it.",
            )
    finally:
        app_locks.release(rows, _CREATING)


def entries(rows: Rows, event_ids: Sequence[str]) -> dict[str, LedgerEntry]:
    """The newest generation of each of those events that the ledger knows; any number of them.

    Under READ COMMITTED with locks it waits for a row that a transaction is just writing: ask for a target's events
    while holding the target's lock. `SyncError` for a row that can't be understood.
    """
    asked = [event_id for event_id in dict.fromkeys(event_ids) if _storable(event_id)]
    newest: dict[str, LedgerEntry] = {}
    for start in range(0, len(asked), _CHUNK):
        chunk = asked[start : start + _CHUNK]
        wanted = frozenset(chunk)
        found = rows(f"{_SELECT} WHERE event_id IN ({', '.join('?' * len(chunk))})", bound(*map(_id, chunk)))
        for row in sorted(found, key=lambda row: int(row["generation"])):
            if row["event_id"] in wanted:
                newest[row["event_id"]] = _entry(row)
    return newest


def standing(rows: Rows, event_id: str, generation: int) -> LedgerEntry:
    """What the ledger holds of that generation: to be read where the first insert of another one won.

    `EventInvalid` where it is the row of an event_id that differs in trailing blanks only.
    """
    found = rows(f"{_SELECT} WHERE event_id = ? AND generation = ?", bound(_id(event_id), (generation, INT)))
    return _only(found, event_id, generation)


def insert_statement(entry: LedgerEntry, *, reopened: bool = False) -> tuple[str, Bound]:
    """The ledger's row, as the first statement of the transaction that applies the event.

    The first insert wins: a later one waits for it and gets error 2627 on `pk_applied_events`. `reopened` ends the
    generation's `open` row instead: a count other than 1 means that somebody else did. `standing` tells who won.
    """
    if not reopened:
        return _INSERT.format(**_MARKERS), _bound(entry)
    names = ["payload_hash", "source_version", "outcome", "rows_affected", "rows_expected", "message"]
    return _END_OPEN.format(**_MARKERS), _bound(entry, [*names, "event_id", "event_id", "generation"])


def settle_statement(entry: LedgerEntry) -> tuple[str, Bound]:
    """Counts, version and message of the row that this transaction has written, before it commits; the count is 1."""
    names = ["source_version", "rows_affected", "rows_expected", "message", "event_id", "generation"]
    return _SETTLE, _bound(entry, names)


def record(rows: Rows, entry: LedgerEntry) -> LedgerEntry:
    """Write a final outcome in a statement of its own; return what stands, since the first one written wins.

    A generation that stands as `open` is ended by it and takes its payload hash: its author may have mended the event,
    of which nothing was applied. `EventInvalid` for an event_id that
    the ledger can't hold, or that differs from another's in trailing blanks only.
    """
    if entry.outcome is LedgerOutcome.OPEN:
        raise ValueError(f"{entry.event_id!r}: 'open' is no final outcome; `reopen` writes it.")
    return _only(rows(_RECORD, _bound(entry)), entry.event_id, entry.generation)


def reopen(rows: Rows, event_id: str) -> LedgerEntry | None:
    """Open a new generation of a failed or blocked event and return its row, or the one that is open already.

    None where the ledger does not know the event; `EventInvalid` where it was applied.
    """
    for _ in range(_REOPEN_TRIES):
        newest = entries(rows, [event_id]).get(event_id)
        if newest is None or newest.outcome is LedgerOutcome.OPEN:
            return newest
        if newest.outcome is LedgerOutcome.APPLIED:
            raise EventInvalid(
                f"Event {event_id!r} was applied already (generation {newest.generation}).",
                hint="Submit a new event to change the target again.",
            )
        following = LedgerEntry(event_id, newest.generation + 1, newest.payload_hash, LedgerOutcome.OPEN)
        stands = _only(rows(_OPEN, _bound(following)), event_id, following.generation)
        if stands.outcome is LedgerOutcome.OPEN:
            return stands
        # Another operator opened it meanwhile, and a poller has ended it again.
    raise SourceBusy(f"Event {event_id!r} is opened and ended by others all the time.", hint="Try again.")


def _differences(rows: Rows) -> list[str]:
    """What the table lacks, in words; a column more than this version knows is none of its business."""
    found = {row["column_name"]: row for row in rows((_SQL / "ledger_columns.sql").read_text(encoding="utf-8"), None)}
    if not found:
        return ["there is no table"]
    problems = []
    for name, wanted in _COLUMNS.items():
        there = _declared(found[name]) if name in found else "missing"
        if there != wanted:
            problems.append(f"column {name} is {there}, not {wanted}")
    key = sorted((row["key_ordinal"], name) for name, row in found.items() if row["key_ordinal"])
    if [name for _, name in key] != _KEY:
        problems.append(f"its primary key is not ({', '.join(_KEY)})")
    return problems


def _declared(row: Mapping[str, Any]) -> str:
    kind = type_name(row["type_name"], row["max_length"], row["precision"], row["scale"])
    collation = f" {row['collation_name']}" if row["column_name"] == "event_id" else ""
    return f"{kind}{collation} {'null' if row['is_nullable'] else 'not null'}"


def _only(found: Iterable[Mapping[str, Any]], event_id: str, generation: int) -> LedgerEntry:
    row = next(iter(found), None)
    if row is None:
        raise SyncError(f"The ledger lost generation {generation} of event {event_id!r}: somebody deletes its rows.")
    if row["event_id"] != event_id:
        raise EventInvalid(
            f"Event {event_id!r}: the ledger knows {row['event_id']!r}, which is the same key to SQL Server.",
            hint="Give the event an event_id that differs in more than trailing blanks.",
        )
    return _entry(row)


def _entry(row: Mapping[str, Any]) -> LedgerEntry:
    """Read a row; `SyncError` where outcome or hash can't be understood: nothing is decided by guessing."""
    where = f"The ledger's row of event {row['event_id']!r}, generation {row['generation']},"
    try:
        outcome = LedgerOutcome(row["outcome"])
    except ValueError:
        raise SyncError(f"{where} has the outcome {row['outcome']!r}, which this version does not know.") from None
    payload_hash = bytes(row["payload_hash"] or b"")
    if len(payload_hash) != hashlib.sha256().digest_size:
        raise SyncError(f"{where} has a payload hash of {len(payload_hash)} bytes, not of 32.")
    applied_at = row["applied_at"]
    return LedgerEntry(
        event_id=row["event_id"],
        generation=int(row["generation"]),
        payload_hash=payload_hash,
        outcome=outcome,
        source_version=row["source_version"],
        rows_affected=row["rows_affected"],
        rows_expected=row["rows_expected"],
        message=row["message"],
        applied_at=None if applied_at is None else applied_at.replace(tzinfo=dt.UTC),
    )


def _bound(entry: LedgerEntry, names: Sequence[str] = tuple(_COLUMNS)[:-1]) -> Bound:
    if not _storable(entry.event_id):
        raise EventInvalid(
            f"event_id {entry.event_id[:EVENT_ID_LENGTH]!r} can't stand in the ledger.",
            hint=f"Use at most {EVENT_ID_LENGTH} characters (UTF-16 units), without NUL.",
        )
    values = {
        "event_id": _id(entry.event_id),
        "generation": (entry.generation, INT),
        "payload_hash": (entry.payload_hash, binary(32)),
        "source_version": (entry.source_version, BIGINT),
        "outcome": (entry.outcome.value, nvarchar(10)),
        "rows_affected": (entry.rows_affected, BIGINT),
        "rows_expected": (entry.rows_expected, BIGINT),
        "message": (_cut(entry.message), nvarchar(_MESSAGE_LENGTH)),
    }
    return bound(*(values[name] for name in names))


def _id(event_id: str) -> tuple[object, tuple[int, int, int]]:
    return event_id, nvarchar(EVENT_ID_LENGTH)


def _storable(event_id: str) -> bool:
    """Whether it can be a key of the ledger; what can't has no row there."""
    try:
        return "\x00" not in event_id and len(event_id.encode("utf-16-le")) <= 2 * EVENT_ID_LENGTH
    except UnicodeEncodeError:  # a lone surrogate
        return False


def _cut(message: str | None) -> str | None:
    """The message as it fits: UTF-16 that is whole, at most 4,000 units, an ellipsis where something is left out."""
    if message is None:
        return None
    units = message.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-16-le", "replace")
    if len(units) <= 2 * _MESSAGE_LENGTH:
        return units.decode("utf-16-le")
    return units[: 2 * (_MESSAGE_LENGTH - 1)].decode("utf-16-le", "ignore") + "…"
