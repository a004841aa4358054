"""`BridgeClient`: the bridge's REST API, blocking."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

import httpx

from . import calls, waiting
from .calls import Call, Parameter
from .endpoint import Endpoint
from .exchange import Broken, OpenStream, Pause, ReadPiece, Reply, Rules, Send, Step, Steps, Tell, exchange
from .models import Event, Job, QueryFile, Readiness
from .transport import BROKEN, broken_by, options, reply_of, request_arguments, stream_timeout

T = TypeVar("T")


class BridgeClient:
    """A client of one bridge for one token. A context manager; safe to use from several threads.

    Requests are sent again, `retries` times at most, after no answer, 429, 502, 503 and 504, with exponential pauses
    under full jitter, Retry-After (up to 60 s) included. That is harmless: each POST carries one Idempotency-Key.
    Every method raises `BridgeSdkError` and its subclasses, see `errors`; wrong arguments are ValueError or TypeError.
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
        """Nothing is sent yet. `timeout_s` is for each connect, read and write.

        `ValueError` for http:// to another machine, which would show the token, unless `allow_insecure`.
        """
        self._endpoint = Endpoint.of(base_url, token, allow_insecure=allow_insecure)
        self._rules = Rules(timeout_s, retries)
        self._http = httpx.Client(**options(self._endpoint, timeout_s, ssl_context))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint.url!r})"

    def __enter__(self) -> BridgeClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the client can't be used any more."""
        self._http.close()

    # Extraction ------------------------------------------------------------------------------------------------------

    def extract(
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
        """Ask for an extraction of a country's queries (None: all); returns the queued job.

        `destination` is 'catalog.schema.volume', one of those that the country's YAML allows. `parameters` are bound
        to @names. `limit` is the most rows of each query. `publish` makes Delta tables of the results (True) or only
        lands them (False); None is what the country's YAML says. `strict` refuses queries that would
        lose anything. `partitions` is in how many ranges each query is read at once, `partition_key` the columns to
        split by, and `partition_lock` gives all ranges one view. An `idempotency_key` of your own makes the call
        harmless twice even after a restart of your program: the same key and request answer the same job.
        """
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
        return self._ask(call)

    def get_job(self, job: Job | str) -> Job:
        """How a job stands now."""
        return self._ask(calls.get_job(job))

    def list_jobs(self, *, status: str | None = None, country: str | None = None, page_size: int = 50) -> Iterator[Job]:
        """Every job that this user may see, newest first; `page_size` (1 to 200) of them are asked for at once."""
        cursor: str | None = None
        while True:
            page = self._ask(calls.list_jobs(status=status, country=country, page_size=page_size, cursor=cursor))
            yield from page.jobs
            cursor = page.next_cursor
            if cursor is None:
                return

    def wait(
        self,
        job: Job | str,
        *,
        on_progress: Callable[[Job], object] | None = None,
        timeout_s: float | None = None,
        check: bool = True,
    ) -> Job:
        """Wait until a job has ended, calling `on_progress` with each change, the first look and the end included.

        `WaitTimeout` after `timeout_s`, the job going on. With `check`, `JobFailed` where it ended failed or partial,
        `JobCancelled` where cancelled. A bridge that is restarted meanwhile is waited for, five minutes at most.
        """
        return self._run(waiting.job_end(job, self._rules, on_progress=on_progress, timeout_s=timeout_s, check=check))

    def cancel(self, job: Job | str) -> Job:
        """Ask a job to stop; `Conflict` where it had ended otherwise."""
        return self._ask(calls.cancel(job))

    def queries(self, country: str) -> tuple[QueryFile, ...]:
        """The queries that a country can run."""
        return self._ask(calls.queries_of(country))

    # Events ----------------------------------------------------------------------------------------------------------

    def submit_event(
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
        """Ask for INSERT, UPDATE, DELETE or UPSERT of a Delta table's rows in a SQL Server table; returns the event.

        `source` is 'catalog.schema.table' (None for a DELETE by `filters` alone), `target` 'schema.table'. The event
        runs as this token's user.
        """
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
        return self._ask(call)

    def get_event(self, event: Event | str) -> Event:
        """How an event stands now."""
        return self._ask(calls.get_event(event))

    def list_events(self, *, status: str | None = None, limit: int = 50) -> tuple[Event, ...]:
        """The newest events, 500 at most, whose target this user may read or write."""
        return self._ask(calls.list_events(status=status, limit=limit))

    def retry_event(self, event: Event | str, *, idempotency_key: str | None = None) -> Event:
        """Send a failed or blocked event round again; `Conflict` for any other."""
        return self._ask(calls.retry_event(event, idempotency_key=idempotency_key))

    def wait_for_event(self, event: Event | str, *, timeout_s: float | None = 3600.0, check: bool = True) -> Event:
        """Wait until an event has ended.

        `WaitTimeout` after `timeout_s`; with `check`, `EventFailed` or `EventBlocked` unless it completed.
        """
        return self.wait_for_events([event], timeout_s=timeout_s, check=check)[0]

    def wait_for_events(
        self, events: Sequence[Event | str], *, timeout_s: float | None = 3600.0, check: bool = True
    ) -> tuple[Event, ...]:
        """Wait until all of them have ended; in the order given. As `wait_for_event`."""
        return self._run(waiting.event_ends(events, self._rules, timeout_s=timeout_s, check=check))

    # The bridge itself -----------------------------------------------------------------------------------------------

    def version(self) -> str:
        """The bridge's version."""
        return self._ask(calls.version())

    def ready(self) -> Readiness:
        """Whether the bridge can work, and what it lacks if not."""
        return self._ask(calls.ready())

    # Carrying steps out ----------------------------------------------------------------------------------------------

    def _ask(self, call: Call[T]) -> T:
        return self._run(exchange(call, self._rules))

    def _run(self, steps: Steps[T]) -> T:
        stream = _Stream(self._http, self._endpoint)
        answer: Any = None
        try:
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration as end:
                    result: T = end.value
                    return result
                answer = self._carry_out(step, stream)
        finally:
            stream.close()
            steps.close()

    def _carry_out(self, step: Step, stream: _Stream) -> Any:
        if isinstance(step, Send):
            return self._send(step)
        if isinstance(step, OpenStream):
            return stream.open(step)
        if isinstance(step, ReadPiece):
            return stream.read()
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        assert isinstance(step, Tell)
        step.tell(step.news)
        return None

    def _send(self, step: Send) -> Reply | Broken:
        request = self._http.build_request(**request_arguments(self._endpoint, step.call), timeout=step.timeout_s)
        try:
            response = self._http.send(request)
        except BROKEN as exc:
            return broken_by(exc)
        return reply_of(response, response.content)


class _Stream:
    """At most one open answer."""

    def __init__(self, http: httpx.Client, endpoint: Endpoint) -> None:
        self._http = http
        self._endpoint = endpoint
        self._response: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())

    def open(self, step: OpenStream) -> Reply | Broken:
        self.close()
        request = self._http.build_request(
            **request_arguments(self._endpoint, step.call), timeout=stream_timeout(step.timeout_s, step.silence_s)
        )
        try:
            self._response = self._http.send(request, stream=True)
        except BROKEN as exc:
            return broken_by(exc)
        self._pieces = self._response.iter_bytes()
        return reply_of(self._response, b"")

    def read(self) -> bytes | Broken:
        try:
            return next(self._pieces, b"")
        except BROKEN as exc:
            return broken_by(exc)

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None
