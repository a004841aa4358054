"""The Files API of the Databricks stand-in, through the real SDK and through bare HTTP where the SDK is too polite."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from databricks.sdk.errors import AlreadyExists, BadRequest, NotFound

from tests.conftest import StandIn
from tests.contract.databricks_fixture import Sandbox, fetch, signed_in, start_databricks

FILES = "/api/2.0/fs/files"
SMALL_PARTS: dict[str, Any] = {
    "files_ext_multipart_upload_min_stream_size": 1024 * 1024,
    "files_ext_multipart_upload_part_size_options": [256 * 1024],
    "files_ext_multipart_upload_default_part_size": 256 * 1024,
}


@pytest.fixture
def sandbox(lakehouse_faults: StandIn) -> Iterator[Sandbox]:
    with signed_in(lakehouse_faults) as made:
        yield made


@pytest.fixture
def big(lakehouse_faults: StandIn) -> Iterator[Sandbox]:
    """A client that uploads more than 1 MiB in parts."""
    with signed_in(lakehouse_faults, **SMALL_PARTS) as made:
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A local file of 3.3 MB: fourteen parts, the last of them short."""
    path = tmp_path / "source.bin"
    path.write_bytes(os.urandom(3_300_001))
    return path


def read(sandbox: Sandbox, path: str) -> bytes:
    contents = sandbox.client.files.download(path).contents
    assert contents is not None
    with contents:
        return contents.read()


def put(sandbox: Sandbox, path: str, content: bytes, **options: Any) -> None:
    sandbox.client.files.upload(path, io.BytesIO(content), **options)


@pytest.mark.parametrize("name", ["a.bin", "with blank", "é ü 😀.parquet", "q?a#b%20&c=d+e", "run=1-a", "..x"])
def test_any_name_comes_back_as_it_went(sandbox: Sandbox, name: str) -> None:
    folder = sandbox.folder()
    put(sandbox, f"{folder}/sub dir/{name}", b"content")
    assert read(sandbox, f"{folder}/sub dir/{name}") == b"content"
    entries = list(sandbox.client.files.list_directory_contents(f"{folder}/sub dir"))
    assert [(each.name, each.path, each.file_size, each.is_directory) for each in entries] == [
        (name, f"{folder}/sub dir/{name}", 7, False)
    ]


def test_overwrite_is_the_default_and_false_keeps_the_first_file(sandbox: Sandbox) -> None:
    path = f"{sandbox.folder()}/x"
    put(sandbox, path, b"one", overwrite=False)
    put(sandbox, path, b"two")
    with pytest.raises(AlreadyExists) as raised:
        put(sandbox, path, b"three", overwrite=False)
    assert raised.value.error_code == "ALREADY_EXISTS"
    assert read(sandbox, path) == b"two"


def test_an_empty_file_is_a_file(sandbox: Sandbox) -> None:
    path = f"{sandbox.folder()}/empty"
    put(sandbox, path, b"")
    assert sandbox.client.files.get_metadata(path).content_length == 0
    assert read(sandbox, path) == b""


def test_metadata_tells_length_and_time_and_a_deleted_file_is_gone(sandbox: Sandbox) -> None:
    path = f"{sandbox.folder()}/x"
    put(sandbox, path, b"12345")
    found = sandbox.client.files.get_metadata(path)
    assert (found.content_length, found.content_type) == (5, "application/octet-stream")
    assert (found.last_modified or "").endswith("GMT")
    sandbox.client.files.delete(path)
    for call in (sandbox.client.files.get_metadata, sandbox.client.files.download, sandbox.client.files.delete):
        with pytest.raises(NotFound):
            call(path)


@pytest.mark.parametrize(
    ("asked", "status", "body", "told"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-100", 206, b"89", "bytes 8-9/10"),
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=1-2,4-5", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=10-", 416, None, "bytes */10"),
    ],
)
def test_a_download_honours_one_range(
    sandbox: Sandbox, asked: str, status: int, body: bytes | None, told: str | None
) -> None:
    path = f"{sandbox.folder()}/x"
    put(sandbox, path, b"0123456789")
    answer = sandbox.call("GET", FILES + quote(path), headers={"Range": asked})
    assert (answer.status_code, answer.headers.get("Content-Range")) == (status, told)
    assert body is None or answer.content == body


