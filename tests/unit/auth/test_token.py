"""Signing in: a live token finds its user, and nothing else finds anybody."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import random
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.auth.permissions import BearerToken, Permissions, User, token_digest
from sql_databricks_bridge.auth.token import PREFIX, new_token, sign_in
from sql_databricks_bridge.errors import SignInRefused

NOON = dt.datetime(2027, 1, 31, 12, tzinfo=dt.UTC)


def held(text: str, expires: dt.date | None = None) -> BearerToken:
    return BearerToken(token_digest(text), expires)


EVERYBODY = Permissions(
    (User("ana", tokens=(held("a1"), held("a2"))), User("bob"), User("eve", tokens=(held("e", dt.date(2027, 1, 30)),)))
)


def name_of(token: str, permissions: Permissions = EVERYBODY, now: dt.datetime = NOON) -> str | None:
    try:
        return sign_in(token, permissions, now).name
    except SignInRefused:
        return None


def test_a_live_token_finds_its_user_and_no_other_text_does() -> None:
    tokens = (
        "a1",
        "a2",
        "e",
        "",
        "A1",
        "a1 ",
        "\ud800",
        "a",
        token_digest("a1").hex(),
        f"sha256:{token_digest('a1').hex()}",
    )
    assert {token: name_of(token) for token in tokens if name_of(token)} == {"a1": "ana", "a2": "ana"}


def test_a_refusal_does_not_tell_an_unknown_token_from_an_expired_one() -> None:
    told = []
    for token in ("e", "nobody's"):
        with pytest.raises(SignInRefused) as caught:
            sign_in(token, EVERYBODY, NOON)
        told.append(str(caught.value))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("now", "good"),
    [
        ("2027-01-31T23:59:59.999999+00:00", True),
        ("2027-02-01T00:00:00+00:00", False),
        ("2027-02-01T00:30:00+01:00", True),
        ("2027-01-31T20:00:00-05:00", False),
        ("2020-01-01T00:00:00+00:00", True),
    ],
)
def test_a_token_is_good_to_the_end_of_its_last_day_in_utc(now: str, good: bool) -> None:
    permissions = Permissions((User("ana", tokens=(held("t", dt.date(2027, 1, 31)),)),))
    assert (name_of("t", permissions, dt.datetime.fromisoformat(now)) == "ana") is good


@pytest.mark.parametrize("token", ["a1", "a2", "e", "nobody's"])
def test_every_token_is_compared_in_constant_time_whichever_is_given(token: str) -> None:
    compared = 0

    def watch(_frame: object, event: str, what: Any) -> None:
        nonlocal compared
        compared += event == "c_call" and what is hmac.compare_digest

    sys.setprofile(watch)
    try:
        name_of(token)
    finally:
        sys.setprofile(None)
    assert compared == 3


@given(st.text(max_size=80))
def test_no_text_that_is_not_a_token_signs_in(text: str) -> None:
    assert name_of(text) == {"a1": "ana", "a2": "ana"}.get(text)


def test_a_new_token_is_long_random_visible_ascii_and_signs_in_by_its_hash() -> None:
    tokens = {new_token(random.SystemRandom()) for _ in range(100)}
    assert len(tokens) == 100
    assert all(re.fullmatch(rf"{PREFIX}[A-Za-z0-9_-]{{43}}", token) for token in tokens)
    token = tokens.pop()
    digest = hashlib.sha256(token.encode()).digest()
    assert name_of(token, Permissions((User("ana", tokens=(BearerToken(digest),)),))) == "ana"


def test_a_digest_is_not_shown_with_its_token() -> None:
    assert repr(token_digest("a1")) not in repr(EVERYBODY)
