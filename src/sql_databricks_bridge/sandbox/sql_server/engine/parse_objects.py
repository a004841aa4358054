"""CREATE, ALTER, ENABLE and DISABLE TRIGGER; CREATE VIEW; CREATE SYNONYM; CREATE TYPE."""

from __future__ import annotations

from . import lexer
from . import nodes as n
from .errors import syntax_error
from .parse_query import QueryParser

_EVENTS = ("INSERT", "UPDATE", "DELETE")


class ObjectParser(QueryParser):
    """Definitions that keep their own text."""

    def statement(self) -> n.Statement:
        raise NotImplementedError

    def alone(self, first: int, what: str) -> None:
        """Msg 111 unless the statement that began at token `first` begins the batch."""
        if first:
            raise syntax_error(f"'{what}' must be the first statement in a query batch.", self.line, number=111)

    def trigger(self, line: int, mode: str) -> n.CreateTrigger:
        """After the word TRIGGER; the rest of the batch is its body."""
        name = self.dotted()
        self.expect("ON")
        if self.at("DATABASE", "ALL"):
            raise self.refuse("DDL and logon triggers")
        table = self.dotted()
        if self.at("WITH"):
            raise self.refuse("CREATE TRIGGER ... WITH")
        instead_of = self.accept("INSTEAD", "OF")
        if not instead_of and not self.accept("AFTER"):
            self.expect("FOR")
        events: list[str] = []
        while True:
            if not self.at(*_EVENTS):
                raise self.wrong()
            event = self.advance().upper
            if event in events:
                raise self.wrong()
            events.append(event)
            if not self.accept_op(","):
                break
        self.accept("NOT", "FOR", "REPLICATION")
        self.expect("AS")
        body: list[n.Statement] = []
        while self.token.kind != lexer.END:
            if not self.accept_op(";"):
                body.append(self.statement())
        if not body:
            raise self.wrong()
        return n.CreateTrigger(line, mode, name, table, events, instead_of, body, self.sql)

    def switch_trigger(self, line: int, enable: bool) -> n.SwitchTrigger:
        """ENABLE or DISABLE TRIGGER { name, ... | ALL } ON table."""
        self.expect("TRIGGER")
        names = self._trigger_names()
        self.expect("ON")
        if self.at("DATABASE", "ALL"):
            raise self.refuse("DDL and logon triggers")
        return n.SwitchTrigger(line, names, self.dotted(), enable)

    def alter_table_trigger(self, line: int, table: tuple[str, ...], enable: bool) -> n.SwitchTrigger:
        """ALTER TABLE t { ENABLE | DISABLE } TRIGGER ..."""
        self.expect("TRIGGER")
        return n.SwitchTrigger(line, self._trigger_names(), table, enable)

    def _trigger_names(self) -> list[tuple[str, ...]]:
        if self.accept("ALL"):
            return []
        names = [self.dotted()]
        while self.accept_op(","):
            names.append(self.dotted())
        return names

    def view(self, line: int, mode: str) -> n.CreateView:
        """After the word VIEW; one SELECT, to the end of the batch."""
        name = self.dotted()
        columns = self.name_list() if self.at_op("(") else ()
        if self.at("WITH"):
            raise self.refuse("CREATE VIEW ... WITH (SCHEMABINDING and the like)")
        self.expect("AS")
        query = self.query_expression()
        if self.at("WITH"):
            raise self.refuse("WITH CHECK OPTION")
        self.accept_op(";")
        if self.token.kind != lexer.END:
            raise self.wrong()
        return n.CreateView(line, mode, name, columns, query, self.sql)

    def synonym(self, line: int) -> n.CreateSynonym:
        name = self.dotted()
        self.expect("FOR")
        return n.CreateSynonym(line, name, self.dotted())

    def create_type(self, line: int) -> n.CreateType:
        """CREATE TYPE name FROM base [NULL | NOT NULL]."""
        name = self.dotted()
        if not self.accept("FROM"):
            raise self.refuse("table types and CLR types")
        base = self.type()
        nullable = not self.accept("NOT", "NULL")
        if nullable:
            self.accept("NULL")
        return n.CreateType(line, name, base, nullable)
