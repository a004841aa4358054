"""How events look: as a table, as fields, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sql_databricks_bridge.cli import output

if TYPE_CHECKING:
    from sql_databricks_bridge.models.events import EventRow
    from sql_databricks_bridge.sync.authoring import Explained
    from sql_databricks_bridge.sync.cycle import Handled

STATUS_STYLES = {"completed": "green", "failed": "bold red", "blocked": "bold red", "processing": "yellow"}

_SHOWN = 40
_NARROW = 120  # columns of a screen below which what is said of an event stands under the table, not in it


def print_rows(rows: Sequence[EventRow]) -> None:
    """Print events as a table."""
    _print_table(
        ("rows", "expected"),
        (
            (
                (row.event_id, row.operation, row.target_table, row.status),
                (_count(row.rows_affected), _count(row.rows_expected)),
                row.error_message or row.warning,
            )
            for row in rows
        ),
    )
    if not rows:
        output.err().print("no events", style="dim")


def print_handled(events: Sequence[Handled]) -> None:
    """Print what one round did as a table."""
    _print_table(
        ("rows", "discrepancy", "time"),
        (
            (
                (each.outcome.event_id or "(none)", each.row.operation, each.row.target_table, each.outcome.status),
                (
                    _count(each.outcome.rows_affected),
                    _count(each.outcome.discrepancy or None),
                    output.human_seconds(each.seconds),
                ),
                each.outcome.error_message or each.outcome.warning,
            )
            for each in events
        ),
    )


def print_fields(document: dict[str, Any]) -> None:
    """Print what is known of one event, a line for each field that has a value."""
    from rich.table import Table
    from rich.text import Text

    table = Table("", "", box=None, show_header=False, pad_edge=False)
    for name, value in document.items():
        if value is None or value == []:
            continue
        if isinstance(value, list):
            value = ", ".join(str(item) for item in value)
        elif isinstance(value, dict):
            value = ", ".join(f"{key} IS NULL" if text is None else f"{key}={text}" for key, text in value.items())
        counted = isinstance(value, int) and "row" in name  # a version or a priority is no quantity
        table.add_row(Text(name, "dim"), Text(f"{value:,}" if counted else output.visible(str(value))))
    output.out().print(table)


def row_document(row: EventRow) -> dict[str, Any]:
    """The seed's columns, as JSON has them."""
    return {
        "event_id": row.event_id,
        "operation": row.operation,
        "source_table": row.source_table,
        "target_table": row.target_table,
        "primary_keys": None if row.primary_keys is None else list(row.primary_keys),
        "priority": row.priority,
        "status": row.status,
        "rows_expected": row.rows_expected,
        "rows_affected": row.rows_affected,
        "discrepancy": row.discrepancy,
        "warning": row.warning,
        "error_message": row.error_message,
        "filter_conditions": None if row.filter_conditions is None else dict(row.filter_conditions),
        "metadata": None if row.metadata is None else dict(row.metadata),
        "created_at": row.created_at.isoformat() if row.created_at else None,
        "processed_at": row.processed_at.isoformat() if row.processed_at else None,
    }


def explained_document(found: Explained) -> dict[str, Any]:
    """What would happen to an event, as JSON has it."""
    what, row, refusal = found.explanation, found.row, found.explanation.refusal
    return {
        "event_id": row.event_id,
        "operation": row.operation,
        "verdict": "would be applied" if refusal is None else "would not be applied",
        "why": None if refusal is None else refusal.message,
        "hint": None if refusal is None else refusal.hint,
        "status": row.status,
        "ledger": None if found.ledger is None else f"{found.ledger.outcome} (generation {found.ledger.generation})",
        "user": what.user,
        "target": None if what.target is None else str(what.target),
        "permission": None if what.grant is None else what.grant.pattern,
        "max_delete_rows": None if what.grant is None else what.grant.max_delete_rows,
        "source": row.source_table,
        "source_version": what.source_version,
        "columns": list(what.columns),
        "keys": list(what.keys),
        "source_rows": None if what.matches is None else what.matches.staged,
        "matching_rows": None if what.matches is None else what.matches.matching,
        "rows_expected": row.rows_expected,
        "warnings": list(what.warnings),
    }


def _print_table(
    numbers: Sequence[str], rows: Iterable[tuple[Sequence[str | None], Sequence[str], str | None]]
) -> None:
    """Print event, operation, target and status, `numbers`, and what is said: in the table where there is room."""
    from rich.table import Table
    from rich.text import Text

    console = output.out()
    narrow = console.width < _NARROW
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("event", overflow="fold")
    table.add_column("operation", no_wrap=True)
    table.add_column("target", overflow="fold")
    table.add_column("status", no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    if not narrow:
        table.add_column("what to know", overflow="fold")
    below = []
    for (event_id, operation, target, status), counts, said in rows:
        shown = _short(event_id)
        cells = (Text(shown), Text(_short(operation)), Text(_short(target)))
        told = Text(output.visible(said or ""))
        known = STATUS_STYLES.get(status or "", "")
        table.add_row(*cells, Text(_short(status), known), *counts, *(() if narrow else (told,)))
        if narrow and said:
            below.append(Text.assemble((shown, "bold"), ": ", told))
    console.print(table)
    for line in below:
        console.print(line)


def _short(text: str | None) -> str:
    shown = output.visible(text or "").replace("\n", "\\n").replace("\t", "\\t")
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"
