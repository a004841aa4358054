"""`/api/2.0/sql/statements`: execute SQL, ask for its state, fetch its result, cancel it.

Source: Databricks REST API, "Statement Execution".
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from . import results
from .connections import abort
from .errors import ApiError, invalid, malformed, not_supported
from .lifecycle import Order, Run
from .links import LinkError, rfc3339
from .names import Place
from .render import rows
from .unity import require_warehouse

if TYPE_CHECKING:
    from .workspace import Workspace

_FIELDS = {
    "statement",
    "warehouse_id",
    "catalog",
    "schema",
    "parameters",
    "row_limit",
    "byte_limit",
    "disposition",
    "format",
    "wait_timeout",
    "on_wait_timeout",
    "query_tags",
}
_MAX_TEXT_BYTES = 16 * 1024 * 1024
_MEDIA = {"ARROW_STREAM": "application/vnd.apache.arrow.stream", "JSON_ARRAY": "application/json", "CSV": "text/csv"}


async def execute(request: Request) -> Response:
    """POST /api/2.0/sql/statements."""
    workspace: Workspace = request.app.state.workspace
    try:
        body = json.loads(await request.body())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise malformed("The request body must be a JSON object.")
    order = _order(workspace, body)
    wait_s = _wait_s(body.get("wait_timeout", "10s"))
    on_timeout = _choice(body, "on_wait_timeout", ("CONTINUE", "CANCEL"))
    run = workspace.statements.start(order, request.state.faults, workspace.faults)
    request.state.logged.statement_id = run.statement_id
    if request.state.faults.take("drop", "executed"):
        await asyncio.wrap_future(run.ended)
        request.state.dropped = True
        await abort(request.scope.get("client"))
        return Response(status_code=500)
    if request.state.faults.peek("delay_after_s"):
        await asyncio.wrap_future(run.ended)
    if wait_s:
        await _ended(run, wait_s)
        if not run.ended.done() and on_timeout == "CANCEL":
            workspace.statements.cancel(run)
            await _ended(run, 30)
    return JSONResponse(_answer(workspace, request, run))


async def status(request: Request) -> Response:
    """GET /api/2.0/sql/statements/{id}."""
    workspace: Workspace = request.app.state.workspace
    return JSONResponse(_answer(workspace, request, _find(workspace, request)))


async def cancel(request: Request) -> Response:
    """POST /api/2.0/sql/statements/{id}/cancel."""
    workspace: Workspace = request.app.state.workspace
    workspace.statements.cancel(_find(workspace, request))
    return JSONResponse({})


async def chunk(request: Request) -> Response:
    """GET /api/2.0/sql/statements/{id}/result/chunks/{index}."""
    workspace: Workspace = request.app.state.workspace
    run = _find(workspace, request)
    index = int(request.path_params["chunk"])
    if run.result is None:
        raise ApiError(404, "NOT_FOUND", f"The statement {run.statement_id} has no result; it is {run.state}.")
    if index >= len(run.result.chunks):
        raise invalid(f"chunk_index {index} is out of range: the result has {len(run.result.chunks)} chunks.")
    return JSONResponse(await asyncio.to_thread(_chunk, workspace, request, run, index))


async def read_link(request: Request) -> Response:
    """GET on an external link."""
    workspace: Workspace = request.app.state.workspace
    workspace.links.check(request, expired=bool(request.state.faults.take("expire_links")))
    run = workspace.statements.find(request.path_params["id"])
    if run is None or run.result is None:
        raise LinkError(404, "NoSuchKey", "The specified key does not exist.")
    found = run.result.chunks[int(request.path_params["chunk"])]
    body = await asyncio.to_thread(results.read, found, run.order.result_format)
    return Response(body, media_type=_MEDIA[run.order.result_format])


# The request --------------------------------------------------------------------------------------


def _order(workspace: Workspace, body: dict[str, Any]) -> Order:
    if unknown := sorted(set(body) - _FIELDS):
        raise not_supported(f"the field {unknown[0]!r} of a statement")
    text = body.get("statement")
    if not isinstance(text, str) or not text.strip():
        raise invalid("The field 'statement' is missing or empty.")
    if len(text.encode()) > _MAX_TEXT_BYTES:
        raise invalid("The statement is longer than 16 MiB.")
    if not body.get("warehouse_id"):
        raise invalid("The field 'warehouse_id' is missing.")
    require_warehouse(workspace, body["warehouse_id"])
    inline = _choice(body, "disposition", ("INLINE", "EXTERNAL_LINKS")) == "INLINE"
    result_format = _choice(body, "format", ("JSON_ARRAY", "ARROW_STREAM", "CSV"))
    if inline and result_format != "JSON_ARRAY":
        raise invalid("The format field must be JSON_ARRAY when the disposition field is INLINE.")
    settings = workspace.settings
    catalog, schema = body.get("catalog") or settings.catalog, body.get("schema") or "default"
    limits = results.Limits(
        settings.chunk_bytes, settings.chunk_rows, _limit(body, "row_limit"), _limit(body, "byte_limit"), inline
    )
    place = Place(str(catalog).lower(), str(schema).lower())
    return Order(text, _parameters(body.get("parameters")), place, limits, result_format, inline)


def _parameters(given: object) -> list[dict[str, Any]]:
    if given is None:
        return []
    if not isinstance(given, list):
        raise malformed("'parameters' must be a list.")
    names = set()
    for each in given:
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            raise malformed("Each parameter must be an object with a name.")
        if unknown := sorted(set(each) - {"name", "value", "type"}):
            raise not_supported(f"the field {unknown[0]!r} of a parameter")
        if each["name"] in names:
            raise invalid(f"The parameter {each['name']!r} is given twice.")
        names.add(each["name"])
        for name in ("value", "type"):
            if each.get(name) is not None and not isinstance(each[name], str):
                raise malformed(f"The {name} of the parameter {each['name']!r} must be a string.")
    return given


def _choice(body: dict[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    value = body.get(name) or allowed[0]
    if value not in allowed:
        raise invalid(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
    return str(value)


def _limit(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise invalid(f"{name} must be 1 or more, not {value!r}.")
    return value


def _wait_s(value: object) -> int:
    digits = value.removesuffix("s") if isinstance(value, str) and value.endswith("s") else ""
    if not (digits.isascii() and digits.isdigit()) or not (int(digits) == 0 or 5 <= int(digits) <= 50):
        raise invalid(f"wait_timeout must be '0s' or between '5s' and '50s', not {value!r}.")
    return int(digits)


def _find(workspace: Workspace, request: Request) -> Run:
    statement_id = request.path_params["id"]
    run = workspace.statements.find(statement_id)
    if run is None:
        raise ApiError(404, "NOT_FOUND", f"The statement {statement_id} was not found.")
    return run


async def _ended(run: Run, timeout_s: float) -> None:
    await asyncio.wait([asyncio.wrap_future(run.ended)], timeout=timeout_s)


# The answer ---------------------------------------------------------------------------------------


def _answer(workspace: Workspace, request: Request, run: Run) -> dict[str, object]:
    state = run.state if run.ended.done() or run.state == "PENDING" else "RUNNING"
    told: dict[str, object] = {"state": state}
    answer: dict[str, object] = {"statement_id": run.statement_id, "status": told}
    if state == "FAILED" and run.failure is not None:
        told["error"] = {"error_code": run.failure.error_code, "message": run.failure.message}
        if run.failure.sqlstate:
            told["sql_state"] = run.failure.sqlstate
    if state == "SUCCEEDED" and run.result is not None:
        answer["manifest"] = _manifest(run, run.result)
        answer["result"] = _chunk(workspace, request, run, 0) if run.result.chunks else {}
    return answer


def _manifest(run: Run, result: results.Result) -> dict[str, object]:
    inline = run.order.inline
    chunks = []
    for each in result.chunks:
        shown = {"chunk_index": each.index, "row_offset": each.row_offset, "row_count": each.row_count}
        chunks.append(shown if inline else {**shown, "byte_count": each.size_bytes})
    manifest: dict[str, object] = {
        "format": run.order.result_format,
        "schema": {"column_count": len(run.columns), "columns": run.columns},
        "total_chunk_count": len(chunks),
        "chunks": chunks,
        "total_row_count": result.row_count,
        "truncated": result.truncated,
    }
    if not inline:
        manifest["total_byte_count"] = result.size_bytes
    return manifest


def _chunk(workspace: Workspace, request: Request, run: Run, index: int) -> dict[str, object]:
    assert run.result is not None
    found = run.result.chunks[index]
    shown: dict[str, object] = {
        "chunk_index": index,
        "row_offset": found.row_offset,
        "row_count": found.row_count,
    }
    if index + 1 < len(run.result.chunks):
        shown["next_chunk_index"] = index + 1
        shown["next_chunk_internal_link"] = (
            f"/api/2.0/sql/statements/{run.statement_id}/result/chunks/{index + 1}?row_offset={found.row_offset}"
        )
    if run.order.inline:
        return {**shown, "data_array": rows(results.load(found))}
    lifetime_s = -1 if request.state.faults.take("expire_links") else workspace.settings.link_lifetime_s
    expires = time.time() + lifetime_s
    link = workspace.links.make(workspace.url, "GET", f"/results/{run.statement_id}/{index}", expires)
    shown.update(byte_count=found.size_bytes, external_link=link, expiration=rfc3339(expires))
    return {"external_links": [shown]}
