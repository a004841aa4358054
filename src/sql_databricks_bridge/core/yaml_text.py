"""YAML whose scalars stay as their author wrote them.

A value that is pasted into SQL must not pass through YAML's types: `NO` is Norway and not false, `2024-01-01` not a
date object, `007` not 7, `1.10` not 1.1. So only YAML's structure is used; a scalar is its text, or None where nothing
(or `null`, or `~`) is written. Every node knows its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import yaml

from sql_databricks_bridge.core.text_files import read_text
from sql_databricks_bridge.errors import SettingsError

_CORE_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "map", "seq")
)
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
_MAX_NODES = 50_000  # aliases of aliases grow exponentially; no honest file comes near


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file, both counts from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value as written, None for null; `at` is the place of its key (of the value itself in a list)."""

    text: str | None
    at: Place


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    nodes: tuple[Node, ...]
    at: Place


@dataclass(frozen=True, slots=True)
class Tree:
    """A mapping, in its file's order."""

    entries: Mapping[str, Node] = field(default_factory=dict)
    at: Place = Place("", 1, 1)  # a frozen value

    def without(self, keys: frozenset[str]) -> Tree:
        """The same mapping without some of its own keys."""
        return Tree({key: node for key, node in self.entries.items() if key not in keys}, self.at)


Node: TypeAlias = Scalar | Items | Tree


def load_yaml(path: Path, shown_as: str) -> Tree:
    """Read one YAML mapping; an empty file is an empty one.

    Raises `SettingsError` with file, line and column for: not UTF-8, broken YAML, a repeated key, a tag that would
    build an object, something else than a mapping, several documents.
    """
    text = read_text(path, shown_as, SettingsError)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            return Tree({}, Place(shown_as, 1, 1))
        tree = _Reader(shown_as).read(root, None)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = f"{shown_as}:{mark.line + 1}:{mark.column + 1}" if mark else shown_as
        problem = ", ".join(part for part in (exc.context, exc.problem) if part)
        raise SettingsError(f"{where} is not YAML: {problem}.") from exc
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        raise SettingsError(f"{shown_as}:{line} is not YAML: {exc.reason}.") from exc
    except RecursionError as exc:
        raise SettingsError(f"{shown_as} is nested too deeply.") from exc
    if not isinstance(tree, Tree):
        raise SettingsError(
            f"{shown_as}:{tree.at.line}:{tree.at.column} is not a mapping.", hint="Write `key: value` lines."
        )
    return tree


def merge(base: Tree, over: Tree) -> Tree:
    """Deep merge: mappings merge key by key, anything else in `over` replaces what `base` has.

    A key without a value leaves a mapping of `base` as it is: a heading whose lines are all commented out overrides
    nothing.
    """
    merged: dict[str, Node] = dict(base.entries)
    for key, node in over.entries.items():
        below = merged.get(key)
        if isinstance(below, Tree) and isinstance(node, Tree):
            merged[key] = merge(below, node)
        elif not (isinstance(below, Tree) and isinstance(node, Scalar) and node.text is None):
            merged[key] = node
    return Tree(merged, over.at)


def leaves(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Scalar | Items]]:
    """Every value that is not a mapping, by its dotted path."""
    for key, node in tree.entries.items():
        if isinstance(node, Tree):
            yield from leaves(node, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", node


class _Reader:
    """Turns composed YAML nodes into ours."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._open: set[int] = set()
        self._count = 0

    def read(self, node: yaml.Node, at: Place | None) -> Node:
        at = at or self._place(node)
        self._count += 1
        if self._count > _MAX_NODES:
            raise SettingsError(f"{self._file} has more than {_MAX_NODES} values, aliases counted.")
        if node.tag not in _CORE_TAGS:
            raise self._error(node, f"the tag {node.tag} is not allowed")
        if isinstance(node, yaml.ScalarNode):
            return Scalar(None if node.tag == _NULL else node.value, at)
        if id(node) in self._open:
            raise self._error(node, "an alias that holds itself")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return Items(tuple(self.read(item, None) for item in node.value), at)
            return Tree(self._entries(node), at)
        finally:
            self._open.discard(id(node))

    def _entries(self, node: yaml.Node) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                # `<<: *a` or `<<: [*a, *b]`: the earlier wins, the mapping's own keys win over all.
                for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    tree = self.read(source, None)
                    if not isinstance(tree, Tree):
                        raise self._error(key, "`<<` takes mappings")
                    merged = {**tree.entries, **merged}
                continue
            if not isinstance(key, yaml.ScalarNode) or key.tag == _NULL or not key.value:
                raise self._error(key, "a key must be a name")
            if key.value in own:
                raise self._error(key, f"the key {key.value!r} is here twice, first in line {own[key.value].at.line}")
            own[key.value] = self.read(value, self._place(key))
        return {**merged, **own}

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _error(self, node: yaml.Node, problem: str) -> SettingsError:
        place = self._place(node)
        return SettingsError(f"{place}:{place.column}: {problem}.")
