"""Alembic's environment of the job store; `job_schema.upgrade` runs it."""
