"""A query file is one SELECT: what else it may be is refused here, before any server sees it.

Two nets. The first reads tokens and T-SQL's reserved words, which can't be names unless quoted, and knows all of T-SQL
that matters here: where a statement can begin. The second is sqlglot's syntax tree. What sqlglot can't parse but the
first net lets through is left to SQL Server, with a warning. This keeps an analyst from a mistake; what a login may do
is a matter of SQL Server's permissions.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import SqlglotError

from sql_databricks_bridge.core.sql_tokens import QUOTED, Unclosed, tokenize
from sql_databricks_bridge.core.text_files import position
from sql_databricks_bridge.errors import QueryFileError

_HINT = "A query file holds one SELECT; CTEs are allowed."
_SET_OPERATORS = frozenset({"UNION", "ALL", "EXCEPT", "INTERSECT", "("})
# All reserved in T-SQL (Microsoft's "Reserved Keywords"), and none part of a SELECT but for _allowed() below.
_STATEMENT_WORDS = frozenset(
    # A block of words reads better than a list of 49 literals.
    """ALTER BACKUP BEGIN BREAK BULK CHECKPOINT CLOSE COMMIT CONTINUE CREATE DBCC DEALLOCATE DECLARE DELETE DENY DROP
    EXEC EXECUTE GOTO GRANT IF INSERT INTO KILL MERGE OPEN PRINT RAISERROR READTEXT RECONFIGURE RESTORE RETURN REVERT
    REVOKE ROLLBACK SAVE SET SETUSER SHUTDOWN TRUNCATE UPDATE UPDATETEXT USE WAITFOR WHILE WRITETEXT""".split()  # noqa: SIM905
)
_ADVICE = {
    "INTO": "SELECT INTO would write a table on SQL Server.",
    "EXEC": "A procedure's effects can't be known.",
    "EXECUTE": "A procedure's effects can't be known.",
    "SET": "Session settings are the bridge's.",
    "USE": "The database is chosen by `database:` in the YAML.",
    "DECLARE": "Values come as @parameters, declared under `params:` in the YAML.",
}


def check_select(sql: str, file: str) -> tuple[str, tuple[str, ...]]:
    """Return the one SELECT that `sql` is, without leading and trailing semicolons, and warnings.

    Lines keep their numbers. Raises `QueryFileError` with file and line for anything but one SELECT.
    """
    try:
        tokens = tokenize(sql)
    except Unclosed as exc:
        raise QueryFileError(f"{file}:{exc.line}: {exc.what}.", hint="Close the string, name or comment.") from exc
    _refuse_go(sql, tokens, file)
    body = _without_outer_semicolons(tokens)
    if not body:
        raise QueryFileError(f"{file} holds no SQL{' but comments' if sql.strip() else ': it is empty'}.", hint=_HINT)
    for token in body:
        if token.token_type is TokenType.SEMICOLON:
            raise _refused(sql, body[body.index(token) + 1], file, "a second statement begins here")
    _refuse_other_statements(sql, body, file)
    cleaned = _blank_semicolons(sql, tokens)
    return cleaned, _check_tree(cleaned, body, file)


def _refuse_go(sql: str, tokens: Sequence[Token], file: str) -> None:
    lines = sql.split("\n")
    for token in tokens:
        if token.token_type in QUOTED or token.text.upper() != "GO":
            continue
        line, _ = position(sql, token.start)
        words = lines[line - 1].strip().rstrip(";").split()
        if words and words[0].upper() == "GO" and all(word.isdigit() for word in words[1:]):
            raise QueryFileError(
                f"{file}:{line}: GO is a command of sqlcmd and SSMS, not SQL.", hint=f"Remove it. {_HINT}"
            )


def _without_outer_semicolons(tokens: Sequence[Token]) -> list[Token]:
    body = list(tokens)
    while body and body[-1].token_type is TokenType.SEMICOLON:
        body.pop()
    while body and body[0].token_type is TokenType.SEMICOLON:
        body.pop(0)
    return body


def _blank_semicolons(sql: str, tokens: Sequence[Token]) -> str:
    """Blank out the semicolons, which by now are outer ones only: a habit (`;WITH`) that forbids wrapping the query."""
    characters = list(sql)
    for token in tokens:
        if token.token_type is TokenType.SEMICOLON:
            characters[token.start] = " "
    return "".join(characters).rstrip()


def _refuse_other_statements(sql: str, body: Sequence[Token], file: str) -> None:
    first = next((token for token in body if token.text != "("), body[0])
    if not _is(first, "SELECT", "WITH"):
        raise _refused(sql, first, file, f"it begins with {_word(first)}")
    depth = 0
    selects = 0
    for index, token in enumerate(body):
        word = _word(token)
        before = body[index - 1] if index else None
        if token.token_type in QUOTED:
            continue
        if token.text == "(":
            depth += 1
        elif token.text == ")":
            depth -= 1
        elif word in _STATEMENT_WORDS and not _allowed(word, body, index, depth):
            raise _refused(sql, token, file, f"{word} is not allowed", _ADVICE.get(word))
        elif word == "SELECT" and depth == 0:
            selects += 1
            if selects > 1 and not (before and _is(before, *_SET_OPERATORS)):
                raise _refused(sql, token, file, "a second statement begins here")
    if selects == 0 and body[0].text != "(":
        raise _refused(sql, first, file, "no SELECT follows the WITH")


def _allowed(word: str, body: Sequence[Token], index: int, depth: int) -> bool:
    """Reserved words that begin statements and yet have a place in a SELECT."""
    after = _word(body[index + 1]) if index + 1 < len(body) else ""
    before = body[index - 1] if index else None
    if before is not None and (
        before.text == "." or (before.token_type is TokenType.PARAMETER and before.end + 1 == body[index].start)
    ):
        return True  # @set is a parameter
    if word == "MERGE":
        return after in ("JOIN", "UNION")  # join hints
    if word == "USE":
        return depth > 0 and after in ("HINT", "PLAN")
    return word == "BULK" and depth > 0  # OPENROWSET(BULK ...)


def _check_tree(sql: str, body: Sequence[Token], file: str) -> tuple[str, ...]:
    try:
        statements = [tree for tree in sqlglot.parse(sql, read="tsql") if tree is not None]
    except (SqlglotError, RecursionError):
        return (f"{file}: the bridge can't parse this SELECT wholly, SQL Server decides.",)
    if len(statements) != 1:
        raise _refused(sql, body[0], file, f"it holds {len(statements)} statements")
    tree = statements[0]
    if not isinstance(tree, exp.Query):
        raise _refused(sql, body[0], file, f"it is read as {type(tree).__name__.upper()}")
    for node in tree.find_all(exp.Into, exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Command):
        raise _refused(sql, body[0], file, f"{type(node).__name__.upper()} is not allowed")
    for select in tree.find_all(exp.Select):
        for expression in select.expressions:
            if isinstance(expression, exp.EQ) and isinstance(expression.this, exp.Parameter):
                raise _refused(sql, body[0], file, "it assigns a variable instead of returning a column")
    return ()


def _is(token: Token, *words: str) -> bool:
    return token.token_type not in QUOTED and _word(token) in words


def _word(token: Token) -> str:
    """The token's first word in capitals: sqlglot makes one token of 'UPDATE STATISTICS'."""
    words = token.text.split()
    return words[0].upper() if words else ""


def _refused(sql: str, token: Token, file: str, what: str, advice: str | None = None) -> QueryFileError:
    line, _ = position(sql, token.start)
    return QueryFileError(f"{file}:{line}: {what}.", hint=f"{advice} {_HINT}" if advice else _HINT)
