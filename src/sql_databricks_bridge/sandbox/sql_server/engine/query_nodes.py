"""The syntax tree's expressions and queries. Plain data; names are kept as written."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..contract import SqlType


@dataclass(slots=True)
class Node:
    """Every node knows its line (1-based) in the batch."""

    line: int


# ---- expressions ----------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Literal(Node):
    kind: str  # a lexer kind: string, nstring, binary, integer, decimal, float, money
    text: str


@dataclass(slots=True)
class Null(Node):
    pass


@dataclass(slots=True)
class Default(Node):
    """DEFAULT as a value in INSERT or UPDATE."""


@dataclass(slots=True)
class Variable(Node):
    name: str  # with @ or @@


@dataclass(slots=True)
class ColumnRef(Node):
    parts: tuple[str, ...]


@dataclass(slots=True)
class Star(Node):
    parts: tuple[str, ...] = ()


@dataclass(slots=True)
class Unary(Node):
    op: str
    operand: Node


@dataclass(slots=True)
class Binary(Node):
    op: str  # + - * / % & | ^
    left: Node
    right: Node


@dataclass(slots=True)
class Compare(Node):
    op: str  # = <> < <= > >=
    left: Node
    right: Node


@dataclass(slots=True)
class Quantified(Node):
    op: str
    all: bool
    left: Node
    query: Query


@dataclass(slots=True)
class Logic(Node):
    op: str  # AND OR
    left: Node
    right: Node


@dataclass(slots=True)
class Not(Node):
    operand: Node


@dataclass(slots=True)
class Between(Node):
    operand: Node
    low: Node
    high: Node


@dataclass(slots=True)
class InList(Node):
    operand: Node
    items: list[Node]


@dataclass(slots=True)
class InQuery(Node):
    operand: Node
    query: Query


@dataclass(slots=True)
class Exists(Node):
    query: Query


@dataclass(slots=True)
class Like(Node):
    operand: Node
    pattern: Node
    escape: Node | None


@dataclass(slots=True)
class IsNull(Node):
    operand: Node


@dataclass(slots=True)
class Updated(Node):
    """UPDATE(column) in a trigger."""

    column: str


@dataclass(slots=True)
class IsDistinct(Node):
    left: Node
    right: Node


@dataclass(slots=True)
class Case(Node):
    base: Node | None
    whens: list[tuple[Node, Node]]
    otherwise: Node | None


@dataclass(slots=True)
class Frame(Node):
    unit: str  # ROWS RANGE
    start: tuple[str, Node | None]  # ('UNBOUNDED PRECEDING', None), ('PRECEDING', n), ('CURRENT ROW', None), ...
    end: tuple[str, Node | None]


@dataclass(slots=True)
class Over(Node):
    partition: list[Node]
    order: list[OrderItem]
    frame: Frame | None


@dataclass(slots=True)
class Func(Node):
    name: str  # upper case; 'schema.name' for user functions
    args: list[Node]
    distinct: bool = False
    star: bool = False
    over: Over | None = None
    within: list[OrderItem] | None = None
    nulls: str = ""  # 'IGNORE' or 'RESPECT'


@dataclass(slots=True)
class Cast(Node):
    operand: Node
    type: SqlType
    attempt: bool = False
    style: Node | None = None
    convert: bool = False


@dataclass(slots=True)
class Scalar(Node):
    """A subquery used as a value."""

    query: Query


@dataclass(slots=True)
class Collate(Node):
    operand: Node
    name: str


@dataclass(slots=True)
class AtTimeZone(Node):
    operand: Node
    zone: Node


@dataclass(slots=True)
class Method(Node):
    """x.Method(args), or Type::Method(args) with `type_name`."""

    operand: Node | None
    type_name: str
    name: str
    args: list[Node]


# ---- queries --------------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class OrderItem(Node):
    expr: Node
    descending: bool = False


@dataclass(slots=True)
class SelectItem(Node):
    expr: Node
    alias: str | None = None
    variable: str | None = None  # SELECT @v = expr
    op: str = "="


@dataclass(slots=True)
class Top(Node):
    count: Node
    percent: bool = False
    ties: bool = False


@dataclass(slots=True)
class GroupBy(Node):
    items: list[Node]  # plain expressions
    sets: list[list[list[Node]]] | None = None  # for ROLLUP/CUBE/GROUPING SETS: the cross product's factors


@dataclass(slots=True)
class TableName(Node):
    parts: tuple[str, ...]
    alias: str | None = None
    hints: tuple[str, ...] = ()
    sample: tuple[str, str | None] | None = None  # TABLESAMPLE: per cent of the pages, and the seed


@dataclass(slots=True)
class Derived(Node):
    query: Query
    alias: str
    columns: tuple[str, ...] = ()


@dataclass(slots=True)
class FunctionTable(Node):
    func: Func
    alias: str | None
    columns: tuple[str, ...] = ()


@dataclass(slots=True)
class ChangeTable(Node):
    """CHANGETABLE(CHANGES table, since)."""

    table: tuple[str, ...]
    since: Node
    alias: str
    columns: tuple[str, ...] = ()


@dataclass(slots=True)
class Join(Node):
    kind: str  # INNER LEFT RIGHT FULL CROSS, CROSS APPLY, OUTER APPLY
    left: Node
    right: Node
    on: Node | None


@dataclass(slots=True)
class Select(Node):
    items: list[SelectItem]
    distinct: bool = False
    top: Top | None = None
    into: tuple[str, ...] | None = None
    source: Node | None = None
    where: Node | None = None
    group: GroupBy | None = None
    having: Node | None = None


@dataclass(slots=True)
class Values(Node):
    rows: list[list[Node]]


@dataclass(slots=True)
class SetOp(Node):
    op: str  # UNION, UNION ALL, EXCEPT, INTERSECT
    left: Node
    right: Node


@dataclass(slots=True)
class Cte(Node):
    name: str
    columns: tuple[str, ...]
    query: Query


@dataclass(slots=True)
class Query(Node):
    body: Node  # Select, SetOp, Values or Query
    order: list[OrderItem] = field(default_factory=list)
    offset: Node | None = None
    fetch: Node | None = None
    ctes: list[Cte] = field(default_factory=list)
    max_recursion: int = 100
