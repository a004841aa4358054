"""One event, from permission to commit: read the source, stage it, apply it in one transaction with the ledger."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import structlog

from sql_databricks_bridge.auth.audit import AuditLog
from sql_databricks_bridge.auth.permissions import Grant, Permissions, User
from sql_databricks_bridge.auth.signing import principal_of
from sql_databricks_bridge.core.ports import Lakehouse, TargetConnection
from sql_databricks_bridge.errors import (
    AuditError,
    BridgeError,
    EventBlocked,
    EventInvalid,
    LandingError,
    SourceBusy,
    SourceRefused,
    StatementFailed,
    StatementInterrupted,
)
from sql_databricks_bridge.models.applying import ApplyPlan, Counts, Matches, OnConflict, Staging
from sql_databricks_bridge.models.events import LedgerEntry, LedgerOutcome, Operation
from sql_databricks_bridge.models.tables import Target, TargetName
from sql_databricks_bridge.sync.columns import ColumnMatch, match_columns
from sql_databricks_bridge.sync.retry import Pause, Retry
from sql_databricks_bridge.sync.staged_source import inbound_of, plan_of, read_source, stage
from sql_databricks_bridge.sync.validators import Event

log = structlog.get_logger(__name__)

REFUSALS = (EventInvalid, LandingError, SourceRefused, StatementFailed)
"""What ends an event as `failed`: it will not get better by itself. EventBlocked ends it as `blocked`."""

_ITS_OWN = (SourceBusy, StatementInterrupted)
"""Passing failures that may be this event's own doing: it gets its attempts. For others it waits without counting."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Whom unsigned events run as, if they may run at all; `server` is what permissions call the server."""

    sync_principal: str | None
    allow_unsigned: bool
    server: str


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts, and what that user may do to the target."""

    user: User
    grant: Grant


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would happen to an event, in the order in which it would be found out; `refusal` ends it."""

    user: str | None = None
    grant: Grant | None = None
    target: Target | None = None
    source_version: int | None = None
    columns: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    matches: Matches | None = None
    warnings: tuple[str, ...] = ()
    refusal: BridgeError | None = None


