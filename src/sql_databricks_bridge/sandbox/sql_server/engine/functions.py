"""Built-in functions by name. Each family registers its own; what no family knows is Msg 195 or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from . import nodes as n
from .bound import Ex
from .errors import error, unsupported
from .scope import Scope

if TYPE_CHECKING:
    from .expr import ExpressionBinder

Handler = Callable[["ExpressionBinder", n.Func, list[Ex]], Ex]
Raw = Callable[["ExpressionBinder", n.Func, Scope], Ex]

HANDLERS: dict[str, tuple[Handler, int, int]] = {}
RAW: dict[str, Raw] = {}

_KNOWN = frozenset(
    [
        "CHECKSUM",
        "BINARY_CHECKSUM",
        "CHECKSUM_AGG",
        "APPROX_COUNT_DISTINCT",
        "SOUNDEX",
        "DIFFERENCE",
        "TRANSLATE",
        "FORMATMESSAGE",
        "COMPRESS",
        "DECOMPRESS",
        "STRING_ESCAPE",
        "JSON_VALUE",
        "JSON_QUERY",
        "JSON_MODIFY",
        "JSON_OBJECT",
        "JSON_ARRAY",
        "JSON_PATH_EXISTS",
        "RAND",
        "PERCENTILE_CONT",
        "PERCENTILE_DISC",
        "CONTAINS",
        "FREETEXT",
        "DATE_BUCKET",
        "GET_BIT",
        "SET_BIT",
        "BIT_COUNT",
        "LEFT_SHIFT",
        "RIGHT_SHIFT",
        "EVENTDATA",
        "XACT_STATE",
        "CONNECTIONPROPERTY",
        "FILE_ID",
        "LOGINPROPERTY",
        "PWDENCRYPT",
        "PWDCOMPARE",
        "NEWSEQUENTIALID",
        "TEXTPTR",
        "CHANGE_TRACKING_IS_COLUMN_IN_MASK",
        "FORMAT",
        "PARSENAME",
        "CONTEXT_INFO",
        "SESSION_CONTEXT",
        "GREATEST",
        "LEAST",
        "STATS_DATE",
        "COLUMNPROPERTY",
        "OBJECTPROPERTY",
        "INDEXPROPERTY",
        "TYPEPROPERTY",
        "DATABASEPROPERTYEX",
        "SQL_VARIANT_PROPERTY",
        "COL_LENGTH",
        "COL_NAME",
        "IDENT_CURRENT",
        "IDENT_SEED",
        "IDENT_INCR",
        "UPDATE",
        "GENERATE_SERIES",
        "REGEXP_LIKE",
        "REGEXP_REPLACE",
        "REGEXP_SUBSTR",
        "REGEXP_COUNT",
        "REGEXP_INSTR",
        "DATETIMEOFFSETFROMPARTS",
        "CURRENT_TIMEZONE",
        "CURRENT_TIMEZONE_ID",
        "CERTENCODED",
        "JSON_ARRAYAGG",
        "JSON_OBJECTAGG",
        "ISJSON",
        "FILE_NAME",
        "FILEGROUP_ID",
        "FILEGROUP_NAME",
        "FILEGROUPPROPERTY",
        "FILEPROPERTY",
        "FULLTEXTSERVICEPROPERTY",
        "FULLTEXTCATALOGPROPERTY",
        "INDEXKEY_PROPERTY",
        "INDEX_COL",
        "OBJECT_DEFINITION",
        "OBJECTPROPERTYEX",
        "ASSEMBLYPROPERTY",
        "HAS_DBACCESS",
        "IS_MEMBER",
        "IS_ROLEMEMBER",
        "HAS_PERMS_BY_NAME",
        "PERMISSIONS",
        "DATABASE_PRINCIPAL_ID",
        "SUSER_ID",
        "SUSER_SID",
        "USER_ID",
        "GETANSINULL",
        "HOST_ID",
        "ROWCOUNT_BIG",
        "CURRENT_TRANSACTION_ID",
        "CURRENT_REQUEST_ID",
        "TRIGGER_NESTLEVEL",
        "COLUMNS_UPDATED",
        "ENCRYPTBYKEY",
        "DECRYPTBYKEY",
        "ENCRYPTBYPASSPHRASE",
        "DECRYPTBYPASSPHRASE",
        "CRYPT_GEN_RANDOM",
        "VERIFYSIGNEDBYCERT",
        "CURSOR_STATUS",
        "TEXTVALID",
        "ORIGINAL_DB_NAME",
        "COLLATIONPROPERTY",
        "TERTIARY_WEIGHTS",
        "PARSE",
        "TRY_PARSE",
    ]
)


def function(name: str, least: int, most: int | None = None) -> Callable[[Handler], Handler]:
    """Register a function whose arguments are plain values."""

    def register(handler: Handler) -> Handler:
        for one in name.split():
            HANDLERS[one] = (handler, least, least if most is None else most)
        return handler

    return register


def raw(name: str) -> Callable[[Raw], Raw]:
    """Register a function that binds its own arguments."""

    def register(handler: Raw) -> Raw:
        for one in name.split():
            RAW[one] = handler
        return handler

    return register


def bind_function(binder: ExpressionBinder, node: n.Func, scope: Scope) -> Ex:
    """A call, typed and emitted."""
    from . import aggregates, functions_math, functions_text, functions_time  # noqa: F401 - they register

    name = node.name
    if name in RAW:
        return RAW[name](binder, node, scope)
    if node.over is not None or node.within is not None or node.distinct or node.star:
        raise _unknown(name, node.line)
    if name in HANDLERS:
        handler, least, most = HANDLERS[name]
        if not least <= len(node.args) <= most:
            wanted = f"{least} argument(s)" if least == most else f"{least} to {most} arguments"
            raise error(174, f"The {name.lower()} function requires {wanted}.", severity=15, line=node.line)
        return handler(binder, node, [binder.value(a, scope) for a in node.args])
    found = binder.env.functions(name, [binder.value(a, scope) for a in node.args], node.line)
    if found is not None:
        return found
    raise _unknown(name, node.line)


def _unknown(name: str, line: int) -> Exception:
    if name in _KNOWN or "." in name:
        return unsupported(f"the function {name}", line)
    return error(195, f"'{name}' is not a recognized built-in function name.", severity=15, line=line)
