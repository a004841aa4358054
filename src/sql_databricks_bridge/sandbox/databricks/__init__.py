"""A stand-in for a Databricks workspace: sign-in, Unity Catalog, the Files API and SQL statements over HTTP.

Written from the public REST API documentation; SQL runs in Sail (Spark SQL on Delta tables). What it does not support
it refuses by name, with the error body that Databricks uses. Start it with `python -m
sql_databricks_bridge.sandbox.databricks --port 0 --data-dir DIR`.
"""
