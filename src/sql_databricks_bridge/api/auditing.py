"""What the API tells the audit log: what is about to be changed before it is, what came of it, what was denied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sql_databricks_bridge.api.dependencies import Service
from sql_databricks_bridge.api.sign_in import Caller
from sql_databricks_bridge.errors import NotPermitted


@contextmanager
def mutation(service: Service, caller: Caller, event_type: str, resource: str, **details: str | int) -> Iterator[None]:
    """Write the intent, on the disk, before the body runs, and what came of it after. `AuditError`: it did not run."""

    def line(tell: Callable[..., None], outcome: str, **more: str) -> None:
        tell(
            event_type,
            user_name=caller.user.name,
            source_ip=caller.address,
            resource=resource,
            action=event_type,
            outcome=outcome,
            request_id=caller.request_id,
            **details,
            **more,
        )

    line(service.audit.write, "intent")
    try:
        yield
    except BaseException as exc:
        line(service.note, "failed", reason=type(exc).__name__)
        raise
    line(service.note, "done")  # it has happened: the caller learns so whatever becomes of the line


@contextmanager
def denials(service: Service, caller: Caller, action: str, resource: str) -> Iterator[None]:
    """Write down what permissions.yaml refuses to the caller."""
    try:
        yield
    except NotPermitted as exc:
        denied(service, caller, action, resource, exc.message)
        raise


def denied(service: Service, caller: Caller, action: str, resource: str, reason: str) -> None:
    """Write down that the caller was refused something, or was not shown it."""
    service.metrics.denied(action)
    service.note(  # not waited for on the disk: how long a refusal takes would tell that there is something
        "permission_denied",
        user_name=caller.user.name,
        source_ip=caller.address,
        resource=resource,
        action=action,
        outcome="denied",
        request_id=caller.request_id,
        reason=reason,
    )
