"""Whose event it is: what counts as signed, what counts as a signature, and every way to get it wrong."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from sql_databricks_bridge.auth.permissions import Permissions, User
from sql_databricks_bridge.auth.signing import principal_of, sign
from sql_databricks_bridge.errors import EventBlocked
from sql_databricks_bridge.models.events import EventRow

DOCS = Path(__file__).parents[3] / "docs" / "permissions.md"
KEY, OTHER_KEY = "signing-key-of-ana", "signing-key-of-eve"
ANA, EVE, BATCH = User("ana", signing_key=SecretStr(KEY)), User("eve", signing_key=SecretStr(OTHER_KEY)), User("batch")
PERMISSIONS = Permissions((ANA, EVE, BATCH))
ROW = EventRow(
    "e-1",
    operation="DELETE",
    source_table="main.sales.orders",
    target_table="dbo.Orders",
    primary_keys=("id",),
    priority=1,
    rows_expected=10,
    filter_conditions={"country": "CO", "closed": None},
    metadata={"note": "monthly", "source_version": "7"},
)
TEXT = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=12)
MAPS = st.none() | st.dictionaries(TEXT, st.none() | TEXT, max_size=4)
ROWS = st.builds(
    EventRow,
    event_id=TEXT,
    operation=st.none() | TEXT,
    source_table=st.none() | TEXT,
    target_table=st.none() | TEXT,
    primary_keys=st.none() | st.lists(st.none() | TEXT, max_size=3).map(tuple),
    priority=st.none() | st.integers(-9, 9),
    rows_expected=st.none() | st.integers(-9, 9),
    filter_conditions=MAPS,
    metadata=MAPS.map(lambda found: found and {f"note {key}": value for key, value in found.items()}),
)
SIGNED_COLUMNS: dict[str, Any] = {
    "event_id": "e-2",
    "operation": "INSERT",
    "source_table": "main.sales.Orders",
    "target_table": "dbo.orders",
    "primary_keys": ("ID",),
    "priority": 2,
    "rows_expected": None,
    "filter_conditions": {"country": "CO"},
}


def principal(row: EventRow, sync_principal: str | None = "batch", allow_unsigned: bool = True) -> User:
    return principal_of(row, PERMISSIONS, sync_principal=sync_principal, allow_unsigned=allow_unsigned)


def blocked(row: EventRow, **options: Any) -> str:
    with pytest.raises(EventBlocked) as caught:
        principal(row, **options)
    told = str(caught.value)
    assert KEY not in told
    assert OTHER_KEY not in told
    return told


def with_metadata(row: EventRow, **changes: str | None) -> EventRow:
    return dataclasses.replace(row, metadata={**(row.metadata or {}), **changes})


@pytest.mark.parametrize("allow_unsigned", [True, False])
@pytest.mark.parametrize("sync_principal", ["batch", None, "nobody"])
def test_a_signed_event_runs_as_its_signer_whatever_unsigned_ones_may(
    sync_principal: str | None, allow_unsigned: bool
) -> None:
    assert principal(sign(ROW, "ana", KEY), sync_principal, allow_unsigned) is ANA


@pytest.mark.parametrize("metadata", [None, {}, {"note": "x", "source_version": None}])
def test_an_unsigned_event_runs_as_the_sync_principal(metadata: dict[str, str | None] | None) -> None:
    assert principal(dataclasses.replace(ROW, metadata=metadata)) is BATCH


@pytest.mark.parametrize(
    ("sync_principal", "allow_unsigned", "told"),
    [
        ("batch", False, "not signed, and unsigned events are not accepted here. Sign it"),
        (None, True, "not signed, and SYNC_PRINCIPAL, the user that such events run as, is not set"),
        ("", True, "SYNC_PRINCIPAL, the user that such events run as, is not set"),
        ("nobody", True, "SYNC_PRINCIPAL 'nobody' is not in permissions.yaml"),
        ("Batch", True, "SYNC_PRINCIPAL 'Batch' is not in permissions.yaml"),
        ("ana", True, "SYNC_PRINCIPAL 'ana' has a signing_key, so that only signed events run as that user"),
    ],
)
def test_an_unsigned_event_without_a_fit_principal_is_blocked(
    sync_principal: str | None, allow_unsigned: bool, told: str
) -> None:
    assert told in blocked(ROW, sync_principal=sync_principal, allow_unsigned=allow_unsigned)


@pytest.mark.parametrize("column", SIGNED_COLUMNS)
def test_a_column_changed_after_signing_blocks_the_event(column: str) -> None:
    """event_id too: a signature can't be used again for another event."""
    forged = dataclasses.replace(sign(ROW, "ana", KEY), **{column: SIGNED_COLUMNS[column]})
    assert "signature is not that of 'ana' for this event" in blocked(forged)


