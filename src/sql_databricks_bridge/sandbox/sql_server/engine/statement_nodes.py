"""The syntax tree's statements."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..contract import SqlType
from .query_nodes import Cte, Node, Query, SelectItem, TableName, Top


@dataclass(slots=True)
class Statement(Node):
    pass


@dataclass(slots=True)
class QueryStatement(Statement):
    query: Query


@dataclass(slots=True)
class Insert(Statement):
    table: tuple[str, ...]
    columns: list[str] | None
    source: Node | None  # Query, Exec, or None for DEFAULT VALUES
    output: list[SelectItem] | None = None
    output_into: tuple[str, ...] | None = None
    ctes: list[Cte] = field(default_factory=list)
    top: Top | None = None
    hints: tuple[str, ...] = ()


@dataclass(slots=True)
class Update(Statement):
    target: tuple[str, ...]
    sets: list[tuple[str | None, str | None, str, Node]]  # (column, @variable, op, value)
    source: Node | None
    where: Node | None
    output: list[SelectItem] | None = None
    output_into: tuple[str, ...] | None = None
    ctes: list[Cte] = field(default_factory=list)
    top: Top | None = None
    hints: tuple[str, ...] = ()


@dataclass(slots=True)
class Delete(Statement):
    target: tuple[str, ...]
    source: Node | None
    where: Node | None
    output: list[SelectItem] | None = None
    output_into: tuple[str, ...] | None = None
    ctes: list[Cte] = field(default_factory=list)
    top: Top | None = None
    hints: tuple[str, ...] = ()


@dataclass(slots=True)
class MergeWhen(Node):
    matched: str  # MATCHED, NOT MATCHED, NOT MATCHED BY SOURCE
    condition: Node | None
    action: str  # UPDATE INSERT DELETE
    sets: list[tuple[str | None, str | None, str, Node]] = field(default_factory=list)
    columns: list[str] | None = None
    values: list[Node] | None = None


@dataclass(slots=True)
class Merge(Statement):
    target: TableName
    source: Node
    on: Node
    whens: list[MergeWhen]
    output: list[SelectItem] | None = None
    output_into: tuple[str, ...] | None = None
    ctes: list[Cte] = field(default_factory=list)


@dataclass(slots=True)
class Truncate(Statement):
    table: tuple[str, ...]


@dataclass(slots=True)
class ColumnDef(Node):
    name: str
    type: SqlType | None
    nullable: bool | None = None
    identity: tuple[int, int] | None = None
    default: Node | None = None
    default_text: str = ""
    default_name: str | None = None
    collation: str | None = None
    computed: Node | None = None
    computed_text: str = ""
    persisted: bool = False
    generated: str | None = None  # ROW START, ROW END
    hidden: bool = False
    user_type: int | None = None  # an alias type's id
    constraints: list[Constraint] = field(default_factory=list)


@dataclass(slots=True)
class Constraint(Node):
    kind: str  # PRIMARY KEY, UNIQUE, CHECK, FOREIGN KEY, DEFAULT, INDEX
    name: str | None = None
    columns: list[tuple[str, bool]] = field(default_factory=list)  # (name, descending)
    clustered: bool | None = None
    check: Node | None = None
    check_text: str = ""
    target: tuple[str, ...] = ()
    target_columns: list[str] = field(default_factory=list)
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"
    default: Node | None = None
    default_text: str = ""
    unique: bool = False


@dataclass(slots=True)
class CreateTable(Statement):
    table: tuple[str, ...]
    columns: list[ColumnDef]
    constraints: list[Constraint]
    period: tuple[str, str] | None = None


@dataclass(slots=True)
class AlterTable(Statement):
    table: tuple[str, ...]
    action: str  # ADD, DROP CONSTRAINT, DROP COLUMN, CHECK, NOCHECK
    columns: list[ColumnDef] = field(default_factory=list)
    constraints: list[Constraint] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    if_exists: bool = False


@dataclass(slots=True)
class CreateIndex(Statement):
    name: str
    table: tuple[str, ...]
    columns: list[tuple[str, bool]]
    include: list[str]
    unique: bool
    clustered: bool
    where: Node | None = None
    where_text: str = ""


@dataclass(slots=True)
class CreateTrigger(Statement):
    mode: str  # CREATE, ALTER, CREATE OR ALTER
    name: tuple[str, ...]
    table: tuple[str, ...]
    events: list[str]
    instead_of: bool
    body: list[Statement]
    text: str  # the whole batch


@dataclass(slots=True)
class SwitchTrigger(Statement):
    names: list[tuple[str, ...]]  # none: ALL
    table: tuple[str, ...]
    enable: bool


@dataclass(slots=True)
class CreateView(Statement):
    mode: str
    name: tuple[str, ...]
    columns: tuple[str, ...]
    query: Query
    text: str


@dataclass(slots=True)
class CreateSynonym(Statement):
    name: tuple[str, ...]
    target: tuple[str, ...]


@dataclass(slots=True)
class CreateType(Statement):
    name: tuple[str, ...]
    type: SqlType
    nullable: bool


@dataclass(slots=True)
class Drop(Statement):
    kind: str  # TABLE, DATABASE, SCHEMA, INDEX, TRIGGER, VIEW, SYNONYM
    names: list[tuple[str, ...]]
    if_exists: bool = False
    on: tuple[str, ...] | None = None


@dataclass(slots=True)
class CreateDatabase(Statement):
    name: str
    collation: str | None = None


@dataclass(slots=True)
class CreateSchema(Statement):
    name: str


@dataclass(slots=True)
class AlterDatabase(Statement):
    name: str | None
    option: str
    value: str


@dataclass(slots=True)
class AlterDatabaseTracking(Statement):
    """SET CHANGE_TRACKING; `on` is None where only options change."""

    name: str | None
    on: bool | None
    retention: tuple[int, int] | None = None  # (period, 1 minutes 2 hours 3 days)
    auto_cleanup: bool | None = None


@dataclass(slots=True)
class AlterTableTracking(Statement):
    """ENABLE or DISABLE CHANGE_TRACKING."""

    table: tuple[str, ...]
    on: bool
    columns_updated: bool = False


@dataclass(slots=True)
class SetOption(Statement):
    names: list[str]
    value: Any  # 'ON', 'OFF', an expression node, or an isolation level's name
    tables: tuple[str, ...] = ()


@dataclass(slots=True)
class Use(Statement):
    database: str


@dataclass(slots=True)
class Declare(Statement):
    items: list[tuple[str, SqlType, Node | None]]


@dataclass(slots=True)
class DeclareTable(Statement):
    name: str
    columns: list[ColumnDef]
    constraints: list[Constraint]


@dataclass(slots=True)
class SetVariable(Statement):
    name: str
    op: str
    value: Node


@dataclass(slots=True)
class If(Statement):
    condition: Node
    then: Statement
    otherwise: Statement | None


@dataclass(slots=True)
class While(Statement):
    condition: Node
    body: Statement


@dataclass(slots=True)
class Block(Statement):
    body: list[Statement]


@dataclass(slots=True)
class TryCatch(Statement):
    body: list[Statement]
    handler: list[Statement]


@dataclass(slots=True)
class Jump(Statement):
    kind: str  # BREAK CONTINUE RETURN
    value: Node | None = None


@dataclass(slots=True)
class Print(Statement):
    value: Node


@dataclass(slots=True)
class Throw(Statement):
    args: list[Node]


@dataclass(slots=True)
class RaiseError(Statement):
    args: list[Node]
    options: list[str]


@dataclass(slots=True)
class TransactionStatement(Statement):
    kind: str  # BEGIN COMMIT ROLLBACK SAVE
    name: str = ""


@dataclass(slots=True)
class ExecArgument(Node):
    name: str
    value: Node
    output: bool = False


@dataclass(slots=True)
class Exec(Statement):
    procedure: tuple[str, ...]
    args: list[ExecArgument]
    result: str | None = None  # EXEC @r = proc
    text: Node | None = None  # EXEC ('...')


@dataclass(slots=True)
class WaitFor(Statement):
    delay: Node


@dataclass(slots=True)
class InsertBulk(Statement):
    table: tuple[str, ...]
    columns: list[tuple[str, SqlType]]
    options: list[str]
