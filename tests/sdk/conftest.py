"""Both clients behind one face, so that each claim is made of both."""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from sql_databricks_bridge_sdk import AsyncBridgeClient, BridgeClient
from tests.sdk.small_bridge import TOKEN, SmallBridge, serving

AUTHORITIES = ssl.create_default_context()
"""Made once: reading the authorities takes longer than most of these tests."""


class Blocking:
    """An `AsyncBridgeClient` that is called like a `BridgeClient`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncBridgeClient(*arguments, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            found = getattr(self._client, name)(*arguments, **options)
            return self._runner.run(_collected(found) if inspect.isasyncgen(found) else found)

        return call

    @property
    def _rules(self) -> Any:
        return self._client._rules

    @_rules.setter
    def _rules(self, rules: Any) -> None:
        self._client._rules = rules

    def __repr__(self) -> str:
        return repr(self._client)

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


async def _collected(found: Any) -> list[Any]:
    return [each async for each in found]


Connect = Callable[..., Any]
"""Makes a client of either kind; it is closed after the test."""


@pytest.fixture
def small() -> SmallBridge:
    return SmallBridge()


@pytest.fixture
def url(small: SmallBridge) -> Iterator[str]:
    with serving(small) as address:
        yield address


@pytest.fixture(params=[BridgeClient, Blocking], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    made: list[Any] = []

    def make(base_url: str, token: str = TOKEN, **options: Any) -> Any:
        options.setdefault("ssl_context", AUTHORITIES)
        made.append(request.param(base_url, token, **options))
        made[-1]._rules = replace(made[-1]._rules, random=lambda: 0.05)  # pauses near their shortest
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(url: str, connect: Connect) -> Any:
    """A client of either kind on the small bridge."""
    return connect(url)
