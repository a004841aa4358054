"""`bridge target`: what the bridge needs in the database that it applies events to."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from sql_databricks_bridge import composition
from sql_databricks_bridge.cli import output
from sql_databricks_bridge.cli.options import JsonOption

app = typer.Typer(no_args_is_help=True, help="Prepare the SQL Server side of sync.", rich_markup_mode=None)


@app.callback()
def _target() -> None:
    """Prepare the SQL Server side of sync."""


@app.command("init", epilog="Example: bridge target init > ledger.sql, or: bridge target init --run")
def init(
    run: Annotated[bool, typer.Option("--run", help="Create it now in SQLSERVER_DATABASE.")] = False,
    json: JsonOption = False,
) -> None:
    """Print the DDL of the ledger's schema for a DBA, or run it. Harmless where it is there already."""
    from sql_databricks_bridge.db.ledger import SCHEMA_SQL

    if not run:
        if json:
            output.print_json({"status": "printed", "sql": SCHEMA_SQL})
        else:
            output.print_sql(SCHEMA_SQL)
        return
    config = composition.settings()
    config.require("sqlserver_host", "sqlserver_database")
    with closing(composition.sql_server(config).connect_target()) as connection:
        created = not connection.ledger_ready()
        if created:
            connection.create_ledger()
        database = connection.info().database
    if json:
        output.print_json({"status": "created" if created else "unchanged", "database": database})
    else:
        typer.echo(f"{database}: {'the ledger is created' if created else 'the ledger was there already'}.")
