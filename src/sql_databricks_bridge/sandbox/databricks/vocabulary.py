"""The faults that this stand-in can be told to make, by rules of `sandbox.faults` posted to `/_sandbox/faults`.

Facts to match on: `method`, `path` (decoded, with the query string behind "?"), and of a POST /api/2.0/sql/statements
its `statement` (the SQL text) and `kind` (its first word, such as MERGE). Admin calls are never matched.

| action | what happens |
|---|---|
| `{"status": 429, "retry_after": 1, "error_code": "...", "message": "..."}` | that answer, the request is not handled |
| `{"delay_s": 0.5}` | the request waits before it is handled; other rules go on applying |
| `{"delay_after_s": 0.5}` | it is handled (a statement has ended), and its answer waits |
| `{"drop": "before"}` / `{"drop": "after"}` | the TCP connection closes before handling / after it, without an answer |
| `{"drop": "executed"}` | the same, but a statement has ended by then, however short its wait_timeout is |
| `{"cut_response_after_bytes": n}` | the connection closes after n bytes of the response body |
| `{"half_upload": true}` | a plain PUT leaves the first half of the file at its path, then the connection closes |
| `{"disk_full": true}` (or 507) | an upload fails with 500 (or 507) when its body has arrived; nothing is kept |
| `{"vanish_volume": true}` (or "c.s.v") | the volume (of the path) is gone with its files, then the request goes on |
| `{"expire_links": true}` | on a link: it is refused as expired; on a call that makes links: they are born expired |
| `{"statement_error": {"error_code", "message", "sqlstate"}}` | the statement ends FAILED so, without being run |
| `{"hold_statement": true}` | the statement stays RUNNING, not run yet, until the rule is deleted or a cancel comes |
| `{"slow_statement_s": x}` | the statement stays RUNNING for x seconds before it is run (a cancel ends that at once) |
"""

from __future__ import annotations

from ..faults import (
    ActionSpec,
    Vocabulary,
    any_of,
    count,
    fields,
    one_of,
    positive_int,
    seconds,
    text,
    true,
)

VOCABULARY = Vocabulary(
    facts=frozenset({"method", "path", "statement", "kind"}),
    actions={
        "status": ActionSpec(
            positive_int,
            {"retry_after": count, "error_code": text, "message": text},
        ),
        "delay_s": ActionSpec(seconds),
        "delay_after_s": ActionSpec(seconds),
        "drop": ActionSpec(one_of("before", "after", "executed")),
        "cut_response_after_bytes": ActionSpec(count),
        "half_upload": ActionSpec(true),
        "disk_full": ActionSpec(any_of(true, one_of(500, 507))),
        "vanish_volume": ActionSpec(any_of(true, text)),
        "expire_links": ActionSpec(true),
        "statement_error": ActionSpec(fields({"error_code": text, "message": text}, {"sqlstate": text})),
        "slow_statement_s": ActionSpec(seconds),
        "hold_statement": ActionSpec(true),
    },
)
