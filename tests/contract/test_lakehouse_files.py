"""The Lakehouse port's files, on the stand-in or on the workspace that DATABRICKS_HOST names."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from sql_databricks_bridge.core.config import Settings, load_settings
from sql_databricks_bridge.core.ports import FileEntry, Lakehouse
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.errors import (
    AlreadyExists,
    LakehouseNotFound,
    LakehouseSignInError,
    LakehouseUnavailable,
    SettingsError,
)
from sql_databricks_bridge.models.names import Destination
from tests.conftest import StandIn


@pytest.fixture(scope="module")
def lakehouse(lakehouse_settings: Settings) -> DatabricksLakehouse:
    return DatabricksLakehouse(lakehouse_settings)


@pytest.fixture
def folder(lakehouse: DatabricksLakehouse, destination: Destination) -> Iterator[str]:
    path = f"{destination.root}/contract-{uuid.uuid4().hex}"
    lakehouse.make_directory(path)
    yield path
    remove_tree(lakehouse, path)


def remove_tree(lakehouse: Lakehouse, path: str) -> None:
    for entry in lakehouse.list_directory(path):
        if entry.is_directory:
            remove_tree(lakehouse, entry.path)
        else:
            lakehouse.delete_file(entry.path)
    lakehouse.delete_directory(path)


def local(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / f"{uuid.uuid4().hex}.bin"
    path.write_bytes(content)
    return path


def noise(size: int) -> bytes:
    """Bytes that no offset repeats, the same each time."""
    return b"".join(hashlib.sha256(number.to_bytes(8, "big")).digest() for number in range(size // 32 + 1))[:size]


def test_the_adapter_is_a_lakehouse(lakehouse: DatabricksLakehouse) -> None:
    """The adapter has every method of the port, with its types (mypy checks the assignment)."""
    port: Lakehouse = lakehouse
    assert callable(port.execute)


def test_an_uploaded_file_reads_back_byte_for_byte(lakehouse: Lakehouse, folder: str, tmp_path: Path) -> None:
    """What was uploaded is what is read, and the listing tells its size and a time of now."""
    content = noise(300_000)
    lakehouse.upload(f"{folder}/a b.parquet", local(tmp_path, content))
    assert lakehouse.read(f"{folder}/a b.parquet") == content
    (entry,) = lakehouse.list_directory(folder)
    assert (entry.path, entry.is_directory, entry.size_bytes) == (f"{folder}/a b.parquet", False, len(content))
    assert abs(entry.modified_ms / 1000 - time.time()) < 600


def test_a_file_above_the_multipart_limit_arrives_whole(lakehouse: Lakehouse, folder: str, tmp_path: Path) -> None:
    """55 MiB go by multipart upload and come back the same."""
    content = noise(55 << 20)
    lakehouse.upload(f"{folder}/big.bin", local(tmp_path, content))
    assert hashlib.sha256(lakehouse.read(f"{folder}/big.bin")).digest() == hashlib.sha256(content).digest()


def test_an_upload_never_overwrites(lakehouse: Lakehouse, folder: str, tmp_path: Path) -> None:
    """Another content at a taken path is AlreadyExists, for both ways of writing, and the first stays."""
    lakehouse.write_new(f"{folder}/m.json", b"first")
    with pytest.raises(AlreadyExists):
        lakehouse.write_new(f"{folder}/m.json", b"other")
    with pytest.raises(AlreadyExists):
        lakehouse.upload(f"{folder}/m.json", local(tmp_path, b"second, longer"))
    assert lakehouse.read(f"{folder}/m.json") == b"first"


def test_an_empty_file_is_a_file(lakehouse: Lakehouse, folder: str, tmp_path: Path) -> None:
    """Zero bytes are written and read."""
    lakehouse.upload(f"{folder}/empty", local(tmp_path, b""))
    assert lakehouse.read(f"{folder}/empty") == b""


def test_folders_are_made_with_their_parents_and_twice(lakehouse: Lakehouse, folder: str) -> None:
    """make_directory is mkdir -p; listings tell folders from files."""
    lakehouse.make_directory(f"{folder}/a/b/run=1-1")
    lakehouse.make_directory(f"{folder}/a/b/run=1-1")
    (entry,) = lakehouse.list_directory(f"{folder}/a/b")
    assert (entry.path, entry.is_directory) == (f"{folder}/a/b/run=1-1", True)
    assert lakehouse.list_directory(entry.path) == ()


def test_deleting_is_idempotent(lakehouse: Lakehouse, folder: str) -> None:
    """Deleting what is not there, file or folder, is no error."""
    lakehouse.write_new(f"{folder}/x", b"x")
    for _ in range(2):
        lakehouse.delete_file(f"{folder}/x")
        lakehouse.delete_directory(f"{folder}/nowhere")
    assert lakehouse.list_directory(folder) == ()


def test_a_missing_file_or_folder_is_not_found(lakehouse: Lakehouse, folder: str) -> None:
    """Reading and listing what is not there names the path."""
    with pytest.raises(LakehouseNotFound, match=r"nothing\.json"):
        lakehouse.read(f"{folder}/nothing.json")
    with pytest.raises(LakehouseNotFound, match="nowhere"):
        lakehouse.list_directory(f"{folder}/nowhere")


def test_a_listing_is_whole_beyond_a_page(lakehouse: Lakehouse, folder: str) -> None:
    """Every one of 60 files is listed once."""
    names = {f"{folder}/f{number:03d}" for number in range(60)}
    for name in sorted(names):
        lakehouse.write_new(name, b"x")
    found: list[FileEntry] = list(lakehouse.list_directory(folder))
    assert sorted(entry.path for entry in found) == sorted(names)


@pytest.mark.parametrize(
    ("change", "said", "setting"),
    [
        ({"catalog": "no_such_catalog"}, "Catalog no_such_catalog", "DATABRICKS_CATALOG"),
        ({"schema": "no_such_schema"}, "Schema ", "DATABRICKS_SCHEMA"),
        ({"volume": "no_such_volume"}, "Volume ", "DATABRICKS_VOLUME"),
    ],
)
def test_a_missing_destination_is_named(
    lakehouse: Lakehouse, destination: Destination, change: dict[str, str], said: str, setting: str
) -> None:
    """check_destination says which of catalog, schema and volume is missing and which setting to mend."""
    names = {"catalog": destination.catalog, "schema": destination.schema, "volume": destination.volume} | change
    with pytest.raises(LakehouseNotFound) as caught:
        lakehouse.check_destination(Destination(**names))
    assert caught.value.message.startswith(said)
    assert setting in (caught.value.hint or "")


def test_an_existing_destination_passes(lakehouse: Lakehouse, destination: Destination) -> None:
    """check_destination is quiet where the volume is there."""
    lakehouse.check_destination(destination)


def test_writing_into_a_missing_volume_names_the_volume(lakehouse: Lakehouse, destination: Destination) -> None:
    """A path below a volume that is not there is not found, by the volume's name."""
    path = f"/Volumes/{destination.catalog}/{destination.schema}/no_such_volume/x.json"
    with pytest.raises(LakehouseNotFound, match=r"Volume .*no_such_volume"):
        lakehouse.write_new(path, b"x")


