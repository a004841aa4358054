"""POST /extract and GET /queries of a running service: what is taken, what is refused, and as what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sql_databricks_bridge.core.config import Settings
from tests.acceptance.service import Service, service

PROBLEM = "urn:sql-databricks-bridge:problem:"


@pytest.fixture(scope="module")
def running(
    server_environment: dict[str, str], sqlserver_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service with three queries, one of them with an @parameter."""
    with service(server_environment, tmp_path_factory.mktemp("extract"), sqlserver_settings) as found:
        found.workspace.yaml(
            found.workspace.country, "database: Flights\nparams: {least: {type: int, default: 3}, since: date}\n"
        )
        found.workspace.query("airlines", "SELECT carrier, name FROM dbo.airlines")
        found.workspace.query("late", "SELECT TOP 5 dep_delay FROM dbo.flights WHERE dep_delay > @least")
        found.workspace.query("dated", "SELECT TOP 5 time_hour FROM dbo.flights WHERE time_hour > @since")
        found.start()
        yield found


def extract(running: Service, user: str = "alice", headers: dict[str, str] | None = None, **body: Any) -> Any:
    """POST /extract for the service's country."""
    body = {"country": running.workspace.country, **body}
    return running.client(user).post("/extract", json=body, headers=headers)


def test_a_job_lands_and_its_progress_is_streamed(running: Service) -> None:
    """202 with the job and its Location; the stream ends with the job; rows, files and times are told."""
    answer = extract(running, queries=["airlines", "late"], parameters={"least": 10})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["Location"] == f"/jobs/{job['job_id']}"
    assert (job["user"], job["request_id"]) == ("alice", answer.headers["X-Request-ID"])
    states = list(running.follow(job["job_id"]))
    last = states[-1]
    assert last["status"] == "completed", last
    assert last["progress"] == {"queries": 2, "ended": 2, "rows": 21, "bytes": last["progress"]["bytes"]}
    assert [query["rows"] for query in last["queries"]] == [16, 5]
    assert all(query["path"].endswith(f"run={job['job_id']}-1") for query in last["queries"])
    assert last["created_at"].endswith("Z")
    assert last["finished_at"] >= last["started_at"]
    assert running.client().get(answer.headers["Location"]).json() == last
    (intent, done) = [line for line in running.audit("job_create") if line["resource"] == job["job_id"]]
    assert (intent["outcome"], done["outcome"]) == ("intent", "done")
    assert intent["request_id"] == job["request_id"]
    assert "dbo.airlines" in intent["tables"]


def test_a_job_publishes_where_the_yaml_has_a_table_and_only_there(running: Service) -> None:
    """Twice: in full, then what changed, which is nothing; a country without `publish:` makes no tables by the API."""
    country = f"{running.workspace.country}Tables"
    running.workspace.yaml(
        country,
        f"database: Flights\npublish: {{tables: {{airlines: '{country}'}}}}\n"
        "incremental: {airlines: {kind: fingerprint, key: carrier}}\n"
        "params: {least: {type: int, default: 3}, since: date}\n",
    )
    told = []
    for publish in (True, None):
        answer = extract(running, country=country, queries=["airlines"], publish=publish)
        assert answer.status_code == 202, answer.text
        (query,) = running.ended(answer.json()["job_id"])["queries"]
        assert query["status"] == "completed", query
        told.append(query["publication"])
    assert [(each["way"], each["total"], each["inserted"]) for each in told] == [
        ("full", 16, 16),
        ("fingerprint", None, 0),
    ]
    assert told[0]["table"].endswith(f".{country}")
    landed = extract(running, country=country, queries=["airlines"], publish=False).json()
    assert running.ended(landed["job_id"])["queries"][0]["publication"] is None
    refused = extract(running, queries=["airlines"], publish=True)
    assert (refused.status_code, refused.json()["errors"][0]["where"]) == (422, "body.publish")


def test_a_job_reads_a_query_in_ranges_and_publishes_it_whole(running: Service) -> None:
    country = f"{running.workspace.country}Ranges"
    running.workspace.yaml(
        country,
        f"database: Flights\npublish: {{tables: {{airlines: '{country}'}}}}\nparams: {{least: int, since: date}}\n",
    )
    split: dict[str, Any] = {"country": country, "queries": ["airlines"], "partition_key": ["carrier"]}
    answer = extract(running, partitions=3, **split)
    assert answer.status_code == 202, answer.text
    (query,) = running.ended(answer.json()["job_id"])["queries"]
    assert (query["status"], query["rows"], query["warnings"]) == ("completed", 16, [])
    assert (query["publication"]["way"], query["publication"]["total"]) == ("full", 16)
    for wrong in (0, 65, "many"):
        refused = extract(running, partitions=wrong, **split)
        assert (refused.status_code, "partitions" in refused.text) == (422, True)
    refused = extract(running, **split)
    assert (refused.status_code, "nothing is split" in refused.text) == (422, True)


