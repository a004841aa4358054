"""`partitions:` of a country's YAML: which queries are read in several ranges at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sql_databricks_bridge.core.suggestions import closest, listed
from sql_databricks_bridge.core.yaml_text import Items, Node, Place, Scalar, Tree
from sql_databricks_bridge.models.partitions import Partitioning, count_of

_FIELDS = ("count", "key", "lock")


@dataclass(frozen=True, slots=True)
class PartitionsConfig:
    """What each query asks for, by its name, and what the others do."""

    default: Partitioning = field(default_factory=Partitioning)
    queries: Mapping[str, Partitioning] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)

    def of(self, query: str) -> Partitioning:
        """Of one query."""
        return self.queries.get(query, self.default)


def read_partitions(entries: Mapping[str, Node], problems: list[str]) -> PartitionsConfig:
    """Read the key of the merged YAML; what is wrong is added to `problems` with its place."""
    node = entries.get("partitions")
    if node is None or (isinstance(node, Scalar) and node.text is None):
        return PartitionsConfig()
    if isinstance(node, Scalar):
        return PartitionsConfig(Partitioning(_count(node, "partitions", problems)))
    if not isinstance(node, Tree):
        problems.append(f"{node.at}: `partitions` must be auto, a number, or a mapping of queries, as orders: 4")
        return PartitionsConfig()
    queries = {name: _one(name, entry, problems) for name, entry in node.entries.items()}
    return PartitionsConfig(queries=queries, places={name: entry.at for name, entry in node.entries.items()})


def _one(name: str, node: Node, problems: list[str]) -> Partitioning:
    where = f"partitions.{name}"
    if not isinstance(node, Tree):
        return Partitioning(_count(node, where, problems))
    for unknown in node.entries.keys() - set(_FIELDS):
        near = closest(unknown, _FIELDS)
        meant = f", did you mean {near}?" if near else f"; there are {listed(_FIELDS)}"
        problems.append(f"{node.entries[unknown].at}: {where} has no `{unknown}`{meant}")
    counted = node.entries.get("count")
    return Partitioning(
        None if counted is None else _count(counted, f"{where}.count", problems),
        _key(node.entries.get("key"), where, problems),
        lock=_flag(node.entries.get("lock"), where, problems),
    )


def _count(node: Node, where: str, problems: list[str]) -> int | None:
    text = node.text if isinstance(node, Scalar) and node.text else ""
    try:
        return count_of(text)
    except ValueError as exc:
        problems.append(f"{node.at}: {where}: {exc}")
        return 1


def _key(node: Node | None, where: str, problems: list[str]) -> tuple[str, ...]:
    if node is None:
        return ()
    nodes = node.nodes if isinstance(node, Items) else (node,)
    names = tuple(each.text for each in nodes if isinstance(each, Scalar) and each.text)
    if len(names) < len(nodes):
        problems.append(f"{node.at}: {where}.key must be a column's name or a list of them")
    return names


def _flag(node: Node | None, where: str, problems: list[str]) -> bool:
    if node is None:
        return False
    text = node.text.lower() if isinstance(node, Scalar) and node.text else ""
    if text not in ("true", "false"):
        problems.append(f"{node.at}: {where}.lock must be true or false")
    return text == "true"
