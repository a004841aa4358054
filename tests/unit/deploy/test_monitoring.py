"""Dashboard and alert rules name metrics, labels and values that the service has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from sql_databricks_bridge.models.events import EventStatus
from sql_databricks_bridge.models.jobs import RunStatus
from sql_databricks_bridge.models.schedules import Decision
from sql_databricks_bridge.observability.metrics import Metrics
from tests.unit.deploy.manifests import DEPLOY, ROOT, document

_NAME = re.compile(r"\b(?:bridge|process)_[a-z_]+\b")
_SELECTOR = re.compile(r"\b(bridge_[a-z_]+)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"')
_OF_THE_SCRAPE = {"job", "instance"}


def rules() -> list[dict[str, str]]:
    return [rule for group in document(DEPLOY / "prometheus/alerts.yaml")["groups"] for rule in group["rules"]]


def panel_expressions() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def expressions() -> list[str]:
    return [rule["expr"] for rule in rules()] + panel_expressions()


def samples() -> set[str]:
    """Every name that a scrape can show."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    families = Metrics("0").registry.collect()
    return {family.name + suffix for family in families for suffix in suffixes.get(family.type, ("",))}


def documented_labels() -> dict[str, set[str]]:
    """Each metric's labels, as docs/service.md has them."""
    found = {}
    for line in (ROOT / "docs/service.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `bridge_"):
            name, _, labels, *_ = (cell.strip() for cell in line.strip("|").split("|"))
            found[name.strip("`")] = {label.strip() for label in labels.split(",") if label.strip()}
    return found


def matchers() -> Iterator[tuple[str, str, str]]:
    for expression in expressions():
        for metric, inner in _SELECTOR.findall(expression):
            for label, value in _MATCHER.findall(inner):
                yield re.sub("_(bucket|sum|count)$", "", metric), label, value


def test_every_metric_named_is_one_of_the_services() -> None:
    named = {name for expression in expressions() for name in _NAME.findall(expression)}
    assert len(named) > 15
    assert named - samples() == set()


def test_every_metric_of_the_service_is_on_the_dashboard() -> None:
    named = {name for expression in panel_expressions() for name in _NAME.findall(expression)}
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in named if name.startswith("bridge_")}
    assert families == documented_labels().keys()


def test_every_label_that_is_matched_is_one_of_its_metric() -> None:
    labels = documented_labels()
    found = list(matchers())
    assert found
    assert [(metric, label) for metric, label, _ in found if label not in labels[metric] | _OF_THE_SCRAPE] == []


def test_every_status_that_is_matched_exists() -> None:
    """A value that is misspelt would make an alert that never fires."""
    allowed = {
        ("bridge_jobs_total", "status"): {status.value for status in RunStatus},
        ("bridge_job_queue", "status"): {status.value for status in RunStatus},
        ("bridge_events_total", "status"): {status.value for status in EventStatus},
        ("bridge_schedule_dues_total", "outcome"): {decision.value for decision in Decision},
    }
    named = {(metric, label, one) for metric, label, value in matchers() for one in value.split("|")}
    checked = {each for each in named if each[:2] in allowed}
    assert {each[:2] for each in checked} == allowed.keys()
    assert [each for each in checked if each[2] not in allowed[each[0], each[1]]] == []


def test_every_alert_has_a_severity_and_says_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) > 8
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}  # type: ignore[index]
        assert rule["annotations"].keys() == {"summary", "description"}  # type: ignore[attr-defined]


def test_the_rules_select_the_job_that_is_scraped() -> None:
    scraped = document(DEPLOY / "prometheus/prometheus.yaml")["scrape_configs"]
    jobs = set(re.findall(r'job="([^"]*)"', " ".join(expressions())))
    assert jobs == {each["job_name"] for each in scraped} == {"bridge"}


def test_panels_do_not_overlap_and_use_the_provisioned_data_source() -> None:
    dashboard = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
    (source,) = document(DEPLOY / "grafana/provisioning/datasources/bridge.yaml")["datasources"]
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["datasource"]["uid"] == source["uid"]
