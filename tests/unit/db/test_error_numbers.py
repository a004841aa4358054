"""SQL Server's error numbers, and what the driver's bulk copy raises, as the bridge's errors."""

from __future__ import annotations

import pytest

from sql_databricks_bridge.db.error_numbers import bulk_errors, by_number
from sql_databricks_bridge.errors import (
    BridgeError,
    EventInvalid,
    SourceBusy,
    SourceError,
    SourceRefused,
    SourceSignInError,
    SourceUnavailable,
    Transient,
)

WORTH_A_RETRY = [
    *(1204, 1205, 1222, 64, 233, 997, 3960, 4060, 4221, 10053, 10054, 10060, 10928, 10929, 40143, 40197, 40501, 40540),
    *(40613, 42108, 42109, 49918, 49919, 49920),
]
NEVER = [2627, 2601, 547, 515, 245, 8115, 8152, 2628, 18456, 229, 208, 207]


@pytest.mark.parametrize("number", WORTH_A_RETRY)
def test_numbers_worth_a_retry_are_transient(number: int) -> None:
    """Those of FACTS.md; 4060 too, since the session that asks is in that database already."""
    assert isinstance(by_number(number, "words"), Transient)


@pytest.mark.parametrize("number", NEVER)
def test_numbers_that_come_back_every_time_are_not(number: int) -> None:
    """A second try would end the same way."""
    assert not isinstance(by_number(number, "words"), Transient)


def test_the_servers_words_and_number_are_kept() -> None:
    """On one line, with the number behind."""
    error = by_number(547, "The INSERT statement conflicted\n with a CHECK constraint.")
    assert isinstance(error, SourceRefused)
    assert (error.message, error.number) == (
        "The INSERT statement conflicted with a CHECK constraint (error 547).",
        547,
    )


def said(number: int, words: str) -> str:
    """An error of the server as the driver's bulk copy tells it."""
    return f"Sql Error: {number}: Class 16: State 1: {words}. on SRV in  at line 1"


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (RuntimeError(said(1205, "Deadlock victim")), SourceBusy, "Deadlock victim (error 1205)"),
        (RuntimeError(f"Failed: {said(208, 'No x')}\n{said(208, 'No y')}"), SourceRefused, "No x (error 208)"),
        (RuntimeError(f"{said(3621, 'Ended')}\n{said(9002, 'Full')}"), SourceBusy, "Full (error 9002)"),
        (RuntimeError(f"Failed to connect to SQL Server: {said(18456, 'No')}"), SourceSignInError, "No (error 18456)"),
        (RuntimeError("Connection closed: Connection closed by server while reading"), SourceUnavailable, "was lost"),
        (RuntimeError("Failed to connect to SQL Server: Protocol Error: no token"), SourceUnavailable, "was lost"),
        (RuntimeError("Timeout Error: Elapsed: deadline has elapsed"), SourceUnavailable, "deadline has elapsed"),
        (RuntimeError("something new"), SourceRefused, "something new"),
        (ValueError("Non-finite float value (NaN) is not allowed in column 'f'"), EventInvalid, "column 'f'"),
    ],
)
def test_what_the_bulk_copy_raises_is_named(raised: Exception, kind: type[BridgeError], words: str) -> None:
    """By its numbers where it has some, the one that says most of them; else by its text."""
    with pytest.raises(kind) as caught, bulk_errors():
        raise raised
    assert type(caught.value) is kind
    assert words in caught.value.message
    assert caught.value.__cause__ is raised


def test_the_bridges_own_errors_pass_through() -> None:
    """What was named already is not named again."""
    own = SourceError("said already")
    with pytest.raises(SourceError) as caught, bulk_errors():
        raise own
    assert caught.value is own
