"""Names of Unity Catalog tables as people write them, quoted for a statement.

Source of the rules: Databricks SQL reference, "Names" and "Identifiers": parts of letters, digits, '_' and '-' as
they are (as the bridge reads them), others in backticks; no full stop, space, slash or control character in a name.
"""

from __future__ import annotations

import re

_PART = re.compile(r"`((?:[^`]|``)+)`|([\w-]+)")
_FORBIDDEN = re.compile(r"[\x00-\x20./\x7f]")
_LONGEST = 255


def quoted_table(name: str, what: str) -> str:
    """'main.sales.`odd+name`' with each part in backticks; `ValueError` where it is not three names."""
    return ".".join(f"`{part.replace('`', '``')}`" for part in _parts(name, what))


def _parts(name: str, what: str) -> tuple[str, str, str]:
    parts, position = [], 0
    while match := _PART.match(name, position):
        parts.append(match[2] if match[1] is None else match[1].replace("``", "`"))
        position = match.end()
        if position == len(name) or name[position] != ".":
            break
        position += 1
    if position != len(name) or name.endswith(".") or len(parts) != 3:
        raise ValueError(
            f"{what} {name!r} is not catalog.schema.table; a part with other characters goes into backticks"
        )
    for part in parts:
        if len(part) > _LONGEST or _FORBIDDEN.search(part):
            raise ValueError(f"{what} {name!r}: {part!r} is no name of Unity Catalog")
    return parts[0], parts[1], parts[2]
