"""A country's YAML: its reserved keys, declarations and destinations."""

from __future__ import annotations

from pathlib import Path

import pytest

from sql_databricks_bridge.core.country_config import choose_destination, list_countries, load_country
from sql_databricks_bridge.core.yaml_text import leaves
from sql_databricks_bridge.errors import SettingsError, UnknownNameError, UsageError
from sql_databricks_bridge.models.names import Destination


def config(tmp_path: Path, **files: str) -> Path:
    folder = tmp_path / "config"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_countries_are_the_yaml_files_but_the_common_ones(tmp_path: Path) -> None:
    folder = config(tmp_path, Peru="", Colombia="", common_params="", permissions="")
    assert list_countries(folder) == ("Colombia", "Peru")


def test_a_missing_folder_names_the_option_and_the_variable(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--config-dir or BRIDGE_CONFIG_DIR"):
        list_countries(tmp_path / "nowhere")


def test_a_file_that_can_be_no_country_is_refused(tmp_path: Path) -> None:
    folder = config(tmp_path)
    (folder / "a b.yaml").write_text("")
    with pytest.raises(SettingsError, match=r"a b\.yaml: the country 'a b' is not a legal name"):
        list_countries(folder)


@pytest.mark.parametrize(
    ("country", "told"),
    [
        ("Colmbia", "Did you mean Colombia? Countries in"),
        ("colombia", "Did you mean Colombia?"),
        ("Narnia", "There is no country 'Narnia'. Countries in"),
        ("common_params", "'common_params' is no country."),
        ("../config/Peru", "There is no country"),
        ("Chile", "Rename its file to Chile.yaml"),
    ],
)
def test_an_unknown_country_is_told_which_there_are(tmp_path: Path, country: str, told: str) -> None:
    folder = config(tmp_path, Peru="", Colombia="", common_params="")
    (folder / "Chile.yml").write_text("")
    with pytest.raises(UnknownNameError) as caught:
        load_country(folder, country)
    assert told in str(caught.value)


def test_the_country_is_merged_over_the_common_values_without_reserved_keys(tmp_path: Path) -> None:
    folder = config(
        tmp_path,
        common_params="a: 1\ntables: {x: t1, y: t2}\nlookback_months: 6\nserver: common\n",
        Peru="tables: {y: t3}\ndatabase: Flights\nserver: 'host, 1444'\ncode: NO\n",
    )
    peru = load_country(folder, "Peru")
    assert {path: getattr(node, "text", None) for path, node in leaves(peru.values)} == {
        "a": "1",
        "tables.x": "t1",
        "tables.y": "t3",
        "code": "NO",
    }
    assert [path for path, _ in leaves(peru.own)] == ["tables.y", "code"]
    assert (peru.database, peru.server, peru.lookback_months) == ("Flights", "host,1444", 6)
    assert str(peru.lookback_at).endswith("common_params.yaml:3")


def test_without_common_file_and_reserved_keys_the_defaults_hold(tmp_path: Path) -> None:
    peru = load_country(config(tmp_path, Peru="# nothing\n"), "Peru")
    assert (peru.database, peru.server, peru.destinations, peru.lookback_months) == (None, None, (), 24)


def test_a_declaration_has_a_short_and_a_long_form_that_merge(tmp_path: Path) -> None:
    folder = config(
        tmp_path,
        common_params="params:\n  since: date\n  Least: {type: int, default: 5, description: x}\n",
        Peru="params:\n  since: {default: 2013-01-01}\n  code: nvarchar(2)\n",
    )
    declared = load_country(folder, "Peru").declared
    assert {name: entry.type.declaration for name, entry in declared.items()} == {
        "since": "date",
        "least": "int",
        "code": "nvarchar(2)",
    }
    assert declared["since"].default is not None
    assert declared["since"].default.text == "2013-01-01"
    assert declared["code"].default is None
    assert load_country(folder, "Peru").own_declared == {"since", "code"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("database: [a]", "Peru.yaml:1: `database` must be one name"),
        ("server: 'a;UID=sa'", "Peru.yaml:1: `server` must be a host, or host,port"),
        ("server: a,99999", "`server` must be a host, or host,port"),
        ("lookback_months: x", "lookback_months is 'x', not a number from 0 to 1200"),
        ("lookback_months: 1201", "lookback_months is 1201"),
        ("a: 1\nqueries: x", "Peru.yaml:2: `queries` is reserved for a later version"),
        ("a: 1\npublish: x", "Peru.yaml:2: `publish` must be true, false or a mapping of catalog, schema"),
        ("publish: {shema: x}", "Peru.yaml:1: publish has no key 'shema' (did you mean schema?)"),
        ("publish: {drift: evolv}", "`drift` must be one of evolve, fail, new_table"),
        ("publish: {soft_delete: _bridge_range}", "`soft_delete` can't be a name that the bridge uses"),
        ("publish: {tables: [a]}", "`publish.tables` must be a mapping by the queries' names"),
        ("publish: {tables: {a: [b]}}", "publish.tables.a must be a table's name, a mapping or false"),
        ("incremental: {a: x}", "incremental.a must be a mapping of kind, key and others"),
        ("incremental: {a: {key: id}}", "`kind` must be one of rowversion, cursor, change_tracking, cdc, fingerprint"),
        ("incremental: {a: {kind: rowversion, key: id}}", "incremental.a of kind rowversion needs `column`"),
        ("incremental: {a: {kind: cdc, capture: x}}", "incremental.a of kind cdc needs `key`"),
        ("incremental: {a: {kind: cdc, key: id, capture: x, lag: 1}}", "of kind cdc has no key 'lag'"),
        ("incremental: {a: {kind: cursor, key: [id, ID], column: c}}", "`key` must be a column's name, or a list of"),
        ("incremental: {a: {kind: cursor, key: id, column: c, lag: -1}}", "`lag` must be a whole number, 0 or more"),
        ("incremental: {a: {kind: change_tracking, key: id, table: t}}", "`table` must be schema.table of SQL Server"),
        ("a.b: 1", "the key 'a.b' has a dot"),
        ("params: since", "`params` must map names to types"),
        ("params: {since: [date]}", "@since: a declaration is a type"),
        ("params: {since: datte}", "@since: 'datte' is not one of bit"),
        ("params: {'@since': date}", "without '@'"),
        ("params: {since: date, Since: date}", "it is declared already, as @since"),
        ("params: {since: {default: x}}", "@since: its type is missing"),
        ("params: {since: {type: date, defualt: x}}", "unknown: defualt"),
        ("params: {since: {type: date, default: [x]}}", "its default must be one value"),
        ("destination: a.b", "has 2 parts"),
        ("destination: {catalog: a, schema: b}", "a destination is {catalog, schema, volume}"),
        ("destination: {catalog: a, schema: b, volume: }", "must be names"),
        ("destination: {catalog: a, schema: b/c, volume: d}", "'b/c' is not a legal name"),
    ],
)
def test_what_is_wrong_with_a_reserved_key_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_country(config(tmp_path, Peru=text), "Peru")
    assert told in str(caught.value)


