"""Whether two expressions are written alike, wherever they stand and however their names are cased."""

from __future__ import annotations

from dataclasses import fields

from . import nodes as n


def same_tree(a: object, b: object) -> bool:
    """Two nodes, or what their fields hold: the same kinds with the same parts, lines aside."""
    if type(a) is not type(b):
        return False
    if isinstance(a, n.ColumnRef) and isinstance(b, n.ColumnRef):
        return [part.lower() for part in a.parts] == [part.lower() for part in b.parts]
    if isinstance(a, n.Node):
        return all(same_tree(getattr(a, f.name), getattr(b, f.name)) for f in fields(a) if f.name != "line")
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same_tree(x, y) for x, y in zip(a, b, strict=True))
    return a == b
