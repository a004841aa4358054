"""permissions.yaml read and checked: every problem told at once with its line, no secret in any of them."""

from __future__ import annotations

import datetime as dt
import hmac
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import SecretStr

from sql_databricks_bridge.auth.patterns import Home, SourcePattern, TablePattern
from sql_databricks_bridge.auth.permissions import Access, BearerToken, Permissions, TablePermission, User, token_digest
from sql_databricks_bridge.core.suggestions import closest
from sql_databricks_bridge.core.yaml_text import Items, Node, Place, Scalar, Tree, load_yaml
from sql_databricks_bridge.errors import SettingsError

T = TypeVar("T")
N = TypeVar("N", bound=Node)

NAME_LENGTH = 128
"""Most characters of a user's name."""

SIGNING_KEY_LENGTH = 16
"""Fewest characters of a signing key."""

LIVE_TOKENS = 2
"""Most tokens of one user that are good at one time: the old one and the new one, while it is rotated."""

_FILE_KEYS = ("users", "end")
_USER_KEYS = ("name", "token", "tokens", "signing_key", "sources", "permissions", "allow_openquery")
_TOKEN_KEYS = frozenset({"token", "expires"})
_ENTRY_KEYS = ("table", "access", "max_delete_rows", "allow_cascade")
_SHA256 = re.compile(r"sha256:([0-9a-fA-F]{64})")
_VARIABLE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_MARKED = re.compile(r"(env|sha[0-9-]*|md5|file|vault)\s*:", re.IGNORECASE)
_TOKEN = re.compile(r"[!-~]+")  # it travels in an HTTP header
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ROWS = re.compile(r"[0-9]{1,18}")
_KEY = re.compile(r"[A-Za-z_]{1,20}")
_NAMED_BY_YAML = re.compile(r"\b(alias|anchor|tag handle|tag) (?!that)\S+")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file says. `guarded`: it ends with `end: true`; `plain_secrets`: a secret itself stands in it.

    `secrets` are the tokens and keys that it holds or names, those alone left out of which it holds the SHA-256.
    """

    permissions: Permissions
    guarded: bool
    plain_secrets: bool
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a file is read under. `home` is what patterns mean by the parts they leave out; `environ` holds the
    variables that `env:NAME` may name; `plain_tokens` allows tokens themselves in the file; `now` is aware.
    """

    home: Home
    environ: Mapping[str, str]
    plain_tokens: bool
    now: dt.datetime


def is_user_name(text: str) -> bool:
    """Whether a user may be called so: a log must be able to show it."""
    return bool(text) and text == text.strip() and text.isprintable() and len(text) <= NAME_LENGTH


def read_permissions(path: Path, rules: Rules) -> Reading:
    """Read the file; an empty one gives nobody anything.

    Raises `SettingsError` with every problem of the file, each with file and line; of one that is no YAML, the first.
    """
    shown = path.as_posix()
    try:
        tree = load_yaml(path, shown)
    except SettingsError as exc:
        # A token that begins with * & or ! is YAML's own syntax, and the parser names it; its traceback quotes lines.
        message = _NAMED_BY_YAML.sub(r"\1", exc.message)
        quotes = "Put values that hold other signs into quotes." if " is not YAML: " in message else None
        raise SettingsError(message, hint=exc.hint or quotes) from None
    reader = _Reader(rules)
    reading = reader.read(tree)
    if reader.problems:
        raise SettingsError("; ".join(reader.problems) + ".", hint="Mend the file; docs/permissions.md describes it.")
    return reading


class _Wrong(Exception):
    """A problem and its place."""

    def __init__(self, at: Place, told: str) -> None:
        super().__init__(f"{at}: {told}")


