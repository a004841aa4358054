"""`bridge verify --country`: what a person sees and a machine reads, and the receipt that stays."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator

import mssql_python
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.connection_string import connection_string
from tests.acceptance.conftest import Bridge, Workspace

Sql = Callable[[str], None]
KEY = "an audit key of at least thirty-two characters"


@pytest.fixture
def table(sqlserver_settings: Settings) -> Iterator[tuple[str, Sql]]:
    """A table of 200 rows of this test's own, and what runs statements."""
    name = f"dbo.v{uuid.uuid4().hex[:10]}"

    def sql(statement: str) -> None:
        with mssql_python.connect(connection_string(sqlserver_settings), autocommit=True) as connection:
            connection.cursor().execute(statement)

    sql(f"CREATE TABLE {name} (id int NOT NULL PRIMARY KEY, word nvarchar(20) NULL, day date NULL)")
    sql(f"INSERT INTO {name} VALUES {', '.join(f'({n}, N{chr(39)}w{n}{chr(39)}, NULL)' for n in range(200))}")
    yield name, sql
    sql(f"DROP TABLE {name}")


def test_equal_then_one_changed_value_then_the_receipts(
    bridge: Bridge, workspace: Workspace, table: tuple[str, Sql]
) -> None:
    """Exit code 0, then 1 with the key, the column and no value; a receipt beside the manifest that can be checked."""
    name, sql = table
    country = ("--country", workspace.country)
    workspace.query("words", f"SELECT id, word, day FROM {name} WHERE id >= @least")
    workspace.query("lines", "SELECT carrier, name FROM dbo.airlines WHERE {end_date} > '20200101'")
    workspace.yaml(workspace.country, "database: Flights\nparams: {least: int}\n")
    run_id = bridge("extract", *country, "--param", "least=10", "--json").document["run_id"]

    equal = bridge("verify", *country, AUDIT_KEY=KEY)
    assert equal.code == 0, equal.err
    assert [line.split()[0] for line in equal.out.splitlines()[-3:]] == ["query", "lines", "words"]
    for piece in (" 190 ", "equal", run_id, "receipt: /Volumes/"):
        assert piece in equal.out

    sql(f"UPDATE {name} SET word = N'secret' WHERE id = 33")
    different = bridge("verify", *country, "--query", "words", "--json", AUDIT_KEY=KEY)
    assert different.code == 1
    (found,) = different.document["queries"]
    assert (different.document["status"], found["status"]) == ("different", "different")
    assert [(key["key"], key["finding"], key["columns"]) for key in found["keys"]] == [("id=33", "different", ["word"])]
    assert (found["key"], found["rows"], found["isolation"]) == (["id"], {"source": 190, "landed": 190}, "snapshot")
    assert "secret" not in different.out
    told = bridge("verify", *country, "--query", "words", "--run", run_id, "--key", "word")
    assert told.code == 1
    assert "word=w33: only landed" in told.out
    assert "not signed" in told.err

    checked = bridge("verify", "--receipt", found["receipt"], "--json", AUDIT_KEY=KEY)
    assert (checked.code, checked.document["status"]) == (0, "genuine")
    forged = workspace.directory / "forged.json"
    forged.write_text(json.dumps(checked.document["receipt"] | {"result": "equal"}))
    refused = bridge("verify", "--receipt", str(forged), AUDIT_KEY=KEY)
    assert (refused.code, "not that of this AUDIT_KEY" in refused.err) == (1, True)

    workspace.query("later", "SELECT 1 AS one")
    workspace.yaml(
        workspace.country,
        "database: Flights\nparams: {least: int}\nincremental: {words: {kind: fingerprint, key: word}}\n",
    )
    chosen = bridge("verify", *country, AUDIT_KEY=KEY)
    assert "word=w33: only landed" in chosen.out, "the YAML's key goes before the table's, published or not"
    assert "later" in chosen.err, "what never landed is told"

    workspace.query("words", f"SELECT id, word FROM {name} WHERE id >= @least")
    changed = bridge("verify", *country, "--json")
    assert changed.code == 1
    assert {each["query"]: each["status"] for each in changed.document["queries"]} == {
        "words": "failed",
        "lines": "equal",
    }
    assert changed.document["never_landed"] == ["later"]
    alone = bridge("verify", *country, "--query", "words")
    assert (alone.code, alone.err.count("error:"), "is not what run" in alone.err) == (2, 1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--country NAME, --event ID or --receipt PATH"),
        (("--country", "COUNTRY", "--event", "e"), "--country NAME, --event ID or --receipt PATH"),
        (("--event", "e", "--table"), "go with --json only"),
        (("--country", "COUNTRY"), "no published run"),
        (("--country", "COUNTRY", "--query", "words"), "no published run"),
        (("--receipt", "none.json"), "none.json can't be read"),
    ],
)
def test_wrong_usage_is_told_and_exits_with_2(
    arguments: tuple[str, ...], said: str, bridge: Bridge, workspace: Workspace
) -> None:
    done = bridge("verify", *(workspace.country if each == "COUNTRY" else each for each in arguments), AUDIT_KEY=KEY)
    assert (done.code, said in done.err) == (2, True), done.err
