"""Jobs as rows of the store's tables, and back."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from sql_databricks_bridge.db.job_tables import job_queries, jobs
from sql_databricks_bridge.models.job_records import Job, JobFilter, NewJob
from sql_databricks_bridge.models.jobs import QueryOutcome, QueryStatus, RunStatus
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.plan_json import dump_plan
from sql_databricks_bridge.models.publishing import PublicationOutcome, RowCounts

_SHOWN = [column for column in jobs.c if column is not jobs.c.plan]  # a plan holds all of its SQL


def new_job_row(job: NewJob) -> dict[str, Any]:
    """The row of a job that is to wait, without its `created_at`."""
    destination = job.plan.destination
    return {
        "job_id": job.plan.run_id,
        "user_name": job.user_name,
        "country": job.plan.country,
        "catalog_name": destination.catalog,
        "schema_name": destination.schema,
        "volume_name": destination.volume,
        "request_id": job.request_id,
        "status": RunStatus.QUEUED,
        "attempt": 0,
        "takeovers": 0,
        "cancel_requested": False,
        "plan": dump_plan(job.plan),
        "source_tables": json.dumps(job.tables),
        "warnings": json.dumps(job.plan.warnings),
    }


def outcome_row(outcome: QueryOutcome) -> dict[str, Any]:
    """A query's row, without its key."""
    return {
        "name": outcome.name,
        "status": outcome.status,
        "rows": outcome.rows,
        "bytes": outcome.bytes,
        "parts": outcome.parts,
        "seconds": outcome.seconds,
        "path": outcome.path,
        "error": storable(outcome.error),
        "warnings": json.dumps(outcome.warnings),
        "publication": None if outcome.publication is None else json.dumps(dataclasses.asdict(outcome.publication)),
    }


def storable(text: str | None) -> str | None:
    """Text as every database takes it: NUL and halves of surrogate pairs, which an error may quote, are escaped."""
    if text is None:
        return None
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def merged_warnings(stored: str, more: Sequence[str]) -> str:
    """A row's warnings and those that it does not have yet."""
    return json.dumps(list(dict.fromkeys([*json.loads(stored), *more])))


def read_jobs(connection: sa.Connection, condition: sa.ColumnElement[bool], limit: int | None = None) -> list[Job]:
    """The jobs that meet it, the newest first.

    Their queries are read after them and may be a moment newer, never older.
    """
    statement = sa.select(*_SHOWN).where(condition).order_by(jobs.c.created_at.desc(), jobs.c.job_id.desc())
    found = connection.execute(statement.limit(limit)).all()
    queries: dict[str, list[QueryOutcome]] = defaultdict(list)
    wanted = job_queries.c.job_id.in_([row.job_id for row in found])
    for row in connection.execute(sa.select(job_queries).where(wanted).order_by(job_queries.c.position)):
        queries[row.job_id].append(_outcome(row))
    return [_job(row, queries[row.job_id]) for row in found]


def condition_of(wanted: JobFilter) -> sa.ColumnElement[bool]:
    """The filter as SQL; the keyset's comparison is spelled out, since not every database compares tuples."""
    conditions: list[sa.ColumnElement[bool]] = [sa.true()]
    if wanted.user_name is not None:
        conditions.append(jobs.c.user_name == storable(wanted.user_name))
    if wanted.status is not None:
        conditions.append(jobs.c.status == wanted.status)
    if wanted.country is not None:
        conditions.append(jobs.c.country == storable(wanted.country))
    if wanted.before is not None:
        created_at, job_id = wanted.before
        same_moment = sa.and_(jobs.c.created_at == created_at, jobs.c.job_id < storable(job_id))
        conditions.append(sa.or_(jobs.c.created_at < created_at, same_moment))
    return sa.and_(*conditions)


def _job(row: sa.Row[*tuple[Any, ...]], queries: Iterable[QueryOutcome]) -> Job:
    return Job(
        job_id=row.job_id,
        user_name=row.user_name,
        country=row.country,
        destination=Destination(row.catalog_name, row.schema_name, row.volume_name),
        status=RunStatus(row.status),
        created_at=row.created_at,
        queries=tuple(queries),
        tables=tuple(json.loads(row.source_tables)),
        request_id=row.request_id,
        attempt=row.attempt,
        takeovers=row.takeovers,
        cancel_requested=row.cancel_requested,
        started_at=row.started_at,
        finished_at=row.finished_at,
        error=row.error,
        warnings=tuple(json.loads(row.warnings)),
    )


def _outcome(row: sa.Row[*tuple[Any, ...]]) -> QueryOutcome:
    return QueryOutcome(
        name=row.name,
        status=QueryStatus(row.status),
        rows=row.rows,
        bytes=row.bytes,
        parts=row.parts,
        seconds=row.seconds,
        path=row.path,
        error=row.error,
        warnings=tuple(json.loads(row.warnings)),
        publication=_publication(row.publication),
    )


def _publication(text: str | None) -> PublicationOutcome | None:
    if text is None:
        return None
    found = json.loads(text)
    return PublicationOutcome(**found | {"rows": RowCounts(**found["rows"]), "changes": tuple(found["changes"])})
