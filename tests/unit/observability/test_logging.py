"""The log: one format for all, no secret, no line that somebody else's text could forge."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from sql_databricks_bridge.core.config import load_settings
from sql_databricks_bridge.observability.logging import configure, redactor, style_of
from sql_databricks_bridge.observability.redaction import Redactor, secrets_of

CANARY = 'c4n"ary/pa}ss w\u00f6rd'


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave no configuration behind."""
    root, config = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.configure(**config)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_libraries_and_the_bridge_log_in_one_format_with_the_request_id() -> None:
    """A record of the standard library has the fields that an event of ours has."""
    stream = io.StringIO()
    configure("INFO", stream=stream)
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        structlog.get_logger("ours").info("thing.done", rows=3)
        logging.getLogger("uvicorn.error").error("it is %s", "cold")
    ours, theirs = lines(stream)
    assert ours.items() >= {"event": "thing.done", "rows": 3, "level": "info", "request_id": "r-1"}.items()
    assert theirs.items() >= {"event": "it is cold", "logger": "uvicorn.error", "level": "error"}.items()
    assert theirs["request_id"] == "r-1"
    assert ours["timestamp"].endswith("Z")


def test_libraries_never_log_below_info() -> None:
    """LOG_LEVEL=DEBUG shows the bridge's own events, not the requests that a library would print whole."""
    stream = io.StringIO()
    configure("DEBUG", stream=stream)
    structlog.get_logger().debug("seen")
    logging.getLogger("databricks.sdk").debug("> Authorization: secret")
    assert [line["event"] for line in lines(stream)] == ["seen"]


def test_configuring_again_logs_each_record_once() -> None:
    """The second call replaces what the first one set."""
    first, second = io.StringIO(), io.StringIO()
    configure("INFO", stream=first)
    configure("INFO", stream=second)
    logging.getLogger("library").warning("once")
    assert not first.getvalue()
    assert len(lines(second)) == 1


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_secret_is_starred_wherever_it_stands(style: Any) -> None:
    """In the event, fields, nested values, objects, arguments, exceptions and their causes; in each of its forms."""
    stream = io.StringIO()
    configure("INFO", style=style, secrets=[CANARY], stream=stream)

    class Holder:
        def __repr__(self) -> str:
            return f"Holder({CANARY!r})"

    log = structlog.get_logger()
    log.info(f"said {CANARY}", field=CANARY, nested={"k": [CANARY, {CANARY: Holder()}]}, data=CANARY.encode())
    log.info("url", url=f"https://h/?p={quote(CANARY)}", odbc=f"PWD={{{CANARY.replace('}', '}}')}}}")
    log.info("document", body=json.dumps({"password": CANARY}))
    try:
        try:
            raise ValueError(f"cause {CANARY}")
        except ValueError as exc:
            raise RuntimeError(f"effect {CANARY!r}") from exc
    except RuntimeError:
        log.exception("failed")
        logging.getLogger("library").exception("failed with %s", CANARY)
    text = stream.getvalue()
    assert "RuntimeError: effect '***'" in text
    for form in (CANARY, quote(CANARY), quote(CANARY, safe=""), json.dumps(CANARY)[1:-1], "c4n", "pa}ss", "pa}}ss"):
        assert form not in text


def test_bearer_tokens_and_passwords_in_addresses_are_starred_unknown_as_they_are() -> None:
    """What looks like a credential is starred even if nobody told the log about it."""
    redact = Redactor().text
    assert redact("Authorization: Bearer abc.def-1_2=") == "Authorization: Bearer ***"
    assert redact("{'authorization': 'bearer xyz'}") == "{'authorization': 'bearer ***'}"
    assert redact("Basic dXNlcjpwYXNzd29yZA==, basic ideas") == "Basic ***, basic ideas"
    assert redact("postgresql+psycopg://me:pw@db/jobs") == "postgresql+psycopg://me:***@db/jobs"
    assert redact("see https://example.com:443/a@b") == "see https://example.com:443/a@b"


def test_tokens_are_starred_by_their_form_wherever_they_are_pasted() -> None:
    """Those of `bridge token new` and of Databricks: the bridge has the SHA-256 of its own alone."""
    redact = Redactor().text
    assert redact(f"GET /jobs/bridge_{'aB3_-' * 9}x/events") == "GET /jobs/***/events"
    assert redact(f"dapi{'0a' * 16}-2 and dapi{'0a' * 16}.") == "*** and ***."
    assert redact("bridge_events, bridge_idempotency_keys, dapi") == "bridge_events, bridge_idempotency_keys, dapi"


def test_a_secret_that_is_learned_later_is_starred_from_then_on() -> None:
    """What permissions.yaml holds is known only after the log was set up."""
    stream = io.StringIO()
    configure("INFO", stream=stream)
    redactor().add([CANARY])
    structlog.get_logger().info("learned", where=f"/jobs/{CANARY}")
    assert CANARY not in stream.getvalue()
    assert json.loads(stream.getvalue())["where"] == "/jobs/***"


def test_every_secret_of_the_settings_is_known() -> None:
    """Passwords, tokens and keys, and the password within the job store's address; not the address itself."""
    settings = load_settings(
        sqlserver_password=SecretStr("one-secret"),
        databricks_token=SecretStr("two-secret"),
        databricks_client_secret=SecretStr("three-secret"),
        audit_key=SecretStr("four-secret"),
        job_store_url=SecretStr("postgresql://me:fi%76e-secret@db/jobs"),
    )
    assert set(secrets_of(settings)) == {
        "one-secret",
        "two-secret",
        "three-secret",
        "four-secret",
        "fi%76e-secret",
        "five-secret",
    }
    assert secrets_of(load_settings(databricks_token=None, sqlserver_password=None)) == ()


@given(st.text(max_size=60))
def test_no_text_of_others_makes_a_line_or_steers_a_terminal(text: str) -> None:
    """Readable lines: one for each event, without a control character, whatever a field holds."""
    stream = io.StringIO()
    configure("INFO", style="console", stream=stream)
    structlog.get_logger().info("event", field=text, nested={"a": [text]})
    written = stream.getvalue()
    assert written.endswith("\n")
    assert written.count("\n") == 1
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029\u202e" for c in written[:-1])


def test_a_traceback_can_not_forge_an_event() -> None:
    """The lines of a readable traceback are indented, so that none looks like an event of its own."""
    stream = io.StringIO()
    configure("INFO", style="console", stream=stream)
    try:
        raise ValueError("x\n2026-01-01T00:00:00Z [info] forged\x1b[2J")
    except ValueError:
        structlog.get_logger().exception("failed")
    _, *rest = stream.getvalue().splitlines()
    assert rest
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b" not in stream.getvalue()


def test_a_record_that_can_not_be_formatted_is_told_without_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    """The standard library would print the arguments on standard error."""
    stream = io.StringIO()
    logging.getLogger().handlers.clear()  # pytest's own raise
    configure("INFO", stream=stream)
    logging.getLogger("library").warning("%d", "hidden-argument")
    assert [line["event"] for line in lines(stream)] == ["log.unprintable"]
    assert "hidden-argument" not in stream.getvalue() + capsys.readouterr().err


def test_auto_is_readable_on_a_terminal_in_development_only() -> None:
    """LOG_FORMAT's three values."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert style_of("auto", production=False, stream=Terminal()) == "console"
    assert style_of("auto", production=True, stream=Terminal()) == "json"
    assert style_of("auto", production=False, stream=io.StringIO()) == "json"
    assert style_of("console", production=True, stream=io.StringIO()) == "console"
    assert style_of("json", production=False, stream=Terminal()) == "json"
