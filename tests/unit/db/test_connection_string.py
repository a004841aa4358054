"""The connection string: every value arrives at the driver as it was set, whatever is in it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mssql_python.connection_string_parser import _ConnectionStringParser
from pydantic import SecretStr

from sql_databricks_bridge.core.config import Settings, load_settings
from sql_databricks_bridge.db.connection_string import connection_string, server_address
from sql_databricks_bridge.db.identifiers import databricks_identifier, sql_server_identifier
from sql_databricks_bridge.errors import SettingsError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test sets counts, also where the tests point at a real server."""
    for name in [name for name in os.environ if name.startswith("SQLSERVER_")]:
        monkeypatch.delenv(name)


def settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {
        "sqlserver_host": "sql01",
        "sqlserver_database": "Flights",
        "sqlserver_username": "reader",
        "sqlserver_password": SecretStr("secret"),
    }
    return load_settings(**(values | changes))


def parsed(text: str) -> dict[str, str]:
    """What the driver's own parser reads."""
    return dict(_ConnectionStringParser(validate_keywords=True)._parse(text))


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1))
def test_any_password_and_database_arrive_whole(value: str) -> None:
    """Semicolons, braces, equal signs, blanks: the driver's parser gives back what was set, and nothing else."""
    found = parsed(connection_string(settings(sqlserver_password=SecretStr(value)), database=value))
    assert (found["pwd"], found["database"]) == (value, value)
    assert (found["server"], found["uid"], found["encrypt"]) == ("sql01,1433", "reader", "yes")


def test_a_value_cannot_add_a_keyword() -> None:
    """A country's database named like an attack stays a database."""
    found = parsed(connection_string(settings(), database="x;Encrypt=no}};Server=evil"))
    assert found["encrypt"] == "yes"
    assert found["server"] == "sql01,1433"


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (None, "sql01,1433"),
        ("other", "other,1433"),
        ("other,14330", "other,14330"),
        ("other.example.com", "other.example.com,1433"),
        (r"other\named", r"other\named"),
    ],
)
def test_a_country_may_name_a_server(server: str | None, expected: str) -> None:
    """'host' takes the settings' port, 'host,port' its own, an instance finds it by itself."""
    assert server_address(settings(), server) == expected


@pytest.mark.parametrize("server", ["", "a;b", "a,b", "a,1,2", "a b", "{a}", "a,123456"])
def test_another_server_text_is_refused(server: str) -> None:
    """What is neither host nor host,port is an error; empty means the settings."""
    if not server:
        assert server_address(settings(), server) == "sql01,1433"
        return
    with pytest.raises(SettingsError, match="neither 'host' nor 'host,port'"):
        server_address(settings(), server)


def test_encryption_settings_arrive() -> None:
    """Encrypt, trust and the certificate are what the settings say."""
    found = parsed(
        connection_string(
            settings(
                sqlserver_encrypt="strict",
                sqlserver_trust_server_certificate=True,
                sqlserver_server_certificate="/etc/sql server.pem",
            )
        )
    )
    assert found["encrypt"] == "strict"
    assert found["trustservercertificate"] == "yes"
    assert found["servercertificate"] == "/etc/sql server.pem"


@pytest.mark.parametrize(
    ("mode", "has_password"),
    [
        ("ActiveDirectoryServicePrincipal", True),
        ("ActiveDirectoryPassword", True),
        ("ActiveDirectoryMSI", False),
        ("ActiveDirectoryDefault", False),
    ],
)
def test_entra_modes(mode: str, has_password: bool) -> None:
    """The mode is named to the driver; a managed identity takes no password along."""
    found = parsed(connection_string(settings(sqlserver_authentication=mode)))
    assert found["authentication"] == mode
    assert ("pwd" in found) is has_password


def test_a_managed_identity_needs_no_user() -> None:
    """Nothing but the host is needed where the machine signs in."""
    found = parsed(
        connection_string(load_settings(sqlserver_host="sql01", sqlserver_authentication="ActiveDirectoryMSI"))
    )
    assert "uid" not in found


def test_missing_settings_are_named_together() -> None:
    """User and password missing are told in one message."""
    with pytest.raises(SettingsError, match="SQLSERVER_USERNAME, SQLSERVER_PASSWORD are not set"):
        connection_string(load_settings(sqlserver_host="sql01"))


def test_identifiers_are_quoted_part_by_part() -> None:
    """Brackets and backticks double the character that would end them; an empty name is refused."""
    assert sql_server_identifier("dbo", "a]b.c") == "[dbo].[a]]b.c]"
    assert databricks_identifier("main", "a`b") == "`main`.`a``b`"
    with pytest.raises(ValueError, match="is not a name"):
        sql_server_identifier("dbo", "")