def test_several_wrong_keys_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"`database`.*`server`"):
        load_country(config(tmp_path, Peru="database: {}\nserver: []\n"), "Peru")


ONE, TWO, DEFAULT = Destination("c", "s", "one"), Destination("c", "s", "two"), Destination("d", "d", "d")
LISTED = "destination: {catalog: c, schema: s, volume: one}\ndestinations: [c.s.two, c.s.one]\n"


def test_a_request_chooses_among_the_listed_destinations_and_the_first_is_the_default(tmp_path: Path) -> None:
    peru = load_country(config(tmp_path, Peru=LISTED), "Peru")
    assert peru.destinations == (ONE, TWO)
    assert choose_destination(peru, None, DEFAULT) == ONE
    assert choose_destination(peru, "c.s.two", DEFAULT) == TWO
    with pytest.raises(UsageError, match=r"The destination d\.d\.d is not one of Peru's: c\.s\.one, c\.s\.two"):
        choose_destination(peru, "d.d.d", DEFAULT)


def test_the_settings_destination_counts_where_the_yaml_lists_none(tmp_path: Path) -> None:
    peru = load_country(config(tmp_path, Peru=""), "Peru")
    assert choose_destination(peru, None, DEFAULT) == choose_destination(peru, "d.d.d", DEFAULT) == DEFAULT
    with pytest.raises(UsageError, match="not one of"):
        choose_destination(peru, "c.s.one", DEFAULT)
    with pytest.raises(SettingsError, match="DATABRICKS_CATALOG"):
        choose_destination(peru, "c.s.one", None)
