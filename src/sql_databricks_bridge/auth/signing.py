"""On whose behalf an event runs: the user who signed it, or SYNC_PRINCIPAL for one that nobody signed.

Anybody who may insert a row may write anything into it. What counts as signed is therefore drawn wide (either key,
NULL included), what counts as a valid signature narrow, and nothing signed wrongly is taken for unsigned.
"""

from __future__ import annotations

import hmac
import unicodedata
from dataclasses import replace

from sql_databricks_bridge.auth.permissions import Permissions, User
from sql_databricks_bridge.errors import EventBlocked
from sql_databricks_bridge.models.events import SIGNATURE, USER, EventRow
from sql_databricks_bridge.models.text import shown


def sign(row: EventRow, user_name: str, key: str) -> EventRow:
    """The row with `metadata.user` and `metadata.signature`, in place of those that were there."""
    named = replace(row, metadata={**(row.metadata or {}), USER: user_name})
    return replace(named, metadata={**(named.metadata or {}), SIGNATURE: named.signature(key)})


def principal_of(row: EventRow, permissions: Permissions, *, sync_principal: str | None, allow_unsigned: bool) -> User:
    """The user that the event runs as; `EventBlocked`, without a secret in it, where there is none.

    `allow_unsigned` says whether unsigned events are accepted here at all: outside production, or where
    SYNC_ALLOW_UNSIGNED is on.
    """
    metadata = row.metadata or {}
    for key in metadata:
        if meant := _imitated(key):
            raise EventBlocked(
                f"The metadata key {shown(key)} could be taken for {meant!r}.",
                hint=f"Write {meant!r} exactly, or name the note otherwise.",
            )
    if USER in metadata or SIGNATURE in metadata:
        return _signer(row, metadata.get(USER), metadata.get(SIGNATURE), permissions)
    return _unsigned(permissions, sync_principal, allow_unsigned)


def _signer(row: EventRow, name: str | None, signature: str | None, permissions: Permissions) -> User:
    if name is None or signature is None:
        missing = USER if name is None else SIGNATURE
        raise EventBlocked(
            f"The event is half signed: metadata has no value for {missing!r}.",
            hint="A signed event has both `user` and `signature`, an unsigned one neither.",
        )
    user = permissions.user(name)
    if user is None:
        raise EventBlocked(
            f"The event is signed by {shown(name)}, who is not in permissions.yaml.",
            hint="Names are compared exactly.",
        )
    if user.signing_key is None:
        raise EventBlocked(
            f"The event is signed by {shown(name)}, who has no signing_key in permissions.yaml.",
            hint="Give the user a signing_key, or leave `user` and `signature` out of the metadata.",
        )
    expected = row.signature(user.signing_key.get_secret_value())
    # Bytes, since compare_digest refuses texts that are not ASCII.
    if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogatepass")):
        raise EventBlocked(
            f"The event's signature is not that of {shown(name)} for this event.",
            hint="Another key signed it, or something was changed afterwards: event_id, operation, tables, keys, "
            "priority, rows_expected, filters and metadata are signed as they are stored (docs/permissions.md).",
        )
    return user


def _unsigned(permissions: Permissions, sync_principal: str | None, allow_unsigned: bool) -> User:
    if not allow_unsigned:
        raise EventBlocked(
            "The event is not signed, and unsigned events are not accepted here.",
            hint="Sign it (docs/permissions.md), or set SYNC_ALLOW_UNSIGNED.",
        )
    if not sync_principal:
        raise EventBlocked(
            "The event is not signed, and SYNC_PRINCIPAL, the user that such events run as, is not set.",
            hint="Sign it (docs/permissions.md), or set SYNC_PRINCIPAL to a user of permissions.yaml.",
        )
    user = permissions.user(sync_principal)
    if user is None:
        raise EventBlocked(
            f"The event is not signed, and SYNC_PRINCIPAL {shown(sync_principal)} is not in permissions.yaml.",
            hint="Names are compared exactly.",
        )
    if user.signing_key is not None:
        raise EventBlocked(
            f"The event is not signed, and SYNC_PRINCIPAL {shown(sync_principal)} has a signing_key, so that only "
            "signed events run as that user.",
            hint="Sign it, or name a user without a signing_key.",
        )
    return user


def _imitated(key: str) -> str | None:
    """The reserved key that `key` is not but looks like: other case, blanks, invisible or look-alike characters.

    Such a key gives no right, but shows a reader of the events table a user who never signed.
    """
    if key in (USER, SIGNATURE):
        return None
    folded = unicodedata.normalize("NFKC", key).casefold()
    letters = "".join(c for c in folded if c.isprintable() and not c.isspace() and not unicodedata.combining(c))
    for meant in (USER, SIGNATURE):
        if len(letters) == len(meant):
            same = [a == b for a, b in zip(letters, meant, strict=True)]
            # An other-script letter may look like any; where no letter agrees it is simply another word.
            if any(same) and all(ok or not letter.isascii() for ok, letter in zip(same, letters, strict=True)):
                return meant
    return None
