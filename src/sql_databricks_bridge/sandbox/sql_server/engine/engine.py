"""The engine: PostgreSQL, its databases, its sessions."""

from __future__ import annotations

import hmac
import itertools
import threading
from pathlib import Path

from ..contract import LoginRequest, SqlError
from . import catalog
from .errors import error
from .pg import PgSession, quote
from .postgres import Postgres
from .row_versions import RowVersions
from .session import EngineSession

VERSION = (16, 0, 4175)


class TsqlEngine:
    """contract.Engine over one data directory."""

    server_name = "SANDBOX"
    version = VERSION

    def __init__(self, data_dir: Path, load: str, database: str, username: str, password: str) -> None:
        self.username = username
        self._password = password
        self._spids = itertools.count(51)
        self._sessions: set[EngineSession] = set()
        self._lock = threading.Lock()
        self.postgres = Postgres(data_dir)
        self.row_versions = RowVersions(self.postgres.uri)
        try:
            self._prepare(load, database)
        except BaseException:
            self.postgres.close()
            raise

    def _prepare(self, load: str, database: str) -> None:
        from .loading import load_data

        pg = PgSession(self.postgres.uri)
        version = quote(catalog.support_version())
        try:
            if not pg.rows("SELECT 1 FROM pg_tables WHERE schemaname = 'tsql' AND tablename = 'settings'"):
                pg.run("BEGIN")
                catalog.install(pg)
                pg.run(f"INSERT INTO tsql.settings VALUES ('version', {version})")
                pg.run("COMMIT")
            elif not pg.rows(f"SELECT 1 FROM tsql.settings WHERE name = 'version' AND value = {version}"):
                pg.run("BEGIN")
                catalog.refresh(pg)
                pg.run(f"UPDATE tsql.settings SET value = {version} WHERE name = 'version'")
                pg.run("COMMIT")
            pg.run("TRUNCATE tsql.ct_open")  # transactions of an earlier run; their versions are in ct_commits
            load_data(pg, load)
            if catalog.database_id(pg, database) is None:
                pg.run("BEGIN")
                catalog.create_database(pg, database, snapshot=True)
                pg.run("COMMIT")
            self.database = catalog.database_id(pg, database)
        finally:
            pg.close()

    def login(self, request: LoginRequest) -> EngineSession:
        """Open a session: 18456 for a wrong user or password, 4060 for an unknown database."""
        user_ok = hmac.compare_digest(request.username.lower().encode(), self.username.lower().encode())
        password_ok = hmac.compare_digest(request.password.encode("utf-8", "surrogatepass"), self._password.encode())
        if not (user_ok and password_ok):
            raise error(18456, f"Login failed for user '{request.username}'.", severity=14, line=1)
        session: EngineSession | None = None
        with self._lock:
            spid = next(self._spids)
        session = EngineSession(self, request, "master", spid)
        found = catalog.database_id(session.pg, request.database or "master")
        if found is None:
            session.pg.close()
            raise error(
                4060,
                f'Cannot open database "{request.database}" requested by the login. The login failed.',
                severity=11,
                line=1,
            )
        session = session.at_home(found[1])
        with self._lock:
            self._sessions.add(session)
        return session

    def sessions(self) -> list[EngineSession]:
        with self._lock:
            return list(self._sessions)

    def forget(self, session: EngineSession) -> None:
        with self._lock:
            self._sessions.discard(session)

    def close(self) -> None:
        """End every session, then PostgreSQL."""
        with self._lock:
            sessions = list(self._sessions)
        for s in sessions:
            try:
                s.cancel()
            except SqlError:
                continue
        self.row_versions.close()
        self.postgres.close()
