"""A volume in memory, with runs that landed in it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import io
from collections.abc import Sequence
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from sql_databricks_bridge.core.layout import AttemptFolder
from sql_databricks_bridge.core.manifest import (
    Manifest,
    ManifestColumn,
    ManifestIncrement,
    ManifestPart,
    ManifestPublication,
)
from sql_databricks_bridge.core.ports import FileEntry, Lakehouse
from sql_databricks_bridge.core.runs import PublishedRun
from sql_databricks_bridge.errors import LakehouseNotFound
from sql_databricks_bridge.models.names import Destination

DESTINATION = Destination("c", "s", "v")
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SQL_TYPES = {pa.int32(): "int", pa.int64(): "bigint", pa.string(): "nvarchar(20)", pa.float64(): "float"}


class Volume:
    """Reads and lists files as the port of the lakehouse describes it; `reads` are the paths that were read."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.reads: list[str] = []
        self._clock = 0

    @property
    def port(self) -> Lakehouse:
        """The volume for those who take a lakehouse; they call nothing else of it."""
        return cast(Lakehouse, self)

    def read(self, path: str) -> bytes:
        self.reads.append(path)
        return self.files[path]

    def list_directory(self, path: str) -> tuple[FileEntry, ...]:
        inside = [name.removeprefix(f"{path}/") for name in self.files if name.startswith(f"{path}/")]
        if not inside:
            raise LakehouseNotFound(f"There is no {path}.")
        entries = {name.split("/")[0]: "/" in name for name in inside}
        return tuple(FileEntry(f"{path}/{name}", folder, 1, 1) for name, folder in entries.items())

    def check_destination(self, destination: Destination) -> None:
        assert destination == DESTINATION

    def land(
        self,
        run_id: str,
        *tables: pa.Table,
        query: str = "q",
        increment: ManifestIncrement | None = None,
        publication: ManifestPublication | None = None,
        **changes: Any,
    ) -> PublishedRun:
        """Land a run with a part for each table, one second after the last one."""
        self._clock += 1
        folder = AttemptFolder(DESTINATION, "Peru", query, run_id, 1)
        parts = [self._part(folder, number, table) for number, table in enumerate(tables)]
        manifest = Manifest(
            run_id=run_id,
            attempt=1,
            country="Peru",
            query=query,
            query_file=f"queries/{query}.sql",
            query_sha256="0" * 64,
            parameters=(),
            source_server="s",
            source_database="d",
            isolation="snapshot",
            started_at=START,
            finished_at=START + dt.timedelta(seconds=self._clock),
            rows=sum(part.rows for part in parts),
            size_bytes=sum(part.size_bytes for part in parts),
            parts=tuple(parts),
            schema=_columns(tables),
            losses=(),
            row_limit=None,
            tool_version="0",
            increment=increment,
            publication=publication,
        )
        manifest = dataclasses.replace(manifest, **changes)
        self.files[folder.manifest_path] = manifest.to_json()
        return PublishedRun(folder, manifest)

    def _part(self, folder: AttemptFolder, number: int, table: pa.Table) -> ManifestPart:
        sink = io.BytesIO()
        pq.write_table(table, sink, row_group_size=3)
        name = f"part-{number:05d}.parquet"
        self.files[f"{folder.path}/{name}"] = sink.getvalue()
        digest = hashlib.sha256(sink.getvalue()).hexdigest()
        return ManifestPart(name, table.num_rows, len(sink.getvalue()), digest)


def _columns(tables: Sequence[pa.Table]) -> tuple[ManifestColumn, ...]:
    if not tables:
        return ()
    return tuple(
        ManifestColumn(field.name, SQL_TYPES.get(field.type, "other"), str(field.type), nullable=True)
        for field in tables[0].schema
    )
