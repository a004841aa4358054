"""SQL Server's errors, by number, and what PostgreSQL's become.

Texts follow "Database Engine events and errors" in Microsoft's documentation. Errors of the stand-in itself (what it
refuses) are Msg 50000-range: `UNSUPPORTED`.
"""

from __future__ import annotations

from typing import Any

from ..contract import Message, SqlError

UNSUPPORTED = 50100
"""The number of every 'the sandbox does not support' refusal."""

RAISED = "TSQLE"
"""SQLSTATE of errors raised by the support functions; their text is `number|severity|state|message`."""


def error(number: int, text: str, *, severity: int = 16, state: int = 1, line: int = 0) -> SqlError:
    """An error; line 0 is filled in by the statement that raises it."""
    return SqlError(Message(number, text, severity, state, line))


def syntax_error(text: str, line: int, number: int = 102, severity: int = 15) -> SqlError:
    """An error that refuses the whole batch before anything runs."""
    return error(number, text, severity=severity, line=line)


def unsupported(what: str, line: int = 0) -> SqlError:
    """The stand-in knows that it does not know."""
    return error(UNSUPPORTED, f"The sandbox does not support {what}.", line=line)


def at_line(exc: SqlError, line: int, procedure: str = "") -> SqlError:
    """The same error with its line, where it had none, and with the trigger it came from."""
    m = exc.message
    if m.line and (m.procedure or not procedure):
        return exc
    out = SqlError(Message(m.number, m.text, m.severity, m.state, m.line or line, m.procedure or procedure))
    out.__dict__.update(exc.__dict__)
    out.message = Message(m.number, m.text, m.severity, m.state, m.line or line, m.procedure or procedure)
    return out


def invalid_column(name: str, line: int) -> SqlError:
    return error(207, f"Invalid column name '{name}'.", line=line)


def invalid_object(name: str, line: int) -> SqlError:
    return error(208, f"Invalid object name '{name}'.", line=line)


BATCH_ABORTING = {208, 207, 209, 245, 241, 242, 295, 1205, 3960, 3952, 8114, 8169, 4104, 8120, 1222, 3609, 3616, 217}
"""Errors after which the rest of the batch does not run, XACT_ABORT or not.

Source: behaviour described in Erland Sommarskog's "Error and Transaction Handling in SQL Server" (conversion errors,
deadlock victims and compile errors end the batch; constraint errors, 8134 and 8115 end only the statement). 1222 alone
ends only its statement there; see `aborts_batch`.
"""


def aborts_batch(number: int) -> bool:
    """Whether this error ends the batch outside TRY even without XACT_ABORT."""
    return number in BATCH_ABORTING and number != 1222


def dooms_transaction(number: int) -> bool:
    """Whether this error rolls the whole transaction back (deadlock victim, update conflict, conversion)."""
    return number in {1205, 3960, 241, 242, 245, 295, 8114, 8169}


def _details(exc: Any) -> dict[str, str]:
    pairs = getattr(exc, "details", None) or []
    return {
        (k.decode() if isinstance(k, bytes) else k): (v.decode("utf-8", "replace") if isinstance(v, bytes) else v)
        for k, v in pairs
    }


class PgFailure(Exception):
    """A PostgreSQL error with its parts, before it is given a SQL Server number."""

    def __init__(self, sqlstate: str, text: str, constraint: str = "", table: str = "", detail: str = "") -> None:
        super().__init__(f"{sqlstate}: {text}")
        self.sqlstate = sqlstate
        self.text = text
        self.constraint = constraint
        self.table = table
        self.detail = detail

    @classmethod
    def from_adbc(cls, exc: Any) -> PgFailure:
        """Read an adbc_driver_manager.Error."""
        d = _details(exc)
        state = getattr(exc, "sqlstate", None) or d.get("PG_DIAG_SQLSTATE") or ""
        text = d.get("PG_DIAG_MESSAGE_PRIMARY") or str(exc)
        return cls(
            state,
            text,
            d.get("PG_DIAG_CONSTRAINT_NAME", ""),
            d.get("PG_DIAG_TABLE_NAME", ""),
            d.get("PG_DIAG_MESSAGE_DETAIL", ""),
        )


_OVERFLOW = (
    ("smallint out of range", "expression to data type smallint"),
    ("bigint out of range", "expression to data type bigint"),
    ("integer out of range", "expression to data type int"),
    ("numeric field overflow", "numeric to data type numeric"),
    ("overflow", "expression to data type float"),
    ("underflow", "expression to data type float"),
    ("out of range", "expression to data type float"),
)


def translate(failure: PgFailure) -> SqlError:
    """The SQL Server error for a PostgreSQL failure that needs no catalog (constraints are named by the caller)."""
    state, text = failure.sqlstate, failure.text
    if state == RAISED:
        number, severity, error_state, message = text.split("|", 3)
        return error(int(number), message, severity=int(severity), state=int(error_state))
    if state == "22014":
        return error(4116, "The function 'ntile' takes only a positive int or bigint expression as its input.")
    if state == "22012":
        return error(8134, "Divide by zero error encountered.")
    if state in ("2201F", "2201E", "2201G") or (state == "22003" and text == "input is out of range"):
        return error(3623, "An invalid floating point operation occurred.")
    if state == "22003":
        for needle, target in _OVERFLOW:
            if needle in text:
                return error(8115, f"Arithmetic overflow error converting {target}.", state=2)
        return error(8115, f"Arithmetic overflow error ({text}).", state=2)
    if state == "21000" and text.startswith("MERGE"):
        return error(
            8672,
            "The MERGE statement attempted to UPDATE or DELETE the same row more than once. This happens when a target "
            "row matches more than one source row. A MERGE statement cannot UPDATE/DELETE the same row of the target "
            "table multiple times. Refine the ON clause to ensure a target row matches at most one source row, or use "
            "the GROUP BY clause to group the source rows.",
        )
    if state == "21000":
        return error(
            512,
            "Subquery returned more than 1 value. This is not permitted when the subquery follows =, !=, <, <= , >, >= "
            "or when the subquery is used as an expression.",
        )
    if state == "40P01":
        return deadlock()
    if state == "55P03":
        return error(1222, "Lock request time out period exceeded.", state=45)
    if state == "40001":
        return error(
            3960,
            "Snapshot isolation transaction aborted due to update conflict. Retry the transaction or change the "
            "isolation level for the update/delete statement.",
            state=2,
        )
    if state == "57014":
        return error(3617, "The statement was cancelled.", severity=11)
    if state in ("53100", "53200"):
        return error(1105, f"The sandbox has no room: {text}.", severity=17)
    return error(UNSUPPORTED + 1, f"The sandbox failed on this statement ({state}: {text}).")


def deadlock() -> SqlError:
    return error(
        1205,
        "Transaction was deadlocked on lock resources with another process and has been chosen as the deadlock victim. "
        "Rerun the transaction.",
        severity=13,
        state=45,
    )
