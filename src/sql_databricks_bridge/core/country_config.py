"""A country's YAML: `common_params.yaml` merged under `{country}.yaml`, the reserved keys taken out and checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sql_databricks_bridge.core.partitions_config import PartitionsConfig, read_partitions
from sql_databricks_bridge.core.publish_config import PublishConfig, read_publishing
from sql_databricks_bridge.core.schedule_config import read_schedules
from sql_databricks_bridge.core.sql_values import ParameterType, parse_declaration
from sql_databricks_bridge.core.suggestions import closest, listed
from sql_databricks_bridge.core.types_config import read_types
from sql_databricks_bridge.core.window import DEFAULT_LOOKBACK_MONTHS, parse_lookback_months
from sql_databricks_bridge.core.yaml_text import Items, Node, Place, Scalar, Tree, leaves, load_yaml, merge
from sql_databricks_bridge.errors import ParameterError, SettingsError, UnknownNameError, UsageError
from sql_databricks_bridge.models.names import Destination, require_simple_name
from sql_databricks_bridge.models.schedules import Schedule
from sql_databricks_bridge.models.type_policies import TypePolicies

COMMON = "common_params"
NOT_COUNTRIES = frozenset({COMMON, "permissions"})
"""YAML files in the same folder that are no country: the common values, and the seed's list of users."""

RESERVED_KEYS = frozenset(
    {
        *("database", "destination", "destinations", "incremental", "lookback_months"),
        *("params", "partitions", "publish", "schedule", "server", "types"),
    }
)
LATER_KEYS = frozenset({"queries"})
"""Refused today, so that a later version may give them a meaning without changing what a file says."""

_PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,126}\Z")
_SERVER = re.compile(r"[\w.:\\-]+(,\s*([0-9]{1,5}))?\Z")


@dataclass(frozen=True, slots=True)
class Declared:
    """A declared `@name`; `default` is the YAML's text, None in it meaning NULL; no default means required."""

    name: str
    type: ParameterType
    at: Place
    default: Scalar | None = None


@dataclass(frozen=True, slots=True)
class CountryConfig:
    """What the YAML says for one country.

    `values` are the merged parameters, `own` those that the country's file itself writes. `destinations` are the ones
    a request may choose from, the first the default; none means that the settings decide. Keys of `declared` are
    lower case: T-SQL's variables are the same in either case.
    """

    country: str
    files: tuple[str, ...]
    values: Tree
    own: Tree
    declared: Mapping[str, Declared]
    own_declared: frozenset[str]
    database: str | None = None
    server: str | None = None
    destinations: tuple[Destination, ...] = ()
    lookback_months: int = DEFAULT_LOOKBACK_MONTHS
    lookback_at: Place | None = None
    publishing: PublishConfig = field(default_factory=PublishConfig)
    schedules: tuple[Schedule, ...] = ()
    types: TypePolicies = field(default_factory=TypePolicies)
    partitions: PartitionsConfig = field(default_factory=PartitionsConfig)


def list_countries(config_dir: Path) -> tuple[str, ...]:
    """The countries that have a YAML file, sorted.

    Raises `SettingsError` where the folder is missing or a file's name is no legal country.
    """
    if not config_dir.is_dir():
        raise SettingsError(
            f"The configuration folder {config_dir} does not exist.",
            hint="Name it by --config-dir or BRIDGE_CONFIG_DIR.",
        )
    countries = []
    for path in sorted(config_dir.glob("*.yaml")):
        if path.name.startswith(".") or path.stem in NOT_COUNTRIES:
            continue
        try:
            countries.append(require_simple_name(path.stem, f"{path.as_posix()}: the country"))
        except UsageError as exc:
            raise SettingsError(exc.message, hint=exc.hint) from exc
    return tuple(countries)


