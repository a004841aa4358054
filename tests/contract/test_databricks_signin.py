"""Sign-in to the Databricks stand-in, and what Unity Catalog tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import (
    BadRequest,
    InvalidParameterValue,
    NotFound,
    NotImplemented,
    PermissionDenied,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
)
from databricks.sdk.service.catalog import VolumeType
from databricks.sdk.service.sql import State

from tests.conftest import StandIn
from tests.contract.databricks_fixture import Sandbox, fetch, signed_in, start_databricks


@pytest.fixture
def sandbox(lakehouse_stand_in: StandIn) -> Iterator[Sandbox]:
    with signed_in(lakehouse_stand_in) as made:
        yield made


def closed(client: WorkspaceClient) -> None:
    client.api_client._api_client._session.close()


def test_a_personal_token_signs_in_and_the_host_tells_about_itself(sandbox: Sandbox) -> None:
    assert sandbox.client.current_user.me().user_name == "sandbox@example.com"
    assert sandbox.client.config.workspace_id
    assert sandbox.client.config.discovery_url == f"{sandbox.ready['url']}/oidc/.well-known/oauth-authorization-server"


def test_a_service_principal_signs_in_with_oauth(sandbox: Sandbox) -> None:
    ready = sandbox.ready
    client = WorkspaceClient(host=ready["url"], client_id=ready["client_id"], client_secret=ready["client_secret"])
    assert client.config.auth_type == "oauth-m2m"
    assert client.current_user.me().user_name == ready["client_id"]
    closed(client)


def test_a_wrong_client_secret_is_refused_by_the_token_endpoint(sandbox: Sandbox) -> None:
    ready = sandbox.ready
    client = WorkspaceClient(host=ready["url"], client_id=ready["client_id"], client_secret="wrong")
    with pytest.raises(ValueError, match="invalid_client: Client authentication failed"):
        client.current_user.me()
    closed(client)


def test_other_grants_and_scopes_are_refused_by_name(sandbox: Sandbox) -> None:
    ready = sandbox.ready
    url, auth = f"{ready['url']}/oidc/v1/token", (ready["client_id"], ready["client_secret"])
    answer = fetch(url, "POST", auth=auth, data={"grant_type": "password"})
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")
    answer = fetch(url, "POST", auth=auth, data={"grant_type": "client_credentials", "scope": "sql"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")


def test_a_wrong_token_is_403_and_no_token_401(sandbox: Sandbox) -> None:
    client = WorkspaceClient(host=sandbox.ready["url"], token="dapi-wrong")
    with pytest.raises(PermissionDenied, match="Invalid access token"):
        client.current_user.me()
    closed(client)
    answer = fetch(f"{sandbox.ready['url']}/api/2.0/preview/scim/v2/Me")
    assert answer.status_code == 401
    assert answer.json()["message"].startswith("Credential was not sent")


def test_an_oauth_token_expires(tmp_path: Path) -> None:
    with start_databricks(tmp_path / "data", "--token-lifetime-s", "0") as short:
        ready = short.ready
        auth = (ready["client_id"], ready["client_secret"])
        form = {"grant_type": "client_credentials", "scope": "all-apis"}
        issued = fetch(f"{ready['url']}/oidc/v1/token", "POST", auth=auth, data=form).json()
        assert (issued["token_type"], issued["expires_in"]) == ("Bearer", 0)
        headers = {"Authorization": f"Bearer {issued['access_token']}"}
        answer = fetch(f"{ready['url']}/api/2.0/preview/scim/v2/Me", headers=headers)
    assert (answer.status_code, "expired" in answer.json()["message"]) == (403, True)


def test_the_catalog_shows_what_is_there(sandbox: Sandbox) -> None:
    client = sandbox.client
    assert client.catalogs.get("bridge").name == "bridge"
    assert client.schemas.get("bridge.landing").full_name == "bridge.landing"
    assert client.volumes.read("Bridge.Landing.FILES").full_name == "bridge.landing.files"
    assert "bridge" in [each.name for each in client.catalogs.list()]
    assert {"landing", "events", "default"} <= {each.name for each in client.schemas.list("bridge")}
    assert "files" in [each.name for each in client.volumes.list("bridge", "landing")]
    assert client.warehouses.get(sandbox.ready["warehouse_id"]).state is State.RUNNING
    assert [each.id for each in client.warehouses.list()] == [sandbox.ready["warehouse_id"]]


def test_schemas_and_volumes_can_be_made_and_dropped(sandbox: Sandbox) -> None:
    client = sandbox.client
    client.schemas.create("made", "bridge")
    client.volumes.create("bridge", "made", "v", VolumeType.MANAGED)
    client.files.create_directory("/Volumes/bridge/made/v/x")
    with pytest.raises(ResourceAlreadyExists):
        client.volumes.create("bridge", "made", "V", VolumeType.MANAGED)
    with pytest.raises(BadRequest, match="not empty"):
        client.schemas.delete("bridge.made")
    client.volumes.delete("bridge.made.v")
    client.schemas.delete("bridge.made")
    with pytest.raises(NotFound, match="does not exist"):
        client.schemas.get("bridge.made")


@pytest.mark.parametrize(
    ("call", "error", "code"),
    [
        (lambda w: w.catalogs.get("nope"), NotFound, "CATALOG_DOES_NOT_EXIST"),
        (lambda w: w.schemas.get("bridge.nope"), NotFound, "SCHEMA_DOES_NOT_EXIST"),
        (lambda w: w.volumes.read("bridge.landing.nope"), ResourceDoesNotExist, "RESOURCE_DOES_NOT_EXIST"),
        (lambda w: w.volumes.read("nope.landing.files"), NotFound, "CATALOG_DOES_NOT_EXIST"),
        (lambda w: w.tables.get("bridge.landing.nope"), NotFound, "TABLE_DOES_NOT_EXIST"),
        (lambda w: w.warehouses.get("0123456789abcdef"), ResourceDoesNotExist, "RESOURCE_DOES_NOT_EXIST"),
        (lambda w: w.warehouses.get("nope"), InvalidParameterValue, "INVALID_PARAMETER_VALUE"),
        (lambda w: w.volumes.create("bridge", "landing", "a/b", VolumeType.MANAGED), BadRequest, None),
        (lambda w: w.volumes.create("bridge", "landing", "e", VolumeType.EXTERNAL), NotImplemented, "NOT_IMPLEMENTED"),
        (lambda w: list(w.jobs.list()), NotFound, "ENDPOINT_NOT_FOUND"),
    ],
)
def test_what_is_not_there_or_not_supported_is_refused_with_its_code(
    sandbox: Sandbox, call: Callable[[WorkspaceClient], object], error: type[Exception], code: str | None
) -> None:
    with pytest.raises(error) as raised:
        call(sandbox.client)
    assert code is None or getattr(raised.value, "error_code", None) == code
