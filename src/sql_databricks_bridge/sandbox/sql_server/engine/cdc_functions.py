"""cdc.fn_cdc_get_all_changes_..., cdc.fn_cdc_get_net_changes_..., sys.fn_cdc_...

Sources: the pages of these functions under "Change data capture functions (Transact-SQL)".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..contract import SqlType
from . import catalog
from . import nodes as n
from .bound import Ex, SourceColumn
from .convert import convert
from .errors import error, unsupported
from .pg import quote
from .types import INT, nvarchar

if TYPE_CHECKING:
    from .session import EngineSession

LSN = SqlType("binary", 10)
_MASK = SqlType("varbinary", 128)
_KINDS = {"fn_cdc_get_all_changes_": "all", "fn_cdc_get_net_changes_": "net"}
_META = {
    "all": [("__$start_lsn", LSN), ("__$seqval", LSN), ("__$operation", INT), ("__$update_mask", _MASK)],
    "net": [("__$start_lsn", LSN), ("__$operation", INT), ("__$update_mask", _MASK)],
}


def table_function(
    session: EngineSession, node: n.FunctionTable, args: list[Ex], alias: str
) -> tuple[str, list[SourceColumn]] | None:
    """PostgreSQL's FROM item and its columns; None for a name that is no function of a capture instance."""
    schema, _, name = node.func.name.lower().rpartition(".")
    prefix = next((p for p in _KINDS if name.startswith(p)), None)
    if schema.rpartition(".")[2] != "cdc" or prefix is None:
        return None
    if "." in schema:
        raise unsupported("a change data capture function of another database", node.line)
    kind, pg = _KINDS[prefix], session.pg
    found = catalog.database_id(pg, session.database)
    assert found is not None
    rows = pg.rows(
        f"SELECT number, source, net, columns::text FROM tsql.cdc_instances WHERE dbid = {found[0]} "
        f"AND lower(name) = {quote(name[len(prefix) :])}"
    )
    if not rows or (kind == "net" and not rows[0][2]):
        return None
    number, source, _, columns = rows[0]
    if len(args) != 3:
        text = "An insufficient number of arguments were" if len(args) < 3 else "Too many arguments were"
        raise error(313 if len(args) < 3 else 8144, f"{text} supplied for the procedure or function cdc.{name}.",
                    state=3, line=node.line)  # fmt: skip
    table = catalog.table_by_id(pg, int(source))
    assert table is not None
    captured = [next(c for c in table.columns if c.id == i) for i in json.loads(columns)]
    types = [*_META[kind], *((c.name, _captured(c.type)) for c in captured)]
    shown = [SourceColumn(c, f"{alias}.o{i + 1}", t, True) for i, (c, t) in enumerate(types)]
    lo, hi = (convert(a, LSN).sql for a in args[:2])
    sql = f"d{found[0]}.cdc{number}_{kind}({lo}, {hi}, {convert(args[2], nvarchar(30)).sql})"
    return f"{sql} {alias}({', '.join(f'o{i + 1}' for i in range(len(types)))})", shown


def _captured(t: SqlType) -> SqlType:
    """A change table keeps a rowversion as binary(8)."""
    return SqlType("binary", 8) if t.name == "timestamp" else t


def scalar(session: EngineSession, name: str, args: list[Ex], line: int) -> Ex | None:
    """sys.fn_cdc_get_min_lsn, ..._max_lsn, ..._increment_lsn, ..._decrement_lsn; None for another name."""
    found = catalog.database_id(session.pg, session.database)
    assert found is not None
    wanted = {"GET_MAX_LSN": 0, "GET_MIN_LSN": 1, "INCREMENT_LSN": 1, "DECREMENT_LSN": 1}.get(
        name[len("SYS.FN_CDC_") :]
    )
    if wanted is None:
        return None
    if len(args) != wanted:
        few = len(args) < wanted
        raise error(
            313 if few else 8144,
            f"{'An insufficient number of' if few else 'Too many'} arguments were supplied for the procedure or "
            f"function {name.lower()}.",
            line=line,
        )
    if name.endswith("GET_MAX_LSN"):
        return Ex(f"(SELECT tsql.cdc_max_lsn({found[0]}))", LSN, True)
    if name.endswith("GET_MIN_LSN"):
        return Ex(f"tsql.cdc_min_lsn({found[0]}, {convert(args[0], nvarchar(128)).sql})", LSN, True)
    step = 1 if name.endswith("INCREMENT_LSN") else -1
    return Ex(f"tsql.cdc_step_lsn({convert(args[0], LSN).sql}, {step})", LSN, True)
