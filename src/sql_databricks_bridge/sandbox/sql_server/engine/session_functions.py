"""@@ variables and functions that ask about the session, the server or the catalog."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..contract import DEFAULT_COLLATION, SqlError, SqlType
from . import app_locks, catalog, cdc_functions, change_tracking, collations
from .bound import Ex, probe, typed_null
from .environment import Environment
from .errors import error, unsupported
from .pg import quote
from .types import BIGINT, INT, SMALLINT, STRINGS, byte_length, decimal, nvarchar, precision_scale
from .variant_store import is_stored, property_of

if TYPE_CHECKING:
    from .session import EngineSession


def _int(number: int | None, t: SqlType = INT) -> Ex:
    pg = {"int": "int4", "smallint": "int2", "bigint": "int8", "tinyint": "int2"}[t.name]
    return typed_null(t) if number is None else Ex(f"({number})::{pg}", t, False)


def _text(text: str | None, length: int = 128) -> Ex:
    t = nvarchar(length)
    return typed_null(t) if text is None else Ex(f"{quote(text)}::text", t, True, constant=text)


def version_text(session: EngineSession) -> str:
    major, minor, build = session.engine.version
    return (
        f"Microsoft SQL Server 2022 (RTM) - {major}.{minor}.{build}.1 (X64) \n\tsql-databricks-bridge "
        f"sandbox: T-SQL over "
        "PostgreSQL, not a Microsoft product"
    )


def global_variables(s: EngineSession) -> dict[str, Callable[[], Ex]]:
    """The @@ variables."""
    big = decimal(38, 0)

    def identity() -> Ex:
        return typed_null(big) if s.last_identity is None else Ex(f"{s.last_identity}::numeric", big, True)

    return {
        "@@VERSION": lambda: _text(version_text(s), 300),
        "@@SPID": lambda: _int(s.spid, SMALLINT),
        "@@TRANCOUNT": lambda: _int(s.trancount),
        "@@ROWCOUNT": lambda: _int(s.rowcount),
        "@@ERROR": lambda: _int(s.last_error),
        "@@IDENTITY": identity,
        "@@SERVERNAME": lambda: _text(s.engine.server_name),
        "@@SERVICENAME": lambda: _text("MSSQLSERVER"),
        "@@LANGUAGE": lambda: _text(s.options.language),
        "@@DATEFIRST": lambda: _int(s.options.datefirst, SqlType("tinyint")),
        "@@NESTLEVEL": lambda: _int(s.nest_level),
        "@@LOCK_TIMEOUT": lambda: _int(s.options.lock_timeout),
        "@@MAX_PRECISION": lambda: _int(38, SqlType("tinyint")),
        "@@TEXTSIZE": lambda: _int(2147483647),
        "@@PROCID": lambda: _int(0),
        "@@MICROSOFTVERSION": lambda: _int(s.engine.version[0] << 24 | s.engine.version[2]),
        "@@DBTS": lambda: Ex(
            f"int8send(tsql.last_row_version({quote(s.database.lower())}))", SqlType("varbinary", 8), False
        ),
    }


_USER = ("CURRENT_USER", "SESSION_USER", "USER", "USER_NAME")
_LOGIN = ("SYSTEM_USER", "SUSER_SNAME", "SUSER_NAME", "ORIGINAL_LOGIN")


def call(s: EngineSession, env: Environment, name: str, args: list[Ex], line: int) -> Ex | None:
    """The function's value, None if it is none of these. Arguments must be constants."""
    if name in _USER and not args:
        return _text("dbo")
    if name in _LOGIN and not args:
        return _text(s.engine.username)
    if name == "HOST_NAME":
        return _text(s.login.hostname or None)
    if name == "APP_NAME":
        return _text(s.login.application or None)
    if name == "SCOPE_IDENTITY":
        t = decimal(38, 0)
        return typed_null(t) if s.scope_identity is None else Ex(f"{s.scope_identity}::numeric", t, True)
    if name == "ROWCOUNT_BIG":
        return _int(s.rowcount, BIGINT)
    if name == "COLLATIONPROPERTY" and len(args) == 2:
        return _collation_property(args)
    if name == "XACT_STATE":
        return _int(-1 if s.doomed else 1 if s.trancount else 0, SMALLINT)
    if name.startswith("ERROR_"):
        return _caught(env, name)
    if name.startswith("SYS.FN_CDC_"):
        return cdc_functions.scalar(s, name, args, line)
    method = _BY_NAME.get(name)
    if method is None:
        return None
    if name == "OBJECT_NAME" and args and args[0].constant is None:
        return _object_name(s, env, args, line)
    if name in ("SCHEMA_NAME", "TYPE_NAME") and args and _number(args[0]) is None:
        return _by_row(name, args[0], s)
    return method(s, env, args, line)


