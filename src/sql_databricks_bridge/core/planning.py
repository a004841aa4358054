"""A whole run, resolved before its first query is sent; and the same knowledge for people who only look."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sql_databricks_bridge.core.country_config import (
    CountryConfig,
    Declared,
    choose_destination,
    list_countries,
    load_country,
    unused_keys,
)
from sql_databricks_bridge.core.namespace import Namespace, NoValue
from sql_databricks_bridge.core.param_resolver import (
    Problem,
    RequestValues,
    Resolution,
    problems_error,
    resolve_query,
    shown_value,
    unused_request_problems,
)
from sql_databricks_bridge.core.query_loader import QueryFile, QueryFolder, choose, discover, folder_warnings
from sql_databricks_bridge.core.sql_tokens import Unclosed, parameter_uses, tokenize
from sql_databricks_bridge.core.template import Slot, parse_template
from sql_databricks_bridge.core.window import Window, make_window
from sql_databricks_bridge.core.yaml_text import Place
from sql_databricks_bridge.errors import EventInvalid, ParameterError, QueryFileError, SettingsError, UsageError
from sql_databricks_bridge.models.jobs import ExtractionPlan, ResolvedQuery
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.partitions import AskedPartitions


def plan_extraction(
    *,
    queries_dir: Path,
    config_dir: Path,
    country: str,
    today: dt.date,
    run_id: str,
    queries: Sequence[str] | None = None,
    destination: str | None = None,
    parameters: Mapping[str, object] | None = None,
    lookback_months: int | None = None,
    limit: int | None = None,
    publish: bool | None = None,
    strict: bool = False,
    partitions: AskedPartitions | None = None,
    default_database: str | None = None,
    default_destination: Destination | None = None,
) -> ExtractionPlan:
    """Resolve a run wholly, or raise a `UsageError` that tells everything that is wrong with its queries.

    `queries` None or empty means all of the country's; `parameters` are values for declared `@names`, as text or JSON
    values; `lookback_months` overrides the YAML's; `today` ends the time window; the defaults are the settings', used
    where the YAML says nothing. `limit` cuts every query's rows. `publish` None means what the YAML's `publish:` says;
    True publishes where it says nothing too, False lands only. `strict` refuses queries whose result would lose
    anything, as `types.strict` in the YAML does. `partitions` goes above the YAML's `partitions:`.

    Raises `UnknownNameError` (country, query), `SettingsError` (YAML, no database, no destination), `QueryFileError`,
    `ParameterError`, `UsageError` (folders, limit, a destination that is not allowed).
    """
    if limit is not None and not 1 <= limit < 2**31:  # SET ROWCOUNT takes an int
        raise UsageError(f"The limit is {limit}; it must be 1 or more, at most {2**31 - 1}.")
    scene = _set_scene(queries_dir, config_dir, country, today, parameters, lookback_months)
    chosen = choose(scene.folder, country, queries)
    config = scene.config
    volume = choose_destination(config, destination, default_destination)
    database = config.database or default_database
    if not database:
        raise SettingsError(
            f"{country} has no database.", hint=f"Write `database:` into {config.files[-1]}, or set SQLSERVER_DATABASE."
        )
    resolved, warnings = _resolve_all(scene, chosen)
    types = dataclasses.replace(config.types, strict=strict or config.types.strict)
    resolved = tuple(dataclasses.replace(query, types=types) for query in resolved)
    resolved = _with_partitions(resolved, scene, partitions or AskedPartitions())
    resolved = _with_tables(resolved, scene, volume, publish=publish, limit=limit)
    return ExtractionPlan(
        run_id=run_id,
        country=country,
        destination=volume,
        queries=resolved,
        database=database,
        server=config.server,
        limit=limit,
        warnings=(*folder_warnings(scene.folder, country, list_countries(config_dir)), *warnings, *_unused(scene)),
        parameters={
            bound.name: shown_value(bound.name, bound.value) for query in resolved for bound in query.parameters
        },
    )


def new_run_id(now: dt.datetime, rng: random.Random) -> str:
    """An id that sorts by time, '20261123T130755Z-3f9a1c52b7e0'; `now` is aware, `rng` a `SystemRandom` in service."""
    return f"{now.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}-{rng.getrandbits(48):012x}"


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Parse `k=v` (the CLI's --param); the value is all that follows the first '='. Raises `ParameterError`."""
    values: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        name = name.strip().removeprefix("@")
        if not equals or not name:
            raise ParameterError("--param takes NAME=VALUE.", hint="Example: --param since=2013-06-01")
        if name in values:
            raise ParameterError(f"--param {name} is given twice.")
        values[name] = value
    return values


