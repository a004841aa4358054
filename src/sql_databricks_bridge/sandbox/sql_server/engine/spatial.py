"""hierarchyid and geometry values from constants; xml and json casts of constants.

A documented subset: hierarchyid::Parse('/1/2/') with one- to four-digit ordinals that need no dots, POINTs in WKT. The
bytes are the CLR types' own serialisations ("hierarchyid data type method reference", MS-SSCLRT 2.1).
"""

from __future__ import annotations

import json
import struct
import xml.sax
import xml.sax.saxutils
from typing import TYPE_CHECKING, Any

from ..contract import MAX_LENGTH, SqlType
from . import nodes as n
from .bound import Ex
from .errors import error, unsupported
from .pg import quote
from .scope import Scope
from .types import nvarchar

if TYPE_CHECKING:
    from .expr import ExpressionBinder


def bind_method(binder: ExpressionBinder, node: n.Method, scope: Scope) -> Ex:
    """Type::Method(...) and x.Method(...)."""
    if node.operand is None:
        args = [binder.value(a, scope) for a in node.args]
        return _static(node, args)
    base = node.operand
    if isinstance(base, n.Method) and base.operand is None and node.name in ("STAsText", "ToString", "STAsBinary"):
        args = [binder.value(a, scope) for a in base.args]
        return _of_constant(base, node.name, args)
    raise unsupported(f"the method .{node.name}()", node.line)


def _constant(node: n.Method, args: list[Ex], at: int = 0) -> str:
    if len(args) <= at or args[at].constant is None:
        raise unsupported(f"{node.type_name}::{node.name} of a value that is no constant", node.line)
    text = args[at].constant
    assert text is not None
    return text


def _static(node: n.Method, args: list[Ex]) -> Ex:
    kind = node.type_name
    if kind == "hierarchyid" and node.name in ("Parse", "GetRoot"):
        text = "/" if node.name == "GetRoot" else _constant(node, args)
        return _bytes(_hierarchy(text, node.line), kind)
    if kind in ("geometry", "geography") and node.name in ("STGeomFromText", "STPointFromText", "Parse", "Point"):
        return _bytes(_spatial(node, args), kind)
    raise unsupported(f"{kind}::{node.name}", node.line)


def _bytes(raw: bytes, kind: str) -> Ex:
    return Ex(f"'\\x{raw.hex()}'::bytea", SqlType(kind, MAX_LENGTH), True)


def _of_constant(base: n.Method, method: str, args: list[Ex]) -> Ex:
    if base.type_name == "hierarchyid" and method == "ToString":
        text = _constant(base, args)
        _hierarchy(text, base.line)
        return Ex(f"{quote(text)}::text", nvarchar(4000), True, constant=text)
    if base.type_name in ("geometry", "geography"):
        raw = _spatial(base, args)
        x, y = struct.unpack("<dd", raw[6:22])
        if base.type_name == "geography":
            x, y = y, x
        if method == "STAsBinary":
            wkb = b"\x01" + struct.pack("<Idd", 1, x, y)
            return Ex(f"'\\x{wkb.hex()}'::bytea", SqlType("varbinary", MAX_LENGTH), True)
        text = f"POINT ({x:.17g} {y:.17g})"
        return Ex(f"{quote(text)}::text", nvarchar(MAX_LENGTH), True, constant=text)
    raise unsupported(f"{base.type_name}.{method}()", base.line)


def _spatial(node: n.Method, args: list[Ex]) -> bytes:
    srid = 0 if node.type_name == "geometry" else 4326
    if node.name == "Point":
        raise unsupported(f"{node.type_name}::Point", node.line)
    text = _constant(node, args).strip()
    if len(args) > 1 and args[1].digits is not None:
        srid = int(args[1].sql.partition("::")[0])
    head, _, rest = text.partition("(")
    numbers = rest.rstrip(") ").split()
    if head.strip().upper() != "POINT" or len(numbers) != 2:
        raise unsupported(f"{node.type_name} other than POINT (x y)", node.line)
    x, y = float(numbers[0]), float(numbers[1])
    if node.type_name == "geography":
        x, y = y, x  # the CLR type keeps latitude first
    return struct.pack("<iBBdd", srid, 1, 0x0C, x, y)


