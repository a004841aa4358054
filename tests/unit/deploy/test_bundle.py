"""The Databricks bundle makes the table that the bridge reads, and its sample calls the SDK as it is."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge_sdk import BridgeEvents
from sql_databricks_bridge_sdk.version import __version__
from tests.unit.deploy.manifests import DEPLOY, ROOT, document

BUNDLE = DEPLOY / "databricks"
RESOURCES = sorted((BUNDLE / "resources").glob("*.yml"))
SAMPLE = BUNDLE / "src/submit_results.py"


def resources() -> dict[str, dict[str, Any]]:
    """Every resource of the bundle, by its kind and key."""
    found: dict[str, dict[str, Any]] = {}
    for path in RESOURCES:
        for kind, each in document(path)["resources"].items():
            found.setdefault(kind, {}).update(each)
    return found


def tasks() -> list[dict[str, Any]]:
    return [task for job in resources()["jobs"].values() for task in job["tasks"]]


def test_the_events_table_is_the_one_that_the_bridge_makes() -> None:
    made = (ROOT / "src/sql_databricks_bridge/db/sql/events_create.sql").read_text(encoding="utf-8")
    shipped = (BUNDLE / "sql/events_table.sql").read_text(encoding="utf-8")
    assert shipped.split("\n", 1)[1] == made.replace("{table}", "IDENTIFIER(:events_table)")


def test_every_variable_is_declared_and_every_resource_referred_to_is_there() -> None:
    bundle = document(BUNDLE / "databricks.yml")
    text = "".join(path.read_text(encoding="utf-8") for path in RESOURCES)
    assert set(re.findall(r"\$\{var\.(\w+)\}", text)) == bundle["variables"].keys()
    referred = set(re.findall(r"\$\{resources\.(\w+)\.(\w+)\.\w+\}", text))
    assert referred
    assert [each for each in referred if each[1] not in resources().get(each[0], {})] == []


def test_every_file_of_a_task_is_there() -> None:
    named = [task["sql_task"]["file"]["path"] for task in tasks() if "sql_task" in task]
    named += [task["spark_python_task"]["python_file"] for task in tasks() if "spark_python_task" in task]
    assert len(named) == len(tasks())
    assert [name for name in named if not (BUNDLE / "resources" / name).is_file()] == []


def test_the_sample_gets_each_option_that_it_asks_for() -> None:
    (task,) = [task["spark_python_task"] for task in tasks() if "spark_python_task" in task]
    given = {re.split("--|=", parameter)[1] for parameter in task["parameters"]}
    (loop,) = [node for node in ast.walk(ast.parse(SAMPLE.read_text())) if isinstance(node, ast.For)]
    assert given == set(ast.literal_eval(loop.iter))


def test_the_sample_calls_the_sdk_as_it_is() -> None:
    """Each call of the sample fits the signature of the SDK's method."""
    methods: dict[str, Callable[..., Any]] = {
        "BridgeEvents": BridgeEvents,
        "submit": BridgeEvents.submit,
        "wait": BridgeEvents.wait,
    }
    seen = set()
    for node in ast.walk(ast.parse(SAMPLE.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in methods:
            self = () if name == "BridgeEvents" else (None,)
            keywords = {str(keyword.arg): None for keyword in node.keywords}
            inspect.signature(methods[name]).bind(*self, *node.args, **keywords)
            seen.add(name)
    assert seen == methods.keys()


def test_the_job_installs_the_wheel_of_this_version() -> None:
    (environment,) = resources()["jobs"]["submit_results"]["environments"]
    (wheel,) = environment["spec"]["dependencies"]
    assert Path(wheel).name == f"sql_databricks_bridge_sdk-{__version__}-py3-none-any.whl"
    assert (BUNDLE / "resources" / wheel).resolve().parent == ROOT / "dist"


def test_the_table_has_the_name_that_the_bridge_looks_for() -> None:
    variables = document(BUNDLE / "databricks.yml")["variables"]
    name = f"{variables['catalog']['default']}.{variables['events_schema']['default']}.bridge_events"
    assert name == Settings.model_fields["bridge_events_table"].default


def test_bridge_and_authors_may_do_what_they_need_and_no_more() -> None:
    grants = {grant["principal"]: set(grant["privileges"]) for grant in resources()["schemas"]["events"]["grants"]}
    needed = {"USE_SCHEMA", "SELECT", "MODIFY"}
    assert grants == {"${var.bridge_principal}": needed, "${var.authors}": needed}


def test_the_warehouse_is_the_cheapest_that_polling_can_have() -> None:
    warehouse = resources()["sql_warehouses"]["bridge"]
    assert (warehouse["cluster_size"], warehouse["max_num_clusters"], warehouse["auto_stop_mins"]) == (
        "2X-Small",
        1,
        10,
    )
