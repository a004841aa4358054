"""Reading SQL: what kind of statement it is, which tables it names, and the same text with those names made exact.

Names are found in sqlglot's syntax trees and replaced at their positions, so that the rest of a query reaches the
engine as it was written (and unnamed result columns keep their names). Changed in a query: table names become
three-part ones, and files of volumes (`parquet.` + path, `read_files(...)`) become scans of local files.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import SqlglotError

from . import fromjson, raising, volumescans
from .catalog import UnityCatalog
from .failures import SqlFailure, syntax_error, table_not_found, unsupported
from .names import Place, TableName, quoted

logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # it warns of every statement that it keeps as a bare command

_HISTORY = (["DESCRIBE", "HISTORY"], ["DESC", "HISTORY"])
_TOKENS_ONLY = (*_HISTORY, ["DESCRIBE", "DETAIL"], ["DESC", "DETAIL"])


Travel = Callable[[TableName, exp.Version | None], TableName]
"""From a table and its temporal specification to the name that the engine has for it."""


@dataclass(slots=True)
class Statement:
    """One parsed statement.

    `tree` is None for the few that are read from their tokens (SHOW, DESCRIBE HISTORY, ...).
    """

    text: str
    tokens: list[Token]
    tree: exp.Expression | None
    words: list[str] = field(default_factory=list)


def read(text: str) -> Statement:
    """Parse exactly one statement. Raises `SqlFailure` (PARSE_SYNTAX_ERROR)."""
    try:
        tokens = list(sqlglot.tokenize(text, dialect="databricks"))
        while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
            text = text[: tokens.pop().start]
        if not tokens:
            raise syntax_error("end of input")
        for rewrite in (fromjson.rewritten, raising.marked):
            if (right := rewrite(text, tokens)) != text:
                text, tokens = right, list(sqlglot.tokenize(right, dialect="databricks"))
        if tokens[0].text.upper() == "SHOW":  # sqlglot keeps the rest as one string
            tokens[1:] = sqlglot.tokenize(text[tokens[0].end + 1 :], dialect="databricks")
        words = [token.text.upper() for token in tokens]
        if words[0] in ("SHOW", "USE") or words[:2] in _TOKENS_ONLY or words[1:2] in (["VOLUME"], ["CATALOG"]):
            return Statement(text, tokens, None, words)
        if any(words[index : index + 2] in _HISTORY for index in range(1, len(words))):
            raise unsupported("DESCRIBE HISTORY inside another statement; run it on its own")
        if words[:2] == ["COMMENT", "ON"] and words[-2:] == ["IS", "NULL"]:
            raise unsupported("COMMENT ON ... IS NULL; an empty string says as much")
        trees = sqlglot.parse(text, dialect="databricks")
    except SqlglotError as error:
        raise syntax_error(f"the place that is marked here: {_plain(error)}") from error
    if len(trees) != 1 or not isinstance(trees[0], exp.Expression):
        raise syntax_error("';': one statement at a time")
    return Statement(text, tokens, trees[0], words)


def exact_query(statement: Statement, place: Place, catalog: UnityCatalog, travel: Travel | None = None) -> str:
    """The text of a query with exact names. Raises `SqlFailure` for tables and files that are not there.

    `travel` gives the name of a table's snapshot; without it, VERSION AS OF stays as it is.
    """
    assert statement.tree is not None
    edits: list[tuple[int, int, str]] = []
    for table in _named_tables(statement.tree):
        first, last = _span(table)
        if isinstance(table.this, exp.Func):
            scan = volumescans.read_files(table.this, catalog)
            if scan is not None:
                edits.append((first, _closing_parenthesis(statement.tokens, first), scan))
        elif (path := volumescans.file_path(table)) is not None:
            edits.append((first, last, volumescans.scan(path, catalog)))
        else:
            name, version = existing(table, place, catalog), table.args.get("version")
            if version is not None and travel is not None:
                name, last = travel(name, version), _version_end(statement.tokens, last)
            edits.append((first, last, name.sql))
    text = statement.text
    for first, last, replacement in sorted(edits, reverse=True):
        text = text[:first] + replacement + text[last + 1 :]
    return text


def make_exact(tree: exp.Expression, place: Place, catalog: UnityCatalog, travel: Travel) -> None:
    """Replace the names in a tree (of a change) by exact ones."""
    for table in list(_named_tables(tree)):
        path, scan = volumescans.file_path(table), None
        if path is not None:
            scan = volumescans.scan(path, catalog)
        elif isinstance(table.this, exp.Func):
            scan = volumescans.read_files(table.this, catalog)
        if scan is not None:
            inner = sqlglot.parse_one(f"SELECT * FROM {scan}", dialect="databricks").args["from_"].this
            inner.set("alias", table.args.get("alias"))
            table.replace(inner)
        if path is not None or isinstance(table.this, exp.Func):
            continue
        name = travel(existing(table, place, catalog), table.args.get("version"))
        table.set("version", None)
        table.set("this", exp.to_identifier(name.table, quoted=True))
        table.set("db", exp.to_identifier(name.schema, quoted=True))
        table.set("catalog", exp.to_identifier(name.catalog, quoted=True))


def spark_sql(tree: exp.Expression) -> str:
    """A tree as text for the engine."""
    return tree.sql(dialect="spark", normalize_functions=False)


def only(tree: exp.Expression, clauses: str, what: str) -> None:
    """Refuse, by name, every clause of a statement that is not among `clauses` (blank-separated)."""
    for clause, value in tree.args.items():
        if value and clause not in clauses.split():
            raise unsupported(f"{what} with {clause.strip('_').upper()}")


def full_name(table: exp.Table, place: Place) -> TableName:
    """The three-part name that a table in a statement stands for."""
    parts = [part.name for part in table.parts]
    if len(parts) > 3:
        raise SqlFailure("IDENTIFIER_TOO_MANY_NAME_PARTS", f"{'.'.join(parts)} has more than 3 parts.", "42601")
    whole = [place.catalog, place.schema][: 3 - len(parts)] + parts
    return TableName(whole[0].lower(), whole[1].lower(), whole[2].lower())


def existing(table: exp.Table, place: Place, catalog: UnityCatalog) -> TableName:
    """The full name of a table that must exist."""
    name = full_name(table, place)
    if name.schema == "information_schema" or name.catalog in ("system", "samples", "hive_metastore"):
        raise unsupported(f"{name.catalog}.{name.schema}")
    if catalog.find_table(name.catalog, name.schema, name.table) is None:
        raise table_not_found(quoted(*(part.name for part in table.parts)))
    return name


def _named_tables(tree: exp.Expression) -> Iterator[exp.Table]:
    """The tables of a tree that are not its own CTEs."""
    for table in tree.find_all(exp.Table):
        if len(table.parts) == 1 and not isinstance(table.this, exp.Func) and _is_cte(table):
            continue
        yield table


def _is_cte(table: exp.Table) -> bool:
    node: exp.Expr | None = table
    while node is not None:
        clause = node.args.get("with_") or node.args.get("with")
        if clause is not None and any(cte.alias.lower() == table.name.lower() for cte in clause.expressions):
            return True
        node = node.parent
    return False


def _span(table: exp.Table) -> tuple[int, int]:
    """First and last position of a table's name in the text."""
    marks = [part.meta for part in table.parts if "start" in part.meta]
    if not marks:
        raise unsupported(f"the way in which this statement names {table.sql()}")
    return marks[0]["start"], marks[-1]["end"]


def _version_end(tokens: list[Token], name_end: int) -> int:
    """Where `[FOR] VERSION AS OF value` behind a name ends; the value is one token."""
    behind = [token for token in tokens if token.start > name_end]
    words = 4 + (behind[0].text.upper() == "FOR")
    return behind[words - 1].end


def _closing_parenthesis(tokens: list[Token], start: int) -> int:
    depth = 0
    for token in tokens:
        if token.start < start:
            continue
        depth += (token.token_type is TokenType.L_PAREN) - (token.token_type is TokenType.R_PAREN)
        if token.token_type is TokenType.R_PAREN and depth == 0:
            return token.end
    raise syntax_error("end of input")


def _plain(error: SqlglotError) -> str:
    """sqlglot's message without its terminal colours, on one line."""
    text = str(error).replace("\x1b[4m", "").replace("\x1b[0m", "")
    return " ".join(text.split())
