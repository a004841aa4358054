"""The statements of a publication: hostile names and texts stay what they are, whatever is in them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from sql_databricks_bridge.db import publish_statements
from sql_databricks_bridge.models.publishing import DELETED_COLUMN, NULL_RANGE, RANGE_COLUMN, DeltaColumn, Load
from sql_databricks_bridge.models.tables import SourceName

STATES = SourceName("c", "b", "states")
HOSTILE = [
    "a`b",
    "``",
    "x` INT) --",
    "'; DROP TABLE t; --",
    ":owner",
    "/*",
    "{table}",
    "a.b",
    "select",
    "\\",
    '"',
    "ñ\u2028",
]
NAMES = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=20)


def load_of(names: list[str], **changes: object) -> Load:
    table = SourceName("c-1", "s", "t`t")
    made = Load(
        table=table,
        target=table,
        owner="o",
        files=("/Volumes/c/s/v/co/q/run=1-1/part-00000.parquet", "/Volumes/c/s/v/co/q/run=1-1/part-00001.parquet"),
        columns=tuple(DeltaColumn(name, "bigint") for name in names),
        landed=frozenset([*names, DELETED_COLUMN, RANGE_COLUMN]),
        key=(names[0],),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def every_statement(load: Load) -> list[str]:
    soft = replace(load, soft_delete=load.soft_delete or "_deleted_at")
    return [
        publish_statements.replace(load, STATES),
        publish_statements.merge(load, STATES),
        publish_statements.merge(soft, STATES),
        publish_statements.replace_ranges(load, STATES),
        publish_statements.mark_ranges(soft, [1, NULL_RANGE], STATES),
    ]


def identifiers(statement: str) -> set[str]:
    (tree,) = sqlglot.parse(statement, dialect="databricks")
    assert tree is not None
    return {each.name for each in tree.find_all(exp.Identifier)}


def parameters(statement: str) -> set[str]:
    return {each.name for each in sqlglot.parse_one(statement, dialect="databricks").find_all(exp.Placeholder)}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_one_identifier_of_one_statement(name: str) -> None:
    for statement in every_statement(load_of([name, "v"])):
        assert name in identifiers(statement)
        assert parameters(statement) <= {"owner", "target", "overtaken", "repeated", "ranges"}


@given(st.lists(NAMES, min_size=1, max_size=4, unique_by=str.lower))
def test_any_names_stay_what_they_are(names: list[str]) -> None:
    statement = publish_statements.merge(load_of(names), STATES)
    assert set(names) <= identifiers(statement)
    assert parameters(statement) == {"owner", "target", "overtaken", "repeated"}


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_a_literal_reads_back_as_its_text(text: str) -> None:
    written = publish_statements.literal(text)
    (tree,) = sqlglot.parse(f"SELECT {written}", dialect="databricks")
    assert isinstance(tree, exp.Select)
    (found,) = tree.expressions
    assert isinstance(found, exp.Literal)
    assert found.is_string
    assert found.name == text
    assert "$" not in written  # ${name} is replaced before Spark parses anything


def test_a_literal_with_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        publish_statements.literal("a\x00b")


def test_every_write_to_a_published_table_is_fenced_by_parameters() -> None:
    for statement in every_statement(load_of(["id", "v"]))[:5]:
        assert {"owner", "target", "overtaken"} <= parameters(statement)
        assert "raise_error(:overtaken)" in statement


def test_only_the_named_files_are_read() -> None:
    load = load_of(["id", "v"])
    for statement in every_statement(load)[:5]:
        tree = sqlglot.parse_one(statement, dialect="databricks")
        read = {table.name for table in tree.find_all(exp.Table) if table.db == "parquet"}
        assert read == set(load.files)


@pytest.mark.parametrize("character", " ,;{}()\n\t=")
def test_a_name_that_parquet_refuses_turns_column_mapping_on(character: str) -> None:
    mapped = "'delta.columnMapping.mode' = 'name'"
    assert mapped in publish_statements.replace(load_of(["id", f"a{character}b"]), STATES)
    assert mapped not in publish_statements.replace(load_of(["id", "a-b"]), STATES)


def test_the_least_bigint_has_no_literal_of_its_own() -> None:
    soft = load_of(["id"], soft_delete="gone")
    assert "IN (-9223372036854775807 - 1, 0, 7)" in publish_statements.mark_ranges(soft, [7, NULL_RANGE, 0, 7], STATES)


def test_a_load_without_files_or_a_merge_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="without files"):
        publish_statements.replace(load_of(["id"], files=()), STATES)
    with pytest.raises(ValueError, match="without a key"):
        publish_statements.merge(load_of(["id"], key=()), STATES)