def test_a_wrong_token_names_the_setting_and_not_the_token(
    lakehouse_settings: Settings, destination: Destination
) -> None:
    """A refused token is a sign-in error that names DATABRICKS_TOKEN; the token itself is nowhere in it."""
    wrong = lakehouse_settings.model_copy(update={"databricks_token": SecretStr("dapi-wrong-secret")})
    with pytest.raises(LakehouseSignInError, match="DATABRICKS_TOKEN") as caught:
        DatabricksLakehouse(wrong).check_destination(destination)
    assert "dapi-wrong-secret" not in str(caught.value)


def test_an_unreachable_host_is_told_within_seconds(lakehouse_settings: Settings, destination: Destination) -> None:
    """A closed port is LakehouseUnavailable, names DATABRICKS_HOST and comes at once."""
    nowhere = lakehouse_settings.model_copy(update={"databricks_host": "http://127.0.0.1:9"})
    started = time.monotonic()
    with pytest.raises(LakehouseUnavailable, match="DATABRICKS_HOST"):
        DatabricksLakehouse(nowhere).check_destination(destination)
    assert time.monotonic() - started < 5


def test_missing_credentials_are_named() -> None:
    """Without a token and without a client the settings are at fault, before anything is sent."""
    with pytest.raises(SettingsError, match="DATABRICKS_TOKEN"):
        DatabricksLakehouse(load_settings(databricks_host="http://127.0.0.1:9"))


