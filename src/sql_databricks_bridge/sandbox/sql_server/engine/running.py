"""SELECT @v = COALESCE(@v + ', ', '') + x FROM t ORDER BY ...: the one running assignment whose meaning is agreed.

Bulk copy clients collect column names this way. Anything else that reads its own variable row by row is refused.
"""

from __future__ import annotations

from . import nodes as n


def running_concatenation(item: n.SelectItem) -> tuple[n.Node | None, n.Node] | None:
    """(separator or None, what is appended) where `item` appends to its own variable, else None.

    The forms: @v + x; COALESCE(@v + sep, '') + x; ISNULL(@v + sep, '') + x.
    """
    e = item.expr
    name = (item.variable or "").lower()
    if not isinstance(e, n.Binary) or e.op != "+":
        return None
    chain: list[n.Node] = []
    left: n.Node = e
    while isinstance(left, n.Binary) and left.op == "+":
        chain.insert(0, left.right)
        left = left.left
    appended = chain[0]
    for part in chain[1:]:
        appended = n.Binary(e.line, "+", appended, part)
    if isinstance(left, n.Variable) and left.name.lower() == name:
        return None, appended
    if not isinstance(left, n.Func) or left.name not in ("COALESCE", "ISNULL") or len(left.args) != 2:
        return None
    first, empty = left.args
    if not (isinstance(empty, n.Literal) and empty.kind in ("string", "nstring") and not empty.text):
        return None
    if not (isinstance(first, n.Binary) and first.op == "+" and isinstance(first.left, n.Variable)):
        return None
    return (first.right, appended) if first.left.name.lower() == name else None
