"""Databricks through databricks-sdk: volumes, statements, tables, events. Credentials come from the settings only."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.ports import EventTable, FileEntry, Publisher, SourceStream
from sql_databricks_bridge.errors import AlreadyExists, LakehouseError, LakehouseNotFound, SettingsError
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.tables import SourceName

if TYPE_CHECKING:
    import pyarrow as pa
    from databricks.sdk import WorkspaceClient

    from sql_databricks_bridge.db.statements import Warehouse

_VOLUME_PATH = re.compile(r"/Volumes/(?P<catalog>[^/]+)/(?P<schema>[^/]+)/(?P<volume>[^/]+)(?:/|\Z)")
_HTTP_TIMEOUT_S = 60.0
_PROBE_TIMEOUT_S = 10.0
_UPLOAD_THREADS = 3  # of 10 MiB each; the SDK's default of 10 would take 100 MiB for one big part
_CHUNK = 1 << 20
_HALF_UPLOADS = 3


class DatabricksLakehouse:
    """The Lakehouse port over one workspace. Safe to use from several threads; signs in at the first call."""

    def __init__(
        self,
        settings: Settings,
        *,
        on_statement: Callable[[str], None] | None = None,
        on_upload: Callable[[int, float], None] | None = None,
    ) -> None:
        """Look at the settings only; `SettingsError` names what is missing.

        `on_statement` gets the text of each SQL statement before it is sent, `on_upload` the size in bytes and the
        seconds of each file that arrived: for those who count.
        """
        settings.require("databricks_host")
        self._settings = settings
        self._on_statement = on_statement
        self._on_upload = on_upload
        if settings.databricks_token:
            self._sign_in, self._auth_type = "DATABRICKS_TOKEN", "pat"
            self._secrets: tuple[str, ...] = (settings.databricks_token.get_secret_value(),)
        elif settings.databricks_client_id and settings.databricks_client_secret:
            self._sign_in, self._auth_type = "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET", "oauth-m2m"
            self._secrets = (settings.databricks_client_secret.get_secret_value(),)
        else:
            raise SettingsError(
                "No sign-in for Databricks is set.",
                hint="Set DATABRICKS_TOKEN, or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET.",
            )
        self._lock = threading.Lock()
        self._client: WorkspaceClient | None = None

    def check_destination(self, destination: Destination) -> None:
        """Raise `LakehouseNotFound` (saying which of catalog, schema, volume) unless the volume is there."""
        from databricks.sdk.errors import NotFound

        client = self._connected()
        looks = (
            ("Catalog", "DATABRICKS_CATALOG", client.catalogs.get, destination.catalog),
            ("Schema", "DATABRICKS_SCHEMA", client.schemas.get, f"{destination.catalog}.{destination.schema}"),
        )
        with self._translated(f"Looking for volume {destination}"):
            try:
                client.volumes.read(str(destination))
                return
            except NotFound:
                pass
            for kind, setting, get, name in looks:
                try:
                    get(name)
                except NotFound as exc:
                    raise _nowhere(kind, name, setting) from exc
            raise _nowhere("Volume", str(destination), "DATABRICKS_VOLUME")

    def make_directory(self, path: str) -> None:
        """Create a folder and its parents; no error where it exists."""
        client = self._connected()
        with self._at(f"Making {path}", path):
            client.files.create_directory(path)

    def upload(self, path: str, local_file: Path) -> None:
        """Upload a file to a path that must be free, else `AlreadyExists`.

        The SDK re-sends a request whose connection broke. What the first try left there is recognised by its bytes:
        the whole file is success, a first piece of it is replaced. The size is asked for afterwards, since SDK 0.156
        re-sends a multipart piece whose link expired as an empty one, and a last piece may be empty.
        """
        client = self._connected()
        size, began = local_file.stat().st_size, time.monotonic()

        def send() -> None:
            client.files.upload_from(path, str(local_file), overwrite=False, parallelism=_UPLOAD_THREADS)

        for _ in range(_HALF_UPLOADS):
            self._send_once(path, send, lambda: local_file.open("rb"))
            with self._at(f"Looking at {path}", path):
                arrived = client.files.get_metadata(path).content_length
            if arrived == size:
                if self._on_upload is not None:
                    self._on_upload(size, time.monotonic() - began)
                return
            self.delete_file(path)
        raise LakehouseError(f"Uploading {path}: {arrived} of {size} bytes arrived, {_HALF_UPLOADS} times.")

    def write_new(self, path: str, content: bytes) -> None:
        """Write a small file to a path that must be free, else `AlreadyExists`; re-sent as `upload` is."""
        client = self._connected()

        def send() -> None:
            client.files.upload(path, io.BytesIO(content), overwrite=False)

        self._send_once(path, send, lambda: io.BytesIO(content))

    def read(self, path: str) -> bytes:
        """Read a small file."""
        client = self._connected()
        with self._at(f"Reading {path}", path):
            contents = client.files.download(path).contents
            if contents is None:
                raise LakehouseError(f"Reading {path}: Databricks sent no content.")
            with contents:
                return contents.read()

    def list_directory(self, path: str) -> tuple[FileEntry, ...]:
        """List a folder; `LakehouseNotFound` where there is none."""
        client = self._connected()
        with self._at(f"Listing {path}", path):
            return tuple(
                FileEntry(
                    path=(entry.path or f"{path}/{entry.name}").rstrip("/"),
                    is_directory=bool(entry.is_directory),
                    size_bytes=entry.file_size or 0,
                    modified_ms=entry.last_modified or 0,
                )
                for entry in client.files.list_directory_contents(path)
            )

    def delete_file(self, path: str) -> None:
        """Delete a file; no error where there is none."""
        from databricks.sdk.errors import NotFound

        client = self._connected()
        with self._translated(f"Deleting {path}"):
            try:
                client.files.delete(path)
            except NotFound:
                return

    def delete_directory(self, path: str) -> None:
        """Delete an empty folder; no error where there is none."""
        from databricks.sdk.errors import NotFound

        client = self._connected()
        with self._translated(f"Deleting {path}"):
            try:
                client.files.delete_directory(path)
            except NotFound:
                return

    def execute(self, statement: str, parameters: Mapping[str, str | None] | None = None) -> pa.Table:
        """Run one SQL statement to its end and return every row, typed. Needs DATABRICKS_WAREHOUSE_ID."""
        return self._warehouse().execute(statement, parameters)

    def events(self, table: SourceName) -> EventTable:
        """The events table of that name; nothing is asked yet. Its methods need DATABRICKS_WAREHOUSE_ID."""
        from sql_databricks_bridge.db.events_table import DeltaEventTable

        return DeltaEventTable(self._warehouse, table)

    def publisher(self, states: SourceName) -> Publisher:
        """The publisher that keeps its states there; nothing is asked yet. It needs DATABRICKS_WAREHOUSE_ID."""
        from sql_databricks_bridge.db.publisher import DeltaPublisher

        return DeltaPublisher(self._warehouse, states)

    def table_version(self, table: SourceName) -> int:
        """The newest version of a Delta table; `EventInvalid` where there is none, or nothing to see. 1 statement."""
        from sql_databricks_bridge.db.source_read import newest_version

        return newest_version(self._warehouse(), table)

    @contextmanager
    def read_table(
        self,
        table: SourceName,
        version: int,
        *,
        columns: Sequence[str] | None = None,
        where: Mapping[str, str | None] | None = None,
    ) -> Iterator[SourceStream]:
        """Read a Delta table as of a version; see the port. 1 statement, 2 with a `where`."""
        from sql_databricks_bridge.db.source_read import open_source

        with open_source(self._warehouse(), table, version, columns=columns, where=where or {}) as stream:
            yield stream

    def who_am_i(self) -> str:
        """Return the user or application that the credentials belong to; for `bridge check`."""
        client = self._connected()
        with self._translated("Signing in"):
            return client.current_user.me().user_name or ""

    def warehouse(self) -> str:
        """Return name and state of the SQL warehouse of DATABRICKS_WAREHOUSE_ID; for `bridge check`."""
        self._settings.require("databricks_warehouse_id")
        client = self._connected()
        with self._translated("Looking for the warehouse of DATABRICKS_WAREHOUSE_ID"):
            found = client.warehouses.get(self._settings.databricks_warehouse_id or "")
        return f"{found.name} ({found.state.value.lower() if found.state else 'state unknown'})"

    def ping(self) -> None:
        """Ask for a sign of life by REST: the warehouse's state, or without one who we are. No statement."""
        if self._settings.databricks_warehouse_id:
            self.warehouse()
        else:
            self.who_am_i()

    def has_table(self, table: SourceName) -> bool:
        """Whether Unity Catalog shows a table of that name; for `bridge check`. No statement."""
        client = self._connected()
        try:
            with self._translated(f"Looking for table {table}"):
                return bool(client.tables.exists(f"{table.catalog}.{table.schema}.{table.table}").table_exists)
        except LakehouseNotFound:
            return False

    def _warehouse(self) -> Warehouse:
        from sql_databricks_bridge.db.statements import Warehouse

        self._settings.require("databricks_warehouse_id")
        return Warehouse(
            self._connected(), self._settings.databricks_warehouse_id or "", self._translated, self._on_statement
        )

    def _send_once(self, path: str, send: Any, reopen: Any) -> None:
        for _ in range(_HALF_UPLOADS):
            try:
                with self._at(f"Uploading {path}", path):
                    send()
                return
            except AlreadyExists:
                there = self._compare(path, reopen)
                if there == "same":
                    return
                if there != "piece":
                    raise
                self.delete_file(path)
        raise LakehouseError(f"Uploading {path}: only a piece of the file arrived, {_HALF_UPLOADS} times.")

    def _compare(self, path: str, reopen: Any) -> str:
        """Tell whether the file at `path` is the 'same' as ours, a first 'piece' of it, or 'other'."""
        client = self._connected()
        with self._at(f"Comparing {path}", path):
            contents = client.files.download(path).contents
            if contents is None:
                return "other"
            with contents as theirs, reopen() as ours:
                return _compare_streams(theirs, ours)

    def _connected(self) -> WorkspaceClient:
        with self._lock:
            if self._client is None:
                with self._translated("Signing in"):
                    self._client = self._sign_in_now()
            return self._client

    def _sign_in_now(self) -> WorkspaceClient:
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.core import Config

        settings = self._settings
        assert settings.databricks_host is not None  # required in __init__
        _probe(settings.databricks_host)
        # An empty string takes the place of every variable that the SDK would read from the environment.
        ambient = {
            attribute.name: "" for attribute in Config.attributes() if attribute.env and attribute.transform is str
        }
        credentials: dict[str, Any] = {"auth_type": self._auth_type}
        if self._auth_type == "pat":
            credentials["token"] = self._secrets[0]
        else:
            credentials |= {"client_id": settings.databricks_client_id, "client_secret": self._secrets[0]}
        config = Config(
            **{
                **ambient,
                **credentials,
                "host": settings.databricks_host,
                "http_timeout_seconds": _HTTP_TIMEOUT_S,
                "retry_timeout_seconds": settings.databricks_retry_timeout_s,
            },
            product="sql-databricks-bridge",
            product_version="0",
        )
        return WorkspaceClient(config=config)

    def _translated(self, what: str) -> AbstractContextManager[None]:
        from sql_databricks_bridge.db.databricks_errors import translated

        return translated(what, sign_in=self._sign_in, secrets=self._secrets)

    def _at(self, what: str, path: str) -> AbstractContextManager[None]:
        """Translate errors at a path; a volume that is not there is named, with its setting."""
        return _AtPath(self, what, path)