@dataclass(frozen=True, slots=True)
class Operations:
    """Applies events. Holds no state of any event; safe to share by threads."""

    lakehouse: Lakehouse
    permissions: Callable[[], Permissions]
    audit: AuditLog
    policy: Policy
    retry: Retry = field(default_factory=lambda: Retry(_ITS_OWN))
    on_retry: Callable[[BridgeError], None] = lambda _: None
    """Gets what an event is tried again for: for those who count."""

    def carry_out(
        self, connection: TargetConnection, event: Event, target: Target, standing: LedgerEntry | None, pause: Pause
    ) -> LedgerEntry:
        """Bring the event to its end and return the ledger's row for it, whoever wrote that.

        The caller holds the target's lock on `connection` and has seen that the ledger holds no final row (`standing`
        is None or open). What is raised (an end that can't be reached, `Cancelled`, an audit that can't be written)
        left nothing changed, or, `CommitUnknown`, is known to the ledger only; the event is to be tried again.
        """
        entry = LedgerEntry(
            event_id=event.event_id,
            generation=standing.generation if standing else 1,
            payload_hash=event.row.payload_hash,
            outcome=LedgerOutcome.APPLIED,
        )
        attempt = _Attempt(self, connection, event, target, entry, reopened=standing is not None)

        def tell(exc: BridgeError, number: int, pause_s: float) -> None:
            log.warning(
                "event.retry", event_id=event.event_id, attempt=number, pause_s=round(pause_s, 2), why=exc.message
            )
            self.on_retry(exc)

        try:
            applied = self.retry.call(attempt.run, pause=pause, on_retry=tell)
        except EventBlocked as exc:
            return self.refuse(connection, entry, LedgerOutcome.BLOCKED, exc, event, attempt.user)
        except _ITS_OWN as exc:
            final = EventInvalid(f"Tried {self.retry.attempts} times. {exc.message}", hint=exc.hint)
            return self.refuse(connection, entry, LedgerOutcome.FAILED, final, event, attempt.user)
        except REFUSALS as exc:
            return self.refuse(connection, entry, LedgerOutcome.FAILED, exc, event, attempt.user)
        self._audit_applied(event, attempt.user, applied)
        return applied

    def _audit_applied(self, event: Event, user: str | None, entry: LedgerEntry) -> None:
        """Add the outcome to the intent. The rows are committed: a log that can't take the line now is told loudly."""
        try:
            self.audit.write(
                "sync_apply",
                user_name=user,
                resource=str(event.target),
                action=event.operation.lower(),
                outcome=str(entry.outcome),
                request_id=event.event_id,
                rows=entry.rows_affected,
                durable=False,
            )
        except AuditError as exc:
            log.error("audit.outcome_lost", event_id=event.event_id, outcome=str(entry.outcome), why=str(exc))

    def refuse(
        self,
        connection: TargetConnection,
        entry: LedgerEntry,
        outcome: LedgerOutcome,
        why: BridgeError,
        event: Event | None = None,
        user: str | None = None,
    ) -> LedgerEntry:
        """Audit a refusal and write it into the ledger; return what stands there."""
        self.audit_refusal(entry.event_id, outcome, str(why), event, user)
        return connection.record(dataclasses.replace(entry, outcome=outcome, message=str(why)))

    def audit_refusal(
        self,
        event_id: str | None,
        outcome: LedgerOutcome,
        why: str,
        event: Event | None = None,
        user: str | None = None,
    ) -> None:
        """Audit a refusal; alone where the ledger can't hold it."""
        self.audit.write(
            "sync_apply",
            user_name=user,
            resource=str(event.target) if event else None,
            action=event.operation.lower() if event else "unknown",
            outcome=str(outcome),
            request_id=event_id,
            reason=why,
        )

    def explain(self, connection: TargetConnection, event: Event, target: Target) -> Explanation:
        """Find out what would happen, changing nothing (a staging table comes and goes)."""
        entry = LedgerEntry(event.event_id, 1, event.row.payload_hash, LedgerOutcome.APPLIED)
        attempt = _Attempt(self, connection, event, target, entry, reopened=False)
        try:
            attempt.explain()
        except (EventBlocked, *REFUSALS) as exc:
            return attempt.explanation(exc)
        return attempt.explanation(None)

    def authorize(self, event: Event, target: Target, database: str) -> Principal:
        """Say who acts and with what grant; `EventBlocked` where that user may not."""
        permissions = self.permissions()
        user = principal_of(
            event.row,
            permissions,
            sync_principal=self.policy.sync_principal,
            allow_unsigned=self.policy.allow_unsigned,
        )
        grant = permissions.write_grant(user, self.policy.server, database, target.schema, target.name)
        if grant is None:
            raise EventBlocked(
                f"User {user.name!r} may not write to {target}.",
                hint=f"Give it `access: write` or `read_write` on {target} in permissions.yaml.",
            )
        if event.source is not None and not permissions.source_allowed(user, event.source):
            raise EventBlocked(
                f"User {user.name!r} may not use {event.source} as a source.",
                hint=f"Add {event.source} or a pattern to the user's `sources:` in permissions.yaml.",
            )
        reach = (*target.cascades, *(f"trigger {name}" for name in target.delete_triggers))
        if event.operation is Operation.DELETE and reach and not grant.allow_cascade:
            raise EventBlocked(
                f"A DELETE from {target} reaches further than its own rows: {', '.join(reach)}.",
                hint="`allow_cascade: true` beside the table's permission allows it.",
            )
        return Principal(user, grant)


