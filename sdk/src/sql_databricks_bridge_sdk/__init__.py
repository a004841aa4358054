"""The client of SQL-Databricks Bridge: its REST API, and its events from Databricks notebooks and jobs.

Needs httpx only; nothing of the server is imported.
"""

from .async_client import AsyncBridgeClient
from .client import BridgeClient
from .errors import (
    BridgeApiError,
    BridgeSdkError,
    BridgeUnreachable,
    Conflict,
    EventBlocked,
    EventConflict,
    EventFailed,
    EventNotFound,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    KeyReused,
    NotFound,
    NotPermitted,
    Problem,
    RateLimited,
    SignInRefused,
    StatementFailed,
    Unavailable,
    UnexpectedAnswer,
    WaitTimeout,
)
from .events import BridgeEvents
from .models import Dependency, Event, Job, Progress, QueryFile, QueryResult, Readiness
from .version import __version__

__all__ = [
    "AsyncBridgeClient",
    "BridgeApiError",
    "BridgeClient",
    "BridgeEvents",
    "BridgeSdkError",
    "BridgeUnreachable",
    "Conflict",
    "Dependency",
    "Event",
    "EventBlocked",
    "EventConflict",
    "EventFailed",
    "EventNotFound",
    "InvalidRequest",
    "Job",
    "JobCancelled",
    "JobFailed",
    "KeyReused",
    "NotFound",
    "NotPermitted",
    "Problem",
    "Progress",
    "QueryFile",
    "QueryResult",
    "RateLimited",
    "Readiness",
    "SignInRefused",
    "StatementFailed",
    "Unavailable",
    "UnexpectedAnswer",
    "WaitTimeout",
    "__version__",
]
