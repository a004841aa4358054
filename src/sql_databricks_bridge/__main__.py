"""`python -m sql_databricks_bridge` is the `bridge` command."""

from sql_databricks_bridge.cli.commands import main

main()
