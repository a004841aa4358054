"""An extraction plan as JSON text and back, without loss: what is read equals what was written, types included.

Parameter values carry their kind, since JSON knows neither dates nor decimals: `{"kind": "date", "value":
"2013-01-31"}`. Reading is strict: a plan that differs from the format in anything is refused by name, never guessed at.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from sql_databricks_bridge.errors import JobError, UsageError
from sql_databricks_bridge.models.jobs import BoundParameter, ExtractionPlan, Placeholder, ResolvedQuery
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.partitions import Partitioning
from sql_databricks_bridge.models.publishing import DriftPolicy, Incremental, IncrementKind, Publication
from sql_databricks_bridge.models.tables import SourceName
from sql_databricks_bridge.models.type_policies import POLICIES, TypePolicies

_T = TypeVar("_T")

FORMAT = 1
"""The format's number, a part of the text; another one is refused."""


def dump_plan(plan: ExtractionPlan) -> str:
    """Write a plan as one line of ASCII JSON; `JobError` for a value that could not be read back exactly."""
    document = {
        "format": FORMAT,
        "run_id": plan.run_id,
        "country": plan.country,
        "destination": [plan.destination.catalog, plan.destination.schema, plan.destination.volume],
        "database": plan.database,
        "server": plan.server,
        "attempt": plan.attempt,
        "limit": plan.limit,
        "warnings": list(plan.warnings),
        "parameters": dict(plan.parameters),
        "queries": [_query_document(query) for query in plan.queries],
    }
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as exc:
        # Two halves of a pair, each on its own, would come back as one character.
        raise JobError(f"The plan of job {plan.run_id} holds half a surrogate pair and can't be kept.") from exc
    return json.dumps(document, separators=(",", ":"))


def load_plan(text: str) -> ExtractionPlan:
    """Read what `dump_plan` wrote; `JobError` says where a text is something else."""
    try:
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
        found = _Fields(document, "the plan")
        if (number := found.integer("format")) != FORMAT:
            raise ValueError(f"the plan has format {number}, this version reads format {FORMAT}")
        plan = ExtractionPlan(
            run_id=found.text("run_id"),
            country=found.text("country"),
            destination=_destination(found.texts("destination")),
            database=found.text("database"),
            server=found.optional("server", found.text),
            attempt=found.integer("attempt"),
            limit=found.optional("limit", found.integer),
            warnings=found.texts("warnings"),
            parameters=_parameters(found.take("parameters")),
            queries=tuple(_query(item, f"queries[{number}]") for number, item in enumerate(found.items("queries"))),
        )
        found.end()
    except (ValueError, UsageError, RecursionError) as exc:
        raise JobError(
            f"A stored plan can't be read: {exc}.", hint="It was written by another version, or altered since."
        ) from exc
    return plan


def _query_document(query: ResolvedQuery) -> dict[str, object]:
    return {
        "name": query.name,
        "file": query.file,
        "sql": query.sql,
        "sha256": query.sha256,
        "placeholders": [[item.name, item.text, item.origin] for item in query.placeholders],
        "parameters": [
            {
                "name": item.name,
                "declaration": item.declaration,
                "origin": item.origin,
                **_tagged(item, f"query {query.name}, @{item.name}"),
            }
            for item in query.parameters
        ],
        "publish": None if query.publish is None else _publication_document(query.publish),
        "types": {"chosen": dict(query.types.chosen), "strict": query.types.strict},
        "partitions": {
            "count": query.partitions.count,
            "key": list(query.partitions.key),
            "lock": query.partitions.lock,
        },
    }


def _publication_document(publication: Publication) -> dict[str, object]:
    table, incremental = publication.table, publication.incremental
    return {
        "table": [table.catalog, table.schema, table.table],
        "drift": publication.drift.value,
        "soft_delete": publication.soft_delete,
        "incremental": None
        if incremental is None
        else {
            "kind": incremental.kind.value,
            "key": list(incremental.key),
            "column": incremental.column,
            "lag": incremental.lag,
            "table": incremental.table,
            "capture": incremental.capture,
            "range_rows": incremental.range_rows,
        },
    }


