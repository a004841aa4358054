"""`publish:` and `incremental:` of a country's YAML: which queries become tables, where, and how they are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from sql_databricks_bridge.core.suggestions import closest, listed
from sql_databricks_bridge.core.yaml_text import Items, Node, Place, Scalar, Tree
from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.publishing import (
    DELETED_COLUMN,
    RANGE_COLUMN,
    DriftPolicy,
    Incremental,
    IncrementKind,
    Publication,
)
from sql_databricks_bridge.models.tables import SourceName, TargetName

E = TypeVar("E", bound=StrEnum)

_NUMBER = re.compile(r"[0-9]{1,15}")
_WHERE = ("catalog", "schema", "drift", "soft_delete")
_OF_KIND: Mapping[IncrementKind, frozenset[str]] = {
    IncrementKind.ROWVERSION: frozenset({"key", "column"}),
    IncrementKind.CURSOR: frozenset({"key", "column", "lag"}),
    IncrementKind.CHANGE_TRACKING: frozenset({"key", "table"}),
    IncrementKind.CDC: frozenset({"key", "capture"}),
    IncrementKind.FINGERPRINT: frozenset({"key", "range_rows"}),
}
_OPTIONAL = frozenset({"lag", "range_rows"})


@dataclass(frozen=True, slots=True)
class Where:
    """Parts of a table's name and what is done to it, as far as the YAML says; None is for the next outer level."""

    catalog: str | None = None
    schema: str | None = None
    table: str | None = None
    drift: DriftPolicy | None = None
    soft_delete: str | None = None


@dataclass(frozen=True, slots=True)
class PublishConfig:
    """What the YAML says about tables.

    `wanted`: there is a `publish:` that is not false. `tables` are the exceptions by query's name, None for one that
    is not published; `places` says where each query is named, for those that do not exist.
    """

    wanted: bool = False
    common: Where = Where()  # a frozen value
    tables: Mapping[str, Where | None] = field(default_factory=dict)
    incremental: Mapping[str, Incremental] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)

    def of(self, query: str, destination: Destination) -> Publication | None:
        """How a query is published; None where the YAML leaves it out. `EventInvalid` for a name that can't be."""
        own = self.tables.get(query, Where())
        if own is None:
            return None
        common = self.common
        parts = (
            own.catalog or common.catalog or destination.catalog,
            own.schema or common.schema or destination.schema,
            own.table or query,
        )
        return Publication(
            SourceName.parse(".".join(f"`{part.replace('`', '``')}`" for part in parts), "the published table"),
            own.drift or common.drift or DriftPolicy.EVOLVE,
            own.soft_delete or common.soft_delete,
            self.incremental.get(query),
        )


def read_publishing(entries: Mapping[str, Node], problems: list[str]) -> PublishConfig:
    """Read both keys of the merged YAML; what is wrong is added to `problems` with its place."""
    reader = _Reader(problems)
    places: dict[str, Place] = {}
    incremental = reader.incremental(entries.get("incremental"), places)
    node = entries.get("publish")
    if node is None or _is(node, None, "false"):
        return PublishConfig(incremental=incremental, places=places)
    if _is(node, "true"):
        return PublishConfig(True, incremental=incremental, places=places)
    if not isinstance(node, Tree):
        problems.append(f"{node.at}: `publish` must be true, false or a mapping of {', '.join((*_WHERE, 'tables'))}")
        return PublishConfig(incremental=incremental, places=places)
    common = reader.where(node, "publish", (*_WHERE, "tables"))
    tables = reader.tables(node.entries.get("tables"), places)
    return PublishConfig(True, common, tables, incremental, places)


