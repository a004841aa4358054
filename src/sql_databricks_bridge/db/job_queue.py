"""How a job comes into the queue: through a gate that one passes at a time, so that the queue's limit holds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import sqlalchemy as sa

from sql_databricks_bridge.db.job_rows import new_job_row, outcome_row, read_jobs
from sql_databricks_bridge.db.job_tables import job_queries, jobs, queue_gate
from sql_databricks_bridge.errors import JobError, QueueFull
from sql_databricks_bridge.models.job_records import Job, NewJob
from sql_databricks_bridge.models.jobs import QueryOutcome, QueryStatus, RunStatus


def add_job(
    connection: sa.Connection, job: NewJob, queue_limit: int, now: Callable[[sa.Connection], dt.datetime]
) -> Job:
    """Queue a job in a transaction that writes; `now` is the store's clock. The errors are `JobStore.add`'s."""
    row = new_job_row(job)
    mine = jobs.c.job_id == row["job_id"]
    # The row stays locked till the commit: whoever adds next counts this job too.
    connection.execute(sa.update(queue_gate).values(passed=queue_gate.c.passed + 1))
    if found := read_jobs(connection, mine):
        if found[0].user_name != job.user_name:
            raise JobError(f"Job {found[0].job_id} is there already, of another user.", hint="Try again.")
        return found[0]
    waiting = sa.select(sa.func.count()).where(jobs.c.status == RunStatus.QUEUED)
    if connection.execute(waiting).scalar_one() >= queue_limit:
        raise QueueFull(f"{queue_limit} jobs wait already.", hint="Try again when some of them have run.")
    connection.execute(sa.insert(jobs).values({**row, "created_at": now(connection)}))
    queries = [
        {**outcome_row(QueryOutcome(query.name, QueryStatus.QUEUED)), "job_id": row["job_id"], "position": n}
        for n, query in enumerate(job.plan.queries)
    ]
    if queries:
        connection.execute(sa.insert(job_queries), queries)
    (added,) = read_jobs(connection, mine)
    return added
