"""`partitions:` of the YAML, and what a request says above it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sql_databricks_bridge.core.country_config import load_country
from sql_databricks_bridge.core.partitions_config import PartitionsConfig
from sql_databricks_bridge.errors import SettingsError
from sql_databricks_bridge.models.partitions import MOST_PARTITIONS, AskedPartitions, Partitioning, count_of


def read(folder: Path, text: str) -> PartitionsConfig:
    (folder / "C.yaml").write_text(text)
    return load_country(folder, "C").partitions


def test_queries_may_have_a_number_auto_or_more(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "partitions:\n  orders: 4\n  lines: auto\n  days: {count: 2, key: [a, b], lock: true}\n  big: {key: id}\n",
    )
    assert found.of("orders") == Partitioning(4)
    assert found.of("lines") == Partitioning(None)
    assert found.of("days") == Partitioning(2, ("a", "b"), lock=True)
    assert found.of("big") == Partitioning(None, ("id",)), "a key alone leaves the count to the table"
    assert found.of("others").is_whole


@pytest.mark.parametrize(("text", "count"), [("auto", None), ("AUTO", None), ("3", 3), ("1", 1)])
def test_one_word_is_for_all_queries(tmp_path: Path, text: str, count: int | None) -> None:
    assert read(tmp_path, f"partitions: {text}\n").of("any") == Partitioning(count)
    assert read(tmp_path, "partitions:\n").of("any").is_whole


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partitions: many", "C.yaml:1: partitions: 'many' is neither auto nor a number from 1 to 64"),
        ("partitions: [4]", "C.yaml:1: `partitions` must be auto, a number, or a mapping"),
        ("partitions: {q: 0}", "C.yaml:1: partitions.q: '0' is neither auto nor"),
        ("partitions: {q: 65}", "partitions.q: '65' is neither auto nor"),
        ("partitions: {q: {counts: 4}}", "partitions.q has no `counts`, did you mean count?"),
        ("partitions: {q: {key: [[a]]}}", "partitions.q.key must be a column's name or a list of them"),
        ("partitions: {q: {lock: maybe}}", "partitions.q.lock must be true or false"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)


def test_a_request_goes_above_the_yaml_field_by_field() -> None:
    configured = Partitioning(4, ("a",), lock=True)
    assert AskedPartitions().over(configured) == configured
    assert AskedPartitions("auto").over(configured) == Partitioning(None, ("a",), lock=True)
    assert AskedPartitions("1", ("b",), lock=False).over(configured) == Partitioning(1, ("b",), lock=False)
    with pytest.raises(ValueError, match="neither auto nor a number"):
        AskedPartitions("-1").over(configured)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "\u0663", str(MOST_PARTITIONS + 1), "all"])
def test_other_counts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither auto nor"):
        count_of(text)