def _query(document: object, where: str) -> ResolvedQuery:
    found = _Fields(document, where)
    query = ResolvedQuery(
        name=found.text("name"),
        file=found.text("file"),
        sql=found.text("sql"),
        sha256=found.text("sha256"),
        placeholders=tuple(
            _placeholder(item, f"{where}.placeholders[{number}]")
            for number, item in enumerate(found.items("placeholders"))
        ),
        parameters=tuple(
            _bound(item, f"{where}.parameters[{number}]") for number, item in enumerate(found.items("parameters"))
        ),
        publish=found.optional("publish", lambda name: _publication(found.take(name), f"{where}.publish")),
        types=_types(found.take("types"), f"{where}.types"),
        # An earlier version's plan says nothing of them.
        partitions=_partitions(found.take("partitions"), f"{where}.partitions")
        if "partitions" in found.rest
        else Partitioning(),
    )
    found.end()
    return query


def _publication(document: object, where: str) -> Publication:
    found = _Fields(document, where)
    parts = found.texts("table")
    if len(parts) != 3:
        raise ValueError(f"{where}.table has {len(parts)} parts, not 3")
    publication = Publication(
        SourceName(*parts),
        DriftPolicy(found.text("drift")),
        found.optional("soft_delete", found.text),
        found.optional("incremental", lambda name: _incremental(found.take(name), f"{where}.incremental")),
    )
    found.end()
    return publication


def _types(document: object, where: str) -> TypePolicies:
    found = _Fields(document, where)
    chosen = _Fields(found.take("chosen"), f"{where}.chosen")
    policies = tuple((name, chosen.text(name)) for name in list(chosen.rest))
    for name, policy in policies:
        if policy not in POLICIES.get(name, ()):
            raise ValueError(f"{where}.chosen has {name}: {policy}, which this version does not know")
    types = TypePolicies(policies, strict=found.flag("strict"))
    found.end()
    return types


def _partitions(document: object, where: str) -> Partitioning:
    found = _Fields(document, where)
    partitions = Partitioning(
        found.optional("count", found.integer),
        found.texts("key"),
        lock=found.flag("lock"),
    )
    found.end()
    return partitions


def _incremental(document: object, where: str) -> Incremental:
    found = _Fields(document, where)
    incremental = Incremental(
        IncrementKind(found.text("kind")),
        found.texts("key"),
        column=found.optional("column", found.text),
        lag=found.integer("lag"),
        table=found.optional("table", found.text),
        capture=found.optional("capture", found.text),
        range_rows=found.integer("range_rows"),
    )
    found.end()
    return incremental


def _placeholder(document: object, where: str) -> Placeholder:
    parts = _texts(document, where)
    if len(parts) != 3:
        raise ValueError(f"{where} has {len(parts)} parts, not 3")
    return Placeholder(*parts)


def _bound(document: object, where: str) -> BoundParameter:
    found = _Fields(document, where)
    kind, raw = found.text("kind"), found.take("value")
    if kind not in _READERS:
        raise ValueError(f"{where}.kind is {kind!r}, which this version does not know")
    try:
        value = _READERS[kind](raw)
        if _written(value) != (kind, raw):  # '1_0' and ' 1' are numbers to Python, and nothing that was written here
            raise ValueError
    except (ValueError, ArithmeticError, TypeError) as exc:
        raise ValueError(f"{where}.value is no {kind} as they are written here") from exc
    parameter = BoundParameter(found.text("name"), found.text("declaration"), value, found.text("origin"))
    found.end()
    return parameter


