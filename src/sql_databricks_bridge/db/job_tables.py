"""The tables of the job store. `migrations` makes them; a test holds the two together.

Names begin with `bridge_`, since a database server may be shared with others. What tells users and keys apart compares
by its bytes under every server: 'Ann' must never see the jobs of 'ann'.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects import mssql, mysql

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


class Moment(sa.types.TypeDecorator[dt.datetime]):
    """A point in time: aware UTC in Python, whole microseconds since 1970 in the table.

    Every server stores, compares and returns a bigint alike, which can't be said of its time types.
    """

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Count microseconds; a time without a zone raises `TypeError`."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> dt.datetime | None:  # noqa: ARG002
        """Back to an aware UTC time."""
        return None if value is None else _EPOCH + value * _MICROSECOND


def exact(length: int) -> TypeEngine[str]:
    """Text of that length at most, compared by its bytes where the server would fold case."""
    return (
        sa.Unicode(length)
        .with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
        .with_variant(mssql.NVARCHAR(length, collation="Latin1_General_100_BIN2"), "mssql")
    )


def long_text() -> TypeEngine[str]:
    """Text of any length."""
    return sa.UnicodeText().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql", "mariadb")


metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

jobs = sa.Table(
    "bridge_jobs",
    metadata,
    sa.Column("job_id", exact(64), primary_key=True),
    sa.Column("user_name", exact(255), nullable=False),
    sa.Column("country", exact(255), nullable=False),
    sa.Column("catalog_name", exact(255), nullable=False),
    sa.Column("schema_name", exact(255), nullable=False),
    sa.Column("volume_name", exact(255), nullable=False),
    sa.Column("request_id", exact(64), nullable=False),
    sa.Column("status", exact(16), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("takeovers", sa.Integer, nullable=False, comment="leases that ran out"),
    sa.Column("runner", exact(255), comment="who runs it, or ran it last"),
    sa.Column("lease_until", Moment, comment="set while it runs"),
    sa.Column("not_before", Moment, comment="set once it was put off"),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("started_at", Moment),
    sa.Column("finished_at", Moment),
    sa.Column("plan", long_text(), nullable=False, comment="models.plan_json"),
    sa.Column("source_tables", long_text(), nullable=False, comment="a JSON array of strings"),
    sa.Column("warnings", long_text(), nullable=False, comment="a JSON array of strings"),
    sa.Column("error", long_text()),
)
sa.Index(None, jobs.c.status, jobs.c.created_at, jobs.c.job_id)
sa.Index(None, jobs.c.created_at, jobs.c.job_id)
sa.Index(None, jobs.c.user_name, jobs.c.created_at, jobs.c.job_id)

job_queries = sa.Table(
    "bridge_job_queries",
    metadata,
    sa.Column("job_id", exact(64), sa.ForeignKey(jobs.c.job_id, ondelete="CASCADE"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False, comment="from 0, in the plan's order"),
    sa.Column("name", exact(255), nullable=False),
    sa.Column("status", exact(16), nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("parts", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("path", long_text()),
    sa.Column("error", long_text()),
    sa.Column("warnings", long_text(), nullable=False, comment="a JSON array of strings"),
    sa.Column("publication", long_text(), comment="what became of its table, as JSON"),
)

queue_gate = sa.Table(
    "bridge_queue_gate",
    metadata,
    sa.Column("gate_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("passed", sa.BigInteger, nullable=False, comment="jobs that ever came in"),
)
"""One row (gate_id 1): who adds a job updates it first, so that two who count the queue can't both find room."""

idempotency_keys = sa.Table(
    "bridge_idempotency_keys",
    metadata,
    sa.Column("user_name", exact(255), primary_key=True),
    sa.Column("key", exact(255), primary_key=True),
    sa.Column("fingerprint", exact(128), nullable=False),
    sa.Column("resource_id", exact(255), nullable=False),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)
sa.Index(None, idempotency_keys.c.created_at)

audit_anchors = sa.Table(
    "bridge_audit_anchors",
    metadata,
    sa.Column("file", exact(512), primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("digest", exact(128), nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
)

schedules = sa.Table(
    "bridge_schedules",
    metadata,
    sa.Column("country", exact(255), primary_key=True),
    sa.Column("name", exact(255), primary_key=True),
    sa.Column("definition", exact(512), nullable=False, comment="cron expression and time zone"),
    sa.Column("last_due", Moment, nullable=False, comment="every due moment up to it is decided"),
    sa.Column("decision", exact(16), nullable=False, comment="what became of the last one"),
    sa.Column("reason", long_text()),
    sa.Column("job_id", exact(64), comment="the last job that was queued"),
    sa.Column("wanted_due", Moment, comment="seen in time, but not queued yet"),
    sa.Column("updated_at", Moment, nullable=False),
)
