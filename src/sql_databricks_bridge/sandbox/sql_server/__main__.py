"""`python -m sql_databricks_bridge.sandbox.sql_server`: the SQL Server stand-in, in the foreground, until told to stop.

When it is ready it writes one JSON line to stdout: ready, host, port, database, username, password, certificate,
admin_url. It stops, with exit code 0, on SIGTERM, SIGINT and, with --stop-on-stdin-eof, when its stdin closes (so that
it never outlives a parent that was killed). Exit code 2: it could not start, and one line on stderr says why.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import logging
import os
import secrets
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from .contract import Engine

_HOST = "127.0.0.1"
_USERNAME = "sa"
_DATABASES = {"flights": "Flights", "tpch": "TPCH"}


def main(arguments: list[str] | None = None) -> int:
    """Run until stopped; returns the exit code."""
    options = _parser().parse_args(arguments)
    _start_logging(options.log)
    # Threads that wait for the socket get their turn at once, also while another one computes (default: 5 ms).
    sys.setswitchinterval(0.0005)
    stop = _StopSignal()
    if options.stop_on_stdin_eof:
        threading.Thread(target=_watch_stdin, name="stdin", daemon=True).start()
    try:
        with contextlib.ExitStack() as cleanup:
            ready = _start(options, cleanup)
            stop.started()
            sys.stdout.write(json.dumps(ready) + "\n")
            sys.stdout.flush()
            stop.wait()
    except _Stopped:
        pass
    return 0


def _start(options: argparse.Namespace, cleanup: contextlib.ExitStack) -> dict[str, object]:
    """Bring everything up, the ports first; what was started is undone by `cleanup`, last first."""
    # Imported here, so that --help and a taken port answer at once.
    from .contract import ServerOptions
    from .wire.admin import AdminServer
    from .wire.server import TdsServer, bind
    from .wire.tls import create_certificate

    data_dir = Path(options.data_dir).absolute()
    database = options.database or _DATABASES.get(options.load.partition(":")[0].lower(), "Bridge")
    password = options.password or f"Aa1.{secrets.token_hex(12)}"
    _claim(data_dir, cleanup)
    try:
        listener = bind(_HOST, options.port)
    except (OSError, OverflowError) as exc:
        _refuse(f"can't listen on {_HOST}:{options.port}: {_reason(exc)}")
    cleanup.callback(listener.close)
    try:
        admin = AdminServer(_HOST, options.admin_port)
    except (OSError, OverflowError) as exc:
        _refuse(f"can't listen on {_HOST}:{options.admin_port} (admin): {_reason(exc)}")
    cleanup.callback(admin.stop)
    certificate, key = create_certificate(data_dir / "tls")

    engine = _create_engine(data_dir / "engine", options.load, database, password)
    cleanup.callback(engine.close)
    server_options = ServerOptions(
        host=_HOST,
        port=options.port,
        encryption=options.encryption,
        certificate_file=str(certificate),
        key_file=str(key),
        log_file=options.log,
    )
    server = TdsServer(engine, server_options, listener)
    cleanup.callback(server.stop)
    server.start()
    admin.start(server.faults, server.requests)
    return {
        "ready": True,
        "host": _HOST,
        "port": server.port,
        "database": database,
        "username": _USERNAME,
        "password": password,
        "certificate": str(certificate),
        "admin_url": admin.url,
    }


def _create_engine(data_dir: Path, load: str, database: str, password: str) -> Engine:
    from .engine import create_engine

    try:
        return create_engine(data_dir, load, database, _USERNAME, password)
    except Exception as exc:
        logging.getLogger(__name__).debug("the engine did not start", exc_info=True)
        _refuse(f"the engine did not start: {str(exc) or type(exc).__name__}")


class _Stopped(BaseException):
    """Asked to stop while starting."""


class _StopSignal:
    """SIGTERM and SIGINT: break off the start, or end the wait. Later ones are ignored."""

    def __init__(self) -> None:
        self._starting = True
        self._told = False
        # Woken by the signal itself, through a pipe: a Python handler runs only once the main thread runs, and a lock
        # that it took might be held by the very thread it interrupts.
        self._reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def started(self) -> None:
        """From here on a signal only ends `wait`."""
        self._starting = False

    def wait(self) -> None:
        """Block until asked to stop."""
        while not self._told:
            os.read(self._reader, 64)

    def _handle(self, *_: object) -> None:
        if self._told:
            return
        self._told = True
        if self._starting:
            raise _Stopped


def _watch_stdin() -> None:
    # Not sys.stdin: its lock, held by this thread for ever, would abort the interpreter's end.
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


def _claim(data_dir: Path, cleanup: contextlib.ExitStack) -> None:
    """Make the data folder ours alone, by a lock that the operating system releases however we end."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        _refuse(f"can't write to the data folder {data_dir}: {_reason(exc)}")
    cleanup.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        _refuse(f"the data folder {data_dir} is in use by another stand-in")


def _start_logging(file: str | None) -> None:
    style = "%(asctime)s %(levelname)s %(name)s %(message)s"
    try:
        if file:
            logging.basicConfig(format=style, level=logging.INFO, filename=file)
        else:
            logging.basicConfig(format=style, level=logging.ERROR)
    except OSError as exc:
        _refuse(f"can't write the log {file}: {_reason(exc)}")


def _reason(exc: Exception) -> str:
    return getattr(exc, "strerror", None) or str(exc)


def _refuse(message: str) -> NoReturn:
    sys.stderr.write("sql server stand-in: " + " ".join(message.split()) + "\n")
    raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sql_databricks_bridge.sandbox.sql_server",
        description="A stand-in for SQL Server (TDS 7.4 and 8.0), on loopback.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 (default): any free port")
    parser.add_argument("--admin-port", type=int, default=0, help="for /_sandbox; 0 (default): any free port")
    parser.add_argument("--data-dir", required=True, help="where everything is kept; survives a restart")
    parser.add_argument("--load", type=_load, default="none", help="flights, tpch:SF or none (default)")
    parser.add_argument("--database", help="default: Flights, TPCH or Bridge, by what is loaded")
    parser.add_argument("--password", help="of the login 'sa'; default: a random one")
    parser.add_argument("--encryption", choices=("off", "optional", "required"), default="optional")
    parser.add_argument("--stop-on-stdin-eof", action="store_true", help="stop when stdin closes")
    parser.add_argument("--log", metavar="FILE", help="write a log there; default: errors to stderr")
    return parser


def _load(text: str) -> str:
    kind, _, factor = text.partition(":")
    if kind in ("flights", "none") and not factor:
        return text
    if kind == "tpch":
        with contextlib.suppress(ValueError):
            if float(factor) > 0:
                return text
    raise argparse.ArgumentTypeError(f"{text!r} is none of: flights, tpch:SF (a scale factor over 0), none")


if __name__ == "__main__":
    sys.exit(main())
