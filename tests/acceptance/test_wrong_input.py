"""Wrong input on purpose: each gets one clear message, no traceback, no secret, no manifest and no leftover part.

`Bridge` itself asserts that no output holds a traceback, the password or the token.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.catalog import VolumeType

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.errors import LakehouseNotFound
from tests.acceptance.conftest import Bridge, Finished, Workspace, statuses
from tests.conftest import StandIn

GOOD = "SELECT carrier FROM dbo.airlines"


@pytest.fixture
def extract(bridge: Bridge, workspace: Workspace, lakehouse_settings: Settings) -> Extract:
    """Run `bridge extract` on the workspace; afterwards nothing that failed may lie in the volume."""
    return Extract(bridge, workspace, DatabricksLakehouse(lakehouse_settings))


class Extract:
    """`bridge extract`, and the claim that a failure leaves nothing behind."""

    def __init__(self, bridge: Bridge, workspace: Workspace, lakehouse: DatabricksLakehouse) -> None:
        self._bridge, self._workspace, self._lakehouse = bridge, workspace, lakehouse

    def __call__(self, *arguments: str, **changes: str | None) -> Finished:
        return self._bridge("extract", "--country", self._workspace.country, *arguments, **changes)

    def refused(self, *arguments: str, **changes: str | None) -> str:
        """Run; it must be refused as wrong usage before anything ran. Returns the message."""
        done = self(*arguments, **changes)
        assert done.code == 2, (done.code, done.out, done.err)
        assert done.out == ""
        assert done.err.count("error: ") == 1, done.err
        assert self.left() == []
        return " ".join(done.err.split())

    def failed(self, *arguments: str, **changes: str | None) -> str:
        """Run; it must fail (exit 1) and leave nothing in the volume. Returns all it said."""
        done = self(*arguments, **changes)
        assert done.code == 1, (done.code, done.out, done.err)
        assert self.left() == []
        return " ".join((done.err + done.out).split())

    def left(self) -> list[str]:
        """Every file and run folder of the country that lies in the volume."""
        root = f"/Volumes/bridge/landing/files/{self._workspace.country}"
        try:
            queries = self._lakehouse.list_directory(root)
            return [entry.path for query in queries for entry in self._lakehouse.list_directory(query.path)]
        except LakehouseNotFound:
            return []


def test_unknown_country(bridge: Bridge) -> None:
    """The country is named and the known ones are listed."""
    done = bridge("extract", "--country", "Atlantis")
    assert done.code == 2
    assert "Atlantis" in done.err
    assert "config" in done.err


def test_unknown_query(extract: Extract, workspace: Workspace) -> None:
    """The query is named and the known ones are listed."""
    workspace.query("flights", GOOD)
    message = extract.refused("--query", "fligths")
    assert "'fligths'" in message
    assert "flights" in message


def test_unknown_parameter(extract: Extract, workspace: Workspace) -> None:
    """A --param that no query declares is a typo, not ignored."""
    workspace.query("q", GOOD)
    assert "sinze" in extract.refused("--param", "sinze=1")


def test_a_parameter_of_the_wrong_type(extract: Extract, workspace: Workspace) -> None:
    """Parameter, declared type, value and reason are told."""
    workspace.query("q", "SELECT carrier FROM dbo.airlines WHERE @since IS NOT NULL")
    workspace.yaml(workspace.country, "database: Flights\nparams: {since: date}\n")
    message = extract.refused("--param", "since=2013-02-30")
    for part in ("since", "date", "2013-02-30", "day"):
        assert part in message


def test_missing_parameters_of_several_queries_are_told_together(extract: Extract, workspace: Workspace) -> None:
    """Two queries that miss three names: one error names all three, with both files."""
    workspace.query("one", "SELECT {alpha} AS a, {beta} AS b")
    workspace.query("two", "SELECT {gamma} AS c")
    message = extract.refused()
    for part in ("alpha", "beta", "gamma", "one.sql:1", "two.sql:1"):
        assert part in message


def test_invalid_yaml(extract: Extract, workspace: Workspace) -> None:
    """File and line are told."""
    workspace.query("q", GOOD)
    workspace.yaml(workspace.country, "database: Flights\ntables: [unclosed\n")
    message = extract.refused()
    assert f"{workspace.country}.yaml" in message
    assert ":3" in message or ":2" in message


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT 1 AS a; SELECT 2 AS b", "statement"),
        ("DROP TABLE dbo.flights", "SELECT"),
        ("DELETE FROM dbo.flights", "SELECT"),
        ("WITH x AS (SELECT 1 AS a) INSERT INTO dbo.t SELECT a FROM x", "INSERT"),
        ("SELECT carrier INTO dbo.copy FROM dbo.airlines", "INTO"),
        ("", "empty"),
        ("-- only a comment\n", "q.sql"),
        (b"SELECT '\xff\xfe' AS a", "UTF-8"),
    ],
    ids=["two statements", "DDL", "DML", "CTE then DML", "INTO", "empty", "comment only", "not UTF-8"],
)
def test_a_file_that_is_not_one_select(sql: str | bytes, words: str, extract: Extract, workspace: Workspace) -> None:
    """The file is named, with what is wrong with it."""
    workspace.query("q", sql)
    message = extract.refused()
    assert "q.sql" in message
    assert words in message


def test_a_query_file_that_reaches_out_of_its_folder(extract: Extract, workspace: Workspace, tmp_path: Path) -> None:
    """A symbolic link to elsewhere is refused."""
    outside = tmp_path / "outside.sql"
    outside.write_text(GOOD)
    (workspace.directory / "queries" / "link.sql").symlink_to(outside)
    assert "link.sql" in extract.refused()


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"SQLSERVER_HOST": "nosuch.invalid"}, "SQLSERVER_HOST"),
        ({"SQLSERVER_PORT": "1"}, "SQLSERVER_PORT"),
        ({"SQLSERVER_PASSWORD": "wrong-password-7391"}, "SQLSERVER_PASSWORD"),
        ({"SQLSERVER_TRUST_SERVER_CERTIFICATE": "no"}, "SQLSERVER_TRUST_SERVER_CERTIFICATE"),
    ],
    ids=["host", "port", "password", "certificate"],
)
def test_a_wrong_sql_server_setting(
    change: dict[str, str], setting: str, extract: Extract, workspace: Workspace
) -> None:
    """The query fails, and the message names the setting to look at but not its secret."""
    workspace.query("q", GOOD)
    said = extract.failed(**change, SQLSERVER_LOGIN_TIMEOUT_S="2")
    assert setting in said
    assert "wrong-password-7391" not in said


def test_a_wrong_database(extract: Extract, workspace: Workspace) -> None:
    """The database and where it is set are told."""
    workspace.query("q", GOOD)
    workspace.yaml(workspace.country, "database: NoSuchDatabase\n")
    said = extract.failed()
    assert "NoSuchDatabase" in said
    assert "database" in said


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"DATABRICKS_HOST": "http://127.0.0.1:9"}, "DATABRICKS_HOST"),
        ({"DATABRICKS_TOKEN": "dapi-wrong-7391"}, "DATABRICKS_TOKEN"),
        ({"DATABRICKS_CATALOG": "nosuch"}, "DATABRICKS_CATALOG"),
        ({"DATABRICKS_SCHEMA": "nosuch"}, "DATABRICKS_SCHEMA"),
        ({"DATABRICKS_VOLUME": "nosuch"}, "DATABRICKS_VOLUME"),
    ],
    ids=["host", "token", "catalog", "schema", "volume"],
)
def test_a_wrong_databricks_setting(
    change: dict[str, str], setting: str, extract: Extract, workspace: Workspace
) -> None:
    """Nothing runs, and the message names the setting to look at but not its secret."""
    workspace.query("q", GOOD)
    said = extract.failed(**change)
    assert setting in said
    assert "dapi-wrong-7391" not in said


@pytest.mark.parametrize(
    ("name", "value"), [("SQLSERVER_PORT", "many"), ("LOG_LEVEL", "LOUD"), ("SQLSERVER_ENCRYPT", "maybe")]
)
def test_a_setting_that_can_not_be(name: str, value: str, extract: Extract, workspace: Workspace) -> None:
    """The variable is named."""
    workspace.query("q", GOOD)
    assert name in extract.refused(**{name: value})


def test_sql_that_the_server_refuses(extract: Extract, workspace: Workspace) -> None:
    """The server's message, the query's name and the line are told."""
    workspace.query("broken", "SELECT carrier,\n       no_such_column\nFROM dbo.airlines")
    said = extract.failed()
    assert "broken" in said
    assert "no_such_column" in said
    assert "line 2" in said


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT carrier, name AS Carrier FROM dbo.airlines", "columns 1, 2"),
        ("SELECT COUNT(*) FROM dbo.airlines", "name"),
    ],
    ids=["repeated name", "no name"],
)
def test_a_result_that_can_not_become_parquet(sql: str, words: str, extract: Extract, workspace: Workspace) -> None:
    """The column is told, and what to write."""
    workspace.query("q", sql)
    assert words in extract.failed()


def test_a_full_disk_while_spooling(extract: Extract, workspace: Workspace, tmp_path: Path) -> None:
    """The spool folder and its setting are told."""
    spool = tmp_path / "spool"
    spool.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", spool], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("may not mount a small file system here; tests/integration limits the size of files instead")
    try:
        workspace.query("big", "SELECT * FROM dbo.flights")
        said = extract.failed(BRIDGE_SPOOL_DIR=str(spool))
        assert "BRIDGE_SPOOL_DIR" in said
        assert list(spool.iterdir()) == []
    finally:
        subprocess.run(["umount", spool], check=True)


def test_a_volume_that_vanishes_during_upload(
    extract: Extract, workspace: Workspace, lakehouse_faults: StandIn, lakehouse_settings: Settings
) -> None:
    """The volume and its setting are told, and nothing is published."""
    volume = f"vanishing_{workspace.country}"
    token = lakehouse_settings.databricks_token
    assert token is not None
    client = WorkspaceClient(host=lakehouse_settings.databricks_host, token=token.get_secret_value(), auth_type="pat")
    client.volumes.create("bridge", "landing", volume, VolumeType.MANAGED)
    workspace.query("q", GOOD)
    rule = lakehouse_faults.fault(
        match={"method": "PUT", "path_contains": "part-00000"}, action={"vanish_volume": True}
    )
    said = extract.failed(DATABRICKS_VOLUME=volume)
    assert lakehouse_faults.hits(rule) == 1
    assert volume in said
    assert "DATABRICKS_VOLUME" in said


def test_mebibyte_values_in_every_row_land_in_bounded_memory(extract: Extract, workspace: Workspace) -> None:
    """1 MiB values in each of 400 rows land; the process's peak stays far below the data's size."""
    workspace.query(
        "wide", "SELECT TOP (400) flight, REPLICATE(CAST('x' AS varchar(max)), 1048576) AS big FROM dbo.flights"
    )
    done = extract("--json")
    assert done.code == 0, done.err
    (query,) = done.document["queries"]
    assert query["rows"] == 400
    assert statuses(done.document) == {"wide": "completed"}


def test_with_json_an_error_is_a_document_too(bridge: Bridge) -> None:
    """A machine reads kind, message and hint; a person still reads the message on standard error."""
    done = bridge("extract", "--country", "Atlantis", "--json")
    assert done.code == 2
    document = json.loads(done.out)
    assert document["status"] == "failed"
    assert document["error"]["kind"] == "UnknownNameError"
    assert "Atlantis" in document["error"]["message"]


def test_a_country_with_a_server_of_its_own_needs_no_other(
    extract: Extract, workspace: Workspace, bridge: Bridge
) -> None:
    """`server:` in the YAML takes the place of SQLSERVER_HOST."""
    workspace.query("good", GOOD)
    environment = bridge.environment
    server = f"{environment['SQLSERVER_HOST']},{environment['SQLSERVER_PORT']}"
    workspace.yaml(workspace.country, f"database: Flights\nserver: '{server}'\n")
    assert extract("--dry-run", SQLSERVER_HOST=None, SQLSERVER_PORT=None).code == 0


def test_a_certificate_that_is_no_file(extract: Extract, workspace: Workspace) -> None:
    """Told before anything runs."""
    workspace.query("good", GOOD)
    assert "SQLSERVER_SERVER_CERTIFICATE" in extract.refused(SQLSERVER_SERVER_CERTIFICATE="/no/such.pem")