def test_a_download_stops_where_the_file_changed_since(sandbox: Sandbox) -> None:
    path = f"{sandbox.folder()}/x"
    put(sandbox, path, b"0123456789")
    early = {"If-Unmodified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"}
    assert sandbox.call("GET", FILES + quote(path), headers=early).status_code == 412
    same = {"If-Unmodified-Since": sandbox.client.files.get_metadata(path).last_modified}
    assert sandbox.call("GET", FILES + quote(path), headers=same).status_code == 200


def test_directories_are_made_listed_in_pages_and_deleted_when_empty(sandbox: Sandbox) -> None:
    files, folder = sandbox.client.files, sandbox.folder()
    files.create_directory(f"{folder}/a/b")
    files.create_directory(f"{folder}/a/b")
    for index in range(7):
        put(sandbox, f"{folder}/f{index}", b"x")
    names = [each.name for each in files.list_directory_contents(folder, page_size=3)]
    assert names == ["a", *(f"f{index}" for index in range(7))]
    first = sandbox.call("GET", f"/api/2.0/fs/directories{folder}?page_size=3").json()
    assert (len(first["contents"]), bool(first["next_page_token"])) == (3, True)
    files.get_directory_metadata(f"{folder}/a")
    with pytest.raises(BadRequest, match="not empty") as raised:
        files.delete_directory(f"{folder}/a")
    assert [each.reason for each in raised.value.get_error_info()] == ["FILES_API_DIRECTORY_IS_NOT_EMPTY"]
    files.delete_directory(f"{folder}/a/b")
    files.delete_directory(f"{folder}/a")
    for call in (files.get_directory_metadata, files.delete_directory):
        with pytest.raises(NotFound):
            call(f"{folder}/a")
    with pytest.raises(NotFound):
        list(files.list_directory_contents(f"{folder}/a"))


