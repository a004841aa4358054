"""`schedule:` of a country's YAML: one mapping or a list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sql_databricks_bridge.core.cron import Cron, zone
from sql_databricks_bridge.core.suggestions import closest, listed
from sql_databricks_bridge.core.yaml_text import Items, Node, Scalar, Tree
from sql_databricks_bridge.errors import UsageError
from sql_databricks_bridge.models.names import require_simple_name
from sql_databricks_bridge.models.schedules import Missed, Schedule

DEFAULT_NAME = "default"
"""Of a schedule that has none."""

_KEYS = ("cron", "timezone", "queries", "publish", "missed", "name")
_PUBLISH: Mapping[str, bool | None] = {"true": True, "false": False, "default": None}
_LONGEST_NAME = 100
_LONGEST_CRON = 400  # job_tables holds it and the zone's name


def read_schedules(country: str, entries: Mapping[str, Node], problems: list[str]) -> tuple[Schedule, ...]:
    """Read the key of the merged YAML; what is wrong is added to `problems` with its place."""
    node = entries.get("schedule")
    if node is None or _empty(node):
        return ()
    found: dict[str, Schedule] = {}
    for item in node.nodes if isinstance(node, Items) else (node,):
        if not isinstance(item, Tree):
            problems.append(f"{item.at}: a schedule must be a mapping of {', '.join(_KEYS)}, like {{cron: 0 2 * * *}}")
            continue
        schedule = _Reader(item, problems).schedule(country)
        if schedule is None:
            continue
        if other := found.get(schedule.name):
            problems.append(
                f"{schedule.at}: two schedules are named {schedule.name!r}, the other one in {other.at};"
                " give each its own `name`"
            )
        found[schedule.name] = schedule
    return tuple(found.values())


class _Reader:
    """Reads one schedule; every problem is kept and reading goes on."""

    def __init__(self, tree: Tree, problems: list[str]) -> None:
        self._tree = tree
        self._problems = problems

    def schedule(self, country: str) -> Schedule | None:
        """The schedule; None where it can't be one."""
        before = len(self._problems)
        for key in (key for key in self._tree.entries if key not in _KEYS):
            near = closest(key, _KEYS)
            told = f"did you mean `{near}`?" if near else f"known are {listed(_KEYS)}"
            self._problems.append(f"{self._tree.entries[key].at}: `{key}` means nothing in a schedule; {told}")
        schedule = Schedule(
            country=country,
            name=self._name(),
            cron=" ".join(self._text("cron").split()),
            timezone=self._text("timezone", "UTC"),
            queries=self._queries(),
            publish=_PUBLISH[self._one_of("publish", tuple(_PUBLISH), "default")],
            missed=Missed(self._one_of("missed", tuple(Missed), Missed.SKIP)),
            at=str(self._tree.at),
        )
        self._check_times(schedule)
        return schedule if len(self._problems) == before else None

    def _check_times(self, schedule: Schedule) -> None:
        """Tell what is wrong with the expression, and with the zone."""
        if len(schedule.cron) > _LONGEST_CRON:
            self._problems.append(f"{self._tree.entries['cron'].at}: `cron` has more than {_LONGEST_CRON} characters")
        elif schedule.cron:
            self._tell("cron", lambda: Cron(schedule.cron, "UTC"))
        if schedule.timezone:
            self._tell("timezone", lambda: zone(schedule.timezone))

    def _tell(self, key: str, check: Callable[[], object]) -> None:
        try:
            check()
        except ValueError as exc:
            self._problems.append(f"{self._tree.entries[key].at}: `{key}`: {exc}")

    def _name(self) -> str:
        name = self._text("name", DEFAULT_NAME)
        if name:
            self._require_name("name", name)
        return name

    def _queries(self) -> tuple[str, ...]:
        node = self._tree.entries.get("queries")
        if node is None or _empty(node):
            return ()
        names = [item.text for item in node.nodes if isinstance(item, Scalar)] if isinstance(node, Items) else []
        if not isinstance(node, Items) or not names or None in names or len(names) != len(node.nodes):
            self._problems.append(f"{node.at}: `queries` must be a list of queries' names; leave it out for all")
            return ()
        known = [name for name in names if name is not None]
        for name in known:
            self._require_name("queries", name)
        return tuple(dict.fromkeys(known))

    def _require_name(self, key: str, name: str) -> None:
        try:
            require_simple_name(name, f"`{key}`:")
        except UsageError as exc:
            told = f"{exc.message} {exc.hint}".rstrip(".")
        else:
            if len(name) <= _LONGEST_NAME:
                return
            told = f"`{key}`: a name has {_LONGEST_NAME} characters at most"
        self._problems.append(f"{self._tree.entries[key].at}: {told}")

    def _one_of(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        text = self._text(key, default)
        if text.lower() in allowed:
            return text.lower()
        if text:
            self._problems.append(f"{self._tree.entries[key].at}: `{key}` must be {' or '.join(allowed)}")
        return default

    def _text(self, key: str, default: str = "") -> str:
        """A key's text; empty where a problem was told."""
        node = self._tree.entries.get(key)
        if node is None or _empty(node):
            if not default:
                self._problems.append(f"{self._tree.at}: a schedule needs `{key}`")
            return default
        if isinstance(node, Scalar) and node.text:
            return node.text
        self._problems.append(f"{node.at}: `{key}` must be one value")
        return ""


def _empty(node: Node) -> bool:
    return isinstance(node, Scalar) and node.text is None
