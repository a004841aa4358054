"""The manifest: the file, written last, that makes a run folder count."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.core.types import Origin
from sql_databricks_bridge.errors import LandingError
from sql_databricks_bridge.models.type_policies import Companion, Form

MANIFEST_NAME = "_manifest.json"
FORMAT_VERSION = 4
"""1: before publication; its manifests have no `increment` and no `publication`, and every run was a whole result.
2: before type policies; its columns have no `form` and no companions.
3: before partitions; every query was read by one statement."""

_SINCE_2 = frozenset({"increment", "publication"})


@dataclass(frozen=True, slots=True)
class ManifestPart:
    """A part: `file` is relative to the run folder, `size_bytes` are Parquet bytes."""

    file: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ManifestColumn:
    """A column as SQL Server has it (a companion: as it was asked for) and as Arrow holds it.

    `form` says how its values stand (models.type_policies.Form); a companion names the column it stands beside.
    """

    name: str
    sql_type: str
    arrow_type: str
    nullable: bool
    collation: str | None = None
    user_type: str | None = None
    form: Form = Form.PLAIN
    companion: Companion | None = None
    companion_of: str | None = None


@dataclass(frozen=True, slots=True)
class ManifestLoss:
    """Something that a column does not keep."""

    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class ManifestParameter:
    """A placeholder's text (`declaration` None) or a bound @parameter's value as text, None for NULL."""

    name: str
    value: str | None
    origin: str
    declaration: str | None = None


@dataclass(frozen=True, slots=True)
class ManifestIncrement:
    """Which rows of the query's result these files hold: what changed from `low` to `high`, and not the whole.

    `kind` is the incremental one; bounds are its watermarks' texts. `ranges` are the changed ranges of a fingerprint.
    """

    kind: str
    low: str
    high: str
    key: tuple[str, ...]
    ranges: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ManifestPartitions:
    """How many ranges of which key the query was read in. `one_view`: all of them saw the table at one moment; else
    each range is consistent by itself (under `isolation`), and what changed meanwhile may show in some and not others.
    """

    count: int
    key: tuple[str, ...]
    one_view: bool


@dataclass(frozen=True, slots=True)
class ManifestPublication:
    """What the run was to do to a Delta table; whether it came to that is for the table of states to tell.

    `base` is the generation that the table stood at, `watermark` what stands once it is done, `definition` the digest
    of what the rows are asked by. `way` is 'full' or a kind, `reason` why; `changes` tells what happens to columns.
    """

    target: str
    table: str
    way: str
    reason: str
    base: int
    definition: str
    watermark: str | None = None
    changes: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that a reader needs to know of a published query. Times are aware UTC.

    With an `increment` the files are a part of the result only: the whole is in the table of `publication`.
    `partitions` is None where one statement read the query.
    """

    run_id: str
    attempt: int
    country: str
    query: str
    query_file: str
    query_sha256: str
    parameters: tuple[ManifestParameter, ...]
    source_server: str
    source_database: str
    isolation: str
    started_at: dt.datetime
    finished_at: dt.datetime
    rows: int
    size_bytes: int
    parts: tuple[ManifestPart, ...]
    schema: tuple[ManifestColumn, ...]
    losses: tuple[ManifestLoss, ...]
    row_limit: int | None
    tool_version: str
    format_version: int = FORMAT_VERSION
    increment: ManifestIncrement | None = None
    publication: ManifestPublication | None = None
    partitions: ManifestPartitions | None = None

    def to_json(self) -> bytes:
        """Write it as UTF-8 JSON, indented: people read it too."""
        document = dataclasses.asdict(self)
        for key in ("started_at", "finished_at"):
            document[key] = document[key].astimezone(dt.UTC).isoformat(timespec="milliseconds")
        return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes, where: str) -> Manifest:
        """Read one; `LandingError` naming `where` if it is cut, foreign or of a later format."""
        try:
            document = json.loads(content)
            if document["format_version"] > FORMAT_VERSION:
                raise LandingError(
                    f"{where} has format {document['format_version']}, this bridge reads up to {FORMAT_VERSION}.",
                    hint="Update sql-databricks-bridge.",
                )
            names = [field.name for field in dataclasses.fields(cls)]
            if document["format_version"] == 1:
                document |= dict.fromkeys(_SINCE_2)
            if document["format_version"] < 4:
                document |= {"partitions": None}
            if document["format_version"] < 3:
                document["schema"] = [_with_form(column) for column in document["schema"]]
            return cls(**{name: _read(name, document[name]) for name in names})
        except (ValueError, KeyError, TypeError) as exc:
            raise LandingError(
                f"{where} is not a manifest of the bridge: {type(exc).__name__}.",
                hint="The run folder does not count; `bridge sweep` removes it.",
            ) from exc


_LISTS: dict[str, Any] = {
    "parameters": ManifestParameter,
    "parts": ManifestPart,
    "losses": ManifestLoss,
}


def _column(value: dict[str, Any]) -> ManifestColumn:
    companion = value["companion"]
    forms = {"form": Form(value["form"]), "companion": None if companion is None else Companion(companion)}
    return ManifestColumn(**value | forms)


def _with_form(value: dict[str, Any]) -> dict[str, Any]:
    """What a column's form was before policies: what the driver gives."""
    origin = Origin.as_driven(ResultColumn(value["name"], value["sql_type"], True, 0, 0, 0))
    return value | {"form": origin.form, "companion": None, "companion_of": None}


def _read(name: str, value: Any) -> Any:
    if name == "schema":
        return tuple(_column(item) for item in value)
    if name in _LISTS:
        return tuple(_LISTS[name](**item) for item in value)
    if name == "increment" and value is not None:
        return ManifestIncrement(**value | {"key": tuple(value["key"]), "ranges": tuple(value["ranges"])})
    if name == "partitions" and value is not None:
        return ManifestPartitions(**value | {"key": tuple(value["key"])})
    if name == "publication" and value is not None:
        columns = tuple((column, sql_type) for column, sql_type in value["columns"])
        return ManifestPublication(**value | {"changes": tuple(value["changes"]), "columns": columns})
    if name in ("started_at", "finished_at"):
        moment = dt.datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError(f"{name} has no zone")
        return moment
    return value
