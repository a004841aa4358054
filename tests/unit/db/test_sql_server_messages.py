"""Error numbers that the driver does not show, told by the server's documented words.

Texts: sys.messages in English, Microsoft's "Database engine events and errors", "Troubleshoot connectivity issues and
other errors with Azure SQL Database", and the messages of Microsoft's clients. Which are transient: FACTS.md.
"""

from __future__ import annotations

import pytest
from mssql_python.exceptions import sqlstate_to_exception

from sql_databricks_bridge.db.sql_server_errors import classify
from sql_databricks_bridge.errors import (
    SourceBusy,
    SourceRefused,
    SourceSignInError,
    SourceUnavailable,
    Transient,
)

SERVER = "[Microsoft][ODBC Driver 18 for SQL Server][SQL Server]"
DRIVER = "[Microsoft][ODBC Driver 18 for SQL Server]"

BUSY = {
    1204: "The instance of the SQL Server Database Engine cannot obtain a LOCK resource at this time. Rerun your "
    "statement when there are fewer active users. Ask the database administrator to check the lock and memory "
    "configuration for this instance, or to check for long-running transactions.",
    1205: "Transaction (Process ID 52) was deadlocked on lock | communication buffer resources with another process "
    "and has been chosen as the deadlock victim. Rerun the transaction.",
    1222: "Lock request time out period exceeded.",
    3960: "Snapshot isolation transaction aborted due to update conflict. You cannot use snapshot isolation to access "
    "table 'dbo.t' directly or indirectly in database 'd' to update, delete, or insert the row that has been modified "
    "or deleted by another transaction. Retry the transaction or change the isolation level for the update/delete "
    "statement.",
    10928: "Resource ID : 1. The request limit for the database is 200 and has been reached. See "
    "'http://go.microsoft.com/fwlink/?LinkId=267637' for assistance.",
    10929: "Resource ID: 1. The sessions minimum guarantee is 10, maximum limit is 200, and the current usage for the "
    "database is 180. However, the server is currently too busy to support requests greater than 180 for this "
    "database.",
    40501: "The service is currently busy. Retry the request after 10 seconds. Incident ID: 0a1b. Code: 131075.",
    49918: "Cannot process request. Not enough resources to process request. The service is currently busy. Please "
    "retry the request later.",
    49919: "Cannot process create or update request. Too many create or update operations in progress for subscription "
    '"7".',
    49920: 'Cannot process request. Too many operations in progress for subscription "7".',
}
AWAY = {
    64: "A connection was successfully established with the server, but then an error occurred during the login "
    "process. (provider: TCP Provider, error: 0 - The specified network name is no longer available.)",
    233: "The client was unable to establish a connection because of an error during connection initialization process "
    "before login. Possible causes include the following: the client tried to connect to an unsupported version of "
    "SQL Server; the server was too busy to accept new connections; or there was a resource limitation on the server.",
    997: "A connection was successfully established with the server, but then an error occurred during the login "
    "process. (provider: Named Pipes Provider, error: 0 - Overlapped I/O operation is in progress)",
    4221: "Login to read-secondary failed due to long wait on 'HADR_DATABASE_WAIT_FOR_TRANSITION_TO_VERSIONING'. The "
    "replica is not available for login because row versions are missing for transactions that were in-flight when "
    "the replica was recycled.",
    10053: "A transport-level error has occurred when receiving results from the server. (provider: TCP Provider, "
    "error: 0 - An established connection was aborted by the software in your host machine.)",
    10054: "A transport-level error has occurred when sending the request to the server. (provider: TCP Provider, "
    "error: 0 - An existing connection was forcibly closed by the remote host.)",
    10060: "A network-related or instance-specific error occurred while establishing a connection to SQL Server. The "
    "server was not found or was not accessible. (provider: TCP Provider, error: 0 - A connection attempt failed "
    "because the connected party did not properly respond after a period of time.)",
    40143: "The service has encountered an error processing your request. Please try again.",
    40197: "The service has encountered an error processing your request. Please try again. Error code 40166.",
    40540: "The service has encountered an error processing your request. Please try again.",
    40613: "Database 'd' on server 's' is not currently available. Please retry the connection later. If the problem "
    "persists, contact customer support, and provide them with the session tracing ID of '0a1b'.",
    42108: "Can not connect to the SQL pool since it is paused. Please resume the SQL pool and try again.",
    42109: "The SQL pool is warming up. Please try again.",
}
CANNOT_OPEN = 'Cannot open database "d" requested by the login. The login failed.'  # 4060
NEVER = {
    2627: ("23000", "Violation of PRIMARY KEY constraint '{}'. Cannot insert duplicate key in object 'dbo.{}'. The "
    "duplicate key value is ({}).",),
    2601: ("23000", "Cannot insert duplicate key row in object 'dbo.{}' with unique index '{}'. The duplicate key "
    "value is ({})."),
    547: ("23000", 'The INSERT statement conflicted with the CHECK constraint "{}". The conflict occurred in database '
    '"{}", table "dbo.{}", column \'n\'.'),
    515: ("23000", "Cannot insert the value NULL into column '{}', table '{}.dbo.{}'; column does not allow nulls. "
    "INSERT fails."),
    245: ("22018", "Conversion failed when converting the varchar value '{}' to data type int."),
    8115: ("22003", "Arithmetic overflow error converting expression to data type int."),
    8152: ("22001", "String or binary data would be truncated."),
    2628: ("22001", "String or binary data would be truncated in table '{}.dbo.t', column '{}'. Truncated value: "
    "'{}'."),
    18456: ("28000", "Login failed for user '{}'."),
    229: ("42000", "The INSERT permission was denied on the object '{}', database '{}', schema '{}'."),
    208: ("42S02", "Invalid object name '{}'."),
    207: ("42S22", "Invalid column name '{}'."),
}  # fmt: skip
"""SQLSTATE and text, with places for the names and values of users."""
ORDINARY = ["pk_t", "deadlock victim", "Communication link failure", "operation canceled", "login failed", "token"]


