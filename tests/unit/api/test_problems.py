"""Which exception becomes which problem, and what the caller is not told."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from sql_databricks_bridge import errors
from sql_databricks_bridge.api.openapi import WITH_BODY
from sql_databricks_bridge.api.problems import MEDIA_TYPE, Refused, Slug, problem_response, refused_for
from sql_databricks_bridge.errors import BridgeError

CANARY = "10.1.2.3:1433 said canary"
DOCUMENTED = {*WITH_BODY, Slug.NOT_PERMITTED, Slug.IDEMPOTENCY_KEY_REUSED, Slug.QUEUE_FULL}
OWN = (errors.SettingsError, errors.SourceError, errors.LakehouseError, errors.LandingError, errors.AuditError,
       errors.LedgerMissing, errors.CommitUnknown, errors.JobStoreUnavailable, errors.LeaseLost,
       errors.Cancelled, errors.PublishError, errors.DueDecided)  # fmt: skip


def kinds(base: type[BridgeError] = BridgeError) -> Iterator[type[BridgeError]]:
    """The tree of errors.py."""
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


@pytest.mark.parametrize("kind", list(dict.fromkeys(kinds())))
def test_every_error_becomes_a_documented_problem(kind: type[BridgeError]) -> None:
    """And none of them a 500; what is the service's own trouble says nothing of what it is made of."""
    refused = refused_for(kind(CANARY, hint=CANARY))
    assert refused.slug in DOCUMENTED
    text = bytes(problem_response(refused, "r").body).decode()
    assert ("canary" not in text) == (issubclass(kind, OWN) or kind in (BridgeError, errors.SyncError, errors.JobError,
                                                                       errors.AccessError))  # fmt: skip
    assert ("Retry-After" in refused.headers) == (refused.slug.status in (429, 503))


def test_a_problem_carries_any_text() -> None:
    """Lone surrogates and endless texts are made fit for JSON; errors are bounded."""
    many = [("body.\ud800", "x" * 10_000)] * 1000
    response = problem_response(Refused(Slug.INVALID_REQUEST, "\ud800\x00", errors=many), "r")
    found = json.loads(bytes(response.body))
    assert response.media_type == MEDIA_TYPE
    assert (found["status"], found["detail"], len(found["errors"])) == (422, "\\ud800\x00", 50)
    assert len(found["errors"][0]["message"]) < 2100
