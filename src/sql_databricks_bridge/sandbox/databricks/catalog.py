"""The stand-in's Unity Catalog: which catalogs, schemas, volumes and tables exist, kept in one JSON file.

Names are kept in lower case, as Unity Catalog keeps them, and compared without regard to case. The files of a volume
lie in `volumes/{catalog}/{schema}/{volume}/`, the Delta files of a table in `tables/{table id}/`.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import unicodedata
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .errors import ApiError, invalid


@dataclass(frozen=True, slots=True)
class Volume:
    """A managed volume."""

    name: str
    volume_id: str
    created_at_ms: int
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A managed Delta table; `table_id` names its folder."""

    name: str
    table_id: str
    created_at_ms: int


@dataclass(slots=True)
class Schema:
    """A schema and what lies in it."""

    name: str
    created_at_ms: int
    comment: str = ""
    volumes: dict[str, Volume] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)


class UnityCatalog:
    """The catalog of one data folder. Thread-safe; every change is on disk before it is answered."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "catalog.json"
        self._data_dir = data_dir
        self._lock = threading.RLock()
        self._catalogs: dict[str, dict[str, Schema]] = _read(self._path)

    # Catalogs and schemas

    def ensure(self, catalog: str, schema: str, volume: str | None = None) -> None:
        """Make sure that a catalog, a schema in it and (if given) a volume in that exist."""
        with self._lock:
            schemas = self._catalogs.setdefault(legal_name(catalog, "catalog"), {})
            name = legal_name(schema, "schema")
            schemas.setdefault(name, Schema(name, now_ms()))
            if volume is not None and volume.lower() not in schemas[name].volumes:
                self.create_volume(catalog, schema, volume)
            self._save()

    def catalogs(self) -> list[str]:
        """The names of all catalogs."""
        with self._lock:
            return sorted(self._catalogs)

    def schemas(self, catalog: str) -> list[Schema]:
        """All schemas of a catalog, by name. Raises `ApiError` 404."""
        with self._lock:
            return [self._schemas(catalog)[name] for name in sorted(self._schemas(catalog))]

    def schema(self, catalog: str, schema: str) -> Schema:
        """One schema. Raises `ApiError` 404."""
        with self._lock:
            found = self._schemas(catalog).get(schema.lower())
            if found is None:
                raise missing("SCHEMA_DOES_NOT_EXIST", f"Schema '{catalog}.{schema}' does not exist.")
            return found

    def create_schema(self, catalog: str, schema: str, comment: str = "") -> Schema:
        """Add a schema. Raises `ApiError` 404 (catalog) or 400 SCHEMA_ALREADY_EXISTS."""
        with self._lock:
            schemas = self._schemas(catalog)
            name = legal_name(schema, "schema")
            if name in schemas:
                raise ApiError(400, "SCHEMA_ALREADY_EXISTS", f"Schema '{catalog}.{name}' already exists")
            schemas[name] = Schema(name, now_ms(), comment)
            self._save()
            return schemas[name]

    def drop_schema(self, catalog: str, schema: str) -> None:
        """Remove an empty schema. Raises `ApiError` 404 or 400 SCHEMA_NOT_EMPTY."""
        with self._lock:
            found = self.schema(catalog, schema)
            if found.tables or found.volumes:
                raise ApiError(400, "SCHEMA_NOT_EMPTY", f"Schema '{catalog}.{schema}' is not empty.")
            del self._schemas(catalog)[found.name]
            self._save()

    # Volumes

    def volume(self, catalog: str, schema: str, volume: str) -> Volume:
        """One volume. Raises `ApiError` 404."""
        with self._lock:
            found = self.schema(catalog, schema).volumes.get(volume.lower())
            if found is None:
                raise missing("RESOURCE_DOES_NOT_EXIST", f"Volume '{catalog}.{schema}.{volume}' does not exist.")
            return found

    def create_volume(self, catalog: str, schema: str, volume: str, comment: str = "") -> Volume:
        """Add a managed volume with an empty folder. Raises `ApiError` 404, 409."""
        with self._lock:
            parent = self.schema(catalog, schema)
            name = legal_name(volume, "volume")
            if name in parent.volumes:
                raise ApiError(409, "RESOURCE_ALREADY_EXISTS", f"Volume '{catalog}.{schema}.{name}' already exists")
            created = Volume(name, str(uuid.uuid4()), now_ms(), comment)
            self.volume_folder(catalog, schema, name).mkdir(parents=True, exist_ok=True)
            parent.volumes[name] = created
            self._save()
            return created

    def drop_volume(self, catalog: str, schema: str, volume: str) -> None:
        """Remove a volume and its files. Raises `ApiError` 404."""
        with self._lock:
            found = self.volume(catalog, schema, volume)
            del self.schema(catalog, schema).volumes[found.name]
            self._save()
            folder = self.volume_folder(catalog, schema, volume)
            trash = self._data_dir / "spool" / f"dropped-{found.volume_id}"
            folder.rename(trash)  # at once, so that an upload on its way finds nowhere to land
        shutil.rmtree(trash, ignore_errors=True)

    def volume_folder(self, catalog: str, schema: str, volume: str) -> Path:
        """Where a volume's files lie on this machine."""
        return self._data_dir / "volumes" / catalog.lower() / schema.lower() / volume.lower()

    # Tables

    def tables(self) -> list[tuple[str, str, Table]]:
        """Every table with the names of its catalog and schema."""
        with self._lock:
            return [
                (catalog, schema.name, table)
                for catalog, schemas in self._catalogs.items()
                for schema in schemas.values()
                for table in schema.tables.values()
            ]

    def find_table(self, catalog: str, schema: str, table: str) -> Table | None:
        """One table, or None where it, its schema or its catalog is missing."""
        with self._lock:
            found = self._catalogs.get(catalog.lower(), {}).get(schema.lower())
            return found.tables.get(table.lower()) if found else None

    def table(self, catalog: str, schema: str, table: str) -> Table:
        """One table. Raises `ApiError` 404."""
        with self._lock:
            found = self.schema(catalog, schema).tables.get(table.lower())
            if found is None:
                raise missing("TABLE_DOES_NOT_EXIST", f"Table '{catalog}.{schema}.{table}' does not exist.")
            return found

    def new_table(self, table: str) -> Table:
        """A table with a folder name of its own that is not in the catalog yet."""
        return Table(legal_name(table, "table"), uuid.uuid4().hex, now_ms())

    def put_table(self, catalog: str, schema: str, table: Table) -> None:
        """Add a table, or replace the one of the same name."""
        with self._lock:
            self.schema(catalog, schema).tables[table.name] = table
            self._save()

    def drop_table(self, catalog: str, schema: str, table: str) -> Table:
        """Take a table out of the catalog; its files stay for who reads them now. Raises `ApiError` 404."""
        with self._lock:
            found = self.table(catalog, schema, table)
            del self.schema(catalog, schema).tables[found.name]
            self._save()
            return found

    def purge(self) -> None:
        """Delete the folders of tables that are dropped or were never finished. Only before anybody reads."""
        kept = {table.table_id for _, _, table in self.tables()}
        for folder in (self._data_dir / "tables").glob("*"):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def table_folder(self, table: Table) -> Path:
        """Where a table's Delta log and data files lie on this machine."""
        return self._data_dir / "tables" / table.table_id

    def _schemas(self, catalog: str) -> dict[str, Schema]:
        found = self._catalogs.get(catalog.lower())
        if found is None:
            raise missing("CATALOG_DOES_NOT_EXIST", f"Catalog '{catalog}' does not exist.")
        return found

    def _save(self) -> None:
        document = {
            catalog: {name: asdict(schema) for name, schema in schemas.items()}
            for catalog, schemas in self._catalogs.items()
        }
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(document, indent=1))
        os.replace(temporary, self._path)


