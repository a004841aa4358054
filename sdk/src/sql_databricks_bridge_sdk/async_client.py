"""`AsyncBridgeClient`: the bridge's REST API, to be awaited (asyncio). The methods are those of `BridgeClient`."""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import httpx

from . import calls, waiting
from .calls import Call, Parameter
from .endpoint import Endpoint
from .exchange import Broken, OpenStream, Pause, ReadPiece, Reply, Rules, Send, Step, Steps, Tell, exchange
from .models import Event, Job, QueryFile, Readiness
from .transport import BROKEN, broken_by, options, reply_of, request_arguments, stream_timeout

T = TypeVar("T")


class AsyncBridgeClient:
    """A client of one bridge for one token, for asyncio. An async context manager; for tasks of one event loop.

    Retries, errors and results are those of `BridgeClient`.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout_s: float = 30.0,
        retries: int = 4,
        ssl_context: ssl.SSLContext | None = None,
        allow_insecure: bool = False,
    ) -> None:
        """As `BridgeClient`: nothing is sent yet."""
        self._endpoint = Endpoint.of(base_url, token, allow_insecure=allow_insecure)
        self._rules = Rules(timeout_s, retries)
        self._http = httpx.AsyncClient(**options(self._endpoint, timeout_s, ssl_context))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint.url!r})"

    async def __aenter__(self) -> AsyncBridgeClient:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; the client can't be used any more."""
        await self._http.aclose()

    # Extraction ------------------------------------------------------------------------------------------------------

    async def extract(
        self,
        country: str,
        *,
        queries: Sequence[str] | None = None,
        destination: str | None = None,
        lookback_months: int | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        limit: int | None = None,
        publish: bool | None = None,
        strict: bool = False,
        partitions: int | Literal["auto"] | None = None,
        partition_key: Sequence[str] | None = None,
        partition_lock: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """As `BridgeClient.extract`."""
        call = calls.extract(
            country,
            queries=queries,
            destination=destination,
            lookback_months=lookback_months,
            parameters=parameters,
            limit=limit,
            publish=publish,
            strict=strict,
            partitions=partitions,
            partition_key=partition_key,
            partition_lock=partition_lock,
            idempotency_key=idempotency_key,
        )
        return await self._ask(call)

    async def get_job(self, job: Job | str) -> Job:
        """As `BridgeClient.get_job`."""
        return await self._ask(calls.get_job(job))

    async def list_jobs(
        self, *, status: str | None = None, country: str | None = None, page_size: int = 50
    ) -> AsyncIterator[Job]:
        """As `BridgeClient.list_jobs`."""
        cursor: str | None = None
        while True:
            page = await self._ask(calls.list_jobs(status=status, country=country, page_size=page_size, cursor=cursor))
            for job in page.jobs:
                yield job
            cursor = page.next_cursor
            if cursor is None:
                return

    async def wait(
        self,
        job: Job | str,
        *,
        on_progress: Callable[[Job], object] | None = None,
        timeout_s: float | None = None,
        check: bool = True,
    ) -> Job:
        """As `BridgeClient.wait`. `on_progress` may be a coroutine function."""
        return await self._run(
            waiting.job_end(job, self._rules, on_progress=on_progress, timeout_s=timeout_s, check=check)
        )

    async def cancel(self, job: Job | str) -> Job:
        """As `BridgeClient.cancel`."""
        return await self._ask(calls.cancel(job))

    async def queries(self, country: str) -> tuple[QueryFile, ...]:
        """As `BridgeClient.queries`."""
        return await self._ask(calls.queries_of(country))

    # Events ----------------------------------------------------------------------------------------------------------

    async def submit_event(
        self,
        operation: str,
        source: str | None,
        target: str,
        *,
        keys: Sequence[str] = (),
        filters: Mapping[str, str | None] | None = None,
        rows_expected: int | None = None,
        priority: int = 0,
        metadata: Mapping[str, str | None] | None = None,
        event_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Event:
        """As `BridgeClient.submit_event`."""
        call = calls.submit_event(
            operation,
            source,
            target,
            keys=keys,
            filters=filters,
            rows_expected=rows_expected,
            priority=priority,
            metadata=metadata,
            event_id=event_id,
            idempotency_key=idempotency_key,
        )
        return await self._ask(call)

    async def get_event(self, event: Event | str) -> Event:
        """As `BridgeClient.get_event`."""
        return await self._ask(calls.get_event(event))

    async def list_events(self, *, status: str | None = None, limit: int = 50) -> tuple[Event, ...]:
        """As `BridgeClient.list_events`."""
        return await self._ask(calls.list_events(status=status, limit=limit))

    async def retry_event(self, event: Event | str, *, idempotency_key: str | None = None) -> Event:
        """As `BridgeClient.retry_event`."""
        return await self._ask(calls.retry_event(event, idempotency_key=idempotency_key))

    async def wait_for_event(
        self, event: Event | str, *, timeout_s: float | None = 3600.0, check: bool = True
    ) -> Event:
        """As `BridgeClient.wait_for_event`."""
        return (await self.wait_for_events([event], timeout_s=timeout_s, check=check))[0]

    async def wait_for_events(
        self, events: Sequence[Event | str], *, timeout_s: float | None = 3600.0, check: bool = True
    ) -> tuple[Event, ...]:
        """As `BridgeClient.wait_for_events`."""
        return await self._run(waiting.event_ends(events, self._rules, timeout_s=timeout_s, check=check))

    # The bridge itself -----------------------------------------------------------------------------------------------

    async def version(self) -> str:
        """As `BridgeClient.version`."""
        return await self._ask(calls.version())

    async def ready(self) -> Readiness:
        """As `BridgeClient.ready`."""
        return await self._ask(calls.ready())

    # Carrying steps out ----------------------------------------------------------------------------------------------

    async def _ask(self, call: Call[T]) -> T:
        return await self._run(exchange(call, self._rules))

    async def _run(self, steps: Steps[T]) -> T:
        stream = _Stream(self._http, self._endpoint)
        answer: Any = None
        try:
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration as end:
                    result: T = end.value
                    return result
                answer = await self._carry_out(step, stream)
        finally:
            await stream.close()
            steps.close()

    async def _carry_out(self, step: Step, stream: _Stream) -> Any:
        if isinstance(step, Send):
            return await self._send(step)
        if isinstance(step, OpenStream):
            return await stream.open(step)
        if isinstance(step, ReadPiece):
            return await stream.read()
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        assert isinstance(step, Tell)
        told = step.tell(step.news)
        if inspect.isawaitable(told):
            await told
        return None

    async def _send(self, step: Send) -> Reply | Broken:
        request = self._http.build_request(**request_arguments(self._endpoint, step.call), timeout=step.timeout_s)
        try:
            response = await self._http.send(request)
        except BROKEN as exc:
            return broken_by(exc)
        return reply_of(response, response.content)


class _Stream:
    """At most one open answer."""

    def __init__(self, http: httpx.AsyncClient, endpoint: Endpoint) -> None:
        self._http = http
        self._endpoint = endpoint
        self._response: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def open(self, step: OpenStream) -> Reply | Broken:
        await self.close()
        request = self._http.build_request(
            **request_arguments(self._endpoint, step.call), timeout=stream_timeout(step.timeout_s, step.silence_s)
        )
        try:
            self._response = await self._http.send(request, stream=True)
        except BROKEN as exc:
            return broken_by(exc)
        self._pieces = self._response.aiter_bytes()
        return reply_of(self._response, b"")

    async def read(self) -> bytes | Broken:
        try:
            return b"" if self._pieces is None else await anext(self._pieces, b"")
        except BROKEN as exc:
            return broken_by(exc)

    async def close(self) -> None:
        if self._response is not None:
            await self._response.aclose()
            self._response = None
