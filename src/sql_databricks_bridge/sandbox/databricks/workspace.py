"""Everything that one running stand-in holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..faults import FaultRegistry
from .catalog import Table, UnityCatalog
from .engine import Engine
from .lifecycle import Statements
from .links import Links
from .requestlog import RequestLog
from .sessions import Sessions
from .settings import Identity, Settings
from .signin import Tokens
from .vocabulary import VOCABULARY


@dataclass(slots=True)
class Workspace:
    """The state behind the routes. `url` is set once the socket is bound."""

    settings: Settings
    identity: Identity
    catalog: UnityCatalog
    tokens: Tokens
    engine: Engine
    statements: Statements
    links: Links = field(default_factory=Links)
    faults: FaultRegistry = field(default_factory=lambda: FaultRegistry(VOCABULARY))
    requests: RequestLog = field(default_factory=RequestLog)
    uploads: Sessions = field(default_factory=Sessions)
    url: str = ""

    @property
    def spool(self) -> Path:
        """Files that live no longer than the process: uploads on their way, results."""
        return self.settings.data_dir / "spool"

    def table_columns(self, table: Table) -> list[dict[str, object]]:
        """A table's columns as Unity Catalog shows them."""
        return [
            {
                "name": column.name,
                "position": position,
                "type_text": column.sql_type,
                "nullable": column.nullable,
                "comment": column.comment,
            }
            for position, column in enumerate(self.statements.logs.columns(self.catalog.table_folder(table)))
        ]

    def close(self) -> None:
        """End what is running, so that whoever waits for it hears."""
        self.statements.cancel_all()
        self.faults.clear()