def test_oauth_signs_in(lakehouse_stand_in: StandIn, lakehouse_settings: Settings, destination: Destination) -> None:
    """A service principal's id and secret sign in (M2M); a wrong secret names its settings and is not told."""
    ready = lakehouse_stand_in.ready
    m2m = {"databricks_token": None, "databricks_client_id": ready["client_id"]}
    right = lakehouse_settings.model_copy(update=m2m | {"databricks_client_secret": SecretStr(ready["client_secret"])})
    DatabricksLakehouse(right).check_destination(destination)
    wrong = lakehouse_settings.model_copy(update=m2m | {"databricks_client_secret": SecretStr("dose-wrong-secret")})
    with pytest.raises(LakehouseSignInError, match="DATABRICKS_CLIENT_SECRET") as caught:
        DatabricksLakehouse(wrong).check_destination(destination)
    assert "dose-wrong-secret" not in str(caught.value)


def test_the_environment_of_the_sdk_is_not_read(
    lakehouse_settings: Settings, destination: Destination, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Profiles, other tokens and Azure variables around do not change who signs in where."""
    profile = tmp_path / "databrickscfg"
    profile.write_text("[DEFAULT]\nhost = http://127.0.0.1:9\ntoken = other\n")
    for name, value in {
        "DATABRICKS_CONFIG_FILE": str(profile),
        "DATABRICKS_CONFIG_PROFILE": "no-such-profile",
        "DATABRICKS_TOKEN": "other",
        "DATABRICKS_CLIENT_ID": "other",
        "DATABRICKS_CLIENT_SECRET": "other",
        "DATABRICKS_AUTH_TYPE": "azure-cli",
        "ARM_CLIENT_ID": "other",
        "ARM_CLIENT_SECRET": "other",
    }.items():
        monkeypatch.setenv(name, value)
    DatabricksLakehouse(lakehouse_settings).check_destination(destination)


@pytest.mark.parametrize(
    "action",
    [
        {"status": 503, "retry_after": 0},
        {"status": 429, "retry_after": 0},
        {"drop": "before"},
        {"drop": "after"},
        {"half_upload": True},
    ],
    ids=str,
)
def test_an_upload_survives_a_fault_and_lands_once(
    lakehouse: Lakehouse, lakehouse_faults: StandIn, folder: str, tmp_path: Path, action: dict[str, object]
) -> None:
    """Throttled, dropped before or after, or cut in half: the file is there whole, and it is no error."""
    content = noise(200_000)
    rule = lakehouse_faults.fault(match={"method": "PUT", "path_contains": "part-00000"}, action=action)
    lakehouse.upload(f"{folder}/part-00000.parquet", local(tmp_path, content))
    assert lakehouse_faults.hits(rule) == 1
    assert lakehouse.read(f"{folder}/part-00000.parquet") == content


def test_a_last_piece_that_the_sdk_re_sends_empty_is_noticed(
    lakehouse: Lakehouse, lakehouse_faults: StandIn, folder: str, tmp_path: Path
) -> None:
    """The link of the last of six pieces expires, the SDK re-sends that piece empty: the file is sent anew, whole."""
    content = noise(55 << 20)
    rule = lakehouse_faults.fault(match={"method": "PUT", "path_contains": "/part-6"}, action={"expire_links": True})
    lakehouse.upload(f"{folder}/big.bin", local(tmp_path, content))
    assert lakehouse_faults.hits(rule) == 1
    assert hashlib.sha256(lakehouse.read(f"{folder}/big.bin")).digest() == hashlib.sha256(content).digest()


def test_a_re_sent_manifest_is_ours(lakehouse: Lakehouse, lakehouse_faults: StandIn, folder: str) -> None:
    """write_new whose answer was lost is re-sent by the SDK, meets its own file, and succeeds."""
    rule = lakehouse_faults.fault(match={"method": "PUT", "path_contains": "m.json"}, action={"drop": "after"})
    lakehouse.write_new(f"{folder}/m.json", b"{}")
    assert lakehouse_faults.hits(rule) == 1
    assert lakehouse.read(f"{folder}/m.json") == b"{}"


def test_a_server_that_stays_throttled_is_unavailable(
    lakehouse_settings: Settings, lakehouse_faults: StandIn, folder: str
) -> None:
    """When the retries are used up the error is transient and names its setting."""
    impatient = DatabricksLakehouse(lakehouse_settings.model_copy(update={"databricks_retry_timeout_s": 1}))
    impatient.list_directory(folder)
    lakehouse_faults.fault(
        match={"method": "PUT", "path_contains": "m.json"}, times=None, action={"status": 503, "retry_after": 1}
    )
    with pytest.raises(LakehouseUnavailable, match="DATABRICKS_RETRY_TIMEOUT_S"):
        impatient.write_new(f"{folder}/m.json", b"{}")
