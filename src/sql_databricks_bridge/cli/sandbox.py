"""`bridge sandbox`: both stand-ins in the foreground."""

from __future__ import annotations

import contextlib
import re
import shlex
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from sql_databricks_bridge.cli import output
from sql_databricks_bridge.cli.options import JsonOption
from sql_databricks_bridge.errors import BridgeError, SettingsError, UsageError

_LOAD = re.compile(r"(?i:flights|none|tpch:(\d+(\.\d+)?|\.\d+))\Z")
_WATCH_INTERVAL_S = 0.5

DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Keep the data here; otherwise it is temporary.", file_okay=False),
]


def sandbox(
    sql_port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="SQL Server's port; 0: a free one.")] = 0,
    databricks_port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Databricks' port; 0: a free one.")
    ] = 0,
    data_dir: DataDirOption = None,
    load: Annotated[str, typer.Option(metavar="flights|tpch:SF|none", help="Data to load at first start.")] = "flights",
    json: JsonOption = False,
) -> None:
    """Run a SQL Server and a Databricks stand-in on this machine until Ctrl-C.

    Prints the environment that points the bridge at them, one `export NAME=value` a line, when both are ready.
    """
    if not _LOAD.match(load):
        raise UsageError(f"--load {load!r} is not known.", hint="Use flights, tpch:SF (for instance tpch:0.1) or none.")
    from sql_databricks_bridge.sandbox import launcher

    stop, started = threading.Event(), threading.Event()

    def on_signal(*_: object) -> None:
        stop.set()
        if not started.is_set():
            raise KeyboardInterrupt  # loading may take minutes: nobody should have to wait for it to stop it

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, on_signal)
    with data_folder(data_dir) as folder, translated_errors():
        output.err().print("starting the sandbox ...", style="dim")
        with launcher.Sandbox(launcher.SandboxOptions(folder, sql_port, databricks_port, load.lower())) as running:
            started.set()
            sql_admin, lake_admin = running.admin_urls
            if json:
                admin = {"sql_server": sql_admin, "databricks": lake_admin}
                output.print_json({"status": "ready", "environment": dict(running.environment), "admin_urls": admin})
            else:
                for key, value in running.environment.items():
                    typer.echo(f"export {key}={shlex.quote(value)}")
            output.err().print(f"ready; faults: {sql_admin}/faults {lake_admin}/faults; Ctrl-C stops", style="dim")
            while not stop.wait(_WATCH_INTERVAL_S):
                if dead := running.failed():
                    raise BridgeError(
                        f"The {dead} stand-in has ended.", hint=f"Its last words are in {folder / 'logs'}."
                    )
            output.err().print("stopping ...", style="dim")


@contextlib.contextmanager
def data_folder(chosen: Path | None) -> Iterator[Path]:
    """Yield the chosen folder, or a temporary one that is removed at the end."""
    if chosen is not None:
        yield chosen.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="bridge-sandbox-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Turn the launcher's errors into ours (the sandbox can't import them)."""
    try:
        from sql_databricks_bridge.sandbox import launcher
    except ImportError as exc:
        raise SettingsError(f"The sandbox needs {exc.name}.", hint=_INSTALL) from exc
    try:
        yield
    except launcher.SandboxError as exc:
        hint = _INSTALL if "No module named" in str(exc) else None
        raise BridgeError(str(exc), hint=hint) from exc


_INSTALL = "Install it with: pip install 'sql-databricks-bridge[sandbox]'"