class _Reader:
    """Reads nodes; every problem is kept and reading goes on."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems

    def tables(self, node: Node | None, places: dict[str, Place]) -> dict[str, Where | None]:
        found: dict[str, Where | None] = {}
        for query, entry in self._by_query(node, "publish.tables"):
            places.setdefault(query, entry.at)
            if _is(entry, "false"):
                found[query] = None
            elif _is(entry, "true", None):
                found[query] = Where()
            elif isinstance(entry, Scalar):
                found[query] = Where(table=self._name(entry, "table"))
            elif isinstance(entry, Tree):
                found[query] = self.where(entry, f"publish.tables.{query}", (*_WHERE, "table"))
            else:
                self.problems.append(f"{entry.at}: publish.tables.{query} must be a table's name, a mapping or false")
        return found

    def where(self, tree: Tree, what: str, known: Sequence[str]) -> Where:
        self._check_keys(tree, what, known)
        entries = tree.entries
        texts = {name: self._name(entries.get(name), name) for name in ("catalog", "schema", "table", "soft_delete")}
        if texts["soft_delete"] in (DELETED_COLUMN, RANGE_COLUMN):
            self.problems.append(f"{entries['soft_delete'].at}: `soft_delete` can't be a name that the bridge uses")
        return Where(**texts, drift=self._choice(entries.get("drift"), "drift", DriftPolicy))

    def incremental(self, node: Node | None, places: dict[str, Place]) -> dict[str, Incremental]:
        found: dict[str, Incremental] = {}
        for query, entry in self._by_query(node, "incremental"):
            places.setdefault(query, entry.at)
            if _is(entry, "false"):
                continue
            if not isinstance(entry, Tree):
                self.problems.append(f"{entry.at}: incremental.{query} must be a mapping of kind, key and others")
                continue
            kind = self._choice(entry.entries.get("kind"), "kind", IncrementKind, at=entry.at)
            if kind is not None:
                found[query] = self._increment(query, kind, entry)
        return found

    def _increment(self, query: str, kind: IncrementKind, tree: Tree) -> Incremental:
        what = f"incremental.{query}"
        allowed = _OF_KIND[kind]
        self._check_keys(tree, f"{what} of kind {kind.value}", ("kind", *sorted(allowed)))
        for name in sorted(allowed - _OPTIONAL - tree.entries.keys()):
            self.problems.append(f"{tree.at}: {what} of kind {kind.value} needs `{name}`")
        entries = tree.entries
        table = self._name(entries.get("table"), "table")
        if table is not None:
            try:
                TargetName.parse(table)
            except EventInvalid:
                self.problems.append(f"{entries['table'].at}: `table` must be schema.table of SQL Server")
        return Incremental(
            kind,
            self._names(entries.get("key"), "key"),
            column=self._name(entries.get("column"), "column"),
            lag=self._number(entries.get("lag"), "lag", 0),
            table=table,
            capture=self._name(entries.get("capture"), "capture"),
            range_rows=max(1, self._number(entries.get("range_rows"), "range_rows", 64)),
        )

    def _by_query(self, node: Node | None, what: str) -> list[tuple[str, Node]]:
        if node is None or _is(node, None):
            return []
        if not isinstance(node, Tree):
            self.problems.append(f"{node.at}: `{what}` must be a mapping by the queries' names")
            return []
        return list(node.entries.items())

    def _check_keys(self, tree: Tree, what: str, known: Sequence[str]) -> None:
        for key in tree.entries:
            if key not in known:
                near = closest(key, known)
                meant = f"did you mean {near}?" if near else f"known are {listed(known)}"
                self.problems.append(f"{tree.entries[key].at}: {what} has no key {key!r} ({meant})")

    def _name(self, node: Node | None, what: str) -> str | None:
        if node is None or _is(node, None):
            return None
        if isinstance(node, Scalar) and node.text and node.text == node.text.strip() and node.text.isprintable():
            return node.text
        self.problems.append(f"{node.at}: `{what}` must be one name")
        return None

    def _names(self, node: Node | None, what: str) -> tuple[str, ...]:
        items = node.nodes if isinstance(node, Items) else () if node is None else (node,)
        names = [name for name in (self._name(item, what) for item in items) if name is not None]
        if node is not None and (not names or len({name.casefold() for name in names}) < len(names)):
            self.problems.append(f"{node.at}: `{what}` must be a column's name, or a list of different ones")
        return tuple(names)

    def _number(self, node: Node | None, what: str, default: int) -> int:
        if node is None or _is(node, None):
            return default
        if isinstance(node, Scalar) and node.text and _NUMBER.fullmatch(node.text):
            return int(node.text)
        self.problems.append(f"{node.at}: `{what}` must be a whole number, 0 or more")
        return default

    def _choice(self, node: Node | None, what: str, among: type[E], at: Place | None = None) -> E | None:
        if node is None and at is None:
            return None
        if isinstance(node, Scalar) and node.text in set(among):
            return among(node.text)
        known = ", ".join(each.value for each in among)
        self.problems.append(f"{node.at if node else at}: `{what}` must be one of {known}")
        return None


def _is(node: Node, *texts: str | None) -> bool:
    return isinstance(node, Scalar) and node.text in texts