class _AtPath(AbstractContextManager[None]):
    def __init__(self, lakehouse: DatabricksLakehouse, what: str, path: str) -> None:
        self._lakehouse = lakehouse
        self._translation = lakehouse._translated(what)
        self._path = path

    def __enter__(self) -> None:
        self._translation.__enter__()

    def __exit__(self, *exc_info: Any) -> None:
        try:
            self._translation.__exit__(*exc_info)
        except LakehouseNotFound:
            match = _VOLUME_PATH.match(self._path)
            if match is not None:
                self._lakehouse.check_destination(Destination(match["catalog"], match["schema"], match["volume"]))
            raise


def _nowhere(kind: str, name: str, setting: str) -> LakehouseNotFound:
    return LakehouseNotFound(
        f"{kind} {name} is not in the workspace, or may not be seen.",
        hint=f"Check {setting}, or `destination:` in the country's YAML.",
    )


def _probe(host: str) -> None:
    """Ask for anything at all, so that a wrong address is told within seconds and not after the SDK's retries."""
    import requests

    for remaining in (1, 0):
        try:
            requests.get(
                f"{host}/.well-known/databricks-config", timeout=_PROBE_TIMEOUT_S, auth=lambda request: request
            )
            return
        except (requests.exceptions.ConnectionError, requests.exceptions.Timeout):
            if not remaining:
                raise


def _compare_streams(theirs: BinaryIO, ours: BinaryIO) -> str:
    """Compare by digest, a piece at a time; both streams are read at most once."""
    digests = hashlib.sha256(), hashlib.sha256()
    while piece := theirs.read(_CHUNK):
        digests[0].update(piece)
        digests[1].update(ours.read(len(piece)))
        if digests[0].digest() != digests[1].digest():
            return "other"
    return "piece" if ours.read(1) else "same"