@dataclass(frozen=True, slots=True)
class QueryInfo:
    """A query file, for lists.

    `country` is None for a base file, `overrides` the base file that a country's replaces; `overridden_by` are the
    countries that replace a base file. `placeholders` and `parameters` (without '@') are those its text uses, in order.
    `problem` says why the file can't be read, else None; whether it is one SELECT is known once it is resolved.
    """

    name: str
    file: str
    country: str | None
    overrides: str | None
    overridden_by: tuple[str, ...]
    placeholders: tuple[str, ...]
    parameters: tuple[str, ...]
    problem: str | None = None


def list_queries(queries_dir: Path, country: str | None = None) -> tuple[QueryInfo, ...]:
    """The queries of a country, or the base folder's, sorted by name; raises as `query_loader.discover` does."""
    folder = discover(queries_dir)
    return tuple(_info(folder, file) for file in folder.of_country(country).values())


@dataclass(frozen=True, slots=True)
class QueryExplanation:
    """A query as it would be sent: its placeholders and bound parameters carry where each came from.

    `without_value` are declared @parameters that it needs and that neither the caller nor a default gives.
    """

    query: ResolvedQuery
    without_value: tuple[Declared, ...]
    warnings: tuple[str, ...]


def explain_query(
    *,
    queries_dir: Path,
    config_dir: Path,
    country: str,
    name: str,
    today: dt.date,
    parameters: Mapping[str, object] | None = None,
    lookback_months: int | None = None,
) -> QueryExplanation:
    """Resolve one query for a person: values of @parameters may be missing. Raises as `plan_extraction` does."""
    scene = _set_scene(queries_dir, config_dir, country, today, parameters, lookback_months)
    (file,) = choose(scene.folder, country, [name])
    resolution = resolve_query(file, scene.config, scene.names, scene.request, values_required=False)
    unused = unused_request_problems(scene.config, scene.request, resolution.used_parameters)
    if resolution.query is None or unused:
        raise problems_error([*resolution.problems, *unused])
    return QueryExplanation(resolution.query, resolution.without_value, resolution.warnings)


@dataclass(frozen=True, slots=True)
class _Scene:
    """What all queries of a run share."""

    folder: QueryFolder
    config: CountryConfig
    names: Namespace
    request: RequestValues


def _set_scene(
    queries_dir: Path,
    config_dir: Path,
    country: str,
    today: dt.date,
    parameters: Mapping[str, object] | None,
    lookback_months: int | None,
) -> _Scene:
    config = load_country(config_dir, country)
    window, origin = _window(config, lookback_months, today)
    return _Scene(discover(queries_dir), config, Namespace(config, window, origin), RequestValues.of(parameters or {}))


def _window(config: CountryConfig, asked: int | None, today: dt.date) -> tuple[Window, str]:
    if asked is not None:
        return make_window(asked, today), "request"
    origin = str(config.lookback_at) if config.lookback_at else "default"
    return make_window(config.lookback_months, today), origin


def _resolve_all(scene: _Scene, chosen: Sequence[QueryFile]) -> tuple[tuple[ResolvedQuery, ...], tuple[str, ...]]:
    """Resolve every query, then raise all problems at once."""
    resolutions: list[Resolution] = [resolve_query(file, scene.config, scene.names, scene.request) for file in chosen]
    problems: list[Problem] = [problem for resolution in resolutions for problem in resolution.problems]
    used = frozenset[str]().union(*(resolution.used_parameters for resolution in resolutions))
    problems += unused_request_problems(scene.config, scene.request, used)
    if problems:
        raise problems_error(problems)
    warnings = tuple(warning for resolution in resolutions for warning in resolution.warnings)
    return tuple(resolution.query for resolution in resolutions if resolution.query), warnings