class _Attempt:
    """One event on one connection; `run` may be called again after a transient failure."""

    def __init__(
        self,
        operations: Operations,
        connection: TargetConnection,
        event: Event,
        target: Target,
        entry: LedgerEntry,
        *,
        reopened: bool,
    ) -> None:
        self._operations = operations
        self._connection = connection
        self._event = event
        self._target = target
        self._entry = entry
        self._reopened = reopened
        self._principal: Principal | None = None
        self._version: int | None = None
        self._match: ColumnMatch | None = None
        self._matches: Matches | None = None
        self._warnings: list[str] = []

    @property
    def user(self) -> str | None:
        """Who acts, once that is known."""
        return self._principal.user.name if self._principal else None

    def run(self) -> LedgerEntry:
        self._prepare()
        with self._staged() as staging:
            plan = self._plan(staging)
            return self._connection.apply(plan, partial(self._before_commit, plan))

    def explain(self) -> None:
        self._prepare()
        with self._staged() as staging:
            plan = self._plan(staging)
            self._matches = self._connection.matches(plan)
        matching = self._matches.matching
        if plan.operation is Operation.DELETE:
            self._require_within_limit(matching)
        if plan.operation is Operation.INSERT and plan.keys and plan.on_conflict is OnConflict.ERROR and matching:
            raise EventInvalid(
                f"{matching:,} of the rows are in {self._target} already.",
                hint="Set metadata on_conflict to skip or update, or use UPSERT.",
            )

    def explanation(self, refusal: BridgeError | None) -> Explanation:
        """What is known by now."""
        match = self._match
        return Explanation(
            user=self.user,
            grant=self._principal.grant if self._principal else None,
            target=self._target,
            source_version=self._version,
            columns=tuple(column.name for column in match.staged) if match else (),
            keys=tuple(column.name for column in match.keys) if match else (),
            matches=self._matches,
            warnings=tuple(self._warnings),
            refusal=refusal,
        )

    def _prepare(self) -> None:
        """Authorize, and pin the source's version once for all attempts."""
        event = self._event
        self._warnings = list(event.notes)
        database = self._connection.info().database
        self._principal = self._operations.authorize(event, self._target, database)
        if self._target.instead_of and event.operation is not Operation.DELETE:
            self._warnings.append(f"INSTEAD OF triggers decide what happens: {', '.join(self._target.instead_of)}")
        if event.source is None:
            return
        if event.source_version is not None:
            self._version = event.source_version
        else:
            if self._version is None:
                self._version = self._operations.lakehouse.table_version(event.source)
            self._warnings.append(f"no metadata source_version: version {self._version} of the source was taken")

    @contextmanager
    def _staged(self) -> Iterator[Staging | None]:
        """Load the source's rows into a staging table; None where the event reads no source."""
        event, target = self._event, self._target
        if event.source is None:
            yield None
            return
        assert self._version is not None  # `_prepare` has set it
        with read_source(self._operations.lakehouse, event, event.source, target, self._version) as stream:
            match = self._match = match_columns(event, target, stream.schema.names)
            self._require_own_rows(match)
            inbound = inbound_of(event, match, stream.schema)
            self._warnings += (*match.warnings, *inbound.warnings)
            staging = stage(self._connection, target, match, inbound, stream)
        try:
            yield staging
        finally:
            self._connection.discard(staging)

    def _plan(self, staging: Staging | None) -> ApplyPlan:
        event, match = self._event, self._match
        expected = event.row.rows_expected
        if expected is None and staging is not None:
            expected = staging.rows
        entry = dataclasses.replace(self._entry, source_version=self._version, rows_expected=expected)
        return dataclasses.replace(
            plan_of(event, self._target, entry, staging, match),
            keep_identity=bool(match and match.inserts_identity),
            reopened=self._reopened,
        )

    def _before_commit(self, plan: ApplyPlan, counts: Counts) -> LedgerEntry:
        """The last look: the limit on what the statement really counted, the audit's intent, the ledger's row."""
        self._require_within_limit(counts.deleted)
        if counts.deleted:
            self._require_same_reach()
        warnings = list(self._warnings)
        if counts.skipped:
            warnings.append(f"{counts.skipped:,} rows were there already and skipped")
        expected = plan.entry.rows_expected
        if expected is not None and expected != counts.affected:
            warnings.append(f"{expected:,} rows were expected, {counts.affected:,} affected")
        self._operations.audit.write(
            "sync_apply",
            user_name=self.user,
            resource=str(self._target),
            action=self._event.operation.lower(),
            outcome="intent",
            request_id=self._event.event_id,
            rows=counts.affected,
        )
        return dataclasses.replace(
            plan.entry, rows_affected=counts.affected, message="; ".join(warnings) if warnings else None
        )

    def _require_own_rows(self, match: ColumnMatch) -> None:
        """Refuse to change a column that passes the change on to another table, unless that is permitted."""
        assert self._principal is not None  # `_prepare` has set it
        updates = self._event.operation is not Operation.INSERT or self._event.on_conflict is OnConflict.UPDATE
        changed = {column.name for column in match.updates} if updates else set()
        reach = [f"{column} to {table}" for column, table in self._target.passes_on if column in changed]
        if reach and not self._principal.grant.allow_cascade:
            raise EventBlocked(
                f"Columns of {self._target} pass their changes on by foreign keys: {', '.join(reach)}.",
                hint="Leave them out of the source; `allow_cascade: true` beside the table's permission allows it.",
            )

    def _require_same_reach(self) -> None:
        """Look the target up again, now that the locks of what was deleted let no cascade or trigger be added to it.

        One that came after the first look has fired by now: what the user may not do is rolled back.
        """
        target = self._connection.find(TargetName(self._target.schema, self._target.name))
        self._operations.authorize(self._event, target, self._connection.info().database)

    def _require_within_limit(self, deleted: int) -> None:
        assert self._principal is not None  # `_prepare` has set it
        limit = self._principal.grant.max_delete_rows
        if deleted > limit:
            raise EventBlocked(
                f"The DELETE would remove {deleted:,} rows of {self._target}; {self.user!r} may remove {limit:,}.",
                hint="Narrow the event, or raise max_delete_rows for this user and table in permissions.yaml.",
            )
