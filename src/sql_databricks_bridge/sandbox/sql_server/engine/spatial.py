"""Methods of hierarchyid, geometry and geography; json casts of constants.

Values are the CLR types' own serialisations ("hierarchyid data type method reference", MS-SSCLRT 2.1 and 2.2), read and
written in support/46_clr_types.sql: hierarchies of any depth, and of shapes the points. Other shapes can be stored.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..contract import MAX_LENGTH, SqlType
from . import nodes as n
from .bound import Ex
from .convert import convert
from .errors import error, unsupported
from .pg import quote
from .scope import Scope
from .types import FLOAT, UDTS, nvarchar

if TYPE_CHECKING:
    from .expr import ExpressionBinder


_SPATIAL = frozenset({"geometry", "geography"})
_STRINGS = {"ToString": False, "STAsText": False, "AsTextZM": True}
_BINARIES = {"STAsBinary": False, "AsBinaryZM": True}


def bind_method(binder: ExpressionBinder, node: n.Method, scope: Scope) -> Ex:
    """Type::Method(...) and x.Method(...)."""
    args = [binder.value(a, scope) for a in node.args]
    if node.operand is None:
        return _static(node, args)
    return of_value(binder.value(node.operand, scope), node.name, node.line)


def of_value(operand: Ex, name: str, line: int) -> Ex:
    """x.Method() and x.Property."""
    kind, sql = operand.type.name, operand.sql
    if kind == "hierarchyid" and name == "ToString":
        return Ex(f"tsql.hid_text({sql})", nvarchar(4000), operand.nullable, aggregate=operand.aggregate)
    if kind in _SPATIAL and name in _STRINGS:
        zm = "true" if _STRINGS[name] or name == "ToString" else "false"
        text = f"tsql.geo_text({sql}, '{kind}', {zm})"
        return Ex(text, nvarchar(MAX_LENGTH), operand.nullable, aggregate=operand.aggregate)
    if kind in _SPATIAL and name in _BINARIES:
        wkb = f"tsql.geo_wkb({sql}, '{kind}', {'true' if _BINARIES[name] else 'false'})"
        return Ex(wkb, SqlType("varbinary", MAX_LENGTH), operand.nullable, aggregate=operand.aggregate)
    if kind in _SPATIAL and name == "STSrid":
        return Ex(f"tsql.little({sql}, 0)", SqlType("int"), operand.nullable, aggregate=operand.aggregate)
    raise unsupported(f"the method .{name}() of {kind}" if kind in UDTS else f"the method .{name}()", line)


def _static(node: n.Method, args: list[Ex]) -> Ex:
    kind, name = node.type_name, node.name
    if kind == "hierarchyid" and name == "GetRoot" and not args:
        return Ex("''::bytea", SqlType(kind, MAX_LENGTH), False)
    if kind == "hierarchyid" and name == "Parse" and len(args) == 1:
        return from_text(args[0], kind)
    if kind in _SPATIAL and name in ("STGeomFromText", "STPointFromText") and len(args) == 2:
        return _spatial("geo_of_text", kind, convert(args[0], nvarchar(MAX_LENGTH)), args[1])
    if kind in _SPATIAL and name in ("STGeomFromWKB", "STPointFromWKB") and len(args) == 2:
        return _spatial("geo_of_wkb", kind, convert(args[0], SqlType("varbinary", MAX_LENGTH)), args[1])
    if kind in _SPATIAL and name == "Point" and len(args) == 3:
        x, y = (f"({convert(each, FLOAT).sql})::text" for each in args[:2])
        if kind == "geography":  # Point(Lat, Long, SRID)
            x, y = y, x
        return _spatial("geo_of_text", kind, Ex(f"('POINT (' || {x} || ' ' || {y} || ')')", nvarchar(200)), args[2])
    if kind in _SPATIAL and name == "Parse" and len(args) == 1:
        return from_text(args[0], kind)
    raise unsupported(f"{kind}::{name}", node.line)


def from_text(text: Ex, kind: str) -> Ex:
    """Type::Parse(text), and a string that becomes one."""
    wide = convert(text, nvarchar(4000 if kind == "hierarchyid" else MAX_LENGTH))
    return convert(wide, SqlType(kind, MAX_LENGTH))


def _spatial(function: str, kind: str, value: Ex, srid: Ex) -> Ex:
    number = convert(srid, SqlType("int"))
    sql = f"tsql.{function}({value.sql}, {number.sql}, '{kind}')"
    return Ex(sql, SqlType(kind, MAX_LENGTH), True, aggregate=value.aggregate or number.aggregate)


def constant_cast(text: str, target: SqlType) -> Ex:
    """CAST('...' AS json) of a constant."""
    try:
        json.loads(text)
    except ValueError as exc:
        raise error(13609, "JSON text is not properly formatted.", state=4) from exc
    return Ex(f"{quote(text)}::text", target, False)
