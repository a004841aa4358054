"""What columns a Delta table may have, and what their types may become.

Sources: Delta docs, "Column mapping" (names), "Type widening"; the Delta transaction log protocol, "Schema
Serialization Format", "Column Mapping", "Type Widening", "Table Features"; Spark's `Cast.canUpCast`; Databricks docs,
"TIMESTAMP_NTZ type" (the feature is not enabled by adding a column) and "Error conditions".
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlglot import exp

from .delta import sql_type
from .failures import SqlFailure, unsupported

MAPPING = "delta.columnMapping.mode"
WIDENING = "delta.enableTypeWidening"
_FEATURE = "delta.feature."
_TABLE_FEATURES = {  # and whether readers must know them too
    "appendOnly": False,
    "invariants": False,
    "allowColumnDefaults": False,
    "columnMapping": True,
    "deletionVectors": True,
    "timestampNtz": True,
    "typeWidening": True,
}
_KNOWN_PROPERTIES = {
    WIDENING,
    MAPPING,
    "delta.enableDeletionVectors",
    "delta.dataSkippingNumIndexedCols",
    "delta.logRetentionDuration",
    "delta.deletedFileRetentionDuration",
    "delta.autoOptimize.optimizeWrite",
    "delta.autoOptimize.autoCompact",
    "delta.targetFileSize",
}
_Type = exp.DataType.Type
_SIMPLE = {
    _Type.BOOLEAN: "boolean",
    _Type.TINYINT: "byte",
    _Type.SMALLINT: "short",
    _Type.INT: "integer",
    _Type.BIGINT: "long",
    _Type.FLOAT: "float",
    _Type.DOUBLE: "double",
    _Type.TEXT: "string",
    _Type.BINARY: "binary",
    _Type.DATE: "date",
    _Type.TIMESTAMP: "timestamp",
    _Type.TIMESTAMPTZ: "timestamp",
    _Type.TIMESTAMPLTZ: "timestamp",
    _Type.TIMESTAMPNTZ: "timestamp_ntz",
}
_WHOLE = ("byte", "short", "integer", "long")
_NUMBERS = (*_WHOLE, "float", "double")
_DIGITS = {"byte": 3, "short": 5, "integer": 10, "long": 20}
_TIMES = ("timestamp", "timestamp_ntz")


def check_names(names: list[str], properties: dict[str, str]) -> None:
    """Refuse names that only column mapping allows, unless the table has it."""
    wrong = [name for name in names if any(character in " ,;{}()\n\t=" for character in name)]
    if wrong and properties.get(MAPPING, "none") == "none":
        raise SqlFailure(
            "DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES",
            "Found invalid character(s) among ' ,;{}()\\n\\t=' in the column names of your schema. "
            f"Invalid column names: {', '.join(wrong)}. Please use other characters and try again. "
            "Alternatively, enable Column Mapping to keep using these characters.",
            "42K05",
        )


def check_properties(properties: dict[str, str], *, new_table: bool) -> None:
    """Refuse, by name, the properties of Delta's that mean something which the stand-in does not do."""
    for key, value in properties.items():
        feature = key.removeprefix(_FEATURE)
        known = feature in _TABLE_FEATURES and value.lower() in ("supported", "enabled") and feature != "columnMapping"
        if key.lower().startswith("delta.") and not (known if key.startswith(_FEATURE) else key in _KNOWN_PROPERTIES):
            raise unsupported(f"the table property {key} = {value}")
        if key == MAPPING and (value not in ("none", "name") or not new_table):
            raise unsupported(f"column mapping ({key} = {value}) but by name, from the table's creation on")


def with_properties(properties: dict[str, str], protocol: dict[str, Any], given: dict[str, str]) -> dict[str, Any]:
    """Put what is given among the properties; the protocol with the features that it asks for."""
    check_properties(given, new_table=False)
    for key, value in given.items():
        if key.startswith(_FEATURE):
            protocol = with_feature(protocol, key.removeprefix(_FEATURE))
            continue
        properties[key] = value
        if key == WIDENING and value.lower() == "true":
            protocol = with_feature(protocol, "typeWidening")
    return protocol


def with_feature(protocol: dict[str, Any], feature: str) -> dict[str, Any]:
    """A protocol that has a table feature."""
    writers = set(protocol.get("writerFeatures") or ("appendOnly", "invariants")) | {feature}
    readers = set(protocol.get("readerFeatures") or ())
    changed = {**protocol, "minWriterVersion": 7, "writerFeatures": sorted(writers)}
    if _TABLE_FEATURES[feature] or readers:
        readers |= {feature} if _TABLE_FEATURES[feature] else set()
        changed.update(minReaderVersion=3, readerFeatures=sorted(readers))
    return changed


