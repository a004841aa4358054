"""A process that reads results as Arrow with Microsoft's driver, for servers that live in the test's own process.

The driver keeps the GIL while it fetches (max) columns as Arrow (mssql-python 1.16): a server in the same process could
never answer it. Requests are JSON lines {connection, sql, batch_size, file}; the answer is a line, and the table is in
`file`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

import pyarrow as pa


class ArrowClient:
    """Use as a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._folder = tempfile.TemporaryDirectory()

    def read(self, connection: str, sql: str, batch_size: int = 1000) -> pa.Table:
        """The result of `sql`; RuntimeError with the driver's text where it fails."""
        file = Path(self._folder.name) / "table.arrow"
        request = {"connection": connection, "sql": sql, "batch_size": batch_size, "file": str(file)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if answer != "ok":
            raise RuntimeError(answer)
        with pa.ipc.open_file(file.read_bytes()) as reader:
            return reader.read_all()

    def __enter__(self) -> ArrowClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
        self._folder.cleanup()


def _serve() -> None:
    import mssql_python

    mssql_python.pooling(enabled=False)
    for line in sys.stdin:
        request = json.loads(line)
        answer = "ok"
        try:
            with mssql_python.connect(request["connection"], autocommit=True) as connection:
                cursor = connection.cursor()
                cursor.execute(request["sql"])
                reader = cursor.arrow_reader(request["batch_size"])
                table = reader.read_all()
            with pa.OSFile(request["file"], "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
        except Exception as exc:  # noqa: BLE001 (told to the test)
            answer = str(exc)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
