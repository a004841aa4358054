"""The list of commands."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sql_databricks_bridge.cli import (
    audit,
    demo,
    events,
    extract,
    inspect,
    plan,
    queries,
    runs,
    sandbox,
    schedule,
    serve,
    sync,
    target,
    token,
    verify,
    watermarks,
)
from sql_databricks_bridge.errors import Cancelled


class _Group(TyperGroup):
    """Ctrl-C reaches our own handling of errors, not Typer's, which says nothing."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Cancelled("Cancelled.") from None


app = typer.Typer(
    cls=_Group,
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
app.add_typer(watermarks.app, name="watermarks")
app.command("plan", epilog="Example: bridge plan --country Colombia --query flights")(plan.plan)
app.command("verify", epilog="Example: bridge verify --country Colombia --query flights")(verify.verify)
app.add_typer(schedule.app, name="schedule")
app.add_typer(events.app, name="events")
app.add_typer(sync.app, name="sync")
app.add_typer(target.app, name="target")
app.add_typer(token.app, name="token")
app.add_typer(audit.app, name="audit")
app.command("serve", epilog="Example: bridge serve --port 8000")(serve.serve)
app.command("sandbox", epilog="Example: bridge sandbox --load flights --data-dir .sandbox")(sandbox.sandbox)
app.command("demo", epilog="Example: bridge demo")(demo.demo)
app.command("version", epilog="Example: bridge version --json")(inspect.version)


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show where in the code an error came from.")] = False,
) -> None:
    if debug:
        os.environ["DEBUG"] = "true"
