"""A sample job: results go to a Delta table, a signed event asks for them in SQL Server, and is waited for."""

from __future__ import annotations

import argparse
import sys

from databricks.sdk.runtime import dbutils
from pyspark.sql import SparkSession

from sql_databricks_bridge_sdk import BridgeEvents


def main() -> None:
    """Fails, and the job with it, where the event ends other than completed."""
    options = _options()
    spark = SparkSession.builder.getOrCreate()
    results = spark.createDataFrame([("JFK", "Kennedy"), ("EWR", "Newark")], "faa STRING, name STRING")
    results.write.mode("overwrite").saveAsTable(options.results)

    signing_key = dbutils.secrets.get(options.secret_scope, "signing-key")
    events = BridgeEvents(spark=spark, table=options.events_table, user=options.user, signing_key=signing_key)
    event = events.submit("UPDATE", source=options.results, target=options.target, keys=["faa"], rows_expected=2)
    done = events.wait(event, timeout_s=1800)
    sys.stdout.write(f"{options.target}: {done.rows_affected} rows\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("results", "events-table", "target", "user", "secret-scope"):
        parser.add_argument(f"--{name}", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
