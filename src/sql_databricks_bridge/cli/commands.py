"""The `bridge` command: the list of commands, and what becomes of their errors.

Exit codes: 0 done, 1 something failed, 2 wrong usage or configuration, 130 cancelled by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from sql_databricks_bridge.cli import demo, extract, inspect, queries, runs, sandbox
from sql_databricks_bridge.errors import BridgeError, Cancelled, UsageError

app = typer.Typer(
    name="bridge",
    help="Typed, atomic data movement between SQL Server and Databricks.",
    epilog="Start with: bridge demo - or, against your own servers: bridge check",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

app.command("extract", epilog="Example: bridge extract --country Colombia --query flights --lookback-months 36")(
    extract.extract
)
app.add_typer(queries.app, name="queries")
app.command("preview", epilog="Example: bridge preview flights --country Colombia --rows 5")(queries.preview)
app.command("check", epilog="Example: bridge check --json")(inspect.check)
app.add_typer(runs.app, name="runs")
app.command("sweep", epilog="Example: bridge sweep --country Colombia --keep 7 --dry-run")(runs.sweep)
app.command("sandbox", epilog="Example: bridge sandbox --load flights --data-dir .sandbox")(sandbox.sandbox)
app.command("demo", epilog="Example: bridge demo")(demo.demo)
app.command("version", epilog="Example: bridge version --json")(inspect.version)


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show where in the code an error came from.")] = False,
) -> None:
    if debug:
        os.environ["DEBUG"] = "true"


def main() -> None:
    """Run the command line; never returns."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    from sql_databricks_bridge.cli import output

    as_json = "--json" in arguments
    debug = "--debug" in arguments or os.environ.get("DEBUG", "").lower() in ("1", "true", "yes")
    try:
        result = app(arguments, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except typer.Exit as exc:
        return exc.exit_code
    except typer.TyperException as exc:  # wrong usage: its class knows how to show itself
        exc.show()  # type: ignore[attr-defined]  # public only on the subclasses that are raised
        return int(getattr(exc, "exit_code", 2))
    except (KeyboardInterrupt, typer.Abort):
        output.print_error("Cancelled.")
        return 130
    except Cancelled as exc:
        output.print_error(exc.message, exc.hint)
        return 130
    except BridgeError as exc:
        output.report_error(exc, as_json=as_json, debug=debug)
        return 2 if isinstance(exc, UsageError) else 1
    except BrokenPipeError:
        # The reader of our output went away (`bridge ... | head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
