"""The error body of the Databricks REST API, and the errors that many routes share.

Source: Databricks REST API, "Error codes"; the SDKs' list of error codes; google.rpc.ErrorInfo in `details`, as the
Files API sends it.
"""

from __future__ import annotations

import uuid

from starlette.responses import JSONResponse, Response


class ApiError(Exception):
    """A request that is answered with an error status.

    `reason` (such as FILES_API_FILE_NOT_FOUND) and `metadata` become a google.rpc.ErrorInfo in `details`.
    """

    def __init__(
        self,
        status: int,
        error_code: str,
        message: str,
        *,
        reason: str | None = None,
        metadata: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = error_code
        self.message = message
        self.reason = reason
        self.metadata = metadata or {}
        self.headers = headers

    def response(self) -> Response:
        """The HTTP answer. A HEAD request drops the body on the way out."""
        request_id = str(uuid.uuid4())
        details: list[dict[str, object]] = [
            {"@type": "type.googleapis.com/google.rpc.RequestInfo", "request_id": request_id, "serving_data": ""}
        ]
        if self.reason:
            details.insert(
                0,
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": self.reason,
                    "domain": "filesystem.databricks.com",
                    "metadata": self.metadata,
                },
            )
        return JSONResponse(
            {"error_code": self.error_code, "message": self.message, "details": details},
            status_code=self.status,
            headers={"x-request-id": request_id, **(self.headers or {})},
        )


def invalid(message: str, *, reason: str | None = None) -> ApiError:
    """400: a value that the API does not accept."""
    return ApiError(400, "INVALID_PARAMETER_VALUE", message, reason=reason)


def malformed(message: str) -> ApiError:
    """400: a body that is not what the endpoint reads."""
    return ApiError(400, "MALFORMED_REQUEST", message)


def no_such_endpoint(method: str, path: str) -> ApiError:
    """404: what Databricks answers to a route that it does not have."""
    return ApiError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{method} {path}'")


def not_supported(what: str) -> ApiError:
    """501: something that Databricks has and this stand-in has not."""
    return ApiError(501, "NOT_IMPLEMENTED", f"The Databricks stand-in does not support {what}.")
