"""What the SDK writes is what the server reads: signatures, names. The two share no code, so they are compared."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.auth import signing as server_signing
from sql_databricks_bridge.db.identifiers import databricks_identifier
from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.models.events import EventRow
from sql_databricks_bridge.models.tables import SourceName
from sql_databricks_bridge_sdk import Event, event_rows, signing
from sql_databricks_bridge_sdk.names import quoted_table

TEXT = st.text(max_size=20)
MAP = st.none() | st.dictionaries(st.sampled_from(["user", "signature", "note"]) | TEXT, st.none() | TEXT, max_size=4)
AUTHORED = {
    "event_id": TEXT,
    "operation": st.none() | TEXT,
    "source_table": st.none() | TEXT,
    "target_table": st.none() | TEXT,
    "primary_keys": st.none() | st.lists(st.none() | TEXT, max_size=3).map(tuple),
    "priority": st.none() | st.integers(-(2**31), 2**31 - 1),
    "rows_expected": st.none() | st.integers(-(2**31), 2**31 - 1),
    "filter_conditions": MAP,
    "metadata": MAP,
}


@given(values=st.fixed_dictionaries(AUTHORED), user=TEXT, key=TEXT)
def test_a_signature_is_the_servers_for_every_event(values: dict[str, object], user: str, key: str) -> None:
    ours = signing.sign(Event(**values), user, key)  # type: ignore[arg-type]
    theirs = server_signing.sign(EventRow(**values), user, key)  # type: ignore[arg-type]
    assert ours.metadata == theirs.metadata
    assert ours.metadata is not None
    assert ours.metadata["signature"] == theirs.signature(key)


@given(values=st.fixed_dictionaries(AUTHORED), other=st.fixed_dictionaries(AUTHORED), name=st.sampled_from([*AUTHORED]))
def test_no_column_can_be_changed_under_a_signature(
    values: dict[str, object], other: dict[str, object], name: str
) -> None:
    changed = values | {name: other[name]}
    before, after = Event(**values), Event(**changed)  # type: ignore[arg-type]
    same = before.event_id == after.event_id and signing.authored(before) == signing.authored(after)
    assert (signing.signature(before, "k") == signing.signature(after, "k")) == same


@given(values=st.fixed_dictionaries(AUTHORED))
def test_the_parameter_holds_exactly_what_is_signed(values: dict[str, object]) -> None:
    event = Event(**values)  # type: ignore[arg-type]
    if event.primary_keys and None in event.primary_keys:
        with pytest.raises(TypeError, match="keys"):
            event_rows.parameter(event)
        return
    document = json.loads(event_rows.parameter(event))
    (document["metadata"] or {}).pop("signature", None)
    assert document == {"event_id": event.event_id, **signing.authored(event)}


@pytest.mark.parametrize("changes", [{"filter_conditions": {"a": 1}}, {"metadata": {1: "a"}}, {"primary_keys": (1,)}])
def test_what_is_no_text_never_becomes_text_by_the_way(changes: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="is not text"):
        event_rows.parameter(Event("e", **changes))  # type: ignore[arg-type]


def test_half_a_character_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        event_rows.parameter(Event("e", metadata={"note": "\ud800"}))


PARTS = st.text(alphabet=string.ascii_letters + "_-`. /ü\x00\x7f", min_size=0, max_size=5)


@given(parts=st.lists(PARTS | PARTS.map(lambda part: f"`{part}`"), min_size=1, max_size=4))
def test_a_table_is_named_and_quoted_as_the_server_does(parts: list[str]) -> None:
    name = ".".join(parts)
    try:
        parsed = SourceName.parse(name)
    except EventInvalid:
        with pytest.raises(ValueError, match="source"):
            quoted_table(name, "source")
        return
    assert quoted_table(name, "source") == databricks_identifier(parsed.catalog, parsed.schema, parsed.table)


@pytest.mark.parametrize("name", ["a.b.`" + "c" * 255 + "`", "a.b." + "c" * 256])
def test_the_longest_name_is_the_servers(name: str) -> None:
    expected = None
    try:
        expected = SourceName.parse(name).table
    except EventInvalid:
        with pytest.raises(ValueError, match="no name of Unity"):
            quoted_table(name, "source")
    else:
        assert quoted_table(name, "source") == f"`a`.`b`.`{expected}`"
