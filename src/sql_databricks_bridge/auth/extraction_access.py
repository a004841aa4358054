"""Whether a user may have the rows that a plan's queries read: `read` on every table, and no way around it.

Two nets find what a query reads (`query_operands`, `query_tree`); where they disagree, or either is at a loss, the
query is refused. What SQL Server would take a name for is asked of its catalog, so that no spelling decides. A view
counts as itself: what stands behind it is its owner's to give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sql_databricks_bridge.auth.builtin_functions import (
    CLAUSES,
    COMPATIBILITY_VIEWS,
    HARMLESS,
    METHODS,
    OF_A_TABLE,
    REMOTE,
    ROWSETS,
    TYPES,
)
from sql_databricks_bridge.auth.patterns import dotted
from sql_databricks_bridge.auth.permissions import Permissions, User
from sql_databricks_bridge.auth.query_lexemes import Unreadable, lexemes, require_same_cut
from sql_databricks_bridge.auth.query_operands import Name, Operand, Reading, read_words
from sql_databricks_bridge.auth.query_tree import Tree, read_tree, require_agreement
from sql_databricks_bridge.core.ports import NamedObject
from sql_databricks_bridge.core.sql_guard import check_select
from sql_databricks_bridge.core.sql_tokens import tokenize
from sql_databricks_bridge.errors import NotPermitted, QueryFileError
from sql_databricks_bridge.models.jobs import ExtractionPlan, ResolvedQuery
from sql_databricks_bridge.models.text import shown

Lookup = tuple[str | None, str | None, str]
FindObjects = Callable[[Sequence[Lookup]], tuple[NamedObject | None, ...]]
"""`SqlServerConnection.find_objects`."""

_SYSTEM_SCHEMAS = ("sys", "information_schema")
_TABLES = frozenset({"U", "V"})
_FUNCTIONS = frozenset({"FN", "IF", "TF", "FS", "FT", "AF"})
_KINDS = {"SN": "a synonym", "SO": "a sequence"} | dict.fromkeys(_FUNCTIONS, "a function")
_NOT_SEEN = "is not there or not to be seen"
_TOLD = 5
"""Most reasons that one refusal tells."""


def authorize_extraction(
    user: User,
    permissions: Permissions,
    plan: ExtractionPlan,
    find_objects: FindObjects,
    *,
    server: str,
    database: str,
) -> tuple[str, ...]:
    """Return what the plan's queries read, each as database.schema.name (server first for a linked server's), sorted.

    `server` is the one that the plan runs on, as patterns name it (SQLSERVER_HOST or the country's `server:`),
    `database` the one that it runs in; `find_objects` asks a connection to just these. Raises `NotPermitted` naming
    each query, object and reason, as far as five of them.
    """
    problems: list[str] = []
    readings = []
    for query in plan.queries:
        try:
            readings.append((query, *_read(query)))
        except Unreadable as exc:
            problems.append(f"query {shown(query.name)}: {exc}")
    wanted = list(dict.fromkeys(name for _, words, _ in readings for name in _lookups(words)))
    found = dict(zip(wanted, find_objects(wanted), strict=True)) if wanted else {}
    read: set[str] = set()
    for query, words, tree in readings:
        judge = _Judge(user, permissions, server, database, found, tree)
        judge.judge(words)
        problems += [f"query {shown(query.name)}: {problem}" for problem in judge.problems]
        read |= judge.read
    if problems:
        problems = list(dict.fromkeys(problems))
        more = f"; and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
        raise NotPermitted(
            f"{user.name} may not run this extraction: {'; '.join(problems[:_TOLD])}{more}.",
            hint="permissions.yaml grants what a query reads (docs/permissions.md, Extraction).",
        )
    return tuple(sorted(read))


def _read(query: ResolvedQuery) -> tuple[Reading, Tree]:
    """Both nets' findings about one query. Raises `Unreadable`."""
    try:
        check_select(query.sql, query.file)
    except QueryFileError as exc:
        raise Unreadable(exc.message.rstrip(".")) from exc
    pieces, tokens = lexemes(query.sql), tokenize(query.sql)
    require_same_cut(query.sql, pieces, tokens)
    words, tree = read_words(pieces), read_tree(query.sql, tokens)
    require_agreement(words, tree)
    return words, tree


def _lookups(words: Reading) -> Iterator[Lookup]:
    names = [operand.name for operand in words.operands] + list(words.calls) + list(words.sequences)
    return (lookup for name in names if (lookup := _lookup(name)) is not None)


def _lookup(name: Name) -> Lookup | None:
    """What to ask the catalog for; None where it has nothing to say about such a name."""
    if name.parts[0] == "" or (name.parts[0] or "").startswith(("@", "$")):
        return None
    parts = (None, None, *name.parts)[-3:]
    if len(name.parts) > 3 or not parts[2]:
        return None
    return parts[0], parts[1], parts[2]


@dataclass(slots=True)
class _Judge:
    """Judges one query; `found` is what the catalog knows of its names."""

    user: User
    permissions: Permissions
    server: str
    database: str
    found: dict[Lookup, NamedObject | None]
    tree: Tree
    problems: list[str] = field(default_factory=list)
    read: set[str] = field(default_factory=set)

    def judge(self, words: Reading) -> None:
        for operand in words.operands:
            if operand.called:
                self._rows_of_a_call(operand.name)
            else:
                self._table(operand)
        for name in words.calls:
            self._call(name)
        for name in words.sequences:
            self._sequence(name)

    # Where a table stands ------------------------------------------------------------------------------------------

    def _table(self, operand: Operand) -> None:
        name = operand.name
        if len(name.parts) == 1 and self._is_the_querys_own(name):
            return
        if len(name.parts) > 3:
            self._linked(name)
        elif self._is_system(name):
            self._by_name(name, self._system_parts(name), "a system view")
        else:
            found = self._find(name)
            if found is None:
                self._refuse(name, _NOT_SEEN)
            elif found.kind not in _TABLES:
                self._exactly(name, found)
            elif operand.history:
                self._by_name(name, (found.database, found.schema, found.name), "read with its history")
            else:
                self._readable(name, found)

    def _is_the_querys_own(self, name: Name) -> bool:
        """A table variable, a temporary table of this session, a CTE."""
        text = name.parts[0] or ""
        if name.word.startswith("@") or (text.startswith("#") and not text.startswith("##")):
            return True
        ctes = self.tree.ctes.get(name.start, ())
        if text in ctes:
            return True
        # In other case it is the CTE for some collations and a table for others: there must be no such table.
        return self._find(name) is None and text.casefold() in {cte.casefold() for cte in ctes}

    def _is_system(self, name: Name) -> bool:
        schema = name.parts[-2] if len(name.parts) > 1 else None
        if (schema or "").strip().casefold() in _SYSTEM_SCHEMAS:
            return True
        bare = (name.parts[-1] or "").strip().upper()
        return bare in COMPATIBILITY_VIEWS and (schema is None or schema.strip().casefold() == "dbo")

    def _system_parts(self, name: Name) -> tuple[str, str, str]:
        database, schema, view = (None, None, *name.parts)[-3:]
        if schema is None or schema.strip().casefold() not in _SYSTEM_SCHEMAS:
            schema = "sys"
        return database or self.database, schema, view or ""

    def _rows_of_a_call(self, name: Name) -> None:
        """A function, a rowset function or a method behind FROM, JOIN or APPLY."""
        if name.word in REMOTE:
            if not self._today.allow_openquery:
                self._refuse(name, "needs `allow_openquery: true`")
            self.read.add(name.word)
        elif name.word in OF_A_TABLE:
            return  # its table is judged as an operand of its own
        elif len(name.parts) == 1:
            found = self._find(name)
            if name.word in ROWSETS and found is None:
                return
            self._built_in(name, "a function in FROM: write its schema, if it is one of yours")
        elif (name.parts[-1] or "").upper() == "NODES" and self._find(name) is None and None not in name.parts:
            return  # a method of an xml column or variable
        else:
            self._function(name)

    def _linked(self, name: Name) -> None:
        if len(name.parts) != 4 or None in name.parts:
            self._refuse(name, "must be written as server.database.schema.table")
            return
        server, database, schema, table = (part or "" for part in name.parts)
        entry = self.permissions.entry(self.user, server, database, schema, table)
        if entry is None or not entry.access.reads or not entry.pattern.names_server or not entry.pattern.names_table:
            self._refuse(name, "is on another server: it needs a `read` entry that names server and table")
        self.read.add(dotted(server, database, schema, table))

    # Calls in expressions ------------------------------------------------------------------------------------------

    def _call(self, name: Name) -> None:
        if len(name.parts) > 1:
            method = (name.parts[-1] or "").upper()
            if method in METHODS and None not in name.parts and not self._names_function(name):
                return
            self._function(name)
        elif name.word in HARMLESS or name.word in CLAUSES or (name.parts[0] or "").upper() in TYPES:
            return
        elif name.start not in self.tree.aliases:  # those have column lists: `AS x (a, b)`
            self._built_in(name, "a function that is not known to be harmless")

    def _names_function(self, name: Name) -> bool:
        found = self._find(name)
        return found is not None and found.kind not in _TABLES

    def _function(self, name: Name) -> None:
        if self._is_system(name):
            self._by_name(name, self._system_parts(name), "a system function")
            return
        found = self._find(name)
        if found is None:
            self._refuse(name, f"as a function {_NOT_SEEN}, and no method of SQL Server's own types is called so")
        else:
            self._exactly(name, found)

    def _sequence(self, name: Name) -> None:
        found = self._find(name) if len(name.parts) <= 3 else None
        if found is None or found.kind != "SO":
            self._refuse(name, f"as a sequence {_NOT_SEEN}")
            return
        entry = self.permissions.entry(self.user, self.server, found.database, found.schema, found.name)
        if entry is None or not (entry.access.reads and entry.access.writes and entry.pattern.names_table):
            self._refuse(name, "is a sequence: to use its numbers up needs a `read_write` entry that names it")
        self.read.add(dotted(found.database, found.schema, found.name))

    # Permissions ---------------------------------------------------------------------------------------------------

    def _readable(self, name: Name, found: NamedObject) -> None:
        if not self.permissions.read_allowed(self.user, self.server, found.database, found.schema, found.name):
            self._refuse(name, f"needs `read` on {dotted(found.database, found.schema, found.name)}")
        self.read.add(dotted(found.database, found.schema, found.name))

    def _exactly(self, name: Name, found: NamedObject) -> None:
        what = _KINDS.get(found.kind, "no table and no view")
        self._by_name(name, (found.database, found.schema, found.name), what)

    def _built_in(self, name: Name, what: str) -> None:
        self._by_name(name, (self.database, "sys", name.parts[0] or ""), what)

    def _by_name(self, name: Name, parts: tuple[str, str, str], what: str) -> None:
        """It needs an entry that names just this object: `dbo.*` was not written with it in mind."""
        entry = self.permissions.entry(self.user, self.server, *parts)
        if entry is None or not entry.access.reads or not entry.pattern.names_table:
            self._refuse(name, f"is {what}; it needs a `read` entry that names {dotted(*parts)}")
        self.read.add(dotted(*parts))

    def _find(self, name: Name) -> NamedObject | None:
        lookup = _lookup(name)
        return None if lookup is None else self.found.get(lookup)

    def _refuse(self, name: Name, why: str) -> None:
        self.problems.append(f"{shown(str(name).lstrip('.'), 160)} {why}")

    @property
    def _today(self) -> User:
        """The user as permissions.yaml has it now."""
        return self.permissions.user(self.user.name) or User(self.user.name)
