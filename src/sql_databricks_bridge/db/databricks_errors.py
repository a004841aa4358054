"""What the Databricks SDK raises, told in the bridge's terms: what happened and which setting to look at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from databricks.sdk import errors as sdk

from sql_databricks_bridge.errors import (
    AlreadyExists,
    BridgeError,
    LakehouseError,
    LakehouseNotFound,
    LakehouseSignInError,
    LakehouseUnavailable,
    StatementFailed,
)

_HOST = "Check DATABRICKS_HOST and that this machine can reach it."
_AGAIN = "Try again later; DATABRICKS_RETRY_TIMEOUT_S says how long the bridge tries by itself."
_CONDITION = re.compile(r"\[([A-Z][A-Z0-9_.]*)\]")
_SQLSTATE = re.compile(r"\s*SQLSTATE: [0-9A-Z]{5}\.?\s*\Z")
_TOLD_CHARACTERS = 600
_BUSY = (sdk.TooManyRequests, sdk.TemporarilyUnavailable, sdk.InternalError, sdk.DeadlineExceeded)


def condition(failure: StatementFailed) -> str:
    """The error condition that Databricks names first, such as 'UNRESOLVED_COLUMN.WITH_SUGGESTION'; '' without one.

    Source: Databricks documentation, "Error conditions".
    """
    match = _CONDITION.search(failure.message)
    return match[1] if match else ""


def words(failure: StatementFailed) -> str:
    """What Databricks said of a failed statement, on one line and without the SQLSTATE; no full stop."""
    text = _SQLSTATE.sub("", failure.message.partition(": ")[2] or failure.message)
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= _TOLD_CHARACTERS else text[: _TOLD_CHARACTERS - 1] + "…"


@contextmanager
def translated(what: str, *, sign_in: str, secrets: tuple[str, ...] = ()) -> Iterator[None]:
    """Run one call on the SDK. `what` is the deed ('Uploading /Volumes/...').

    `sign_in` names the credentials' settings; a secret that shows up in a message is blotted out.
    """
    try:
        yield
    except BridgeError:
        raise
    except (OSError, ValueError, RuntimeError, NotImplementedError) as exc:  # requests' and the SDK's are OSErrors
        raise classify(exc, what, sign_in=sign_in, secrets=secrets) from exc


def classify(exc: BaseException, what: str, *, sign_in: str, secrets: tuple[str, ...] = ()) -> LakehouseError:
    """Name the error that `exc` is; never raises."""
    cause = _root(exc)
    text = _clean(str(cause) or type(cause).__name__, secrets)
    if isinstance(cause, sdk.Unauthenticated):
        return LakehouseSignInError(f"{what}: Databricks did not accept the sign-in: {text}.", hint=f"Check {sign_in}.")
    if isinstance(cause, sdk.PermissionDenied):
        return LakehouseSignInError(
            f"{what}: not permitted: {text}.",
            hint=f"The identity of {sign_in} lacks a privilege, or the credentials are wrong.",
        )
    if isinstance(cause, sdk.NotFound):
        return LakehouseNotFound(f"{what}: not found: {text}.")
    if isinstance(cause, sdk.ResourceConflict):
        return AlreadyExists(f"{what}: it is there already: {text}.")
    if isinstance(cause, _BUSY):
        return LakehouseUnavailable(f"{what}: Databricks is busy or failing: {text}.", hint=_AGAIN)
    if isinstance(cause, requests.exceptions.SSLError):
        return LakehouseUnavailable(f"{what}: no trusted TLS connection to Databricks: {_short(text)}.", hint=_HOST)
    if isinstance(cause, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return LakehouseError(f"{what}: the address is not usable: {text}.", hint="Check DATABRICKS_HOST.")
    if isinstance(cause, requests.exceptions.ConnectionError | requests.exceptions.Timeout | TimeoutError):
        return LakehouseUnavailable(f"{what}: Databricks can't be reached: {_short(text)}.", hint=_HOST)
    if isinstance(cause, requests.exceptions.JSONDecodeError):
        return LakehouseError(f"{what}: the answer is not Databricks' API.", hint="Check DATABRICKS_HOST.")
    if isinstance(cause, ValueError | NotImplementedError) and not isinstance(cause, OSError):
        return LakehouseSignInError(f"{what}: the sign-in failed: {text}.", hint=f"Check {sign_in}.")
    return LakehouseError(f"{what}: {text}.")


def _root(exc: BaseException) -> BaseException:
    """The SDK wraps what it gave up on in a TimeoutError or RuntimeError; the cause says more."""
    while isinstance(exc, TimeoutError | RuntimeError) and isinstance(exc.__cause__, Exception):
        exc = exc.__cause__
    return exc


def _clean(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    # The SDK adds its whole configuration ("Config: host=..., ... Env: ...") to what Databricks said.
    return " ".join(text.split()).partition(" Config: host=")[0].rstrip(".")


def _short(text: str) -> str:
    """urllib3 repeats itself inside its messages; the reason stands last."""
    if "Max retries exceeded" not in text:
        return text
    reason = text.rsplit(": ", 1)[-1].rstrip(")'\" ")
    return reason + ")" * (reason.count("(") - reason.count(")"))
