"""Who may do what: users, their tables in SQL Server and their sources in Unity Catalog. No entry, no right."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import SecretStr

from sql_databricks_bridge.auth.patterns import SourcePattern, TablePattern
from sql_databricks_bridge.models.tables import SourceName


class Access(StrEnum):
    """What an entry gives: `read` SELECT; `write` INSERT, UPDATE, UPSERT, and DELETE within max_delete_rows."""

    READ = "read"
    WRITE = "write"
    READ_WRITE = "read_write"

    @property
    def reads(self) -> bool:
        """Whether SELECT is allowed."""
        return self is not Access.WRITE

    @property
    def writes(self) -> bool:
        """Whether INSERT, UPDATE, UPSERT and, within the limit, DELETE are allowed."""
        return self is not Access.READ


@dataclass(frozen=True, slots=True)
class TablePermission:
    """An entry of a user's `permissions:`. `max_delete_rows` bounds what one event may delete; 0 is none."""

    pattern: TablePattern
    access: Access
    max_delete_rows: int = 0
    allow_cascade: bool = False


@dataclass(frozen=True, slots=True)
class BearerToken:
    """The SHA-256 of a bearer token, and the last day (UTC) on which it is good; None for no end."""

    digest: bytes = field(repr=False)
    expires: dt.date | None = None

    def live(self, now: dt.datetime) -> bool:
        """Whether it is still good; `now` is aware."""
        return self.expires is None or now.astimezone(dt.UTC).date() <= self.expires


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with rights. `signing_key` signs sync events; `allow_openquery` lets OPENQUERY and the like through."""

    name: str
    permissions: tuple[TablePermission, ...] = ()
    sources: tuple[SourcePattern, ...] = ()
    signing_key: SecretStr | None = None
    tokens: tuple[BearerToken, ...] = ()
    allow_openquery: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to write a table, and its limits. `pattern` is the entry that gives it, as it was written."""

    max_delete_rows: int
    allow_cascade: bool
    pattern: str


@dataclass(frozen=True, slots=True)
class Permissions:
    """Everybody's rights at one moment.

    Rights are looked up by the user's name, so that a `User` held across a reload has today's rights and not those of
    the day it was found. Names of tables are those that the catalog tells (`Target`, `ServerInfo`), never those that
    an event or request wrote: SQL Server's collation may take two spellings for one table, and only one is restricted.
    """

    users: tuple[User, ...] = ()

    def user(self, name: str) -> User | None:
        """The user of exactly that name."""
        return next((user for user in self.users if user.name == name), None)

    def entry(self, user: User, server: str, database: str, schema: str, table: str) -> TablePermission | None:
        """The entry that decides about a table: of those that match, the most specific one alone.

        So a narrow entry may restrict a wide one: `dbo.*: read_write` with `dbo.Payroll: read`.
        """
        today = self.user(user.name)
        matching = [] if today is None else today.permissions
        return max(
            (entry for entry in matching if entry.pattern.matches(server, database, schema, table)),
            key=lambda entry: entry.pattern.specificity,
            default=None,
        )

    def read_allowed(self, user: User, server: str, database: str, schema: str, table: str) -> bool:
        """Whether the user may SELECT from the table."""
        entry = self.entry(user, server, database, schema, table)
        return entry is not None and entry.access.reads

    def write_grant(self, user: User, server: str, database: str, schema: str, table: str) -> Grant | None:
        """The user's right to write the table; None where there is none."""
        entry = self.entry(user, server, database, schema, table)
        if entry is None or not entry.access.writes:
            return None
        return Grant(entry.max_delete_rows, entry.allow_cascade, entry.pattern.text)

    def source_allowed(self, user: User, source: SourceName) -> bool:
        """Whether the bridge may read that Unity Catalog table on the user's behalf."""
        today = self.user(user.name)
        return today is not None and any(pattern.matches(source) for pattern in today.sources)


def token_digest(token: str) -> bytes:
    """SHA-256 of a bearer token, 32 bytes: tokens are long and random, so that no slow hash is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
