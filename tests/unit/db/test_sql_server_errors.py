"""The driver's texts, as recorded, told in the bridge's terms."""

from __future__ import annotations

import pytest
from mssql_python.exceptions import sqlstate_to_exception

from sql_databricks_bridge.db.sql_server_errors import classify, require_no_error
from sql_databricks_bridge.errors import (
    BridgeError,
    Cancelled,
    SourceBusy,
    SourceError,
    SourceRefused,
    SourceSignInError,
    SourceUnavailable,
    Transient,
)

MS = "[Microsoft][ODBC Driver 18 for SQL Server]"


def driver_error(sqlstate: str, text: str) -> Exception:
    """The exception that mssql-python makes of a SQLSTATE and a diagnostic text."""
    found = sqlstate_to_exception(sqlstate, text)
    assert isinstance(found, Exception)
    return found


@pytest.mark.parametrize(
    ("sqlstate", "text", "kind", "setting"),
    [
        ("28000", f"{MS}[SQL Server]Login failed for user 'sa'.", SourceSignInError, "SQLSERVER_PASSWORD"),
        (
            "42000",
            f'{MS}[SQL Server]Cannot open database "Nope" requested by the login. The login failed.',
            SourceSignInError,
            "SQLSERVER_DATABASE",
        ),
        ("HYT00", f"{MS}Login timeout expired", SourceUnavailable, "SQLSERVER_HOST"),
        ("08001", f"{MS}TCP Provider: Error code 0x2749", SourceUnavailable, "SQLSERVER_PORT"),
        (
            "08001",
            f"{MS}SSL Provider: [error:0A000086:SSL routines::certificate verify failed:self-signed certificate]",
            SourceError,
            "SQLSERVER_TRUST_SERVER_CERTIFICATE",
        ),
        ("08001", f"{MS}Encryption not supported on the server.", SourceError, "SQLSERVER_ENCRYPT"),
        ("08001", f"{MS}Client unable to establish connection", SourceUnavailable, "SQLSERVER_HOST"),
        (
            "42000",
            f"{MS}[SQL Server]Database 'x' on server 'y' is not currently available.  Please retry the connection.",
            SourceUnavailable,
            "SQLSERVER_HOST",
        ),
    ],
)
def test_a_failed_sign_in_names_the_setting(sqlstate: str, text: str, kind: type[BridgeError], setting: str) -> None:
    """Connecting: each failure is of its kind and its hint names what to look at."""
    found = classify(driver_error(sqlstate, text), connecting=True)
    assert type(found) is kind
    assert setting in (found.hint or "")
    assert "[Microsoft]" not in str(found)


@pytest.mark.parametrize(
    ("sqlstate", "text", "kind"),
    [
        (
            "40001",
            f"{MS}[SQL Server]Transaction (Process ID 52) was deadlocked on lock resources with another process and "
            "has been chosen as the deadlock victim. Rerun the transaction.",
            SourceBusy,
        ),
        ("HYT00", f"{MS}Query timeout expired", SourceBusy),
        ("42000", f"{MS}[SQL Server]Lock request time out period exceeded.", SourceBusy),
        (
            "08S01",
            f"{MS}TCP Provider: An existing connection was forcibly closed by the remote host.",
            SourceUnavailable,
        ),
        ("08S01", f"{MS}Communication link failure", SourceUnavailable),
        ("HY008", f"{MS}Operation canceled", Cancelled),
        ("42S02", f"{MS}[SQL Server]Invalid object name 'dbo.nope'.", SourceRefused),
        ("22012", f"{MS}[SQL Server]Divide by zero error encountered.", SourceRefused),
    ],
)
def test_a_failed_query_is_of_its_kind(sqlstate: str, text: str, kind: type[BridgeError]) -> None:
    """Running: busy and lost are transient, refused is not and keeps the server's own words."""
    found = classify(driver_error(sqlstate, text))
    assert type(found) is kind
    assert isinstance(found, Transient) is (kind in (SourceBusy, SourceUnavailable))
    if kind is SourceRefused:
        assert found.message == text.rsplit("]", 1)[1].rstrip(".")


def test_a_missing_library_names_the_packages() -> None:
    """A machine without libltdl is told what to install."""
    found = classify(RuntimeError("Failed to load the driver. Please read the documentation"), connecting=True)
    assert "libltdl7" in (found.hint or "")


def test_a_secret_never_shows() -> None:
    """Should a text repeat the password, it is blotted out."""
    found = classify(driver_error("08001", f"{MS}bad PWD=hunter2;"), connecting=True, secrets=("hunter2",))
    assert "hunter2" not in str(found)


def test_information_beside_rows_is_no_error() -> None:
    """PRINT and "NULL value is eliminated" pass, and are forgotten."""
    messages = [("[01000] (0)", f"{MS}[SQL Server]hello"), ("[01003] (8153)", f"{MS}[SQL Server]NULL is eliminated")]
    require_no_error(messages)
    assert messages == []


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        ("[08S01] (10054)", f"{MS}TCP Provider: Error code 0x2746", SourceUnavailable),
        ("[40001] (1205)", f"{MS}[SQL Server]was deadlocked", SourceBusy),
        ("[22012] (8134)", f"{MS}[SQL Server]Divide by zero error encountered.", SourceRefused),
        ("[01004] (0)", f"{MS}String data, right truncation", SourceRefused),
        ("[HY008] (0)", f"{MS}Operation canceled", Cancelled),
    ],
)
def test_an_error_that_comes_beside_rows_is_raised(code: str, text: str, kind: type[BridgeError]) -> None:
    """The driver reports a link that is lost between two rows, and a cut value, as a message only."""
    with pytest.raises(kind):
        require_no_error([("[01000] (0)", "hello"), (code, text)])


def test_the_networks_numbers_become_words_and_a_quoted_password_is_blotted_out() -> None:
    """The driver shows Windows' numbers; a password with a brace stands doubled in a connection string."""
    reset = classify(driver_error("08S01", f"{MS}TCP Provider: Error code 0x2746"))
    assert "the connection was reset" in str(reset)
    shown = classify(driver_error("08001", f"{MS}PWD={{a}}}}b}} is wrong"), connecting=True, secrets=("a}b",))
    assert "a}" not in str(shown)