def test_every_column_is_signed_or_written_by_the_bridge_or_the_table() -> None:
    """A column that is added to the table must be put on one of the two sides."""
    not_signed = {"status", "rows_affected", "discrepancy", "warning", "error_message", "created_at", "processed_at"}
    columns = {field.name for field in dataclasses.fields(EventRow)} - {"fingerprint"}  # of the row, no column of it
    assert columns == {*SIGNED_COLUMNS, "metadata", *not_signed}


@pytest.mark.parametrize(
    "changes",
    [
        {"note": "weekly"}, {"note": None}, {"note": ""}, {"note ": "monthly"}, {"source_version": "8"},
        {"on_conflict": "skip"}, {"user": "eve"}, {"signature": ""}, {"signature": "0" * 64},
        {"signature": sign(ROW, "ana", KEY).metadata["signature"].upper()},  # type: ignore[index, union-attr]
        {"signature": "\ud800é"},
    ],
)  # fmt: skip
def test_metadata_changed_after_signing_blocks_the_event(changes: dict[str, str | None]) -> None:
    assert "signature is not that of" in blocked(with_metadata(sign(ROW, "ana", KEY), **changes))


def test_metadata_taken_out_after_signing_blocks_the_event() -> None:
    signed = sign(ROW, "ana", KEY)
    left = {key: value for key, value in (signed.metadata or {}).items() if key != "note"}
    assert "signature is not that of" in blocked(dataclasses.replace(signed, metadata=left))


@pytest.mark.parametrize(
    ("empty", "other"),
    [({"primary_keys": None}, {"primary_keys": ()}), ({"filter_conditions": None}, {"filter_conditions": {}})],
)
def test_null_and_empty_are_signed_as_different(empty: dict[str, Any], other: dict[str, Any]) -> None:
    signed = sign(dataclasses.replace(ROW, **empty), "ana", KEY)
    assert "signature is not that of" in blocked(dataclasses.replace(signed, **other))


def test_what_the_bridge_and_the_table_write_is_not_signed() -> None:
    signed = sign(ROW, "ana", KEY)
    now = dt.datetime.now(dt.UTC)
    told = dataclasses.replace(signed, status="processing", rows_affected=1, warning="w", error_message="e",
                               discrepancy=1, created_at=now, processed_at=now)  # fmt: skip
    assert principal(told) is ANA


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"user": "ana"}, "half signed: metadata has no value for 'signature'"),
        ({"user": "batch"}, "half signed: metadata has no value for 'signature'"),
        ({"signature": "0" * 64}, "half signed: metadata has no value for 'user'"),
        ({"user": None}, "half signed: metadata has no value for 'user'"),
        ({"signature": None}, "half signed: metadata has no value for 'user'"),
        ({"user": None, "signature": None}, "half signed: metadata has no value for 'user'"),
        ({"user": "", "signature": "x"}, "signed by '', who is not in permissions.yaml"),
        ({"user": "Ana", "signature": "x"}, "signed by 'Ana', who is not in permissions.yaml"),
        ({"user": "аna", "signature": "x"}, "who is not in permissions.yaml"),
        ({"user": "batch", "signature": "x"}, "signed by 'batch', who has no signing_key"),
        ({"user": "x" * 9999, "signature": "x"}, "xxx...', who is not in permissions.yaml"),
    ],
)
def test_an_event_signed_in_part_or_by_nobody_never_falls_back(changes: dict[str, str | None], told: str) -> None:
    shown = blocked(with_metadata(ROW, **changes))
    assert told in shown
    assert len(shown) < 400


