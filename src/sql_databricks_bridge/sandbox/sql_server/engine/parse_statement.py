"""Batches: control flow, DML, session statements. DDL is in parse_ddl.py."""

from __future__ import annotations

from ..contract import SqlType
from . import lexer
from . import nodes as n
from .errors import syntax_error
from .parse_base import AliasTypes
from .parse_ddl import DdlParser

_STARTERS = frozenset(
    [
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "MERGE",
        "CREATE",
        "ALTER",
        "DROP",
        "DECLARE",
        "SET",
        "IF",
        "WHILE",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVE",
        "PRINT",
        "THROW",
        "RAISERROR",
        "EXEC",
        "EXECUTE",
        "USE",
        "TRUNCATE",
        "WAITFOR",
        "RETURN",
        "BREAK",
        "CONTINUE",
        "WITH",
        "END",
        "ELSE",
        "GO",
    ]
)
_ASSIGN = ("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=")
_ISOLATION = ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SNAPSHOT", "SERIALIZABLE")


class Parser(DdlParser):
    """The whole of a batch."""

    def batch(self) -> list[n.Statement]:
        """All statements; raises SqlError on the first thing that is not T-SQL."""
        out: list[n.Statement] = []
        if not self.at("SELECT") and self._bare_exec():
            out.append(self._exec(self.line))
        while self.token.kind != lexer.END:
            if self.accept_op(";"):
                continue
            out.append(self.statement())
        return out

    def _bare_exec(self) -> bool:
        """The first statement of a batch may call a procedure without EXEC."""
        t = self.token
        if self.at("ENABLE", "DISABLE") and self.peek().upper == "TRIGGER":
            return False
        return self.at_name() and t.upper not in _STARTERS and not (t.kind == lexer.ID and self.peek().text == ":")

    def statement(self) -> n.Statement:
        t = self.token
        if t.kind == lexer.OP and t.text == "(":
            return n.QueryStatement(t.line, self.query_expression())
        if t.kind != lexer.ID:
            raise self.wrong()
        if t.upper == "WITH":
            return self._with()
        if t.upper == "SELECT":
            return n.QueryStatement(t.line, self.query_expression())
        if t.upper in ("ENABLE", "DISABLE") and self.peek().upper == "TRIGGER":
            self.advance()
            return self.switch_trigger(t.line, t.upper == "ENABLE")
        method = getattr(self, f"_{t.upper.lower()}", None) if t.upper in _STARTERS else None
        if method is None:
            if t.upper in ("GRANT", "DENY", "REVOKE", "BACKUP", "RESTORE", "DBCC", "KILL", "GOTO", "OPEN", "FETCH"):
                raise self.refuse(f"{t.upper} statements")
            if t.upper in (
                "BULK",
                "UPDATETEXT",
                "WRITETEXT",
                "READTEXT",
                "CLOSE",
                "DEALLOCATE",
                "RECONFIGURE",
                "REVERT",
            ):
                raise self.refuse(f"{t.upper} statements")
            raise self.wrong()
        self.advance()
        statement: n.Statement = method(t.line)
        return statement

    def _end(self, _line: int) -> n.Statement:
        self.i -= 1
        raise self.wrong()

    _else = _end

    def _go(self, _line: int) -> n.Statement:
        raise self.refuse("GO (it is a client's word, not T-SQL)")

    def _with(self) -> n.Statement:
        line = self.line
        mark = self.i
        ctes = self.common_tables()
        if self.at("SELECT") or self.at_op("("):
            self.i = mark
            return n.QueryStatement(line, self.query_expression())
        statement = self.statement()
        if not isinstance(statement, n.Insert | n.Update | n.Delete | n.Merge):
            raise self.wrong()
        statement.ctes = ctes
        return statement

    # ---- control flow -----------------------------------------------------------------------------------------------
    def _inner(self) -> n.Statement:
        while self.accept_op(";"):
            pass
        return self.statement()

    def _if(self, line: int) -> n.If:
        condition = self.condition()
        then = self._inner()
        mark = self.i
        while self.accept_op(";"):
            pass
        if self.accept("ELSE"):
            return n.If(line, condition, then, self._inner())
        self.i = mark
        return n.If(line, condition, then, None)

    def _while(self, line: int) -> n.While:
        return n.While(line, self.condition(), self._inner())

    def _begin(self, line: int) -> n.Statement:
        if self.at("TRAN", "TRANSACTION", "DISTRIBUTED"):
            if self.at("DISTRIBUTED"):
                raise self.refuse("distributed transactions")
            return self._transaction("BEGIN", line)
        if self.accept("TRY"):
            body = self._until_end("TRY")
            while self.accept_op(";"):
                pass
            self.expect("BEGIN", "CATCH")
            return n.TryCatch(line, body, self._until_end("CATCH"))
        if self.at("ATOMIC", "DIALOG", "CONVERSATION"):
            raise self.refuse(f"BEGIN {self.token.upper}")
        body = self._statements_to_end()
        self.expect("END")
        if not body:
            raise self.wrong()
        return n.Block(line, body)

    def _statements_to_end(self) -> list[n.Statement]:
        body: list[n.Statement] = []
        while not self.at("END"):
            if self.accept_op(";"):
                continue
            if self.token.kind == lexer.END:
                raise self.wrong()
            body.append(self.statement())
        return body

    def _until_end(self, word: str) -> list[n.Statement]:
        body = self._statements_to_end()
        self.expect("END", word)
        return body

    def _transaction(self, kind: str, line: int) -> n.TransactionStatement:
        if not self.accept("TRAN") and not self.accept("TRANSACTION") and kind != "BEGIN":
            self.accept("WORK")
            return n.TransactionStatement(line, kind)
        name = ""
        if self.token.kind == lexer.VARIABLE:
            name = self.advance().text
        elif self.at_name() and self.token.upper not in _STARTERS:
            name = self.name()
        if kind == "BEGIN" and self.accept("WITH"):
            raise self.refuse("marked transactions")
        return n.TransactionStatement(line, kind, name)

    def _commit(self, line: int) -> n.Statement:
        return self._transaction("COMMIT", line)

    def _rollback(self, line: int) -> n.Statement:
        return self._transaction("ROLLBACK", line)

    def _save(self, line: int) -> n.Statement:
        return self._transaction("SAVE", line)

    def _break(self, line: int) -> n.Jump:
        return n.Jump(line, "BREAK")

    def _continue(self, line: int) -> n.Jump:
        return n.Jump(line, "CONTINUE")

    def _return(self, line: int) -> n.Jump:
        if self.token.kind in (lexer.END,) or self.at(*_STARTERS) or self.at_op(";"):
            return n.Jump(line, "RETURN")
        return n.Jump(line, "RETURN", self.expression())

    def _print(self, line: int) -> n.Print:
        return n.Print(line, self.expression())

    def _throw(self, line: int) -> n.Throw:
        if self.token.kind == lexer.END or self.at_op(";") or self.at(*_STARTERS):
            return n.Throw(line, [])
        args = [self.expression()]
        while self.accept_op(","):
            args.append(self.expression())
        if len(args) != 3:
            raise self.wrong()
        return n.Throw(line, args)

    def _raiserror(self, line: int) -> n.RaiseError:
        args = [a for a in self.arguments()]  # noqa: C416 - a copy, typed
        options = []
        if self.accept("WITH"):
            while True:
                options.append(self.advance().upper)
                if not self.accept_op(","):
                    break
        return n.RaiseError(line, args, options)

    def _waitfor(self, line: int) -> n.WaitFor:
        if not self.accept("DELAY"):
            raise self.refuse("WAITFOR other than DELAY")
        return n.WaitFor(line, self.expression())

    def _use(self, line: int) -> n.Use:
        return n.Use(line, self.name())

    # ---- variables and options --------------------------------------------------------------------------------------
    def _declare(self, line: int) -> n.Statement:
        items: list[tuple[str, SqlType, n.Node | None]] = []
        while True:
            if self.token.kind != lexer.VARIABLE:
                if self.at_name() and self.peek().upper in ("CURSOR", "INSENSITIVE", "SCROLL"):
                    raise self.refuse("cursors")
                raise self.wrong()
            name = self.advance().text
            self.accept("AS")
            if self.accept("TABLE"):
                columns, constraints = self.table_body()
                return n.DeclareTable(line, name, columns, constraints)
            if self.at("CURSOR"):
                raise self.refuse("cursors")
            sql_type, _ = self.declared_type(len(items) + 1)
            items.append((name, sql_type, self.expression() if self.accept_op("=") else None))
            if not self.accept_op(","):
                return n.Declare(line, items)

    def _set(self, line: int) -> n.Statement:
        if self.token.kind == lexer.VARIABLE:
            name = self.advance().text
            op = self.advance().text
            if op not in _ASSIGN:
                self.i -= 1
                raise self.wrong()
            if self.at("CURSOR"):
                raise self.refuse("cursors")
            return n.SetVariable(line, name, op, self.expression())
        if self.accept("TRANSACTION", "ISOLATION", "LEVEL"):
            for level in _ISOLATION:
                if self.accept(*level.split()):
                    return n.SetOption(line, ["ISOLATION"], level)
            raise self.wrong()
        first = self.advance().upper
        if first == "IDENTITY_INSERT":
            table = self.dotted()
            return n.SetOption(line, [first], self._on_off(), table)
        if first == "STATISTICS":
            kind = self.advance().upper
            return n.SetOption(line, [f"STATISTICS {kind}"], self._on_off())
        names = [first]
        while self.accept_op(","):
            names.append(self.advance().upper)
        if self.at("ON", "OFF"):
            return n.SetOption(line, names, self._on_off())
        if names[0] in ("LANGUAGE", "DATEFORMAT", "DEADLOCK_PRIORITY") and self.token.kind in (lexer.ID, lexer.QUOTED):
            return n.SetOption(line, names, n.Literal(line, lexer.STRING, self.advance().text))
        return n.SetOption(line, names, self.expression())

    def _on_off(self) -> str:
        if not self.at("ON", "OFF"):
            raise self.wrong()
        return self.advance().upper

    # ---- EXEC -------------------------------------------------------------------------------------------------------
    def _exec(self, line: int) -> n.Exec:
        if self.accept_op("("):
            text = self.expression()
            self.expect_op(")")
            if self.at("AT", "AS"):
                raise self.refuse(f"EXEC (...) {self.token.upper}")
            return n.Exec(line, (), [], None, text)
        result = None
        if self.token.kind == lexer.VARIABLE and self.peek().text == "=":
            result = self.advance().text
            self.advance()
        if self.token.kind == lexer.VARIABLE:
            raise self.refuse("EXEC of a procedure named by a variable")
        procedure = self.dotted()
        args: list[n.ExecArgument] = []
        if self.token.kind != lexer.END and not self.at_op(";") and not self.at(*_STARTERS):
            args.append(self._argument())
            while self.accept_op(","):
                args.append(self._argument())
        if self.accept("WITH") and not self.accept("RECOMPILE"):
            raise self.refuse("EXEC ... WITH RESULT SETS")
        return n.Exec(line, procedure, args, result)

    _execute = _exec

    def _argument(self) -> n.ExecArgument:
        line, name = self.line, ""
        if self.token.kind == lexer.VARIABLE and self.peek().text == "=" and self.peek().kind == lexer.OP:
            name = self.advance().text
            self.advance()
        if self.token.kind == lexer.ID and self.at_name() and self.peek().text != "(":
            t = self.advance()  # a bare word is a string there
            value: n.Node = n.Literal(t.line, lexer.NSTRING, t.text)
        else:
            value = self.expression()
        output = self.accept("OUTPUT") or self.accept("OUT")
        return n.ExecArgument(line, name, value, output)

    # ---- DML --------------------------------------------------------------------------------------------------------
    def _target(self) -> tuple[str, ...]:
        self.target_hints = ()
        if self.token.kind == lexer.VARIABLE:
            return (self.advance().text,)
        name = self.dotted()
        self.target_hints = self.hints()
        return name

    target_hints: tuple[str, ...] = ()

    def _output(self) -> tuple[list[n.SelectItem] | None, tuple[str, ...] | None]:
        if not self.accept("OUTPUT"):
            return None, None
        items = self.select_items()
        into = None
        if self.accept("INTO"):
            into = self._target()
            if self.at_op("("):
                raise self.refuse("a column list after OUTPUT ... INTO")
        return items, into

    def _insert(self, line: int) -> n.Statement:
        if self.accept("BULK"):
            return self.insert_bulk(line)
        top = self.top()
        self.accept("INTO")
        table = self._target()
        hints = self.target_hints
        columns = None
        if self.at_op("(") and not self._at_query():
            columns = list(self.name_list())
        output, into = self._output()
        source: n.Node | None
        if self.accept("DEFAULT", "VALUES"):
            source = None
        elif self.at("EXEC", "EXECUTE"):
            at = self.advance().line
            source = self._exec(at)
        elif self.at("VALUES"):
            source = n.Query(self.line, self.values())
        else:
            source = self.query_expression()
        return n.Insert(line, table, columns, source, output, into, [], top, hints)

    def _sets(self) -> list[tuple[str | None, str | None, str, n.Node]]:
        out: list[tuple[str | None, str | None, str, n.Node]] = []
        while True:
            variable = None
            column: str | None = None
            if self.token.kind == lexer.VARIABLE:
                variable = self.advance().text
                op = self.advance().text
                if self.at_name() and self.peek().text == "=" and self.peek().kind == lexer.OP:
                    column = self.dotted()[-1]
                    op = self.advance().text
            else:
                column = self.dotted()[-1]
                op = self.advance().text
            if op not in _ASSIGN:
                self.i -= 1
                raise self.wrong()
            out.append((column, variable, op, self.expression()))
            if not self.accept_op(","):
                return out

    def _update(self, line: int) -> n.Statement:
        if self.at("STATISTICS"):
            self.advance()
            self.dotted()
            return n.Block(line, [])
        top = self.top()
        target = self._target()
        hints = self.target_hints
        self.expect("SET")
        sets = self._sets()
        output, into = self._output()
        source = self.from_clause() if self.accept("FROM") else None
        where = self._where()
        return n.Update(line, target, sets, source, where, output, into, [], top, hints)

    def _where(self) -> n.Node | None:
        if not self.accept("WHERE"):
            where = None
        elif self.at("CURRENT") and self.peek().upper == "OF":
            raise self.refuse("cursors (WHERE CURRENT OF)")
        else:
            where = self.condition()
        if self.at("OPTION") and self.peek().text == "(":
            self.options()
        return where

    def _delete(self, line: int) -> n.Statement:
        top = self.top()
        self.accept("FROM")
        target = self._target()
        hints = self.target_hints
        output, into = self._output()
        source = self.from_clause() if self.accept("FROM") else None
        return n.Delete(line, target, source, self._where(), output, into, [], top, hints)

    def _merge(self, line: int) -> n.Merge:
        if self.at("TOP"):
            raise self.refuse("MERGE TOP")
        self.accept("INTO")
        at, name = self.line, self.dotted()
        hints = self.hints()
        target = n.TableName(at, name, self._table_alias(), hints)
        self.expect("USING")
        source = self._table()
        self.expect("ON")
        on = self.condition()
        whens = []
        while self.at("WHEN"):
            whens.append(self._merge_when())
        output, into = self._output()
        if self.at("OPTION") and self.peek().text == "(":
            self.options()
        if not self.at_op(";"):
            raise syntax_error("A MERGE statement must be terminated by a semi-colon (;).", self.line, number=10713)
        return n.Merge(line, target, source, on, whens, output, into)

    def _merge_when(self) -> n.MergeWhen:
        line = self.line
        self.expect("WHEN")
        matched = "MATCHED"
        if self.accept("NOT"):
            self.expect("MATCHED")
            matched = "NOT MATCHED"
            if self.accept("BY"):
                if self.accept("SOURCE"):
                    matched = "NOT MATCHED BY SOURCE"
                else:
                    self.expect("TARGET")
        else:
            self.expect("MATCHED")
        condition = self.condition() if self.accept("AND") else None
        self.expect("THEN")
        if self.accept("DELETE"):
            self._fitting(matched, "DELETE")
            return n.MergeWhen(line, matched, condition, "DELETE")
        if self.accept("UPDATE"):
            self.expect("SET")
            self._fitting(matched, "UPDATE")
            return n.MergeWhen(line, matched, condition, "UPDATE", self._sets())
        self.expect("INSERT")
        self._fitting(matched, "INSERT")
        columns = list(self.name_list()) if self.at_op("(") else None
        if self.accept("DEFAULT", "VALUES"):
            raise self.refuse("MERGE ... INSERT DEFAULT VALUES")
        values = self.values()
        return n.MergeWhen(line, matched, condition, "INSERT", [], columns, values.rows[0])

    def _fitting(self, matched: str, action: str) -> None:
        if (matched == "NOT MATCHED") != (action == "INSERT"):
            raise syntax_error(
                f"An action of type '{action}' is not allowed in the '"
                f"{'WHEN ' + matched}' clause of a MERGE statement.",
                self.line,
                number=10711,
            )


def parse(sql: str, quoted_identifier: bool = True, alias_types: AliasTypes | None = None) -> list[n.Statement]:
    """The statements of a batch."""
    return Parser(sql, quoted_identifier, alias_types).batch()
