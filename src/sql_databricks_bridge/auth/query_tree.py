"""What a query reads by sqlglot's syntax tree: the second of the two nets, and the one that knows CTEs.

A name is a CTE's where one of that name is in sight: those before it in the same WITH and, in a recursive one, itself.
A CTE that names itself without UNION ALL, or a later one, means the table of that name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from sqlglot import Dialect, Token, exp
from sqlglot.errors import SqlglotError

from sql_databricks_bridge.auth.query_lexemes import Unreadable
from sql_databricks_bridge.auth.query_operands import Operand, Reading

_NOT_A_SELECT = (exp.Into, exp.Command, exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Use)


@dataclass(frozen=True, slots=True)
class Tree:
    """What a query's syntax tree says; everything is told by its offset in the SQL.

    `tables` are plain names where a table stands, `history` those of FOR SYSTEM_TIME; `ctes` the names of the CTEs in
    sight of each one-part table, as they are written; `functions` counts calls where a table stands.
    """

    tables: frozenset[int]
    history: frozenset[int]
    ctes: dict[int, tuple[str, ...]]
    aliases: frozenset[int]
    references: frozenset[int]
    functions: int
    sequences: int


def read_tree(sql: str, tokens: Sequence[Token]) -> Tree:
    """Parse one SELECT. Raises `Unreadable`."""
    root = _parsed(sql, _parsable(tokens))
    if found := next(root.find_all(*_NOT_A_SELECT), None):
        raise Unreadable(f"it holds {type(found).__name__.upper()}, which is no part of a SELECT")
    plain = [(table, start) for table in root.find_all(exp.Table) if (start := _start(table)) is not None]
    called = [node for node in root.find_all(exp.Table, exp.Lateral) if _is_called(node)]
    return Tree(
        tables=frozenset(start for _, start in plain),
        history=frozenset(start for table, start in plain if table.args.get("version")),
        ctes={start: tuple(_in_sight(table)) for table, start in plain},
        aliases=frozenset(_starts(alias.this for alias in root.find_all(exp.TableAlias))),
        references=frozenset(_starts(map(_first, root.find_all(exp.Column, exp.Dot)))),
        functions=len(called),
        sequences=sum(1 for _ in root.find_all(exp.NextValueFor)),
    )


def require_agreement(words: Reading, tree: Tree) -> None:
    """Raise `Unreadable` unless both nets found the same."""
    # sqlglot's name of a temporary table begins behind the #.
    plain = {o.name.start + len(o.name.word) - len(o.name.word.lstrip("#")) for o in words.operands if _is_plain(o)}
    called = [operand for operand in words.operands if operand.called]
    arguments = {operand.name.start for operand in words.operands if operand.argument}
    agreed = (
        plain == tree.tables
        and arguments <= tree.references
        and {operand.name.start for operand in words.operands if operand.history} == tree.history
        and len(called) == tree.functions
        and len(words.sequences) == tree.sequences
        and {name.start for name in words.references} <= tree.references
    )
    if not agreed:
        raise Unreadable("which tables it reads can be read in two ways")


def _is_plain(operand: Operand) -> bool:
    return not operand.called and not operand.argument and not (operand.name.word or " ").startswith("@")


def _parsable(tokens: Sequence[Token]) -> list[Token]:
    """The tokens without the one that sqlglot does not know: CHANGETABLE(CHANGES t, ...)."""
    kept: list[Token] = []
    for token in tokens:
        opens = [before.text.upper() for before in kept[-2:]] == ["CHANGETABLE", "("]
        if not (opens and token.text.upper() in ("CHANGES", "VERSION")):
            kept.append(token)
    return kept


def _parsed(sql: str, tokens: list[Token]) -> exp.Query:
    try:
        trees = Dialect.get_or_raise("tsql").parser().parse(tokens, sql)
    except (SqlglotError, RecursionError) as exc:
        raise Unreadable("the bridge can't parse it") from exc
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise Unreadable("it is not one SELECT")
    return trees[0]


def _is_called(node: exp.Expr) -> bool:
    """Whether rows come from a function or a method there, and not from a name or a subquery."""
    if isinstance(node, exp.Table):
        return not isinstance(node.this, (exp.Identifier, exp.Parameter)) and _start(node) is None
    return not isinstance(node.this, (exp.Subquery, exp.Query, exp.Table, exp.Values))


def _start(table: exp.Table) -> int | None:
    """Where the table's name begins; None where it is no plain name."""
    if any(part.find(exp.Func) for part in _parts(table)):
        return None
    return next(_starts(_first(part) for part in _parts(table)), None)


def _parts(table: exp.Table) -> list[exp.Expr]:
    parts = (table.args.get("catalog"), table.args.get("db"), table.this)
    return [part for part in parts if isinstance(part, exp.Expr)]


def _first(node: exp.Expr) -> exp.Expr:
    """The leftmost part of a dotted name."""
    while True:
        if isinstance(node, exp.Column):
            parts = (node.args.get("catalog"), node.args.get("db"), node.args.get("table"), node.this)
            node = next(part for part in parts if isinstance(part, exp.Expr))
        elif isinstance(node, exp.Dot):
            node = node.this
        else:
            return node


def _starts(nodes: Any) -> Iterator[int]:
    return (node.meta["start"] for node in nodes if isinstance(node, exp.Identifier) and "start" in node.meta)


def _in_sight(table: exp.Table) -> Iterator[str]:
    """The names of the CTEs that a one-part name there may mean."""
    below: exp.Expr = table
    own: exp.Expr | None = None  # the CTE that the table is written in, until its WITH is met
    while (node := below.parent) is not None:
        if isinstance(node, exp.CTE):
            own = node
        elif isinstance(node, exp.With):
            before = list(takewhile(lambda cte: cte is not own, node.expressions))  # noqa: B023  used up at once
            yield from (cte.alias for cte in before)
            if own is not None and isinstance(own.this, exp.Union):
                yield own.alias
        elif not isinstance(below, exp.With) and isinstance(with_ := node.args.get("with_"), exp.With):
            yield from (cte.alias for cte in with_.expressions)
        below = node
