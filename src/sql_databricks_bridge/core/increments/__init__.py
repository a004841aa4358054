"""Increments: which rows of a query changed since its last publication, and the statement that asks for them.

Inside one `connection.view()`: `decide` asks the server how far it is and says which way the query goes, `statement` is
what to stream then. For every kind the upper bound is taken so that nothing in flight is missed; a row that comes twice
does no harm, since it is applied by its key or with its whole range.
"""

from __future__ import annotations

from sql_databricks_bridge.core.increments.decision import decide, definition
from sql_databricks_bridge.core.increments.statements import estimate, statement

__all__ = ["decide", "definition", "estimate", "statement"]