def load_country(config_dir: Path, country: str) -> CountryConfig:
    """Read and check a country's YAML.

    Raises `UnknownNameError` for a country without a file, `SettingsError` for what is wrong in a file (all problems
    with reserved keys together).
    """
    known = list_countries(config_dir)
    if country not in known:
        raise _unknown_country(config_dir, country, known)
    common_path, own_path = config_dir / f"{COMMON}.yaml", config_dir / f"{country}.yaml"
    common = load_yaml(common_path, common_path.as_posix()) if common_path.exists() else Tree()
    own = load_yaml(own_path, own_path.as_posix())
    problems: list[str] = []
    merged = merge(_long_params(common), _long_params(own))
    entries = merged.entries
    problems += [
        f"{entries[name].at}: `{name}` is reserved for a later version; name the parameter otherwise"
        for name in sorted(LATER_KEYS & entries.keys())
    ]
    problems += _dotted_keys(merged)
    declared = _declared(entries.get("params"), problems)
    own_params = own.entries.get("params")
    lookback = entries.get("lookback_months")
    config = CountryConfig(
        country=country,
        files=tuple(path.as_posix() for path in (common_path, own_path) if path.exists()),
        values=merged.without(RESERVED_KEYS),
        own=own.without(RESERVED_KEYS),
        declared=declared,
        own_declared=frozenset(
            name.casefold() for name in (own_params.entries if isinstance(own_params, Tree) else ())
        ),
        database=_one_text("database", entries.get("database"), problems),
        server=_server(entries.get("server"), problems),
        destinations=_destinations(entries, problems),
        lookback_months=_lookback(lookback, problems),
        lookback_at=lookback.at if lookback else None,
        publishing=read_publishing(entries, problems),
        schedules=read_schedules(country, entries, problems),
        types=read_types(entries, problems),
        partitions=read_partitions(entries, problems),
    )
    if problems:
        raise SettingsError("; ".join(problems) + ".", hint="Mend the YAML.")
    return config


def choose_destination(config: CountryConfig, chosen: str | None, default: Destination | None) -> Destination:
    """The destination of a run: `chosen` (CATALOG.SCHEMA.VOLUME) where it is allowed, else the first allowed one.

    Allowed are those that the YAML lists; `default`, the settings' one, only where it lists none.
    Raises `UsageError` for a choice that is not allowed, `SettingsError` where there is none at all.
    """
    allowed = config.destinations or ((default,) if default else ())
    if not allowed:
        raise SettingsError(
            f"{config.country} has no destination.",
            hint=f"Write `destination: {{catalog, schema, volume}}` into {config.files[-1]}, "
            "or set DATABRICKS_CATALOG, DATABRICKS_SCHEMA and DATABRICKS_VOLUME.",
        )
    if chosen is None:
        return allowed[0]
    wanted = Destination.parse(chosen)
    if wanted not in allowed:
        raise UsageError(
            f"The destination {wanted} is not one of {config.country}'s: {listed(map(str, allowed))}.",
            hint=f"Choose one of them, or list it under `destinations:` in {config.files[-1]}.",
        )
    return wanted


def _unknown_country(config_dir: Path, country: str, known: tuple[str, ...]) -> UnknownNameError:
    shown = config_dir.as_posix()
    if country in NOT_COUNTRIES:
        return UnknownNameError(f"{country!r} is no country.", hint=f"Countries in {shown}: {listed(known)}.")
    if any((config_dir / f"{country}{suffix}").exists() for suffix in (".yml", ".YAML")):
        return UnknownNameError(f"There is no {shown}/{country}.yaml.", hint=f"Rename its file to {country}.yaml.")
    near = closest(country, known)
    hint = f"Countries in {shown}: {listed(known)}."
    return UnknownNameError(f"There is no country {country!r}.", hint=f"Did you mean {near}? {hint}" if near else hint)


def _dotted_keys(tree: Tree) -> list[str]:
    """Keys with a dot would be taken for nested ones."""
    problems = []
    for key, node in tree.entries.items():
        if "." in key:
            problems.append(f"{node.at}: the key {key!r} has a dot, which separates nested keys; nest it instead")
        if isinstance(node, Tree):
            problems += _dotted_keys(node)
    return problems


def _one_text(name: str, node: Node | None, problems: list[str]) -> str | None:
    if node is None or (isinstance(node, Scalar) and node.text is None):
        return None
    if isinstance(node, Scalar) and node.text and node.text == node.text.strip() and node.text.isprintable():
        return node.text
    problems.append(f"{node.at}: `{name}` must be one name")
    return None


def _server(node: Node | None, problems: list[str]) -> str | None:
    text = _one_text("server", node, problems)
    if text is None or node is None:
        return None
    found = _SERVER.match(text)  # nothing else may reach a connection string
    if not found or (found.group(2) and not 1 <= int(found.group(2)) <= 65535):
        problems.append(f"{node.at}: `server` must be a host, or host,port")
        return None
    return text.replace(" ", "")


