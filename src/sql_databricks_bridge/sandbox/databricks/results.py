"""A statement's result on disk: Arrow streams of bounded size, one file for each chunk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from . import render
from .failures import SqlFailure

INLINE_LIMIT_BYTES = 25 * 1024 * 1024
EXTERNAL_LIMIT_BYTES = 100 * 1024**3


@dataclass(frozen=True, slots=True)
class Limits:
    """How a result is cut: into chunks, and off."""

    chunk_bytes: int
    chunk_rows: int | None
    row_limit: int | None
    byte_limit: int | None
    inline: bool


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk. `size_bytes` is its Arrow size, which the API calls an internal representation."""

    index: int
    row_offset: int
    row_count: int
    size_bytes: int
    path: Path


@dataclass(frozen=True, slots=True)
class Result:
    """A complete result."""

    schema: Any
    chunks: list[Chunk]
    truncated: bool
    folder: Path

    @property
    def row_count(self) -> int:
        """Rows in all chunks."""
        return sum(chunk.row_count for chunk in self.chunks)

    @property
    def size_bytes(self) -> int:
        """Arrow bytes in all chunks."""
        return sum(chunk.size_bytes for chunk in self.chunks)

    def drop(self) -> None:
        """Delete the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def spool(folder: Path, schema: Any, tables: Iterator[Any], limits: Limits) -> Result:
    """Write a stream of Arrow tables to `folder`, cut at the limits.

    Raises `SqlFailure` where an INLINE result is larger than 25 MiB and no byte_limit cuts it before.
    """
    folder.mkdir()
    writer = _Writer(folder, schema, limits)
    try:
        for table in tables:
            for piece in _pieces(table):
                if not writer.add(piece):
                    return writer.finish(truncated=True)
    except BaseException:
        writer.finish(truncated=False).drop()
        raise
    finally:
        close = getattr(tables, "close", None)  # a stream that a limit cut off still holds the engine
        if close is not None:
            close()
    return writer.finish(truncated=False)


def _pieces(table: Any) -> Iterator[Any]:
    """The table in batches that are small beside any limit."""
    rows = max(1, table.num_rows)
    step = max(1, min(rows, (256 * 1024 * rows) // max(1, table.nbytes)))
    yield from table.to_batches(max_chunksize=step)


class _Writer:
    def __init__(self, folder: Path, schema: Any, limits: Limits) -> None:
        self._folder = folder
        self._schema = schema
        self._limits = limits
        self._chunks: list[Chunk] = []
        self._stream: Any = None
        self._rows = self._bytes = 0  # of the open chunk
        self._all_rows = self._all_bytes = 0

    def add(self, batch: Any) -> bool:
        """Write a batch; False when a limit cut it, or something behind it, off."""
        limits = self._limits
        if limits.row_limit is not None and self._all_rows + batch.num_rows > limits.row_limit:
            self._write(batch.slice(0, limits.row_limit - self._all_rows))
            return False
        total = self._all_bytes + batch.nbytes
        byte_limit = limits.byte_limit
        if byte_limit is None and not limits.inline:
            byte_limit = EXTERNAL_LIMIT_BYTES
        if byte_limit is not None and total > byte_limit:
            fitting = (byte_limit - self._all_bytes) * batch.num_rows // max(1, batch.nbytes)
            self._write(batch.slice(0, fitting))
            return False
        if limits.inline and total > INLINE_LIMIT_BYTES:
            raise SqlFailure(
                None,
                "Inline byte limit exceeded. Statements executed with disposition=INLINE can have a result size of "
                f"at most {INLINE_LIMIT_BYTES} bytes. Please execute the statement with disposition=EXTERNAL_LINKS if "
                "you want to download the full result.",
                None,
            )
        self._write(batch)
        return True

    def _write(self, batch: Any) -> None:
        while batch.num_rows:
            room = batch.num_rows
            if self._limits.chunk_rows is not None:
                room = self._limits.chunk_rows - self._rows
            part, batch = batch.slice(0, room), batch.slice(room)
            if self._stream is None:
                self._stream = pa.ipc.new_stream(self._next_path(), self._schema)
            self._stream.write_batch(part)
            self._rows += part.num_rows
            self._bytes += part.nbytes
            self._all_rows += part.num_rows
            self._all_bytes += part.nbytes
            if self._rows == self._limits.chunk_rows or self._bytes >= self._limits.chunk_bytes:
                self._close_chunk()

    def _close_chunk(self) -> None:
        if self._stream is None:
            return
        self._stream.close()
        offset = self._all_rows - self._rows
        self._chunks.append(Chunk(len(self._chunks), offset, self._rows, self._bytes, self._next_path()))
        self._stream = None
        self._rows = self._bytes = 0

    def _next_path(self) -> Path:
        return self._folder / f"chunk-{len(self._chunks)}.arrow"

    def finish(self, *, truncated: bool) -> Result:
        self._close_chunk()
        return Result(self._schema, self._chunks, truncated, self._folder)


def read(chunk: Chunk, result_format: str) -> bytes:
    """A chunk's bytes in ARROW_STREAM, JSON_ARRAY or CSV format."""
    if result_format == "ARROW_STREAM":
        return chunk.path.read_bytes()
    table = load(chunk)
    return render.as_json(table) if result_format == "JSON_ARRAY" else render.as_csv(table, header=chunk.index == 0)


def load(chunk: Chunk) -> Any:
    """A chunk as an Arrow table."""
    with pa.OSFile(str(chunk.path)) as source, pa.ipc.open_stream(source) as stream:
        return stream.read_all()
