"""The `bridge` command's way in and out: its standard streams, its exit code, and what becomes of errors.

Exit codes: 0 done, 1 something failed, 2 wrong usage or configuration, 130 cancelled by Ctrl-C, 143 by SIGTERM.

Nothing heavy is imported before `main` runs, so that Ctrl-C is heard in order from the first moment.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import NoReturn


def main() -> None:
    """Run the command line; never returns."""
    try:
        from sql_databricks_bridge.cli import streams

        streams.prepare()
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before or after the command itself
        code = 130
    _leave(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    import typer

    from sql_databricks_bridge.cli import output
    from sql_databricks_bridge.cli.application import app
    from sql_databricks_bridge.errors import BridgeError, Cancelled, UsageError

    as_json = "--json" in arguments
    debug = "--debug" in arguments or os.environ.get("DEBUG", "").lower() in ("1", "true", "yes")
    try:
        result = app(arguments, standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except typer.Exit as exc:
        return exc.exit_code
    except typer.TyperException as exc:  # wrong usage: its class knows how to show itself
        if as_json:
            output.print_failure("UsageError", exc.format_message())
        exc.show()  # type: ignore[attr-defined]  # public only on the subclasses that are raised
        return int(getattr(exc, "exit_code", 2))
    except Cancelled as exc:
        output.report_error(exc, as_json=as_json)
        return 130
    except BridgeError as exc:
        output.report_error(exc, as_json=as_json, debug=debug)
        return 2 if isinstance(exc, UsageError) else 1
    except BrokenPipeError:  # the reader of our output went away (`bridge ... | head`): nobody is left to tell
        return 1
    except OSError as exc:  # a folder that may not be read, or standard output that can't be written
        where = exc.filename or "Standard output"
        error = BridgeError(f"{where}: {exc.strerror or exc}.")
        output.report_error(error, as_json=as_json and exc.filename is not None, debug=debug)
        return 2 if isinstance(exc, PermissionError) else 1
    except Exception as exc:  # noqa: BLE001  the last resort: a user gets a message, and --debug the place
        error = BridgeError(f"{type(exc).__name__}: {exc}", hint="Where it came from: bridge --debug ...")
        output.report_error(error, as_json=as_json, debug=debug)
        return 1


def _leave(code: int) -> NoReturn:
    """End the process with `code`.

    A thread that hangs in the driver or in a request would hold up or crash the interpreter's own way out.
    """
    try:
        sys.stdout.flush()
    except OSError:  # said already by whoever wrote
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or 1
    sys.stderr.flush()
    if threading.active_count() > 1:
        os._exit(code)
    sys.exit(code)
