"""Jobs, their queries, idempotency keys, anchors of audit files, schedules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sql_databricks_bridge.db.job_tables import Moment, exact, long_text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "bridge_jobs",
        sa.Column("job_id", exact(64), nullable=False),
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
        sa.PrimaryKeyConstraint("job_id", name="pk_bridge_jobs"),
    )
    op.create_index("ix_bridge_jobs_status_created_at_job_id", "bridge_jobs", ["status", "created_at", "job_id"])
    op.create_index("ix_bridge_jobs_created_at_job_id", "bridge_jobs", ["created_at", "job_id"])
    op.create_index("ix_bridge_jobs_user_name_created_at_job_id", "bridge_jobs", ["user_name", "created_at", "job_id"])
    op.create_table(
        "bridge_job_queries",
        sa.Column("job_id", exact(64), nullable=False),
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False, comment="from 0, in the plan's order"),
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
        sa.PrimaryKeyConstraint("job_id", "position", name="pk_bridge_job_queries"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["bridge_jobs.job_id"], name="fk_bridge_job_queries_bridge_jobs", ondelete="CASCADE"
        ),
    )
    gate = op.create_table(
        "bridge_queue_gate",
        sa.Column("gate_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("passed", sa.BigInteger, nullable=False, comment="jobs that ever came in"),
        sa.PrimaryKeyConstraint("gate_id", name="pk_bridge_queue_gate"),
    )
    op.bulk_insert(gate, [{"gate_id": 1, "passed": 0}])
    op.create_table(
        "bridge_idempotency_keys",
        sa.Column("user_name", exact(255), nullable=False),
        sa.Column("key", exact(255), nullable=False),
        sa.Column("fingerprint", exact(128), nullable=False),
        sa.Column("resource_id", exact(255), nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("user_name", "key", name="pk_bridge_idempotency_keys"),
    )
    op.create_index("ix_bridge_idempotency_keys_created_at", "bridge_idempotency_keys", ["created_at"])
    op.create_table(
        "bridge_audit_anchors",
        sa.Column("file", exact(512), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("digest", exact(128), nullable=False),
        sa.Column("updated_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("file", name="pk_bridge_audit_anchors"),
    )
    op.create_table(
        "bridge_schedules",
        sa.Column("country", exact(255), nullable=False),
        sa.Column("name", exact(255), nullable=False),
        sa.Column("definition", exact(512), nullable=False, comment="cron expression and time zone"),
        sa.Column("last_due", Moment, nullable=False, comment="every due moment up to it is decided"),
        sa.Column("decision", exact(16), nullable=False, comment="what became of the last one"),
        sa.Column("reason", long_text()),
        sa.Column("job_id", exact(64), comment="the last job that was queued"),
        sa.Column("wanted_due", Moment, comment="seen in time, but not queued yet"),
        sa.Column("updated_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("country", "name", name="pk_bridge_schedules"),
    )
