"""Starring secrets in what is about to be logged, wherever they stand: fields, nested values, exceptions."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

if TYPE_CHECKING:
    from pydantic import BaseModel

STARS = "***"
_LEAST_CHARACTERS = 4  # a shorter secret would star half of every word, and protects nothing
_CREDENTIAL = re.compile(r"(?i)(\bbearer\s+)[^\s\"',;]+|(\bbasic\s+)[a-z0-9+/=_-]{16,}")
_TOKEN = re.compile(r"\bbridge_[A-Za-z0-9_-]{40,}|\bdapi[0-9a-f]{32}(?:-\d+)?")
"""What `bridge token new` and Databricks give out, known by its form: of most tokens we have the SHA-256 alone."""
_IN_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+@")
_MOST_DEPTH = 20


class Redactor:
    """Known secrets, and what becomes of a log entry that holds one. Safe to use from several threads."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Star these from now on, in the forms that a URL, a JSON text or a connection string gives them too."""
        with self._lock:
            for secret in secrets:
                self._known |= _forms(secret) if len(secret) >= _LEAST_CHARACTERS else set()
            longest_first = sorted(self._known, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def text(self, text: str) -> str:
        """The text with every known secret, bearer token and password of an address starred."""
        if self._pattern is not None:
            text = self._pattern.sub(STARS, text)
        text = _TOKEN.sub(STARS, _CREDENTIAL.sub(_starred, text))
        return _IN_ADDRESS.sub(rf"\1{STARS}@", text)

    def value(self, value: Any, depth: int = 0) -> Any:
        """The value with its texts starred; what is no plain value is turned into text first, so that nothing hides."""
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, str):
            return self.text(str(value))
        if depth < _MOST_DEPTH and isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item, depth + 1) for key, item in value.items()}
        if depth < _MOST_DEPTH and isinstance(value, (list, tuple, set, frozenset)):
            return [self.value(item, depth + 1) for item in value]
        return self.text(_shown(value))

    def __call__(self, _: Any, __: str, event_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Work as a processor of structlog: the last one before the renderer."""
        return {key: self.value(item) for key, item in event_dict.items()}


def secrets_of(settings: BaseModel) -> tuple[str, ...]:
    """The value of every `SecretStr` among the fields; of an address with a password the password alone as well."""
    from pydantic import SecretStr

    values = (getattr(settings, name) for name in type(settings).model_fields)
    found: list[str] = []
    for secret in (value.get_secret_value() for value in values if isinstance(value, SecretStr)):
        password = _password(secret) if "://" in secret else None
        if password is not None:
            found += [password, unquote(password)]
        elif "://" not in secret:
            found.append(secret)
    return tuple(found)


def _starred(match: re.Match[str]) -> str:
    return f"{match[1] or match[2]}{STARS}"


def _password(address: str) -> str | None:
    try:
        return urlsplit(address).password
    except ValueError:
        return address


def _forms(secret: str) -> set[str]:
    return {
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        secret.replace("}", "}}"),
    }


def _shown(value: object) -> str:
    try:
        return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
    except Exception as exc:  # noqa: BLE001  a log line must not fail for an object that can't be shown
        return f"<{type(value).__name__} that can't be shown: {type(exc).__name__}>"