def _with_partitions(
    queries: Sequence[ResolvedQuery], scene: _Scene, asked: AskedPartitions
) -> tuple[ResolvedQuery, ...]:
    """Add to each query in how many ranges it is read."""
    config = scene.config.partitions
    _require_queries(scene, config.places, "partitions")
    try:
        found = tuple(dataclasses.replace(query, partitions=asked.over(config.of(query.name))) for query in queries)
    except ValueError as exc:
        raise UsageError(f"--partitions: {exc}.") from exc
    if (asked.key or asked.lock) and all(query.partitions.is_whole for query in found):
        raise UsageError(
            "A partition key or lock was given, and nothing is split.", hint="Add --partitions auto, or a number."
        )
    return found


def _require_queries(scene: _Scene, places: Mapping[str, Place], *keys: str) -> None:
    """`SettingsError` where keys of the YAML name a query that the country has not."""
    known = scene.folder.of_country(scene.config.country)
    strays = [
        f"{place}: {name} is no query of {scene.config.country}" for name, place in places.items() if name not in known
    ]
    if strays:
        mended = " or ".join(f"`{key}:`" for key in keys)
        raise SettingsError("; ".join(strays) + ".", hint=f"Mend {mended}.")


def _with_tables(
    queries: Sequence[ResolvedQuery], scene: _Scene, volume: Destination, *, publish: bool | None, limit: int | None
) -> tuple[ResolvedQuery, ...]:
    """Add to each query the table that it becomes, and see that no table is asked for twice."""
    config = scene.config.publishing
    _require_queries(scene, config.places, "publish", "incremental")
    if not (config.wanted if publish is None else publish):
        return tuple(queries)
    if limit is not None:
        raise UsageError(
            f"A run cut to {limit:,} rows can't be published: its tables would hold a part.",
            hint="Leave --limit out, or add --no-publish.",
        )
    try:
        tables = {query.name: config.of(query.name, volume) for query in queries}
    except EventInvalid as exc:
        raise SettingsError(exc.message, hint=exc.hint) from exc
    seen: dict[str, str] = {}
    for name, publication in tables.items():
        if publication is not None and (other := seen.setdefault(str(publication.table).lower(), name)) != name:
            raise SettingsError(
                f"{other} and {name} would both become {publication.table}.",
                hint="Give one of them another `table:` under `publish.tables`.",
            )
    return tuple(dataclasses.replace(query, publish=tables[query.name]) for query in queries)


def _unused(scene: _Scene) -> tuple[str, ...]:
    """Warn of what the country's own file says and none of its queries, chosen or not, takes."""
    keys: set[str] = set()
    parameters: set[str] = set()
    for file in scene.folder.of_country(scene.config.country).values():
        try:
            text = file.read()
        except QueryFileError:
            continue  # not chosen, else the run had been refused; its names are unknown
        filled = parse_template(text).fill(lambda slot: _note(scene.names, slot, keys))
        parameters.update(use.casefold() for use in _parameters_of(filled))
    warnings = [
        f"{place}: {path} is used by no query of {scene.config.country}"
        for path, place in unused_keys(scene.config, keys)
    ]
    warnings += [
        f"{entry.at}: @{entry.name} is used by no query of {scene.config.country}"
        for folded, entry in scene.config.declared.items()
        if folded in scene.config.own_declared and folded not in parameters
    ]
    return tuple(warnings)


def _note(names: Namespace, slot: Slot, keys: set[str]) -> str | None:
    try:
        found = names.find(slot.name)
    except NoValue as exc:
        keys.update(exc.paths)
        return None
    if found.path is not None:
        keys.add(found.path)
    return None if slot.in_comment else found.text


def _info(folder: QueryFolder, file: QueryFile) -> QueryInfo:
    problem: str | None = None
    placeholders: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    try:
        text = file.read()
    except QueryFileError as exc:
        problem = str(exc)
    else:
        template = parse_template(text)
        placeholders = tuple(dict.fromkeys(slot.name for slot in template.slots))
        parameters = _parameters_of(text)
    overriding = (name for name, files in folder.countries.items() if file.country is None and file.name in files)
    return QueryInfo(
        name=file.name,
        file=file.shown_as,
        country=file.country,
        overrides=file.overrides.as_posix() if file.overrides else None,
        overridden_by=tuple(overriding),
        placeholders=placeholders,
        parameters=parameters,
        problem=problem,
    )


def _parameters_of(text: str) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(use.name for use in parameter_uses(text, tokenize(text))))
    except Unclosed:
        return ()
