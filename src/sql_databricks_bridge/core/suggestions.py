"""What a mistyped name may have meant, and which names hold secrets."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SECRET_WORDS = ("password", "passwd", "pwd", "secret", "token", "api_key", "apikey", "credential")


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` most likely meant, None where none is near; case does not count."""
    by_folded = {candidate.casefold(): candidate for candidate in sorted(known, reverse=True)}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.7)
    return by_folded[found[0]] if found else None


def looks_secret(name: str) -> bool:
    """Whether the name says that its value must not be shown."""
    folded = name.casefold().replace("-", "_")
    return any(word in folded for word in _SECRET_WORDS)


def listed(names: Iterable[str]) -> str:
    """Names for a message: 'a, b, c', or 'none'."""
    return ", ".join(sorted(names)) or "none"