def _collation_property(args: list[Ex]) -> Ex:
    """Of a constant name any property, of a computed one the code page."""
    wanted = (_constant(args[1], "COLLATIONPROPERTY") or "").lower()
    given = args[0]
    if given.constant is not None:
        try:
            return _int(collations.property_of(collations.collation(given.constant), wanted))
        except SqlError as exc:
            if exc.message.number != 448:  # one that the stand-in has not
                raise
            return typed_null(INT)
    if wanted != "codepage":
        raise unsupported(f"COLLATIONPROPERTY of {wanted} of a name that is no constant")
    return Ex(collations.page_of_name(given.sql), INT, True)


def _by_row(name: str, ex: Ex, s: EngineSession) -> Ex:
    if name == "SCHEMA_NAME":
        found = catalog.database_id(s.pg, s.database)
        assert found is not None
        return Ex(f"(SELECT name FROM tsql.schemas WHERE dbid = {found[0]} AND id = {ex.sql})", nvarchar(128), True)
    raise unsupported(f"{name} of a value that is no constant")


def _caught(env: Environment, name: str) -> Ex | None:
    e = env.caught
    if name == "ERROR_NUMBER":
        return _int(e.number if e else None)
    if name == "ERROR_SEVERITY":
        return _int(e.severity if e else None)
    if name == "ERROR_STATE":
        return _int(e.state if e else None)
    if name == "ERROR_LINE":
        return _int(e.line if e else None)
    if name == "ERROR_MESSAGE":
        return _text(e.text if e else None, 4000)
    if name == "ERROR_PROCEDURE":
        return _text((e.procedure or None) if e else None)
    return None


def _number(ex: Ex) -> int | None:
    """A constant integer's value, read back from its own literal."""
    text = ex.sql.partition("::")[0].strip("()")
    try:
        return int(text)
    except ValueError:
        return None


def _parts(text: str) -> tuple[str, ...]:
    from .parse_base import Cursor

    return Cursor(text).dotted()


def _constant(ex: Ex, name: str) -> str | None:
    if ex.is_null or ex.sql.startswith("NULL::"):
        return None
    if ex.constant is None:
        raise unsupported(f"{name} of a value that is no constant")
    return ex.constant