def test_a_file_is_no_directory_and_a_directory_no_file(sandbox: Sandbox) -> None:
    files, folder = sandbox.client.files, sandbox.folder()
    put(sandbox, f"{folder}/file", b"x")
    files.create_directory(f"{folder}/dir")
    with pytest.raises(AlreadyExists):
        files.create_directory(f"{folder}/file")
    with pytest.raises(AlreadyExists):
        put(sandbox, f"{folder}/dir", b"x")
    with pytest.raises(AlreadyExists):
        put(sandbox, f"{folder}/file/below", b"x")
    with pytest.raises(NotFound):
        files.download(f"{folder}/dir")
    with pytest.raises(NotFound):
        files.get_directory_metadata(f"{folder}/file")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/Volumes/nope/landing/files/x", 404, "NOT_FOUND"),
        ("/Volumes/bridge/nope/files/x", 404, "NOT_FOUND"),
        ("/Volumes/bridge/landing/nope/x", 404, "NOT_FOUND"),
        ("/Volumes/bridge/landing/files", 400, "INVALID_PARAMETER_VALUE"),
        ("/Volumes/bridge/landing", 400, "INVALID_PARAMETER_VALUE"),
        ("/Workspace/x", 400, "INVALID_PARAMETER_VALUE"),
        ("/Volumes/bridge/landing/files/../../../../identity.json", 400, "INVALID_PARAMETER_VALUE"),
        ("/Volumes/bridge/landing/files/%2e%2e/%2e%2e/identity.json", 400, "INVALID_PARAMETER_VALUE"),
        ("/Volumes/../landing/files/x", 400, "INVALID_PARAMETER_VALUE"),
        ("/Volumes/bridge/landing/files/a//b", 400, "INVALID_PARAMETER_VALUE"),
        ("/Volumes/bridge/landing/files/a%00b", 400, "INVALID_PARAMETER_VALUE"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_path_outside_the_volumes_is_refused(
    sandbox: Sandbox, method: str, path: str, status: int, code: str
) -> None:
    where = urlsplit(sandbox.ready["url"])
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    headers = {"Authorization": f"Bearer {sandbox.ready['token']}"}
    connection.request(method, FILES + path, body=b"x" if method == "PUT" else None, headers=headers)
    with connection.getresponse() as answer:
        told = answer.read()
    connection.close()
    assert answer.status == status
    assert f'"error_code":"{code}"' in told.decode()


def test_a_missing_volume_is_not_found_and_says_which(sandbox: Sandbox) -> None:
    with pytest.raises(NotFound, match=r"Volume 'bridge\.landing\.nope' does not exist"):
        put(sandbox, "/Volumes/bridge/landing/nope/x", b"x")


def test_a_big_file_goes_in_parts_and_arrives_whole(big: Sandbox, source: Path) -> None:
    path = f"{big.folder()}/big"
    big.client.files.upload_from(path, str(source), overwrite=False)
    assert hashlib.sha256(read(big, path)).digest() == hashlib.sha256(source.read_bytes()).digest()
    assert sum("/_storage/uploads/" in each["path"] for each in big.server.requests()) >= 13
    with pytest.raises(AlreadyExists):
        big.client.files.upload_from(path, str(source), overwrite=False)


def test_a_stream_that_cannot_seek_goes_in_parts_too(big: Sandbox, source: Path) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self._file = io.BytesIO(source.read_bytes())

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return self._file.readinto(buffer)

    path = f"{big.folder()}/streamed"
    with Pipe() as pipe:
        big.client.files.upload(path, pipe)  # type: ignore[arg-type]
    assert read(big, path) == source.read_bytes()


def test_nothing_is_visible_before_an_upload_is_complete_and_an_abort_forgets_it(sandbox: Sandbox) -> None:
    path = f"{sandbox.folder()}/slow"
    begun = sandbox.call("POST", f"{FILES}{path}?action=initiate-upload").json()["multipart_upload"]
    about = {"path": path, "session_token": begun["session_token"]}
    urls = sandbox.call(
        "POST", "/api/2.0/fs/create-upload-part-urls", json={**about, "start_part_number": 1, "count": 2}
    )
    links = [each["url"] for each in urls.json()["upload_part_urls"]]
    assert fetch(links[0], "PUT", data=b"x" * 1000).headers["ETag"]
    assert sandbox.call("HEAD", FILES + path).status_code == 404
    wrong = {"parts": [{"part_number": 2, "etag": "none"}]}
    complete = f"{FILES}{path}?action=complete-upload&upload_type=multipart&session_token={begun['session_token']}"
    assert sandbox.call("POST", complete, json=wrong).status_code == 400
    abort = sandbox.call("POST", "/api/2.0/fs/create-abort-upload-url", json=about).json()["abort_upload_url"]["url"]
    assert fetch(abort, "DELETE").status_code == 200
    assert fetch(links[1], "PUT", data=b"x").status_code == 404
    assert sandbox.call("POST", complete, json=wrong).status_code == 404


def test_a_link_takes_no_other_credentials_no_other_path_and_ends(sandbox: Sandbox) -> None:
    path = f"{sandbox.folder()}/x"
    put(sandbox, path, b"content")
    create = f"/api/2.0/fs/create-download-url?path={path}&expire_time="
    link = sandbox.call("POST", create + "2099-01-01T00:00:00Z").json()["url"]
    assert fetch(link).content == b"content"
    assert fetch(link, headers={"Authorization": f"Bearer {sandbox.ready['token']}"}).status_code == 400
    assert b"SignatureDoesNotMatch" in fetch(link.replace("/x?", "/y?")).content
    assert b"SignatureDoesNotMatch" in fetch(link.replace("expires=40", "expires=41")).content
    old = fetch(sandbox.call("POST", create + "2001-01-01T00:00:00Z").json()["url"])
    assert (old.status_code, b"Request has expired" in old.content) == (403, True)


def test_a_link_that_expires_under_the_sdk_never_leaves_a_short_file(big: Sandbox, source: Path) -> None:
    """SDK 0.156 asks for a new link but does not rewind the part: it sends it again with no bytes."""
    rule = big.server.fault(match={"path_contains": "/_storage/uploads/"}, on=3, action={"expire_links": True})
    path = f"{big.folder()}/big"
    with pytest.raises(BadRequest, match="EntityTooSmall"):
        big.client.files.upload_from(path, str(source))
    assert big.server.hits(rule) == 1
    with pytest.raises(NotFound):
        big.client.files.get_metadata(path)


def test_on_google_cloud_a_big_upload_is_resumed_where_it_broke(tmp_path: Path, source: Path) -> None:
    with start_databricks(tmp_path / "data", "--cloud", "gcp", **SMALL_PARTS) as google:
        path = f"{google.volume}/big"
        match = {"method": "PUT", "path_contains": "/_storage/uploads/"}
        rule = google.server.fault(match=match, on=3, action={"drop": "after"})
        google.client.files.upload_from(path, str(source), overwrite=False)
        assert google.server.hits(rule) == 1
        assert read(google, path) == source.read_bytes()
        with pytest.raises(AlreadyExists):
            google.client.files.upload_from(path, str(source), overwrite=False)
