"""Text as SQL Server counts it, as names may hold it, and as a message shows it."""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""What no name takes."""

FORBIDDEN_IN_UNITY_NAMES = re.compile(r"[\x00-\x20./\x7f]")
"""Databricks SQL reference, "Names": no full stop, space, forward slash or control character in an object's name."""


def utf16_length(text: str) -> int:
    """The length as SQL Server counts it: a character beyond U+FFFF is two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def shown(text: str, most: int = 80) -> str:
    """A quoted form fit for a message, cut after `most` characters."""
    return repr(text if len(text) <= most else f"{text[: most - 3]}...")