def require_features(fields: list[dict[str, Any]], protocol: dict[str, Any]) -> None:
    """Refuse a schema that has come to need a feature which no change of a schema enables."""
    needs = any(field["type"] == "timestamp_ntz" for field in fields)
    if needs and "timestampNtz" not in (protocol.get("writerFeatures") or ()):
        raise SqlFailure(
            "DELTA_FEATURES_REQUIRE_MANUAL_ENABLEMENT",
            "Your table schema requires manually enablement of the following table feature(s): timestampNtz. To do "
            "this, run the following command for each of features listed above: ALTER TABLE table_name SET "
            "TBLPROPERTIES ('delta.feature.feature_name' = 'supported').",
            "0AKDE",
        )


def new_field(name: str, kind: str, comment: str | None, properties: dict[str, str]) -> dict[str, Any]:
    """A column that is added to a table; counts it among the properties where columns are mapped."""
    about: dict[str, Any] = {} if comment is None else {"comment": comment}
    if properties.get(MAPPING, "none") != "none":
        number = int(properties["delta.columnMapping.maxColumnId"]) + 1
        properties["delta.columnMapping.maxColumnId"] = str(number)
        about |= {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": f"col-{uuid.uuid4()}"}
    return {"name": name, "type": kind, "nullable": True, "metadata": about}


def widen(field: dict[str, Any], wanted: str, properties: dict[str, str], table: str) -> None:
    """Give a column another type, as far as Delta does that without writing its files again."""
    present = field["type"]
    if present == wanted:
        return
    name, old, new = field["name"], sql_type(present).upper(), sql_type(wanted).upper()
    if not isinstance(present, str) or not _is_up_cast(present, wanted):
        raise SqlFailure(
            "NOT_SUPPORTED_CHANGE_COLUMN",
            f"ALTER TABLE ALTER/CHANGE COLUMN is not supported for changing {table}'s column `{name}` with type "
            f'"{old}" to `{name}` with type "{new}".',
            "0A000",
        )
    if properties.get(WIDENING, "false").lower() != "true" or not _is_widening(present, wanted):
        raise SqlFailure(
            "DELTA_UNSUPPORTED_ALTER_TABLE_CHANGE_COL_OP",
            f"ALTER TABLE CHANGE COLUMN is not supported for changing column {name} from {old} to {new}.",
            "0AKDC",
        )
    changes = field.setdefault("metadata", {}).setdefault("delta.typeChanges", [])
    changes.append({"fromType": present, "toType": wanted})
    field["type"] = wanted


def delta_type(kind: exp.DataType) -> str:
    """A simple SQL type as a Delta schema names it. Raises `SqlFailure` for the others."""
    if kind.this is _Type.DECIMAL:
        sizes = [int(each.name) for each in kind.expressions] or [10, 0]
        return f"decimal({sizes[0]},{sizes[1] if len(sizes) > 1 else 0})"
    found = _SIMPLE.get(kind.this)
    if found is None or kind.expressions:
        raise unsupported(f"the type {kind.sql(dialect='databricks')} in ALTER TABLE")
    return found


def _is_widening(old: str, new: str) -> bool:
    """Source: Databricks docs, "Type widening", "Supported type changes"."""
    if new.startswith("decimal"):
        precision, scale = _decimal(new)
        if old.startswith("decimal"):
            old_precision, old_scale = _decimal(old)
            return precision - old_precision >= scale - old_scale >= 0
        return old in _WHOLE and precision - scale >= max(_DIGITS[old], 10)
    if old in _WHOLE and new in _WHOLE:
        return _WHOLE.index(old) < _WHOLE.index(new)
    return (old in ("byte", "short", "integer", "float") and new == "double") or (old, new) == ("date", "timestamp_ntz")


def _is_up_cast(old: str, new: str) -> bool:
    if new.startswith("decimal"):
        precision, scale = _decimal(new)
        digits, old_scale = (_DIGITS[old], 0) if old in _WHOLE else (0, -1)
        if old.startswith("decimal"):
            old_precision, old_scale = _decimal(old)
            digits = old_precision - old_scale
        return old_scale >= 0 and scale >= old_scale and precision - scale >= digits
    if old in _NUMBERS and new in _NUMBERS:
        return _NUMBERS.index(old) < _NUMBERS.index(new)
    return new == "string" or (old in ("date", *_TIMES) and new in _TIMES)


def _decimal(kind: str) -> tuple[int, int]:
    precision, scale = kind.removeprefix("decimal(").removesuffix(")").split(",")
    return int(precision), int(scale)
