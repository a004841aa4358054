"""Canaries in every credential of a running service, and then everything fails: none is seen anywhere afterwards."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from tests.acceptance.conftest import BRIDGE
from tests.acceptance.service import STOP_S, Service, service, until
from tests.conftest import StandIn

STATEMENTS = "/api/2.0/sql/statements"
NOT_EVIDENCE = {"permissions.yaml"}
"""Files of the service's folder that hold secrets because a person wrote them there."""


def canary(name: str) -> str:
    """A secret with characters that URLs, JSON, connection strings and shells each write their own way."""
    return f"c4n4ry-{name}-{secrets.token_hex(8)}/+&=%;}}\\"


def forms(secret: str) -> dict[str, bytes]:
    """How a secret may be written: as it is, escaped, encoded, hashed."""
    plain = secret.encode()
    found = {
        "plain": plain,
        "JSON": json.dumps(secret)[1:-1].encode(),
        "URL": quote(secret, safe="").encode(),
        "URL path": quote(secret).encode(),
        "form": quote_plus(secret).encode(),
        "connection string": secret.replace("}", "}}").encode(),
        "hex": plain.hex().encode(),
        "UTF-16": secret.encode("utf-16-le"),
        "SHA-256": hashlib.sha256(plain).hexdigest().encode(),
    }
    for shift in range(3):  # base64 looks another way behind one or two bytes, such as those of "user:"
        encoded = base64.b64encode(b"x" * shift + plain)
        found[f"base64, {shift} bytes in"] = encoded[-(-shift * 4 // 3) + (shift > 0) : len(encoded) // 4 * 4 - 4]
    return found


def leaks(evidence: Mapping[str, bytes], known: Mapping[str, str]) -> list[str]:
    """Every form of every secret that stands somewhere."""
    return [
        f"{name} ({form}) in {where}: ...{content[max(0, content.find(text) - 200) : content.find(text)]!r}"
        for name, secret in known.items()
        for form, text in forms(secret).items()
        for where, content in evidence.items()
        if text in content
    ]


class Watched:
    """A service, everything that it says, and every secret that it was told."""

    def __init__(self, running: Service, known: dict[str, str]) -> None:
        self.running = running
        self.known = known
        self.said: dict[str, bytes] = {}
        self.client = httpx.Client(timeout=60)

    def send(self, method: str, path: str, token: str | None = None, **arguments: Any) -> httpx.Response:
        """A request, whose whole answer is kept."""
        headers = arguments.pop("headers", {} if token is None else {"Authorization": f"Bearer {token}"})
        answer = self.client.request(method, self.running.url + path, headers=headers, **arguments)
        self.said[f"answer {len(self.said)}: {method}"] = str(answer.headers.raw).encode() + answer.content
        return answer

    def stop(self) -> None:
        """End the service in order and keep the rest of its standard output."""
        process = self.running.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=STOP_S)
        self.said[f"standard output {len(self.said)}"] = out.encode()

    def evidence(self) -> dict[str, bytes]:
        """What it said, and each file in its folder."""
        files = (path for path in self.running.directory.rglob("*") if path.is_file())
        return self.said | {str(path): path.read_bytes() for path in files if path.name not in NOT_EVIDENCE}

    def require_silence(self, *kinds: str) -> None:
        """No secret in anything; `kinds` are names of evidence that must be there at all."""
        evidence = self.evidence()
        for kind in kinds:
            assert any(kind in where and content for where, content in evidence.items()), (kind, list(evidence))
        found = leaks(evidence, self.known)
        assert not found, "\n".join(found)


PERMISSIONS = """\
users:
  - name: alice
    token: "sha256:{digest}"
    signing_key: '{alice_key}'
    sources: ["*.*.*"]
    permissions: [{{table: "dbo.*", access: read}}, {{table: "{schema}.*", access: read_write}}]
  - name: bob
    token: '{bob_token}'
    permissions: [{{table: "dbo.airlines", access: read}}]
  - name: carol
    token: env:CAROL_TOKEN
    signing_key: env:CAROL_KEY
    permissions: [{{table: "{schema}.*", access: read_write}}]
"""


@pytest.fixture
def watched(server_environment: dict[str, str], sqlserver_settings: Settings, tmp_path: Path) -> Iterator[Watched]:
    """A service that is not started yet, with a secret of its own in each credential that it may have."""
    known = {
        "SQLSERVER_PASSWORD": server_environment["SQLSERVER_PASSWORD"],
        "DATABRICKS_TOKEN": server_environment["DATABRICKS_TOKEN"],
        "AUDIT_KEY": canary("audit"),
        "alice's token": f"bridge_{secrets.token_urlsafe(32)}",
        "bob's token": f"plain-token-{secrets.token_hex(16)}",
        "carol's token": f"env-token-{secrets.token_hex(16)}",
        "alice's signing key": canary("alice"),
        "carol's signing key": canary("carol"),
    }
    with service(server_environment, tmp_path, sqlserver_settings) as running:
        running.workspace.query("airlines", "SELECT TOP 3 carrier, name FROM dbo.airlines")
        (tmp_path / "spool").mkdir()
        running.environment = {
            **running.environment,
            "DEBUG": "true",
            "LOG_LEVEL": "DEBUG",
            "AUDIT_KEY": known["AUDIT_KEY"],
            "CAROL_TOKEN": known["carol's token"],
            "CAROL_KEY": known["carol's signing key"],
            "BRIDGE_SPOOL_DIR": str(tmp_path / "spool"),
            "DATABRICKS_RETRY_TIMEOUT_S": "1",
        }
        (tmp_path / "permissions.yaml").write_text(
            PERMISSIONS.format(
                digest=hashlib.sha256(known["alice's token"].encode()).hexdigest(),
                alice_key=known["alice's signing key"],
                bob_token=known["bob's token"],
                schema=running.schema,
            )
        )
        found = Watched(running, known)
        with found.client:
            yield found


def test_the_search_finds_what_it_looks_for() -> None:
    """Each form, planted, is found: the other tests' silence means something."""
    secret = canary("planted")
    for form, text in forms(secret).items():
        assert len(text) >= 16, form
        assert leaks({"log": b"before " + text + b" behind"}, {"it": secret}), form
    for user in ("", "u", "us", "use"):
        assert leaks({"log": base64.b64encode(f"{user}:{secret}".encode())}, {"it": secret}), user
    assert not leaks({"log": b"nothing of the kind"}, {"it": secret})


def test_no_secret_is_seen_when_all_goes_well_or_wrong_while_it_runs(
    watched: Watched, lakehouse_settings: Settings, sqlserver_faults: StandIn, lakehouse_faults: StandIn
) -> None:
    """Jobs and events; secrets in the wrong places of requests; both ends failing; broken files; no audit log."""
    running, known, send = watched.running, watched.known, watched.send
    subprocess.run([BRIDGE, "events", "init"], cwd=running.directory, env=running.environment, check=True, timeout=60)
    running.start(POLLER_ENABLED="true")
    alice, bob, carol = (known[f"{name}'s token"] for name in ("alice", "bob", "carol"))
    country, target = running.workspace.country, f"{running.schema}.t"
    event = {"operation": "DELETE", "target_table": target, "filter_conditions": {"id": "1"}}

    job = send("POST", "/extract", alice, json={"country": country}).json()
    stream = send("GET", f"/jobs/{job['job_id']}/events", alice).text
    path = json.loads(stream.rpartition("data: ")[2].splitlines()[0])["queries"][0]["path"]
    manifest = DatabricksLakehouse(lakehouse_settings).read(f"{path}/_manifest.json")
    watched.said["the manifest"] = manifest
    for token in (alice, carol):
        assert send("POST", "/sync/events", token, json=event).status_code == 201
    assert send("GET", "/sync/events", carol).status_code == 200
    assert send("POST", "/extract", bob, json={"country": country}).status_code == 202

    # Secrets where they do not belong. A part of the query that is wrong is told to who sent it, and to nobody else.
    for secret in known.values():
        pasted = quote(secret, safe="")
        for address in (f"/jobs/{pasted}", f"/sync/events/{pasted}", f"/{pasted}", f"/metrics?token={pasted}"):
            send("GET", address, alice)
            send("GET", address)
        for header in (f"Bearer x{secret}", f"Basic {base64.b64encode(f'sa:{secret}'.encode()).decode()}", secret):
            assert send("GET", "/jobs", headers={"Authorization": header}).status_code == 401
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(f"GET /{secret} HTTP/1.1\r\nAuthorization {secret}\r\n\r\n".encode())
            watched.said[f"answer to no request {len(watched.said)}"] = connection.recv(4096)
    assert "/jobs/***" in running.log
    assert any(line["resource"] == "/jobs/***" for line in running.audit("auth_success"))

    # Both ends fail.
    for error in (18456, 1205, 50000):
        sqlserver_faults.fault(match={}, times=None, action={"error": error})
        send("POST", "/extract", alice, json={"country": country})
        sqlserver_faults.clear()
    sqlserver_faults.fault(match={}, times=None, action={"drop": "before"})
    assert send("POST", "/extract", alice, json={"country": country}).status_code == 503
    sqlserver_faults.clear()
    for status in (401, 403, 500):
        told = f"the server says {known['DATABRICKS_TOKEN']}"
        lakehouse_faults.fault(match={}, times=None, action={"status": status, "message": told})
        assert send("GET", "/sync/events", alice).status_code == 503
        assert send("POST", "/sync/events", alice, json=event).status_code == 503
        failing = send("POST", "/extract", alice, json={"country": country}).json()
        if status == 500:  # that may pass: the job waits for it
            assert send("DELETE", f"/jobs/{failing['job_id']}", alice).status_code == 202
        else:
            assert '"failed"' in send("GET", f"/jobs/{failing['job_id']}/events", alice).text
        lakehouse_faults.clear()

    # Files break, and the audit log goes.
    permissions = running.directory / "permissions.yaml"
    good = permissions.read_text()
    alice_key = known["alice's signing key"]
    for broken in (
        good.replace("name: bob", "name: alice"),
        good.replace(f"'{alice_key}'", f"'{alice_key}"),
        good.replace("signing_key:", f"{bob}:"),
        good + f"{alice_key}: {bob}\n",
        good.replace("sha256:", "sha257:"),
        f"{bob}\n",
    ):
        lines = len(running.audit("permissions_changed"))
        _put_in_place(permissions, broken)
        assert send("GET", "/jobs", alice).status_code == 200
        until(partial(_audited, running, lines + 1), "told of in the audit log")
    _put_in_place(permissions, good)
    running.workspace.yaml(country, "database: [Flights\n")
    assert send("POST", "/extract", alice, json={"country": country}).status_code in (422, 503)
    audit, away = running.directory / "audit", running.directory / "audit-away"
    audit.rename(away)
    audit.write_text("a file stands where the folder was")
    assert send("POST", "/sync/events", alice, json=event).status_code == 503
    audit.unlink()
    away.rename(audit)
    watched.stop()
    assert "permissions.refused" in running.log
    watched.require_silence("service.log", "audit-", "jobs.sqlite3", "the manifest", "answer")


def _audited(running: Service, lines: int) -> bool:
    return len(running.audit("permissions_changed")) >= lines


def _put_in_place(file: Path, text: str) -> None:
    """Write the file as a whole: without `end: true` in it, an empty one is a file without users."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def test_no_secret_is_seen_of_credentials_that_are_refused_or_ends_that_are_away(watched: Watched) -> None:
    """A wrong password, a wrong client secret, a job store that is away: the service starts and says so in general."""
    running, known = watched.running, watched.known
    known |= {"JOB_STORE_URL": canary("store"), "wrong password": canary("sql"), "client secret": canary("client")}
    store = f"postgresql://bridge:{quote(known['JOB_STORE_URL'], safe='')}@127.0.0.1:9/jobs?connect_timeout=1"
    running.start(
        JOB_STORE_URL=store,
        SQLSERVER_PASSWORD=known["wrong password"],
        DATABRICKS_TOKEN="",
        DATABRICKS_CLIENT_ID="a-client",
        DATABRICKS_CLIENT_SECRET=known["client secret"],
    )
    alice = known["alice's token"]
    assert watched.send("GET", "/jobs", alice).status_code == 503
    assert watched.send("GET", "/sync/events", alice).status_code == 503
    assert watched.send("POST", "/extract", alice, json={"country": running.workspace.country}).status_code == 503
    watched.send("GET", "/health/ready")
    watched.send("GET", "/metrics")
    watched.stop()
    assert "store.waiting" in running.log
    watched.require_silence("service.log", "audit-", "answer")


@pytest.mark.parametrize(
    "wrong",
    [
        {"JOB_STORE_URL": "nosuch://bridge:{0}@nowhere/jobs"},
        {"DATABRICKS_TOKEN": "{0}\n{0}"},
        {"ENVIRONMENT": "production", "AUDIT_KEY": "{0}"},
        {"CAROL_KEY": "sha256:{0}"},
        {"SQLSERVER_PORT": "{0}", "SQLSERVER_PASSWORD": "{0}"},
    ],
    ids=lambda wrong: "+".join(wrong),
)
def test_no_secret_is_seen_where_the_service_does_not_start(watched: Watched, wrong: dict[str, str]) -> None:
    """With DEBUG on, which shows tracebacks: not even there."""
    secret = watched.known["the wrong one"] = canary("refused")
    changes = {name: value.format(secret) for name, value in wrong.items()}
    done = subprocess.run(
        [BRIDGE, "serve", "--port", "0", "--json"],
        cwd=watched.running.directory,
        env={**watched.running.environment, **changes},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode in (1, 2), done.stderr
    watched.said["output"] = done.stdout
    watched.said["errors"] = done.stderr
    watched.require_silence("errors")
