"""May this user read what this plan reads? Asked when a job is wanted, and again each time it is taken up."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from sql_databricks_bridge.auth.extraction_access import authorize_extraction
from sql_databricks_bridge.auth.loader import PermissionsFile
from sql_databricks_bridge.auth.permissions import Permissions, User
from sql_databricks_bridge.core.ports import SqlServer
from sql_databricks_bridge.errors import NotPermitted
from sql_databricks_bridge.models.job_records import Job
from sql_databricks_bridge.models.jobs import ExtractionPlan, ResolvedQuery
from sql_databricks_bridge.models.quoting import sql_server_identifier
from sql_databricks_bridge.models.tables import TargetName


@dataclass(frozen=True, slots=True)
class Authorization:
    """Asks permissions.yaml, and SQL Server's catalog for what the names in the queries mean.

    `home_server` is SQLSERVER_HOST, which patterns that name no server mean.
    """

    sql_server: SqlServer
    permissions: PermissionsFile
    home_server: str

    def tables(self, user: User, permissions: Permissions, plan: ExtractionPlan) -> tuple[str, ...]:
        """The tables that the plan reads, by name; `NotPermitted` where the user may not read one of them."""
        with closing(self.sql_server.connect(database=plan.database, server=plan.server)) as connection:
            return authorize_extraction(
                user,
                permissions,
                dataclasses.replace(plan, queries=(*plan.queries, *_tracked(plan))),
                connection.find_objects,
                server=plan.server or self.home_server,
                database=plan.database,
            )

    def again(self, job: Job, plan: ExtractionPlan) -> None:
        """Check a job that waited: its user may have lost the right meanwhile, or left."""
        permissions = self.permissions.current()
        user = permissions.user(job.user_name)
        if user is None:
            raise NotPermitted(f"{job.user_name!r}, who asked for the job, is not in permissions.yaml any more.")
        self.tables(user, permissions, plan)


def _tracked(plan: ExtractionPlan) -> Iterator[ResolvedQuery]:
    """What an increment reads beside its query: the keys of the tracked table."""
    for query in plan.queries:
        incremental = query.publish.incremental if query.publish is not None else None
        if incremental is not None and incremental.table is not None:
            table = TargetName.parse(incremental.table)
            sql = f"SELECT * FROM {sql_server_identifier(table.schema, table.table)}"
            yield dataclasses.replace(query, sql=sql, parameters=(), placeholders=())