def missing(error_code: str, message: str) -> ApiError:
    """404 for a securable. Volumes have no code of their own in Databricks' list: RESOURCE_DOES_NOT_EXIST."""
    return ApiError(404, error_code, message)


def legal_name(name: object, what: str) -> str:
    """The name as Unity Catalog keeps it, or 400. Source: SQL reference, "Names", "Unity Catalog object names"."""
    if not isinstance(name, str) or not name:
        raise invalid(f"A {what} needs a name.")
    illegal = any(character in "./ " or unicodedata.category(character) == "Cc" for character in name)
    if illegal or len(name) > 255:
        raise invalid(f"{name!r} is not a valid name for a {what}.")
    return name.lower()


def now_ms() -> int:
    """Milliseconds since the epoch, as the API writes times."""
    return time.time_ns() // 1_000_000


def _read(path: Path) -> dict[str, dict[str, Schema]]:
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return {
        catalog: {
            name: Schema(
                name=schema["name"],
                created_at_ms=schema["created_at_ms"],
                comment=schema["comment"],
                volumes={key: Volume(**value) for key, value in schema["volumes"].items()},
                tables={key: Table(**value) for key, value in schema["tables"].items()},
            )
            for name, schema in schemas.items()
        }
        for catalog, schemas in document.items()
    }