class _Reader:
    """Turns the tree into permissions and collects what is wrong with it.

    What is read of a file with problems is thrown away, so that a stand-in for a wrong part does no harm.
    """

    def __init__(self, rules: Rules) -> None:
        self.problems: list[str] = []
        self._rules = rules
        self._plain_secrets = False
        self._secrets: list[str] = []
        self._names: dict[str, Place] = {}
        self._tokens: dict[bytes, Place] = {}
        self._signing_keys: list[tuple[bytes, Place]] = []

    def read(self, tree: Tree) -> Reading:
        self._check_keys(tree, _FILE_KEYS, "the file")
        guarded = "end" in tree.entries
        if guarded:
            self._try(self._end, tree)
        users = self._each(tree, "users", self._user)
        return Reading(Permissions(users), guarded, self._plain_secrets, tuple(self._secrets))

    def _try(self, read: Callable[[N], T], node: N) -> T | None:
        """What `read` gives; where it finds a problem None, and the problem is kept."""
        try:
            return read(node)
        except _Wrong as exc:
            self.problems.append(str(exc))
            return None

    def _each(self, tree: Tree, key: str, read: Callable[[Node], T | None]) -> tuple[T, ...]:
        """What `read` gives for each item of a list, less those with problems; a missing list is an empty one."""
        node = tree.entries.get(key)
        if node is None or (isinstance(node, Scalar) and node.text is None):
            return ()
        if not isinstance(node, Items):
            self.problems.append(f"{node.at}: `{key}` must be a list, each item on a line of its own after a dash")
            return ()
        found = [self._try(read, item) for item in node.nodes]
        return tuple(item for item in found if item is not None)

    def _check_keys(self, tree: Tree, known: tuple[str, ...], what: str) -> None:
        for key, node in tree.entries.items():
            if key not in known:
                near = closest(key, known)
                meant = f"did you mean {near}?" if near else f"known are {', '.join(known)}"
                self.problems.append(f"{node.at}: {what} has no key {_shown_key(key)} ({meant})")

    def _end(self, tree: Tree) -> None:
        end = tree.entries["end"]
        if _text(end) != "true":
            raise _Wrong(end.at, "`end` must be true (the file may be half-written)")
        if list(tree.entries)[-1] != "end":
            raise _Wrong(end.at, "`end: true` must be the last line, since it says that nothing is missing before it")

    def _user(self, node: Node) -> User:
        if not isinstance(node, Tree):
            raise _Wrong(node.at, f"a user is a mapping of {', '.join(_USER_KEYS)}")
        self._check_keys(node, _USER_KEYS, "a user")
        entries = node.entries
        name = self._try(self._name, _entry(node, "name"))
        token = self._try(self._token, entries["token"]) if "token" in entries else None
        tokens = self._each(node, "tokens", self._token)
        tokens = tokens if token is None else (token, *tokens)
        if sum(one.live(self._rules.now) for one in tokens) > LIVE_TOKENS:
            told = f"the user has more than {LIVE_TOKENS} tokens that have not expired (two are for rotation)"
            self.problems.append(f"{node.at}: {told}")
        return User(
            name or "",
            permissions=self._each(node, "permissions", partial(self._permission, {})),
            sources=self._each(node, "sources", self._source),
            signing_key=self._try(self._signing_key, entries["signing_key"]) if "signing_key" in entries else None,
            tokens=tokens,
            allow_openquery=self._flag_of(entries, "allow_openquery"),
        )

    def _name(self, node: Node) -> str:
        text = _text(node)
        if not text or not is_user_name(text):
            told = f"a user needs a `name` of 1 to {NAME_LENGTH} printable characters, without blanks around it"
            raise _Wrong(node.at, told)
        # Two names that look alike in a log would be one to its reader.
        folded = unicodedata.normalize("NFKC", text).casefold()
        if folded in self._names:
            raise _Wrong(node.at, f"the user {text!r} is here twice, first in line {self._names[folded].line}")
        self._names[folded] = node.at
        return text

    def _token(self, node: Node) -> BearerToken:
        if not isinstance(node, Tree):
            return BearerToken(self._token_digest(node))
        if not node.entries.keys() <= _TOKEN_KEYS:  # a key that is not known may be the token itself: it is not shown
            raise _Wrong(node.at, "a token is text, or a mapping of token and expires")
        expires = self._try(self._date, node.entries["expires"]) if "expires" in node.entries else None
        return BearerToken(self._token_digest(_entry(node, "token")), expires)

    def _token_digest(self, node: Node) -> bytes:
        text, in_file = self._secret(node, "a token is sha256:<64 hexadecimal digits> or env:NAME")
        if hashed := _SHA256.fullmatch(text):
            digest = bytes.fromhex(hashed[1])
        elif _MARKED.match(text) or not _TOKEN.fullmatch(text):
            told = "a token is sha256:<64 hexadecimal digits>, env:NAME or, plain, visible ASCII without blanks"
            raise _Wrong(node.at, told)
        elif in_file and not self._rules.plain_tokens:
            raise _Wrong(node.at, "a plain token is refused in production (write sha256:<its SHA-256> or env:NAME)")
        else:
            digest = token_digest(text)
            self._plain_secrets |= in_file
            self._secrets.append(text)
        if digest in self._tokens:
            raise _Wrong(
                node.at, f"the token is that of line {self._tokens[digest].line}; a token names one user, once"
            )
        self._tokens[digest] = node.at
        return digest

    def _date(self, node: Node) -> dt.date:
        text = _text(node) or ""
        try:
            if _DATE.fullmatch(text):
                return dt.date.fromisoformat(text)
        except ValueError:
            pass
        raise _Wrong(node.at, "`expires` must be a date like 2027-01-31, the last day (UTC) on which the token is good")

    def _signing_key(self, node: Node) -> SecretStr:
        text, in_file = self._secret(node, "a signing key is env:NAME or the key itself")
        if _MARKED.match(text):
            raise _Wrong(node.at, "a signing key is env:NAME or the key itself (a hash of it can't sign)")
        if len(text) < SIGNING_KEY_LENGTH:
            raise _Wrong(node.at, f"a signing key needs {SIGNING_KEY_LENGTH} characters or more")
        try:
            key = text.encode()
        except UnicodeEncodeError:  # bytes of an environment variable that are no UTF-8; the exception quotes them
            raise _Wrong(node.at, "the signing key is not UTF-8") from None
        for known, at in self._signing_keys:
            if hmac.compare_digest(known, key):
                raise _Wrong(node.at, f"the signing key is that of line {at.line}: one user could sign as the other")
        self._signing_keys.append((key, node.at))
        self._plain_secrets |= in_file
        self._secrets.append(text)
        return SecretStr(text)

    def _secret(self, node: Node, forms: str) -> tuple[str, bool]:
        """The text of a secret, and whether it stands in the file itself."""
        written = _text(node)
        if not written:
            raise _Wrong(node.at, forms)
        variable = _VARIABLE.fullmatch(written)
        text = self._rules.environ.get(variable[1]) if variable else written
        if not text:
            raise _Wrong(node.at, f"{written} names an environment variable that is not set")
        if text != text.strip():
            raise _Wrong(node.at, "there are blanks or line ends around the secret")
        return text, variable is None

    def _source(self, node: Node) -> SourcePattern:
        try:
            return SourcePattern.parse(_text(node) or "")
        except ValueError as exc:
            raise _Wrong(node.at, str(exc)) from exc

    def _permission(self, seen: dict[TablePattern, Place], node: Node) -> TablePermission | None:
        if not isinstance(node, Tree):
            raise _Wrong(node.at, f"a permission is a mapping of {', '.join(_ENTRY_KEYS)}")
        self._check_keys(node, _ENTRY_KEYS, "a permission")
        limits = {key: entry for key, entry in node.entries.items() if key in ("max_delete_rows", "allow_cascade")}
        pattern = self._try(self._pattern, _entry(node, "table"))
        access = self._try(self._access, _entry(node, "access"))
        rows = self._try(self._rows, limits["max_delete_rows"]) if "max_delete_rows" in limits else 0
        cascade = self._flag_of(limits, "allow_cascade")
        if access is Access.READ:
            for key, limit in limits.items():
                self.problems.append(f"{limit.at}: `{key}` means nothing where `access` is read")
        if pattern is None or access is None:
            return None
        if pattern in seen:
            told = f"{pattern.text!r} means the tables of line {seen[pattern].line} again; one entry decides about them"
            raise _Wrong(node.at, told)
        seen[pattern] = node.at
        return TablePermission(pattern, access, rows or 0, cascade)

    def _pattern(self, node: Node) -> TablePattern:
        text = _text(node)
        if not text:
            raise _Wrong(node.at, "a permission needs a `table`, like dbo.Orders or dbo.*")
        try:
            return TablePattern.parse(text, self._rules.home)
        except ValueError as exc:
            raise _Wrong(node.at, str(exc)) from exc

    def _access(self, node: Node) -> Access:
        text = _text(node) or ""
        if text in list(Access):
            return Access(text)
        near = closest(text, Access)
        meant = f" (did you mean {near}?)" if near else ""
        raise _Wrong(node.at, f"a permission needs `access`: one of {', '.join(Access)}{meant}")

    def _rows(self, node: Node) -> int:
        if not _ROWS.fullmatch(_text(node) or ""):
            raise _Wrong(node.at, "`max_delete_rows` must be a number of rows, digits only; 0 allows no DELETE")
        return int(_text(node) or "")

    def _flag_of(self, entries: Mapping[str, Node], key: str) -> bool:
        """A flag of a mapping, false where it is left out."""
        return key in entries and bool(self._try(partial(self._flag, key), entries[key]))

    def _flag(self, key: str, node: Node) -> bool:
        if _text(node) not in ("true", "false"):
            raise _Wrong(node.at, f"`{key}` must be true or false")
        return _text(node) == "true"


def _shown_key(key: str) -> str:
    """The key, unless it may be a secret that slipped into a key's place: no short word is one here."""
    return repr(key) if _KEY.fullmatch(key) else f"of these {len(key)} characters, which may be a secret"


def _text(node: Node) -> str | None:
    return node.text if isinstance(node, Scalar) else None


def _entry(tree: Tree, key: str) -> Node:
    """What stands under the key; where nothing does, nothing in the place of the mapping."""
    return tree.entries.get(key, Scalar(None, tree.at))