# hierarchyid: for each level an ordinal's prefix code, its bits, and a terminating 1 bit.
_RANGES = (  # (first, last, pattern of prefix and value bits; 'x' takes value bits, other characters stand)
    (0, 3, "01xx"),
    (4, 7, "100xx"),
    (8, 15, "101xxx"),
    (16, 79, "110xx0x1xxx"),
    (80, 1103, "1110xxx0xxx0x1xxx"),
)


def _hierarchy(text: str, line: int) -> bytes:
    if not (text.startswith("/") and text.endswith("/")):
        raise error(
            6522,
            "A .NET Framework error occurred during execution of user-defined routine or aggregate "
            f'"hierarchyid": Microsoft.SqlServer.Types.HierarchyIdException: 24001: '
            f"SqlHierarchyId.Parse failed "
            f"because the input string '{text}' is not a valid string representation of a SqlHierarchyId node.",
            line=line,
        )
    bits = ""
    for part in [p for p in text.split("/") if p]:
        if not part.isdigit() or int(part) > 1103:
            raise unsupported(f"the hierarchyid ordinal {part}", line)
        number = int(part)
        first, _, pattern = next(r for r in _RANGES if r[0] <= number <= r[1])
        value_bits = format(number - first, f"0{pattern.count('x')}b")
        taken = iter(value_bits)
        bits += "".join(next(taken) if c == "x" else c for c in pattern) + "1"
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


class _Canonical(xml.sax.ContentHandler):
    """XML as SQL Server gives it back: no declaration, no blank text between elements, empty elements as <a/>."""

    def __init__(self) -> None:
        super().__init__()
        self.out: list[str] = []
        self.open = False
        self.text = ""

    def _flush(self) -> None:
        if self.text.strip():
            self._close()
            self.out.append(xml.sax.saxutils.escape(self.text))
        self.text = ""

    def _close(self) -> None:
        if self.open:
            self.out.append(">")
            self.open = False

    def startElement(self, name: str, attrs: Any) -> None:
        self._flush()
        self._close()
        self.out.append(
            "<" + name + "".join(f' {k}="{xml.sax.saxutils.escape(v, {chr(34): "&quot;"})}"' for k, v in attrs.items())
        )
        self.open = True

    def endElement(self, name: str) -> None:
        self._flush()
        if self.open:
            self.out.append("/>")
            self.open = False
        else:
            self.out.append(f"</{name}>")

    def characters(self, content: str) -> None:
        self.text += content


def constant_cast(text: str, target: SqlType) -> Ex:
    """CAST ('...' AS xml | json | hierarchyid) of a constant."""
    if target.name == "hierarchyid":
        return _bytes(_hierarchy(text, 0), "hierarchyid")
    if target.name == "json":
        try:
            json.loads(text)
        except ValueError as exc:
            raise error(13609, "JSON text is not properly formatted.", state=4) from exc
        return Ex(f"{quote(text)}::text", target, False)
    if target.name == "xml":
        if not text.strip():
            return Ex("''::text", target, False)
        if "<!" in text or "<?" in text.strip()[2:] or not text.strip().startswith("<"):
            raise unsupported("xml with comments, CDATA, DTDs, processing instructions or outside one element")
        handler = _Canonical()
        try:
            xml.sax.parseString(text.encode(), handler)
        except xml.sax.SAXException as exc:
            raise error(9400, "XML parsing: line 1, character 1, unexpected end of input") from exc
        return Ex(f"{quote(''.join(handler.out))}::text", target, False)
    raise unsupported(f"casting text to {target.name}")
