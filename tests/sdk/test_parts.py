"""The SDK's parts that need no socket: pauses, streams, times; its imports; its two faces."""

from __future__ import annotations

import ast
import contextlib
import datetime as dt
import email.utils
import inspect
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sql_databricks_bridge_sdk
from sql_databricks_bridge_sdk import AsyncBridgeClient, BridgeClient, Unavailable, calls
from sql_databricks_bridge_sdk.exchange import Pause, Reply, Rules, Send, exchange, retry_after_s
from sql_databricks_bridge_sdk.models import instant
from sql_databricks_bridge_sdk.sse import EventStream

SOURCES = Path(sql_databricks_bridge_sdk.__file__).parent


def pauses(rules: Rules, headers: dict[str, str] | None = None) -> tuple[list[float], int]:
    """The pauses where a bridge keeps saying 503, and how often it was asked."""
    steps, found, sent = exchange(calls.version(), rules), list[float](), 0
    step = next(steps)
    with contextlib.suppress(Unavailable):
        while True:
            if isinstance(step, Pause):
                found.append(step.seconds)
                step = steps.send(None)
            else:
                assert isinstance(step, Send)
                sent += 1
                step = steps.send(Reply(503, headers or {}))
    return found, sent


@given(share=st.floats(0, 1), retries=st.integers(0, 8))
def test_pauses_are_jitter_below_a_doubling_bound(share: float, retries: int) -> None:
    found, sent = pauses(Rules(30, retries, random=lambda: share))
    assert found == [share * min(20.0, 0.5 * 2**number) for number in range(retries)]
    assert sent == retries + 1


def test_retry_after_is_waited_out_and_callers_spread_behind_it() -> None:
    assert pauses(Rules(30, 2, random=lambda: 1.0), {"retry-after": "7"}) == ([7.5, 7.5], 3)


def test_retry_after_may_be_a_date_or_nonsense() -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=30)
    assert 28 <= (retry_after_s(email.utils.format_datetime(soon, usegmt=True)) or 0) <= 30
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert [retry_after_s(text) for text in (None, "", "soon", "-1", "1.5", "²")] == [None] * 6


@given(
    data=st.lists(st.text(alphabet=st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=8), min_size=1),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(0, 60), max_size=6),
)
def test_a_stream_says_the_same_however_it_is_cut(data: list[str], end: str, cuts: list[int]) -> None:
    lines = [": comment", "id: 1", "event: job", *(f"data: {each}" for each in data), "", "data: more", "", ""]
    whole = end.join(lines).encode()
    at = sorted({0, *(min(cut, len(whole)) for cut in cuts), len(whole)})
    stream = EventStream()
    found = [event for start, stop in itertools.pairwise(at) for event in stream.feed(whole[start:stop])]
    found += stream.feed(b"\n" if end == "\r" else b"")  # a CR at the end may still become CR LF
    assert found == [("job", "\n".join(data)), ("message", "more")]


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [
        ("2026-01-02T03:04:05Z", 0),
        ("2026-01-02T03:04:05.6Z", 600_000),
        ("2026-01-02T03:04:05.123456789Z", 123_456),
        ("2026-01-02T05:04:05.000001+02:00", 1),
    ],
)
def test_times_are_read_with_any_fraction_and_become_utc(text: str, microsecond: int) -> None:
    found = instant(text)
    assert found == dt.datetime(2026, 1, 2, 3, 4, 5, microsecond, tzinfo=dt.UTC)
    assert found is not None
    assert found.tzinfo is dt.UTC


def test_a_time_without_an_offset_is_no_time() -> None:
    with pytest.raises(ValueError, match="no offset"):
        instant("2026-01-02T03:04:05")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_parameter_that_json_does_not_have_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"), BridgeClient("http://localhost", "t") as client:
        client.extract("Colombia", parameters={"a": value})


@pytest.mark.parametrize("key", ["", "two words", "ü", "x" * 256])
def test_an_idempotency_key_that_no_header_takes_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="idempotency_key"), BridgeClient("http://localhost", "t") as client:
        client.extract("Colombia", idempotency_key=key)


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def face(kind: type) -> dict[str, Any]:
        methods = {name: found for name, found in vars(kind).items() if inspect.isfunction(found)}
        public = {name: found for name, found in methods.items() if name[0] != "_" or name == "__init__"}
        return {name.replace("aclose", "close"): inspect.signature(found).parameters for name, found in public.items()}

    ours, theirs = face(BridgeClient), face(AsyncBridgeClient)
    assert len(ours) > 15
    assert ours == theirs


def test_the_sdk_imports_httpx_and_nothing_else_that_must_be_installed() -> None:
    """databricks.sdk only inside the functions that were handed an object of it."""
    top: set[str] = set()
    lazy: set[str] = set()
    for file in SOURCES.glob("*.py"):
        tree = ast.parse(file.read_text())
        checked = {child for node in tree.body if isinstance(node, ast.If) for child in ast.walk(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            else:
                continue
            found = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
            (top if node in tree.body else lazy).update(found if node not in checked else ())
    assert top == {"httpx"}
    assert lazy == {"databricks"}


def test_it_works_where_neither_the_server_nor_spark_nor_the_databricks_sdk_is_installed() -> None:
    """A process in which importing anything else fails, as in a notebook with httpx alone."""
    script = """
import sys
for name in ("sql_databricks_bridge", "pyspark", "databricks", "pyarrow", "pydantic", "requests"):
    sys.modules[name] = None
import sql_databricks_bridge_sdk as sdk
print(sdk.BridgeClient("http://localhost", "t"), sdk.BridgeEvents(spark=object()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert (
        done.stdout
        == "BridgeClient('http://localhost') BridgeEvents(table='`bridge`.`events`.`bridge_events`', user=None)\n"
    )


def test_every_error_is_in_the_drawing_of_the_tree() -> None:
    from sql_databricks_bridge_sdk import errors

    kinds = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)]
    lines = (errors.__doc__ or "").splitlines()
    drawn = [line.replace("|", " ").replace("`--", " ").replace("--", " ").split()[0] for line in lines if "--" in line]
    assert sorted([*drawn, "BridgeSdkError"]) == sorted(kinds)
    assert set(kinds) <= set(sql_databricks_bridge_sdk.__all__)


def test_results_are_json_that_was_read_and_can_not_be_changed() -> None:
    found = calls.queries_of("Colombia").read(
        json.loads('{"queries": [{"name":"q","file":"f","placeholders":[],"parameters":[],"problem":null}]}')
    )
    with pytest.raises(AttributeError):
        found[0].name = "other"  # type: ignore[misc]
