"""One other way from SQL Server to a Parquet file, in this process: `python peer.py NAME QUERY FILE`.

It runs in the peers' environment, imports nothing of the bridge, and prints rows, seconds (to the
Volume, and to the local file), CPU seconds and peak MiB as JSON. Imports are not in the time. The servers are those of
SQLSERVER_* and DATABRICKS_*.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOST, PORT = os.environ["SQLSERVER_HOST"], os.environ["SQLSERVER_PORT"]
DATABASE = os.environ["SQLSERVER_DATABASE"]
USER, PASSWORD = os.environ["SQLSERVER_USERNAME"], os.environ["SQLSERVER_PASSWORD"]
CHUNK = 100_000
Work = Callable[[str, Path], None]


def connectorx() -> Work:
    """ConnectorX to an Arrow table, then one file."""
    import connectorx
    import pyarrow.parquet as pq

    def work(query: str, file: Path) -> None:
        url = f"mssql://{_quoted(USER)}:{_quoted(PASSWORD)}@{HOST}:{PORT}/{DATABASE}?encrypt=false"
        pq.write_table(connectorx.read_sql(url, query, return_type="arrow"), file, compression="zstd")

    return work


def arrow_odbc() -> Work:
    """arrow-odbc over Microsoft's ODBC driver, batch by batch."""
    import arrow_odbc
    import mssql_python_odbc
    import pyarrow.parquet as pq

    (driver,) = sorted(Path(mssql_python_odbc.__path__[0]).rglob("libmsodbcsql*.so*"))[:1]

    def work(query: str, file: Path) -> None:
        text = (
            f"Driver={{{driver}}};Server={HOST},{PORT};Database={DATABASE};UID={USER};PWD={PASSWORD};Encrypt=no;"
            "TrustServerCertificate=yes"
        )
        reader = arrow_odbc.read_arrow_batches_from_odbc(query, connection_string=text, max_text_size=4000)
        with pq.ParquetWriter(file, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)

    return work


def pandas_chunks() -> Work:
    """pandas.read_sql by SQLAlchemy and pymssql, in chunks."""
    import pandas
    import pyarrow as pa
    import pyarrow.parquet as pq
    import sqlalchemy

    engine = sqlalchemy.create_engine(_alchemy_url(sqlalchemy))

    def work(query: str, file: Path) -> None:
        writer = None
        with engine.connect().execution_options(stream_results=True) as connection:
            for frame in pandas.read_sql(sqlalchemy.text(query), connection, chunksize=CHUNK):
                table = pa.Table.from_pandas(frame, preserve_index=False)
                if writer is None:
                    writer = pq.ParquetWriter(file, table.schema, compression="zstd")
                writer.write_table(table.cast(writer.schema))
        if writer is not None:
            writer.close()

    return work


def dlt() -> Work:
    """dlt's sql_database source, Arrow backend, to a folder of Parquet."""
    import dlt
    import sqlalchemy
    from dlt.sources.sql_database import sql_table

    def work(query: str, file: Path) -> None:
        os.environ["DATA_WRITER__FILE_MAX_ITEMS"] = str(10**9)
        name = query.rsplit(".", 1)[1]
        url = _alchemy_url(sqlalchemy).render_as_string(hide_password=False)
        source = sql_table(url, table=name, schema="dbo", backend="pyarrow", chunk_size=CHUNK)
        folder = file.with_suffix("")
        pipeline = dlt.pipeline(
            "peer",
            destination=dlt.destinations.filesystem(bucket_url=folder.as_uri()),
            dataset_name="d",
            pipelines_dir=str(folder / "state"),
        )
        pipeline.run(source, loader_file_format="parquet")

    return work


def sling() -> Work:
    """The sling binary."""
    import sling.bin

    binary = sling.bin.SLING_BIN

    def work(query: str, file: Path) -> None:
        url = f"sqlserver://{_quoted(USER)}:{_quoted(PASSWORD)}@{HOST}:{PORT}/{DATABASE}?encrypt=disable"
        done = subprocess.run(
            [binary, "run", "--src-conn", url, "--src-stream", query, "--tgt-object", file.as_uri()],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stdout[-400:] + done.stderr[-400:])

    return work


PEERS: dict[str, Callable[[], Work]] = {
    "connectorx": connectorx,
    "arrow-odbc": arrow_odbc,
    "pandas": pandas_chunks,
    "dlt": dlt,
    "sling": sling,
}


def main() -> None:
    """Be one of them."""
    name, query, target = sys.argv[1:4]
    file = Path(target)
    work, upload = PEERS[name](), _uploader()
    began, before = time.perf_counter(), _cpu()
    work(query, file)
    local = time.perf_counter() - began
    upload(file)
    wall = time.perf_counter() - began
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    print(
        json.dumps({"rows": _rows(file), "wall_s": wall, "local_s": local, "cpu_s": _cpu() - before, "peak_mib": peak})
    )


def _uploader() -> Callable[[Path], None]:
    """What brings the files to the Volume, as the bridge does: without that they are where nobody reads them."""
    from databricks.sdk import WorkspaceClient

    client = WorkspaceClient(host=os.environ["DATABRICKS_HOST"], token=os.environ["DATABRICKS_TOKEN"], auth_type="pat")
    volume = "/".join(os.environ[f"DATABRICKS_{part}"] for part in ("CATALOG", "SCHEMA", "VOLUME"))

    def upload(file: Path) -> None:
        for each in _files(file):
            client.files.upload_from(f"/Volumes/{volume}/peers/{time.time_ns()}.parquet", str(each))

    return upload


def _files(file: Path) -> list[Path]:
    found = [file] if file.is_file() else list(file.with_suffix("").rglob("*.parquet"))
    return [each for each in found if not each.parent.name.startswith("_dlt")]


def _rows(file: Path) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(each).num_rows for each in _files(file))


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def _alchemy_url(sqlalchemy: Any) -> Any:
    return sqlalchemy.URL.create(
        "mssql+pymssql", username=USER, password=PASSWORD, host=HOST, port=int(PORT), database=DATABASE
    )


if __name__ == "__main__":
    main()
