"""What a `{name}` of a query means for a country."""

from __future__ import annotations

from dataclasses import dataclass

from sql_databricks_bridge.core.country_config import RESERVED_KEYS, CountryConfig
from sql_databricks_bridge.core.suggestions import closest, listed
from sql_databricks_bridge.core.window import WINDOW_NAMES, Window
from sql_databricks_bridge.core.yaml_text import Items, Node, Tree, leaves


@dataclass(frozen=True, slots=True)
class Found:
    """The value of a placeholder, without the line end that YAML's `|` leaves; `path` is its YAML key if it has one."""

    text: str
    origin: str
    path: str | None


class NoValue(Exception):
    """A placeholder has no usable value; `paths` are the YAML keys that it may have meant."""

    def __init__(self, message: str, paths: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.paths = paths


class Namespace:
    """What a `{name}` may mean for a country: the YAML's whole path, then the window, then a leaf that is unique.

    A window's name counts as a key of the YAML's top level: `{start_date}` is the window's even where some nested key
    ends so, and the YAML's where the top level has it.
    """

    def __init__(self, config: CountryConfig, window: Window, window_origin: str) -> None:
        self._config = config
        self._window = window.texts()
        self._window_origin = window_origin
        self._by_leaf: dict[str, list[str]] = {}
        for path, _ in leaves(config.values):
            self._by_leaf.setdefault(path.rpartition(".")[2], []).append(path)

    def find(self, name: str) -> Found:
        """Look up a placeholder; raises `NoValue`, whose text says why and what is near."""
        node = self._at(name)
        if node is not None:
            return self._value(name, name, node)
        if name in self._window:
            origin = self._window_origin if name == "lookback_months" else "window"
            return Found(self._window[name], origin, None)
        if name.partition(".")[0] in RESERVED_KEYS:
            raise NoValue(f"{{{name}}} is a reserved key of the YAML, not a parameter")
        paths = self._by_leaf.get(name, [])
        if len(paths) > 1:
            raise NoValue(f"{{{name}}} is ambiguous: {listed(f'{{{path}}}' for path in paths)}", tuple(paths))
        if paths:
            found = self._at(paths[0])
            assert found is not None
            return self._value(name, paths[0], found)
        near = closest(name, [*(path for path, _ in leaves(self._config.values)), *self._by_leaf, *WINDOW_NAMES])
        raise NoValue(
            f"{{{name}}} has no value in {' or '.join(self._config.files)}"
            + (f"; did you mean {{{near}}}?" if near else "")
        )

    def _at(self, path: str) -> Node | None:
        node: Node | None = self._config.values
        for key in path.split("."):
            node = node.entries.get(key) if isinstance(node, Tree) else None
        return node

    def _value(self, name: str, path: str, node: Node) -> Found:
        if isinstance(node, Tree):
            keys = listed(f"{{{path}.{key}}}" for key in node.entries)
            raise NoValue(f"{{{name}}} is a mapping ({node.at}), name one of its keys: {keys}", (path,))
        if isinstance(node, Items):
            raise NoValue(f"{{{name}}} is a list ({node.at}), not SQL text: write it as one text", (path,))
        if node.text is None or not node.text.strip():
            raise NoValue(f"{{{name}}} is empty ({node.at})", (path,))
        return Found(node.text.strip("\n"), f"{node.at}" if name == path else f"{node.at} ({path})", path)
