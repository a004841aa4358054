"""Where faults (rules of `sandbox.faults`) take hold in the life of a request.

Facts to match on: `kind` (login, batch, rpc, transaction, bulk), `statement` (the SQL text; for sp_executesql,
sp_prepare and sp_prepexec the statement they carry; for transaction requests BEGIN, COMMIT, ROLLBACK or SAVE
TRANSACTION), `procedure`, `table` (of a bulk load, as `schema.name`), `login`, `database`, `application`. Each batch of
a bulk copy is a bulk load of its own.

| action | what happens |
|---|---|
| `{"error": 1205, "message": "...", "severity": 13, "state": 1}` | that error instead of running it |
| `{"error_after": 1205, ...}` | it runs, and that error is the answer |
| `{"error_after_rows": n, "number": 1205, ...}` | that error after n rows of the answer, if it has so many |
| `{"drop": "before"}` / `{"drop": "after"}` | the connection closes before it runs / when it has, without an answer |
| `{"cut_response_after_bytes": n}` / `{"cut_response_after_rows": n}` | the connection closes amid the answer |
| `{"delay_s": 0.5}` | it waits before it runs (a cancel, or a client that leaves, ends the wait) |
| `{"delay_after_s": 0.5}` | it runs, and its answer waits (likewise) |
| `{"drop_after_rows": n}` | the connection closes when n rows of a bulk load have come; none of them stays |
| `{"slow_rows": {"every": n, "seconds": s}}` | a pause after every n rows (a cancel ends it) |

`error_after_rows` and `slow_rows` count the rows that come where the request is a bulk load; the connection closes
`before` a bulk load is committed, or `after`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pyarrow as pa

from ...faults import ActionSpec, FaultRule, Fired, Vocabulary, count, fields, one_of, positive_int, seconds, text
from ..contract import Message, SqlError

_MESSAGE = {"message": text, "severity": positive_int, "state": count}

VOCABULARY = Vocabulary(
    facts=frozenset({"kind", "statement", "procedure", "table", "login", "database", "application"}),
    actions={
        "error": ActionSpec(positive_int, _MESSAGE),
        "error_after": ActionSpec(positive_int, _MESSAGE),
        "error_after_rows": ActionSpec(count, {"number": positive_int, **_MESSAGE}),
        "drop": ActionSpec(one_of("before", "after")),
        "cut_response_after_bytes": ActionSpec(count),
        "cut_response_after_rows": ActionSpec(count),
        "drop_after_rows": ActionSpec(count),
        "delay_s": ActionSpec(seconds),
        "delay_after_s": ActionSpec(seconds),
        "slow_rows": ActionSpec(fields({"every": positive_int, "seconds": seconds})),
    },
)


class DroppedError(Exception):
    """A fault has cut this connection."""


class Hooks:
    """The faults that fire for one request. `pause` waits so many seconds; it may return early."""

    def __init__(self, fired: Fired, pause: Callable[[float], object]) -> None:
        self._fired = fired
        self._pause = pause
        self._rows = 0

    def before(self) -> None:
        """Before it runs. `SqlError` or `DroppedError` instead of running it."""
        if rule := self._fired.take("delay_s"):
            self._pause(cast(float, rule.value))
        if rule := self._fired.take("error"):
            raise _error(rule, rule.value)
        if self._fired.take("drop", "before"):
            raise DroppedError

    @property
    def withholds_answer(self) -> bool:
        """Whether it must have run whole before `after` decides what is answered."""
        drop = self._fired.peek("drop")
        dropped = drop is not None and drop.value == "after"
        return dropped or any(self._fired.peek(action) is not None for action in ("error_after", "delay_after_s"))

    def after(self) -> None:
        """When it has run and nothing is answered yet."""
        if rule := self._fired.take("delay_after_s"):
            self._pause(cast(float, rule.value))
        if rule := self._fired.take("error_after"):
            raise _error(rule, rule.value)
        if self._fired.take("drop", "after"):
            raise DroppedError

    @property
    def byte_limit(self) -> int | None:
        """How many bytes of the answer get through; then `cut` is due."""
        rule = self._fired.peek("cut_response_after_bytes")
        return cast(int, rule.value) if rule else None

    def cut(self) -> None:
        """The limit of bytes is reached."""
        self._fired.take("cut_response_after_bytes")
        raise DroppedError

    def shape(
        self, batches: Iterator[pa.RecordBatch], cut: str = "cut_response_after_rows"
    ) -> Iterator[pa.RecordBatch]:
        """The rows of one result set, or of a load, with the rules' pauses, errors and cuts among them."""
        slow = self._fired.take("slow_rows") if self._fired else None
        pause = cast(dict[str, Any], slow.value) if slow else None
        for batch in batches:
            start = 0
            while start < batch.num_rows:
                self._stop_here(cut)
                size = self._until_stop(batch.num_rows - start, pause["every"] if pause else None, cut)
                yield batch.slice(start, size)
                start, self._rows = start + size, self._rows + size
                if pause and self._rows % pause["every"] == 0:
                    self._pause(pause["seconds"])
        self._stop_here(cut)

    def _until_stop(self, left: int, every: int | None, cut: str) -> int:
        stops = [left]
        for action in ("error_after_rows", cut):
            rule = self._fired.peek(action)
            if rule is not None and cast(int, rule.value) > self._rows:
                stops.append(cast(int, rule.value) - self._rows)
        if every:
            stops.append(every - self._rows % every)
        return min(stops)

    def _stop_here(self, cut: str) -> None:
        if rule := self._fired.take("error_after_rows", self._rows):
            raise _error(rule, rule.details.get("number", 50000))
        if self._fired.take(cut, self._rows):
            raise DroppedError


def _error(rule: FaultRule, number: object) -> SqlError:
    details = cast(dict[str, Any], rule.details)
    message = details.get("message", f"Error {number}, raised by the fault rule '{rule.rule_id}'.")
    return SqlError(Message(cast(int, number), message, details.get("severity", 16), details.get("state", 1)))
