"""The T-SQL engine of the SQL Server stand-in: SQL Server's semantics over a real transactional PostgreSQL.

T-SQL is parsed into trees (`parse_*`), bound and typed by SQL Server's rules (`expr`, `query`, `typing_rules`), and
emitted as PostgreSQL SQL over a support schema `tsql` (`support/*.sql`). What it can't do it refuses by name with
Msg 50100.
"""

from __future__ import annotations

from pathlib import Path

from ..contract import Engine


def create_engine(data_dir: Path, load: str, database: str, username: str, password: str) -> Engine:
    """Start the engine over `data_dir`, which it owns and which survives it.

    `load` is 'flights', 'tpch:SF' or 'none'; `database` is made, empty, if neither brings it. Raises ValueError for
    another `load`, RuntimeError if PostgreSQL does not start.
    """
    from .engine import TsqlEngine

    return TsqlEngine(data_dir, load, database, username, password)