def test_one_user_cannot_sign_as_another() -> None:
    assert "signature is not that of 'ana'" in blocked(sign(ROW, "ana", OTHER_KEY))


@pytest.mark.parametrize(
    "key",
    ["User", "USER", " user", "user ", "user\t", "us er", "u\u200bser", "user\x00", "ｕser", "usеr", "uѕer", "üser",
     "u\u0301ser", "us\u0337er", "Signature", "signature ", "ѕignature", "signаture", "SIGNATURE\n", "𝓾ser"],
)  # fmt: skip
def test_a_key_that_looks_like_a_reserved_one_is_blocked(key: str) -> None:
    for row in (ROW, sign(ROW, "ana", KEY)):
        assert "could be taken for" in blocked(with_metadata(row, **{key: "ana"}))


@pytest.mark.parametrize(
    "key", ["users", "use", "note", "дата", "año!", "user_name", "signed_by", "年度報告", "", "ñandu"]
)
def test_a_note_of_another_name_is_none_of_our_business(key: str) -> None:
    assert principal(with_metadata(ROW, **{key: "ana"})) is BATCH


def test_signing_again_replaces_user_and_signature() -> None:
    assert sign(sign(ROW, "eve", OTHER_KEY), "ana", KEY) == sign(ROW, "ana", KEY)
    assert sign(dataclasses.replace(ROW, metadata=None), "ana", KEY).metadata.keys() == {"user", "signature"}  # type: ignore[union-attr]


@settings(deadline=None)
@given(ROWS)
def test_any_row_that_is_signed_is_its_signers(row: EventRow) -> None:
    assert principal(sign(row, "ana", KEY)) is ANA


@settings(deadline=None)
@given(ROWS, ROWS)
def test_no_other_row_is_served_by_a_signature(row: EventRow, other: EventRow) -> None:
    """Canonical JSON: no two different rows are signed alike."""
    assume(row != other)
    assert sign(row, "ana", KEY).metadata["signature"] != sign(other, "ana", KEY).metadata["signature"]  # type: ignore[index]


@settings(deadline=None)
@given(ROWS, ROWS, st.sampled_from(sorted(SIGNED_COLUMNS)))
def test_a_column_taken_from_another_row_blocks_the_event(row: EventRow, other: EventRow, column: str) -> None:
    assume(getattr(row, column) != getattr(other, column))
    forged = dataclasses.replace(sign(row, "ana", KEY), **{column: getattr(other, column)})
    assert "signature is not that of 'ana'" in blocked(forged)


def snippet() -> str:
    """The notebook's lines in docs/permissions.md."""
    found = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def signed_by_the_docs(row: EventRow, key: str) -> EventRow:
    """The row as an author's notebook signs it: columns with their values, only the standard library."""
    event: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(row)))
    exec(snippet(), {"event": event, "key": key})
    return dataclasses.replace(row, metadata=event["metadata"])


@settings(deadline=None)
@given(ROWS)
def test_the_snippet_in_the_docs_signs_as_the_bridge_checks(row: EventRow) -> None:
    assert signed_by_the_docs(row, KEY).metadata == sign(row, "sales-team", KEY).metadata


def test_the_snippet_in_the_docs_is_six_lines_of_the_standard_library() -> None:
    lines = [line for line in snippet().splitlines() if line]
    assert len(lines) == 6
    assert [line for line in lines if "import" in line] == ["import hashlib, hmac, json"]
