"""Which calls get a mark, and how the engine's words are told apart by it."""

from __future__ import annotations

import pytest
import sqlglot

from sql_databricks_bridge.sandbox.databricks.failures import from_engine
from sql_databricks_bridge.sandbox.databricks.raising import marked


def of(text: str) -> str:
    return marked(text, list(sqlglot.tokenize(text, dialect="databricks")))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'raise_error(1)'",
        "SELECT raise_error FROM t",
        "SELECT `raise_error`('x')",
        "SELECT raise_error('CLASS', map())",
        "SELECT assert_true(a > 1)",
    ],
)
def test_a_statement_without_such_a_message_stays_as_it_is(text: str) -> None:
    assert of(text) == text


def test_each_message_gets_the_mark_wherever_it_stands() -> None:
    text = of("SELECT IF(a, Raise_Error(concat('x', (b))), assert_true(c IN (1, 2), :m))")
    mark = "concat('[USER_RAISED_EXCEPTION] ', coalesce(CAST({} AS STRING), 'null'))"
    first, second = mark.format("concat('x', (b))"), mark.format(" :m")
    assert text == f"SELECT IF(a, Raise_Error({first}), assert_true(c IN (1, 2),{second}))"


def test_a_raised_message_is_known_and_another_that_quotes_one_is_not() -> None:
    assert from_engine(ValueError("[USER_RAISED_EXCEPTION] divide by zero")).message == (
        "[USER_RAISED_EXCEPTION] divide by zero SQLSTATE: P0001"
    )
    assert from_engine(ValueError("can't plan raise_error([USER_RAISED_EXCEPTION] x)")).sqlstate is None
