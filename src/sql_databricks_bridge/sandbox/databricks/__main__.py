"""`python -m sql_databricks_bridge.sandbox.databricks`: one stand-in, in the foreground, until it is told to stop.

When it is ready it writes one JSON line to stdout: ready, url, token, client_id, client_secret, warehouse_id,
catalog, schema, volume, events_schema, admin_url. It stops, with exit code 0, on SIGTERM, SIGINT and, with
--stop-on-stdin-eof, when its stdin closes (so that it never outlives a parent that was killed). Exit code 2: it could
not start, and one line on stderr says why.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import logging
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import NoReturn

from .settings import Settings


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run until stopped; ends the process."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        filename=options.log,
        level=logging.INFO if options.log else logging.ERROR,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    settings = Settings(
        data_dir=Path(options.data_dir).absolute(),
        port=options.port,
        catalog=options.catalog,
        schema=options.schema,
        volume=options.volume,
        cloud=options.cloud,
        token_lifetime_s=options.token_lifetime_s,
        link_lifetime_s=options.link_lifetime_s,
        chunk_rows=options.chunk_rows,
        chunk_bytes=options.chunk_bytes,
        writers=options.writers,
        more_catalogs=tuple(options.also_catalog),
    )
    lock = _claim(settings.data_dir)
    listener = _listen(settings.port)
    with lock, listener:
        _run(settings, listener, stop_on_stdin_eof=options.stop_on_stdin_eof)


def _run(settings: Settings, listener: socket.socket, *, stop_on_stdin_eof: bool) -> NoReturn:
    from .errors import ApiError
    from .server import build, serve

    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        workspace = build(settings, url)
    except (OSError, ValueError, ApiError) as error:
        _refuse(f"can't use the data folder {settings.data_dir}: {error}")
    identity = workspace.identity
    ready = {
        "ready": True,
        "url": url,
        "token": identity.token,
        "client_id": identity.client_id,
        "client_secret": identity.client_secret,
        "warehouse_id": identity.warehouse_id,
        "catalog": settings.catalog,
        "schema": settings.schema,
        "volume": settings.volume,
        "events_schema": settings.events_schema,
        "admin_url": f"{url}/_sandbox",
    }

    def announce() -> None:
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()

    asyncio.run(serve(workspace, listener, announce, stop_on_stdin_eof=stop_on_stdin_eof))
    # The engine's client and its daemon threads are not made for the interpreter's shutdown: leave before it begins.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _claim(data_dir: Path) -> _Lock:
    """Make the data folder ours alone, with an empty spool."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = _Lock(data_dir / "lock")
        shutil.rmtree(data_dir / "spool", ignore_errors=True)
        (data_dir / "spool").mkdir()
    except BlockingIOError:
        _refuse(f"the data folder {data_dir} is in use by another stand-in.")
    except OSError as error:
        _refuse(f"can't write to the data folder {data_dir}: {error.strerror}.")
    return lock


class _Lock:
    """A lock on a file that the operating system releases when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> _Lock:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _listen(port: int) -> socket.socket:
    # The protocol is named because asyncio sets TCP_NODELAY only where it is; without it every answer costs 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        listener.close()
        _refuse(f"can't listen on 127.0.0.1:{port}: {getattr(error, 'strerror', None) or error}.")
    return listener


def _refuse(message: str) -> NoReturn:
    sys.stderr.write(f"databricks stand-in: {message}\n")
    raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sql_databricks_bridge.sandbox.databricks",
        description="A stand-in for a Databricks workspace, on loopback.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 (default): any free port")
    parser.add_argument("--data-dir", required=True, help="where everything is kept; survives a restart")
    parser.add_argument("--catalog", default="bridge", help="default: bridge")
    parser.add_argument("--schema", default="landing", help="the volume's schema; default: landing")
    parser.add_argument("--volume", default="files", help="default: files")
    parser.add_argument(
        "--cloud", choices=("aws", "gcp"), default="aws", help="gcp: big uploads are resumable, not in parts"
    )
    parser.add_argument("--token-lifetime-s", type=int, default=3600, help="of an OAuth token; default: 3600")
    parser.add_argument("--link-lifetime-s", type=int, default=900, help="of an external link; default: 900")
    parser.add_argument(
        "--chunk-bytes", type=int, default=16 * 1024 * 1024, help="aim for a result chunk; default: 16 MiB"
    )
    parser.add_argument("--chunk-rows", type=int, default=None, help="at most so many rows in a result chunk")
    parser.add_argument(
        "--also-catalog", action="append", default=[], metavar="NAME", help="one more catalog; may be repeated"
    )
    parser.add_argument(
        "--writers",
        choices=("conflict", "take-turns"),
        default="conflict",
        help="conflict (default): overlapping changes of the same rows fail with 2D521, as on Databricks",
    )
    parser.add_argument("--stop-on-stdin-eof", action="store_true", help="stop when stdin closes")
    parser.add_argument("--log", metavar="FILE", help="write a log there; default: errors to stderr")
    return parser


if __name__ == "__main__":
    main()
