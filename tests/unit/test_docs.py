"""The documentation says what the code does, where a test can tell."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sql_databricks_bridge.api.problems import Slug
from sql_databricks_bridge.core import type_docs
from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.main import openapi_document
from sql_databricks_bridge.observability.metrics import Metrics

DOCS = Path(__file__).parents[2] / "docs"


def test_every_setting_is_documented_with_its_meaning() -> None:
    """docs/settings.md has a line for each variable, with the description that the code gives it."""
    text = (DOCS / "settings.md").read_text()
    missing = [
        name.upper()
        for name, field in Settings.model_fields.items()
        if f"| `{name.upper()}` |" not in text or (field.description or "?") not in text
    ]
    assert missing == []


def test_no_variable_is_documented_that_the_code_does_not_read() -> None:
    """A variable that is renamed or removed does not live on in docs/settings.md."""
    documented = {
        line.split("`")[1] for line in (DOCS / "settings.md").read_text().splitlines() if line.startswith("| `")
    }
    assert documented == {name.upper() for name in Settings.model_fields}


def test_the_page_of_types_is_what_the_code_says() -> None:
    """docs/types.md is generated, and was so after the last change."""
    assert (DOCS / "types.md").read_text(encoding="utf-8") == type_docs.page()


def test_every_metric_is_documented_with_its_meaning() -> None:
    """docs/service.md has a line for each metric, and none for one that is not there."""
    told = {
        (cells[0].strip("`").removesuffix("_total"), cells[3])
        for line in (DOCS / "service.md").read_text().splitlines()
        if line.startswith("| `bridge_")
        for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
    }
    families = Metrics("0").registry.collect()
    there = {family.name: family.documentation for family in families if family.name.startswith("bridge_")}
    assert dict(told) == there


def test_every_route_is_documented() -> None:
    """docs/api.md names each path of the OpenAPI document, with its method where it is more than a GET."""
    text = (DOCS / "api.md").read_text()
    paths: dict[str, Any] = openapi_document()["paths"]  # type: ignore[assignment]
    assert paths
    missing = [
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method in methods
        if f"{method.upper()} {re.sub('{[^}]*}', '{id}', path)}" not in text and f"`{path}`" not in text
    ]
    assert missing == []


def test_every_kind_of_problem_is_documented() -> None:
    """docs/api.md tells each error's slug."""
    text = (DOCS / "api.md").read_text()
    assert [slug.value for slug in Slug if f"`{slug.value}`" not in text] == []
