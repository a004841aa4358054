"""`bridge demo`: the whole show, stopped and cleaned up at the end."""

from __future__ import annotations

from sql_databricks_bridge.cli import output
from sql_databricks_bridge.cli.options import JsonOption
from sql_databricks_bridge.cli.sandbox import DataDirOption, data_folder, translated_errors


def demo(data_dir: DataDirOption = None, json: JsonOption = False) -> int:
    """Start the sandbox, bring five flights tables from SQL Server to a Databricks Volume, and check what landed."""
    with data_folder(data_dir) as folder, translated_errors():
        from sql_databricks_bridge.sandbox import demo as show

        if not json:
            return show.run(folder)
        code, document = show.run_quietly(folder)
        output.print_json(document)
        return code
