"""The door of the stand-in: every request passes here, is logged, meets the fault rules and shows its credentials."""

from __future__ import annotations

import json
import logging
from urllib.parse import unquote

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..faults import Fired
from .bodies import drain
from .connections import abort
from .errors import ApiError
from .paths import volume_names
from .requestlog import Logged, statement_kind
from .workspace import Workspace

_log = logging.getLogger(__name__)

ADMIN_PREFIX = "/_sandbox"
_STATEMENTS = "/api/2.0/sql/statements"
_MAX_STATEMENT_BODY = 64 * 1024 * 1024


class Gate:
    """ASGI middleware around the routes. Handlers find `faults`, `principal` and `logged` in `request.state`."""

    def __init__(self, app: ASGIApp, workspace: Workspace) -> None:
        self._app = app
        self._workspace = workspace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http" or scope["path"].startswith(ADMIN_PREFIX):
            await self._app(scope, receive, send)
            return
        passage = _Passage(self._workspace, scope, receive, send)
        await passage.run(self._app)


class _Passage:
    """One request on its way."""

    def __init__(self, workspace: Workspace, scope: Scope, receive: Receive, send: Send) -> None:
        self._workspace = workspace
        self._scope = scope
        self._receive = receive
        self._send = send
        self._replay: list[Message] = []
        self._cut_after: int | None = None
        self._silent = False
        self._dropped = False

    async def run(self, app: ASGIApp) -> None:
        scope = self._scope
        method, path = scope["method"], _target(scope)
        statement = await self._peek_statement()
        logged = self._logged = self._workspace.requests.begin(method, path, statement)
        facts = {"method": method, "path": path}
        if statement is not None:
            facts["statement"] = statement
            facts["kind"] = statement_kind(statement) or ""
        fired = self._workspace.faults.check(facts)
        scope.setdefault("state", {}).update(faults=fired, logged=logged)
        try:
            if await self._before(fired):
                return
            if scope["path"].startswith("/api/"):
                scope["state"]["principal"] = self._workspace.tokens.principal(_header(scope, b"authorization"))
            if fired.take("drop", "after"):
                self._silent = True
            if cut := fired.take("cut_response_after_bytes"):
                self._cut_after = int(str(cut.value))
            await app(scope, self._replayed, self._filtered)
            if self._silent:
                await self._drop()
        except ApiError as error:
            await self._answer(error)
        except Exception:  # noqa: BLE001 - the edge of a request: the story goes to the log, the client gets the API's own 500
            _log.exception("request failed: %s %s", method, path)
            if logged.status is None:
                await self._answer(ApiError(500, "INTERNAL_ERROR", "The Databricks stand-in failed; see its log."))

    async def _before(self, fired: Fired) -> bool:
        """Carry out what comes before handling; True when the request ends here."""
        while delay := fired.take("delay_s"):
            await anyio.sleep(float(str(delay.value)))
        while vanish := fired.take("vanish_volume"):
            self._vanish(vanish.value)
        if fired.take("drop", "before"):
            await self._drop()
            return True
        if rule := fired.take("status"):
            await self._answer(_told_error(int(str(rule.value)), rule.details))
            return True
        return False

    def _vanish(self, value: object) -> None:
        names = value.split(".") if isinstance(value, str) else volume_names(self._scope["path"])
        if names is not None and len(names) == 3:
            self._workspace.catalog.drop_volume(*names)

    async def _answer(self, error: ApiError) -> None:
        # A client that is still sending would lose the answer with the connection, so its body is taken first.
        await drain(self._replayed)
        await error.response()(self._scope, self._replayed, self._filtered)
        if self._silent:
            await self._drop()

    async def _drop(self) -> None:
        self._dropped = True
        self._logged.status = 0
        await abort(self._scope.get("client"))

    async def _peek_statement(self) -> str | None:
        if self._scope["method"] != "POST" or self._scope["path"].rstrip("/") != _STATEMENTS:
            return None
        body = bytearray()
        more = True
        while more and len(body) <= _MAX_STATEMENT_BODY:
            message = await self._receive()
            self._replay.append(message)
            body += message.get("body", b"")
            more = message["type"] == "http.request" and message.get("more_body", False)
        try:
            statement = json.loads(body)["statement"]
        except (ValueError, KeyError, TypeError):
            return None
        return statement if isinstance(statement, str) else None

    async def _replayed(self) -> Message:
        return self._replay.pop(0) if self._replay else await self._receive()

    async def _filtered(self, message: Message) -> None:
        if self._scope["state"].get("dropped"):  # by the handler, in the middle of its work
            self._dropped = True
            self._logged.status = 0
        elif message["type"] == "http.response.start":
            while delay := self._scope["state"]["faults"].take("delay_after_s"):
                await anyio.sleep(float(str(delay.value)))
            self._logged.status = message["status"]
        if self._silent or self._dropped:
            return
        if message["type"] != "http.response.body" or self._cut_after is None:
            await self._send(message)
            return
        body = message.get("body", b"")
        if len(body) < self._cut_after or (len(body) == self._cut_after and message.get("more_body", False)):
            self._cut_after -= len(body)
            await self._send(message)
            return
        await self._send({"type": "http.response.body", "body": body[: self._cut_after], "more_body": True})
        await self._drop()

    _logged: Logged


def _target(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    return f"{scope['path']}?{unquote(query)}" if query else str(scope["path"])


def _header(scope: Scope, wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), None)


def _told_error(status: int, details: object) -> ApiError:
    assert isinstance(details, dict)
    usual = {429: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE", 404: "NOT_FOUND", 403: "PERMISSION_DENIED"}
    headers = {"Retry-After": str(details["retry_after"])} if "retry_after" in details else None
    return ApiError(
        status,
        str(details.get("error_code", usual.get(status, "INTERNAL_ERROR"))),
        str(details.get("message", f"A fault rule answers {status}.")),
        headers=headers,
    )
