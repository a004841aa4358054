"""Placeholders and @parameters of one query: where each value came from, and every way to have none."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from pathlib import Path

import pytest

from sql_databricks_bridge.core.country_config import load_country
from sql_databricks_bridge.core.namespace import Namespace
from sql_databricks_bridge.core.param_resolver import RequestValues, Resolution, resolve_query
from sql_databricks_bridge.core.query_loader import QueryFile
from sql_databricks_bridge.core.window import make_window
from sql_databricks_bridge.errors import ParameterError
from sql_databricks_bridge.models.jobs import ResolvedQuery

TODAY = dt.date(2026, 11, 23)


def resolve(tmp_path: Path, sql: str, yaml: str = "", common: str = "", **given: object) -> Resolution:
    (tmp_path / "q.sql").write_text(sql)
    (tmp_path / "common_params.yaml").write_text(common)
    (tmp_path / "Peru.yaml").write_text(yaml)
    config = load_country(tmp_path, "Peru")
    names = Namespace(config, make_window(24, TODAY), "default")
    return resolve_query(QueryFile("q", tmp_path / "q.sql"), config, names, RequestValues.of(given))


def resolved(tmp_path: Path, sql: str, yaml: str = "", common: str = "", **given: object) -> ResolvedQuery:
    resolution = resolve(tmp_path, sql, yaml, common, **given)
    assert resolution.problems == ()
    assert resolution.query is not None
    return resolution.query


def messages(tmp_path: Path, sql: str, yaml: str = "", common: str = "", **given: object) -> list[str]:
    resolution = resolve(tmp_path, sql, yaml, common, **given)
    assert resolution.query is None
    return [problem.message.replace(f"{tmp_path.as_posix()}/", "") for problem in resolution.problems]


def test_a_placeholder_takes_the_merged_value_and_tells_its_line(tmp_path: Path) -> None:
    query = resolved(
        tmp_path,
        "SELECT {cols}\nFROM {tables.t} AS a, {u} AS b",
        yaml="tables:\n  t: dbo.peru\n",
        common="cols: a.x AS y\ntables: {t: dbo.t, u: dbo.u}\n",
    )
    assert query.sql == "SELECT a.x AS y\nFROM dbo.peru AS a, dbo.u AS b"
    assert query.sha256 == hashlib.sha256(query.sql.encode()).hexdigest()
    assert [(p.name, p.text, p.origin.replace(f"{tmp_path.as_posix()}/", "")) for p in query.placeholders] == [
        ("cols", "a.x AS y", "common_params.yaml:1"),
        ("tables.t", "dbo.peru", "Peru.yaml:2"),
        ("u", "dbo.u", "common_params.yaml:2 (tables.u)"),
    ]


def test_the_window_is_built_in_and_a_top_level_key_of_the_yaml_wins_over_it(tmp_path: Path) -> None:
    sql = "SELECT {start_date} AS a, {end_period} AS b, {lookback_months} AS c"
    query = resolved(tmp_path, sql, yaml="end_period: 209912\nsale: {start_date: x}\n")
    assert query.sql == "SELECT '20241101' AS a, 209912 AS b, 24 AS c"
    assert [p.origin.rpartition("/")[2] for p in query.placeholders] == ["window", "Peru.yaml:1", "default"]


def test_values_keep_the_lines_of_the_file(tmp_path: Path) -> None:
    query = resolved(tmp_path, "SELECT {cols}\nFROM t", yaml="cols: |\n  a,\n  b\n")
    assert query.sql == "SELECT a, b\nFROM t"


def test_a_string_keeps_its_line_ends_and_its_dashes(tmp_path: Path) -> None:
    query = resolved(tmp_path, "SELECT '{v}' AS a, [{w}]", yaml="v: |\n  a\n  b\nw: x--y\n")
    assert query.sql == "SELECT 'a\nb' AS a, [x--y]"


@pytest.mark.parametrize(
    ("sql", "yaml", "told"),
    [
        ("SELECT {tabels}", "tables: {t: x}", "{tabels} has no value in common_params.yaml or Peru.yaml"),
        ("SELECT {purchase_table}", "tables: {purchases_table: x}", "did you mean {purchases_table}?"),
        ("SELECT {t}", "a: {t: x}\nb: {t: y}", "{t} is ambiguous: {a.t}, {b.t}"),
        ("SELECT {tables}", "tables: {t: x}", "{tables} is a mapping (Peru.yaml:1), name one of its keys: {tables.t}"),
        ("SELECT {a}", "a: [x, y]", "{a} is a list (Peru.yaml:1), not SQL text"),
        ("SELECT {a}", "a:", "{a} is empty (Peru.yaml:1)"),
        ("SELECT {a}", "a: ' '", "{a} is empty (Peru.yaml:1)"),
        ("SELECT {database}", "database: x", "{database} is a reserved key"),
        ("SELECT @a", "params: {ab: int}", "@a is not declared in common_params.yaml or Peru.yaml"),
        ("SELECT @sinec", "params: {since: date}", "did you mean @since?"),
        ("SELECT @a", "params: {a: int}", "@a (int, Peru.yaml:1) has no value"),
        ("SELECT {d '2013-01-01'}", "", "q.sql:1: column 8: `{d '2013-01-01'}` is not a placeholder"),
        ("SELECT {a}, b", "a: x -- why", "{a} ends in a `--` comment (Peru.yaml:1)"),
        ("SELECT 1 {a}", "a: '; DROP TABLE t'", "q.sql:1: a second statement begins here"),
    ],
)
def test_a_name_without_a_value_says_why(tmp_path: Path, sql: str, yaml: str, told: str) -> None:
    (message,) = messages(tmp_path, sql, yaml)
    assert told in message


def test_a_missing_name_does_not_hide_what_else_is_wrong(tmp_path: Path) -> None:
    found = messages(tmp_path, "SELECT TOP ({n}) @x {op} SELECT 1 FROM {t} } WHERE 1 = @y")
    assert [re.findall(r"{\w+}|@\w|single", message)[0] for message in found] == [
        "single",
        "{n}",
        "{op}",
        "{t}",
        "@x",
        "@y",
    ]


def test_a_commented_out_placeholder_needs_no_value(tmp_path: Path) -> None:
    sql = "SELECT 1 AS a -- AND x = {gone} and {ends}\n/* {here} */"
    query = resolved(tmp_path, sql, yaml="here: x\nends: a */ b\n")
    assert query.sql == "SELECT 1 AS a -- AND x = {gone} and {ends}\n/* x */"
    assert query.placeholders == ()


def test_values_are_bound_by_declared_type_and_never_pasted(tmp_path: Path) -> None:
    sql = "SELECT @since AS a, @code AS b, @SINCE AS c, @n AS d, @nothing AS e"
    yaml = "params:\n  since: date\n  code: nvarchar(20)\n  n: {type: bigint, default: 7}\n  nothing: int\n"
    query = resolved(tmp_path, sql, yaml, Since="2013-06-01", code="'; DROP TABLE t --", nothing=None)
    assert query.sql == sql
    assert [(p.name, p.declaration, p.value) for p in query.parameters] == [
        ("since", "date", dt.date(2013, 6, 1)),
        ("code", "nvarchar(20)", "'; DROP TABLE t --"),
        ("n", "bigint", 7),
        ("nothing", "int", None),
    ]
    assert [p.origin.rpartition("/")[2] for p in query.parameters] == [
        "request",
        "request",
        "Peru.yaml:4 (default)",
        "request",
    ]


def test_a_wrong_value_is_told_with_parameter_type_value_and_reason(tmp_path: Path) -> None:
    (message,) = messages(tmp_path, "SELECT @since", "params: {since: date}", since="2013-13-01")
    assert message.startswith("@since (date, Peru.yaml:1) can't be '2013-13-01': month")


def test_a_secrets_value_is_never_shown(tmp_path: Path) -> None:
    (message,) = messages(tmp_path, "SELECT @api_token", "params: {api_token: int}", api_token="hunter2")
    assert "hunter2" not in message
    query = resolved(tmp_path, "SELECT '{db_password}' AS a", yaml="db_password: hunter2")
    assert "hunter2" not in str(query.placeholders)


def test_a_name_given_in_two_cases_is_refused() -> None:
    with pytest.raises(ParameterError, match="given twice"):
        RequestValues.of({"since": 1, "Since": 2})