def _db_name(s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    if not args:
        return _text(s.database)
    return Ex(f"(SELECT name FROM tsql.databases WHERE id = {args[0].sql})", nvarchar(128), True)


def _db_id(s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    name = s.database if not args else _constant(args[0], "DB_ID")
    found = catalog.database_id(s.pg, name) if name else None
    return _int(found[0] if found else None, SMALLINT)


def _object_id(s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    text = _constant(args[0], "OBJECT_ID")
    kind = (_constant(args[1], "OBJECT_ID") or "").strip().upper() if len(args) > 1 else ""
    if not text:
        return _int(None)
    try:
        parts = _parts(text)
    except Exception as exc:
        from ..contract import SqlError

        if isinstance(exc, SqlError):
            return _int(None)
        raise
    if len(parts) > 3:
        return _int(None)
    if kind in ("", "U", "ET"):
        # tempdb..#t, #t
        temporary = parts[-1].startswith("#")
        found = s.temp.get(parts[-1].lower()) if temporary else catalog.find_table(s.pg, parts, s.database)
        if found is not None or kind:
            return _int(found.id if found else None)
    other = catalog.find_object(s.pg, parts, s.database)
    return _int(other.id if other is not None and kind in ("", other.kind) else None)


def _object_name(_s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    return Ex(f"tsql.object_name({args[0].sql})", nvarchar(128), True)


def _object_schema_name(_s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    return Ex(f"tsql.object_schema({args[0].sql})", nvarchar(128), True)


_OBJECT_PROPERTIES = {
    "isusertable": "(EXISTS (SELECT 1 FROM tsql.tables WHERE id = {id}))::int4",
    "istable": "(EXISTS (SELECT 1 FROM tsql.tables WHERE id = {id}))::int4",
    "isview": "(EXISTS (SELECT 1 FROM tsql.objects WHERE id = {id} AND kind = 'V'))::int4",
    "istrigger": "(tsql.trigger_property({id}, 'events', 'INSERT') IS NOT NULL)::int4",
    "execisinserttrigger": "tsql.trigger_property({id}, 'events', 'INSERT')",
    "execisupdatetrigger": "tsql.trigger_property({id}, 'events', 'UPDATE')",
    "execisdeletetrigger": "tsql.trigger_property({id}, 'events', 'DELETE')",
    "execistriggerdisabled": "tsql.trigger_property({id}, 'disabled', 'true')",
    "execisinsteadoftrigger": "tsql.trigger_property({id}, 'instead_of', 'true')",
    "execisaftertrigger": "tsql.trigger_property({id}, 'instead_of', 'false')",
    "tablehasinserttrigger": "tsql.has_trigger({id}, 'INSERT')",
    "tablehasupdatetrigger": "tsql.has_trigger({id}, 'UPDATE')",
    "tablehasdeletetrigger": "tsql.has_trigger({id}, 'DELETE')",
    "tablehasidentity": "(SELECT (def @? '$.columns[*].identity[0]')::int4 FROM tsql.tables WHERE id = {id})",
    "tablehasprimarykey": "(SELECT (def @? '$.indexes[*] ? (@.primary == true)')::int4 FROM tsql.tables "
    "WHERE id = {id})",
    "tablehastimestamp": "(SELECT (def @? '$.columns[*] ? (@.type.name == \"timestamp\")')::int4 FROM tsql.tables "
    "WHERE id = {id})",
    "tablehasforeignkey": "(SELECT (jsonb_array_length(def->'foreign_keys') > 0)::int4 FROM tsql.tables "
    "WHERE id = {id})",
    "tabletemporaltype": "(SELECT 0 FROM tsql.tables WHERE id = {id})",
}


def _object_property(_s: EngineSession, _env: Environment, args: list[Ex], line: int) -> Ex:
    name = (_constant(args[1], "OBJECTPROPERTY") or "").lower()
    if name not in _OBJECT_PROPERTIES:
        raise unsupported(f"OBJECTPROPERTY of {name}", line)
    return Ex(f"({_OBJECT_PROPERTIES[name].replace('{id}', f'({args[0].sql})')})", INT, True)


def _schema_name(s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    return _by_row("SCHEMA_NAME", args[0], s) if args else _text("dbo")


def _schema_id(s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    name = "dbo" if not args else _constant(args[0], "SCHEMA_ID") or ""
    found = catalog.database_id(s.pg, s.database)
    assert found is not None
    return Ex(f"(SELECT id FROM tsql.schemas WHERE dbid = {found[0]} AND lname = {quote(name.lower())})", INT, True)


def _object_property_ex(s: EngineSession, env: Environment, args: list[Ex], line: int) -> Ex:
    base = _object_property(s, env, args, line)
    return base.but(type=SqlType("sql_variant"), base=base.type, nullable=True, constant=None)


def _trigger_nestlevel(s: EngineSession, _env: Environment, args: list[Ex], line: int) -> Ex:
    if args:
        raise unsupported("TRIGGER_NESTLEVEL with arguments", line)
    return _int(len(s.firing))


def _applock(s: EngineSession, name: str, args: list[Ex]) -> tuple[app_locks.Resource, list[str]]:
    texts = [_constant(a, name) or "" for a in args]
    owner = texts[-1].lower()
    if owner not in ("transaction", "session"):
        raise error(15600, f"An invalid parameter or option was specified for procedure '{name}'.", severity=15)
    return app_locks.resource(s, texts[1], owner, texts[0]), texts


def _applock_mode(s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    wanted, _ = _applock(s, "APPLOCK_MODE", args)
    return _text(app_locks.mode_held(s, wanted), 32)


def _applock_test(s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    wanted, texts = _applock(s, "APPLOCK_TEST", args)
    if not app_locks.valid_mode(texts[2]):
        raise error(15600, "An invalid parameter or option was specified for procedure 'APPLOCK_TEST'.", severity=15)
    return _int(app_locks.could_get(s, wanted, texts[2].lower()), SMALLINT)


_PROPERTIES: dict[str, str | int] = {
    "edition": "Developer Edition (64-bit)",
    "engineedition": 3,
    "productlevel": "RTM",
    "productmajorversion": "16",
    "productminorversion": "0",
    "collation": "SQL_Latin1_General_CP1_CI_AS",
    "isintegratedsecurityonly": 0,
    "isclustered": 0,
    "ishadrenabled": 0,
    "issingleuser": 0,
    "isfulltextinstalled": 0,
    "isxtpsupported": 0,
    "ispolybaseinstalled": 0,
    "lcid": 1033,
    "sqlcharsetname": "iso_1",
    "sqlsortordername": "nocase_iso",
}


def _server_property(s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    name = (_constant(args[0], "SERVERPROPERTY") or "").lower()
    value: str | int | None = _PROPERTIES.get(name)
    if name == "productversion":
        value = ".".join(str(v) for v in s.engine.version) + ".1"
    if name in ("servername", "machinename", "computernamephysicalnetbios"):
        value = s.engine.server_name
    if name == "productbuild":
        value = str(s.engine.version[2])
    base = _int(value) if isinstance(value, int) else _text(value)
    return base.but(type=SqlType("sql_variant"), base=base.type, nullable=True, constant=None)


def _has_access(s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    found = catalog.database_id(s.pg, _constant(args[0], "HAS_DBACCESS") or "")
    return _int(1 if found else None)


def _has_perms(s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    """The one login owns everything that exists."""
    name = _constant(args[0], "HAS_PERMS_BY_NAME")
    kind = (_constant(args[1], "HAS_PERMS_BY_NAME") or "").upper()
    if name is None:
        return _int(1)
    if kind == "DATABASE":
        return _int(1 if catalog.database_id(s.pg, _parts(name)[-1]) else 0)
    if kind == "OBJECT":
        parts = _parts(name)
        known = catalog.find_table(s.pg, parts, s.database) or catalog.find_object(s.pg, parts, s.database)
        return _int(1 if known else 0)
    if kind == "SCHEMA":
        found = catalog.database_id(s.pg, s.database)
        return _int(1 if found and catalog.schema_name(s.pg, found[0], _parts(name)[-1]) else 0)
    raise unsupported(f"HAS_PERMS_BY_NAME of a {kind}")


def _member(_s: EngineSession, _env: Environment, _args: list[Ex], _line: int) -> Ex:
    return _int(1)


def _col_length(s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    table = catalog.find_table(s.pg, _parts(_constant(args[0], "COL_LENGTH") or "x"), s.database)
    column = table.column(_constant(args[1], "COL_LENGTH") or "") if table else None
    return _int(byte_length(column.type) if column else None, SMALLINT)


def _database_property(s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    found = catalog.database_id(s.pg, _constant(args[0], "DATABASEPROPERTYEX") or "")
    name = (_constant(args[1], "DATABASEPROPERTYEX") or "").lower()
    values = {"collation": "SQL_Latin1_General_CP1_CI_AS", "status": "ONLINE", "updateability": "READ_WRITE",
              "useraccess": "MULTI_USER", "recovery": "SIMPLE"}  # fmt: skip
    if name not in values:
        raise unsupported(f"DATABASEPROPERTYEX of {name}")
    base = _text(values[name] if found else None)
    return base.but(type=SqlType("sql_variant"), base=base.type, constant=None)


def _variant_property(_s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    t = args[0].base or args[0].type
    name = (_constant(args[1], "SQL_VARIANT_PROPERTY") or "").lower()
    if is_stored(args[0]):
        return property_of(args[0], name)
    p, scale = precision_scale(t)
    answers: dict[str, str | int] = {"basetype": t.name, "precision": p, "scale": scale}
    if name == "maxlength":
        answers[name] = byte_length(t)
    if name == "collation" and t.name not in STRINGS:
        return typed_null(nvarchar(128)).but(type=SqlType("sql_variant"), base=nvarchar(128))
    if name == "collation":
        answers[name] = (t.collation or DEFAULT_COLLATION).name
    if name not in answers:
        raise unsupported(f"SQL_VARIANT_PROPERTY of {name}")
    value = answers[name]
    base = _int(None) if args[0].is_null else _int(value) if isinstance(value, int) else _text(value)
    sql = f"(CASE WHEN {probe(args[0])} IS NOT NULL THEN {base.sql} END)"
    return base.but(sql=sql, type=SqlType("sql_variant"), base=base.type, nullable=True, constant=None)


def _ident_current(s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    table = catalog.find_table(s.pg, _parts(_constant(args[0], "IDENT_CURRENT") or "x"), s.database)
    column = next((c for c in table.columns if c.identity), None) if table else None
    t = decimal(38, 0)
    if table is None or column is None:
        return typed_null(t)
    return Ex(f"(SELECT last_value::numeric FROM {table.pg_schema}.{table.pg_name}_{column.pg}_seq)", t, True)


def _type_id(s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    from .types import SYSTEM_TYPES

    text = _constant(args[0], "TYPE_ID") or ""
    found = SYSTEM_TYPES.get(text.lower())
    if found is not None or not text:
        return _int(found[1] if found else None)
    alias = s.alias_type(_parts(text))
    return _int(alias.id if alias else None)


def _type_name(s: EngineSession, _env: Environment, args: list[Ex], _line: int) -> Ex:
    from .types import SYSTEM_TYPES

    number = _number(args[0])
    system = next((n for n, v in SYSTEM_TYPES.items() if v[1] == number), None)
    found = catalog.database_id(s.pg, s.database)
    if system is not None or number is None or found is None:
        return _text(system)
    alias = f"SELECT def->>'name' FROM tsql.objects WHERE kind = 'AT' AND dbid = {found[0]}"
    return Ex(f"({alias} AND (def->>'user_type_id')::int4 = {number})", nvarchar(128), True)


def _min_active(s: EngineSession, env: Environment, _args: list[Ex], _line: int) -> Ex:
    """Asked before the statement runs, as SQL Server does with what is constant for a statement."""
    found = env.row_version
    if found is None:
        found = s.min_active_row_version()
    return Ex(f"int8send({found}::int8)", SqlType("binary", 8), False)


def _current_version(s: EngineSession, _env: Environment, _args: list[Ex], _line: int) -> Ex:
    return change_tracking.current_version(s.pg, s.database)


def _min_valid_version(s: EngineSession, _env: Environment, args: list[Ex], line: int) -> Ex:
    return change_tracking.min_valid_version(s.pg, s.database, args, line)


_BY_NAME: dict[str, Callable[[EngineSession, Environment, list[Ex], int], Ex]] = {
    "DB_NAME": _db_name,
    "DB_ID": _db_id,
    "OBJECT_ID": _object_id,
    "APPLOCK_MODE": _applock_mode,
    "APPLOCK_TEST": _applock_test,
    "OBJECT_NAME": _object_name,
    "OBJECT_SCHEMA_NAME": _object_schema_name,
    "OBJECTPROPERTY": _object_property,
    "OBJECTPROPERTYEX": _object_property_ex,
    "TRIGGER_NESTLEVEL": _trigger_nestlevel,
    "SCHEMA_NAME": _schema_name,
    "SCHEMA_ID": _schema_id,
    "SERVERPROPERTY": _server_property,
    "HAS_DBACCESS": _has_access,
    "HAS_PERMS_BY_NAME": _has_perms,
    "IS_MEMBER": _member,
    "IS_SRVROLEMEMBER": _member,
    "IS_ROLEMEMBER": _member,
    "COL_LENGTH": _col_length,
    "DATABASEPROPERTYEX": _database_property,
    "SQL_VARIANT_PROPERTY": _variant_property,
    "IDENT_CURRENT": _ident_current,
    "TYPE_ID": _type_id,
    "TYPE_NAME": _type_name,
    "MIN_ACTIVE_ROWVERSION": _min_active,
    "CHANGE_TRACKING_CURRENT_VERSION": _current_version,
    "CHANGE_TRACKING_MIN_VALID_VERSION": _min_valid_version,
}
