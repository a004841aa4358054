"""`types:` of a country's YAML: in which form values of a type land, and whether anything may get lost at all."""

from __future__ import annotations

from collections.abc import Mapping

from sql_databricks_bridge.core.suggestions import closest, listed
from sql_databricks_bridge.core.yaml_text import Node, Scalar, Tree
from sql_databricks_bridge.models.type_policies import POLICIES, TypePolicies

_STRICT = "strict"


def read_types(entries: Mapping[str, Node], problems: list[str]) -> TypePolicies:
    """Read the key of the merged YAML; what is wrong is added to `problems` with its place."""
    node = entries.get("types")
    if node is None or (isinstance(node, Scalar) and node.text is None):
        return TypePolicies()
    if not isinstance(node, Tree):
        problems.append(f"{node.at}: `types` must be a mapping of types to policies, as datetime2: string")
        return TypePolicies()
    chosen: list[tuple[str, str]] = []
    strict = False
    for name, entry in node.entries.items():
        text = entry.text.lower() if isinstance(entry, Scalar) and entry.text else None
        if name == _STRICT:
            strict = text == "true"
            if text not in ("true", "false"):
                problems.append(f"{entry.at}: types.strict must be true or false")
        elif (policies := POLICIES.get(name.lower())) is None:
            problems.append(f"{entry.at}: {_unknown(name)}")
        elif text not in policies:
            problems.append(f"{entry.at}: types.{name} must be one of {listed(policies)}")
        else:
            chosen.append((name.lower(), text))
    return TypePolicies(tuple(sorted(chosen)), strict)


def _unknown(name: str) -> str:
    near = closest(name, POLICIES)
    meant = f", did you mean {near}?" if near else ""
    return f"types.{name}: there is no choice for such a type{meant}; there is for {listed(POLICIES)}, and strict"