def test_a_key_makes_a_post_safe_to_repeat(running: Service) -> None:
    """The same key and body answer the same job, another body is refused, another user's key is another key."""
    key = {"Idempotency-Key": "once-and-for-all"}
    first = extract(running, queries=["airlines"], headers=key)
    again = extract(running, queries=["airlines"], headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["job_id"] == first.json()["job_id"]
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    other = extract(running, queries=["late"], headers=key)
    assert (other.status_code, other.json()["type"]) == (422, f"{PROBLEM}idempotency-key-reused")
    theirs = extract(running, "bob", queries=["airlines"], headers=key)
    assert theirs.status_code == 202
    assert theirs.json()["job_id"] != first.json()["job_id"]


def test_tables_that_the_user_may_not_read_are_refused(running: Service) -> None:
    """403 names the table; nothing is queued; the denial is in the audit log."""
    refused = extract(running, "bob", queries=["airlines", "late"])
    assert refused.status_code == 403
    problem = refused.json()
    assert problem["type"] == f"{PROBLEM}not-permitted"
    assert "flights" in problem["detail"]
    denied = running.audit("permission_denied")[-1]
    assert (denied["user_name"], denied["request_id"]) == ("bob", problem["request_id"])
    assert all(line["user_name"] == "alice" or "flights" not in line["tables"] for line in running.audit("job_create"))


@pytest.mark.parametrize(
    ("body", "where", "said"),
    [
        ({"country": "nowhere"}, "body.country", "nowhere"),
        ({"country": "../common_params"}, "body.country", "common_params"),
        ({"country": "a\u0000b"}, "body.country", "a"),
        ({"country": "x" * 201}, "body.country", "200"),
        ({"country": "é" * 200}, "body.country", "é"),
        ({"queries": ["airlines", "airlnes"]}, "body.queries", "did you mean airlines"),
        ({"queries": ["dated"]}, "body.parameters", "since"),
        ({"queries": ["dated"], "parameters": {"since": "yesterday"}}, "body.parameters", "since"),
        ({"queries": ["late"], "parameters": {"least": 10**400}}, "body.parameters", "least"),
        ({"queries": ["late"], "parameters": {"least": "\u0000"}}, "body.parameters", "least"),
        ({"queries": ["late"], "parameters": {"nonsense": 1}}, "body.parameters", "nonsense"),
        ({"destination": "x.y.z"}, "body", "x.y.z"),
        ({"destination": "x"}, "body", "parts"),
        ({"limit": 0}, "body.limit", "greater than or equal"),
        ({"limit": 10**400}, "body.limit", "less than or equal"),
        ({"limit": "5"}, "body.limit", "integer"),
        ({"limit": True}, "body.limit", "integer"),
        ({"lookback_months": 1201}, "body.lookback_months", "less than or equal"),
        ({"look_back": 3}, "body.look_back", "not permitted"),
        ({"queries": "airlines"}, "body.queries", "list"),
        ({"parameters": {"least": {"deep": 1}}}, "body.parameters.least", "valid"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_wrong_input_is_told_by_its_place(running: Service, body: dict[str, Any], where: str, said: str) -> None:
    """422 with each wrong part."""
    answer = extract(running, **body)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["type"] == f"{PROBLEM}invalid-request"
    assert any(error["where"].startswith(where) for error in problem["errors"]), problem
    assert said in problem["detail"] + str(problem["errors"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff\xfe",
        b'{"country": "\\ud800"}',
        b'{"country": NaN}',
        b'{"country": "x", "parameters": {"a": 1e999}}',
        b'{"country": "x", "limit": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"' + b"x" * 200_000 + b'": 1}',
        b"[]",
        b"null",
    ],
    ids=range(12),
)
def test_what_is_no_json_of_ours_is_the_callers_fault(running: Service, body: bytes) -> None:
    """422, whatever the bytes are, and a problem of a bearable size."""
    answer = running.client().post("/extract", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["where"].startswith("body")
    assert len(answer.content) < 20_000


def test_who_may_not_come_in_learns_nothing(running: Service) -> None:
    """401 before the body's type, form or sense is looked at; the failure is audited without the token."""
    stranger = running.client(None)
    for headers in ({}, {"Authorization": "Bearer wrong-token-4711"}, {"Authorization": "Basic YTpi"}):
        answer = stranger.post("/extract", content=b"{", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json()["type"] == f"{PROBLEM}sign-in-refused"
    failure = running.audit("auth_failure")[-1]
    assert (failure["user_name"], failure["source_ip"], failure["action"]) == (None, "127.0.0.1", "POST")
    everything = running.log + "".join(file.read_text() for file in (running.directory / "audit").iterdir())
    assert "wrong-token-4711" not in everything


def test_other_bodies_methods_and_paths_are_problems_too(running: Service) -> None:
    """415, 405 with Allow, 404; the client's request id comes back where it is one."""
    client = running.client()
    text = client.post("/extract", content=b"{}", headers={"Content-Type": "text/plain", "X-Request-ID": "mine-1"})
    assert (text.status_code, text.json()["type"]) == (415, f"{PROBLEM}unsupported-media-type")
    assert text.json()["request_id"] == text.headers["X-Request-ID"] == "mine-1"
    method = client.put("/extract", headers={"X-Request-ID": "not one of ours"})
    assert (method.status_code, method.headers["Allow"]) == (405, "POST")
    assert method.headers["X-Request-ID"] == method.json()["request_id"] != "not one of ours"
    nowhere = client.get("/extract/")
    assert (nowhere.status_code, nowhere.headers["Content-Type"]) == (404, "application/problem+json")


def test_a_full_queue_says_when_to_come_back(
    running: Service, server_environment: dict[str, str], sqlserver_settings: Settings, tmp_path: Path
) -> None:
    """429 queue-full with Retry-After once as many jobs wait as may."""
    with service(server_environment, tmp_path, sqlserver_settings) as small:
        small.workspace.query("airlines", "SELECT carrier FROM dbo.airlines")
        # No job is taken up: the queue is full after the first one.
        small.start(JOB_QUEUE_LIMIT="1", JOB_WORKERS="1", DATABRICKS_HOST=silent_address())
        answers = [extract(small) for _ in range(3)]
    assert running.url != small.url
    assert answers[-1].status_code == 429, [answer.text for answer in answers]
    assert answers[-1].json()["type"] == f"{PROBLEM}queue-full"
    assert int(answers[-1].headers["Retry-After"]) > 0


def silent_address() -> str:
    """An address that takes connections of nobody, so that a job which was taken up waits."""
    return "http://127.0.0.1:9"


def test_queries_are_listed_with_what_they_take(running: Service) -> None:
    """Placeholders and @parameters of each; 404 for another country, 422 without one."""
    client, country = running.client(), running.workspace.country
    listed = client.get("/queries", params={"country": country}).json()
    assert listed["country"] == country
    assert listed["queries"][1] == {
        "name": "dated",
        "file": "dated.sql",
        "placeholders": [],
        "parameters": ["since"],
        "problem": None,
    }
    assert client.get("/queries", params={"country": "nowhere"}).status_code == 404
    assert client.get("/queries").json()["errors"][0]["where"] == "query.country"
    assert client.get("/queries", params={"country": country, "contry": "x"}).status_code == 422


def test_what_needs_no_sign_in_answers_strangers(running: Service) -> None:
    """Version, health and the OpenAPI document, which names every status that was met above."""
    stranger = running.client(None)
    assert stranger.get("/version").json()["name"] == "sql-databricks-bridge"
    assert stranger.get("/health/live").json() == {"status": "alive"}
    document = stranger.get("/openapi.json").json()
    assert {"202", "400", "401", "403", "408", "413", "415", "422", "429", "500", "503"} == set(
        document["paths"]["/extract"]["post"]["responses"]
    )


def test_nothing_happens_without_the_audit_log(running: Service) -> None:
    """503 while it can't be written, and no job; the service goes on once it can."""
    folder, away = running.directory / "audit", running.directory / "audit-away"
    before = running.client().get("/jobs").json()["jobs"][0]["job_id"]
    folder.rename(away)
    folder.write_text("a file stands where the folder was")
    refused = extract(running, queries=["airlines"])
    folder.unlink()
    away.rename(folder)
    assert refused.status_code == 503, refused.text
    assert refused.json()["type"] == f"{PROBLEM}unavailable"
    assert int(refused.headers["Retry-After"]) > 0
    assert running.client().get("/jobs").json()["jobs"][0]["job_id"] == before
