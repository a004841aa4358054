"""Files of volumes in a statement: parquet.`/Volumes/...` and read_files('/Volumes/...'), as scans of local files.

Sources: Databricks SQL reference, "read_files table-valued function" (patterns with ?, *, [] and {}; where the schema
is inferred, the column _rescued_data is added); Databricks docs, "Work with files in volumes".
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator

from sqlglot import exp

from . import parquetfiles
from .catalog import UnityCatalog
from .errors import ApiError
from .failures import SqlFailure, unsupported
from .names import quoted
from .paths import local, parse

_FILE_FORMATS = {"parquet", "delta", "csv", "json", "text", "avro", "orc", "binaryfile", "xml"}


def file_path(table: exp.Table) -> str | None:
    """The path in a name such as parquet.`/Volumes/...`, or None. Other formats are refused."""
    parts = [part.name for part in table.parts]
    if len(parts) != 2 or parts[0].lower() not in _FILE_FORMATS or ("/" not in parts[1] and ":" not in parts[1]):
        return None
    if parts[0].lower() != "parquet":
        raise unsupported(f"files of the format {parts[0]}, only parquet")
    return parts[1]


def read_files(function: exp.Func, catalog: UnityCatalog) -> str | None:
    """A scan for read_files('/Volumes/...', format => 'parquet'), or None for another table function.

    Source: SQL reference, "read_files table-valued function": where the schema is inferred, the column _rescued_data
    is added.
    """
    name = function.name if isinstance(function, exp.Anonymous) else function.sql_name()
    if name.lower() != "read_files":
        return None
    positional = [each for each in function.expressions if not isinstance(each, exp.Kwarg)]
    options = {each.name.lower(): each.expression for each in function.expressions if isinstance(each, exp.Kwarg)}
    if len(positional) != 1 or not _is_string(positional[0]):
        raise unsupported("read_files without exactly one path, given as a string")
    chosen = options.pop("format", None)
    if chosen is None or not _is_string(chosen) or chosen.name.lower() != "parquet":
        raise unsupported("read_files with another format than format => 'parquet'")
    if options:
        raise unsupported(f"the option {min(options)} of read_files")
    return f"(SELECT *, CAST(NULL AS STRING) AS _rescued_data FROM {scan(positional[0].name, catalog)})"


def _is_string(node: exp.Expression) -> bool:
    return isinstance(node, exp.Literal) and node.is_string


def scan(path: str, catalog: UnityCatalog) -> str:
    """What to read in the place of a path in a volume, which may be a pattern. Raises `SqlFailure`.

    Alternatives in braces become one scan for each; as with every pattern, one that fits no file counts for nothing.
    """
    wanted = list(_alternatives(path))
    if wanted == [path]:
        return f"parquet.{quoted(_found(path, path, catalog)[0])}"
    found = list(dict.fromkeys(each for one in wanted for each in _found(one, path, catalog, missing_ok=True)))
    if not found:
        raise _not_found(path)
    if any(os.path.isdir(each) for each in found):
        raise unsupported(f"folders among the alternatives of a pattern ({path})")
    if len({str(parquetfiles.columns(each)) for each in found}) > 1:
        raise unsupported(f"files of different columns read as one ({path})")
    scans = (f"SELECT * FROM parquet.{quoted(each)}" for each in found)
    return f"({' UNION ALL '.join(scans)})"


def _alternatives(path: str) -> Iterator[str]:
    """The patterns that a path with braces stands for."""
    closing = path.find("}")
    opening = path.rfind("{", 0, closing)
    if closing < 0 or opening < 0:
        yield path
        return
    for each in path[opening + 1 : closing].split(","):
        yield from _alternatives(path[:opening] + each + path[closing + 1 :])


def _found(path: str, shown: str, catalog: UnityCatalog, *, missing_ok: bool = False) -> list[str]:
    """The local path or pattern for a path, checked. With `missing_ok` the files that fit a pattern, if any."""
    try:
        where = str(local(catalog, parse(path.removeprefix("dbfs:"))))
    except ApiError as error:
        condition = error.metadata.get("unity_catalog_error_code")
        if condition is None:
            raise unsupported(f"the path {path!r}, only paths in volumes (/Volumes/...)") from error
        raise SqlFailure("PATH_NOT_FOUND", f"Path does not exist: {path}. {error.message}", "42K03") from error
    if not (glob.glob(where) if glob.has_magic(where) else os.path.exists(where)):
        if missing_ok:
            return []
        raise _not_found(shown)
    parquetfiles.check(where, path)
    return sorted(glob.glob(where)) if missing_ok and glob.has_magic(where) else [where]


def _not_found(path: str) -> SqlFailure:
    return SqlFailure("PATH_NOT_FOUND", f"Path does not exist: {path}.", "42K03")