def told(sqlstate: str, text: str) -> Exception:
    """The exception that mssql-python makes of a diagnostic record."""
    found = sqlstate_to_exception(sqlstate, text)
    assert isinstance(found, Exception)
    return found


WHENEVER = pytest.mark.parametrize("connecting", [False, True], ids=["running", "connecting"])


@WHENEVER
@pytest.mark.parametrize("number", BUSY)
def test_a_busy_server_is_worth_a_retry(number: int, connecting: bool) -> None:
    """Deadlocks, lock time-outs and limits are `SourceBusy`, by their words alone."""
    assert type(classify(told("42000", SERVER + BUSY[number]), connecting=connecting)) is SourceBusy


@WHENEVER
@pytest.mark.parametrize("origin", [SERVER, DRIVER], ids=["server", "driver"])
@pytest.mark.parametrize("number", AWAY)
def test_a_server_that_is_away_is_worth_a_retry(number: int, origin: str, connecting: bool) -> None:
    """Lost links, failovers and paused pools are `SourceUnavailable`, whoever puts them into words."""
    assert type(classify(told("HY000", origin + AWAY[number]), connecting=connecting)) is SourceUnavailable


def test_a_database_that_was_open_a_moment_ago_is_worth_a_retry() -> None:
    """4060 while running is a failover; when connecting it may as well be a wrong name, which no retry mends."""
    error = told("42000", SERVER + CANNOT_OPEN)
    assert type(classify(error)) is SourceUnavailable
    assert type(classify(error, connecting=True)) is SourceSignInError


@pytest.mark.parametrize("name", [*BUSY.values(), *AWAY.values(), CANNOT_OPEN, *ORDINARY])
@pytest.mark.parametrize("number", NEVER)
def test_what_no_retry_mends_is_refused_whatever_it_quotes(number: int, name: str) -> None:
    """Names of objects and values of users may read like any error: the message is known by how it begins."""
    sqlstate, text = NEVER[number]
    text = text.replace("{}", name)
    found = classify(told(sqlstate, SERVER + text))
    assert not isinstance(found, Transient)
    assert type(found) is SourceRefused
    assert found.message == text.rstrip(".")


def test_a_login_that_is_named_like_an_outage_is_refused() -> None:
    """When signing in, too, the server's words are known by how they begin."""
    for name in (*BUSY.values(), *AWAY.values(), "TCP Provider", "certificate"):
        error = told("28000", f"{SERVER}Login failed for user '{name}'.")
        assert type(classify(error, connecting=True)) is SourceSignInError


@pytest.mark.parametrize("sqlstate", ["40001", "HYT00", "08S01"])
def test_the_sqlstate_tells_where_the_servers_language_is_another(sqlstate: str) -> None:
    """A deadlock, a time-out and a lost link are transient in every language."""
    assert isinstance(classify(told(sqlstate, f"{SERVER}La transacción quedó en interbloqueo.")), Transient)
