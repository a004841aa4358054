"""Every exception of the bridge, one tree.

::

    BridgeError                     what, where, why; `hint` says what to do
    |-- UsageError                  the caller's input is wrong: exit code 2, nothing was run
    |   |-- SettingsError           an environment variable, .env entry or configuration file
    |   |-- UnknownNameError        a country or query that does not exist
    |   |-- QueryFileError          a .sql file that is not one readable SELECT
    |   `-- ParameterError          a missing, ambiguous or ill-typed parameter
    |-- SourceError                 SQL Server
    |   |-- SourceUnavailable       Transient: can't be reached, or the connection was lost
    |   |-- SourceBusy              Transient: deadlock victim, lock or query time-out, resource limit
    |   |-- SourceSignInError       login or database refused
    |   |-- SourceRefused           the server refused the SQL
    |   `-- ResultShapeError        a result that can't become a Parquet file: unnamed, repeated or untypable columns
    |-- LakehouseError              Databricks
    |   |-- LakehouseUnavailable    Transient: can't be reached, throttled, or the service failed
    |   |   `-- StatementInterrupted  the service failed at this statement; perhaps it always will
    |   |-- LakehouseSignInError    token or client refused, or not permitted
    |   |-- LakehouseNotFound       a catalog, schema, volume, file or warehouse that is not there
    |   |-- AlreadyExists           a file that must not be overwritten
    |   `-- StatementFailed         a SQL statement ended FAILED, CANCELED, CLOSED or truncated
    |-- LandingError                the way between the two
    |   |-- SpoolError              the local spool can't be written (disk full, not permitted)
    |   `-- ValueRefused            a value that can't be stored exactly
    |-- SyncError                   applying events
    |   |-- EventInvalid            the event can't be applied as it stands: it ends `failed`
    |   |-- EventBlocked            a permission, a limit or a guard refuses it: it ends `blocked`
    |   |-- CommitUnknown           Transient: the link was lost while a commit was under way; the ledger knows
    |   |-- LedgerMissing           the ledger's schema is not in the target database
    |   `-- AuditError              the audit log can't be written, so nothing may be changed
    |-- PublishError                a landed run on its way into a Delta table
    |   |-- PublicationRefused      the table is another query's, or its columns changed against the policy
    |   |-- PublicationBusy         another run publishes the same table now
    |   `-- PublicationOvertaken    another run became the owner; nothing of this one was written
    |-- AccessError                 who asks, and for what
    |   |-- SignInRefused           no bearer token, or one that is unknown or expired
    |   `-- NotPermitted            permissions.yaml does not allow it
    |-- JobError                    the service's jobs
    |   |-- JobStoreUnavailable     Transient: the job store can't be reached
    |   |-- QueueFull               Transient: too many jobs wait already
    |   |-- LeaseLost               another runner has taken the job over
    |   |-- KeyReused               the same Idempotency-Key came with another request
    |   `-- DueDecided              what was due by a schedule was decided by another replica meanwhile
    `-- Cancelled                   somebody asked to stop

`Transient` marks, by inheritance, what may be retried.
"""

from __future__ import annotations


class Transient:
    """Mixin: the same call may succeed later."""


class BridgeError(Exception):
    """Base of all errors that a user may see.

    `message` says what happened, where and why; `hint`, where there is one, what to do. Neither holds a secret.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class UsageError(BridgeError):
    """The caller's input is wrong; nothing was run."""


class SettingsError(UsageError):
    """An environment variable, a .env entry or a configuration file is missing or wrong."""


class UnknownNameError(UsageError):
    """A country or query of that name does not exist."""


class QueryFileError(UsageError):
    """A .sql file that is not one readable SELECT."""


class ParameterError(UsageError):
    """A parameter that is missing, ambiguous or of the wrong type."""


class SourceError(BridgeError):
    """SQL Server, or the way to it, failed."""


class SourceUnavailable(SourceError, Transient):
    """SQL Server can't be reached, or the connection was lost."""


class SourceBusy(SourceError, Transient):
    """SQL Server gave up for now: deadlock victim, time-out, resource limit."""


class SourceSignInError(SourceError):
    """The login or the database was refused."""


class SourceRefused(SourceError):
    """SQL Server refused the SQL. `line` counts from 1 in the query file, None where the server names none."""

    def __init__(
        self, message: str, *, hint: str | None = None, number: int | None = None, line: int | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.number = number
        self.line = line


class ResultShapeError(SourceError):
    """The result can't become a Parquet file: unnamed, repeated or untypable columns."""


class LakehouseError(BridgeError):
    """Databricks, or the way to it, failed."""


class LakehouseUnavailable(LakehouseError, Transient):
    """Databricks can't be reached, throttles, or failed inside."""


class StatementInterrupted(LakehouseUnavailable):
    """Databricks answers, but failed inside at this statement: worth a few tries, not endless ones."""


class LakehouseSignInError(LakehouseError):
    """The token or client was refused, or lacks a permission."""


class LakehouseNotFound(LakehouseError):
    """A catalog, schema, volume, file or warehouse is not there."""


class AlreadyExists(LakehouseError):
    """The file is there already and must not be overwritten."""


class StatementFailed(LakehouseError):
    """A SQL statement did not succeed. `sqlstate` where Databricks gives one."""

    def __init__(self, message: str, *, hint: str | None = None, sqlstate: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.sqlstate = sqlstate


class LandingError(BridgeError):
    """Something failed between the two ends."""


class SpoolError(LandingError):
    """The local spool directory can't be written."""


class ValueRefused(LandingError):
    """A value can't be stored exactly; the message names the column, the row and the reason."""


class SyncError(BridgeError):
    """Something about applying events failed."""


class EventInvalid(SyncError):
    """The event can't be applied as it stands; it ends `failed`, and nothing of it was applied."""


class EventBlocked(SyncError):
    """A permission, a limit or a guard refuses the event; it ends `blocked`, and nothing of it was applied."""


class CommitUnknown(SyncError, Transient):
    """The connection was lost while a commit was under way: only the ledger knows whether it happened."""


class LedgerMissing(SyncError):
    """The ledger's schema is not in the target database."""


class AuditError(SyncError):
    """The audit log can't be written, so nothing may be changed."""


class PublishError(BridgeError):
    """A landed run could not become, or stay, a Delta table. What has landed stays."""


class PublicationRefused(PublishError):
    """The table is not this query's to publish, or its columns changed in a way that the policy refuses."""


class PublicationBusy(PublishError):
    """Another run publishes the same table now."""


class PublicationOvertaken(PublishError):
    """Another run became the table's owner meanwhile: nothing of this one was written."""


class AccessError(BridgeError):
    """Who asks may not have what is asked for."""


class SignInRefused(AccessError):
    """There is no bearer token, or it is unknown or expired. The message does not tell which of the two."""


class NotPermitted(AccessError):
    """The user is known, and permissions.yaml does not allow it."""


class JobError(BridgeError):
    """Something about the service's jobs failed."""


class JobStoreUnavailable(JobError, Transient):
    """The job store can't be reached, or is busy."""


class QueueFull(JobError, Transient):
    """As many jobs wait as may wait."""


class LeaseLost(JobError):
    """The job is another runner's by now: nothing more may be written about it."""


class KeyReused(JobError):
    """An Idempotency-Key that stands for another request."""


class DueDecided(JobError):
    """A due moment of a schedule that another replica decided meanwhile; nothing was queued here."""


class Cancelled(BridgeError):
    """Somebody asked to stop."""
