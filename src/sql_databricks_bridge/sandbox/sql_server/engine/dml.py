"""Statements that change data or definitions: each to its module, each failure to its number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..contract import Event
from . import changes, definitions, inserts, merge
from . import nodes as n
from .constraint_errors import translate_constraint
from .errors import PgFailure, error, unsupported
from .execution import finish as finish
from .execution import lookup as lookup
from .session import Cancelled

if TYPE_CHECKING:
    from .runner import Runner


def run(runner: Runner, node: Any) -> Iterator[Event]:
    """One data-changing or defining statement, atomic in itself."""
    verb = type(node).__name__.upper()
    if runner.session.doomed and runner.session.trancount:
        raise error(
            3930,
            "The current transaction cannot be committed and cannot support operations that write to the log file. "
            "Roll back the transaction.",
            line=node.line,
        )
    if runner.session.options.rowcount and isinstance(node, n.Insert | n.Update | n.Delete | n.Merge):
        # "SET ROWCOUNT (Transact-SQL)": it limits these too; TOP is its documented replacement
        raise unsupported(f"{verb} under SET ROWCOUNT (use TOP)", node.line)
    try:
        if isinstance(node, n.Insert):
            yield from inserts.insert(runner, node)
        elif isinstance(node, n.Update):
            yield from changes.update(runner, node)
        elif isinstance(node, n.Delete):
            yield from changes.delete(runner, node)
        elif isinstance(node, n.Merge):
            yield from merge.merge(runner, node)
        else:
            yield from definitions.run(runner, node)
    except PgFailure as exc:
        changing = verb in ("INSERT", "UPDATE", "DELETE", "MERGE")
        found = translate_constraint(exc, verb if changing else "ALTER TABLE", lookup(runner))
        failed = found or runner.session.fail(exc)
        if isinstance(failed, Cancelled):
            raise failed from exc
        raise failed from exc
