"""CREATE, ALTER, DROP, TRUNCATE and INSERT BULK."""

from __future__ import annotations

from ..contract import SqlType
from . import lexer, parse_tracking
from . import nodes as n
from .collations import collation
from .errors import error
from .parse_objects import ObjectParser
from .types import is_string

_REFUSED = frozenset(
    [
        "PROCEDURE",
        "PROC",
        "FUNCTION",
        "SEQUENCE",
        "LOGIN",
        "USER",
        "ROLE",
        "STATISTICS",
    ]
)


class DdlParser(ObjectParser):
    """Definitions."""

    def _create(self, line: int) -> n.Statement:
        first = self.i - 1
        mode = "CREATE OR ALTER" if self.accept("OR", "ALTER") else "CREATE"
        if self.at("TRIGGER", "VIEW"):
            return self._object(line, first, mode)
        if mode != "CREATE":
            raise self.refuse(f"CREATE OR ALTER {self.token.upper}") if self.at(*_REFUSED) else self.wrong()
        if self.accept("SYNONYM"):
            return self.synonym(line)
        if self.accept("TYPE"):
            return self.create_type(line)
        if self.accept("TABLE"):
            table = self.dotted()
            self.period = None
            columns, constraints = self.table_body()
            self._storage()
            return n.CreateTable(line, table, columns, constraints, self.period)
        if self.accept("DATABASE"):
            name = self.name()
            collate = self.advance().text if self.accept("COLLATE") else None
            return n.CreateDatabase(line, name, collate)
        if self.accept("SCHEMA"):
            self.alone(first, "CREATE SCHEMA")
            name = self.name()
            if self.accept("AUTHORIZATION"):
                self.name()
            return n.CreateSchema(line, name)
        unique = self.accept("UNIQUE")
        clustered = self.accept("CLUSTERED")
        if not clustered:
            self.accept("NONCLUSTERED")
        if self.accept("INDEX"):
            return self._index(line, unique, clustered)
        raise self.refuse(f"CREATE {self.token.upper}") if self.at(*_REFUSED) else self.wrong()

    period: tuple[str, str] | None = None

    def _object(self, line: int, first: int, mode: str) -> n.Statement:
        what = self.advance().upper
        self.alone(first, f"{mode} {what}")
        return self.trigger(line, mode) if what == "TRIGGER" else self.view(line, mode)

    def _index(self, line: int, unique: bool, clustered: bool) -> n.CreateIndex:
        name = self.name()
        self.expect("ON")
        table = self.dotted()
        columns = self.key_columns()
        include = list(self.name_list()) if self.accept("INCLUDE") else []
        where, text = None, ""
        if self.accept("WHERE"):
            first = self.i
            where = self.condition()
            text = self.source(first, self.i)
        self._storage()
        return n.CreateIndex(line, name, table, columns, include, unique, clustered, where, text)

    def _storage(self) -> None:
        """WITH (...) and ON filegroup say where and how, not what."""
        if self.at("WITH") and self.peek().text == "(":
            self.i += 1
            self._skip_parenthesis()
        while self.at("ON", "TEXTIMAGE_ON") and (self.peek().kind == lexer.QUOTED or self.peek().upper == "PRIMARY"):
            self.i += 2

    def _skip_parenthesis(self) -> None:
        depth = 0
        while True:
            t = self.advance()
            if t.kind == lexer.END:
                raise self.wrong()
            if t.upper in ("SYSTEM_VERSIONING", "MEMORY_OPTIMIZED", "LEDGER"):
                raise self.refuse(f"tables with {t.upper}")
            if t.kind == lexer.OP and t.text in "()":
                depth += 1 if t.text == "(" else -1
                if depth == 0:
                    return

    def key_columns(self) -> list[tuple[str, bool]]:
        self.expect_op("(")
        out = []
        while True:
            name = self.name()
            descending = self.accept("DESC")
            if not descending:
                self.accept("ASC")
            out.append((name, descending))
            if not self.accept_op(","):
                break
        self.expect_op(")")
        return out

    def table_body(self) -> tuple[list[n.ColumnDef], list[n.Constraint]]:
        self.expect_op("(")
        columns: list[n.ColumnDef] = []
        constraints: list[n.Constraint] = []
        while not self.at_op(")"):
            if self.at("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "INDEX"):
                constraints.append(self._constraint(columns[-1] if columns else None, table_level=True))
            elif self.accept("PERIOD", "FOR", "SYSTEM_TIME"):
                names = self.name_list()
                if len(names) != 2:
                    raise self.wrong()
                self.period = (names[0], names[1])
            else:
                columns.append(self.column_def(len(columns) + 1))
            if not self.accept_op(","):
                break
        self.expect_op(")")
        return columns, constraints

    def column_def(self, position: int = 1) -> n.ColumnDef:
        line, name = self.line, self.name()
        if self.accept("AS"):
            return self._computed(line, name)
        sql_type, alias = self.declared_type(position)
        column = n.ColumnDef(line, name, sql_type)
        if alias is not None:
            column.user_type, column.nullable = alias.id, alias.nullable
        while not self.at_op(",", ")", ";") and self.token.kind != lexer.END:
            if self.accept("NOT", "NULL"):
                column.nullable = False
            elif self.accept("NULL"):
                column.nullable = True
            elif self.accept("COLLATE"):
                if alias is not None:
                    raise error(452, "COLLATE clause cannot be used on user-defined data types.", line=line)
                if not is_string(sql_type):
                    raise error(447, f"Expression type {sql_type.name} is invalid for COLLATE clause.", line=line)
                column.collation = collation(self.advance().text).name
            elif self.accept("IDENTITY"):
                column.identity = (1, 1)
                if self.accept_op("("):
                    seed = self.integer()
                    self.expect_op(",")
                    column.identity = (seed, self.integer())
                    self.expect_op(")")
                if self.accept("NOT", "FOR", "REPLICATION"):
                    pass
            elif self.accept("GENERATED", "ALWAYS", "AS", "ROW"):
                if not self.at("START", "END"):
                    raise self.wrong()
                column.generated = f"ROW {self.advance().upper}"
                column.hidden = self.accept("HIDDEN")
            elif self.at("ROWGUIDCOL", "SPARSE", "PERSISTED", "GENERATED", "MASKED", "ENCRYPTED", "FILESTREAM"):
                raise self.refuse(f"the column option {self.token.upper}")
            elif self.at("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "REFERENCES", "DEFAULT", "INDEX"):
                column.constraints.append(self._constraint(column, table_level=False))
            else:
                break
        return column

    def _computed(self, line: int, name: str) -> n.ColumnDef:
        column = n.ColumnDef(line, name, None)
        first = self.i
        column.computed = self.expression()
        column.computed_text = self.source(first, self.i)
        if self.accept("PERSISTED"):
            column.persisted = True
            if self.accept("NOT", "NULL"):
                column.nullable = False
        while self.at("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "REFERENCES"):
            column.constraints.append(self._constraint(column, table_level=False))
        return column

    def _constraint(self, column: n.ColumnDef | None, *, table_level: bool) -> n.Constraint:
        line = self.line
        out = n.Constraint(line, "")
        if self.accept("CONSTRAINT"):
            out.name = self.name()
        if self.accept("PRIMARY", "KEY"):
            out.kind = "PRIMARY KEY"
            self._key(out, column, table_level)
        elif self.accept("UNIQUE"):
            out.kind = "UNIQUE"
            self._key(out, column, table_level)
        elif self.accept("CHECK"):
            out.kind = "CHECK"
            if self.accept("NOT", "FOR", "REPLICATION"):
                pass
            self.expect_op("(")
            first = self.i
            out.check = self.condition()
            out.check_text = self.source(first, self.i)
            self.expect_op(")")
        elif self.accept("DEFAULT"):
            out.kind = "DEFAULT"
            first = self.i
            out.default = self.expression()
            out.default_text = self.source(first, self.i)
            if table_level or self.at("FOR"):
                self.expect("FOR")
                out.columns = [(self.name(), False)]
            self.accept("WITH", "VALUES")
            if column is not None and not table_level:
                column.default, column.default_text, column.default_name = out.default, out.default_text, out.name
        elif self.accept("INDEX"):
            out.kind = "INDEX"
            out.name = self.name()
            out.unique = self.accept("UNIQUE")
            self._key(out, column, table_level)
        else:
            out.kind = "FOREIGN KEY"
            if self.accept("FOREIGN", "KEY"):
                out.columns = self.key_columns() if self.at_op("(") else []
            if not out.columns and column is not None:
                out.columns = [(column.name, False)]
            self.expect("REFERENCES")
            out.target = self.dotted()
            if self.at_op("("):
                out.target_columns = list(self.name_list())
            while self.at("ON") and self.peek().upper in ("DELETE", "UPDATE"):
                self.advance()
                which = self.advance().upper
                action = self._action()
                if which == "DELETE":
                    out.on_delete = action
                else:
                    out.on_update = action
        return out

    def _action(self) -> str:
        for action in ("NO ACTION", "CASCADE", "SET NULL", "SET DEFAULT"):
            if self.accept(*action.split()):
                return action
        raise self.wrong()

    def _key(self, out: n.Constraint, column: n.ColumnDef | None, table_level: bool) -> None:
        if self.accept("CLUSTERED"):
            out.clustered = True
        elif self.accept("NONCLUSTERED"):
            out.clustered = False
        if self.at_op("("):
            out.columns = self.key_columns()
        elif column is not None and not table_level:
            out.columns = [(column.name, False)]
        else:
            raise self.wrong()
        self._storage()

    # ---- ALTER, DROP, TRUNCATE --------------------------------------------------------------------------------------
    def _alter(self, line: int) -> n.Statement:
        if self.accept("DATABASE"):
            current = self.accept("CURRENT")
            name = None if current else self.name()
            self.expect("SET")
            if self.accept("CHANGE_TRACKING"):
                return parse_tracking.alter_database(self, line, name)
            option = self.advance().upper
            value = self.advance().upper
            while (
                self.token.kind != lexer.END
                and not self.at_op(";")
                and self.at("WITH", "ROLLBACK", "IMMEDIATE", "NO_WAIT")
            ):
                self.advance()
            return n.AlterDatabase(line, name, option, value)
        if self.at("TRIGGER", "VIEW"):
            return self._object(line, self.i - 1, "ALTER")
        if not self.accept("TABLE"):
            raise self.refuse(f"ALTER {self.token.upper}")
        table = self.dotted()
        if self.at("ENABLE", "DISABLE") and self.peek().upper == "TRIGGER":
            return self.alter_table_trigger(line, table, self.advance().upper == "ENABLE")
        if self.at("ENABLE", "DISABLE") and self.peek().upper == "CHANGE_TRACKING":
            return parse_tracking.alter_table(self, line, table)
        if self.accept("WITH") and not self.accept("CHECK"):
            raise self.refuse("ALTER TABLE ... WITH NOCHECK")
        if self.accept("ADD"):
            return self._alter_add(line, table)
        if self.accept("DROP"):
            column = self.accept("COLUMN")
            if not column:
                self.accept("CONSTRAINT")
            exists = self.accept("IF", "EXISTS")
            names = [self.name()]
            while self.accept_op(","):
                names.append(self.name())
            return n.AlterTable(
                line, table, "DROP COLUMN" if column else "DROP CONSTRAINT", names=names, if_exists=exists
            )
        raise self.refuse(f"ALTER TABLE ... {self.token.upper}")

    def _alter_add(self, line: int, table: tuple[str, ...]) -> n.AlterTable:
        out = n.AlterTable(line, table, "ADD")
        while True:
            if self.at("PERIOD") and self.peek().upper == "FOR":
                raise self.refuse("adding a PERIOD to a table")
            if self.at("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "DEFAULT"):
                out.constraints.append(self._constraint(None, table_level=True))
            else:
                out.columns.append(self.column_def())
            if not self.accept_op(","):
                return out

    def _drop(self, line: int) -> n.Statement:
        if not self.at("TABLE", "DATABASE", "SCHEMA", "INDEX", "TRIGGER", "VIEW", "SYNONYM", "TYPE"):
            raise self.refuse(f"DROP {self.token.upper}") if self.at(*_REFUSED) else self.wrong()
        kind = self.advance().upper
        exists = self.accept("IF", "EXISTS")
        names = [self.dotted()]
        while self.accept_op(","):
            names.append(self.dotted())
        on = self.dotted() if kind == "INDEX" and self.accept("ON") else None
        return n.Drop(line, kind, names, exists, on)

    def _truncate(self, line: int) -> n.Truncate:
        self.expect("TABLE")
        return n.Truncate(line, self.dotted())

    def insert_bulk(self, line: int) -> n.InsertBulk:
        """INSERT BULK t (c type [COLLATE x] [NULL | NOT NULL], ...) [WITH (...)]: a driver's announcement."""
        table = self.dotted()
        columns: list[tuple[str, SqlType]] = []
        if self.accept_op("("):
            while True:
                name = self.name()
                columns.append((name, self.type()))
                if self.accept("COLLATE"):
                    self.advance()
                self.accept("NOT")
                self.accept("NULL")
                if not self.accept_op(","):
                    break
            self.expect_op(")")
        options = []
        if self.accept("WITH"):
            self.expect_op("(")
            while not self.at_op(")"):
                t = self.advance()
                if t.kind == lexer.END:
                    raise self.wrong()
                options.append(t.upper)
            self.advance()
        return n.InsertBulk(line, table, columns, options)
