"""What the job store's tests run in processes of their own: `python job_store_process.py WHAT ADDRESS NAME`."""

from __future__ import annotations

import sys

from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore
from sql_databricks_bridge.models.job_records import NewJob
from sql_databricks_bridge.models.jobs import ExtractionPlan, QueryOutcome, QueryStatus, ResolvedQuery, RunStatus
from sql_databricks_bridge.models.names import Destination


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def claim(store: SqlAlchemyJobStore, name: str) -> None:
    """Take every job up and say its id, until there are none."""
    say("ready")
    sys.stdin.readline()
    while found := store.claim(name, 3600):
        say(found.job.job_id)


def upgrade(store: SqlAlchemyJobStore, name: str) -> None:
    """Open the store as a service does."""
    say("ready")
    sys.stdin.readline()
    store.upgrade()
    store.reserve(name, "key", "f", name)
    say("done")


def write(store: SqlAlchemyJobStore, name: str) -> None:
    """Add, take up and end jobs of two queries, saying the id of each once it stands as completed."""
    queries = tuple(ResolvedQuery(query, "q.sql", "SELECT 1" * 500, "00") for query in ("q", "r"))
    for number in range(1_000_000):
        plan = ExtractionPlan(f"{name}-{number}", "co", Destination("c", "s", "v"), queries, "db")
        store.add(NewJob("ann", plan, (), ""), queue_limit=10**9)
        found = store.claim(name, 3600)
        assert found is not None
        outcomes = [QueryOutcome(query.name, QueryStatus.COMPLETED, number) for query in queries]
        store.finish(found.lease, RunStatus.COMPLETED, outcomes)
        say(found.job.job_id)


if __name__ == "__main__":
    what, address, name = sys.argv[1:]
    {"claim": claim, "upgrade": upgrade, "write": write}[what](SqlAlchemyJobStore(address), name)