def _lookback(node: Node | None, problems: list[str]) -> int:
    if node is None or (isinstance(node, Scalar) and node.text is None):
        return DEFAULT_LOOKBACK_MONTHS
    try:
        return parse_lookback_months(node.text if isinstance(node, Scalar) else None, str(node.at))
    except ParameterError as exc:
        problems.append(exc.message.rstrip("."))
        return DEFAULT_LOOKBACK_MONTHS


def _destinations(entries: Mapping[str, Node], problems: list[str]) -> tuple[Destination, ...]:
    """`destination` (the default) first, then `destinations`; either is one or a list of them."""
    found: list[Destination] = []
    for key in ("destination", "destinations"):
        node = entries.get(key)
        if node is None or (isinstance(node, Scalar) and node.text is None):
            continue
        for item in node.nodes if isinstance(node, Items) else (node,):
            try:
                destination = _destination(item)
            except UsageError as exc:
                problems.append(f"{item.at}: {exc.message.rstrip('.')}")
                continue
            if destination not in found:
                found.append(destination)
    return tuple(found)


def _destination(node: Node) -> Destination:
    if isinstance(node, Scalar) and node.text is not None:
        return Destination.parse(node.text)
    parts = ("catalog", "schema", "volume")
    if not isinstance(node, Tree) or set(node.entries) != set(parts):
        raise UsageError("a destination is {catalog, schema, volume} or catalog.schema.volume")
    texts = [part.text for part in (node.entries[name] for name in parts) if isinstance(part, Scalar) and part.text]
    if len(texts) != len(parts):
        raise UsageError("a destination's catalog, schema and volume must be names")
    return Destination(*texts)


def _long_params(tree: Tree) -> Tree:
    """Write `since: date` under `params:` as `since: {type: date}`, so that a country may override a default alone."""
    params = tree.entries.get("params")
    if not isinstance(params, Tree):
        return tree
    long = {
        name: Tree({"type": node}, node.at) if isinstance(node, Scalar) else node
        for name, node in params.entries.items()
    }
    return Tree({**tree.entries, "params": Tree(long, params.at)}, tree.at)


def _declared(node: Node | None, problems: list[str]) -> dict[str, Declared]:
    if node is None or (isinstance(node, Scalar) and node.text is None):
        return {}
    if not isinstance(node, Tree):
        problems.append(f"{node.at}: `params` must map names to types, like `since: date`")
        return {}
    declared: dict[str, Declared] = {}
    for name, entry in node.entries.items():
        problem = _name_problem(name, declared)
        if problem is None and isinstance(entry, Tree):
            problem = _declare(name, entry, declared)
        elif problem is None:
            problem = "a declaration is a type, or {type: ..., default: ...}"
        if problem:
            problems.append(f"{entry.at}: @{name}: {problem}")
    return declared


def _name_problem(name: str, declared: Mapping[str, Declared]) -> str | None:
    if not _PARAMETER_NAME.match(name):
        return "a parameter's name is letters, digits and '_', without '@'"
    if name.casefold() in declared:
        return f"it is declared already, as @{declared[name.casefold()].name}"
    return None


def _declare(name: str, entry: Tree, declared: dict[str, Declared]) -> str | None:
    """Add the declaration to `declared`, or say what is wrong with it."""
    extra = entry.entries.keys() - {"type", "default", "description"}
    if extra:
        return f"unknown: {listed(extra)}; known are type, default and description"
    type_, default = entry.entries.get("type"), entry.entries.get("default")
    if not isinstance(type_, Scalar) or not type_.text:
        return "its type is missing"
    if default is not None and not isinstance(default, Scalar):
        return "its default must be one value"
    try:
        declared[name.casefold()] = Declared(name, parse_declaration(type_.text), entry.at, default)
    except ValueError as exc:
        return f"{exc}"
    return None


def unused_keys(config: CountryConfig, used: Iterable[str]) -> tuple[tuple[str, Place], ...]:
    """Paths that the country's own file sets and that are not in `used`, with their places."""
    seen = frozenset(used)
    return tuple((path, node.at) for path, node in leaves(config.own) if path not in seen)
