"""Whatever is sent to a running service, by the OpenAPI document or against it, it answers as that document says."""

from __future__ import annotations

import json
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from sql_databricks_bridge.core.config import Settings
from tests.acceptance.conftest import BRIDGE
from tests.acceptance.service import TOKENS, Service, service

LEAST_CASES = 2_000
CASES = {
    "POST /extract": 300,
    "GET /jobs": 300,
    "GET /jobs/{job_id}": 200,
    "DELETE /jobs/{job_id}": 200,
    "GET /jobs/{job_id}/events": 150,
    "GET /queries": 300,
    "POST /sync/events": 250,
    "GET /sync/events": 160,
    "GET /sync/events/{event_id}": 100,
    "POST /sync/events/{event_id}/retry": 100,
    "GET /version": 5,
    "GET /metrics": 5,
    "GET /health/live": 5,
    "GET /health/ready": 5,
    "GET /health/startup": 5,
}
"""How many requests of each operation; those without parameters are all alike."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
CALLERS = ("alice", "alice", "alice", "alice", "bob", "mute", None, "a stranger")


@pytest.fixture(scope="module")
def running(
    server_environment: dict[str, str], sqlserver_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service with small queries whose rate limits nobody reaches. Its jobs are cancelled at the end."""
    with service(server_environment, tmp_path_factory.mktemp("fuzz"), sqlserver_settings) as found:
        found.workspace.yaml(found.workspace.country, "database: Flights\nparams: {least: {type: int, default: 3}}\n")
        found.workspace.query("airlines", "SELECT TOP 3 carrier, name FROM dbo.airlines")
        found.workspace.query("late", "SELECT TOP 3 dep_delay FROM dbo.flights WHERE dep_delay > @least")
        subprocess.run([BRIDGE, "events", "init"], cwd=found.directory, env=found.environment, check=True, timeout=60)
        found.start(RATE_LIMIT_PER_MINUTE="1000000", FAILED_SIGN_INS_PER_MINUTE="1000000", JOB_QUEUE_LIMIT="3")
        yield found
        for job in found.client().get("/jobs", params={"limit": 200}).json()["jobs"]:
            found.client().delete(f"/jobs/{job['job_id']}")


class Campaign:
    """Sends the cases and keeps what came of them. `known` is what is really there, for each name of a part."""

    def __init__(self, running: Service) -> None:
        self._running = running
        self._session = requests.Session()
        self.statuses: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.failures: dict[str, str] = {}
        country, target = running.workspace.country, f"{running.schema}.t"
        self._right: dict[str, dict[str, Any]] = {
            "POST /extract": {"country": country, "queries": ["airlines"]},
            "POST /sync/events": {"operation": "DELETE", "target_table": target, "filter_conditions": {"id": "1"}},
        }
        done, waiting = (self._made("POST /extract")["job_id"] for _ in range(2))
        running.client().delete(f"/jobs/{waiting}")
        running.ended(done)
        self._known: dict[str, list[Any]] = {
            "job_id": [done, waiting],
            "event_id": [self._made("POST /sync/events")["event_id"]],
            "country": [country],
            "queries": [["airlines"], ["late"], ["airlines", "late"], None],
            "parameters": [None, {}, {"least": 5}],
            "destination": [None],
            "target_table": [target, "dbo.airlines", f"dbo.{country}"],
            "source_table": [None, "main.nowhere.at_all"],
        }

    def run(self, operation: APIOperation[Any, Any, Any, Any], label: str) -> None:
        """Send as many cases as `CASES` says: by the document and against it, among them some of what is there."""
        modes = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode))

        @settings(
            max_examples=CASES[label],
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=modes, caller=st.sampled_from(CALLERS), data=st.data())
        def send(case: Case[Any], caller: str | None, data: st.DataObject) -> None:
            self._make_real(case, label, data)
            self._send(case, caller, label)

        send()

    def close(self) -> None:
        self._session.close()

    def _made(self, label: str) -> dict[str, Any]:
        method, path = label.split()
        answer = self._running.client().request(method, path, json=self._right[label])
        assert answer.is_success, answer.text
        return dict(answer.json())

    def _make_real(self, case: Case[Any], label: str, data: st.DataObject) -> None:
        """Put into the case what is there, or of a right body all but a part: else none came past the first check."""
        for part in (case.path_parameters, case.query, case.body):
            if isinstance(part, dict):
                for name in sorted(part.keys() & self._known.keys()):
                    if data.draw(st.booleans(), f"a real {name}"):
                        part[name] = data.draw(st.sampled_from(self._known[name]))
        if isinstance(case.body, dict) and data.draw(st.booleans(), "a right body"):
            kept = data.draw(st.sets(st.sampled_from([*case.body, ""]), max_size=1), "its own part")
            case.body = self._right[label] | {name: value for name, value in case.body.items() if name in kept}

    def _send(self, case: Case[Any], caller: str | None, label: str) -> None:
        headers = {} if caller is None else {"Authorization": f"Bearer {TOKENS.get(caller, 'not-a-token')}"}
        if label.endswith("{job_id}/events"):
            response = self._first_event(case, headers)
        else:
            response = case.call(session=self._session, headers=headers, timeout=30)
        self.statuses[label][response.status_code] += 1
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as exc:
            told = "; ".join(sorted(type(one).__name__ for one in exc.exceptions))
            text = "\n".join(str(one) for one in exc.exceptions)
            self.failures.setdefault(f"{label}: {response.status_code}: {told}", f"{text}\n{case.as_curl_command()}")

    def _first_event(self, case: Case[Any], headers: dict[str, str]) -> Response:
        """The answer up to its first event, then hang up: the job may run for long."""
        arguments = case.as_transport_kwargs(base_url=self._running.url, headers=headers)
        with self._session.request(**arguments, stream=True, timeout=30) as answer:
            if answer.status_code != 200:
                answer.content  # noqa: B018  it is read whole
                return Response.from_requests(answer, verify=True)
            lines = (bytes(line).decode() for line in answer.iter_lines(chunk_size=1))
            event = dict(line.partition(": ")[::2] for line in iter(lambda: next(lines), ""))
            assert json.loads(event["data"])["job_id"] in self._known["job_id"]
            return Response(
                status_code=answer.status_code,
                headers={name.lower(): [value] for name, value in answer.headers.items()},
                content=b"event: job\n\n",
                request=answer.request,
                elapsed=answer.elapsed.total_seconds(),
                verify=True,
            )


def test_two_thousand_requests_end_as_the_document_says(running: Service) -> None:
    """Every operation, signed in and not, right data and wrong: no 5xx, no undocumented status, type or body."""
    schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    campaign = Campaign(running)
    try:
        for result in schema.get_all_operations():
            assert isinstance(result, Ok), result
            operation = result.ok()
            campaign.run(operation, operation.label)
    finally:
        campaign.close()
    assert campaign.statuses.keys() == CASES.keys()
    assert not campaign.failures, "\n\n".join(f"{what}\n{told}" for what, told in campaign.failures.items())
    sent = {label: statuses.total() for label, statuses in campaign.statuses.items()}
    assert sum(sent.values()) >= LEAST_CASES, sent
    for label, statuses in campaign.statuses.items():
        taken = 409 if label.endswith("retry") else 202  # the one event that is there has not failed yet
        assert min(statuses) <= taken, f"{label}: no request was a right one: {statuses}"
