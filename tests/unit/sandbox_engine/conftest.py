"""One engine for the whole run; a session for each test; what a batch gave, as plain Python."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from sql_databricks_bridge.sandbox.sql_server.contract import (
    Column,
    Done,
    Engine,
    Event,
    LoginRequest,
    Message,
    ReturnValue,
    RowSet,
    Session,
)
from sql_databricks_bridge.sandbox.sql_server.engine import create_engine
from sql_databricks_bridge.sandbox.sql_server.engine.types import type_text

EPOCH = datetime.datetime(1, 1, 1)  # noqa: DTZ001 - datetime2 has no zone


@dataclass
class Outcome:
    """Everything that one call gave."""

    columns: list[tuple[Column, ...]] = field(default_factory=list)
    rows: list[list[tuple[Any, ...]]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    done: list[Done] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    @property
    def errors(self) -> list[int]:
        return [m.number for m in self.messages if m.severity > 10]

    @property
    def types(self) -> list[str]:
        return [type_text(c.type) for c in self.columns[-1]]


def collect(events: Iterator[Event]) -> Outcome:
    out = Outcome()
    for event in events:
        out.events.append(event)
        if isinstance(event, RowSet):
            batches = list(event.batches)
            out.columns.append(event.columns)
            out.rows.append([r for b in batches for r in zip(*(c.to_pylist() for c in b.columns), strict=True)])
        elif isinstance(event, Message):
            out.messages.append(event)
        elif isinstance(event, Done):
            out.done.append(event)
        elif isinstance(event, ReturnValue):
            out.outputs[event.name] = event.value[0].as_py()
    return out


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = create_engine(tmp_path_factory.mktemp("engine"), "flights", "Work", "sa", "Secret!1")
    yield made
    made.close()


@pytest.fixture
def connect(engine: Engine) -> Iterator[Callable[..., Session]]:
    opened: list[Session] = []

    def connect(database: str = "Work") -> Session:
        opened.append(engine.login(LoginRequest("sa", "Secret!1", database)))
        return opened[-1]

    yield connect
    for s in opened:
        s.close()


@pytest.fixture
def session(connect: Callable[..., Session]) -> Session:
    return connect()


@pytest.fixture
def run(session: Session) -> Callable[[str], Outcome]:
    """Run a batch on the test's session."""
    return lambda sql: collect(session.batch(sql))


@pytest.fixture
def one(run: Callable[[str], Outcome]) -> Callable[[str], tuple[str, Any]]:
    """(type, value) of `SELECT <expression>`; the test fails on any error."""

    def one(expression: str) -> tuple[str, Any]:
        out = run(f"SELECT {expression} AS x")
        assert not out.errors, out.messages
        return out.types[0], out.rows[-1][0][0]

    return one


@pytest.fixture
def on() -> Callable[[Session, str], Outcome]:
    """Run a batch on any session."""
    return lambda s, sql: collect(s.batch(sql))


@pytest.fixture
def gather() -> Callable[[Iterator[Event]], Outcome]:
    return collect