def _tagged(parameter: BoundParameter, where: str) -> dict[str, object]:
    try:
        kind, raw = _written(parameter.value)
    except TypeError as exc:
        raise JobError(f"{where}: {exc}.") from exc
    return {"kind": kind, "value": raw}


def _written(value: object) -> tuple[str, object]:
    """The kind and the JSON form of a value. Types are compared exactly: a subclass would come back as its base."""
    kind = type(value)
    if value is None:
        return "null", None
    if kind is bool or kind is str:
        return kind.__name__, value
    if kind is bytes:
        return "bytes", bytes.hex(value)  # type: ignore[arg-type]  # its type is known two lines above
    if kind in (dt.time, dt.datetime) and not _plain_zone(value):
        raise TypeError(f"a {kind.__name__} whose zone is no fixed offset can't be kept exactly")
    if kind in (dt.date, dt.datetime, dt.time):
        return kind.__name__, value.isoformat()  # type: ignore[attr-defined]
    if kind is float:
        return "float", repr(value)
    if kind in (int, Decimal, uuid.UUID):
        return kind.__name__.lower(), str(value)
    raise TypeError(f"a value of type {kind.__name__} can't be kept")


def _plain_zone(value: object) -> bool:
    zone = getattr(value, "tzinfo", None)
    return (zone is None or type(zone) is dt.timezone) and not getattr(value, "fold", 0)


def _same(value: Any) -> Any:
    return value


_READERS: Mapping[str, Callable[[Any], object]] = {
    "null": _same,
    "bool": _same,
    "str": _same,
    "int": int,
    "float": float,
    "decimal": Decimal,
    "uuid": uuid.UUID,
    "bytes": bytes.fromhex,
    "date": dt.date.fromisoformat,
    "datetime": dt.datetime.fromisoformat,
    "time": dt.time.fromisoformat,
}


def _destination(parts: tuple[str, ...]) -> Destination:
    if len(parts) != 3:
        raise ValueError(f"destination has {len(parts)} parts, not 3")
    return Destination(*parts)


def _parameters(document: object) -> dict[str, str]:
    found = _Fields(document, "parameters")
    return {name: found.text(name) for name in list(found.rest)}


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"one of the keys {', '.join(name for name, _ in pairs)} is there twice")
    return found


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _texts(document: object, where: str) -> tuple[str, ...]:
    if not isinstance(document, list) or not all(isinstance(item, str) for item in document):
        raise ValueError(f"{where} is no list of texts")
    return tuple(document)


class _Fields:
    """The fields of a JSON object, each to be taken once; `end` refuses what is left over."""

    def __init__(self, document: object, where: str) -> None:
        if not isinstance(document, dict):
            raise ValueError(f"{where} is no object")
        self.rest = dict(document)
        self._where = where

    def take(self, name: str) -> object:
        if name not in self.rest:
            raise ValueError(f"{self._where} has no {name}")
        return self.rest.pop(name)

    def text(self, name: str) -> str:
        value = self.take(name)
        if not isinstance(value, str):
            raise ValueError(f"{self._where}.{name} is no text")
        return value

    def integer(self, name: str) -> int:
        value = self.take(name)
        if type(value) is not int:
            raise ValueError(f"{self._where}.{name} is no whole number")
        return value

    def flag(self, name: str) -> bool:
        value = self.take(name)
        if type(value) is not bool:
            raise ValueError(f"{self._where}.{name} is neither true nor false")
        return value

    def items(self, name: str) -> list[object]:
        value = self.take(name)
        if not isinstance(value, list):
            raise ValueError(f"{self._where}.{name} is no list")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        return _texts(self.take(name), f"{self._where}.{name}")

    def optional(self, name: str, read: Callable[[str], _T]) -> _T | None:
        if name in self.rest and self.rest[name] is None:
            del self.rest[name]
            return None
        return read(name)

    def end(self) -> None:
        if self.rest:
            raise ValueError(f"{self._where} has {', '.join(map(repr, self.rest))}, which this version does not know")
