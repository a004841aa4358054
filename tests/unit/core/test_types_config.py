"""`types:` in YAML: policies by type, strictness, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from sql_databricks_bridge.core.country_config import load_country
from sql_databricks_bridge.errors import SettingsError
from sql_databricks_bridge.models.type_policies import TypePolicies


def types_of(folder: Path, own: str, common: str = "") -> TypePolicies:
    (folder / "Chile.yaml").write_text(own, encoding="utf-8")
    if common:
        (folder / "common_params.yaml").write_text(common, encoding="utf-8")
    return load_country(folder, "Chile").types


def test_the_first_policy_is_the_default(tmp_path: Path) -> None:
    """A YAML without `types` keeps everything that can be kept, and refuses nothing."""
    found = types_of(tmp_path, "a: 1")
    assert (found.of("datetime2"), found.of("geography"), found.of("int"), found.strict) == (
        "exact",
        "bytes",
        None,
        False,
    )


def test_a_country_overrides_one_type_of_the_common_file(tmp_path: Path) -> None:
    """The mappings are merged; names and policies are taken without case."""
    found = types_of(
        tmp_path,
        "types: {DateTime2: String, strict: true}",
        "types: {datetimeoffset: utc}",
    )
    assert (found.of("datetime2"), found.of("datetimeoffset"), found.strict) == ("string", "utc", True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("types: exact", "must be a mapping"),
        ("types: {datetime2: nanoseconds}", "types.datetime2 must be one of exact, microseconds, string"),
        ("types: {datetme2: exact}", "did you mean datetime2?"),
        ("types: {int: string}", "no choice"),
        ("types: {strict: maybe}", "must be true or false"),
        ("types: {datetime2: [exact]}", "must be one of"),
    ],
)
def test_what_is_no_policy_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    """File and line, and what would do."""
    with pytest.raises(SettingsError) as refused:
        types_of(tmp_path, f"a: 1\n{text}\n")
    assert said in refused.value.message
    assert "Chile.yaml:2" in refused.value.message
